//! Qwen2-VL, Qwen2.5-VL, Qwen3-VL and Qwen2.5-Omni as transformers publishes them: the tower beside the decoder, or
//! both in one model.

use super::llama::IGNORABLE;
use super::{Layout, Row};

/// Of all towers.
const VISION: &[Row] = &[
    ("stem", "patch_embed.proj"),
    ("position", "pos_embed.weight"),
    ("blocks.*.norm1", "blocks.*.norm1"),
    ("blocks.*.attention.o", "blocks.*.attn.proj"),
    ("blocks.*.norm2", "blocks.*.norm2"),
];

/// Queries, keys and values in one matrix.
const QKV: &[Row] = &[
    ("blocks.*.attention.q", "blocks.*.attn.qkv.q"),
    ("blocks.*.attention.k", "blocks.*.attn.qkv.k"),
    ("blocks.*.attention.v", "blocks.*.attn.qkv.v"),
];

/// Each in its own (Qwen2.5-Omni).
const APART: &[Row] = &[
    ("blocks.*.attention.q", "blocks.*.attn.q"),
    ("blocks.*.attention.k", "blocks.*.attn.k"),
    ("blocks.*.attention.v", "blocks.*.attn.v"),
];

/// Qwen2-VL's two maps, and Qwen2.5-VL's three.
const MLP: &[Row] = &[
    ("blocks.*.mlp.fc1", "blocks.*.mlp.fc1"),
    ("blocks.*.mlp.fc2", "blocks.*.mlp.fc2"),
    ("blocks.*.mlp.gate", "blocks.*.mlp.gate_proj"),
    ("blocks.*.mlp.up", "blocks.*.mlp.up_proj"),
    ("blocks.*.mlp.down", "blocks.*.mlp.down_proj"),
];

const MERGER: &[Row] = &[
    ("merger.norm", "merger.ln_q"),
    ("merger.mlp.fc1", "merger.mlp.0"),
    ("merger.mlp.fc2", "merger.mlp.2"),
];

/// Qwen3-VL's.
const LINEAR_MLP: &[Row] = &[
    ("blocks.*.mlp.fc1", "blocks.*.mlp.linear_fc1"),
    ("blocks.*.mlp.fc2", "blocks.*.mlp.linear_fc2"),
];

const MERGERS: &[Row] = &[
    ("merger.norm", "merger.norm"),
    ("merger.mlp.fc1", "merger.linear_fc1"),
    ("merger.mlp.fc2", "merger.linear_fc2"),
    ("deepstack.*.norm", "deepstack_merger_list.*.norm"),
    ("deepstack.*.mlp.fc1", "deepstack_merger_list.*.linear_fc1"),
    ("deepstack.*.mlp.fc2", "deepstack_merger_list.*.linear_fc2"),
];

/// The tower of nearly all files of Qwen2-VL and Qwen2.5-VL.
pub const QWEN2_VL: Layout = Layout {
    parts: &[
        ("image", "visual", VISION),
        ("image", "visual", QKV),
        ("image", "visual", MLP),
        ("projector", "visual", MERGER),
    ],
    scalars: &[],
    absent: &[],
    ignorable: IGNORABLE,
};

/// The same as transformers has it in memory since 4.52.
pub const QWEN2_VL_NESTED: Layout = Layout {
    parts: &[
        ("image", "model.visual", VISION),
        ("image", "model.visual", QKV),
        ("image", "model.visual", MLP),
        ("projector", "model.visual", MERGER),
    ],
    ..QWEN2_VL
};

/// The tower of Qwen3-VL.
pub const QWEN3_VL: Layout = Layout {
    parts: &[
        ("image", "model.visual", VISION),
        ("image", "model.visual", QKV),
        ("image", "model.visual", LINEAR_MLP),
        ("projector", "model.visual", MERGERS),
    ],
    ..QWEN2_VL
};

/// The same beside the decoder.
pub const QWEN3_VL_BESIDE: Layout = Layout {
    parts: &[
        ("image", "visual", VISION),
        ("image", "visual", QKV),
        ("image", "visual", LINEAR_MLP),
        ("projector", "visual", MERGERS),
    ],
    ..QWEN2_VL
};

/// The tower of Qwen2.5-Omni.
pub const QWEN2_5_OMNI: Layout = Layout {
    parts: &[
        ("image", "thinker.visual", VISION),
        ("image", "thinker.visual", APART),
        ("image", "thinker.visual", MLP),
        ("projector", "thinker.visual", MERGER),
    ],
    scalars: &[],
    absent: &[],
    // Rates and filters follow from the settings.
    ignorable: &[
        "rotary_emb.inv_freq",
        "rotary_embed.inv_freq",
        ".filter",
        "audio_bos_eos_token.weight",
    ],
};
