//! DINOv3 as transformers publishes it (`DINOv3ViTModel`).

use super::{Layout, Row};

const STEM: &[Row] = &[
    ("class", "embeddings.cls_token"),
    ("stem.convs.0", "embeddings.patch_embeddings"),
    ("registers", "embeddings.register_tokens"),
    ("norm", "norm"),
];

/// The factors of the layer scale have no row: they are multiplied into the matrices before them. The gated
/// MLP's first matrix is published in two.
const BLOCKS: &[Row] = &[
    ("blocks.*.norm1", "layer.*.norm1"),
    ("blocks.*.attention.q", "layer.*.attention.q_proj"),
    ("blocks.*.attention.k", "layer.*.attention.k_proj"),
    ("blocks.*.attention.v", "layer.*.attention.v_proj"),
    ("blocks.*.attention.o", "layer.*.attention.o_proj"),
    ("blocks.*.norm2", "layer.*.norm2"),
    ("blocks.*.mlp.fc1", "layer.*.mlp.up_proj"),
    ("blocks.*.mlp.fc2", "layer.*.mlp.down_proj"),
];

/// A [`Vit`](sensorium_encoder::image::Vit) without a table of positions. The mask token stands in for hidden
/// patches in training only.
pub const DINOV3: Layout = Layout {
    parts: &[("", "", STEM), ("", "", BLOCKS)],
    scalars: &[],
    absent: &[],
    ignorable: &["embeddings.mask_token"],
};

/// The same with the encoder's blocks in a part of their own.
pub const DINOV3_NESTED: Layout =
    Layout { parts: &[("", "", STEM), ("", "model", BLOCKS)], ..DINOV3 };
