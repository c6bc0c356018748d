//! Kokoro: `config.json` as hexgrad publishes it, and weights and voices that `reference/kokoro_82m.py` has taken out of their
//! pickles.

use std::collections::BTreeMap;

use sensorium_checkpoint::safetensors;
use sensorium_generator::audio::kokoro::{
    AlbertConfig, IstftNetConfig, Kokoro, KokoroConfig, RATE,
};
use sensorium_nn::prelude::*;

use super::hifigan::{self, MAX_REACH, at_most, odd};
use crate::config::Config;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::names::{self, KOKORO};
use crate::plan::Plan;
use crate::{vision, weight_norm};

/// Stands for the `model_type` that hexgrad's `config.json` does not have.
pub const FAMILY: &str = crate::directory::KOKORO;

/// Styles of voices by name.
const VOICES: &str = "voices.safetensors";

const FOREIGN: &str = "the file may be damaged, or of a model that is not supported";

/// Samples of a sine that are told by two heights of the voice: of fewer, the noise of their beginnings counts.
const LEAST_RATE: usize = 3;

/// Convolutions that are published as directions and lengths.
const NORMED: [&str; 12] = [
    ".asr_res.",
    ".cnn.",
    ".conv1.",
    ".conv1x1.",
    ".conv2.",
    ".conv_post.",
    ".convs1.",
    ".convs2.",
    ".F0_conv.",
    ".N_conv.",
    ".pool.",
    ".ups.",
];

/// A voice's style for each length of a text in phonemes, from one on.
pub type Styles = Vec<Vec<f32>>;

/// A loaded model and all that is needed to speak with it.
#[derive(Debug)]
pub struct KokoroParts {
    /// Its shape.
    pub config: KokoroConfig,
    /// Phonemes to ids.
    pub vocabulary: BTreeMap<char, u32>,
    /// The model.
    pub model: Kokoro,
    /// Samples a second.
    pub sampling_rate: u32,
    /// Names of the voices, in their order.
    pub voices: Vec<String>,
    /// Those of each voice.
    pub styles: Vec<Styles>,
}

/// What the weights must be.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn plan(directory: &Directory) -> Result<Plan> {
    let mut plan = Plan::new(FAMILY, "decoder", KOKORO, config(&directory.config())?.parameters());
    let normed = |name: &str| NORMED.iter().any(|part| name.contains(part));
    weight_norm::as_published(&mut plan.tensors, directory, |name| normed(name).then_some(0));
    Ok(plan)
}

/// The model in a directory.
///
/// # Errors
/// A file is missing, damaged, or of a model that is not supported; the weights are not those of the settings.
pub fn open(directory: &Directory, device: &Device) -> Result<KokoroParts> {
    let settings = directory.config();
    let config = config(&settings)?;
    let vocabulary = vocabulary(&settings, config.vocab_size)?;
    let (voices, styles) = voices(directory, 2 * config.style)?;
    let plan = plan(directory)?;
    let strays = plan.check(directory)?;
    let mut tensors =
        directory.tensors_but(|name| plan.is_ignorable(name) || strays.contains(name))?;
    weight_norm::multiply(&mut tensors)?;
    let model = Kokoro::init(&config, &mut Init::empty(device));
    let model = names::take(model, tensors, &plan.layout)?;
    Ok(KokoroParts { config, vocabulary, model, sampling_rate: RATE, voices, styles })
}

/// Phonemes by letter.
fn vocabulary(config: &Config<'_>, known: usize) -> Result<BTreeMap<char, u32>> {
    let table = config.child("vocab")?;
    let mut ids = BTreeMap::new();
    for name in table.keys() {
        let id = table.id_or(name, 0)?;
        let mut chars = name.chars();
        let (Some(phoneme), None) = (chars.next(), chars.next()) else {
            return Err(table.wrong(name, "a phoneme of one letter", FOREIGN));
        };
        if id as usize >= known {
            return Err(table.wrong(name, &format!("an id below {known}, the n_token"), FOREIGN));
        }
        ids.insert(phoneme, id);
    }
    Ok(ids)
}

