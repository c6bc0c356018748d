//! `[model]` in a recipe: what is trained, and the files that a trained model is.
//!
//! ```toml
//! [model]
//! size = "tiny"                              # a new one
//! tokenizer = "runs/tiny/tokenizer.json"
//! ```
//! ```toml
//! [model]
//! from = "openai/clip-vit-base-patch32"      # a published one: a directory, or a name of the hub's cache
//! train = ["text"]
//! ```
//! ```toml
//! [model]
//! encoder = "openai/clip-vit-base-patch32"   # a new one of two published ones and a new projector
//! projector = "mlp"
//! backbone = "Qwen/Qwen2.5-0.5B-Instruct"
//! ```
//! ```toml
//! [model]
//! encoder = "runs/masked/final"              # a new text tower beside a trained image encoder
//! size = "tiny"
//! tokenizer = "runs/tiny/tokenizer.json"
//! ```

use std::path::{Path, PathBuf};

use sensorium_checkpoint::Tensors;
use sensorium_checkpoint::safetensors::{self, Dtype};
use sensorium_media::chat::TEMPLATE;
use sensorium_media::{ImageProcessor, Tokenizer};
use sensorium_model::llava::Llava;
use sensorium_model::weights;
use sensorium_pretrained::families::llava::parts::NewProjector;
use sensorium_pretrained::families::sensorium::{self, FAMILY, SensoriumConfig};
use sensorium_pretrained::{Directory, bridge};
use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};
use crate::run::RunOptions;
use crate::size::Size;
use crate::tokenizer;

/// What is trained: either `size` and `tokenizer`, with an `encoder` or without, or `from`, or `encoder`,
/// `projector` and `backbone`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Size of a new model.
    pub size: Option<Size>,
    /// A new model's tokenizer, a file.
    pub tokenizer: Option<PathBuf>,
    /// A published model to go on from: a directory, or a name whose files the hub's cache holds.
    pub from: Option<PathBuf>,
    /// A published image encoder of a new model, told as in `from`.
    pub encoder: Option<PathBuf>,
    /// The new projector behind it.
    pub projector: Option<NewProjector>,
    /// A published language model of a new model, told as in `from`.
    pub backbone: Option<PathBuf>,
    /// A file with the chat template of a new model of parts, in place of its language model's.
    pub chat_template: Option<PathBuf>,
    /// Parts to train, by the beginnings of their names (`clip.text`, `clip.image.blocks.4`,
    /// `backbone`); without it, all that the recipe trains.
    pub train: Option<Vec<String>>,
}

/// What a training begins with.
#[derive(Debug)]
pub enum Start {
    /// Seeded weights.
    New(Size, Box<Tokenizer>),
    /// Seeded weights around a trained image encoder.
    Around(Directory, Size, Box<Tokenizer>),
    /// Published ones.
    Published(Directory),
    /// Published ones of two models, and a seeded projector.
    Parts(Box<Parts>),
}

/// What a new model is made of.
#[derive(Debug)]
pub struct Parts {
    /// The image encoder's model.
    pub encoder: Directory,
    /// What stands between.
    pub projector: NewProjector,
    /// The language model.
    pub backbone: Directory,
}

impl ModelConfig {
    /// What a training begins with.
    ///
    /// # Errors
    /// None of the four ways is told whole, or two are; a file is missing or damaged.
    pub fn start(&self, options: &RunOptions) -> Result<Start> {
        let Self { size, tokenizer, from, encoder, projector, backbone, .. } = self;
        if self.chat_template.is_some() && projector.is_none() {
            let message = "expected encoder, projector and backbone beside it, got none";
            return Err(config("model.chat_template", message, "a published model has its own"));
        }
        let open = |from: &Path| opened(from, options.strict);
        match (size, tokenizer, from, encoder, projector, backbone) {
            (Some(size), Some(file), None, None, None, None) => {
                Ok(Start::New(*size, Box::new(tokenizer::load(file)?)))
            }
            (Some(size), Some(file), None, Some(encoder), None, None) => {
                // Only the image encoder of it is used.
                let encoder = open(encoder)?.strict(false);
                Ok(Start::Around(encoder, *size, Box::new(tokenizer::load(file)?)))
            }
            (None, None, Some(from), None, None, None) => Ok(Start::Published(open(from)?)),
            (None, None, None, Some(encoder), Some(projector), Some(backbone)) => {
                // Of each, only a part is used: what else it holds is no mistake.
                let (encoder, mut backbone) = (open(encoder)?.strict(false), open(backbone)?);
                if let Some(path) = &self.chat_template {
                    let template = std::fs::read(path).map_err(TrainError::io("read", path))?;
                    backbone = backbone.with_chat_template(template);
                }
                let projector = *projector;
                Ok(Start::Parts(Box::new(Parts { encoder, projector, backbone })))
            }
            _ => Err(config(
                "model",
                &format!(
                    "expected size and tokenizer, or from, or encoder, projector and backbone, got {}",
                    named(&[
                        ("size", size.is_some()),
                        ("tokenizer", tokenizer.is_some()),
                        ("from", from.is_some()),
                        ("encoder", encoder.is_some()),
                        ("projector", projector.is_some()),
                        ("backbone", backbone.is_some()),
                    ])
                ),
                "size and tokenizer make a new model, encoder, projector and backbone one of \
                 published parts; from goes on with a published one",
            )),
        }
    }

