//! T5 as transformers publishes it (`T5ForConditionalGeneration`).

use super::{Layout, Row};

const TOP: &[Row] = &[("embedding", "shared"), ("head", "lm_head")];

/// A block reads itself first.
const STACK: &[Row] = &[
    ("position", "block.0.layer.0.SelfAttention.relative_attention_bias.weight"),
    ("blocks.*.norm1", "block.*.layer.0.layer_norm"),
    ("blocks.*.attention.q", "block.*.layer.0.SelfAttention.q"),
    ("blocks.*.attention.k", "block.*.layer.0.SelfAttention.k"),
    ("blocks.*.attention.v", "block.*.layer.0.SelfAttention.v"),
    ("blocks.*.attention.o", "block.*.layer.0.SelfAttention.o"),
    ("norm", "final_layer_norm"),
];

const ENCODER: &[Row] = &[
    ("blocks.*.norm2", "block.*.layer.1.layer_norm"),
    ("blocks.*.mlp.fc2", "block.*.layer.1.DenseReluDense.wo"),
];

const DECODER: &[Row] = &[
    ("blocks.*.cross.norm", "block.*.layer.1.layer_norm"),
    ("blocks.*.cross.attention.q", "block.*.layer.1.EncDecAttention.q"),
    ("blocks.*.cross.attention.k", "block.*.layer.1.EncDecAttention.k"),
    ("blocks.*.cross.attention.v", "block.*.layer.1.EncDecAttention.v"),
    ("blocks.*.cross.attention.o", "block.*.layer.1.EncDecAttention.o"),
    ("blocks.*.norm2", "block.*.layer.2.layer_norm"),
    ("blocks.*.mlp.fc2", "block.*.layer.2.DenseReluDense.wo"),
];

const PLAIN: [&[Row]; 2] = [
    &[("blocks.*.mlp.fc1", "block.*.layer.1.DenseReluDense.wi")],
    &[("blocks.*.mlp.fc1", "block.*.layer.2.DenseReluDense.wi")],
];

const GATED: [&[Row]; 2] = [
    &[
        ("blocks.*.mlp.fc1", "block.*.layer.1.DenseReluDense.wi_0"),
        ("blocks.*.mlp.up", "block.*.layer.1.DenseReluDense.wi_1"),
    ],
    &[
        ("blocks.*.mlp.fc1", "block.*.layer.2.DenseReluDense.wi_0"),
        ("blocks.*.mlp.up", "block.*.layer.2.DenseReluDense.wi_1"),
    ],
];

/// A [`T5`](sensorium_backbone::T5). The first T5's files carry a table of distances between the decoder and
/// what was read, which no published code has a use for.
pub const T5: Layout = Layout {
    parts: &[
        ("", "", TOP),
        ("encoder", "encoder", STACK),
        ("encoder", "encoder", ENCODER),
        ("encoder", "encoder", PLAIN[0]),
        ("decoder", "decoder", STACK),
        ("decoder", "decoder", DECODER),
        ("decoder", "decoder", PLAIN[1]),
    ],
    scalars: &[],
    absent: &[],
    ignorable: &["EncDecAttention.relative_attention_bias.weight"],
};

/// The same with gated MLPs (T5 1.1, Flan-T5).
pub const T5_GATED: Layout = Layout {
    parts: &[
        ("", "", TOP),
        ("encoder", "encoder", STACK),
        ("encoder", "encoder", ENCODER),
        ("encoder", "encoder", GATED[0]),
        ("decoder", "decoder", STACK),
        ("decoder", "decoder", DECODER),
        ("decoder", "decoder", GATED[1]),
    ],
    ..T5
};
