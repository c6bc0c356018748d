//! LoRA adapters as peft saves them: what they add to a checkpoint's matrices.
//!
//! Hu et al. 2021, <https://arxiv.org/abs/2106.09685>; with rank-stabilised scales (Kalajdzievski 2023,
//! <https://arxiv.org/abs/2312.03732>) and magnitudes apart (DoRA, Liu et al. 2024,
//! <https://arxiv.org/abs/2402.09353>).
//!
//! ```text
//! W [out, in]  +  scale · B [out, r] · A [r, in]          scale = alpha / r, or alpha / √r
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sensorium_checkpoint::{Tensor, Tensors, safetensors};
use sensorium_nn::params::read;
use sensorium_nn::prelude::{Device, Tensor as Array, TensorData};
use serde_json::Value;

use crate::config::Config;
use crate::directory::read_json;
use crate::error::{Error, Result};
use crate::ignored::tell;

/// The settings of an adapter.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
/// Its weights.
pub const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";
/// What peft's models put in front of a module's name.
pub const PREFIX: &str = "base_model.model.";

/// The way out where what an adapter does is not done here.
const MERGE: &str = "merge it once with Python: merge_and_unload";

/// Settings that change what an adapter does, and that nothing here heeds: they must say nothing.
const UNREAD: [&str; 10] = [
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "use_qalora",
    "alora_invocation_tokens",
    "arrow_config",
    "lora_ga_config",
    "use_bdlora",
    "kasa_config",
    "velora_config",
];

/// Settings of training alone, and those that the weights tell of by themselves.
const WITHOUT_EFFECT: [&str; 21] = [
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "lora_bias",
    "lora_dropout",
    "megatron_config",
    "megatron_core",
    "modules_to_save",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "target_modules",
    "use_dora",
];

/// First values of A and B that leave the model's own matrices as they were.
const INITS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// What an adapter adds to a model.
#[derive(Clone, Debug)]
pub struct Adapter {
    path: PathBuf,
    alpha: f64,
    /// Of modules by the end of their name.
    alphas: BTreeMap<String, f64>,
    rank_stabilised: bool,
    /// Matrices are `[in, out]`, as GPT-2's.
    transposed: bool,
    modules: BTreeMap<String, Module>,
    /// Tensors that take the place of the model's own.
    replaced: Vec<(String, Tensor)>,
}

/// What is learned about one matrix.
#[derive(Clone, Debug, Default)]
struct Module {
    /// `[r, in]`
    a: Option<Tensor>,
    /// `[out, r]`
    b: Option<Tensor>,
    /// `[out]`, of DoRA.
    magnitude: Option<Tensor>,
    /// A table's, whose matrix is `[in, out]`.
    table: bool,
}

impl Adapter {
    /// Reads `adapter_config.json` and `adapter_model.safetensors`. One is told of settings that are not heeded.
    ///
    /// # Errors
    /// One of them is missing or damaged, or asks for what is not done here; `strict`, a setting is not heeded.
    pub fn open(path: &Path, strict: bool) -> Result<Self> {
        let missing = |file: &str| Error::Missing {
            file: file.to_owned(),
            path: path.to_owned(),
            found: crate::directory::listing(path),
            hint: "pass the directory that peft's save_pretrained wrote, or a training with [lora]",
        };
        let settings =
            read_json(&path.join(ADAPTER_CONFIG))?.ok_or_else(|| missing(ADAPTER_CONFIG))?;
        let config = Config::new(ADAPTER_CONFIG, &settings);
        config.only("peft_type", &"LORA".into())?;
        UNREAD.iter().try_for_each(|key| nothing(&config, key))?;
        initialised(&config)?;
        config.without_effect(&WITHOUT_EFFECT);
        let weights = path.join(ADAPTER_WEIGHTS);
        if !weights.exists() {
            return Err(missing(ADAPTER_WEIGHTS));
        }
        let mut adapter = Self {
            path: path.to_owned(),
            alpha: config.positive_or("lora_alpha", 8.0)?,
            alphas: alphas(&config)?,
            rank_stabilised: config.flag_or("use_rslora", false)?,
            transposed: config.flag_or("fan_in_fan_out", false)?,
            modules: BTreeMap::new(),
            replaced: Vec::new(),
        };
        tell(&format!("{}: ", path.display()), ADAPTER_CONFIG, &config.ignored(), strict)?;
        for (name, tensor) in safetensors::load(&weights)?.tensors {
            adapter.keep(&name, tensor);
        }
        Ok(adapter)
    }

