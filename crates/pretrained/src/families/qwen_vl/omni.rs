//! Qwen2.5-Omni (`Qwen2_5OmniForConditionalGeneration`), as far as it thinks: Qwen2.5-VL's tower, an encoder of sounds,
//! and a language model that says its answer.
//!
//! Xu et al. 2025, <https://arxiv.org/abs/2503.20215>

use std::sync::LazyLock;

use sensorium_backbone::BackboneConfig;
use sensorium_checkpoint::Tensors;
use sensorium_encoder::EncoderConfig;
use sensorium_encoder::audio::{OmniEncoderConfig, WhisperEncoderConfig};
use sensorium_input_projector::ProjectorConfig;
use sensorium_media::mel::{HOP, RATE};
use sensorium_model::llava::{Tower, TowerConfig};
use sensorium_nn::prelude::*;
use serde_json::{Value, json};

use super::FOREIGN;
use super::settings::{Seen, Timing, text, windowed};
use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;
use crate::families::language;
use crate::names::{self, QWEN2_5_OMNI_AUDIO};
use crate::plan::Plan;
use crate::{MediaProcessor, TextProcessor, feature_extractor, vision};

pub(super) const FAMILY: &str = "qwen2_5_omni";

/// What the names begin with of all that hears.
const EARS: &str = "thinker.audio_tower.";

/// Seconds of the longest sound that is heard at once, where a file does not say.
const SECONDS: usize = 300;

/// Frames of a second: transformers counts so, whatever the film.
const FPS: f32 = 2.0;

/// Settings of what makes pictures ready, which older directories have in one file with those of sounds.
const OF_PICTURES: &[&str] = &[
    "do_convert_rgb",
    "do_normalize",
    "do_rescale",
    "do_resize",
    "image_mean",
    "image_processor_type",
    "image_std",
    "max_pixels",
    "merge_size",
    "min_pixels",
    "patch_size",
    "resample",
    "rescale_factor",
    "size",
    "temporal_patch_size",
];

/// And those of sounds.
pub(super) const OF_SOUNDS: &[&str] = &[
    "chunk_length",
    "dither",
    "feature_extractor_type",
    "feature_size",
    "hop_length",
    "n_fft",
    "n_samples",
    "nb_max_frames",
    "padding_side",
    "padding_value",
    "return_attention_mask",
    "sampling_rate",
];

/// What hears, and the tokens of sounds.
#[derive(Clone, Debug, PartialEq)]
pub struct HearingConfig {
    /// Its encoder and the map behind it.
    pub tower: TowerConfig,
    /// Bands of its spectrograms.
    bands: usize,
    /// Stands for each token of a sound.
    pub audio_token_id: u32,
    /// Stands before a sound.
    pub audio_start_token_id: u32,
    /// Stands behind it.
    pub audio_end_token_id: u32,
    /// Positions of a stretch of a video, behind whose tokens stand those of its own sound.
    pub stretch: usize,
}

/// What hears.
#[derive(Debug)]
pub struct Hearing {
    /// Spectrograms to the language model's tokens.
    pub tower: Tower,
    /// Sounds to spectrograms.
    pub processor: MediaProcessor,
}

/// The settings of what thinks.
pub(super) fn thinker<'a>(whole: &Config<'a>) -> Result<Config<'a>> {
    let thinker = whole.find_or_empty("thinker_config")?;
    // Whose turn it is.
    thinker.without_effect(&["user_token_id"]);
    Ok(thinker)
}

/// The language model and what sees. Defaults are those of `Qwen2_5OmniThinkerConfig`.
pub(super) fn read(
    top: &Config<'_>,
    vision: &Config<'_>,
) -> Result<(&'static str, BackboneConfig, Seen)> {
    static TEXT: LazyLock<Value> = LazyLock::new(|| {
        json!({"vocab_size": 152_064, "hidden_size": 3584, "intermediate_size": 18_944,
            "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
            "max_position_embeddings": 32_768, "rope_theta": 1e6, "max_window_layers": 28,
            "sliding_window": 32_768})
    });
    let mut language = text(top, &TEXT, language::qwen2_vl)?;
    if let BackboneConfig::Llama(llama) = &mut language {
        // The head stands beside the decoder, whose settings do not speak for it.
        llama.tied = top.flag_or("tie_word_embeddings", false)?;
    }
    // Said by `position_id_per_seconds` and `hidden_size`.
    vision.without_effect(&["tokens_per_second", "embed_dim"]);
    let pace = top.size_or("position_id_per_seconds", 25)?;
    let seen = windowed(vision, &language, Timing::Steps)?;
    let timing = Timing::Paced(pace as f32 * seen.temporal as f32 / FPS);
    Ok((FAMILY, language, Seen { timing, ..seen }))
}

