//! Settings of OPT, <https://huggingface.co/docs/transformers/model_doc/opt>.

use sensorium_backbone::{BackboneConfig, OptConfig};
use serde_json::json;

use super::{Config, Result, divides};
use crate::names::{Layout, OPT, OPT_LEGACY};

pub fn opt(config: &Config<'_>) -> Result<BackboneConfig> {
    config.only("activation_function", &json!("relu"))?;
    config.only("enable_bias", &json!(true))?;
    config.only("layer_norm_elementwise_affine", &json!(true))?;
    let width = config.size("hidden_size")?;
    let n_heads = config.size("num_attention_heads")?;
    divides(config, "num_attention_heads", width, n_heads)?;
    let post_norm = !config.flag_or("do_layer_norm_before", true)?;
    Ok(BackboneConfig::Opt(OptConfig {
        vocabulary: config.size("vocab_size")?,
        context: config.size("max_position_embeddings")?,
        embed: config.size_or("word_embed_proj_dim", width)?,
        width,
        n_layers: config.size("num_hidden_layers")?,
        n_heads,
        mlp: config.size("ffn_dim")?,
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
