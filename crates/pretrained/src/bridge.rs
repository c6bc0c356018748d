//! What was learned between two frozen models, without them: `config.json` is that of the whole model and
//! names them, the weights are the bridge's own.
//!
//! ```text
//! "parts": {"encoder":  {"path": "data/dinov2-small/hub",   "blake3": "70b2.."},
//!           "backbone": {"path": "SmolLM2-135M-Q8_0.gguf", "blake3": "41c0.."}}
//! ```
//! Such a directory is read as that of the whole model. A path is sought from the directory, then from where
//! the program runs.

use std::path::{Path, PathBuf};

use sensorium_checkpoint::safetensors::{self, Dtype};
use sensorium_checkpoint::{Tensors, manifest};
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::convert;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::families::{Files, blip2, llava};

const PARTS: &str = "parts";
const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";

/// What the names of a bridge's own tensors begin with; all others are of the parts.
const OWN: [&str; 5] = [
    "qformer.",
    "query_tokens",
    "language_projection.",
    "vision_model.post_layernorm.",
    "model.multi_modal_projector.",
];

/// The directory of a model: at `path` itself, with the frozen parts that it names, or of the GGUF file that
/// is there, as [`convert`](convert::convert) would write it.
///
/// # Errors
/// A file is missing or damaged, or holds what no directory can say; a part is not the one that the bridge
/// was trained with.
pub fn open(path: &Path, strict: bool) -> Result<Directory> {
    if path.is_file() {
        return convert::read(path, strict);
    }
    let directory = Directory::open(path)?.strict(strict);
    let top = directory.config();
    let Some(parts) = top.find(PARTS)? else { return Ok(directory) };
    let [encoder, backbone] = [part(path, &parts, "encoder")?, part(path, &parts, "backbone")?];
    let whole = match directory.model_type() {
        Some(blip2::FAMILY | blip2::OWN_FAMILY) => blip2::new::frozen(&encoder, &backbone)?,
        Some(llava::FAMILY) => llava::parts::frozen(&encoder, &backbone)?,
        _ => {
            let hint = "a bridge is what the recipes blip2 and llava save with trained_only";
            return Err(top.wrong("model_type", "blip-2 or llava, of parts", hint));
        }
    };
    let mut tensors = whole.tensors.tensors;
    tensors.retain(|name, _| !is_own(name));
    Ok(directory.holding(vec![(TOKENIZER, whole.tokenizer)], tensors))
}

/// The files of a bridge, of those of the whole model, whose tensors are kept in f16.
///
/// # Errors
/// A part cannot be read.
pub fn files(beside: &Files, mut tensors: Tensors, parts: [(&str, &Path); 2]) -> Result<Files> {
    tensors.tensors.retain(|name, _| is_own(name));
    let mut named = Map::new();
    for (name, path) in parts {
        named.insert(name.to_owned(), json!({"path": path, "blake3": hash(path)?}));
    }
    let with_parts = |bytes: &[u8]| {
        let mut config: Value = serde_json::from_slice(bytes).unwrap_or_default();
        config[PARTS] = named.clone().into();
        format!("{config:#}\n").into_bytes()
    };
    let others = beside.iter().filter(|(name, _)| name != TOKENIZER);
    let others = others.map(|(name, bytes)| match name.as_str() {
        CONFIG => (name.clone(), with_parts(bytes)),
        _ => (name.clone(), bytes.clone()),
    });
    let weights = ("model.safetensors".to_owned(), safetensors::write(&tensors, Dtype::F16)?);
    Ok(std::iter::once(weights).chain(others).collect())
}

fn is_own(name: &str) -> bool {
    OWN.iter().any(|prefix| name.starts_with(prefix))
}

/// One of the parts that the bridge at `home` names.
fn part(home: &Path, parts: &Config<'_>, name: &str) -> Result<Directory> {
    let named = parts.child(name)?;
    let path = PathBuf::from(named.text_or("path", "")?);
    let place = [home.join(&path), path.clone()].into_iter().find(|path| path.exists());
    let Some(place) = place else {
        return Err(Error::Missing {
            file: path.display().to_string(),
            path: home.to_owned(),
            found: crate::directory::listing(home),
            hint: "fetch the frozen model that the bridge was trained with, or write into config.json where it lies",
        });
    };
    let got = hash(&place)?;
    if named.text_or("blake3", "")? != got {
        let hint = "a bridge fits the weights that it was trained with alone";
        return Err(named.wrong("blake3", &format!("{got}, as of {}", place.display()), hint));
    }
    Ok(match place.is_file() {
        true => convert::read(&place, false)?,
        // Of an encoder's model only that is used.
        false => Directory::open(&place)?,
    })
}

/// BLAKE3 of a model's file of weights; of several, theirs one behind the other.
fn hash(path: &Path) -> Result<String> {
    let read = |path: PathBuf| {
        std::fs::read(&path).map_err(|source| Error::Io { path: path.clone(), source })
    };
    if path.is_file() {
        return Ok(manifest::hash(&read(path.to_owned())?));
    }
    let files = Directory::open(path)?.weight_files().into_iter();
    files.map(|name| Ok(manifest::hash(&read(path.join(name))?))).collect()
}
