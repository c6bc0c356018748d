//! CLIP as transformers publishes it (`CLIPModel`, `CLIPVisionModel`).

use super::siglip::HEAD;
use super::{Layout, Row};

/// The image encoder without its projection. `pre_layrnorm` is the published spelling.
pub(super) const VISION: &[Row] = &[
    ("class", "embeddings.class_embedding"),
    ("stem.convs.0", "embeddings.patch_embedding"),
    ("position", "embeddings.position_embedding.weight"),
    ("pre_norm", "pre_layrnorm"),
    ("blocks.*.norm1", "encoder.layers.*.layer_norm1"),
    ("blocks.*.attention.q", "encoder.layers.*.self_attn.q_proj"),
    ("blocks.*.attention.k", "encoder.layers.*.self_attn.k_proj"),
    ("blocks.*.attention.v", "encoder.layers.*.self_attn.v_proj"),
    ("blocks.*.attention.o", "encoder.layers.*.self_attn.out_proj"),
    ("blocks.*.norm2", "encoder.layers.*.layer_norm2"),
    ("blocks.*.mlp.fc1", "encoder.layers.*.mlp.fc1"),
    ("blocks.*.mlp.fc2", "encoder.layers.*.mlp.fc2"),
    ("norm", "post_layernorm"),
];

/// The text tower without its projection.
pub(super) const TEXT: &[Row] = &[
    ("embedding", "embeddings.token_embedding"),
    ("position", "embeddings.position_embedding.weight"),
    ("blocks.*.norm1", "encoder.layers.*.layer_norm1"),
    ("blocks.*.attention.q", "encoder.layers.*.self_attn.q_proj"),
    ("blocks.*.attention.k", "encoder.layers.*.self_attn.k_proj"),
    ("blocks.*.attention.v", "encoder.layers.*.self_attn.v_proj"),
    ("blocks.*.attention.o", "encoder.layers.*.self_attn.out_proj"),
    ("blocks.*.norm2", "encoder.layers.*.layer_norm2"),
    ("blocks.*.mlp.fc1", "encoder.layers.*.mlp.fc1"),
    ("blocks.*.mlp.fc2", "encoder.layers.*.mlp.fc2"),
    ("norm", "final_layer_norm"),
];

/// What stands outside the towers.
const TOP: &[Row] = &[
    ("image.proj", "visual_projection"),
    ("text.proj", "text_projection"),
    ("scale", "logit_scale"),
];

/// Older files carry the numbers 0, 1, 2, ... of the positions.
pub(super) const IGNORABLE: &[&str] = &["embeddings.position_ids"];

/// A [`Clip`](sensorium_model::clip::Clip) without bias.
pub const CLIP: Layout = Layout {
    parts: &[("image", "vision_model", VISION), ("text", "text_model", TEXT), ("", "", TOP)],
    scalars: &["logit_scale"],
    absent: &[],
    ignorable: IGNORABLE,
};

/// A text tower alone, with its projection or without.
pub const CLIP_TEXT: Layout = Layout {
    parts: &[("", "text_model", TEXT), ("", "", &[("proj", "text_projection")])],
    scalars: &[],
    ..CLIP
};

/// As transformers 5 writes it where there is no projection.
pub const CLIP_TEXT_BARE: Layout = Layout { parts: &[("", "", TEXT)], ..CLIP_TEXT };

/// A vision tower alone, CLIP's with its projection or without, or SigLIP's.
pub const VISION_TOWER: Layout = Layout {
    parts: &[
        ("", "vision_model", VISION),
        ("", "vision_model", HEAD),
        ("", "", &[("proj", "visual_projection")]),
    ],
    ..CLIP_TEXT
};

/// As transformers 5 writes it where there is no projection.
pub const VISION_TOWER_BARE: Layout =
    Layout { parts: &[("", "", VISION), ("", "", HEAD)], ..CLIP_TEXT };

/// A lone [`Vit`](sensorium_encoder::image::Vit), whose projection is not published with it.
pub const CLIP_VISION: Layout = Layout {
    parts: &[("", "vision_model", VISION)],
    scalars: &[],
    absent: &["proj.weight"],
    ignorable: IGNORABLE,
};
