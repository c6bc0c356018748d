//! `[lora]` in a recipe: instead of a model, what is learned beside its matrices, in peft's format.
//!
//! Hu et al. 2021, <https://arxiv.org/abs/2106.09685>, and DoRA, Liu et al. 2024,
//! <https://arxiv.org/abs/2402.09353>; keys and files are those of peft.

use std::collections::BTreeSet;
use std::path::PathBuf;

use sensorium_checkpoint::safetensors::{self, Dtype};
use sensorium_checkpoint::{Tensor, Tensors};
use sensorium_data::rng::Rng;
use sensorium_nn::lora::Lora;
use sensorium_nn::pack::Kind;
use sensorium_nn::params;
use sensorium_nn::prelude::*;
use sensorium_pretrained::adapter::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, Adapter, PREFIX, is_end};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::{Result, TrainError};
use crate::model::{self, Files, pretty};

/// Blocks of 32 numbers with one scale, as GGUF has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Quantization {
    /// 8-bit integers: about a quarter of f32's memory.
    #[serde(rename = "q8_0")]
    Q8,
    /// 4-bit integers: about a seventh.
    #[serde(rename = "q4_0")]
    Q4,
}

impl Quantization {
    fn kind(self) -> Kind {
        match self {
            Self::Q8 => Kind::Q8_0,
            Self::Q4 => Kind::Q4_0,
        }
    }
}

/// Bytes of a number.
const F32: usize = 4;

/// The stream of random numbers that hide inputs.
const DROPOUT: u64 = 0xD809;

/// What is learned beside which matrices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank of what is learned.
    #[serde(default = "eight", alias = "rank")]
    pub r: usize,
    /// Times as much as this over the rank is added.
    #[serde(default = "sixteen", alias = "alpha")]
    pub lora_alpha: f64,
    /// Ends of the names that transformers has for the matrices; without any, all of the language
    /// model's layers, or of the blocks of wav2vec 2.0.
    #[serde(default, alias = "targets")]
    pub target_modules: Vec<String>,
    /// Over the root of the rank (Kalajdzievski 2023, <https://arxiv.org/abs/2312.03732>).
    #[serde(default)]
    pub use_rslora: bool,
    /// Share (0 to 1) of a matrix's inputs that what is learned does not see, others at each step.
    #[serde(default, alias = "dropout", skip_serializing_if = "is_zero")]
    pub lora_dropout: f64,
    /// With a magnitude for each output, as DoRA has it.
    #[serde(default, skip_serializing_if = "crate::config::is_false")]
    pub use_dora: bool,
    /// How the frozen matrices are kept beside which something is learned: without, as they are.
    pub quantization: Option<Quantization>,
    /// An adapter to go on with, of this rank and alpha.
    pub from: Option<PathBuf>,
}

fn eight() -> usize {
    8
}

fn sixteen() -> f64 {
    16.0
}

fn is_zero(share: &f64) -> bool {
    *share == 0.0
}

impl LoraConfig {
    fn scale(&self) -> f64 {
        let r = self.r as f64;
        self.lora_alpha / if self.use_rslora { r.sqrt() } else { r }
    }

    fn is_target(&self, ours: &str, theirs: &str) -> bool {
        match self.target_modules.is_empty() {
            true => ["backbone.layers.", "blocks."].iter().any(|part| ours.starts_with(part)),
            false => self.target_modules.iter().any(|end| is_end(theirs, end)),
        }
    }

    /// Puts something to learn beside every matrix that is a target; `name_of` gives transformers' names
    /// of ours, and an empty one for those that cannot be targets. Gives the names of what is to be trained.
    ///
    /// # Errors
    /// The rank or the alpha is no such thing; no matrix is a target, or the adapter to go on with is
    /// of others.
    pub fn add(
        &self,
        model: &mut impl Pack,
        name_of: impl Fn(&str) -> String,
        init: &mut Init,
    ) -> Result<Vec<String>> {
        self.check()?;
        let start = self.from.as_deref().map(|path| Adapter::open(path, false)).transpose()?;
        let (mut added, mut ends, mut wrong) = (Vec::new(), BTreeSet::new(), None);
        model.matrices("", &mut |ours, matrix| {
            let Some((weight, place)) = matrix.adaptable() else { return };
            let theirs = module_of(&name_of, ours);
            if theirs.is_empty() {
                return;
            }
            ends.insert(theirs.rsplit('.').next().unwrap_or(&theirs).to_owned());
            if !self.is_target(ours, &theirs) {
                return;
            }
            let mut lora = Lora::init(weight.dims(), self.r, self.scale(), init);
            if self.use_dora {
                lora = lora.with_magnitude(weight.val());
            }
            if let Some(start) = &start {
                match self.started(lora.clone(), start, &theirs) {
                    Some(started) => lora = started,
                    None => wrong = Some(theirs),
                }
            }
            *place = Some(lora);
            added.push(format!("{ours}.lora"));
        });
        if let Some(name) = wrong {
            return Err(self.other(&name));
        }
        if added.is_empty() {
            let (targets, known) =
                (self.target_modules.join(", "), Vec::from_iter(ends).join(", "));
            let got = format!("expected ends of matrices' names, got {targets}, which match none");
            return Err(model::config("lora.target_modules", &got, &format!("there are {known}")));
        }
        if let Some(quantization) = self.quantization {
            quantize(model, quantization.kind());
        }
        Ok(added)
    }

