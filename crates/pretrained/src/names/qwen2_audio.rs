//! What hears in Qwen2-Audio, Voxtral and Qwen2.5-Omni, as transformers publishes them.

use super::whisper::{ENCODER, ENCODER_ENDS};
use super::{Layout, Row};

const PROJECTOR: &[Row] = &[("fc", "linear")];

const STACKED: &[Row] = &[("mlp.fc1", "linear_1"), ("mlp.fc2", "linear_2")];

/// A [`Tower`](sensorium_model::llava::Tower), as files on the hub have it and transformers 5 writes it.
pub const QWEN2_AUDIO: Layout = Layout {
    parts: &[
        ("encoder.whisper", "audio_tower", ENCODER),
        ("encoder.whisper", "audio_tower", ENCODER_ENDS),
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
        ("encoder.whisper", "model.audio_tower", ENCODER_ENDS),
        ("projector", "model.multi_modal_projector", PROJECTOR),
    ],
    ..QWEN2_AUDIO
};

/// The same of Voxtral.
pub const VOXTRAL: Layout = Layout {
    parts: &[
        ("encoder", "audio_tower", ENCODER),
        ("encoder", "audio_tower", ENCODER_ENDS),
        ("projector", "multi_modal_projector", STACKED),
    ],
    ..QWEN2_AUDIO
};

/// The names of transformers 5 in memory.
pub const VOXTRAL_NESTED: Layout = Layout {
    parts: &[
        ("encoder", "model.audio_tower", ENCODER),
        ("encoder", "model.audio_tower", ENCODER_ENDS),
        ("projector", "model.multi_modal_projector", STACKED),
    ],
    ..QWEN2_AUDIO
};

const OMNI: &[Row] = &[("norm", "ln_post")];

/// The sounds' [`Tower`](sensorium_model::llava::Tower) of Qwen2.5-Omni. Its marks of where a sound begins and ends are
/// not read: prompts have tokens for that.
pub const QWEN2_5_OMNI_AUDIO: Layout = Layout {
    parts: &[
        ("encoder.whisper", "thinker.audio_tower", ENCODER),
        ("encoder.whisper", "thinker.audio_tower", OMNI),
        ("projector", "thinker.audio_tower", &[("fc", "proj")]),
    ],
    scalars: &[],
    absent: &[],
    ignorable: &["audio_bos_eos_token.weight"],
};
