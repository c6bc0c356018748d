//! VITS as transformers publishes it (`VitsModel`): MMS' voices, and others that read letters; Piper's voices, which
//! read phonemes.

mod letters;
mod piper;

use sensorium_generator::audio::vits::{DurationConfig, FlowConfig, Vits, VitsConfig, VitsNoise};
use sensorium_media::sound::MAX_RATE;
use sensorium_nn::prelude::*;
use serde_json::{Value, json};

use super::hifigan::{self, MAX_REACH, at_most, odd};
use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;
use crate::names::{self, VITS, VITS_TRAINING};
use crate::plan::Plan;
use crate::{vision, weight_norm};

pub use letters::Letters;

const FOREIGN: &str = "the file may be damaged, or of a model that is not supported";

/// More layers of a flow, or convolutions of one of its layers, than any published model has.
const MAX_FLOW: usize = 64;

/// Layers of the durations' flow that have names.
const MAX_DURATION_FLOWS: usize = 4;

/// A loaded model and all that is needed to speak with it.
#[derive(Debug)]
pub struct VitsParts {
    /// Its shape.
    pub config: VitsConfig,
    /// Texts to ids.
    pub letters: Letters,
    /// The model.
    pub model: Vits,
    /// How it speaks.
    pub manner: Manner,
}

/// How a voice speaks.
#[derive(Clone, Debug, PartialEq)]
pub struct Manner {
    /// How much is left to chance.
    pub noise: VitsNoise,
    /// How many times faster it speaks than it was taught.
    pub speaking_rate: f64,
    /// Samples a second.
    pub sampling_rate: u32,
    /// Names of its voices; of most their numbers.
    pub voices: Vec<String>,
}

/// What the weights must be.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn plan(directory: &Directory) -> Result<Plan> {
    let mut plan = Plan::new("vits", "decoder", VITS, config(&directory.config())?.parameters());
    plan.training = VITS_TRAINING;
    let axis = |name: &str| name.contains(".wavenet.").then_some(0);
    weight_norm::as_published(&mut plan.tensors, directory, axis);
    Ok(plan)
}

/// The model in a directory.
///
/// # Errors
/// A file is missing, damaged, or of a model that is not supported; the weights are not those of the settings.
pub fn open(directory: &Directory, device: &Device) -> Result<VitsParts> {
    let settings = directory.config();
    let config = config(&settings)?;
    let (letters, manner) = match directory.json(piper::FILE)? {
        Some(voice) => piper::read(directory, &voice, &config)?,
        None => (Letters::read(directory, config.vocab_size)?, manner(&settings, &config)?),
    };
    let plan = plan(directory)?;
    let strays = plan.check(directory)?;
    let mut tensors =
        directory.tensors_but(|name| plan.is_ignorable(name) || strays.contains(name))?;
    weight_norm::multiply(&mut tensors)?;
    let model = Vits::init(&config, &mut Init::empty(device));
    let model = names::take(model, tensors, &plan.layout)?;
    Ok(VitsParts { config, letters, model, manner })
}

/// How it speaks, by `config.json`.
fn manner(settings: &Config<'_>, shape: &VitsConfig) -> Result<Manner> {
    let voices = shape.speakers.map_or(1, |[voices, _]| voices);
    Ok(Manner {
        noise: VitsNoise {
            scale: not_negative(settings, "noise_scale", 0.667)?,
            duration_scale: not_negative(settings, "noise_scale_duration", 0.8)?,
        },
        speaking_rate: settings.positive_or("speaking_rate", 1.0)?,
        sampling_rate: at_most(settings, "sampling_rate", 16_000, MAX_RATE as usize)? as u32,
        voices: (0..voices).map(|voice| voice.to_string()).collect(),
    })
}

/// The shape from `config.json`. Defaults are those of `VitsConfig`.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn config(config: &Config<'_>) -> Result<VitsConfig> {
    without_effect(config);
    let width = config.size_or("hidden_size", 192)?;
    let channels = config.size_or("flow_size", 192)?;
    if !channels.is_multiple_of(2) {
        return Err(config.wrong("flow_size", "an even number", FOREIGN));
    }
    Ok(VitsConfig {
        vocab_size: config.size_or("vocab_size", 38)?,
        hidden_size: width,
        n_layers: vision::layers(config, "num_hidden_layers", 6)?,
        n_heads: vision::heads(config, "num_attention_heads", 2, width)?,
        window: at_most(config, "window_size", 4, MAX_REACH)?,
        bias: config.flag_or("use_bias", true)?,
        intermediate_size: config.size_or("ffn_dim", 768)?,
        kernel: odd(config, "ffn_kernel_size", 3)?,
        activation: match config.text_or("hidden_act", "relu")? {
            "relu" => Activation::Relu,
            _ => vision::activation(config, "relu")?,
        },
        eps: config.positive_or("layer_norm_eps", 1e-5)?,
        channels,
        durations: durations(config)?,
        flow: flow(config)?,
        decoder: hifigan::read(config, [&[8, 8, 2, 2], &[16, 16, 4, 4]], false)?,
        speakers: speakers(config)?,
    })
}