    fn check(&self) -> Result<()> {
        if self.r == 0 || !(self.lora_alpha.is_finite() && self.lora_alpha > 0.0) {
            let got = format!(
                "expected r and lora_alpha above 0, got {} and {}",
                self.r, self.lora_alpha
            );
            return Err(model::config("lora", &got, "r = 8 and lora_alpha = 16 are usual"));
        }
        if !(0.0..1.0).contains(&self.lora_dropout) {
            let got =
                format!("expected lora_dropout of 0 or more, below 1, got {}", self.lora_dropout);
            return Err(model::config("lora", &got, "0.05 is usual"));
        }
        Ok(())
    }

    /// That the adapter to go on with is of another kind.
    fn other(&self, name: &str) -> TrainError {
        let got = format!(
            "expected an adapter of rank {} and alpha {} {} magnitudes with {name}",
            self.r,
            self.lora_alpha,
            if self.use_dora { "and" } else { "without" },
        );
        let hint = "give the r, lora_alpha, use_dora and target_modules of its adapter_config.json";
        model::config("lora.from", &got, hint)
    }

    /// With the values of an adapter; nothing if it is of another kind.
    fn started(&self, lora: Lora, start: &Adapter, name: &str) -> Option<Lora> {
        let ([a, b], scale) = start.module(name)?;
        let magnitude = start.magnitude(name);
        let fits = a.shape() == lora.a.dims()
            && b.shape() == lora.b.dims()
            && magnitude.map(|m| m.data().len()) == lora.magnitude.as_ref().map(|m| m.dims()[0]);
        ((scale - self.scale()).abs() < 1e-9 && fits).then(|| {
            params::update(lora, |name, _, data| {
                let values = match name {
                    "a" => a,
                    "b" => b,
                    _ => magnitude.unwrap_or(b),
                };
                data.copy_from_slice(values.data());
                true
            })
        })
    }

    /// Hides other inputs, by the number of the step and of its part alone.
    pub fn drop(&self, model: &mut impl Pack, seed: u64, [step, part]: [u64; 2]) {
        if self.lora_dropout == 0.0 {
            return;
        }
        let mut number = 0;
        let step = Rng::at(seed, DROPOUT, step).next_u64();
        model.matrices("", &mut |_, matrix| {
            if let Some((_, Some(lora))) = matrix.adaptable() {
                lora.set_dropout(self.lora_dropout, Rng::at(step, part, number).next_u64());
                number += 1;
            }
        });
    }

    /// What was trained, as peft's `save_pretrained` writes it.
    ///
    /// # Errors
    /// Never in practice: all of it can be written down.
    pub fn files(
        &self,
        model: &impl Module,
        name_of: impl Fn(&str) -> String,
        base: &str,
    ) -> Result<Files> {
        let (mut tensors, mut targets, mut saved) =
            (Tensors::default(), BTreeSet::new(), BTreeSet::new());
        for (ours, values) in params::trained(model) {
            let lora = [
                (".lora.a", "lora_A.weight"),
                (".lora.b", "lora_B.weight"),
                (".lora.magnitude", "lora_magnitude_vector"),
            ];
            let found = lora.into_iter().find_map(|(end, is)| Some((ours.strip_suffix(end)?, is)));
            let name = match found {
                Some((layer, is)) => {
                    let module = module_of(&name_of, layer);
                    let name = format!("{PREFIX}{module}.{is}");
                    targets.insert(module);
                    name
                }
                None => {
                    let name = name_of(&ours);
                    saved.extend(name.rsplit_once('.').map(|(module, _)| module.to_owned()));
                    format!("{PREFIX}{name}")
                }
            };
            let tensor = Tensor::new(values.shape, values.data)?;
            tensors.tensors.insert(name, tensor);
        }
        let config = json!({
            "peft_type": "LORA",
            "task_type": null,
            "base_model_name_or_path": base,
            "r": self.r,
            "lora_alpha": self.lora_alpha,
            "lora_dropout": self.lora_dropout,
            "use_rslora": self.use_rslora,
            "use_dora": self.use_dora,
            "bias": "none",
            "fan_in_fan_out": false,
            "init_lora_weights": true,
            "inference_mode": true,
            "target_modules": targets,
            "modules_to_save": (!saved.is_empty()).then_some(saved),
        });
        Ok(vec![
            (ADAPTER_WEIGHTS.into(), safetensors::write(&tensors, Dtype::F32)?),
            (ADAPTER_CONFIG.into(), pretty(&config)?),
        ])
    }
}

/// Keeps the frozen matrices beside which something is learned in few bits.
fn quantize(model: &mut impl Pack, kind: Kind) {
    let (mut whole, mut kept) = (0, 0);
    model.matrices("", &mut |_, matrix| {
        let size = match matrix.adaptable() {
            Some((weight, Some(_))) => weight.dims().iter().product::<usize>(),
            _ => return,
        };
        if matrix.quantize(kind) {
            whole += F32 * size;
            kept += size / kind.block() * kind.block_bytes();
        }
    });
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    eprintln!("frozen matrices: {:.1} MiB, {:.1} MiB in f32", mib(kept), mib(whole));
}

/// transformers' name of our layer.
fn module_of(name_of: &impl Fn(&str) -> String, layer: &str) -> String {
    let name = name_of(&format!("{layer}.weight"));
    name.strip_suffix(".weight").unwrap_or(&name).to_owned()
}