/// Names of voices and the styles of each.
fn voices(directory: &Directory, width: usize) -> Result<(Vec<String>, Vec<Styles>)> {
    let path = directory.path().join(VOICES);
    if !path.is_file() {
        let hint = "the model speaks in no style of its own; `reference/kokoro_82m.py` puts published voices into this file";
        return Err(directory.missing(VOICES, hint));
    }
    let mut all = Vec::new();
    for (name, tensor) in safetensors::load(&path)?.tensors {
        let (shape, values) = tensor.into_parts();
        let fits = matches!(*shape, [n, 1, last] if n > 0 && last == width);
        if !fits || values.iter().any(|x| !x.is_finite()) {
            return Err(Error::Setting {
                file: path.display().to_string(),
                key: name,
                expected: format!("finite numbers of the shape [lengths, 1, {width}]"),
                got: format!("numbers of the shape {shape:?}"),
                hint: "a voice has a style for each length of a text, of twice the style_dim of config.json",
            });
        }
        all.push((name, values.chunks(width).map(<[f32]>::to_vec).collect()));
    }
    match all.is_empty() {
        true => Err(directory.missing(VOICES, "the file holds no voice")),
        false => Ok(all.into_iter().unzip()),
    }
}

/// The shape from `config.json`.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn config(config: &Config<'_>) -> Result<KokoroConfig> {
    // Its phonemes are read with its voices.
    let beside = ["dim_in", "dropout", "max_conv_dim", "multispeaker", "n_mels", "vocab"];
    config.without_effect(&beside);
    let hidden_size = config.size("hidden_dim")?;
    if !hidden_size.is_multiple_of(8) {
        return Err(config.wrong("hidden_dim", "a multiple of 8", FOREIGN));
    }
    let net = net(&config.child("istftnet")?)?;
    if net.channels != hidden_size {
        let expected = format!("upsample_initial_channel, {}", net.channels);
        return Err(config.wrong("hidden_dim", &expected, FOREIGN));
    }
    Ok(KokoroConfig {
        vocab_size: config.size("n_token")?,
        hidden_size,
        style: config.size("style_dim")?,
        n_layers: at_most(config, "n_layer", 3, vision::MAX_LAYERS)?,
        text_kernel: odd(config, "text_encoder_kernel_size", 5)?,
        max_frames: at_most(config, "max_dur", 50, MAX_REACH)?,
        albert: albert(&config.child("plbert")?)?,
        net,
    })
}

/// Defaults are those of `AlbertConfig`.
fn albert(config: &Config<'_>) -> Result<AlbertConfig> {
    config.without_effect(&["dropout"]);
    for key in ["num_hidden_groups", "inner_group_num"] {
        config.only(key, &serde_json::json!(1))?;
    }
    let hidden_size = config.size_or("hidden_size", 4096)?;
    Ok(AlbertConfig {
        embedding_size: config.size_or("embedding_size", 128)?,
        hidden_size,
        n_layers: vision::layers(config, "num_hidden_layers", 12)?,
        n_heads: vision::heads(config, "num_attention_heads", 64, hidden_size)?,
        intermediate_size: config.size_or("intermediate_size", 16_384)?,
        activation: vision::activation(config, "gelu_new")?,
        eps: config.positive_or("layer_norm_eps", 1e-12)?,
        positions: config.size_or("max_position_embeddings", 512)?,
        kinds: config.size_or("type_vocab_size", 2)?,
    })
}

fn net(config: &Config<'_>) -> Result<IstftNetConfig> {
    // HiFi-GAN's settings are its own, too.
    let shape = hifigan::read(config, [&[10, 6], &[20, 12]], true)?;
    let (n_fft, hop) = (config.size("gen_istft_n_fft")?, config.size("gen_istft_hop_size")?);
    if !n_fft.is_multiple_of(2) || n_fft > MAX_REACH || hop > n_fft / 2 {
        let expected = format!("an even number up to {MAX_REACH}, of two hops at least");
        return Err(config.wrong("gen_istft_n_fft", &expected, FOREIGN));
    }
    let net = IstftNetConfig {
        channels: shape.channels,
        upsamples: shape.upsamples,
        blocks: shape.blocks,
        n_fft,
        hop,
    };
    match net.rate() {
        LEAST_RATE..=MAX_REACH => Ok(net),
        _ => {
            let expected = format!("{LEAST_RATE} to {MAX_REACH} samples with gen_istft_hop_size");
            Err(config.wrong("upsample_rates", &expected, FOREIGN))
        }
    }
}
