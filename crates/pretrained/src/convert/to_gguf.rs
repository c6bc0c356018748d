//! From a directory to a GGUF file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sensorium_backbone::{BackboneConfig, LlamaConfig, RopeScaling};
use sensorium_media::Vocabulary;
use serde_json::Value as Json;

use super::{Converted, Meter, common};
use crate::config::Config;
use crate::directory::Directory;
use crate::error;
use crate::error::Result;
use crate::families::language;
use crate::gguf::config::{self as gguf_config, FAMILIES, Family, ROPE_FREQS};
use crate::gguf::tokenizer::{self as gguf_tokenizer, ENDS, OPENS, TEMPLATE};
use crate::gguf::weights;
use crate::names::{GGUF, LLAMA};
use crate::text;
use sensorium_checkpoint as checkpoint;
use sensorium_checkpoint::Error;
use sensorium_checkpoint::file::{Disk, write_atomic_pieces};
use sensorium_checkpoint::gguf::{self, Form, Kind, Metadata, Value};
use sensorium_checkpoint::safetensors::{self, Stored};

/// A tensor of the file to be.
struct Tensor {
    name: String,
    shape: Vec<usize>,
    kind: Kind,
    from: From,
}

/// Where its values come from.
enum From {
    /// A file, under this name, its rows to be stored as pairs in heads of so many.
    File(PathBuf, String, Option<usize>),
    /// The configuration.
    Values(Vec<f32>),
}

impl Tensor {
    fn form(&self) -> Form<'_> {
        Form { name: &self.name, shape: &self.shape, kind: self.kind }
    }

    fn values(&self) -> checkpoint::Result<Vec<f32>> {
        match &self.from {
            From::Values(values) => Ok(values.clone()),
            From::File(path, name, head) => {
                let (shape, data) = safetensors::load_one(path, name)?.into_parts();
                let row = shape.get(1).copied().unwrap_or(1);
                Ok(match *head {
                    Some(head) => weights::pairs(&data, row, head),
                    None => data,
                })
            }
        }
    }
}

