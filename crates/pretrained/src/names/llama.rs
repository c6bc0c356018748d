//! Llama and Qwen3 as transformers publishes them: the same names, Qwen3 with `q_norm`, `k_norm`.

use super::{Layout, Row};

/// The decoder without its head.
pub(super) const BODY: &[Row] = &[
    ("embedding", "embed_tokens"),
    ("layers.*.norm1", "layers.*.input_layernorm"),
    ("layers.*.attention.q", "layers.*.self_attn.q_proj"),
    ("layers.*.attention.k", "layers.*.self_attn.k_proj"),
    ("layers.*.attention.v", "layers.*.self_attn.v_proj"),
    ("layers.*.attention.o", "layers.*.self_attn.o_proj"),
    ("layers.*.attention.q_norm", "layers.*.self_attn.q_norm"),
    ("layers.*.attention.k_norm", "layers.*.self_attn.k_norm"),
    ("layers.*.norm2", "layers.*.post_attention_layernorm"),
    ("layers.*.mlp.gate", "layers.*.mlp.gate_proj"),
    ("layers.*.mlp.up", "layers.*.mlp.up_proj"),
    ("layers.*.mlp.down", "layers.*.mlp.down_proj"),
    ("norm", "norm"),
];

/// The head, where it is not the token table.
pub(super) const HEAD: &[Row] = &[("head", "lm_head")];

/// Older files carry the rates of the rotary angles, which follow from the configuration.
pub(super) const IGNORABLE: &[&str] = &["rotary_emb.inv_freq"];

/// A [`Llama`](sensorium_backbone::Llama).
pub const LLAMA: Layout = Layout {
    parts: &[("", "model", BODY), ("", "", HEAD)],
    scalars: &[],
    absent: &[],
    ignorable: IGNORABLE,
};