/// What hears. Defaults are those of `Qwen2_5OmniAudioEncoderConfig`.
pub(super) fn hearing(top: &Config<'_>, width: usize) -> Result<HearingConfig> {
    static AUDIO: LazyLock<Value> = LazyLock::new(|| {
        json!({"d_model": 1280, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120,
            "encoder_layers": 32, "num_mel_bins": 128, "max_source_positions": 1500,
            "n_window": 100, "output_dim": 3584})
    });
    let audio = top.find_or_empty("audio_config")?.or(&AUDIO);
    audio.only("model_type", &json!("qwen2_5_omni_audio_encoder"))?;
    audio.only("activation_function", &json!("gelu"))?;
    audio.only("scale_embedding", &json!(false))?;
    // Other names of the same.
    audio.without_effect(&["num_hidden_layers", "hidden_size", "num_attention_heads"]);
    let (e, bands) = (audio.size("d_model")?, audio.size("num_mel_bins")?);
    let (window, positions) = (audio.size("n_window")?, audio.size("max_source_positions")?);
    if window > positions {
        let expected = format!("at most max_source_positions, {positions}");
        return Err(audio.wrong("n_window", &expected, FOREIGN));
    }
    if e % 2 != 0 {
        return Err(audio.wrong("d_model", "an even number", FOREIGN));
    }
    if audio.size("output_dim")? != width {
        let expected = format!("{width}, the width of the language model");
        return Err(audio.wrong("output_dim", &expected, FOREIGN));
    }
    let whisper = WhisperEncoderConfig {
        bands,
        positions: window,
        hidden_size: e,
        n_layers: vision::layers(&audio, "encoder_layers", 32)?,
        n_heads: vision::heads(&audio, "encoder_attention_heads", 20, e)?,
        intermediate_size: audio.size("encoder_ffn_dim")?,
    };
    let frames = SECONDS * RATE as usize / HOP;
    let encoder = EncoderConfig::Omni(OmniEncoderConfig { whisper, window, frames });
    let projector = ProjectorConfig::Linear { features: e, shuffle: 1, bias: true, width };
    let old = top.id_or("audio_token_id", 151_646)?;
    Ok(HearingConfig {
        tower: TowerConfig { encoder, projector },
        bands,
        audio_token_id: top.id_or("audio_token_index", old)?,
        audio_start_token_id: top.id_or("audio_start_token_id", 151_647)?,
        audio_end_token_id: top.id_or("audio_end_token_id", 151_648)?,
        stretch: top.size_or("position_id_per_seconds", 25)?
            * top.size_or("seconds_per_chunk", 2)?,
    })
}

/// What the weights of what hears must be.
pub(super) fn plan(config: &HearingConfig) -> Plan {
    let tower = params::shapes(|init| Tower::init(&config.tower, init));
    Plan::new(FAMILY, "encoder", QWEN2_5_OMNI_AUDIO, tower)
}

/// What hears, whose tensors are taken out of the model's.
pub(super) fn open(
    config: &HearingConfig,
    directory: &Directory,
    tensors: &mut Tensors,
    init: &mut Init,
) -> Result<Hearing> {
    let frames = feature_extractor::settings(directory, |own| frames(own, config.bands))?;
    let processor = MediaProcessor::Ended { bands: config.bands, frames, padded: false };
    let all = std::mem::take(&mut tensors.tensors).into_iter();
    let (ears, others) = all.partition(|(name, _)| name.starts_with(EARS));
    tensors.tensors = others;
    let ears = Tensors { tensors: ears, ..Tensors::default() };
    let tower = names::take(Tower::init(&config.tower, init), ears, &QWEN2_5_OMNI_AUDIO)?;
    Ok(Hearing { tower, processor })
}

/// Frames of the longest sound that is heard at once; that spectrograms are those that are made here.
fn frames(own: &Config<'_>, bands: usize) -> Result<usize> {
    own.only("feature_extractor_type", &json!("WhisperFeatureExtractor"))?;
    let wanted = [("sampling_rate", RATE as usize), ("hop_length", HOP), ("n_fft", 400)];
    for (key, want) in wanted.into_iter().chain([("feature_size", bands)]) {
        own.only(key, &json!(want))?;
    }
    // The others follow from it; nothing is heard of the silence behind a sound.
    own.without_effect(&["n_samples", "nb_max_frames", "return_attention_mask", "padding_side"]);
    own.without_effect(OF_PICTURES);
    let seconds = own.size_or("chunk_length", SECONDS)?;
    if seconds > SECONDS {
        let expected = format!("at most {SECONDS} seconds");
        return Err(own.wrong("chunk_length", &expected, FOREIGN));
    }
    Ok(seconds * RATE as usize / HOP)
}

/// With the ends that the settings of what thinks name, which go before others.
pub(super) fn ending(directory: &Directory, text: TextProcessor) -> Result<TextProcessor> {
    let whole = directory.config();
    let thinker = thinker(&whole)?;
    let text = match thinker.find("text_config")? {
        Some(language) => text.ending_as(&language)?,
        None => text,
    };
    text.ending_as(&thinker)
}
