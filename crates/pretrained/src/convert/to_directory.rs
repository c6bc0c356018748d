//! From a GGUF file to a directory.

use std::collections::BTreeMap;
use std::path::Path;

use sensorium_backbone::{LlamaConfig, RopeScaling};
use serde_json::{Value, json};

use super::{Converted, Meter, common, unwritable};
use crate::directory::Directory;
use crate::error::Result;
use crate::gguf::config::{self, Family};
use crate::gguf::tokenizer::{self as gguf_tokenizer, SpecialIds};
use crate::gguf::weights;
use crate::names::{GGUF, LLAMA};
use sensorium_checkpoint as checkpoint;
use sensorium_checkpoint::directory::create_whole;
use sensorium_checkpoint::file::{Disk, FileSystem};
use sensorium_checkpoint::gguf::{Gguf, Info, Kind, Mapped};
use sensorium_checkpoint::safetensors::{self, Dtype};
use sensorium_checkpoint::{Error, Tensor};

/// See [`convert`](super::convert).
pub fn write(
    from: &Path,
    to: &Path,
    kind: Option<Kind>,
    strict: bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Converted> {
    let mapped = Mapped::open(from)?;
    let gguf = mapped.gguf()?;
    crate::gguf::tell(&gguf, strict)?;
    let matrices = gguf.tensors().iter().filter(|info| info.shape().len() == 2);
    let dtype = dtype(to, kind.unwrap_or_else(|| common(matrices.map(Info::kind))))?;
    let weights = Weights::new(&gguf, to, dtype)?;
    weights::check(&gguf, &weights.config)?;
    gguf.tensors().iter().try_for_each(Info::check)?;
    let texts = weights.texts()?;

    let (parameters, mut bytes) = (weights.parameters(), 0);
    let mut meter = Meter::new(parameters, progress);
    create_whole(&Disk, to, |temp| {
        Disk.create_dir(temp).map_err(Error::io("create", temp))?;
        for (name, text) in &texts {
            let path = temp.join(name);
            Disk.write(&path, text).map_err(Error::io("write", &path))?;
            bytes += text.len() as u64;
        }
        let mut pieces = weights.pieces(&mut meter)?.inspect(|piece| {
            bytes += piece.as_ref().map_or(0, Vec::len) as u64;
        });
        Disk.write_pieces(&temp.join("model.safetensors"), &mut pieces)?;
        Disk.sync_dir(temp).map_err(Error::io("sync", temp))
    })?;
    let n = weights.config.parameters().len();
    let stored = BTreeMap::from([(format!("{dtype:?}"), n)]);
    Ok(Converted { family: weights.model_type, parameters, stored, bytes })
}

/// The file at `from` as the directory that [`write`] makes of it, its tensors in memory, in f32.
///
/// # Errors
/// As [`convert`](super::convert).
pub fn read(from: &Path, strict: bool) -> Result<Directory> {
    let mapped = Mapped::open(from)?;
    let gguf = mapped.gguf()?;
    crate::gguf::tell(&gguf, strict)?;
    let weights = Weights::new(&gguf, from, Dtype::F32)?;
    weights::check(&gguf, &weights.config)?;
    let tensor = |(ours, shape): (String, Vec<usize>)| {
        gguf.get(&GGUF.to_hf(&ours))?.check()?;
        Ok((LLAMA.to_hf(&ours), Tensor::new(shape, weights.values(&ours)?)?))
    };
    let tensors = weights.config.parameters().into_iter().map(tensor);
    let tensors = tensors.collect::<checkpoint::Result<_>>()?;
    Directory::held(from, weights.texts()?, tensors)
}

fn dtype(to: &Path, kind: Kind) -> checkpoint::Result<Dtype> {
    match kind {
        Kind::F32 => Ok(Dtype::F32),
        Kind::F16 => Ok(Dtype::F16),
        Kind::BF16 => Ok(Dtype::BF16),
        other => {
            let hint = "safetensors of these models hold no blocks";
            Err(unwritable(to, "f32, f16 or bf16", &format!("{other:?}"), hint))
        }
    }
}

/// A file as the directory of the same model.
struct Weights<'a> {
    gguf: &'a Gguf<'a>,
    config: LlamaConfig,
    family: &'static Family,
    model_type: &'static str,
    dtype: Dtype,
}

impl<'a> Weights<'a> {
    /// Refuses, naming `place`, what no directory can say.
    fn new(gguf: &'a Gguf<'a>, place: &Path, dtype: Dtype) -> Result<Self> {
        let (config, family) = config::read(gguf)?;
        let Some(&model_type) = family.published.first() else {
            let hint = "run the GGUF file itself, or take the published directory";
            let expected = "a model whose directory holds the same tensors";
            return Err(unwritable(place, expected, family.name, hint).into());
        };
        // The setting of a directory is one for both.
        if family.biases.is_none() && config.biases.qkv != config.biases.o {
            let (expected, hint) =
                ("biases on all maps of attention, or none", "no config.json says so");
            return Err(unwritable(place, expected, "some", hint).into());
        }
        Ok(Self { gguf, config, family, model_type, dtype })
    }

    fn parameters(&self) -> u64 {
        let counts = self.config.parameters().into_iter();
        counts.map(|(_, shape)| shape.iter().product::<usize>() as u64).sum()
    }

