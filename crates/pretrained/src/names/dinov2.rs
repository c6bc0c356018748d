//! DINOv2 as transformers publishes it (`Dinov2Model`).

use super::{Layout, Row};

/// The factors of the layer scale have no row: they are multiplied into the matrices before them.
pub(super) const ROWS: &[Row] = &[
    ("class", "embeddings.cls_token"),
    ("stem.convs.0", "embeddings.patch_embeddings.projection"),
    ("position", "embeddings.position_embeddings"),
    ("registers", "embeddings.register_tokens"),
    ("blocks.*.norm1", "encoder.layer.*.norm1"),
    ("blocks.*.attention.q", "encoder.layer.*.attention.attention.query"),
    ("blocks.*.attention.k", "encoder.layer.*.attention.attention.key"),
    ("blocks.*.attention.v", "encoder.layer.*.attention.attention.value"),
    ("blocks.*.attention.o", "encoder.layer.*.attention.output.dense"),
    ("blocks.*.norm2", "encoder.layer.*.norm2"),
    ("norm", "layernorm"),
];

pub(super) const MLP: &[Row] = &[
    ("blocks.*.mlp.fc1", "encoder.layer.*.mlp.fc1"),
    ("blocks.*.mlp.fc2", "encoder.layer.*.mlp.fc2"),
];

const SWIGLU: &[Row] = &[
    ("blocks.*.mlp.fc1", "encoder.layer.*.mlp.weights_in"),
    ("blocks.*.mlp.fc2", "encoder.layer.*.mlp.weights_out"),
];

/// A [`Vit`](sensorium_encoder::image::Vit) without projection. The mask token stands in for hidden
/// patches in training only.
pub const DINOV2: Layout = Layout {
    parts: &[("", "", ROWS), ("", "", MLP)],
    scalars: &[],
    absent: &[],
    ignorable: &["embeddings.mask_token"],
};

/// The same with SwiGLU (DINOv2 giant).
pub const DINOV2_SWIGLU: Layout = Layout { parts: &[("", "", ROWS), ("", "", SWIGLU)], ..DINOV2 };
