//! CLAP as transformers publishes it (`ClapModel`): sounds and texts in one space.

mod extractor;

use sensorium_encoder::audio::HtsatConfig;
use sensorium_encoder::text::Texts;
use sensorium_encoder::text::bert::BertConfig;
use sensorium_encoder::text::clap::ClapTextConfig;
use sensorium_media::{Sound, Tokenizer};
use sensorium_model::clap::{Clap, ClapConfig};
use sensorium_model::clip::{Comparison, in_chunks};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use serde_json::{Value, json};

use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;
use crate::names::{self, CLAP};
use crate::plan::Plan;
use crate::towers::CHUNK;
use crate::{feature_extractor, text, vision};

pub use extractor::{ClapExtractor, Padding, Truncation};

const FOREIGN: &str = "the file may be damaged, or of a model that is not supported";

/// More than any published model has.
const MAX_STAGES: usize = 4;

/// Longest side of a folded spectrogram.
const MAX_SIDE: usize = 4096;

/// What transformers puts labels of sounds into.
pub const TEMPLATES: [&str; 1] = ["This is a sound of {}."];

/// Two towers of one space, and what makes their inputs.
#[derive(Debug)]
pub struct ClapTowers {
    /// The model.
    pub clap: Clap,
    /// Its shape.
    pub config: ClapConfig,
    /// What makes logits of cosines.
    pub comparison: Comparison,
    /// Sounds to spectrograms.
    pub extractor: ClapExtractor,
    /// Texts to ids.
    pub tokenizer: Tokenizer,
    /// Longest text in tokens; what is longer loses its end.
    pub longest: usize,
    /// Stands behind shorter texts of a batch, unseen.
    pad: u32,
    device: Device,
}

impl ClapTowers {
    /// One vector of unit length for each sound; each is heard alone.
    pub fn embed_sounds<'a>(&self, sounds: impl IntoIterator<Item = &'a Sound>) -> Vec<Vec<f32>> {
        let vector = |sound| read(self.clap.embed_sounds(self.features(sound)));
        sounds.into_iter().map(vector).collect()
    }

    /// A sound as the tower reads it, `[1, crops, F, bands]`.
    pub fn features(&self, sound: &Sound) -> Tensor<4> {
        let values = self.extractor.input_features(sound);
        let (bands, crops) = (self.config.audio.bands, self.config.audio.crops());
        let shape = [1, crops, values.len() / (crops * bands), bands];
        Tensor::from_data(TensorData::new(values, shape), &self.device)
    }

    /// One vector of unit length for each text.
    ///
    /// # Errors
    /// The tokenizer fails at a text, or gives an id that the model has no row for.
    pub fn embed_texts<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Vec<f32>>> {
        let ids = texts.iter().map(|text| self.ids(text.as_ref())).collect::<Result<Vec<_>>>()?;
        Ok(in_chunks(CHUNK, &ids, |chunk| self.clap.embed_texts(&Texts::pad(chunk, self.pad))))
    }

    /// Ids of a text as the tower reads it, not yet padded.
    ///
    /// # Errors
    /// As [`embed_texts`](Self::embed_texts).
    pub fn ids(&self, text: &str) -> Result<Vec<u32>> {
        vision::ids(&self.tokenizer, text, self.longest, self.config.text.bert.vocab_size)
    }
}

/// What the weights must be.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn plan(directory: &Directory) -> Result<Plan> {
    Ok(Plan::new("clap", "encoder", CLAP, config(&directory.config())?.parameters()))
}

/// The model in a directory.
///
/// # Errors
/// A file is missing, damaged, or not of a supported model; the weights are not those of the settings.
pub fn open(directory: &Directory, device: &Device) -> Result<ClapTowers> {
    let settings = directory.config();
    let config = config(&settings)?;
    let extractor = feature_extractor::settings(directory, |own| {
        let extractor = ClapExtractor::read(own)?;
        fits(own, &extractor, &config.audio)?;
        Ok(extractor)
    })?;
    let tokenizer = text::tokenizer(directory)?;
    let bert = &config.text.bert;
    let longest = longest(directory, bert.context - bert.first)?;
    text::tell_ignored(directory, &tokenizer, longest)?;
    let pad = (bert.first - 1) as u32;
    let plan = plan(directory)?;
    let strays = plan.check(directory)?;
    let tensors = directory.tensors_but(|name| plan.is_ignorable(name) || strays.contains(name))?;
    let clap = Clap::init(&config, &mut Init::empty(device));
    let clap = names::take(clap, tensors, &plan.layout)?;
    let (comparison, device) = (clap.comparison(), device.clone());
    Ok(ClapTowers { clap, config, comparison, extractor, tokenizer, longest, pad, device })
}

