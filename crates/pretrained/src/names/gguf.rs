//! Llama and Qwen3 as GGUF files name them.
//!
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, "Standardized tensor names".

use super::{Layout, Row};

const ROWS: &[Row] = &[
    ("embedding", "token_embd"),
    ("layers.*.norm1", "blk.*.attn_norm"),
    ("layers.*.attention.q", "blk.*.attn_q"),
    ("layers.*.attention.k", "blk.*.attn_k"),
    ("layers.*.attention.v", "blk.*.attn_v"),
    ("layers.*.attention.o", "blk.*.attn_output"),
    ("layers.*.attention.q_norm", "blk.*.attn_q_norm"),
    ("layers.*.attention.k_norm", "blk.*.attn_k_norm"),
    ("layers.*.norm2", "blk.*.ffn_norm"),
    ("layers.*.mlp.gate", "blk.*.ffn_gate"),
    ("layers.*.mlp.up", "blk.*.ffn_up"),
    ("layers.*.mlp.down", "blk.*.ffn_down"),
    ("norm", "output_norm"),
    ("head", "output"),
];

/// A [`Llama`](sensorium_backbone::Llama). Nothing is ignorable: `rope_freqs` would change what the
/// model computes.
pub const GGUF: Layout =
    Layout { parts: &[("", "", ROWS)], scalars: &[], absent: &[], ignorable: &[] };
