//! SpeechT5 as transformers publishes it: `SpeechT5ForTextToSpeech` and `SpeechT5HifiGan`.

use super::{Layout, Row};

const ENCODER: &[Row] = &[
    ("embedding", "prenet.embed_tokens"),
    ("alpha", "prenet.encode_positions.alpha"),
    ("norm", "wrapped_encoder.layer_norm"),
    ("blocks.*.q", "wrapped_encoder.layers.*.attention.q_proj"),
    ("blocks.*.k", "wrapped_encoder.layers.*.attention.k_proj"),
    ("blocks.*.v", "wrapped_encoder.layers.*.attention.v_proj"),
    ("blocks.*.o", "wrapped_encoder.layers.*.attention.out_proj"),
    ("blocks.*.norm1", "wrapped_encoder.layers.*.layer_norm"),
    ("blocks.*.mlp.fc1", "wrapped_encoder.layers.*.feed_forward.intermediate_dense"),
    ("blocks.*.mlp.fc2", "wrapped_encoder.layers.*.feed_forward.output_dense"),
    ("blocks.*.norm2", "wrapped_encoder.layers.*.final_layer_norm"),
    ("relative_position", "wrapped_encoder.embed_positions.pe_k.weight"),
];

const PRENET: &[Row] = &[
    ("layers.*", "layers.*"),
    ("last", "final_layer"),
    ("alpha", "encode_positions.alpha"),
    ("voice", "speaker_embeds_layer"),
];

const DECODER: &[Row] = &[
    ("blocks.*.attention.q", "layers.*.self_attn.q_proj"),
    ("blocks.*.attention.k", "layers.*.self_attn.k_proj"),
    ("blocks.*.attention.v", "layers.*.self_attn.v_proj"),
    ("blocks.*.attention.o", "layers.*.self_attn.out_proj"),
    ("blocks.*.norm1", "layers.*.self_attn_layer_norm"),
    ("blocks.*.cross.q", "layers.*.encoder_attn.q_proj"),
    ("blocks.*.cross.k", "layers.*.encoder_attn.k_proj"),
    ("blocks.*.cross.v", "layers.*.encoder_attn.v_proj"),
    ("blocks.*.cross.o", "layers.*.encoder_attn.out_proj"),
    ("blocks.*.norm2", "layers.*.encoder_attn_layer_norm"),
    ("blocks.*.mlp.fc1", "layers.*.feed_forward.intermediate_dense"),
    ("blocks.*.mlp.fc2", "layers.*.feed_forward.output_dense"),
    ("blocks.*.norm3", "layers.*.final_layer_norm"),
];

const POSTNET: &[Row] = &[
    ("frames", "feat_out"),
    ("ends", "prob_out"),
    ("layers.*.conv", "layers.*.conv"),
    ("layers.*.norm", "layers.*.batch_norm"),
];

/// A [`SpeechT5`](sensorium_generator::audio::speecht5::SpeechT5).
pub const SPEECHT5: Layout = Layout {
    parts: &[
        ("encoder", "speecht5.encoder", ENCODER),
        ("prenet", "speecht5.decoder.prenet", PRENET),
        ("decoder", "speecht5.decoder.wrapped_decoder", DECODER),
        ("postnet", "speech_decoder_postnet", POSTNET),
    ],
    scalars: &[
        "speecht5.encoder.prenet.encode_positions.alpha",
        "speecht5.decoder.prenet.encode_positions.alpha",
    ],
    absent: &[],
    // How many batches a norm has seen; waves, which older files hold.
    ignorable: &["num_batches_tracked", "encode_positions.pe"],
};

/// A [`SpeechT5HifiGan`](sensorium_generator::audio::speecht5::SpeechT5HifiGan).
pub const SPEECHT5_HIFIGAN: Layout = Layout {
    parts: &[("net", "", super::vits::DECODER), ("", "", &[("mean", "mean"), ("scale", "scale")])],
    scalars: &[],
    absent: &[],
    ignorable: &[],
};
