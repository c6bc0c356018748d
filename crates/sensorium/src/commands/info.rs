//! `info`: what a model is made of.

use anyhow::Result;
use clap::Args;
use sensorium_checkpoint::gguf::{Gguf, Info};
use sensorium_checkpoint::safetensors;
use sensorium_media::Tokenizer;
use sensorium_nn::device::{self, Found, Gpu};
use sensorium_nn::machine::{Machine, Speeds, class, features};
use sensorium_pretrained::families::sensorium::COMPONENTS;
use sensorium_pretrained::{Directory, Provenance};
use serde::Serialize;

use crate::commands::Global;
use crate::{open, print};

/// Show a model's components, shapes, parameters, hashes, and what it was trained on.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  sensorium info --json\n  sensorium info --machine")]
pub struct InfoCommand {
    /// Show the machine in place of a model: its processor, what it is fast at, and what "auto" means
    /// on it.
    #[arg(long, conflicts_with = "tensors")]
    machine: bool,
    /// Also list every tensor.
    #[arg(long)]
    tensors: bool,
    /// Print JSON: parameters, components with their tensors, config, licences.
    #[arg(long)]
    json: bool,
}

/// One file of weights.
#[derive(Debug, Serialize)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Its file's name.
    pub file: String,
    /// Size of the file.
    pub bytes: usize,
    /// BLAKE3 of the file, hexadecimal.
    pub blake3: String,
    /// Values in all tensors.
    pub parameters: usize,
    tensors: Vec<TensorInfo>,
}

#[derive(Debug, Serialize)]
struct TensorInfo {
    name: String,
    shape: Vec<usize>,
}

impl InfoCommand {
    pub fn run(&self, global: &Global) -> Result<()> {
        if self.machine {
            return machine(self.json);
        }
        let directory = open::directory(&global.model)?;
        let components = components(&directory)?;
        let parameters: usize = components.iter().map(|component| component.parameters).sum();
        let tokenizer = directory.bytes("tokenizer.json")?;
        let tokenizer = tokenizer.map(|bytes| Tokenizer::from_bytes(&bytes)).transpose()?;
        let provenance = Provenance::read(&directory)?;
        if self.json {
            return print::json(&serde_json::json!({
                "model_type": directory.model_type(),
                "parameters": parameters,
                "vocabulary": tokenizer.as_ref().map(Tokenizer::vocabulary),
                "tokenizer_blake3": tokenizer.as_ref().map(Tokenizer::hash),
                "components": components,
                "config": directory.settings(),
                "trained_on": provenance.as_ref().map(|provenance| &provenance.data),
                "licence": provenance.as_ref().and_then(|p| p.licence.as_ref()),
                "provenance": provenance,
            }));
        }
        self.table(&components, parameters)?;
        print::line(format!(
            "\n{}; vocabulary: {}",
            directory.model_type().unwrap_or("unknown"),
            tokenizer.map_or("none".to_owned(), |t| t.vocabulary().to_string())
        ))?;
        origin(provenance.as_ref())
    }

    fn table(&self, components: &[Component], parameters: usize) -> Result<()> {
        print::line(format!("{:<10} {:>11} {:>11}  BLAKE3", "component", "parameters", "bytes"))?;
        for c in components {
            print::line(format!(
                "{:<10} {:>11} {:>11}  {}",
                c.name, c.parameters, c.bytes, c.blake3
            ))?;
            for tensor in c.tensors.iter().filter(|_| self.tensors) {
                print::line(format!("    {} {:?}", tensor.name, tensor.shape))?;
            }
        }
        print::line(format!("{:<10} {parameters:>11}", "total"))
    }
}

/// Speeds are those of kernels on small work that fits the caches: what is compared, not what is reached.
fn machine(json: bool) -> Result<()> {
    let machine = Machine::here();
    let training = machine.training();
    let devices = device::list();
    if json {
        return print::json(&serde_json::json!({
            "processor": machine.processor,
            "kernels": class(),
            "features": features(),
            "threads": machine.threads,
            "gflops": { "step": machine.step, "prefill": machine.prefill, "decode": machine.decode },
            "auto": { "train": training.name(), "run": "f32" },
            "devices": devices,
        }));
    }
    print::line(&machine.processor)?;
    print::line(format!("kernels: {}; threads: {}", class(), machine.threads))?;
    if features().iter().any(|name| name.starts_with("amx")) {
        print::line("AMX tiles: listed, no kernel uses them")?;
    }
    print::line("\nG operations/s             f32     bf16")?;
    let rows = [
        ("training step", machine.step),
        ("prefill, encoders", machine.prefill),
        ("decode", machine.decode),
    ];
    for (name, Speeds { f32, bf16 }) in rows {
        print::line(format!("{name:<20} {f32:>9.1}{bf16:>9.1}"))?;
    }
    print::line(format!(
        "\nprecision = \"auto\" trains in {}, the faster; models run as their file stores them, or in \
         f32: the same answers on every machine",
        training.name()
    ))?;
    print::line("\ndevices")?;
    devices.iter().try_for_each(|Found { name, model, memory }| {
        let memory = memory.map(|bytes| format!(", {:.1} GB", bytes as f64 / 1e9));
        print::line(format!("{:<20} {model}{}", name.to_string(), memory.unwrap_or_default()))
    })?;
    for gpu in Gpu::ALL.into_iter().filter(|gpu| !gpu.is_built()) {
        print::line(format!(
            "{:<20} not in this program: build it with --features {gpu}",
            gpu.to_string()
        ))?;
    }
    Ok(())
}

fn origin(provenance: Option<&Provenance>) -> Result<()> {
    let Some(Provenance { licence, data, .. }) = provenance else {
        return print::line("no provenance.json: what the weights were trained on is not known");
    };
    let licence = licence.as_deref().unwrap_or("not stated");
    print::line(format!("licence: {licence}; trained on:"))?;
    data.iter().try_for_each(|source| {
        let licence = source.licence.as_deref().unwrap_or("licence not stated");
        print::line(format!("  {}: {licence}", source.name))
    })
}

/// The files of weights, those of models that were trained here in the order in which data meets them.
pub fn components(directory: &Directory) -> Result<Vec<Component>> {
    let mut files = directory.weight_files();
    let place = |file: &String| COMPONENTS.iter().position(|name| stem(file) == *name);
    files.sort_by_key(|file| place(file).unwrap_or(COMPONENTS.len()));
    files.into_iter().map(|file| one(directory, file)).collect()
}

fn stem(file: &str) -> &str {
    file.rsplit_once('.').map_or(file, |(stem, _)| stem)
}

fn one(directory: &Directory, file: String) -> Result<Component> {
    let bytes = directory.weight_bytes(&file)?;
    let tensors: Vec<TensorInfo> = match file.ends_with(".gguf") {
        true => {
            let gguf = Gguf::parse(&bytes)?;
            let info =
                |t: &Info<'_>| TensorInfo { name: t.name().into(), shape: t.shape().to_vec() };
            gguf.tensors().iter().map(info).collect()
        }
        false => {
            let stored = safetensors::shapes(&directory.path().join(&file))?.into_iter();
            stored.map(|(name, stored)| TensorInfo { name, shape: stored.shape }).collect()
        }
    };
    Ok(Component {
        name: stem(&file).to_owned(),
        bytes: bytes.len(),
        blake3: blake3::hash(&bytes).to_hex().to_string(),
        parameters: tensors.iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum(),
        tensors,
        file,
    })
}
