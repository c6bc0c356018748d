//! The decoder of Gemma 2 and Gemma 3, and Gemma 3 and PaliGemma with pictures, as transformers publishes
//! them: LLaVA's four layouts with projectors of their own.

use super::clip::VISION;
use super::llama::{HEAD, IGNORABLE as IGNORABLE_OF_LLAMA};
use super::siglip::HEAD as HEAD_OF_SIGLIP;
use super::{Layout, Part, Row};

/// As a Llama's, with a norm behind attention and one behind the gates.
const BODY: &[Row] = &[
    ("embedding", "embed_tokens"),
    ("layers.*.norm1", "layers.*.input_layernorm"),
    ("layers.*.attention.q", "layers.*.self_attn.q_proj"),
    ("layers.*.attention.k", "layers.*.self_attn.k_proj"),
    ("layers.*.attention.v", "layers.*.self_attn.v_proj"),
    ("layers.*.attention.o", "layers.*.self_attn.o_proj"),
    ("layers.*.attention.q_norm", "layers.*.self_attn.q_norm"),
    ("layers.*.attention.k_norm", "layers.*.self_attn.k_norm"),
    ("layers.*.post_norm1", "layers.*.post_attention_layernorm"),
    ("layers.*.norm2", "layers.*.pre_feedforward_layernorm"),
    ("layers.*.mlp.gate", "layers.*.mlp.gate_proj"),
    ("layers.*.mlp.up", "layers.*.mlp.up_proj"),
    ("layers.*.mlp.down", "layers.*.mlp.down_proj"),
    ("layers.*.post_norm2", "layers.*.post_feedforward_layernorm"),
    ("norm", "norm"),
];

/// A [`Llama`](sensorium_backbone::Llama) that is a Gemma 2 or a Gemma 3.
pub const GEMMA: Layout = Layout {
    parts: &[("", "model", BODY), ("", "", HEAD)],
    scalars: &[],
    absent: &[],
    ignorable: IGNORABLE_OF_LLAMA,
};

/// The matrix is published as what stands behind a vector, not before it.
const POOLED: &[Row] =
    &[("norm", "mm_soft_emb_norm"), ("projection.weight", "mm_input_projection_weight")];

const LINEAR: &[Row] = &[("fc", "linear")];

/// Gemma 3 with pictures: as [`LLAVA_LEGACY`](super::LLAVA_LEGACY), `LLAVA_SAVED`, `LLAVA_TOWER` and
/// `LLAVA` have it.
pub const GEMMA3: [Layout; 4] = layouts([
    &old("vision_tower.vision_model", POOLED),
    &old("vision_tower", POOLED),
    &new("model.vision_tower.vision_model", POOLED),
    &new("model.vision_tower", POOLED),
]);

/// PaliGemma, in the same.
pub const PALIGEMMA: [Layout; 4] = layouts([
    &old("vision_tower.vision_model", LINEAR),
    &old("vision_tower", LINEAR),
    &new("model.vision_tower.vision_model", LINEAR),
    &new("model.vision_tower", LINEAR),
]);

const fn layouts(parts: [&'static [Part]; 4]) -> [Layout; 4] {
    let [a, b, c, d] = parts;
    [layout(a), layout(b), layout(c), layout(d)]
}

const fn layout(parts: &'static [Part]) -> Layout {
    Layout {
        parts,
        scalars: &[],
        absent: &["towers.0.encoder.proj.weight"],
        ignorable: &["embeddings.position_ids", "rotary_emb.inv_freq"],
    }
}

/// The parts of files whose language model is a model in the model.
const fn old(tower: &'static str, projector: &'static [Row]) -> [Part; 5] {
    [
        ("towers.0.encoder", tower, VISION),
        ("towers.0.encoder", tower, HEAD_OF_SIGLIP),
        ("towers.0.projector", "multi_modal_projector", projector),
        ("backbone", "language_model.model", BODY),
        ("backbone", "language_model", HEAD),
    ]
}

/// Of those whose head stands by itself.
const fn new(tower: &'static str, projector: &'static [Row]) -> [Part; 5] {
    [
        ("towers.0.encoder", tower, VISION),
        ("towers.0.encoder", tower, HEAD_OF_SIGLIP),
        ("towers.0.projector", "model.multi_modal_projector", projector),
        ("backbone", "model.language_model", BODY),
        ("backbone", "", HEAD),
    ]
}
