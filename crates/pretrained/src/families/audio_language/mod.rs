//! Models that hear, as transformers publishes them: sounds among a language model's tokens. Qwen2-Audio, Voxtral.
//!
//! ```text
//! config.json ──▶ Shape, layout ──▶ Plan ──compared with the tensors──▶ Tower, Backbone
//! preprocessor_config.json ──▶ what makes spectrograms
//! ```

mod qwen2_audio;
mod voxtral;

use sensorium_backbone::{Backbone, BackboneConfig};
use sensorium_encoder::audio::WhisperEncoderConfig;
use sensorium_media::mel::{HOP, RATE};
use sensorium_model::assistant::AssistantConfig;
use sensorium_model::llava::{Tower, TowerConfig};
use sensorium_nn::prelude::*;
use serde_json::json;

use super::language::{self, Place};
use super::spelling::{Spelling, Spellings};
use crate::config::Config;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::names::{self, Layout};
use crate::plan::Plan;
use crate::{MediaProcessor, TextProcessor, feature_extractor};

/// A loaded model and what makes its inputs.
#[derive(Debug)]
pub struct AudioLanguageParts {
    /// Texts and messages to ids.
    pub text: TextProcessor,
    /// Shape of the language model.
    pub config: BackboneConfig,
    /// The language model.
    pub backbone: Backbone,
    /// Spectrograms to the language model's tokens.
    pub tower: Tower,
    /// Sounds to spectrograms.
    pub processor: MediaProcessor,
    /// The token whose places sounds take.
    pub marker: String,
    /// How its prompts are written.
    pub style: Style,
    /// Where it computes.
    pub device: Device,
}

/// How a model's prompts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Each stretch of a sound stands between marks.
    Qwen2Audio,
    /// A sound stands in one row behind a mark, and may be asked for what is said in it.
    Voxtral,
}

/// What the settings say of a model.
struct Shape {
    family: &'static str,
    style: Style,
    tower: TowerConfig,
    encoder: WhisperEncoderConfig,
    processor: MediaProcessor,
    backbone: BackboneConfig,
    /// The tower's names on the hub, and those that transformers 5 has in memory.
    layouts: [Layout; 2],
    /// Stands for each token of a sound.
    audio_token_id: u32,
}

/// What the weights must be.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn plan(directory: &Directory) -> Result<Plan> {
    Ok(plan_of(&shape(directory)?, directory))
}

fn shape(directory: &Directory) -> Result<Shape> {
    let top = directory.config();
    top.only_null("quantization_config")?;
    // Said again in `text_config`; of how losses would be laid out.
    top.without_effect(&["vocab_size", "hidden_size", "ignore_index"]);
    match directory.model_type() {
        Some(voxtral::FAMILY) => voxtral::shape(&top),
        _ => qwen2_audio::shape(&top),
    }
}

fn plan_of(shape: &Shape, directory: &Directory) -> Plan {
    let (layout, place) = layout(shape, directory);
    let tower = params::shapes(|init| Tower::init(&shape.tower, init));
    let mut plan = Plan::new(shape.family, "encoder", layout, tower);
    let names: Vec<String> = directory.shapes().map_or(Vec::new(), |all| all.into_keys().collect());
    let language = place.plan(&shape.backbone, names.iter().map(String::as_str));
    if !language.copies.is_empty() {
        plan.copies = &["lm_head.weight", "language_model.lm_head.weight"];
    }
    plan.tensors.extend(language.tensors);
    plan
}

/// Its shape, and how its tensors are called.
pub(super) fn spelt(directory: &Directory) -> Result<(AssistantConfig, Spellings)> {
    let shape = shape(directory)?;
    let spelling = |(tower, place)| Spelling { tower, part: "towers.0.", place };
    let files = spelling(layout(&shape, directory));
    let memory = spelling((shape.layouts[1], NESTED));
    let Shape { tower, backbone, .. } = shape;
    let config = AssistantConfig { towers: vec![tower], patches: None, anyres: None, backbone };
    Ok((config, Spellings { files, memory }))
}

/// The model in a directory.
///
/// # Errors
/// As [`plan`]; a file is missing or damaged; the weights are not those of the settings.
pub fn open(directory: &Directory, device: &Device) -> Result<AudioLanguageParts> {
    trainable(directory, &mut Init::empty(device))
}

/// The model in a directory, to be trained, with layers as `init` makes them.
///
/// # Errors
/// As [`open`].
pub fn trainable(directory: &Directory, init: &mut Init) -> Result<AudioLanguageParts> {
    let shape = shape(directory)?;
    let mut text = TextProcessor::read(directory)?;
    if shape.style == Style::Voxtral {
        text.chat = voxtral::chat(directory, text.chat, &shape)?;
    }
    feature_extractor::settings(directory, |own| check_extractor(own, &shape.encoder))?;
    let id = shape.audio_token_id;
    let marker = text.tokenizer.token(id).ok_or_else(|| no_marker(directory, id))?;
    let plan = plan_of(&shape, directory);
    let strays = plan.check(directory)?;
    let mut tensors =
        directory.tensors_but(|name| plan.is_ignorable(name) || strays.contains(name))?;
    let (layout, place) = layout(&shape, directory);
    let language = place.take(&shape.backbone, &mut tensors);
    let backbone = language::fill(&shape.backbone, language, init)?;
    let tower = names::take(Tower::init(&shape.tower, init), tensors, &layout)?;
    let Shape { style, processor, backbone: config, .. } = shape;
    let device = init.device().clone();
    Ok(AudioLanguageParts { text, config, backbone, tower, processor, marker, style, device })
}

/// Where the language model's tensors are in transformers' memory.
const NESTED: Place = Place::Body("model.language_model.");

/// The layout that the files have; without weights, that of the hub.
fn layout(shape: &Shape, directory: &Directory) -> (Layout, Place) {
    let names = directory.shapes().unwrap_or_default();
    let [hub, nested] = shape.layouts;
    match names.keys().any(|name| name.starts_with("model.audio_tower.")) {
        true => (nested, NESTED),
        false => (hub, Place::Whole("language_model.")),
    }
}

/// That the features are those that are made here, as many as the encoder hears at once.
fn check_extractor(own: &Config<'_>, encoder: &WhisperEncoderConfig) -> Result<()> {
    own.only("feature_extractor_type", &json!("WhisperFeatureExtractor"))?;
    let wanted = [("sampling_rate", RATE as usize), ("hop_length", HOP), ("n_fft", 400)];
    for (key, want) in wanted.into_iter().chain([("feature_size", encoder.bands)]) {
        own.only(key, &json!(want))?;
    }
    // The others follow from it; what lies behind a sound is silence, which an encoder may be told of.
    own.without_effect(&["n_samples", "nb_max_frames", "return_attention_mask", "padding_side"]);
    let seconds = own.size_or("chunk_length", 30)?;
    let frames = 2 * encoder.positions;
    if seconds.saturating_mul(RATE as usize / HOP) == frames {
        return Ok(());
    }
    let expected = format!("the seconds of {frames} frames, twice max_source_positions");
    Err(own.wrong("chunk_length", &expected, "the files may be of different models"))
}

fn no_marker(directory: &Directory, id: u32) -> Error {
    Error::Missing {
        file: format!("token {id}, whose places sounds take,"),
        path: directory.path().join("tokenizer.json"),
        found: "none of that id".into(),
        hint: "config.json and the tokenizer must be of the same model",
    }
}
