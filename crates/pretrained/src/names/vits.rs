//! VITS as transformers publishes it (`VitsModel`), without what only its training needs.

use super::{Layout, Row};

const TEXT: &[Row] = &[
    ("embedding", "embed_tokens"),
    ("blocks.*.q", "encoder.layers.*.attention.q_proj"),
    ("blocks.*.k", "encoder.layers.*.attention.k_proj"),
    ("blocks.*.v", "encoder.layers.*.attention.v_proj"),
    ("blocks.*.o", "encoder.layers.*.attention.out_proj"),
    ("blocks.*.relative_keys", "encoder.layers.*.attention.emb_rel_k"),
    ("blocks.*.relative_values", "encoder.layers.*.attention.emb_rel_v"),
    ("blocks.*.norm1", "encoder.layers.*.layer_norm"),
    ("blocks.*.conv1", "encoder.layers.*.feed_forward.conv_1"),
    ("blocks.*.conv2", "encoder.layers.*.feed_forward.conv_2"),
    ("blocks.*.norm2", "encoder.layers.*.final_layer_norm"),
    ("project", "project"),
];

const FLOW: &[Row] = &[
    ("layers.*.pre", "flows.*.conv_pre"),
    ("layers.*.gates.*", "flows.*.wavenet.in_layers.*"),
    ("layers.*.outs.*", "flows.*.wavenet.res_skip_layers.*"),
    ("layers.*.voice", "flows.*.wavenet.cond_layer"),
    ("layers.*.post", "flows.*.conv_post"),
];

pub(super) const DECODER: &[Row] = &[
    ("pre", "conv_pre"),
    ("voice", "cond"),
    ("ups.*", "upsampler.*"),
    ("blocks.*.convs1.*", "resblocks.*.convs1.*"),
    ("blocks.*.convs2.*", "resblocks.*.convs2.*"),
    ("post", "conv_post"),
];

const DURATIONS: &[Row] = &[
    ("pre", "conv_pre"),
    ("voice", "cond"),
    ("proj", "conv_proj"),
    ("translate", "flows.0.translate"),
    ("log_scale", "flows.0.log_scale"),
    ("conv1", "conv_1"),
    ("norm1", "norm_1"),
    ("conv2", "conv_2"),
    ("norm2", "norm_2"),
    ("out", "proj"),
];

const SPLINES: &[Row] = &[("pre", "conv_pre"), ("proj", "conv_proj")];

const SEPARABLE: &[Row] = &[
    ("depthwise.*", "convs_dilated.*"),
    ("norms1.*", "norms_1.*"),
    ("pointwise.*", "convs_pointwise.*"),
    ("norms2.*", "norms_2.*"),
];

/// A [`Vits`](sensorium_generator::audio::vits::Vits) whose durations' flow has at most four layers, the first of which
/// is not run.
pub const VITS: Layout = Layout {
    parts: &[
        ("text", "text_encoder", TEXT),
        ("flow", "flow", FLOW),
        ("decoder", "decoder", DECODER),
        ("durations", "duration_predictor", DURATIONS),
        ("durations.convs", "duration_predictor.conv_dds", SEPARABLE),
        ("durations.flows.0", "duration_predictor.flows.2", SPLINES),
        ("durations.flows.0.convs", "duration_predictor.flows.2.conv_dds", SEPARABLE),
        ("durations.flows.1", "duration_predictor.flows.3", SPLINES),
        ("durations.flows.1.convs", "duration_predictor.flows.3.conv_dds", SEPARABLE),
        ("durations.flows.2", "duration_predictor.flows.4", SPLINES),
        ("durations.flows.2.convs", "duration_predictor.flows.4.conv_dds", SEPARABLE),
        ("", "", &[("speakers", "embed_speaker")]),
    ],
    scalars: &[],
    absent: &[],
    ignorable: &[],
};

/// Whose tensors are for training only: what hears recordings, and the layer that is not run.
pub const VITS_TRAINING: &[&str] =
    &["posterior_encoder.", "duration_predictor.post_", "duration_predictor.flows.1."];
