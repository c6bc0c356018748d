//! VITS as transformers publishes it (`VitsModel`): MMS' voices, and others that read letters.

mod letters;

use sensorium_generator::audio::vits::{
    DecoderConfig, DurationConfig, FlowConfig, Vits, VitsConfig, VitsNoise,
};
use sensorium_media::sound::MAX_RATE;
use sensorium_nn::prelude::*;
use serde_json::{Value, json};

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

/// Frames or letters that a convolution may read over.
const MAX_REACH: usize = 4096;

/// Samples of a frame.
const MAX_HOP: usize = 1 << 14;

/// A loaded model and all that is needed to speak with it.
#[derive(Debug)]
pub struct VitsParts {
    /// Its shape.
    pub config: VitsConfig,
    /// Texts to ids.
    pub letters: Letters,
    /// The model.
    pub model: Vits,
    /// How much is left to chance.
    pub noise: VitsNoise,
    /// How many times faster it speaks than it was taught.
    pub speaking_rate: f64,
    /// Samples a second.
    pub sampling_rate: u32,
    /// Names of its voices: their numbers.
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
    let letters = Letters::read(directory, config.vocab_size)?;
    let noise = VitsNoise {
        scale: not_negative(&settings, "noise_scale", 0.667)?,
        duration_scale: not_negative(&settings, "noise_scale_duration", 0.8)?,
    };
    let speaking_rate = settings.positive_or("speaking_rate", 1.0)?;
    let sampling_rate = at_most(&settings, "sampling_rate", 16_000, MAX_RATE as usize)? as u32;
    let plan = plan(directory)?;
    let strays = plan.check(directory)?;
    let mut tensors =
        directory.tensors_but(|name| plan.is_ignorable(name) || strays.contains(name))?;
    weight_norm::multiply(&mut tensors)?;
    let model = Vits::init(&config, &mut Init::empty(device));
    let model = names::take(model, tensors, &plan.layout)?;
    let voices = config.speakers.map_or(1, |[voices, _]| voices);
    let voices = (0..voices).map(|voice| voice.to_string()).collect();
    Ok(VitsParts { config, letters, model, noise, speaking_rate, sampling_rate, voices })
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
        decoder: decoder(config)?,
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

fn decoder(config: &Config<'_>) -> Result<DecoderConfig> {
    let rates = sizes(config, "upsample_rates", config.get("upsample_rates"), &[8, 8, 2, 2])?;
    let key = "upsample_kernel_sizes";
    let kernels = sizes(config, key, config.get(key), &[16, 16, 4, 4])?;
    let fits = |(rate, kernel): (&usize, &usize)| {
        kernel.checked_sub(*rate).is_some_and(|more| more.is_multiple_of(2))
    };
    if kernels.len() != rates.len() || !rates.iter().zip(&kernels).all(fits) {
        let expected = "of each of the upsample_rates, an even number more than it";
        return Err(config.wrong(key, expected, FOREIGN));
    }
    let hop = rates.iter().try_fold(1usize, |hop, rate| hop.checked_mul(*rate));
    let channels = config.size_or("upsample_initial_channel", 512)?;
    if hop.is_none_or(|hop| hop > MAX_HOP) || channels >> rates.len() == 0 {
        let expected = format!("at most {MAX_HOP} samples of a frame, of {channels} channels");
        return Err(config.wrong("upsample_rates", &expected, FOREIGN));
    }
    let slope = config.positive_or("leaky_relu_slope", 0.1)?;
    let upsamples = rates.into_iter().zip(kernels).map(|(rate, kernel)| [rate, kernel]).collect();
    Ok(DecoderConfig { channels, upsamples, blocks: blocks(config)?, slope })
}

/// Kernels of the decoder's blocks, and the dilations of each.
fn blocks(config: &Config<'_>) -> Result<Vec<(usize, Vec<usize>)>> {
    const KERNELS: &str = "resblock_kernel_sizes";
    const DILATIONS: &str = "resblock_dilation_sizes";
    let kernels = sizes(config, KERNELS, config.get(KERNELS), &[3, 7, 11])?;
    if kernels.iter().any(|kernel| kernel.is_multiple_of(2)) {
        return Err(config.wrong(KERNELS, "odd numbers", FOREIGN));
    }
    let lists = match config.get(DILATIONS) {
        None => vec![vec![1, 3, 5]; kernels.len()],
        Some(value) => {
            let lists = value.as_array().map_or(&[][..], Vec::as_slice).iter();
            lists.map(|list| sizes(config, DILATIONS, Some(list), &[])).collect::<Result<_>>()?
        }
    };
    let reaches = |(kernel, dilations): (&usize, &Vec<usize>)| {
        dilations.iter().all(|dilation| kernel * dilation <= MAX_REACH)
    };
    if lists.len() != kernels.len() || !kernels.iter().zip(&lists).all(reaches) {
        let expected = format!("a list for each of the {KERNELS}, over at most {MAX_REACH} places");
        return Err(config.wrong(DILATIONS, &expected, FOREIGN));
    }
    Ok(kernels.into_iter().zip(lists).collect())
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

fn at_most(config: &Config<'_>, key: &str, default: usize, most: usize) -> Result<usize> {
    let n = config.size_or(key, default)?;
    match n <= most {
        true => Ok(n),
        false => Err(config.wrong(key, &format!("at most {most}"), FOREIGN)),
    }
}

fn odd(config: &Config<'_>, key: &str, default: usize) -> Result<usize> {
    let n = at_most(config, key, default, MAX_REACH)?;
    match n.is_multiple_of(2) {
        true => Err(config.wrong(key, "an odd number", FOREIGN)),
        false => Ok(n),
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

fn sizes(
    config: &Config<'_>,
    key: &str,
    value: Option<&Value>,
    default: &[usize],
) -> Result<Vec<usize>> {
    const MOST: usize = 16;
    let Some(value) = value else { return Ok(default.to_vec()) };
    let size = |value: &Value| value.as_u64().filter(|n| (1..=MAX_REACH as u64).contains(n));
    let list = value.as_array().filter(|list| (1..=MOST).contains(&list.len()));
    let list: Option<Vec<usize>> =
        list.and_then(|list| list.iter().map(|n| size(n).map(|n| n as usize)).collect());
    let expected = format!("1 to {MOST} sizes of 1 to {MAX_REACH}");
    list.ok_or_else(|| config.wrong(key, &expected, FOREIGN))
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
