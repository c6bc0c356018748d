//! Settings of OPT, <https://huggingface.co/docs/transformers/model_doc/opt>.

use sensorium_backbone::{BackboneConfig, OptConfig};
use serde_json::json;

use super::{Config, Result, divides};
use crate::names::{Layout, OPT, OPT_LEGACY};

/// Defaults are those of `OPTConfig`.
pub fn opt(config: &Config<'_>) -> Result<BackboneConfig> {
    config.only("activation_function", &json!("relu"))?;
    config.only("enable_bias", &json!(true))?;
    config.only("layer_norm_elementwise_affine", &json!(true))?;
    let width = config.size_or("hidden_size", 768)?;
    let n_heads = config.size_or("num_attention_heads", 12)?;
    divides(config, "num_attention_heads", width, n_heads)?;
    // The tokenizer puts `prefix`, an end token, in front of texts.
    config.without_effect(&["prefix", "_remove_final_layer_norm"]);
    let post_norm = !config.flag_or("do_layer_norm_before", true)?;
    Ok(BackboneConfig::Opt(OptConfig {
        vocab_size: config.size_or("vocab_size", 50_272)?,
        context: config.size_or("max_position_embeddings", 2048)?,
        embed: config.size_or("word_embed_proj_dim", width)?,
        hidden_size: width,
        n_layers: config.size_or("num_hidden_layers", 12)?,
        n_heads,
        intermediate_size: config.size_or("ffn_dim", 3072)?,
        post_norm,
        final_norm: !post_norm && !config.flag_or("_remove_final_layer_norm", false)?,
        tied: config.flag_or("tie_word_embeddings", true)?,
    }))
}

/// The prefix of files of before 2022's summer, which lack an outer one.
pub const BARE: &str = "decoder.";

pub fn layout(bare: bool) -> Layout {
    if bare { OPT_LEGACY } else { OPT }
}
