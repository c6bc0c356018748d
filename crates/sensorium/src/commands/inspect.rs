//! `inspect`: what a published checkpoint is, before it is run.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use clap::{Args, ValueEnum};
use sensorium_checkpoint::gguf::Mapped;
use sensorium_checkpoint::safetensors::Stored;
use sensorium_checkpoint::{differences, strict_shapes};
use sensorium_pretrained::gguf::inspect as gguf;
use sensorium_pretrained::{PARTS, Plan, bridge, plan};
use serde::Serialize;

use crate::commands::Global;
use crate::commands::precision::Precision;
use crate::print;

/// Show what a published checkpoint is: family, shapes, parameters, memory, what is missing.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  sensorium inspect clip-vit-base-patch32\n  sensorium inspect clip-vit-base-patch32 --config-only --json\n  sensorium inspect smollm2.gguf"
)]
pub struct Inspect {
    /// A directory with config.json, and model.safetensors or its shards; a GGUF file; or a name in
    /// the cache.
    #[arg(value_name = "MODEL")]
    path: String,
    /// Read config.json alone: the weights need not be there. Of a GGUF file, its settings alone.
    #[arg(long)]
    config_only: bool,
    /// Print JSON: the same, and every tensor.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Output {
    family: &'static str,
    parameters: u64,
    parts: Vec<Part>,
    /// Bytes of the weights in memory, by `--precision`.
    memory: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weights: Option<Weights>,
}

#[derive(Serialize)]
struct Part {
    part: &'static str,
    parameters: u64,
    tensors: Vec<Tensor>,
}

#[derive(Serialize)]
struct Tensor {
    name: String,
    shape: Vec<usize>,
}

/// What the files of weights hold beside what `config.json` asks for.
#[derive(Serialize)]
struct Weights {
    /// Tensors by dtype.
    dtypes: BTreeMap<String, usize>,
    missing: Vec<String>,
    left_over: Vec<String>,
    /// Name, expected, got.
    reshaped: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Tensors that carry nothing to learn, and are not read.
    ignored: Vec<String>,
}

impl Inspect {
    pub fn run(&self, global: &Global) -> Result<()> {
        let path = global.find(&self.path)?;
        let path = Path::new(&path);
        let strict = global.strict;
        let output =
            if path.is_dir() { self.directory(path, strict)? } else { self.gguf(path, strict)? };
        if self.json { print::json(&output) } else { output.table() }
    }

    fn directory(&self, path: &Path, strict: bool) -> Result<Output> {
        let directory = bridge::open(path, strict)?;
        let plan = plan(&directory)?;
        directory.tell(&directory.config())?;
        let stored = (!self.config_only).then(|| directory.shapes()).transpose()?;
        if let Some(stored) = stored.as_ref().filter(|_| strict) {
            let all = stored.iter().map(|(name, stored)| (name.as_str(), &*stored.shape)).collect();
            strict_shapes(&plan.shapes(), &plan.without_ignorable(&all))?;
        }
        let weights = stored.map(|stored| compare(&plan, &stored));
        Ok(output(&plan, plan.bytes(None), weights))
    }

    fn gguf(&self, path: &Path, strict: bool) -> Result<Output> {
        let mapped = Mapped::open(path)?;
        let file = mapped.gguf()?;
        sensorium_pretrained::gguf::tell(&file, strict)?;
        let plan = gguf::plan(&file)?;
        let weights = (!self.config_only).then(|| compare(&plan, &gguf::stored(&file)));
        Ok(output(&plan, gguf::bytes(&plan, &file), weights))
    }
}

fn output(plan: &Plan, auto: u64, weights: Option<Weights>) -> Output {
    let (family, parameters) = (plan.family, plan.parameters(None));
    Output { family, parameters, parts: parts(plan), memory: memory(plan, auto), weights }
}

fn parts(plan: &Plan) -> Vec<Part> {
    let part = |part: &'static str| {
        let of_part = plan.tensors.iter().filter(|tensor| tensor.part == part);
        let tensors: Vec<Tensor> = of_part
            .map(|tensor| Tensor { name: tensor.name.clone(), shape: tensor.shape.clone() })
            .collect();
        let parameters = plan.parameters(Some(part));
        (!tensors.is_empty()).then_some(Part { part, parameters, tensors })
    };
    PARTS.into_iter().filter_map(part).collect()
}

fn memory(plan: &Plan, auto: u64) -> BTreeMap<String, u64> {
    let named = |precision: &Precision| {
        let name = precision.to_possible_value()?.get_name().to_owned();
        Some((name, precision.format().map_or(auto, |format| plan.bytes(Some(format)))))
    };
    Precision::value_variants().iter().filter_map(named).collect()
}

fn compare(plan: &Plan, stored: &BTreeMap<String, Stored>) -> Weights {
    let all = stored.iter().map(|(name, stored)| (name.as_str(), &*stored.shape)).collect();
    let (expected, found) = (plan.shapes(), plan.without_ignorable(&all));
    let differences = differences(&expected, &found);
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    let mut dtypes = BTreeMap::new();
    for (_, stored) in stored.iter().filter(|(name, _)| !plan.is_ignorable(name)) {
        *dtypes.entry(stored.dtype.clone()).or_default() += 1;
    }
    let reshaped = differences.reshaped.into_iter();
    Weights {
        dtypes,
        missing: owned(differences.missing),
        left_over: owned(differences.unexpected),
        reshaped: reshaped.map(|(n, want, got)| (n.to_owned(), want.into(), got.into())).collect(),
        ignored: stored.keys().filter(|name| plan.is_ignorable(name)).cloned().collect(),
    }
}

impl Output {
    fn table(&self) -> Result<()> {
        print::line(format!("family      {}", self.family))?;
        for part in &self.parts {
            let (name, tensors) = (part.part, part.tensors.len());
            print::line(format!(
                "{name:<10} {:>13} parameters, {tensors} tensors",
                part.parameters
            ))?;
        }
        print::line(format!("{:<10} {:>13} parameters", "total", self.parameters))?;
        print::line("\nweights in memory by --precision")?;
        for (name, bytes) in &self.memory {
            print::line(format!("{name:<10} {:>11.1} MB", *bytes as f64 / 1e6))?;
        }
        self.weights.iter().try_for_each(Weights::table)
    }
}

impl Weights {
    fn table(&self) -> Result<()> {
        let dtypes = self.dtypes.iter().map(|(dtype, n)| format!("{n} {dtype}"));
        print::line(format!("\ntensors in the files: {}", dtypes.collect::<Vec<_>>().join(", ")))?;
        let lists = [
            ("missing", &self.missing),
            ("left over", &self.left_over),
            ("ignored", &self.ignored),
        ];
        for (kind, names) in lists {
            names.iter().try_for_each(|name| print::line(format!("{kind:<10} {name}")))?;
        }
        for (name, want, got) in &self.reshaped {
            print::line(format!("{:<10} {name}: expected {want:?}, got {got:?}", "shape"))?;
        }
        if self.missing.is_empty() && self.left_over.is_empty() && self.reshaped.is_empty() {
            print::line("every tensor of the model is there, and no other")?;
        }
        Ok(())
    }
}