/// See [`convert`](super::convert).
pub fn write(
    from: &Path,
    to: &Path,
    kind: Option<Kind>,
    strict: bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Converted> {
    let directory = Directory::open(from)?.strict(strict);
    let (config, family) = model(&directory)?;
    let mut metadata = gguf_config::write(&config, family)?;
    language::plan(&directory)?.check(&directory)?;
    let tensors = tensors(&directory, &config, family, kind)?;
    let name = from.canonicalize().unwrap_or_else(|_| from.into());
    let name =
        name.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    metadata.set("general.name", Value::String(name));
    describe(&mut metadata, &tensors);
    tell(&mut metadata, &directory, &config)?;

    let forms: Vec<Form<'_>> = tensors.iter().map(Tensor::form).collect();
    let head = gguf::head(&metadata, &forms)?;
    let parameters =
        tensors.iter().map(|tensor| tensor.shape.iter().product::<usize>() as u64).sum();
    let (mut meter, mut bytes) = (Meter::new(parameters, progress), 0);
    let body = |tensor: &Tensor| {
        let values = tensor.values()?;
        let body = gguf::body(&metadata, &tensor.form(), &values)?;
        meter.add(values.len());
        Ok(body)
    };
    let pieces = std::iter::once(Ok(head)).chain(tensors.iter().map(body));
    let mut pieces = pieces.inspect(|piece: &checkpoint::Result<Vec<u8>>| {
        bytes += piece.as_ref().map_or(0, Vec::len) as u64;
    });
    write_atomic_pieces(&Disk, to, &mut pieces)?;
    let mut stored = BTreeMap::new();
    for form in forms {
        *stored.entry(format!("{:?}", form.stored())).or_default() += 1;
    }
    Ok(Converted { family: family.name, parameters, stored, bytes })
}

/// The shape, and the family as which GGUF knows it.
fn model(directory: &Directory) -> Result<(LlamaConfig, &'static Family)> {
    let settings = directory.config();
    let kind = settings.text_or("model_type", "")?;
    let family = FAMILIES.iter().find(|family| family.published.contains(&kind));
    if let Some(family) = family
        && let BackboneConfig::Llama(config) = language::config(&settings)?
    {
        return Ok((config, family));
    }
    let known: Vec<&str> = FAMILIES.iter().flat_map(|family| family.published).copied().collect();
    let hint = "models of other families cannot be converted yet";
    Err(settings.wrong("model_type", &format!("one of {}", known.join(", ")), hint))
}

/// Every tensor of the file, in the order of the model.
fn tensors(
    directory: &Directory,
    config: &LlamaConfig,
    family: &Family,
    kind: Option<Kind>,
) -> Result<Vec<Tensor>> {
    let mut places = directory.places()?;
    let matrices = places.values().filter(|(_, stored)| stored.shape.len() == 2);
    let kind = kind.unwrap_or_else(|| {
        common(matrices.map(|(_, stored)| match stored.dtype.as_str() {
            "F16" => Kind::F16,
            "BF16" => Kind::BF16,
            _ => Kind::F32,
        }))
    });
    let tensor = |(ours, shape): (String, Vec<usize>)| {
        let theirs = LLAMA.to_hf(&ours);
        let (path, _) = places
            .remove(&theirs)
            .ok_or_else(|| Error::NoTensor { name: theirs.clone(), closest: String::new() })?;
        let head = weights::rotated(family, &ours).then_some(config.head_dim);
        // Norms and biases are few, and other readers expect them so.
        let kind = if shape.len() == 1 { Kind::F32 } else { kind };
        let from = From::File(path, theirs, head);
        Ok(Tensor { name: GGUF.to_hf(&ours), shape, kind, from })
    };
    let mut all = config.parameters().into_iter().map(tensor).collect::<Result<Vec<_>>>()?;
    same_head(&places, &all)?;
    if matches!(config.rope_scaling, RopeScaling::Llama3 { .. }) {
        let values = config.rope_scaling.factors(config.theta, config.head_dim, 0);
        let (name, shape) = (ROPE_FREQS.to_owned(), vec![values.len()]);
        all.push(Tensor { name, shape, kind: Kind::F32, from: From::Values(values) });
    }
    Ok(all)
}

/// That a head which is left behind is the token table again.
fn same_head(left: &BTreeMap<String, (PathBuf, Stored)>, taken: &[Tensor]) -> Result<()> {
    const HEAD: &str = "lm_head.weight";
    let Some((path, _)) = left.get(HEAD) else { return Ok(()) };
    let table = taken.first().map_or(Ok(Vec::new()), Tensor::values)?;
    if safetensors::load_one(path, HEAD)?.data() == table {
        return Ok(());
    }
    Err(language::untied(HEAD, "embed_tokens.weight"))
}

/// How most of the numbers are stored.
fn describe(metadata: &mut Metadata, tensors: &[Tensor]) {
    let matrix = tensors.iter().find(|tensor| tensor.shape.len() == 2);
    let kind = matrix.map_or(Kind::F32, |tensor| tensor.kind);
    // llama.cpp's numbers of mixtures; ours are plain.
    let number = match kind {
        Kind::F32 => 0,
        Kind::F16 => 1,
        Kind::Q4_0 => 2,
        Kind::Q4_1 => 3,
        Kind::Q8_0 => 7,
        Kind::Q5_0 => 8,
        Kind::Q5_1 => 9,
        Kind::Q2_K => 10,
        Kind::Q3_K => 11,
        Kind::Q4_K => 14,
        Kind::Q5_K => 16,
        Kind::Q6_K => 18,
        Kind::IQ4_NL => 25,
        Kind::IQ4_XS => 30,
        Kind::BF16 => 32,
    };
    metadata.set("general.file_type", Value::U32(number));
    if kind.block() > 1 {
        metadata.set("general.quantization_version", Value::U32(2));
    }
}

/// The tokens, those with a meaning, and the chat template.
fn tell(metadata: &mut Metadata, directory: &Directory, config: &LlamaConfig) -> Result<()> {
    let hub = text::tokenizer(directory)?;
    gguf_tokenizer::write(metadata, Vocabulary::from_json(&hub.to_bytes()?, config.vocab_size)?);
    let bos_token_id = hub.encode_within("", true, usize::MAX)?;
    if bos_token_id.len() > 1 {
        let (expected, got) =
            ("at most one token around a text".into(), bos_token_id.len().to_string());
        let place = "post_processor".into();
        return Err(error::Error::Text(sensorium_media::Error::Tokenizer { place, expected, got }));
    }
    let chat = text::chat(directory)?;
    if let Some(text) = chat.text()? {
        metadata.set(TEMPLATE, Value::String(text.into()));
    }
    let named =
        |key: &str| chat.variables.get(key).and_then(Json::as_str).and_then(|name| hub.id(name));
    metadata.set(OPENS, Value::Bool(!bos_token_id.is_empty()));
    let settings = directory.config();
    let set = |metadata: &mut Metadata, key: &str, id: Option<u32>| {
        if let Some(id) = id.filter(|id| (*id as usize) < config.vocab_size) {
            metadata.set(key, Value::U32(id));
        }
    };
    let bos =
        bos_token_id.first().copied().or(named("bos_token")).or(id(&settings, "bos_token_id"));
    set(metadata, "tokenizer.ggml.bos_token_id", bos);
    let pad = named("pad_token").or(id(&settings, "pad_token_id"));
    set(metadata, "tokenizer.ggml.padding_token_id", pad);
    set(metadata, "tokenizer.ggml.unknown_token_id", named("unk_token"));
    for (key, id) in ENDS.into_iter().zip(eos_token_ids(directory, named("eos_token"))?) {
        set(metadata, key, Some(id));
    }
    Ok(())
}

/// The ids that end texts, that of the tokenizer first.
fn eos_token_ids(directory: &Directory, named: Option<u32>) -> Result<Vec<u32>> {
    let mut eos_token_ids = text::eos_token_ids(directory)?;
    if let Some(at) = eos_token_ids.iter().position(|end| Some(*end) == named) {
        eos_token_ids.swap(0, at);
    } else if eos_token_ids.is_empty() {
        eos_token_ids.extend(named);
    }
    if eos_token_ids.len() > ENDS.len() {
        return Err(Error::Unwritable {
            what: "the ids that end texts".into(),
            expected: format!("at most {}, for which GGUF has keys", ENDS.len()),
            got: eos_token_ids.len().to_string(),
            hint: "leave in generation_config.json those eos_token_id that the model says",
        }
        .into());
    }
    Ok(eos_token_ids)
}

/// One id of the settings; lists of them have no key.
fn id(settings: &Config<'_>, key: &str) -> Option<u32> {
    settings.get(key)?.as_u64()?.try_into().ok()
}
