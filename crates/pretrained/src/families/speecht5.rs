//! SpeechT5 that speaks, as transformers publishes it (`SpeechT5ForTextToSpeech`), with the vocoder that makes samples
//! of its spectrograms (`SpeechT5HifiGan`), which is published as a model of its own.

use std::path::PathBuf;

use sensorium_checkpoint::safetensors;
use sensorium_generator::audio::speecht5::{
    SpeechT5, SpeechT5Config, SpeechT5HifiGan, SpeechT5HifiGanConfig,
};
use sensorium_media::Tokenizer;
use sensorium_media::sound::MAX_RATE;
use sensorium_nn::prelude::*;
use serde_json::Value;

use super::hifigan::{self, at_most, odd};
use crate::config::Config;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::names::{self, Layout, SPEECHT5, SPEECHT5_HIFIGAN};
use crate::plan::Plan;
use crate::{text, vision};

const FOREIGN: &str = "the file may be damaged, or of a model that is not supported";

/// `model_type`s of the vocoder: today's, and the one that it was published with.
const VOCODERS: [&str; 2] = ["speecht5_hifigan", "hifigan"];

/// Where the vocoder may lie: in the model's directory, or beside it under the name that it was published with.
const PLACES: [&str; 3] = ["vocoder", "speecht5_hifigan", "../speecht5_hifigan"];

/// Vectors of voices by name, in the model's directory.
const VOICES: &str = "voices.safetensors";

/// A loaded model and all that is needed to speak with it.
#[derive(Debug)]
pub struct SpeechT5Parts {
    /// Its shape.
    pub config: SpeechT5Config,
    /// Texts to ids.
    pub tokenizer: Tokenizer,
    /// Ids to spectrograms.
    pub model: SpeechT5,
    /// Spectrograms to samples.
    pub vocoder: SpeechT5HifiGan,
    /// Samples a second.
    pub sampling_rate: u32,
    /// Names of the voices that lie with the model, in their order.
    pub voices: Vec<String>,
    /// The vector of each.
    pub speakers: Vec<Vec<f32>>,
}

/// What the weights must be, the vocoder's apart.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn plan(directory: &Directory) -> Result<Plan> {
    Ok(Plan::new("speecht5", "decoder", SPEECHT5, config(&directory.config())?.parameters()))
}

/// The model in a directory.
///
/// # Errors
/// A file is missing, damaged, or of a model that is not supported; the weights are not those of the settings.
pub fn open(directory: &Directory, device: &Device) -> Result<SpeechT5Parts> {
    let config = config(&directory.config())?;
    let tokenizer = text::tokenizer(directory)?;
    text::tell_ignored(directory, &tokenizer, config.max_text)?;
    if tokenizer.vocabulary() > config.vocab_size {
        let expected = format!("at least {} rows, as the tokenizer has", tokenizer.vocabulary());
        return Err(directory.config().wrong("vocab_size", &expected, FOREIGN));
    }
    let model = SpeechT5::init(&config, &mut Init::empty(device));
    let model = filled(model, directory, &plan(directory)?)?;
    let place = vocoder_place(directory)?;
    let beside = Directory::open(&place)?.strict(directory.is_strict());
    let (shape, sampling_rate) = vocoder_config(&beside.config(), config.bands)?;
    let vocoder = SpeechT5HifiGan::init(&shape, &mut Init::empty(device));
    let layout: Layout = SPEECHT5_HIFIGAN;
    let vocoder_plan = Plan::new("speecht5_hifigan", "decoder", layout, shape.parameters());
    let vocoder = filled(vocoder, &beside, &vocoder_plan)?;
    let (voices, speakers) = speakers(directory, config.speaker)?;
    Ok(SpeechT5Parts { config, tokenizer, model, vocoder, sampling_rate, voices, speakers })
}

/// A part with its directory's weights.
fn filled<M: Module>(part: M, directory: &Directory, plan: &Plan) -> Result<M> {
    let strays = plan.check(directory)?;
    let tensors = directory.tensors_but(|name| plan.is_ignorable(name) || strays.contains(name))?;
    Ok(names::take(part, tensors, &plan.layout)?)
}

/// Where the vocoder lies.
fn vocoder_place(directory: &Directory) -> Result<PathBuf> {
    let mut places = PLACES.iter().map(|place| directory.path().join(place));
    places.find(|place| place.join("config.json").is_file()).ok_or_else(|| {
        let hint = "the model makes spectrograms alone; download microsoft/speecht5_hifigan into this directory as vocoder/, or beside it as speecht5_hifigan/";
        directory.missing("vocoder/config.json", hint)
    })
}

