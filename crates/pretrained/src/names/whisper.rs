//! Whisper as transformers publishes it (`WhisperForConditionalGeneration`).

use super::{Layout, Row};

/// Its convolutions and blocks.
pub(super) const ENCODER: &[Row] = &[
    ("conv1", "conv1"),
    ("conv2", "conv2"),
    ("blocks.*.norm1", "layers.*.self_attn_layer_norm"),
    ("blocks.*.attention.q", "layers.*.self_attn.q_proj"),
    ("blocks.*.attention.k", "layers.*.self_attn.k_proj"),
    ("blocks.*.attention.v", "layers.*.self_attn.v_proj"),
    ("blocks.*.attention.o", "layers.*.self_attn.out_proj"),
    ("blocks.*.norm2", "layers.*.final_layer_norm"),
    ("blocks.*.mlp.fc1", "layers.*.fc1"),
    ("blocks.*.mlp.fc2", "layers.*.fc2"),
];

/// What stands before its blocks and behind them.
pub(super) const ENCODER_ENDS: &[Row] =
    &[("position", "embed_positions.weight"), ("norm", "layer_norm")];

const DECODER: &[Row] = &[
    ("embedding", "embed_tokens"),
    ("position", "embed_positions.weight"),
    ("layers.*.norm1", "layers.*.self_attn_layer_norm"),
    ("layers.*.attention.q", "layers.*.self_attn.q_proj"),
    ("layers.*.attention.k", "layers.*.self_attn.k_proj"),
    ("layers.*.attention.v", "layers.*.self_attn.v_proj"),
    ("layers.*.attention.o", "layers.*.self_attn.out_proj"),
    ("layers.*.norm2", "layers.*.encoder_attn_layer_norm"),
    ("layers.*.cross.q", "layers.*.encoder_attn.q_proj"),
    ("layers.*.cross.k", "layers.*.encoder_attn.k_proj"),
    ("layers.*.cross.v", "layers.*.encoder_attn.v_proj"),
    ("layers.*.cross.o", "layers.*.encoder_attn.out_proj"),
    ("layers.*.norm3", "layers.*.final_layer_norm"),
    ("layers.*.mlp.fc1", "layers.*.fc1"),
    ("layers.*.mlp.fc2", "layers.*.fc2"),
    ("norm", "layer_norm"),
];

/// A [`Whisper`](sensorium_model::whisper::Whisper). Some files repeat the token table as the head.
pub const WHISPER: Layout = Layout {
    parts: &[
        ("encoder", "model.encoder", ENCODER),
        ("encoder", "model.encoder", ENCODER_ENDS),
        ("decoder", "model.decoder", DECODER),
    ],
    scalars: &[],
    absent: &[],
    ignorable: &["proj_out.weight"],
};
