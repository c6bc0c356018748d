//! What `config.json` says of Qwen2-Audio (`Qwen2AudioForConditionalGeneration`).

use std::sync::LazyLock;

use sensorium_encoder::EncoderConfig;
use sensorium_encoder::audio::WhisperEncoderConfig;
use sensorium_input_projector::ProjectorConfig;
use sensorium_media::ImageProcessor;
use sensorium_model::llava::TowerConfig;
use serde_json::{Value, json};

use super::{Shape, Style};
use crate::config::Config;
use crate::error::Result;
use crate::families::language;
use crate::names::{QWEN2_AUDIO, QWEN2_AUDIO_NESTED};
use crate::{MediaProcessor, vision};

/// Defaults are those of `Qwen2AudioConfig`.
pub(super) fn shape(top: &Config<'_>) -> Result<Shape> {
    static AUDIO: LazyLock<Value> = LazyLock::new(|| {
        json!({"d_model": 1280, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120,
            "encoder_layers": 32, "num_mel_bins": 128, "max_source_positions": 1500})
    });
    static TEXT: LazyLock<Value> = LazyLock::new(|| {
        json!({"model_type": "qwen2", "vocab_size": 151_936, "hidden_size": 4096,
            "intermediate_size": 22_016, "num_hidden_layers": 32, "num_attention_heads": 32,
            "num_key_value_heads": 32, "max_position_embeddings": 32_768})
    });
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
    let processor = MediaProcessor::new(&tower.encoder, &ImageProcessor::padded(1), None)?;
    let old = top.id_or("audio_token_id", 151_646)?;
    Ok(Shape {
        family: "qwen2_audio",
        style: Style::Qwen2Audio,
        tower,
        encoder,
        processor,
        backbone,
        layouts: [QWEN2_AUDIO, QWEN2_AUDIO_NESTED],
        audio_token_id: top.id_or("audio_token_index", old)?,
    })
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
