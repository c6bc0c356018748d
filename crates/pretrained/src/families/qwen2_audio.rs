//! Qwen2-Audio as transformers publishes it (`Qwen2AudioForConditionalGeneration`): sounds among a language
//! model's tokens.

use sensorium_backbone::{Backbone, BackboneConfig};
use sensorium_encoder::EncoderConfig;
use sensorium_encoder::audio::WhisperEncoderConfig;
use sensorium_input_projector::ProjectorConfig;
use sensorium_media::ImageProcessor;
use sensorium_media::mel::{HOP, RATE};
use sensorium_model::assistant::AssistantConfig;
use sensorium_model::llava::{Tower, TowerConfig};
use sensorium_nn::prelude::*;
use serde_json::{Value, json};

use std::sync::LazyLock;

use super::assistant::{Spelling, Spellings};
use super::language::{self, Place};
use crate::config::Config;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::names::{self, Layout, QWEN2_AUDIO, QWEN2_AUDIO_NESTED};
use crate::plan::Plan;
use crate::{MediaProcessor, TextProcessor, feature_extractor, vision};

/// A loaded model and what makes its inputs.
#[derive(Debug)]
pub struct Qwen2AudioParts {
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
    /// Where it computes.
    pub device: Device,
}

/// Shape of the tower and of the language model.
struct Shape {
    tower: TowerConfig,
    encoder: WhisperEncoderConfig,
    backbone: BackboneConfig,
}

/// What the weights must be.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn plan(directory: &Directory) -> Result<Plan> {
    Ok(plan_of(&shape(&directory.config())?, directory))
}

fn plan_of(shape: &Shape, directory: &Directory) -> Plan {
    let (layout, place) = layout(directory);
    let tower = params::shapes(|init| Tower::init(&shape.tower, init));
    let mut plan = Plan::new("qwen2_audio", "encoder", layout, tower);
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
    let Shape { tower, backbone, .. } = shape(&directory.config())?;
    let spelling = |(tower, place)| Spelling { tower, part: "towers.0.", place };
    let files = spelling(layout(directory));
    let memory = spelling((QWEN2_AUDIO_NESTED, NESTED));
    let config = AssistantConfig { towers: vec![tower], patches: None, anyres: None, backbone };
    Ok((config, Spellings { files, memory }))
}

/// The model in a directory.
///
/// # Errors
/// As [`plan`]; a file is missing or damaged; the weights are not those of the settings.
pub fn open(directory: &Directory, device: &Device) -> Result<Qwen2AudioParts> {
    trainable(directory, &mut Init::empty(device))
}

/// The model in a directory, to be trained, with layers as `init` makes them.
///
/// # Errors
/// As [`open`].
pub fn trainable(directory: &Directory, init: &mut Init) -> Result<Qwen2AudioParts> {
    let settings = directory.config();
    let shape = shape(&settings)?;
    let text = TextProcessor::read(directory)?;
    feature_extractor::settings(directory, |own| check_extractor(own, &shape.encoder))?;
    let processor = MediaProcessor::new(&shape.tower.encoder, &ImageProcessor::padded(1), None)?;
    let id = settings.id_or("audio_token_index", settings.id_or("audio_token_id", 151_646)?)?;
    let marker = text.tokenizer.token(id).ok_or_else(|| no_marker(directory, id))?;
    let plan = plan_of(&shape, directory);
    let strays = plan.check(directory)?;
    let mut tensors =
        directory.tensors_but(|name| plan.is_ignorable(name) || strays.contains(name))?;
    let (layout, place) = layout(directory);
    let language = place.take(&shape.backbone, &mut tensors);
    let backbone = language::fill(&shape.backbone, language, init)?;
    let tower = names::take(Tower::init(&shape.tower, init), tensors, &layout)?;
    let (config, device) = (shape.backbone, init.device().clone());
    Ok(Qwen2AudioParts { text, config, backbone, tower, processor, marker, device })
}

/// Where the language model's tensors are in transformers' memory.
const NESTED: Place = Place::Body("model.language_model.");

/// The layout that the files have; without weights, that of the hub.
fn layout(directory: &Directory) -> (Layout, Place) {
    let names = directory.shapes().unwrap_or_default();
    match names.keys().any(|name| name.starts_with("model.audio_tower.")) {
        true => (QWEN2_AUDIO_NESTED, NESTED),
        false => (QWEN2_AUDIO, Place::Whole("language_model.")),
    }
}

/// Defaults are those of `Qwen2AudioConfig`.
fn shape(top: &Config<'_>) -> Result<Shape> {
    static AUDIO: LazyLock<Value> = LazyLock::new(|| {
        json!({"d_model": 1280, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120,
            "encoder_layers": 32, "num_mel_bins": 128, "max_source_positions": 1500})
    });
    static TEXT: LazyLock<Value> = LazyLock::new(|| {
        json!({"model_type": "qwen2", "vocab_size": 151_936, "hidden_size": 4096,
            "intermediate_size": 22_016, "num_hidden_layers": 32, "num_attention_heads": 32,
            "num_key_value_heads": 32, "max_position_embeddings": 32_768})
    });
    top.only_null("quantization_config")?;
    // Said again in `text_config`; of how losses and images would be laid out.
    top.without_effect(&["vocab_size", "hidden_size", "ignore_index"]);
    // Asked for where the tokenizer is read.
    top.without_effect(&["audio_token_index", "audio_token_id"]);
    let audio = top.find_or_empty("audio_config")?.or(&AUDIO);
    let encoder = encoder(&audio)?;
    let text = top.find_or_empty("text_config")?.or(&TEXT);
    text.only("model_type", &json!("qwen2"))?;
    text.only("use_mrope", &json!(false))?;
    let backbone = language::config(&text)?;
    let projector = ProjectorConfig::Linear {
        features: encoder.hidden_size,
        shuffle: 1,
        bias: true,
        width: backbone.width(),
    };
    let tower = TowerConfig { encoder: EncoderConfig::Qwen2Audio(encoder.clone()), projector };
    Ok(Shape { tower, encoder, backbone })
}

fn encoder(audio: &Config<'_>) -> Result<WhisperEncoderConfig> {
    audio.only("model_type", &json!("qwen2_audio_encoder"))?;
    audio.only("activation_function", &json!("gelu"))?;
    audio.only("scale_embedding", &json!(false))?;
    // Other names of the same.
    audio.without_effect(&["num_hidden_layers", "hidden_size", "num_attention_heads"]);
    let width = audio.size("d_model")?;
    Ok(WhisperEncoderConfig {
        bands: audio.size("num_mel_bins")?,
        positions: audio.size("max_source_positions")?,
        hidden_size: width,
        n_layers: vision::layers(audio, "encoder_layers", 32)?,
        n_heads: vision::heads(audio, "encoder_attention_heads", 20, width)?,
        intermediate_size: audio.size("encoder_ffn_dim")?,
    })
}

/// That the features are those that are made here, as many as the encoder hears at once.
fn check_extractor(own: &Config<'_>, encoder: &WhisperEncoderConfig) -> Result<()> {
    own.only("feature_extractor_type", &json!("WhisperFeatureExtractor"))?;
    let wanted = [("sampling_rate", RATE as usize), ("hop_length", HOP), ("n_fft", 400)];
    for (key, want) in wanted.into_iter().chain([("feature_size", encoder.bands)]) {
        own.only(key, &json!(want))?;
    }
    // The others follow from it; what lies behind a sound is silence, which the encoder is told of.
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
        hint: "config.json and tokenizer.json must be of the same model",
    }
}
