//! CLAP as transformers publishes it (`ClapModel`).

use super::{Layout, Row};

const AUDIO: &[Row] = &[
    ("bands_norm", "batch_norm"),
    ("stem", "patch_embed.proj"),
    ("stem_norm", "patch_embed.norm"),
    ("fusion.crops", "patch_embed.mel_conv2d.weight"),
    ("fusion.crops_bias", "patch_embed.mel_conv2d.bias"),
    ("fusion.local.conv1", "patch_embed.fusion_model.local_att.0"),
    ("fusion.local.norm1", "patch_embed.fusion_model.local_att.1"),
    ("fusion.local.conv2", "patch_embed.fusion_model.local_att.3"),
    ("fusion.local.norm2", "patch_embed.fusion_model.local_att.4"),
    ("fusion.global.conv1", "patch_embed.fusion_model.global_att.1"),
    ("fusion.global.norm1", "patch_embed.fusion_model.global_att.2"),
    ("fusion.global.conv2", "patch_embed.fusion_model.global_att.4"),
    ("fusion.global.norm2", "patch_embed.fusion_model.global_att.5"),
    ("norm", "norm"),
];

const STAGE: &[Row] = &[
    ("blocks.*.norm1", "blocks.*.layernorm_before"),
    ("blocks.*.q", "blocks.*.attention.self.query"),
    ("blocks.*.k", "blocks.*.attention.self.key"),
    ("blocks.*.v", "blocks.*.attention.self.value"),
    ("blocks.*.relative", "blocks.*.attention.self.relative_position_bias_table"),
    ("blocks.*.o", "blocks.*.attention.output.dense"),
    ("blocks.*.norm2", "blocks.*.layernorm_after"),
    ("blocks.*.mlp.fc1", "blocks.*.intermediate.dense"),
    ("blocks.*.mlp.fc2", "blocks.*.output.dense"),
    ("merge_norm", "downsample.norm"),
    ("merge", "downsample.reduction"),
];

const PROJECTION: &[Row] = &[("proj.fc1", "linear1"), ("proj.fc2", "linear2")];

const TOP: &[Row] = &[("scale", "logit_scale_a"), ("text_scale", "logit_scale_t")];

/// A [`Clap`](sensorium_model::clap::Clap) of at most four stages.
pub const CLAP: Layout = Layout {
    parts: &[
        ("audio", "audio_model.audio_encoder", AUDIO),
        ("audio.stages.0", "audio_model.audio_encoder.layers.0", STAGE),
        ("audio.stages.1", "audio_model.audio_encoder.layers.1", STAGE),
        ("audio.stages.2", "audio_model.audio_encoder.layers.2", STAGE),
        ("audio.stages.3", "audio_model.audio_encoder.layers.3", STAGE),
        ("audio", "audio_projection", PROJECTION),
        ("text.bert", "text_model", super::bert::ROWS),
        ("text", "text_model", &[("pool", "pooler.dense")]),
        ("text", "text_projection", PROJECTION),
        ("", "", TOP),
    ],
    scalars: &["logit_scale_a", "logit_scale_t"],
    absent: &[],
    // Numbers that follow from the settings; how many batches a norm has seen.
    ignorable: &[
        "embeddings.position_ids",
        "embeddings.token_type_ids",
        "relative_position_index",
        ".num_batches_tracked",
    ],
};