    /// Sorts a tensor by the end of its name. A table that is learned about is saved as it was, too.
    fn keep(&mut self, name: &str, tensor: Tensor) {
        let name = name.strip_prefix(PREFIX).unwrap_or(name).replace(".base_layer.", ".");
        let ends = [
            ".lora_A.weight",
            ".lora_B.weight",
            ".lora_embedding_A",
            ".lora_embedding_B",
            ".lora_magnitude_vector",
            ".lora_magnitude_vector.weight",
        ];
        let found = ends.into_iter().find_map(|end| Some((end, name.strip_suffix(end)?)));
        let Some((end, module)) = found else {
            return self.replaced.push((name.to_owned(), tensor));
        };
        let module = self.modules.entry(module.to_owned()).or_default();
        module.table |= end.contains("embedding");
        match end {
            ".lora_A.weight" | ".lora_embedding_A" => module.a = Some(tensor),
            ".lora_B.weight" | ".lora_embedding_B" => module.b = Some(tensor),
            _ => module.magnitude = Some(tensor),
        }
    }

    /// Adds what was learned to the model's own tensors.
    ///
    /// # Errors
    /// The model has no such matrices, or of other shapes.
    pub fn merge(&self, tensors: &mut Tensors) -> Result<()> {
        for (name, new) in &self.replaced {
            let key = self.place(tensors, name)?;
            let old = &tensors.tensors[&key];
            if old.shape() != new.shape() {
                return Err(self.shape(&key, format!("{:?}", old.shape()), new.shape()));
            }
            tensors.tensors.insert(key, new.clone());
        }
        for (name, module) in &self.modules {
            let key = self.place(tensors, &format!("{name}.weight"))?;
            let old = tensors.tensors[&key].clone();
            let new =
                self.merged(name, module, &old).ok_or_else(|| self.other(&key, module, &old))?;
            tensors.tensors.insert(key, new);
        }
        Ok(())
    }

    /// The matrix with what was learned about it; nothing where shapes disagree.
    fn merged(&self, name: &str, module: &Module, old: &Tensor) -> Option<Tensor> {
        let (a, b) = (module.a.as_ref()?, module.b.as_ref()?);
        let (&[r, in_], &[out, rank]) = (a.shape(), b.shape()) else { return None };
        let transposed = self.transposed || module.table;
        let shape = if transposed { [in_, out] } else { [out, in_] };
        if r != rank || r == 0 || old.shape() != shape {
            return None;
        }
        let delta = array(b).matmul(array(a)); // [out, in]
        let delta = read(if transposed { delta.transpose() } else { delta });
        let scale = self.scale(name, r) as f32;
        let mut new: Vec<f32> =
            old.data().iter().zip(&delta).map(|(old, delta)| old + scale * delta).collect();
        if let Some(magnitude) = &module.magnitude {
            let index = |i: usize| if transposed { i % out } else { i / in_ };
            rescale(&mut new, magnitude, out, index)?;
        }
        Tensor::new(shape.to_vec(), new).ok()
    }

    /// What was learned about the matrix of a layer: A `[r, in]`, B `[out, r]`, and their scale.
    pub fn module(&self, name: &str) -> Option<([&Tensor; 2], f64)> {
        let (name, module) = self.modules.get_key_value(name)?;
        let (a, b) = (module.a.as_ref()?, module.b.as_ref()?);
        Some(([a, b], self.scale(name, *a.shape().first()?)))
    }

    /// The magnitudes `[out]` of a layer's matrix, of DoRA.
    pub fn magnitude(&self, name: &str) -> Option<&Tensor> {
        self.modules.get(name)?.magnitude.as_ref()
    }

    fn scale(&self, name: &str, r: usize) -> f64 {
        let own = self.alphas.iter().find(|(end, _)| is_end(name, end));
        let alpha = own.map_or(self.alpha, |(_, alpha)| *alpha);
        alpha / if self.rank_stabilised { (r as f64).sqrt() } else { r as f64 }
    }

