//! wav2vec 2.0 and HuBERT with a head for transcripts, as transformers publishes them (`Wav2Vec2ForCTC`,
//! `HubertForCTC`).

mod trainable;
mod vocabulary;

use sensorium_encoder::audio::{ConvNorm, SampleConv, Wav2Vec2, Wav2Vec2Config};
use sensorium_flow::Encode;
use sensorium_media::sound::MAX_RATE;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use serde_json::{Value, json};

use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;
use crate::names::{self, HUBERT, WAV2VEC2};
use crate::plan::Plan;
use crate::{feature_extractor, vision, weight_norm};

pub use trainable::{Trainable, trainable};
pub use vocabulary::Vocabulary;

const FOREIGN: &str = "the file may be damaged, or of a model that is not supported";

/// Added to a sound's variance before it is divided by (`Wav2Vec2FeatureExtractor`).
const EPS: f64 = 1e-7;

/// More convolutions than any published model has.
const MAX_CONVS: usize = 32;

/// Most samples that a position may see: a second at the highest rate that sounds have.
const MAX_FIELD: usize = MAX_RATE as usize;

/// A loaded model and all that is needed to listen with it.
#[derive(Debug)]
pub struct Wav2Vec2Parts {
    /// Its shape.
    pub config: Wav2Vec2Config,
    /// What its classes spell.
    pub vocabulary: Vocabulary,
    /// What makes its input.
    pub extractor: SampleExtractor,
    /// Encoder and head.
    pub model: Wav2Vec2,
    device: Device,
}

/// What makes samples ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleExtractor {
    /// Samples a second.
    pub sampling_rate: u32,
    /// Samples get mean 0 and variance 1.
    pub do_normalize: bool,
}

impl SampleExtractor {
    /// Sounds are heard one at a time, so that none is padded and no mask is needed.
    fn read(config: &Config<'_>) -> Result<Self> {
        config.only("feature_extractor_type", &json!("Wav2Vec2FeatureExtractor"))?;
        config.only("feature_size", &json!(1))?;
        config.without_effect(&["padding_value", "padding_side", "return_attention_mask"]);
        let rate = config.size_or("sampling_rate", 16_000)?;
        if rate > MAX_RATE as usize {
            let expected = format!("at most {MAX_RATE} samples a second");
            return Err(config.wrong("sampling_rate", &expected, FOREIGN));
        }
        let do_normalize = config.flag_or("do_normalize", true)?;
        Ok(Self { sampling_rate: rate as u32, do_normalize })
    }

    /// Samples as the model reads them.
    pub fn input_values(&self, samples: &[f32]) -> Vec<f32> {
        if !self.do_normalize {
            return samples.to_vec();
        }
        let n = samples.len().max(1) as f64;
        let mean = samples.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
        let variance = samples.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n;
        let scale = (variance + EPS).sqrt();
        samples.iter().map(|x| ((f64::from(*x) - mean) / scale) as f32).collect()
    }
}

impl Wav2Vec2Parts {
    /// Logits `[N, V]` of one sound's samples, of which there are as many as a position sees or more.
    pub fn logits(&self, samples: &[f32]) -> Vec<f32> {
        let values = self.extractor.input_values(samples);
        let shape = [1, values.len()];
        let values = Tensor::from_data(TensorData::new(values, shape), &self.device);
        read(self.model.logits(self.model.encode(values)))
    }
}

/// What the weights must be.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn plan(directory: &Directory) -> Result<Plan> {
    let settings = directory.config();
    let hubert = settings.text_or("model_type", "")? == "hubert";
    let (family, layout) = if hubert { ("hubert", HUBERT) } else { ("wav2vec2", WAV2VEC2) };
    let mut plan = Plan::new(family, "encoder", layout, config(&settings)?.parameters());
    let axis = |name: &str| name.ends_with("pos_conv_embed.conv.weight").then_some(2);
    weight_norm::as_published(&mut plan.tensors, directory, axis);
    Ok(plan)
}

/// The model in a directory.
///
/// # Errors
/// A file is missing, damaged, or of a model that is not supported; the weights are not those of the settings.
pub fn open(directory: &Directory, device: &Device) -> Result<Wav2Vec2Parts> {
    let config = config(&directory.config())?;
    let extractor = feature_extractor::settings(directory, SampleExtractor::read)?;
    let vocabulary = Vocabulary::read(directory, config.vocab_size)?;
    let plan = plan(directory)?;
    let strays = plan.check(directory)?;
    let mut tensors =
        directory.tensors_but(|name| plan.is_ignorable(name) || strays.contains(name))?;
    weight_norm::multiply(&mut tensors)?;
    let model = Wav2Vec2::init(&config, &mut Init::empty(device));
    let model = names::take(model, tensors, &plan.layout)?;
    Ok(Wav2Vec2Parts { config, vocabulary, extractor, model, device: device.clone() })
}

