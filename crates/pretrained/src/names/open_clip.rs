//! CLIP as OpenAI's and open_clip's code name it (`open_clip_model.safetensors`).
//!
//! Projections are published as `[E, C]`, transposed against ours.

use super::{Layout, Row};

/// Published as `[E, C]`.
pub const PROJECTIONS: [&str; 2] = ["visual.proj", "text_projection"];

const VISION: &[Row] = &[
    ("class", "class_embedding"),
    ("stem.convs.0", "conv1"),
    ("position", "positional_embedding"),
    ("pre_norm", "ln_pre"),
    ("blocks.*.norm1", "transformer.resblocks.*.ln_1"),
    ("blocks.*.attention.q", "transformer.resblocks.*.attn.in_proj.q"),
    ("blocks.*.attention.k", "transformer.resblocks.*.attn.in_proj.k"),
    ("blocks.*.attention.v", "transformer.resblocks.*.attn.in_proj.v"),
    ("blocks.*.attention.o", "transformer.resblocks.*.attn.out_proj"),
    ("blocks.*.norm2", "transformer.resblocks.*.ln_2"),
    ("blocks.*.mlp.fc1", "transformer.resblocks.*.mlp.c_fc"),
    ("blocks.*.mlp.fc2", "transformer.resblocks.*.mlp.c_proj"),
    ("norm", "ln_post"),
    ("proj.weight", "proj"),
];

const RESNET: &[Row] = &[
    ("conv1.conv", "conv1"),
    ("conv1.norm", "bn1"),
    ("conv2.conv", "conv2"),
    ("conv2.norm", "bn2"),
    ("conv3.conv", "conv3"),
    ("conv3.norm", "bn3"),
    ("pool.position", "attnpool.positional_embedding"),
    ("pool.q", "attnpool.q_proj"),
    ("pool.k", "attnpool.k_proj"),
    ("pool.v", "attnpool.v_proj"),
    ("pool.o", "attnpool.c_proj"),
];

const BOTTLENECKS: &[Row] = &[
    ("*.conv1.conv", "*.conv1"),
    ("*.conv1.norm", "*.bn1"),
    ("*.conv2.conv", "*.conv2"),
    ("*.conv2.norm", "*.bn2"),
    ("*.conv3.conv", "*.conv3"),
    ("*.conv3.norm", "*.bn3"),
    ("*.downsample.conv", "*.downsample.0"),
    ("*.downsample.norm", "*.downsample.1"),
];

const TEXT: &[Row] = &[
    ("embedding", "token_embedding"),
    ("position", "positional_embedding"),
    ("blocks.*.norm1", "transformer.resblocks.*.ln_1"),
    ("blocks.*.attention.q", "transformer.resblocks.*.attn.in_proj.q"),
    ("blocks.*.attention.k", "transformer.resblocks.*.attn.in_proj.k"),
    ("blocks.*.attention.v", "transformer.resblocks.*.attn.in_proj.v"),
    ("blocks.*.attention.o", "transformer.resblocks.*.attn.out_proj"),
    ("blocks.*.norm2", "transformer.resblocks.*.ln_2"),
    ("blocks.*.mlp.fc1", "transformer.resblocks.*.mlp.c_fc"),
    ("blocks.*.mlp.fc2", "transformer.resblocks.*.mlp.c_proj"),
    ("norm", "ln_final"),
    ("proj.weight", "text_projection"),
];

const TOP: &[Row] = &[("scale", "logit_scale")];

/// A [`Clip`](sensorium_model::clip::Clip) without bias.
pub const OPEN_CLIP: Layout = Layout {
    parts: &[("image", "visual", VISION), ("text", "", TEXT), ("", "", TOP)],
    scalars: &["logit_scale"],
    absent: &[],
    ignorable: &["attn_mask"],
};

/// The same with a [`Resnet`](sensorium_encoder::image::Resnet).
pub const OPEN_CLIP_RESNET: Layout = Layout {
    parts: &[
        ("image", "visual", RESNET),
        ("image.layer1", "visual.layer1", BOTTLENECKS),
        ("image.layer2", "visual.layer2", BOTTLENECKS),
        ("image.layer3", "visual.layer3", BOTTLENECKS),
        ("image.layer4", "visual.layer4", BOTTLENECKS),
        ("text", "", TEXT),
        ("", "", TOP),
    ],
    scalars: &["logit_scale"],
    absent: &[],
    // How many batches a norm has seen.
    ignorable: &["attn_mask", ".num_batches_tracked"],
};
