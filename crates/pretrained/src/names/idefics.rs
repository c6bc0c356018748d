//! Idefics as transformers publishes it (`IdeficsForVisionText2Text`).

use super::clip::{self, VISION};
use super::llama::{self, BODY, HEAD};
use super::{Layout, Row};

const PERCEIVER: &[Row] = &[
    ("latents", "latents"),
    ("layers.*.context_norm", "blocks.*.0.context_layer_norm"),
    ("layers.*.latents_norm", "blocks.*.0.latents_layer_norm"),
    ("layers.*.q", "blocks.*.0.q_proj"),
    ("layers.*.k", "blocks.*.0.k_proj"),
    ("layers.*.v", "blocks.*.0.v_proj"),
    ("layers.*.q_norm", "blocks.*.0.q_layer_norm"),
    ("layers.*.k_norm", "blocks.*.0.k_layer_norm"),
    ("layers.*.o", "blocks.*.0.output_proj"),
    ("layers.*.norm", "blocks.*.1.ln"),
    ("layers.*.mlp.fc1", "blocks.*.1.fc"),
    ("layers.*.mlp.fc2", "blocks.*.1.c_proj"),
    ("norm", "layer_norm"),
];

const GATED: &[Row] = &[
    ("*.norm1", "*.input_layernorm"),
    ("*.cross.q", "*.cross_attn.q_proj"),
    ("*.cross.k", "*.cross_attn.k_proj"),
    ("*.cross.v", "*.cross_attn.v_proj"),
    ("*.cross.o", "*.cross_attn.o_proj"),
    ("*.cross.q_norm", "*.cross_attn.q_layer_norm"),
    ("*.cross.k_norm", "*.cross_attn.k_layer_norm"),
    ("*.cross_gate", "*.alpha_cross_attn"),
    ("*.norm2", "*.post_attention_layernorm"),
    ("*.mlp.gate", "*.mlp.gate_proj"),
    ("*.mlp.up", "*.mlp.up_proj"),
    ("*.mlp.down", "*.mlp.down_proj"),
    ("*.mlp_gate", "*.alpha_dense"),
];

/// An [`Idefics`](sensorium_model::idefics::Idefics). In files the last rows of table and head stand apart, and
/// gates of a number a channel are `[1, 1, D]`.
pub const IDEFICS: Layout = Layout {
    parts: &[
        ("image", "model.vision_model", VISION),
        ("projector", "model.perceiver_resampler", PERCEIVER),
        ("language.gated", "model.gated_cross_attn_layers", GATED),
        ("language.llama", "model", BODY),
        ("language.llama", "", HEAD),
    ],
    scalars: &[],
    absent: &[],
    // Older files carry what follows from the configuration.
    ignorable: &[clip::IGNORABLE[0], llama::IGNORABLE[0]],
};
