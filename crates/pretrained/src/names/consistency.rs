//! Consistency models as diffusers publishes them. What is not listed is called alike.

use super::{Layout, Row};

/// `UNet2DModel`.
const UNET: &[Row] = &[
    ("down_blocks.*.attentions.*.attention.to_q", "down_blocks.*.attentions.*.to_q"),
    ("down_blocks.*.attentions.*.attention.to_k", "down_blocks.*.attentions.*.to_k"),
    ("down_blocks.*.attentions.*.attention.to_v", "down_blocks.*.attentions.*.to_v"),
    ("down_blocks.*.attentions.*.attention.to_out", "down_blocks.*.attentions.*.to_out.0"),
    ("mid_block.attentions.*.attention.to_q", "mid_block.attentions.*.to_q"),
    ("mid_block.attentions.*.attention.to_k", "mid_block.attentions.*.to_k"),
    ("mid_block.attentions.*.attention.to_v", "mid_block.attentions.*.to_v"),
    ("mid_block.attentions.*.attention.to_out", "mid_block.attentions.*.to_out.0"),
    ("up_blocks.*.attentions.*.attention.to_q", "up_blocks.*.attentions.*.to_q"),
    ("up_blocks.*.attentions.*.attention.to_k", "up_blocks.*.attentions.*.to_k"),
    ("up_blocks.*.attentions.*.attention.to_v", "up_blocks.*.attentions.*.to_v"),
    ("up_blocks.*.attentions.*.attention.to_out", "up_blocks.*.attentions.*.to_out.0"),
];

/// The pipeline, whose other part has no weights.
pub const CONSISTENCY: Layout =
    Layout { parts: &[("unet", "unet", UNET)], scalars: &[], absent: &[], ignorable: &[] };
