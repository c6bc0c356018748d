//! LLaVA 1.5 as transformers publishes it, in the four layouts that files have; with CLIP's encoder or
//! SigLIP's, whose names are the same but for its head. LLaVA-NeXT and OneVision have a vector more.

use super::clip::VISION;
use super::dinov2;
use super::llama::{BODY, HEAD};
use super::siglip::HEAD as HEAD_OF_SIGLIP;
use super::{Layout, Row};

const PROJECTOR: &[Row] = &[("mlp.fc1", "linear_1"), ("mlp.fc2", "linear_2")];

/// The vector at the end of a picture's rows.
const NEWLINE: &[Row] = &[("newline", "image_newline")];

/// The tower's projection into CLIP's space has no part in LLaVA.
const ABSENT: &[&str] = &["towers.0.encoder.proj.weight"];

/// What follows from the configuration, or is made for other ways to lay out a picture.
const IGNORABLE: &[&str] = &["embeddings.position_ids", "rotary_emb.inv_freq", "image_newline"];

/// The same of models whose pictures have rows.
const IGNORABLE_BUT_NEWLINE: &[&str] = &["embeddings.position_ids", "rotary_emb.inv_freq"];

/// Files up to transformers 4.51, and nearly all on the hub.
pub const LLAVA_LEGACY: Layout = Layout {
    parts: &[
        ("towers.0.encoder", "vision_tower.vision_model", VISION),
        ("towers.0.encoder", "vision_tower.vision_model", HEAD_OF_SIGLIP),
        ("towers.0.projector", "multi_modal_projector", PROJECTOR),
        ("anyres", "", NEWLINE),
        ("backbone", "language_model.model", BODY),
        ("backbone", "language_model", HEAD),
    ],
    scalars: &[],
    absent: ABSENT,
    ignorable: IGNORABLE,
};

/// Files that transformers 5 writes: as [`LLAVA_LEGACY`], the tower without its inner prefix.
pub const LLAVA_SAVED: Layout = Layout {
    parts: &[
        ("towers.0.encoder", "vision_tower", VISION),
        ("towers.0.encoder", "vision_tower", HEAD_OF_SIGLIP),
        ("towers.0.projector", "multi_modal_projector", PROJECTOR),
        ("anyres", "", NEWLINE),
        ("backbone", "language_model.model", BODY),
        ("backbone", "language_model", HEAD),
    ],
    ..LLAVA_LEGACY
};

/// Files since transformers 4.52, whose tower is still a model in a model.
pub const LLAVA_TOWER: Layout = Layout {
    parts: &[
        ("towers.0.encoder", "model.vision_tower.vision_model", VISION),
        ("towers.0.encoder", "model.vision_tower.vision_model", HEAD_OF_SIGLIP),
        ("towers.0.projector", "model.multi_modal_projector", PROJECTOR),
        ("anyres", "model", NEWLINE),
        ("backbone", "model.language_model", BODY),
        ("backbone", "", HEAD),
    ],
    ..LLAVA_LEGACY
};

/// The names of transformers 5 in memory: as [`LLAVA_TOWER`], the tower without its inner prefix.
pub const LLAVA: Layout = Layout {
    parts: &[
        ("towers.0.encoder", "model.vision_tower", VISION),
        ("towers.0.encoder", "model.vision_tower", HEAD_OF_SIGLIP),
        ("towers.0.projector", "model.multi_modal_projector", PROJECTOR),
        ("anyres", "model", NEWLINE),
        ("backbone", "model.language_model", BODY),
        ("backbone", "", HEAD),
    ],
    ..LLAVA_LEGACY
};

/// As [`LLAVA`], with DINOv2's encoder.
pub const LLAVA_DINOV2: Layout = Layout {
    parts: &[
        ("towers.0.encoder", "model.vision_tower", dinov2::ROWS),
        ("towers.0.encoder", "model.vision_tower", dinov2::MLP),
        ("towers.0.projector", "model.multi_modal_projector", PROJECTOR),
        ("backbone", "model.language_model", BODY),
        ("backbone", "", HEAD),
    ],
    ignorable: &["embeddings.mask_token"],
    ..LLAVA_LEGACY
};

impl Layout {
    /// The same of a model that reads the vector at the end of a picture's rows.
    pub(crate) fn with_newline(self) -> Self {
        Self { ignorable: IGNORABLE_BUT_NEWLINE, ..self }
    }
}
