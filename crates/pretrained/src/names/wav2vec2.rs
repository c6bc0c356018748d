//! wav2vec 2.0 and HuBERT with a head for transcripts (`Wav2Vec2ForCTC`, `HubertForCTC`).

use super::{Layout, Row};

const ENCODER: &[Row] = &[
    ("convs.*.conv", "feature_extractor.conv_layers.*.conv"),
    ("convs.*.norm", "feature_extractor.conv_layers.*.layer_norm"),
    ("proj_norm", "feature_projection.layer_norm"),
    ("proj", "feature_projection.projection"),
    ("position", "encoder.pos_conv_embed.conv"),
    ("norm", "encoder.layer_norm"),
    ("blocks.*.attention.q", "encoder.layers.*.attention.q_proj"),
    ("blocks.*.attention.k", "encoder.layers.*.attention.k_proj"),
    ("blocks.*.attention.v", "encoder.layers.*.attention.v_proj"),
    ("blocks.*.attention.o", "encoder.layers.*.attention.out_proj"),
    ("blocks.*.norm1", "encoder.layers.*.layer_norm"),
    ("blocks.*.mlp.fc1", "encoder.layers.*.feed_forward.intermediate_dense"),
    ("blocks.*.mlp.fc2", "encoder.layers.*.feed_forward.output_dense"),
    ("blocks.*.norm2", "encoder.layers.*.final_layer_norm"),
];

const HEAD: &[Row] = &[("head", "lm_head")];

/// A [`Wav2Vec2`](sensorium_encoder::audio::Wav2Vec2). The vector that hides positions is for training only.
pub const WAV2VEC2: Layout = Layout {
    parts: &[("", "wav2vec2", ENCODER), ("", "", HEAD)],
    scalars: &[],
    absent: &[],
    ignorable: &["masked_spec_embed"],
};

/// The same under HuBERT's name.
pub const HUBERT: Layout = Layout { parts: &[("", "hubert", ENCODER), ("", "", HEAD)], ..WAV2VEC2 };

/// What tells positions, as it is learned.
const LENGTHS: &[Row] = &[
    ("position.length", "encoder.pos_conv_embed.conv.weight_g"),
    ("position.weight", "encoder.pos_conv_embed.conv.weight_v"),
];

/// A model whose convolution that tells positions is learned as lengths and directions.
pub const WAV2VEC2_TRAINING: Layout = Layout {
    parts: &[("", "wav2vec2", LENGTHS), ("", "wav2vec2", ENCODER), ("", "", HEAD)],
    ..WAV2VEC2
};

/// HuBERT's.
pub const HUBERT_TRAINING: Layout = Layout {
    parts: &[("", "hubert", LENGTHS), ("", "hubert", ENCODER), ("", "", HEAD)],
    ..WAV2VEC2
};
