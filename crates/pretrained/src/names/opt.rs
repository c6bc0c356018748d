//! OPT as transformers publishes it, in the two layouts that files have.

use super::llama::HEAD;
use super::{Layout, Row};

/// The decoder without its head. Blocks of both kinds have the same names.
const BODY: &[Row] = &[
    ("embedding", "embed_tokens"),
    ("position", "embed_positions.weight"),
    ("project_in", "project_in"),
    ("layers.*.norm1", "layers.*.self_attn_layer_norm"),
    ("layers.*.attention.q", "layers.*.self_attn.q_proj"),
    ("layers.*.attention.k", "layers.*.self_attn.k_proj"),
    ("layers.*.attention.v", "layers.*.self_attn.v_proj"),
    ("layers.*.attention.o", "layers.*.self_attn.out_proj"),
    ("layers.*.norm2", "layers.*.final_layer_norm"),
    ("layers.*.mlp.fc1", "layers.*.fc1"),
    ("layers.*.mlp.fc2", "layers.*.fc2"),
    ("norm", "final_layer_norm"),
    ("project_out", "project_out"),
];

/// An [`Opt`](sensorium_backbone::Opt).
pub const OPT: Layout = Layout {
    parts: &[("", "model.decoder", BODY), ("", "", HEAD)],
    scalars: &[],
    absent: &[],
    ignorable: &[],
};

/// The same without the outer prefix.
pub const OPT_LEGACY: Layout = Layout { parts: &[("", "decoder", BODY), ("", "", HEAD)], ..OPT };
