//! Qwen2-Audio as transformers publishes it, without its language model.

use super::whisper::ENCODER;
use super::{Layout, Row};

const PROJECTOR: &[Row] = &[("fc", "linear")];

/// A [`Tower`](sensorium_model::llava::Tower), as files on the hub have it and transformers 5 writes it.
pub const QWEN2_AUDIO: Layout = Layout {
    parts: &[
        ("encoder.whisper", "audio_tower", ENCODER),
        ("projector", "multi_modal_projector", PROJECTOR),
    ],
    scalars: &[],
    absent: &[],
    ignorable: &["rotary_emb.inv_freq"],
};

/// The names of transformers 5 in memory.
pub const QWEN2_AUDIO_NESTED: Layout = Layout {
    parts: &[
        ("encoder.whisper", "model.audio_tower", ENCODER),
        ("projector", "model.multi_modal_projector", PROJECTOR),
    ],
    ..QWEN2_AUDIO
};
