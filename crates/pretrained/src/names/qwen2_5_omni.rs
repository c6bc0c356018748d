//! What speaks in Qwen2.5-Omni, as transformers publishes it.

use super::llama::BODY;
use super::{Layout, Row};

const TALKER: &[Row] = &[
    ("embedding", "model.embed_tokens"),
    ("proj", "thinker_to_talker_proj"),
    // The decoder's own table is a head alone.
    ("decoder.embedding", "codec_head"),
];

/// An [`OmniTalker`](sensorium_backbone::OmniTalker).
pub const QWEN2_5_OMNI_TALKER: Layout = Layout {
    parts: &[("", "talker", TALKER), ("decoder", "talker.model", BODY.split_at(1).1)],
    scalars: &[],
    absent: &[],
    ignorable: &["rotary_emb.inv_freq"],
};

const DIT: &[Row] = &[
    ("time.fc1", "time_embed.time_mlp.0"),
    ("time.fc2", "time_embed.time_mlp.2"),
    ("codes", "text_embed.codec_embed"),
    ("input", "input_embed.proj"),
    ("blocks.*.modulation", "transformer_blocks.*.attn_norm.linear"),
    ("blocks.*.attention.q", "transformer_blocks.*.attn.to_q"),
    ("blocks.*.attention.k", "transformer_blocks.*.attn.to_k"),
    ("blocks.*.attention.v", "transformer_blocks.*.attn.to_v"),
    ("blocks.*.attention.o", "transformer_blocks.*.attn.to_out.0"),
    ("blocks.*.mlp.fc1", "transformer_blocks.*.ff.ff.0"),
    ("blocks.*.mlp.fc2", "transformer_blocks.*.ff.ff.3"),
    ("modulation", "norm_out.linear"),
    ("out", "proj_out"),
];

const ECAPA: &[Row] = &[
    ("blocks.*.conv", "blocks.*.conv"),
    ("blocks.*.tdnn1.conv", "blocks.*.tdnn1.conv"),
    ("blocks.*.res2.*.conv", "blocks.*.res2net_block.blocks.*.conv"),
    ("blocks.*.tdnn2.conv", "blocks.*.tdnn2.conv"),
    ("blocks.*.squeeze", "blocks.*.se_block.conv1"),
    ("blocks.*.excite", "blocks.*.se_block.conv2"),
    ("all.conv", "mfa.conv"),
    ("pool.tdnn.conv", "asp.tdnn.conv"),
    ("pool.conv", "asp.conv"),
    ("fc", "fc"),
];

const BIGVGAN: &[Row] = &[
    ("pre", "conv_pre"),
    ("ups.*", "ups.*.0"),
    ("blocks.*.convs1.*", "resblocks.*.convs1.*"),
    ("blocks.*.convs2.*", "resblocks.*.convs2.*"),
    ("blocks.*.bends.*.alpha", "resblocks.*.activations.*.act.alpha"),
    ("blocks.*.bends.*.beta", "resblocks.*.activations.*.act.beta"),
    ("bend.alpha", "activation_post.act.alpha"),
    ("bend.beta", "activation_post.act.beta"),
    ("post", "conv_post"),
];

/// A [`Token2Wav`](sensorium_generator::audio::token2wav::Token2Wav).
pub const QWEN2_5_OMNI_TOKEN2WAV: Layout = Layout {
    parts: &[
        ("dit", "token2wav.code2wav_dit_model", DIT),
        ("dit.voice", "token2wav.code2wav_dit_model.input_embed.spk_encoder", ECAPA),
        ("bigvgan", "token2wav.code2wav_bigvgan_model", BIGVGAN),
    ],
    scalars: &[],
    absent: &[],
    ignorable: &["rotary_embed.inv_freq", ".filter"],
};
