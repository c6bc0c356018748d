//! InternVL as transformers publishes it (`InternVLForConditionalGeneration`), in the two layouts that files have.

use super::llama::{BODY, HEAD};
use super::{Layout, Row};

/// The factors of the layer scale have no row: they are multiplied into the matrices before them.
const VISION: &[Row] = &[
    ("class", "embeddings.cls_token"),
    ("stem.convs.0", "embeddings.patch_embeddings.projection"),
    ("position", "embeddings.position_embeddings"),
    ("blocks.*.norm1", "encoder.layer.*.layernorm_before"),
    ("blocks.*.attention.q", "encoder.layer.*.attention.q_proj"),
    ("blocks.*.attention.k", "encoder.layer.*.attention.k_proj"),
    ("blocks.*.attention.v", "encoder.layer.*.attention.v_proj"),
    ("blocks.*.attention.o", "encoder.layer.*.attention.projection_layer"),
    ("blocks.*.norm2", "encoder.layer.*.layernorm_after"),
    ("blocks.*.mlp.fc1", "encoder.layer.*.mlp.fc1"),
    ("blocks.*.mlp.fc2", "encoder.layer.*.mlp.fc2"),
];

const PROJECTOR: &[Row] =
    &[("norm", "layer_norm"), ("mlp.fc1", "linear_1"), ("mlp.fc2", "linear_2")];

/// The names that `save_pretrained` writes, and those in memory. There is no norm behind the encoder, for
/// its positions are averaged by whoever classifies them.
pub const INTERNVL: [Layout; 2] = [
    Layout {
        parts: &[
            ("towers.0.encoder", "vision_tower", VISION),
            ("towers.0.projector", "multi_modal_projector", PROJECTOR),
            ("backbone", "language_model.model", BODY),
            ("backbone", "language_model", HEAD),
        ],
        scalars: &[],
        absent: &["towers.0.encoder.norm.weight", "towers.0.encoder.norm.bias"],
        ignorable: &["embeddings.mask_token", "rotary_emb.inv_freq"],
    },
    Layout {
        parts: &[
            ("towers.0.encoder", "model.vision_tower", VISION),
            ("towers.0.projector", "model.multi_modal_projector", PROJECTOR),
            ("backbone", "model.language_model", BODY),
            ("backbone", "", HEAD),
        ],
        scalars: &[],
        absent: &["towers.0.encoder.norm.weight", "towers.0.encoder.norm.bias"],
        ignorable: &["embeddings.mask_token", "rotary_emb.inv_freq"],
    },
];