    /// The model's name for a tensor: that one, or the only one that differs in wrappers alone.
    fn place(&self, tensors: &Tensors, name: &str) -> Result<String> {
        if tensors.tensors.contains_key(name) {
            return Ok(name.to_owned());
        }
        let bare = without_wrappers(name);
        let mut found = tensors.tensors.keys().filter(|key| without_wrappers(key) == bare);
        match (found.next(), found.next()) {
            (Some(key), None) => Ok(key.clone()),
            _ => Err(self.error(
                format!("a model that has {name}"),
                format!("one of {} tensors without it", tensors.tensors.len()),
            )),
        }
    }

    fn other(&self, key: &str, module: &Module, old: &Tensor) -> Error {
        let shape = |tensor: &Option<Tensor>| tensor.as_ref().map(|tensor| tensor.shape().to_vec());
        let got = format!("A {:?}, B {:?}", shape(&module.a), shape(&module.b));
        self.error(format!("A and B of {key} {:?}", old.shape()), got)
    }

    fn shape(&self, key: &str, expected: String, got: &[usize]) -> Error {
        self.error(format!("{key} {expected}"), format!("{got:?}"))
    }

    fn error(&self, expected: String, got: String) -> Error {
        Error::Adapter { path: self.path.clone(), expected, got }
    }
}

fn array(matrix: &Tensor) -> Array<2> {
    let data = TensorData::new(matrix.data().to_vec(), matrix.shape().to_vec());
    Array::from_data(data, &Device::flex())
}

/// Rows of the norms that were learned; nothing where there is not one for each.
fn rescale(
    w: &mut [f32],
    magnitude: &Tensor,
    out: usize,
    index: impl Fn(usize) -> usize,
) -> Option<()> {
    if magnitude.data().len() != out {
        return None;
    }
    let mut squares = vec![0.0_f64; out];
    w.iter().enumerate().for_each(|(i, w)| squares[index(i)] += f64::from(*w).powi(2));
    for (i, w) in w.iter_mut().enumerate() {
        let row = index(i);
        *w *= magnitude.data()[row] / squares[row].sqrt() as f32;
    }
    Some(())
}

/// A module's name without what classes wrap around the model that its file is of.
fn without_wrappers(name: &str) -> String {
    let parts =
        name.split('.').filter(|part| !["model", "language_model", "vision_model"].contains(part));
    parts.collect::<Vec<_>>().join(".")
}

/// Whether a module's name ends with these parts, as peft tells which modules a setting means.
pub fn is_end(name: &str, end: &str) -> bool {
    name.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Alphas of modules of their own. peft reads their names as patterns; plain ones are read here.
fn alphas(config: &Config<'_>) -> Result<BTreeMap<String, f64>> {
    let patterns = config.find_or_empty("alpha_pattern")?;
    let alpha = |name: &str| match name.contains(|c: char| "*+?[](){}|^$\\".contains(c)) {
        true => Err(patterns.wrong(name, "the end of a module's name", "merge it with Python")),
        false => Ok((name.to_owned(), patterns.positive_or(name, 1.0)?)),
    };
    patterns.keys().map(alpha).collect()
}

/// Refuses what was learned beside matrices that peft had changed before.
fn initialised(config: &Config<'_>) -> Result<()> {
    match config.get("init_lora_weights") {
        None | Some(Value::Bool(_)) => Ok(()),
        Some(Value::String(way)) if INITS.contains(&way.as_str()) => Ok(()),
        Some(_) => Err(config.wrong(
            "init_lora_weights",
            "true, false, gaussian, eva or orthogonal, which leave the model's matrices alone",
            MERGE,
        )),
    }
}

/// Refuses a setting that says anything.
fn nothing(config: &Config<'_>, key: &str) -> Result<()> {
    match config.get(key) {
        None | Some(Value::Bool(false)) => Ok(()),
        Some(Value::Array(list)) if list.is_empty() => Ok(()),
        Some(Value::Object(map)) if map.is_empty() => Ok(()),
        Some(_) => Err(config.wrong(key, "nothing", MERGE)),
    }
}
