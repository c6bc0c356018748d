//! Stable Diffusion as diffusers publishes it: a directory for each part, whose tensors are called by the directory
//! here, too. What is not listed is called alike.

use super::clip::{IGNORABLE, TEXT};
use super::{Layout, Row};

/// `UNet2DConditionModel`.
const UNET: &[Row] = &[
    (
        "down_blocks.*.attentions.*.transformer_blocks.*.attn1.to_out",
        "down_blocks.*.attentions.*.transformer_blocks.*.attn1.to_out.0",
    ),
    (
        "down_blocks.*.attentions.*.transformer_blocks.*.attn2.to_out",
        "down_blocks.*.attentions.*.transformer_blocks.*.attn2.to_out.0",
    ),
    (
        "down_blocks.*.attentions.*.transformer_blocks.*.ff.proj",
        "down_blocks.*.attentions.*.transformer_blocks.*.ff.net.0.proj",
    ),
    (
        "down_blocks.*.attentions.*.transformer_blocks.*.ff.out",
        "down_blocks.*.attentions.*.transformer_blocks.*.ff.net.2",
    ),
    (
        "mid_block.attentions.*.transformer_blocks.*.attn1.to_out",
        "mid_block.attentions.*.transformer_blocks.*.attn1.to_out.0",
    ),
    (
        "mid_block.attentions.*.transformer_blocks.*.attn2.to_out",
        "mid_block.attentions.*.transformer_blocks.*.attn2.to_out.0",
    ),
    (
        "mid_block.attentions.*.transformer_blocks.*.ff.proj",
        "mid_block.attentions.*.transformer_blocks.*.ff.net.0.proj",
    ),
    (
        "mid_block.attentions.*.transformer_blocks.*.ff.out",
        "mid_block.attentions.*.transformer_blocks.*.ff.net.2",
    ),
    (
        "up_blocks.*.attentions.*.transformer_blocks.*.attn1.to_out",
        "up_blocks.*.attentions.*.transformer_blocks.*.attn1.to_out.0",
    ),
    (
        "up_blocks.*.attentions.*.transformer_blocks.*.attn2.to_out",
        "up_blocks.*.attentions.*.transformer_blocks.*.attn2.to_out.0",
    ),
    (
        "up_blocks.*.attentions.*.transformer_blocks.*.ff.proj",
        "up_blocks.*.attentions.*.transformer_blocks.*.ff.net.0.proj",
    ),
    (
        "up_blocks.*.attentions.*.transformer_blocks.*.ff.out",
        "up_blocks.*.attentions.*.transformer_blocks.*.ff.net.2",
    ),
];

/// One side of `AutoencoderKL`, or of `AutoencoderTiny` with TAEF2's pools.
const SIDE: &[Row] = &[
    ("mid_block.attentions.*.attention.to_q", "mid_block.attentions.*.to_q"),
    ("mid_block.attentions.*.attention.to_k", "mid_block.attentions.*.to_k"),
    ("mid_block.attentions.*.attention.to_v", "mid_block.attentions.*.to_v"),
    ("mid_block.attentions.*.attention.to_out", "mid_block.attentions.*.to_out.0"),
    ("layers.*.conv1", "layers.*.conv.0"),
    ("layers.*.conv2", "layers.*.conv.2"),
    ("layers.*.conv3", "layers.*.conv.4"),
    ("layers.*.pool.inward", "layers.*.pool.0"),
    ("layers.*.pool.norm", "layers.*.pool.1"),
    ("layers.*.pool.outward", "layers.*.pool.3"),
];

/// An autoencoder alone.
pub const AUTOENCODER: Layout = Layout {
    parts: &[("encoder", "encoder", SIDE), ("decoder", "decoder", SIDE)],
    scalars: &[],
    absent: &[],
    ignorable: &[],
};

/// All parts.
pub const STABLE_DIFFUSION: Layout = Layout {
    parts: &[
        ("text", "text_encoder.text_model", TEXT),
        ("unet", "unet", UNET),
        ("vae.encoder", "vae.encoder", SIDE),
        ("vae.decoder", "vae.decoder", SIDE),
    ],
    scalars: &[],
    absent: &[],
    ignorable: IGNORABLE,
};

/// With the text tower as transformers 5 writes it.
pub const STABLE_DIFFUSION_BARE: Layout = Layout {
    parts: &[
        ("text", "text_encoder", TEXT),
        ("unet", "unet", UNET),
        ("vae.encoder", "vae.encoder", SIDE),
        ("vae.decoder", "vae.decoder", SIDE),
    ],
    ..STABLE_DIFFUSION
};