fn durations(config: &Config<'_>) -> Result<DurationConfig> {
    const KERNEL: &str = "duration_predictor_kernel_size";
    let kernel = odd(config, KERNEL, 3)?;
    config.without_effect(&["depth_separable_num_layers", "duration_predictor_flow_bins"]);
    if !config.flag_or("use_stochastic_duration_prediction", true)? {
        let channels = config.size_or("duration_predictor_filter_channels", 256)?;
        let eps = config.positive_or("layer_norm_eps", 1e-5)?;
        return Ok(DurationConfig::Plain { channels, kernel, eps });
    }
    config.only("depth_separable_channels", &json!(2))?;
    let flows = config.size_or("duration_predictor_num_flows", 4)?;
    if flows > MAX_DURATION_FLOWS {
        let expected = format!("at most {MAX_DURATION_FLOWS}");
        return Err(config.wrong("duration_predictor_num_flows", &expected, FOREIGN));
    }
    let convs = at_most(config, "depth_separable_num_layers", 3, MAX_FLOW)?;
    reach(config, KERNEL, kernel, kernel, convs)?;
    Ok(DurationConfig::Stochastic {
        // The first of them is not run.
        flows: flows - 1,
        convs,
        kernel,
        bins: at_most(config, "duration_predictor_flow_bins", 10, 512)?,
        bound: config.positive_or("duration_predictor_tail_bound", 5.0)?,
    })
}

fn flow(config: &Config<'_>) -> Result<FlowConfig> {
    let kernel = odd(config, "wavenet_kernel_size", 5)?;
    let dilation = config.size_or("wavenet_dilation_rate", 1)?;
    let layers = at_most(config, "prior_encoder_num_wavenet_layers", 4, MAX_FLOW)?;
    reach(config, "wavenet_dilation_rate", kernel, dilation, layers)?;
    let flows = at_most(config, "prior_encoder_num_flows", 4, MAX_FLOW)?;
    Ok(FlowConfig { flows, layers, kernel, dilation })
}

/// How many voices there are, and the width of their vectors, where there are several.
fn speakers(config: &Config<'_>) -> Result<Option<[usize; 2]>> {
    const WIDTH: &str = "speaker_embedding_size";
    let (voices, width) = (config.size_or("num_speakers", 1)?, config.get(WIDTH));
    match (voices, width.is_none_or(|width| *width == json!(0))) {
        (1, true) => Ok(None),
        (1, false) => Err(config.wrong(WIDTH, "0, as there is one speaker", FOREIGN)),
        _ => Ok(Some([voices, config.size(WIDTH)?])),
    }
}

/// That so many convolutions, each of which reads places `by` times as far apart, read over few enough.
fn reach(config: &Config<'_>, key: &str, kernel: usize, by: usize, layers: usize) -> Result<()> {
    let far = by.checked_pow(layers.saturating_sub(1) as u32);
    if far.and_then(|far| far.checked_mul(kernel)).is_some_and(|far| far <= MAX_REACH) {
        return Ok(());
    }
    let expected = format!("convolutions over at most {MAX_REACH} places");
    Err(config.wrong(key, &expected, FOREIGN))
}

fn not_negative(config: &Config<'_>, key: &str, default: f64) -> Result<f64> {
    match config.get(key).and_then(Value::as_f64) {
        Some(0.0) => Ok(0.0),
        _ => config.positive_or(key, default),
    }
}

/// What only training needs.
fn without_effect(config: &Config<'_>) {
    config.without_effect(&[
        "depth_separable_channels",
        "duration_predictor_dropout",
        "duration_predictor_filter_channels",
        "duration_predictor_num_flows",
        "duration_predictor_tail_bound",
        "hidden_dropout",
        "noise_scale",
        "noise_scale_duration",
        "posterior_encoder_num_wavenet_layers",
        "sampling_rate",
        "speaker_embedding_size",
        "speaking_rate",
        "spectrogram_bins",
        "wavenet_dropout",
    ]);
}
