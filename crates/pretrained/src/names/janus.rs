//! Janus as transformers publishes it (`JanusForConditionalGeneration`).

use super::llama::{BODY, HEAD, IGNORABLE};
use super::{Layout, Row};

/// SigLIP's, with another name for what a head writes.
const VISION: &[Row] = &[
    ("stem.convs.0", "embeddings.patch_embedding"),
    ("position", "embeddings.position_embedding.weight"),
    ("blocks.*.norm1", "encoder.layers.*.layer_norm1"),
    ("blocks.*.attention.q", "encoder.layers.*.self_attn.q_proj"),
    ("blocks.*.attention.k", "encoder.layers.*.self_attn.k_proj"),
    ("blocks.*.attention.v", "encoder.layers.*.self_attn.v_proj"),
    ("blocks.*.attention.o", "encoder.layers.*.self_attn.projection_layer"),
    ("blocks.*.norm2", "encoder.layers.*.layer_norm2"),
    ("blocks.*.mlp.fc1", "encoder.layers.*.mlp.fc1"),
    ("blocks.*.mlp.fc2", "encoder.layers.*.mlp.fc2"),
    ("norm", "post_layernorm"),
];

const ALIGNER: &[Row] = &[("mlp.fc1", "fc1"), ("mlp.fc2", "hidden_layers.0")];

/// What says pictures, and the decoder of them.
const IMAGE_TOKENS: &[Row] = &[
    ("embedding", "generation_embeddings"),
    ("aligner.fc1", "generation_aligner.fc1"),
    ("aligner.fc2", "generation_aligner.hidden_layers.0"),
    ("head.fc1", "generation_head.proj_out"),
    ("head.fc2", "generation_head.vision_head"),
    ("codebook", "vqmodel.quantize.embedding"),
    ("post_quant_conv", "vqmodel.post_quant_conv"),
    ("decoder.conv_in", "vqmodel.decoder.conv_in"),
    ("decoder.mid.block_1.norm1", "vqmodel.decoder.mid.block_1.norm1"),
    ("decoder.mid.block_1.conv1", "vqmodel.decoder.mid.block_1.conv1"),
    ("decoder.mid.block_1.norm2", "vqmodel.decoder.mid.block_1.norm2"),
    ("decoder.mid.block_1.conv2", "vqmodel.decoder.mid.block_1.conv2"),
    ("decoder.mid.attn_1.group_norm", "vqmodel.decoder.mid.attn_1.norm"),
    ("decoder.mid.attn_1.attention.to_q", "vqmodel.decoder.mid.attn_1.q"),
    ("decoder.mid.attn_1.attention.to_k", "vqmodel.decoder.mid.attn_1.k"),
    ("decoder.mid.attn_1.attention.to_v", "vqmodel.decoder.mid.attn_1.v"),
    ("decoder.mid.attn_1.attention.to_out", "vqmodel.decoder.mid.attn_1.proj_out"),
    ("decoder.mid.block_2.norm1", "vqmodel.decoder.mid.block_2.norm1"),
    ("decoder.mid.block_2.conv1", "vqmodel.decoder.mid.block_2.conv1"),
    ("decoder.mid.block_2.norm2", "vqmodel.decoder.mid.block_2.norm2"),
    ("decoder.mid.block_2.conv2", "vqmodel.decoder.mid.block_2.conv2"),
    ("decoder.up.*.block.*.norm1", "vqmodel.decoder.up.*.block.*.norm1"),
    ("decoder.up.*.block.*.conv1", "vqmodel.decoder.up.*.block.*.conv1"),
    ("decoder.up.*.block.*.norm2", "vqmodel.decoder.up.*.block.*.norm2"),
    ("decoder.up.*.block.*.conv2", "vqmodel.decoder.up.*.block.*.conv2"),
    ("decoder.up.*.block.*.conv_shortcut", "vqmodel.decoder.up.*.block.*.nin_shortcut"),
    ("decoder.up.*.attn.*.group_norm", "vqmodel.decoder.up.*.attn.*.norm"),
    ("decoder.up.*.attn.*.attention.to_q", "vqmodel.decoder.up.*.attn.*.q"),
    ("decoder.up.*.attn.*.attention.to_k", "vqmodel.decoder.up.*.attn.*.k"),
    ("decoder.up.*.attn.*.attention.to_v", "vqmodel.decoder.up.*.attn.*.v"),
    ("decoder.up.*.attn.*.attention.to_out", "vqmodel.decoder.up.*.attn.*.proj_out"),
    ("decoder.up.*.upsample.conv", "vqmodel.decoder.up.*.upsample.conv"),
    ("decoder.norm_out", "vqmodel.decoder.norm_out"),
    ("decoder.conv_out", "vqmodel.decoder.conv_out"),
];

/// All of it.
pub const JANUS: Layout = Layout {
    parts: &[
        ("towers.0.encoder", "model.vision_model", VISION),
        ("towers.0.projector", "model.aligner", ALIGNER),
        ("backbone", "model.language_model", BODY),
        ("backbone", "", HEAD),
        ("image_tokens", "model", IMAGE_TOKENS),
    ],
    scalars: &[],
    absent: &[],
    ignorable: IGNORABLE,
};