/// The longest text that the tokenizer and the model read.
fn longest(directory: &Directory, context: usize) -> Result<usize> {
    let settings = directory.json("tokenizer_config.json")?.unwrap_or_default();
    let longest = settings.get("model_max_length").and_then(Value::as_u64).filter(|n| *n > 0);
    Ok(longest.map_or(context, |n| context.min(n as usize)))
}

/// That the spectrograms are those that the tower reads.
fn fits(own: &Config<'_>, extractor: &ClapExtractor, audio: &HtsatConfig) -> Result<()> {
    const HINT: &str = "the files may be of different models";
    let fusion = audio.fusion.is_some();
    if (extractor.truncation == Truncation::Fusion) != fusion {
        let expected = if fusion { "fusion" } else { "rand_trunc" };
        let expected = format!("{expected}, as enable_fusion of config.json has it");
        return Err(own.wrong("truncation", &expected, HINT));
    }
    if extractor.spectrogram.bands != audio.bands {
        let expected = format!("{}, the num_mel_bins of config.json", audio.bands);
        return Err(own.wrong("feature_size", &expected, HINT));
    }
    if extractor.frames() > audio.frames() {
        let expected = format!("steps of which at most {} are in max_length_s", audio.frames());
        return Err(own.wrong("hop_length", &expected, HINT));
    }
    Ok(())
}

/// Defaults are those of `ClapConfig`.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn config(top: &Config<'_>) -> Result<ClapConfig> {
    let embed = top.size_or("projection_dim", 512)?;
    let proj = projection_activation(top)?;
    // Sizes of both towers that follow from theirs.
    top.without_effect(&["hidden_size", "num_hidden_layers"]);
    let (audio, text) = (top.find_or_empty("audio_config")?, top.find_or_empty("text_config")?);
    for tower in [&audio, &text] {
        tower.without_effect(&["projection_dim", "projection_hidden_act"]);
        // Of a model of fused towers that was never published.
        tower.without_effect(&["fusion_hidden_size", "fusion_num_hidden_layers"]);
    }
    Ok(ClapConfig {
        audio: audio_config(&audio, embed, proj)?,
        text: ClapTextConfig { bert: text_config(&text)?, embed, proj_activation: proj },
    })
}

fn projection_activation(top: &Config<'_>) -> Result<Activation> {
    match top.text_or("projection_hidden_act", "relu")? {
        "relu" => Ok(Activation::Relu),
        _ => vision::activation_at(top, "projection_hidden_act", "relu"),
    }
}

/// RoBERTa's.
fn text_config(text: &Config<'_>) -> Result<BertConfig> {
    text.only("position_embedding_type", &json!("absolute"))?;
    let width = text.size_or("hidden_size", 768)?;
    let (context, pad) =
        (text.size_or("max_position_embeddings", 514)?, text.id_or("pad_token_id", 1)? as usize);
    if pad + 1 >= context {
        let expected = format!("an id with rows of positions behind it, of {context}");
        return Err(text.wrong("pad_token_id", &expected, FOREIGN));
    }
    Ok(BertConfig {
        vocab_size: text.size_or("vocab_size", 50_265)?,
        context,
        first: pad + 1,
        types: text.size_or("type_vocab_size", 1)?,
        hidden_size: width,
        n_layers: vision::layers(text, "num_hidden_layers", 12)?,
        n_heads: vision::heads(text, "num_attention_heads", 12, width)?,
        intermediate_size: text.size_or("intermediate_size", 3072)?,
        activation: vision::activation(text, "gelu")?,
        eps: text.positive_or("layer_norm_eps", 1e-12)?,
    })
}

fn audio_config(audio: &Config<'_>, embed: usize, proj: Activation) -> Result<HtsatConfig> {
    audio.only("patch_embed_input_channels", &json!(1))?;
    audio.only("flatten_patch_embeds", &json!(true))?;
    audio.without_effect(&["num_classes", "num_hidden_layers"]);
    let [bands, side] = folded(audio)?;
    let patch = [square(audio, "patch_size", 4)?, square(audio, "patch_stride", 4)?];
    let depths = stages(audio, "depths", &[2, 2, 6, 2])?;
    let config = HtsatConfig {
        bands,
        side,
        patch,
        patch_norm: audio.flag_or("enable_patch_layer_norm", true)?,
        channels: audio.size_or("patch_embeds_hidden_size", 96)?,
        n_heads: stages(audio, "num_attention_heads", &[4, 8, 16, 32])?,
        depths,
        window: audio.size_or("window_size", 8)?,
        mlp_ratio: audio.positive_or("mlp_ratio", 4.0)?,
        activation: vision::activation(audio, "gelu")?,
        qkv_bias: audio.flag_or("qkv_bias", true)?,
        eps: audio.positive_or("layer_norm_eps", 1e-5)?,
        fusion: fusion(audio, patch)?,
        embed,
        proj_activation: proj,
    };
    consistent(audio, &config)?;
    Ok(config)
}

