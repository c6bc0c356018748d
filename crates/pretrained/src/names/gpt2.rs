//! GPT-2 as transformers publishes it, once its matrices are turned and cut into three.

use super::llama::HEAD;
use super::{Layout, Row};

const BODY: &[Row] = &[
    ("embedding", "wte"),
    ("position", "wpe.weight"),
    ("layers.*.norm1", "h.*.ln_1"),
    ("layers.*.attention.q", "h.*.attn.q"),
    ("layers.*.attention.k", "h.*.attn.k"),
    ("layers.*.attention.v", "h.*.attn.v"),
    ("layers.*.attention.o", "h.*.attn.c_proj"),
    ("layers.*.norm2", "h.*.ln_2"),
    ("layers.*.mlp.fc1", "h.*.mlp.c_fc"),
    ("layers.*.mlp.fc2", "h.*.mlp.c_proj"),
    ("norm", "ln_f"),
];

/// A [`Gpt2`](sensorium_backbone::Gpt2). Older files carry the causal mask.
pub const GPT2: Layout = Layout {
    parts: &[("", "transformer", BODY), ("", "", HEAD)],
    scalars: &[],
    absent: &[],
    ignorable: &[".attn.bias", ".attn.masked_bias"],
};

/// The same without the outer prefix.
pub const GPT2_BARE: Layout = Layout { parts: &[("", "", BODY), ("", "", HEAD)], ..GPT2 };
