//! Idefics3 and SmolVLM as transformers publishes them.

use super::llama::{BODY, HEAD};
use super::siglip::VISION;
use super::{Layout, Row};

const PROJECTOR: &[Row] = &[("fc", "modality_projection.proj")];

/// A [`Llava`](sensorium_model::llava::Llava) whose encoder is SigLIP's and whose projector is one map.
pub const IDEFICS3: Layout = Layout {
    parts: &[
        ("towers.0.encoder", "model.vision_model", VISION),
        ("towers.0.projector", "model.connector", PROJECTOR),
        ("backbone", "model.text_model", BODY),
        ("backbone", "", HEAD),
    ],
    scalars: &[],
    absent: &[],
    ignorable: &["embeddings.position_ids", "rotary_emb.inv_freq"],
};