/// Bands, and the side of the square that they are folded to.
fn folded(audio: &Config<'_>) -> Result<[usize; 2]> {
    let (bands, side) = (audio.size_or("num_mel_bins", 64)?, audio.size_or("spec_size", 256)?);
    if side > MAX_SIDE || !side.is_multiple_of(bands) {
        let expected = format!("a multiple of the {bands} bands, at most {MAX_SIDE}");
        return Err(audio.wrong("spec_size", &expected, FOREIGN));
    }
    Ok([bands, side])
}

/// By how much a fusion narrows the channels, where there is one.
fn fusion(audio: &Config<'_>, [patch, stride]: [usize; 2]) -> Result<Option<usize>> {
    let on = audio.flag_or("enable_fusion", false)?;
    let kind = audio.get("fusion_type");
    let narrow = audio.size_or("aff_block_r", 4)?;
    if !on {
        return Ok(None);
    }
    if kind.is_some_and(|kind| kind != "aff_2d") {
        return Err(audio.wrong("fusion_type", "aff_2d", FOREIGN));
    }
    if patch != stride {
        return Err(audio.wrong("patch_stride", &format!("{patch}, the patch_size"), FOREIGN));
    }
    Ok(Some(narrow))
}

/// Stages whose windows tile their positions, and whose heads share their channels.
fn consistent(audio: &Config<'_>, config: &HtsatConfig) -> Result<()> {
    let HtsatConfig { patch: [kernel, stride], side, channels, window, .. } = *config;
    let last = config.depths.len() - 1;
    if kernel < stride || !(kernel - stride).is_multiple_of(2) || !side.is_multiple_of(stride) {
        let expected = format!("a divisor of spec_size {side}, an even number below patch_size");
        return Err(audio.wrong("patch_stride", &expected, FOREIGN));
    }
    if config.n_heads.len() != config.depths.len() {
        let expected = format!("{} sizes, as many as of depths", config.depths.len());
        return Err(audio.wrong("num_attention_heads", &expected, FOREIGN));
    }
    let shares = |(i, heads): (usize, &usize)| (channels << i).is_multiple_of(*heads);
    if !config.n_heads.iter().enumerate().all(shares) {
        let expected = format!("divisors of {channels} channels, twice as many each stage");
        return Err(audio.wrong("num_attention_heads", &expected, FOREIGN));
    }
    let smallest = config.grid(last);
    if smallest << last != config.grid(0) || smallest == 0 || !smallest.is_multiple_of(window) {
        let expected = format!("a divisor of the last stage's {smallest} positions an edge");
        return Err(audio.wrong("window_size", &expected, FOREIGN));
    }
    if audio.size_or("hidden_size", 768)? != config.width() {
        let expected = format!("{}, the channels of the last stage", config.width());
        return Err(audio.wrong("hidden_size", &expected, FOREIGN));
    }
    if config.fusion.is_some_and(|narrow| narrow > channels) {
        return Err(audio.wrong("aff_block_r", &format!("at most {channels}"), FOREIGN));
    }
    Ok(())
}

/// A size, or two that are the same.
fn square(audio: &Config<'_>, key: &str, default: usize) -> Result<usize> {
    match audio.get(key).and_then(Value::as_array).map(Vec::as_slice) {
        None => audio.size_or(key, default),
        Some([high, wide]) if high == wide => {
            let size = high.as_u64().filter(|n| (1..=MAX_SIDE as u64).contains(n));
            size.map(|n| n as usize)
                .ok_or_else(|| audio.wrong(key, &format!("1 to {MAX_SIDE}"), FOREIGN))
        }
        Some(_) => Err(audio.wrong(key, "one size for both edges", FOREIGN)),
    }
}

fn stages(audio: &Config<'_>, key: &str, default: &[usize]) -> Result<Vec<usize>> {
    let Some(value) = audio.get(key) else { return Ok(default.to_vec()) };
    let most = vision::MAX_LAYERS as u64;
    let size = |value: &Value| value.as_u64().filter(|n| (1..=most).contains(n));
    let list = value.as_array().filter(|list| (1..=MAX_STAGES).contains(&list.len()));
    let list: Option<Vec<usize>> =
        list.and_then(|list| list.iter().map(|n| size(n).map(|n| n as usize)).collect());
    let expected = format!("1 to {MAX_STAGES} sizes of 1 to {most}");
    list.ok_or_else(|| audio.wrong(key, &expected, FOREIGN))
}
