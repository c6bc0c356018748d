//! SigLIP and SigLIP 2 as transformers publishes them (`SiglipModel`; `Siglip2Model`, whose patches are cut
//! by a matrix).

use super::clip::{IGNORABLE, TEXT};
use super::{Layout, Row};

/// The image encoder without its attention-pooling head.
pub(super) const VISION: &[Row] = &[
    ("stem.convs.0", "embeddings.patch_embedding"),
    ("position", "embeddings.position_embedding.weight"),
    ("blocks.*.norm1", "encoder.layers.*.layer_norm1"),
    ("blocks.*.attention.q", "encoder.layers.*.self_attn.q_proj"),
    ("blocks.*.attention.k", "encoder.layers.*.self_attn.k_proj"),
    ("blocks.*.attention.v", "encoder.layers.*.self_attn.v_proj"),
    ("blocks.*.attention.o", "encoder.layers.*.self_attn.out_proj"),
    ("blocks.*.norm2", "encoder.layers.*.layer_norm2"),
    ("blocks.*.mlp.fc1", "encoder.layers.*.mlp.fc1"),
    ("blocks.*.mlp.fc2", "encoder.layers.*.mlp.fc2"),
    ("norm", "post_layernorm"),
];

/// The head.
pub(super) const HEAD: &[Row] = &[
    ("pool.probe", "head.probe"),
    ("pool.attention.q", "head.attention.in_proj.q"),
    ("pool.attention.k", "head.attention.in_proj.k"),
    ("pool.attention.v", "head.attention.in_proj.v"),
    ("pool.attention.o", "head.attention.out_proj"),
    ("pool.norm", "head.layernorm"),
    ("pool.mlp.fc1", "head.mlp.fc1"),
    ("pool.mlp.fc2", "head.mlp.fc2"),
];

const TOP: &[Row] =
    &[("text.proj", "text_model.head"), ("scale", "logit_scale"), ("bias", "logit_bias")];

const TEXT_HEAD: &[Row] = &[("proj", "head")];

/// A text tower alone.
pub const SIGLIP_TEXT: Layout = Layout {
    parts: &[("", "text_model", TEXT), ("", "text_model", TEXT_HEAD)],
    scalars: &[],
    absent: &[],
    ignorable: IGNORABLE,
};

/// As transformers 5 writes it.
pub const SIGLIP_TEXT_BARE: Layout =
    Layout { parts: &[("", "", TEXT), ("", "", TEXT_HEAD)], ..SIGLIP_TEXT };

/// A [`Clip`](sensorium_model::clip::Clip) with bias, whose pictures are pooled by attention and an MLP.
pub const SIGLIP: Layout = Layout {
    parts: &[
        ("image", "vision_model", VISION),
        ("image", "vision_model", HEAD),
        ("text", "text_model", TEXT),
        ("", "", TOP),
    ],
    scalars: &[],
    absent: &[],
    ignorable: IGNORABLE,
};
