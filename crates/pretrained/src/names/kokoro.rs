//! Kokoro, as its code names the parts of `KModel`.

use super::{Layout, Row};

const ALBERT: &[Row] = &[
    ("words", "embeddings.word_embeddings"),
    ("position", "embeddings.position_embeddings.weight"),
    ("kinds", "embeddings.token_type_embeddings"),
    ("norm", "embeddings.LayerNorm"),
    ("wider", "encoder.embedding_hidden_mapping_in"),
];

const ALBERT_BLOCK: &[Row] = &[
    ("attention.q", "attention.query"),
    ("attention.k", "attention.key"),
    ("attention.v", "attention.value"),
    ("attention.o", "attention.dense"),
    ("norm1", "attention.LayerNorm"),
    ("mlp.fc1", "ffn"),
    ("mlp.fc2", "ffn_output"),
    ("norm2", "full_layer_layer_norm"),
];

const LSTM: &[Row] = &[
    ("ahead.ih", "weight_ih_l0"),
    ("ahead.hh", "weight_hh_l0"),
    ("ahead.ih_bias", "bias_ih_l0"),
    ("ahead.hh_bias", "bias_hh_l0"),
    ("back.ih", "weight_ih_l0_reverse"),
    ("back.hh", "weight_hh_l0_reverse"),
    ("back.ih_bias", "bias_ih_l0_reverse"),
    ("back.hh_bias", "bias_hh_l0_reverse"),
];

const TEXT: &[Row] = &[
    ("embedding", "embedding"),
    ("convs.*", "cnn.*.0"),
    ("norms.*.weight", "cnn.*.1.gamma"),
    ("norms.*.bias", "cnn.*.1.beta"),
];

const PROSODY: &[Row] = &[
    ("layers.*.ahead.ih", "text_encoder.lstms.*.weight_ih_l0"),
    ("layers.*.ahead.hh", "text_encoder.lstms.*.weight_hh_l0"),
    ("layers.*.ahead.ih_bias", "text_encoder.lstms.*.bias_ih_l0"),
    ("layers.*.ahead.hh_bias", "text_encoder.lstms.*.bias_hh_l0"),
    ("layers.*.back.ih", "text_encoder.lstms.*.weight_ih_l0_reverse"),
    ("layers.*.back.hh", "text_encoder.lstms.*.weight_hh_l0_reverse"),
    ("layers.*.back.ih_bias", "text_encoder.lstms.*.bias_ih_l0_reverse"),
    ("layers.*.back.hh_bias", "text_encoder.lstms.*.bias_hh_l0_reverse"),
    ("layers.*.fc", "text_encoder.lstms.*.fc"),
    ("durations", "duration_proj.linear_layer"),
    ("pitch.*.norm1.fc", "F0.*.norm1.fc"),
    ("pitch.*.pool", "F0.*.pool"),
    ("pitch.*.conv1", "F0.*.conv1"),
    ("pitch.*.norm2.fc", "F0.*.norm2.fc"),
    ("pitch.*.conv2", "F0.*.conv2"),
    ("pitch.*.shortcut", "F0.*.conv1x1"),
    ("pitch_out", "F0_proj"),
    ("energy.*.norm1.fc", "N.*.norm1.fc"),
    ("energy.*.pool", "N.*.pool"),
    ("energy.*.conv1", "N.*.conv1"),
    ("energy.*.norm2.fc", "N.*.norm2.fc"),
    ("energy.*.conv2", "N.*.conv2"),
    ("energy.*.shortcut", "N.*.conv1x1"),
    ("energy_out", "N_proj"),
];

const DECODER: &[Row] = &[
    ("pitch", "F0_conv"),
    ("energy", "N_conv"),
    ("beside", "asr_res.0"),
    ("encode.norm1.fc", "encode.norm1.fc"),
    ("encode.conv1", "encode.conv1"),
    ("encode.norm2.fc", "encode.norm2.fc"),
    ("encode.conv2", "encode.conv2"),
    ("encode.shortcut", "encode.conv1x1"),
    ("decode.*.norm1.fc", "decode.*.norm1.fc"),
    ("decode.*.pool", "decode.*.pool"),
    ("decode.*.conv1", "decode.*.conv1"),
    ("decode.*.norm2.fc", "decode.*.norm2.fc"),
    ("decode.*.conv2", "decode.*.conv2"),
    ("decode.*.shortcut", "decode.*.conv1x1"),
];

const NET: &[Row] = &[
    ("source.mix", "m_source.l_linear"),
    ("ups.*", "ups.*"),
    ("source_convs.*", "noise_convs.*"),
    ("source_blocks.*.convs1.*", "noise_res.*.convs1.*"),
    ("source_blocks.*.convs2.*", "noise_res.*.convs2.*"),
    ("source_blocks.*.norms1.*.fc", "noise_res.*.adain1.*.fc"),
    ("source_blocks.*.norms2.*.fc", "noise_res.*.adain2.*.fc"),
    ("source_blocks.*.alphas1.*", "noise_res.*.alpha1.*"),
    ("source_blocks.*.alphas2.*", "noise_res.*.alpha2.*"),
    ("blocks.*.convs1.*", "resblocks.*.convs1.*"),
    ("blocks.*.convs2.*", "resblocks.*.convs2.*"),
    ("blocks.*.norms1.*.fc", "resblocks.*.adain1.*.fc"),
    ("blocks.*.norms2.*.fc", "resblocks.*.adain2.*.fc"),
    ("blocks.*.alphas1.*", "resblocks.*.alpha1.*"),
    ("blocks.*.alphas2.*", "resblocks.*.alpha2.*"),
    ("post", "conv_post"),
];

/// A [`Kokoro`](sensorium_generator::audio::kokoro::Kokoro).
pub const KOKORO: Layout = Layout {
    parts: &[
        ("albert", "bert", ALBERT),
        ("albert.block", "bert.encoder.albert_layer_groups.0.albert_layers.0", ALBERT_BLOCK),
        ("", "", &[("narrower", "bert_encoder")]),
        ("prosody", "predictor", PROSODY),
        ("prosody.lstm", "predictor.lstm", LSTM),
        ("prosody.shared", "predictor.shared", LSTM),
        ("text", "text_encoder", TEXT),
        ("text.lstm", "text_encoder.lstm", LSTM),
        ("decoder", "decoder", DECODER),
        ("decoder.net", "decoder.generator", NET),
    ],
    scalars: &[],
    absent: &[],
    // Numbers that follow from the settings; what answers about whole texts.
    ignorable: &["bert.embeddings.position_ids", "bert.pooler.weight", "bert.pooler.bias"],
};
