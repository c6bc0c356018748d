//! What the decoders of Gemma 2 and Gemma 3 have beside a Llama's: a norm behind attention and behind the
//! gates too, layers that see only the last tokens, scores that are capped.
//!
//! Gemma Team 2024, <https://arxiv.org/abs/2408.00118>; Gemma Team 2025, <https://arxiv.org/abs/2503.19786>

use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

/// In what Gemma 2 and Gemma 3 differ from Llama.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GemmaConfig {
    /// Which layers see only the last `window` tokens; one entry a layer.
    pub sliding: Vec<bool>,
    /// Tokens that those see, their own too.
    pub window: usize,
    /// Base of their rotary angles, which are never stretched.
    pub sliding_theta: f32,
    /// What scores are multiplied by beside `K^-0.5`.
    pub query_scale: f32,
    /// Scores become `cap·tanh(score / cap)` (Gemma 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attn_softcap: Option<f32>,
    /// So do logits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_softcap: Option<f32>,
}

impl GemmaConfig {
    /// Whether a layer sees only the last tokens.
    pub(crate) fn slides(&self, layer: usize) -> bool {
        self.sliding.get(layer).copied().unwrap_or_default()
    }

    /// What `t` tokens after `offset` others see in such a layer, of what `mask` shows.
    pub(crate) fn mask(&self, mask: &Mask, offset: usize, t: usize) -> Mask {
        if offset + t <= self.window {
            return mask.clone();
        }
        let spans = match mask {
            Mask::Prefix { spans, .. } => Some(spans.clone()),
            _ => None,
        };
        Mask::Window { window: self.window, spans }
    }
}

/// `cap·tanh(x / cap)`
pub(crate) fn softcapped<const D: usize>(x: Tensor<D>, cap: Option<f32>) -> Tensor<D> {
    match cap {
        Some(cap) => (x / cap).tanh() * cap,
        None => x,
    }
}