/// Names of voices and their vectors, if there are any.
fn speakers(directory: &Directory, width: usize) -> Result<(Vec<String>, Vec<Vec<f32>>)> {
    let path = directory.path().join(VOICES);
    if !path.is_file() {
        return Ok((Vec::new(), Vec::new()));
    }
    let mut all = Vec::new();
    for (name, tensor) in safetensors::load(&path)?.tensors {
        let (shape, values) = tensor.into_parts();
        if values.len() != width || values.iter().any(|x| !x.is_finite()) {
            return Err(Error::Setting {
                file: path.display().to_string(),
                key: name,
                expected: format!(
                    "{width} finite numbers, the speaker_embedding_dim of config.json"
                ),
                got: format!("numbers of the shape {shape:?}"),
                hint: "a voice is an x-vector of the model that it was taught with",
            });
        }
        all.push((name, values));
    }
    Ok(all.into_iter().unzip())
}

/// The shape from `config.json`. Defaults are those of `SpeechT5Config`.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn config(config: &Config<'_>) -> Result<SpeechT5Config> {
    without_effect(config);
    let width = config.size_or("hidden_size", 768)?;
    let stack = |layers: &str, usual: usize, heads: &str, inner: &str| {
        let layers = vision::layers(config, layers, usual)?;
        let heads = vision::heads(config, heads, 12, width)?;
        Ok::<_, Error>([layers, heads, config.size_or(inner, 3072)?])
    };
    let prenet = at_most(config, "speech_decoder_prenet_layers", 2, vision::MAX_LAYERS)?;
    let postnet = at_most(config, "speech_decoder_postnet_layers", 5, vision::MAX_LAYERS)?;
    Ok(SpeechT5Config {
        vocab_size: config.size_or("vocab_size", 81)?,
        hidden_size: width,
        encoder: stack("encoder_layers", 12, "encoder_attention_heads", "encoder_ffn_dim")?,
        decoder: stack("decoder_layers", 6, "decoder_attention_heads", "decoder_ffn_dim")?,
        activation: match config.text_or("hidden_act", "gelu")? {
            "relu" => Activation::Relu,
            _ => vision::activation(config, "gelu")?,
        },
        eps: config.positive_or("layer_norm_eps", 1e-5)?,
        relative: config.size_or("encoder_max_relative_position", 160)?,
        bands: config.size_or("num_mel_bins", 80)?,
        prenet: [prenet, config.size_or("speech_decoder_prenet_units", 256)?],
        prenet_dropout: dropout(config)?,
        postnet: [
            postnet,
            config.size_or("speech_decoder_postnet_units", 256)?,
            odd(config, "speech_decoder_postnet_kernel", 5)?,
        ],
        reduction: at_most(config, "reduction_factor", 2, 64)?,
        speaker: config.size_or("speaker_embedding_dim", 512)?,
        max_text: config.size_or("max_text_positions", 450)?,
        max_steps: config.size_or("max_speech_positions", 4000)?,
    })
}

/// What is dropped while it speaks. transformers keeps as large a share as it should drop: nothing would be left of all
/// numbers if none were to be dropped.
fn dropout(config: &Config<'_>) -> Result<f64> {
    const KEY: &str = "speech_decoder_prenet_dropout";
    let share = config.positive_or(KEY, 0.5)?;
    match share < 1.0 {
        true => Ok(share),
        false => Err(config.wrong(KEY, "a share between 0 and 1", FOREIGN)),
    }
}

/// The vocoder's shape, and samples a second, from its `config.json`. Defaults are those of `SpeechT5HifiGanConfig`.
fn vocoder_config(config: &Config<'_>, bands: usize) -> Result<(SpeechT5HifiGanConfig, u32)> {
    let kind = config.get("model_type").and_then(Value::as_str);
    if kind.is_none_or(|kind| !VOCODERS.contains(&kind)) {
        return Err(config.wrong("model_type", "\"speecht5_hifigan\" or \"hifigan\"", FOREIGN));
    }
    if config.size_or("model_in_dim", 80)? != bands {
        let expected = format!("{bands}, the num_mel_bins of the model");
        return Err(config.wrong("model_in_dim", &expected, FOREIGN));
    }
    let sampling_rate = at_most(config, "sampling_rate", 16_000, MAX_RATE as usize)? as u32;
    let shape = SpeechT5HifiGanConfig {
        bands,
        net: hifigan::read(config, [&[4; 4], &[8; 4]], true)?,
        normalize_before: config.flag_or("normalize_before", true)?,
    };
    Ok((shape, sampling_rate))
}

/// What only training needs, or models of this family that hear.
fn without_effect(config: &Config<'_>) {
    config.without_effect(&[
        "conv_bias",
        "conv_dim",
        "conv_kernel",
        "conv_stride",
        "feat_extract_activation",
        "feat_extract_norm",
        "feat_proj_dropout",
        "guided_attention_loss_num_heads",
        "guided_attention_loss_scale",
        "guided_attention_loss_sigma",
        "hidden_dropout",
        "num_conv_pos_embedding_groups",
        "num_conv_pos_embeddings",
        "num_feat_extract_layers",
        "positional_dropout",
        "scale_embedding",
        "speech_decoder_postnet_dropout",
        "use_guided_attention_loss",
    ]);
}