    /// The file, piece by piece, in the order of the published names.
    fn pieces<'m>(
        &'m self,
        meter: &'m mut Meter<'_>,
    ) -> checkpoint::Result<impl Iterator<Item = checkpoint::Result<Vec<u8>>> + 'm> {
        let all = self.config.parameters().into_iter();
        let all: BTreeMap<String, (String, Vec<usize>)> =
            all.map(|(ours, shape)| (LLAMA.to_hf(&ours), (ours, shape))).collect();
        let shapes = all.iter().map(|(name, (_, shape))| (name.as_str(), shape.as_slice()));
        // Other readers ask for it.
        let format = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        let head = safetensors::head(&shapes.collect(), &format, self.dtype)?;
        let body = move |(name, (ours, _)): (String, (String, Vec<usize>))| {
            let values = self.values(&ours)?;
            meter.add(values.len());
            safetensors::body(&name, &values, self.dtype)
        };
        Ok(std::iter::once(Ok(head)).chain(all.into_iter().map(body)))
    }

    fn values(&self, ours: &str) -> checkpoint::Result<Vec<f32>> {
        let (shape, data) = self.gguf.get(&GGUF.to_hf(ours))?.tensor()?.into_parts();
        if !weights::rotated(self.family, ours) {
            return Ok(data);
        }
        let row = shape.get(1).copied().unwrap_or(1);
        Ok(weights::halves(&data, row, self.config.head_dim))
    }

    /// Every file but the weights.
    fn texts(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let Self { gguf, config, family, dtype, .. } = self;
        let metadata = &gguf.metadata;
        let published = gguf_tokenizer::published(metadata)?;
        let tokenizer = gguf_tokenizer::read(metadata)?;
        let special_ids = gguf_tokenizer::special_ids(metadata, &tokenizer)?;
        let chat = gguf_tokenizer::chat(metadata);
        let mut tokens = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": false,
            "model_max_length": config.context,
        });
        for (name, token) in &chat.variables {
            tokens[name] = token.clone();
        }
        if let Some(text) = chat.text()? {
            tokens["chat_template"] = text.into();
        }
        let mut settings = settings(config, family, *dtype);
        let mut generation = json!({"_from_model_config": true});
        let (begin, end) = eos_token_ids(gguf, &special_ids);
        for file in [&mut settings, &mut generation] {
            file["bos_token_id"] = begin.clone();
            file["eos_token_id"] = end.clone();
        }
        let text = |value: &Value| format!("{value:#}\n").into_bytes();
        Ok(vec![
            ("config.json", text(&settings)),
            ("generation_config.json", text(&generation)),
            ("tokenizer.json", published.to_json(special_ids.bos_token_id)?),
            ("tokenizer_config.json", text(&tokens)),
        ])
    }
}

/// The ids that open and end texts, as `config.json` has them.
fn eos_token_ids(gguf: &Gguf<'_>, special_ids: &SpecialIds) -> (Value, Value) {
    let begin = gguf.metadata.u32("tokenizer.ggml.bos_token_id").ok().or(special_ids.bos_token_id);
    let end = match special_ids.eos_token_ids[..] {
        [] => Value::Null,
        [one] => one.into(),
        _ => special_ids.eos_token_ids.clone().into(),
    };
    (begin.into(), end)
}

fn settings(config: &LlamaConfig, family: &Family, dtype: Dtype) -> Value {
    let (kind, architecture) = match family.name {
        "qwen2" => ("qwen2", "Qwen2ForCausalLM"),
        "qwen3" => ("qwen3", "Qwen3ForCausalLM"),
        _ => ("llama", "LlamaForCausalLM"),
    };
    let mut settings = json!({
        "architectures": [architecture],
        "model_type": kind,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.context,
        "rms_norm_eps": decimal(config.eps as f32),
        // As before transformers 5, which all versions read.
        "rope_theta": decimal(config.theta),
        "tie_word_embeddings": config.tied,
        "torch_dtype": match dtype {
            Dtype::F32 => "float32",
            Dtype::F16 => "float16",
            Dtype::BF16 => "bfloat16",
        },
    });
    if kind == "llama" {
        settings["attention_bias"] = config.biases.qkv.into();
        settings["mlp_bias"] = config.biases.mlp.into();
    }
    match &config.rope_scaling {
        RopeScaling::None => {}
        RopeScaling::Linear { factor } => {
            settings["rope_scaling"] = json!({"rope_type": "linear", "factor": decimal(*factor)});
        }
        RopeScaling::Llama3 { factor, low, high, context } => {
            settings["rope_scaling"] = json!({
                "rope_type": "llama3",
                "factor": decimal(*factor),
                "low_freq_factor": decimal(*low),
                "high_freq_factor": decimal(*high),
                "original_max_position_embeddings": *context as u64,
            });
        }
        RopeScaling::Yarn { factor, fast, slow, context, truncate, attention } => {
            settings["rope_scaling"] = json!({
                "rope_type": "yarn",
                "factor": decimal(*factor),
                "beta_fast": decimal(*fast),
                "beta_slow": decimal(*slow),
                "truncate": truncate,
                "attention_factor": decimal(*attention),
                "original_max_position_embeddings": *context as u64,
            });
        }
        RopeScaling::LongRope { short, long, context, attention } => {
            settings["rope_scaling"] = json!({
                "rope_type": "longrope",
                "short_factor": short.iter().map(|x| decimal(*x)).collect::<Vec<_>>(),
                "long_factor": long.iter().map(|x| decimal(*x)).collect::<Vec<_>>(),
                "attention_factor": decimal(*attention),
                "original_max_position_embeddings": context,
            });
        }
    }
    settings
}

/// The number as it is written in decimal, not as its f32 is widened: 1e-6, not 9.99999997e-7.
fn decimal(x: f32) -> f64 {
    x.to_string().parse().unwrap_or_else(|_| x.into())
}
