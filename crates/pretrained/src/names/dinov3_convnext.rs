//! DINOv3's ConvNeXt as transformers publishes it (`DINOv3ConvNextModel`).

use super::{Layout, Row};

const LAST: &[Row] = &[("norm", "layer_norm")];

/// The first stage norms what its convolution gives, the others what theirs read. The factors of the layer scale have no
/// row: they are multiplied into the matrices before them.
const STAGES: &[Row] = &[
    ("stages.0.conv", "stages.0.downsample_layers.0"),
    ("stages.0.norm", "stages.0.downsample_layers.1"),
    ("stages.*.norm", "stages.*.downsample_layers.0"),
    ("stages.*.conv", "stages.*.downsample_layers.1"),
    ("stages.*.layers.*.depthwise", "stages.*.layers.*.depthwise_conv"),
    ("stages.*.layers.*.norm", "stages.*.layers.*.layer_norm"),
    ("stages.*.layers.*.mlp.fc1", "stages.*.layers.*.pointwise_conv1"),
    ("stages.*.layers.*.mlp.fc2", "stages.*.layers.*.pointwise_conv2"),
];

/// With the stages beside the last norm, as its first files have them.
pub const DINOV3_CONVNEXT: Layout = Layout {
    parts: &[("", "", LAST), ("", "", STAGES)],
    scalars: &[],
    absent: &[],
    ignorable: &[],
};

/// With the stages in a part of their own.
pub const DINOV3_CONVNEXT_NESTED: Layout =
    Layout { parts: &[("", "", LAST), ("", "model", STAGES)], ..DINOV3_CONVNEXT };
