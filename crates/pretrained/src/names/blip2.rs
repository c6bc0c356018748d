//! BLIP-2 as transformers publishes it (`Blip2ForImageTextRetrieval`,
//! `Blip2ForConditionalGeneration`), without the language model.

use super::{Layout, Row};

/// The image encoder. Tables of one row of positions have a leading size of 1 in the files.
const VISION: &[Row] = &[
    ("class", "embeddings.class_embedding"),
    ("stem.convs.0", "embeddings.patch_embedding"),
    ("position", "embeddings.position_embedding"),
    ("blocks.*.norm1", "encoder.layers.*.layer_norm1"),
    ("blocks.*.attention.q", "encoder.layers.*.self_attn.qkv.q"),
    ("blocks.*.attention.k", "encoder.layers.*.self_attn.qkv.k"),
    ("blocks.*.attention.v", "encoder.layers.*.self_attn.qkv.v"),
    ("blocks.*.attention.o", "encoder.layers.*.self_attn.projection"),
    ("blocks.*.norm2", "encoder.layers.*.layer_norm2"),
    ("blocks.*.mlp.fc1", "encoder.layers.*.mlp.fc1"),
    ("blocks.*.mlp.fc2", "encoder.layers.*.mlp.fc2"),
    ("norm", "post_layernorm"),
    ("pre_norm", "pre_layernorm"),
];

/// The Q-Former. BERT's names, its MLP twice.
const QFORMER: &[Row] = &[
    ("norm", "layernorm"),
    ("layers.*.own.attention.q", "encoder.layer.*.attention.attention.query"),
    ("layers.*.own.attention.k", "encoder.layer.*.attention.attention.key"),
    ("layers.*.own.attention.v", "encoder.layer.*.attention.attention.value"),
    ("layers.*.own.attention.o", "encoder.layer.*.attention.output.dense"),
    ("layers.*.own.norm", "encoder.layer.*.attention.output.LayerNorm"),
    ("layers.*.cross.attention.q", "encoder.layer.*.crossattention.attention.query"),
    ("layers.*.cross.attention.k", "encoder.layer.*.crossattention.attention.key"),
    ("layers.*.cross.attention.v", "encoder.layer.*.crossattention.attention.value"),
    ("layers.*.cross.attention.o", "encoder.layer.*.crossattention.output.dense"),
    ("layers.*.cross.norm", "encoder.layer.*.crossattention.output.LayerNorm"),
    ("layers.*.query_mlp.mlp.fc1", "encoder.layer.*.intermediate_query.dense"),
    ("layers.*.query_mlp.mlp.fc2", "encoder.layer.*.output_query.dense"),
    ("layers.*.query_mlp.norm", "encoder.layer.*.output_query.LayerNorm"),
    ("layers.*.text_mlp.mlp.fc1", "encoder.layer.*.intermediate.dense"),
    ("layers.*.text_mlp.mlp.fc2", "encoder.layer.*.output.dense"),
    ("layers.*.text_mlp.norm", "encoder.layer.*.output.LayerNorm"),
];

/// What stands beside it.
const TOP: &[Row] = &[
    ("qformer.queries", "query_tokens"),
    ("embedding", "embeddings.word_embeddings"),
    ("position", "embeddings.position_embeddings.weight"),
    ("image_proj", "vision_projection"),
    ("text_proj", "text_projection"),
    ("head", "itm_head"),
    ("fc", "language_projection"),
];

/// A [`Blip2Matcher`](sensorium_model::blip2::Blip2Matcher). Older files carry the positions' numbers.
pub const BLIP2: Layout = Layout {
    parts: &[
        ("image", "vision_model", VISION),
        ("projector.qformer", "qformer", QFORMER),
        ("projector", "", TOP),
    ],
    scalars: &[],
    absent: &[],
    ignorable: &["embeddings.position_ids"],
};

/// A [`Tower`](sensorium_model::llava::Tower) whose projector is a Q-Former.
pub const BLIP2_TOWER: Layout = Layout {
    parts: &[
        ("encoder", "vision_model", VISION),
        ("projector.qformer", "qformer", QFORMER),
        ("projector", "", TOP),
    ],
    ..BLIP2
};

/// What stands beside a matcher while it is trained, as LAVIS has it.
const WORDS: &[Row] =
    &[("fc", "transform.dense"), ("norm", "transform.LayerNorm"), ("bias", "bias")];

/// A [`Blip2Pretraining`](sensorium_model::blip2::Blip2Pretraining).
pub const BLIP2_PRETRAINING: Layout = Layout {
    parts: &[
        ("matcher.image", "vision_model", VISION),
        ("matcher.projector.qformer", "qformer", QFORMER),
        ("matcher.projector", "", TOP),
        ("words", "cls.predictions", WORDS),
        ("", "", &[("temperature", "temp")]),
    ],
    ..BLIP2
};