/// The shape from `config.json`. Defaults are those of `Wav2Vec2Config` and `HubertConfig`.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn config(config: &Config<'_>) -> Result<Wav2Vec2Config> {
    // Shorter positions behind the blocks, adapters of languages, another norm of positions.
    config.only("add_adapter", &json!(false))?;
    config.only_null("adapter_attn_dim")?;
    config.only("conv_pos_batch_norm", &json!(false))?;
    without_effect(config);
    let width = config.size_or("hidden_size", 768)?;
    let groups = config.size_or("num_conv_pos_embedding_groups", 16)?;
    if !width.is_multiple_of(groups) {
        let expected = format!("a divisor of the width {width}");
        return Err(config.wrong("num_conv_pos_embedding_groups", &expected, FOREIGN));
    }
    let shape = Wav2Vec2Config {
        vocab_size: config.size_or("vocab_size", 32)?,
        convs: convs(config)?,
        conv_bias: config.flag_or("conv_bias", false)?,
        conv_norm: match config.text_or("feat_extract_norm", "group")? {
            "group" => ConvNorm::Channels,
            "layer" => ConvNorm::Positions,
            _ => return Err(config.wrong("feat_extract_norm", "group or layer", FOREIGN)),
        },
        conv_activation: vision::activation_at(config, "feat_extract_activation", "gelu")?,
        proj_norm: config.flag_or("feat_proj_layer_norm", true)?,
        position_kernel: config.size_or("num_conv_pos_embeddings", 128)?,
        position_groups: groups,
        hidden_size: width,
        n_layers: vision::layers(config, "num_hidden_layers", 12)?,
        n_heads: vision::heads(config, "num_attention_heads", 12, width)?,
        intermediate_size: config.size_or("intermediate_size", 3072)?,
        activation: vision::activation(config, "gelu")?,
        pre_norm: config.flag_or("do_stable_layer_norm", false)?,
        eps: config.positive_or("layer_norm_eps", 1e-5)?,
    };
    if shape.receptive_field() > MAX_FIELD {
        let expected = format!("kernels and steps (conv_stride) over at most {MAX_FIELD} samples");
        return Err(config.wrong("conv_kernel", &expected, FOREIGN));
    }
    Ok(shape)
}

/// The convolutions, one for each place of three lists.
fn convs(config: &Config<'_>) -> Result<Vec<SampleConv>> {
    let channels = sizes(config, "conv_dim", &[512; 7])?;
    let kernels = sizes(config, "conv_kernel", &[10, 3, 3, 3, 3, 2, 2])?;
    let strides = sizes(config, "conv_stride", &[5, 2, 2, 2, 2, 2, 2])?;
    for (key, list) in [("conv_kernel", &kernels), ("conv_stride", &strides)] {
        if list.len() != channels.len() {
            let expected = format!("{} sizes, as many as of conv_dim", channels.len());
            return Err(config.wrong(key, &expected, FOREIGN));
        }
    }
    let all = channels.into_iter().zip(kernels).zip(strides);
    Ok(all.map(|((channels, kernel), stride)| SampleConv { channels, kernel, stride }).collect())
}

fn sizes(config: &Config<'_>, key: &str, default: &[usize]) -> Result<Vec<usize>> {
    let Some(value) = config.get(key) else { return Ok(default.to_vec()) };
    let size = |value: &Value| value.as_u64().filter(|n| (1..=1 << 24).contains(n));
    let list = value.as_array().filter(|list| (1..=MAX_CONVS).contains(&list.len()));
    let list: Option<Vec<usize>> =
        list.and_then(|list| list.iter().map(|n| size(n).map(|n| n as usize)).collect());
    let expected = format!("1 to {MAX_CONVS} sizes above 0");
    list.ok_or_else(|| config.wrong(key, &expected, FOREIGN))
}

/// Pre-training, dropout, and heads of other classes; the number of convolutions is said again.
fn without_effect(config: &Config<'_>) {
    config.without_effect(&[
        "adapter_kernel_size",
        "adapter_stride",
        "codevector_dim",
        "contrastive_logits_temperature",
        "ctc_loss_reduction",
        "ctc_zero_infinity",
        "diversity_loss_weight",
        "feat_extract_dropout",
        "feat_proj_dropout",
        "feat_quantizer_dropout",
        "final_dropout",
        "hidden_dropout",
        "mask_channel_length",
        "mask_channel_min_space",
        "mask_channel_other",
        "mask_channel_prob",
        "mask_channel_selection",
        "mask_time_min_space",
        "mask_time_other",
        "mask_time_selection",
        "num_adapter_layers",
        "num_codevector_groups",
        "num_codevectors_per_group",
        "num_feat_extract_layers",
        "num_negatives",
        "output_hidden_size",
        "proj_codevector_dim",
        "tdnn_dilation",
        "tdnn_dim",
        "tdnn_kernel",
        "xvector_output_dim",
    ]);
}