    /// The model in `from`, which must have been trained here; `hint` tells where one may be.
    ///
    /// # Errors
    /// It begins otherwise, or is of another family.
    pub fn trained_here(&self, options: &RunOptions, hint: &str) -> Result<Directory> {
        match self.start(options)? {
            Start::Published(directory) if directory.model_type() == Some(FAMILY) => Ok(directory),
            Start::Published(directory) => Err(unknown_family(&directory, &[FAMILY])),
            Start::New(..) | Start::Around(..) | Start::Parts(_) => {
                let got = "expected from, a model that was trained here, got another beginning";
                Err(config("model", got, hint))
            }
        }
    }

    /// The published models that it names.
    pub fn published(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.from, &self.encoder, &self.backbone].into_iter().flatten()
    }
}

/// A published model: a directory, a GGUF file, or a name whose files the hub's cache holds.
pub(crate) fn opened(from: &Path, strict: bool) -> Result<Directory> {
    Ok(bridge::open(&found(from)?, strict)?)
}

fn found(from: &Path) -> Result<PathBuf> {
    Ok(sensorium_hub::find(&from.to_string_lossy(), &sensorium_hub::Settings::from_env())?)
}

/// The names of what is there.
fn named(keys: &[(&str, bool)]) -> String {
    let there: Vec<&str> = keys.iter().filter(|key| key.1).map(|key| key.0).collect();
    if there.is_empty() { "none of them".into() } else { there.join(" and ") }
}

/// The error for a recipe that makes no sense as a whole.
pub(crate) fn config(key: &str, message: &str, hint: &str) -> TrainError {
    let [key, message, hint] = [key, message, hint].map(str::to_owned);
    TrainError::Config { place: "recipe".into(), key, message, hint }
}

/// The error for a published model that a recipe cannot train.
pub(crate) fn unknown_family(directory: &Directory, known: &[&str]) -> TrainError {
    let got = directory.model_type().unwrap_or("none");
    config(
        "model.from",
        &format!("expected a model of {}, got {got}", known.join(", ")),
        "another recipe may train it, or none yet",
    )
}

/// Names and contents of files.
pub type Files = Vec<(String, Vec<u8>)>;

/// The components of what answers beside `others`, in whose place they come.
///
/// # Errors
/// Never in practice: all of it can be written down.
pub fn answering(
    others: &[(&'static str, Tensors)],
    llava: &Llava,
) -> Result<Vec<(&'static str, Tensors)>> {
    let mut components = others.to_vec();
    for tower in &llava.towers {
        let [encoder, projector] = sensorium::tower(tower.encoder.modality());
        components.retain(|(name, _)| *name != encoder);
        components.push((encoder, weights::tensors(&tower.encoder)?));
        components.push((projector, weights::tensors(&tower.projector)?));
    }
    components.push(("backbone", weights::tensors(&llava.backbone)?));
    Ok(components)
}

/// A model made here: its settings, a file for each component, and what makes its inputs.
///
/// # Errors
/// Never in practice: all of it can be written down.
pub fn own(
    components: &[(&str, Tensors)],
    settings: &SensoriumConfig,
    tokenizer: &Tokenizer,
    processor: Option<&ImageProcessor>,
) -> Result<Files> {
    let mut files = Files::new();
    for (name, tensors) in components {
        files.push((format!("{name}.safetensors"), safetensors::write(tensors, Dtype::F32)?));
    }
    files.push(("tokenizer.json".into(), tokenizer.to_bytes()?));
    files.push(("chat_template.jinja".into(), TEMPLATE.into()));
    if let Some(processor) = processor {
        files.push(("preprocessor_config.json".into(), pretty(&processor.to_json())?));
    }
    files.push(("config.json".into(), pretty(settings)?));
    Ok(files)
}

/// What of a published directory is no weights.
const BESIDE: [&str; 18] = [
    "config.json",
    "open_clip_config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "tekken.json",
    "video_preprocessor_config.json",
    "chat_template.jinja",
    "chat_template.json",
];

/// The files of a published directory that are no weights.
///
/// # Errors
/// A file of the directory cannot be read.
pub fn beside(directory: &Directory) -> Result<Files> {
    let mut files = Files::new();
    for name in BESIDE {
        files.extend(directory.bytes(name)?.map(|bytes| (name.to_owned(), bytes.into_owned())));
    }
    Ok(files)
}

/// A model in the layout that it is published in, with what stands beside its weights.
///
/// # Errors
/// Never in practice: all of it can be written down.
pub fn published(beside: &Files, tensors: &Tensors, dtype: Dtype) -> Result<Files> {
    published_as("model.safetensors", beside, tensors, dtype)
}

/// As [`published`], with the weights in a file of this name.
///
/// # Errors
/// As [`published`].
pub fn published_as(file: &str, beside: &Files, tensors: &Tensors, dtype: Dtype) -> Result<Files> {
    let weights = (file.to_owned(), safetensors::write(tensors, dtype)?);
    Ok(std::iter::once(weights).chain(beside.iter().cloned()).collect())
}

/// What of such a model was learned between two frozen ones, an encoder and a language model.
///
/// # Errors
/// One of the two cannot be read.
pub fn bridge(beside: &Files, tensors: Tensors, [encoder, backbone]: [&Path; 2]) -> Result<Files> {
    let [encoder, backbone] = [found(encoder)?, found(backbone)?];
    Ok(bridge::files(beside, tensors, [("encoder", &encoder), ("backbone", &backbone)])?)
}

/// As indented JSON.
pub(crate) fn pretty(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(value).map_err(|error| TrainError::encode("a JSON file", error))
}
