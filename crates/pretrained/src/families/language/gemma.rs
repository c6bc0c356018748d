//! Settings of Gemma 2 and of Gemma 3's language model.

use sensorium_backbone::{BackboneConfig, GemmaConfig, LlamaConfig, RopeScaling};
use serde_json::{Value, json};

use super::llama::{gemma, rope_scaling};
use super::{Config, FOREIGN, Result};

/// <https://huggingface.co/docs/transformers/model_doc/gemma2>
pub fn gemma2(config: &Config<'_>) -> Result<BackboneConfig> {
    let shape = gemma(config, 4, false)?;
    let given = |key: &str, default: f64| -> Result<Option<f32>> {
        // A null is no cap, no word of it the default.
        let is_null = config.get(key).is_none() && config.keys().any(|other| other == key);
        let cap = if is_null { None } else { Some(config.positive_or(key, default)? as f32) };
        Ok(cap)
    };
    let gemma = GemmaConfig {
        sliding: sliding(config, &shape, 2)?,
        window: config.size_or("sliding_window", 4096)?,
        sliding_theta: shape.theta,
        query_scale: query_scale(config, &shape)?,
        attn_softcap: given("attn_logit_softcapping", 50.0)?,
        final_softcap: given("final_logit_softcapping", 30.0)?,
    };
    if shape.rope_scaling != RopeScaling::None {
        return Err(config.wrong("rope_scaling", "nothing", FOREIGN));
    }
    Ok(BackboneConfig::Llama(LlamaConfig { gemma: Some(gemma), ..shape }))
}

/// <https://huggingface.co/docs/transformers/model_doc/gemma3>
pub fn gemma3(config: &Config<'_>) -> Result<BackboneConfig> {
    // No published code reads it.
    config.only_null("attn_logit_softcapping")?;
    let shape = gemma(config, 4, true)?;
    let (theta, rope_scaling, sliding_theta) = rope(config, shape.head_dim)?;
    let cap = "final_logit_softcapping";
    let final_softcap =
        config.get(cap).map(|_| config.positive_or(cap, 1.0).map(|cap| cap as f32)).transpose()?;
    let every = config.size_or("sliding_window_pattern", 6)?;
    let gemma = GemmaConfig {
        sliding: sliding(config, &shape, every)?,
        window: config.size_or("sliding_window", 4096)?,
        sliding_theta,
        query_scale: query_scale(config, &shape)?,
        attn_softcap: None,
        final_softcap,
    };
    Ok(BackboneConfig::Llama(LlamaConfig { theta, rope_scaling, gemma: Some(gemma), ..shape }))
}

/// Which layers slide: as `layer_types` says, or all but every so-many-th.
fn sliding(config: &Config<'_>, shape: &LlamaConfig, every: usize) -> Result<Vec<bool>> {
    const KEY: &str = "layer_types";
    config.without_effect(&["sliding_window_pattern", "_sliding_window_pattern"]);
    let n = shape.n_layers;
    let Some(kinds) = config.get(KEY) else {
        return Ok((1..=n).map(|layer| !layer.is_multiple_of(every)).collect());
    };
    let slides = |kind: &Value| match kind.as_str() {
        Some("sliding_attention") => Some(true),
        Some("full_attention") => Some(false),
        _ => None,
    };
    let sliding: Option<Vec<bool>> =
        kinds.as_array().and_then(|kinds| kinds.iter().map(slides).collect());
    sliding.filter(|sliding| sliding.len() == n).ok_or_else(|| {
        let expected = format!("{n} times sliding_attention or full_attention");
        config.wrong(KEY, &expected, FOREIGN)
    })
}

/// Scores are divided by the root of `query_pre_attn_scalar`, in place of that of a head's width.
fn query_scale(config: &Config<'_>, shape: &LlamaConfig) -> Result<f32> {
    let scalar = config.positive_or("query_pre_attn_scalar", 256.0)?;
    Ok((shape.head_dim as f64 / scalar).sqrt() as f32)
}

/// Base and stretching of the angles of the layers that see all, and the base of the others.
fn rope(config: &Config<'_>, head_width: usize) -> Result<(f32, RopeScaling, f32)> {
    let (full, sliding) = match config.find("rope_parameters")? {
        Some(kinds) => (kinds.find("full_attention")?, kinds.find("sliding_attention")?),
        None => (config.find("rope_scaling")?, None),
    };
    let theta = |rope: &Option<Config<'_>>, older: &str, default| match rope {
        Some(rope) if rope.get("rope_theta").is_some() => rope.positive_or("rope_theta", default),
        _ => config.positive_or(older, default),
    };
    if let Some(sliding) = &sliding {
        sliding.only("rope_type", &json!("default"))?;
    }
    let thetas = [theta(&full, "rope_theta", 1e6)?, theta(&sliding, "rope_local_base_freq", 1e4)?];
    let scaling = match &full {
        Some(full) => rope_scaling(config, full, head_width)?,
        None => RopeScaling::None,
    };
    Ok((thetas[0] as f32, scaling, thetas[1] as f32))
}
