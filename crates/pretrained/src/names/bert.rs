//! BERT as transformers publishes it, with and without the outer prefix.

use super::{Layout, Row};

pub(super) const ROWS: &[Row] = &[
    ("embedding", "embeddings.word_embeddings"),
    ("position", "embeddings.position_embeddings.weight"),
    ("types", "embeddings.token_type_embeddings"),
    ("norm", "embeddings.LayerNorm"),
    ("blocks.*.attention.q", "encoder.layer.*.attention.self.query"),
    ("blocks.*.attention.k", "encoder.layer.*.attention.self.key"),
    ("blocks.*.attention.v", "encoder.layer.*.attention.self.value"),
    ("blocks.*.attention.o", "encoder.layer.*.attention.output.dense"),
    ("blocks.*.norm1", "encoder.layer.*.attention.output.LayerNorm"),
    ("blocks.*.mlp.fc1", "encoder.layer.*.intermediate.dense"),
    ("blocks.*.mlp.fc2", "encoder.layer.*.output.dense"),
    ("blocks.*.norm2", "encoder.layer.*.output.LayerNorm"),
];

/// A [`Bert`](sensorium_encoder::text::bert::Bert). The pooler belongs to the pretraining's second
/// task, as do the heads; older files carry the positions' numbers.
pub const BERT: Layout = Layout {
    parts: &[("", "", ROWS)],
    scalars: &[],
    absent: &[],
    ignorable: &["embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"],
};

/// The same under `bert`.
pub const BERT_NESTED: Layout = Layout { parts: &[("", "bert", ROWS)], ..BERT };
