//! What a directory says of Voxtral (`VoxtralForConditionalGeneration`): Whisper's encoder hears a sound 30 seconds
//! at a time, and of its positions some in a row become one token. The hub has no chat template of it:
//! mistral-common writes its prompts, as `tekken.json` says.
//!
//! Liu et al. 2025, <https://arxiv.org/abs/2507.13264>

use std::sync::LazyLock;

use sensorium_encoder::EncoderConfig;
use sensorium_encoder::audio::WhisperEncoderConfig;
use sensorium_input_projector::ProjectorConfig;
use sensorium_media::mel::{HOP, RATE};
use sensorium_model::llava::TowerConfig;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Shape, Style};
use crate::chat::Chat;
use crate::config::Config;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::families::language;
use crate::names::{VOXTRAL, VOXTRAL_NESTED};
use crate::text::TEKKEN;
use crate::{MediaProcessor, vision};

pub(super) const FAMILY: &str = "voxtral";

/// As mistral-common writes conversations of texts and sounds since version 7.
const TEMPLATE: &str = include_str!("voxtral.jinja");

/// Versions that let instructions stand beside sounds, and all that write prompts so.
const BESIDE: &[&str] = &["v13"];
const FORMATS: [&str; 3] = ["v7", "v11", "v13"];

const FOREIGN: &str = "the files may be of different models";

/// Defaults are those of `VoxtralConfig`.
pub(super) fn shape(top: &Config<'_>) -> Result<Shape> {
    static AUDIO: LazyLock<Value> = LazyLock::new(|| {
        json!({"hidden_size": 1280, "intermediate_size": 5120, "num_mel_bins": 128,
            "max_source_positions": 1500})
    });
    static TEXT: LazyLock<Value> = LazyLock::new(|| {
        json!({"model_type": "llama", "vocab_size": 131_072, "hidden_size": 3072,
            "intermediate_size": 8192, "num_hidden_layers": 30, "num_attention_heads": 32,
            "num_key_value_heads": 8, "max_position_embeddings": 131_072, "rms_norm_eps": 1e-5,
            "rope_theta": 1e8, "head_dim": 128})
    });
    top.only("projector_hidden_act", &json!("gelu"))?;
    let audio = top.find_or_empty("audio_config")?.or(&AUDIO);
    let encoder = encoder(&audio)?;
    let text = top.find_or_empty("text_config")?.or(&TEXT);
    text.only("model_type", &json!("llama"))?;
    let backbone = language::config(&text)?;
    let projector = ProjectorConfig::Mlp {
        features: encoder.hidden_size,
        shuffle: 1,
        norm: None,
        hidden: backbone.width(),
        width: backbone.width(),
        places: None,
        stack: stack(&audio, &encoder)?,
        bias: false,
    };
    let (bands, frames) = (encoder.bands, 2 * encoder.positions);
    Ok(Shape {
        family: FAMILY,
        style: Style::Voxtral,
        tower: TowerConfig { encoder: EncoderConfig::Whisper(encoder.clone()), projector },
        encoder,
        processor: MediaProcessor::Filled { bands, frames },
        backbone,
        layouts: [VOXTRAL, VOXTRAL_NESTED],
        audio_token_id: top.id_or("audio_token_id", 24)?,
    })
}

fn encoder(audio: &Config<'_>) -> Result<WhisperEncoderConfig> {
    audio.only("model_type", &json!("voxtral_encoder"))?;
    audio.only("activation_function", &json!("gelu"))?;
    audio.only("scale_embedding", &json!(false))?;
    // Of a decoder that Whisper has.
    audio.without_effect(&["vocab_size"]);
    let width = audio.size("hidden_size")?;
    let n_heads = vision::heads(audio, "num_attention_heads", 20, width)?;
    audio.only("head_dim", &json!(width / n_heads))?;
    audio.only("num_key_value_heads", &json!(n_heads))?;
    Ok(WhisperEncoderConfig {
        bands: audio.size("num_mel_bins")?,
        positions: audio.size("max_source_positions")?,
        hidden_size: width,
        n_layers: vision::layers(audio, "num_hidden_layers", 32)?,
        n_heads,
        intermediate_size: audio.size("intermediate_size")?,
    })
}

/// Positions that become one token: as many as an MLP is wider than they are.
fn stack(audio: &Config<'_>, encoder: &WhisperEncoderConfig) -> Result<usize> {
    let WhisperEncoderConfig { hidden_size, intermediate_size, positions, .. } = encoder;
    let stack = intermediate_size / hidden_size;
    if stack == 0 || stack * hidden_size != *intermediate_size || positions % stack != 0 {
        let expected = format!(
            "{hidden_size} times a divisor of max_source_positions, {positions}: the positions of a token"
        );
        return Err(audio.wrong("intermediate_size", &expected, FOREIGN));
    }
    Ok(stack)
}

/// What of `tekken.json` is not of its tokens.
#[derive(Deserialize)]
struct Tekken {
    config: Versioned,
    #[serde(default)]
    audio: Value,
}

#[derive(Deserialize)]
struct Versioned {
    version: String,
}

/// The template of the directory, or else mistral-common's.
///
/// # Errors
/// `tekken.json` is of a version whose prompts are not known, or of sounds that are made ready otherwise.
pub(super) fn chat(directory: &Directory, mut chat: Chat, shape: &Shape) -> Result<Chat> {
    if let Some(bytes) = directory.bytes(TEKKEN)? {
        let tekken: Tekken = serde_json::from_slice(&bytes).map_err(|error| Error::Json {
            path: directory.path().join(TEKKEN),
            got: error.to_string(),
        })?;
        let audio = Config::new(TEKKEN, &tekken.audio);
        check_audio(&audio, shape)?;
        directory.tell(&audio)?;
        let version = tekken.config.version.as_str();
        if !FORMATS.contains(&version) {
            let config = json!({"version": version});
            let expected = format!("one of {}", FORMATS.join(", "));
            let hint = "mistral-common writes prompts of other versions otherwise";
            return Err(Config::new(TEKKEN, &config).wrong("version", &expected, hint));
        }
        let beside = BESIDE.contains(&version);
        chat.variables.insert("system_beside_audio".to_owned(), beside.into());
    }
    Ok(match chat.template() {
        Err(Error::NoChat) => chat.with_template(TEMPLATE.to_owned()),
        _ => chat,
    })
}

/// That sounds are made ready as the encoder hears them.
fn check_audio(audio: &Config<'_>, shape: &Shape) -> Result<()> {
    let encoder = &shape.encoder;
    let tokens = shape.tower.tokens();
    let seconds = (2 * encoder.positions * HOP) as f64 / f64::from(RATE);
    let spectrogram = audio.find_or_empty("audio_encoding_config")?;
    spectrogram.only("num_mel_bins", &json!(encoder.bands))?;
    spectrogram.only("hop_length", &json!(HOP))?;
    spectrogram.only("window_size", &json!(400))?;
    audio.only("sampling_rate", &json!(RATE))?;
    audio.only("transcription_format", &json!("instruct"))?;
    for (key, want) in [("chunk_length_s", seconds), ("frame_rate", tokens as f64 / seconds)] {
        if audio.positive_or(key, want)? != want {
            return Err(audio.wrong(key, &want.to_string(), FOREIGN));
        }
    }
    Ok(())
}
