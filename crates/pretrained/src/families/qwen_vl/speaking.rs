//! What speaks in Qwen2.5-Omni (`Qwen2_5OmniTalkerForConditionalGeneration`, `Qwen2_5OmniToken2WavModel`), and its voices,
//! which `reference/qwen2_5_omni_voice.py` has taken out of their pickle.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use sensorium_backbone::{BackboneConfig, LlamaConfig, RopeScaling};
use sensorium_backbone::{OmniTalker, OmniTalkerConfig};
use sensorium_checkpoint::{Tensor, Tensors, safetensors};
use sensorium_generator::audio::token2wav::{self, BigVganConfig, DitConfig, EcapaConfig};
use sensorium_generator::audio::token2wav::{Token2Wav, Token2WavConfig};
use sensorium_nn::prelude::*;
use serde_json::{Value, json};

use super::FOREIGN;
use super::omni::FAMILY;
use super::settings::blocks;
use crate::config::Config;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::families::hifigan::{self, MAX_REACH, at_most, sizes};
use crate::families::language;
use crate::names::{self, QWEN2_5_OMNI_TALKER, QWEN2_5_OMNI_TOKEN2WAV};
use crate::plan::Plan;
use crate::vision;

/// What names begin with of all that speaks.
pub(super) const MOUTH: [&str; 2] = ["talker.", "token2wav."];

/// Voices by name.
const VOICES: &str = "voices.safetensors";

/// What is published in its place, and never read: pickles can run code.
const PICKLE: &str = "spk_dict.pt";

/// Parts of a block's channels, frames of a code.
const MAX_FEW: usize = 64;

/// The shape of what speaks, and its tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct SpeakingConfig {
    /// What was thought to codes.
    pub talker: OmniTalkerConfig,
    /// Codes to samples.
    pub token2wav: Token2WavConfig,
    /// Stands behind what is said.
    pub text_end: u32,
    /// Stands behind that.
    pub text_pad: u32,
    /// Ends a sound, and stands beside a voice's token.
    pub codec_pad: u32,
    /// Stands before the first code.
    pub codec_start: u32,
    /// Ends a sound.
    pub codec_end: u32,
    /// Stands for each token of a prompt.
    pub codec_mask: u32,
}

/// What speaks.
#[derive(Debug)]
pub struct Speaking {
    /// What was thought to codes.
    pub talker: OmniTalker,
    /// Codes to samples.
    pub token2wav: Token2Wav,
    /// Names of the voices, in their order.
    pub names: Vec<String>,
    /// The voices.
    pub voices: Vec<Voice>,
}

/// Who speaks.
#[derive(Clone, Debug, PartialEq)]
pub struct Voice {
    /// The language model's token that opens what is said.
    pub begin: u32,
    /// How it sounds.
    pub sound: token2wav::Voice,
}

/// What speaks, beside a language model with these settings, of this shape; nothing where it is switched off or has no
/// weights.
pub(super) fn config(
    directory: &Directory,
    whole: &Config<'_>,
    thinker: &Config<'_>,
    language: &BackboneConfig,
) -> Result<Option<SpeakingConfig>> {
    // transformers goes by the other name.
    whole.without_effect(&["enable_talker"]);
    if !whole.flag_or("enable_audio_output", true)? || !is_there(directory) {
        whole.without_effect(&["talker_config", "token2wav_config"]);
        return Ok(None);
    }
    let top = whole.find_or_empty("talker_config")?;
    let talker = talker(&top, thinker, language.hidden_size())?;
    let wav = whole.find_or_empty("token2wav_config")?;
    wav.only("model_type", &json!("qwen2_5_omni_token2wav"))?;
    let dit = dit(&wav.find_or_empty("dit_config")?)?;
    let bigvgan = bigvgan(&wav.find_or_empty("bigvgan_config")?, dit.voice.bands)?;
    // Files may have it by another name beside it; voices have their own.
    top.without_effect(&["codec_pad_token", "tts_text_start_token_id"]);
    let id = |key: &str, default: u32, vocabulary: usize| match top.id_or(key, default)? {
        id if (id as usize) < vocabulary => Ok(id),
        _ => Err(top.wrong(key, &format!("below the vocab_size, {vocabulary}"), FOREIGN)),
    };
    let word = |key, default| id(key, default, language.vocabulary());
    let code = |key, default| id(key, default, talker.decoder.vocab_size);
    Ok(Some(SpeakingConfig {
        text_end: word("tts_text_end_token_id", 151_861)?,
        text_pad: word("tts_text_pad_token_id", 151_859)?,
        codec_pad: code("tts_codec_pad_token_id", 8292)?,
        codec_start: code("tts_codec_start_token_id", 8293)?,
        codec_end: code("tts_codec_end_token_id", 8294)?,
        codec_mask: code("tts_codec_mask_token_id", 8296)?,
        token2wav: Token2WavConfig { dit, bigvgan },
        talker,
    }))
}

/// Defaults are those of `Qwen2_5OmniTalkerConfig`.
fn talker(config: &Config<'_>, thinker: &Config<'_>, width: usize) -> Result<OmniTalkerConfig> {
    static TALKER: LazyLock<Value> = LazyLock::new(|| {
        json!({"vocab_size": 8448, "embedding_size": 3584, "hidden_size": 3584, "intermediate_size": 18_944,
            "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "head_dim": 128,
            "max_position_embeddings": 32_768, "rope_theta": 1e6, "max_window_layers": 28,
            "sliding_window": 32_768})
    });
    config.only("model_type", &json!("qwen2_5_omni_talker"))?;
    // It stands among the same tokens, at the same places.
    let shared = [
        "audio_end_token_id",
        "audio_start_token_id",
        "audio_token_index",
        "image_token_index",
        "position_id_per_seconds",
        "seconds_per_chunk",
        "video_token_index",
        "vision_end_token_id",
        "vision_start_token_id",
    ];
    for key in shared {
        match thinker.get(key) {
            Some(own) => config.only(key, own)?,
            None => config.without_effect(&[key]),
        }
    }
    let merge = thinker.find_or_empty("vision_config")?.size_or("spatial_merge_size", 2)?;
    config.only("spatial_merge_size", &json!(merge))?;
    // The head is always its own.
    config.without_effect(&["tie_word_embeddings"]);
    let config = config.clone().or(&TALKER);
    if config.size("embedding_size")? != width {
        let expected = format!("{width}, the width of the language model");
        return Err(config.wrong("embedding_size", &expected, FOREIGN));
    }
    vision::layers(&config, "num_hidden_layers", 28)?;
    match language::qwen2_vl(&config)? {
        // What is read from its table is the head.
        BackboneConfig::Llama(decoder) => Ok(OmniTalkerConfig {
            embedding_size: width,
            decoder: LlamaConfig { tied: true, ..decoder },
        }),
        _ => Err(config.wrong("model_type", "a decoder like Qwen2's", FOREIGN)),
    }
}

/// Defaults are those of `Qwen2_5OmniDiTConfig`. Published files have older names of some.
fn dit(config: &Config<'_>) -> Result<DitConfig> {
    config.only("model_type", &json!("qwen2_5_omni_dit"))?;
    config.without_effect(&["enc_global_context", "enc_lin_neurons"]);
    let hidden_size = config.size_or("hidden_size", config.size_or("dim", 1024)?)?;
    let older = vision::layers(config, "depth", 22)?;
    let n_layers = vision::layers(config, "num_hidden_layers", older)?;
    let n_heads = config.size_or("num_attention_heads", config.size_or("heads", 16)?)?;
    let head_dim = config.size_or("head_dim", 64)?;
    if !head_dim.is_multiple_of(2) {
        return Err(config.wrong("head_dim", "an even number", FOREIGN));
    }
    let (theta, scaling) = language::rope(config, head_dim)?;
    if scaling != RopeScaling::None {
        return Err(config.wrong("rope_parameters", "angles that are not stretched", FOREIGN));
    }
    let bands = config.size_or("mel_dim", 80)?;
    Ok(DitConfig {
        hidden_size,
        n_layers,
        n_heads,
        head_dim,
        intermediate_size: hidden_size.saturating_mul(at_most(config, "ff_mult", 2, MAX_FEW)?),
        codes: config.size_or("num_embeds", 8193)? + 1,
        code_size: config.size_or("emb_dim", 512)?,
        repeats: at_most(config, "repeats", 2, MAX_FEW)?,
        block: at_most(config, "block_size", 24, MAX_REACH)?,
        look_ahead: blocks(config, "look_ahead_layers", &[10], n_layers)?,
        look_backward: blocks(config, "look_backward_layers", &[0, 20], n_layers)?,
        theta,
        frames: config.size_or("max_position_embeddings", 32_768)?,
        speaker: config.size_or("enc_emb_dim", 192)?,
        voice: ecapa(config, bands)?,
    })
}

fn ecapa(config: &Config<'_>, bands: usize) -> Result<EcapaConfig> {
    const CHANNELS: &str = "enc_channels";
    let list = |key, default: &[usize]| sizes(config, key, config.get(key), default);
    let channels = list(CHANNELS, &[256, 256, 256, 256, 768])?;
    let kernels = list("enc_kernel_sizes", &[5, 3, 3, 3, 1])?;
    let dilations = list("enc_dilations", &[1, 2, 3, 4, 1])?;
    let scale = at_most(config, "enc_res2net_scale", 2, MAX_FEW)?;
    // Each block adds to what it reads, and the last layer reads all blocks side by side.
    let fits = match &channels[..] {
        [first, blocks @ .., last] => {
            !blocks.is_empty()
                && blocks.iter().all(|c| c == first && c.is_multiple_of(scale))
                && blocks.iter().sum::<usize>() == *last
        }
        _ => false,
    };
    if !fits {
        let expected = format!(
            "three or more, alike and multiples of {scale} but for the last, which is the sum of all between it and the first"
        );
        return Err(config.wrong(CHANNELS, &expected, FOREIGN));
    }
    if kernels.len() != channels.len() || kernels.iter().any(|kernel| kernel.is_multiple_of(2)) {
        return Err(config.wrong("enc_kernel_sizes", "an odd one for each layer", FOREIGN));
    }
    let reaches = |(kernel, dilation): (&usize, &usize)| kernel * dilation <= MAX_REACH;
    if dilations.len() != channels.len() || !kernels.iter().zip(&dilations).all(reaches) {
        let expected = format!("one for each layer, over at most {MAX_REACH} frames");
        return Err(config.wrong("enc_dilations", &expected, FOREIGN));
    }
    let layers = channels.into_iter().zip(kernels).zip(dilations);
    Ok(EcapaConfig {
        bands,
        layers: layers.map(|((c, kernel), dilation)| [c, kernel, dilation]).collect(),
        scale,
        squeezed: config.size_or("enc_se_channels", 64)?,
        attention: config.size_or("enc_attention_channels", 64)?,
        width: config.size_or("enc_dim", 128)?,
    })
}

/// Defaults are those of `Qwen2_5OmniBigVGANConfig`.
fn bigvgan(config: &Config<'_>, bands: usize) -> Result<BigVganConfig> {
    const DILATIONS: &str = "resblock_dilation_sizes";
    static BIGVGAN: LazyLock<Value> = LazyLock::new(|| json!({"upsample_initial_channel": 1536}));
    config.only("model_type", &json!("qwen2_5_omni_bigvgan"))?;
    config.only("resblock", &json!("1"))?;
    if config.size_or("mel_dim", 80)? != bands {
        let expected = format!("{bands}, the mel_dim of dit_config");
        return Err(config.wrong("mel_dim", &expected, FOREIGN));
    }
    let config = config.clone().or(&BIGVGAN);
    // HiFi-GAN's settings are its own, too.
    let shape = hifigan::read(&config, [&[5, 3, 2, 2, 2, 2], &[11, 7, 4, 4, 4, 4]], false)?;
    if shape.blocks.iter().any(|(_, dilations)| dilations.len() != 3) {
        return Err(config.wrong(DILATIONS, "lists of three", FOREIGN));
    }
    let (channels, upsamples, blocks) = (shape.channels, shape.upsamples, shape.blocks);
    Ok(BigVganConfig { bands, channels, upsamples, blocks })
}

/// Whether the directory has what speaks, or no weights at all.
fn is_there(directory: &Directory) -> bool {
    let speaks = |name: &String| MOUTH.iter().any(|part| name.starts_with(part));
    directory.shapes().map_or(true, |all| all.keys().any(speaks))
}

/// What the weights of what speaks must be.
pub(super) fn plan(config: &SpeakingConfig) -> Plan {
    let mut plan = Plan::new(FAMILY, "decoder", QWEN2_5_OMNI_TALKER, config.talker.parameters());
    let wav = Plan::new(FAMILY, "decoder", QWEN2_5_OMNI_TOKEN2WAV, config.token2wav.parameters());
    plan.tensors.extend(wav.tensors);
    plan
}

/// What speaks, in a directory whose weights have been found to be those of its plan; nothing, and one is told, where
/// no voice is there. The language model has so many tokens.
pub(super) fn open(
    config: &SpeakingConfig,
    directory: &Directory,
    tokens: usize,
    device: &Device,
) -> Result<Option<Speaking>> {
    if !directory.path().join(VOICES).is_file() {
        log::warn!(
            "{}: there is no {VOICES}, so that answers are texts: {PICKLE} is a pickle, which can run code and is never loaded; `reference/qwen2_5_omni_voice.py convert` puts its voices into this file",
            directory.path().display()
        );
        return Ok(None);
    }
    let (names, voices) = voices(directory, config, tokens)?;
    let init = &mut Init::empty(device);
    let part = |part: &'static str, layout: &names::Layout| {
        directory.tensors_but(|name| !name.starts_with(part) || layout.is_ignorable(name))
    };
    let [talker, token2wav] = MOUTH;
    let tensors = part(talker, &QWEN2_5_OMNI_TALKER)?;
    let talker = OmniTalker::init(&config.talker, init);
    let talker = names::take(talker, tensors, &QWEN2_5_OMNI_TALKER)?;
    let tensors = part(token2wav, &QWEN2_5_OMNI_TOKEN2WAV)?;
    let token2wav = Token2Wav::init(&config.token2wav, init);
    let token2wav = names::take(token2wav, tensors, &QWEN2_5_OMNI_TOKEN2WAV)?;
    Ok(Some(Speaking { talker, token2wav, names, voices }))
}

/// Names of the voices, and the voices.
fn voices(
    directory: &Directory,
    config: &SpeakingConfig,
    tokens: usize,
) -> Result<(Vec<String>, Vec<Voice>)> {
    let path = directory.path().join(VOICES);
    let Tensors { tensors, .. } = safetensors::load(&path)?;
    let mut all: BTreeMap<String, BTreeMap<String, Tensor>> = BTreeMap::new();
    for (key, tensor) in tensors {
        let (name, part) = key.rsplit_once('.').unwrap_or((&key, ""));
        all.entry(name.to_owned()).or_default().insert(part.to_owned(), tensor);
    }
    if all.is_empty() {
        return Err(directory.missing(VOICES, "the file holds no voice"));
    }
    let file = path.display().to_string();
    let voice =
        |(name, parts)| Ok((String::clone(&name), voice(&file, &name, parts, config, tokens)?));
    Ok(all.into_iter().map(voice).collect::<Result<Vec<_>>>()?.into_iter().unzip())
}

/// A voice of these `parts`.
fn voice(
    file: &str,
    name: &str,
    mut parts: BTreeMap<String, Tensor>,
    config: &SpeakingConfig,
    tokens: usize,
) -> Result<Voice> {
    let DitConfig { speaker, voice: EcapaConfig { bands, .. }, .. } = config.token2wav.dit;
    let least = config.token2wav.dit.voice.least();
    let mut part = |key: &str, expected: String, fits: &dyn Fn(&[usize], &[f32]) -> bool| {
        let (shape, values) = parts.remove(key).map(Tensor::into_parts).unwrap_or_default();
        match fits(&shape, &values) && values.iter().all(|x| x.is_finite()) {
            true => Ok(values),
            false => Err(Error::Setting {
                file: file.to_owned(),
                key: format!("{name}.{key}"),
                expected,
                got: format!("{} numbers of the shape {shape:?}", values.len()),
                hint: "a voice has a bos_token, a cond and a ref_mel, as `reference/qwen2_5_omni_voice.py convert` writes them",
            }),
        }
    };
    let id = |values: &[f32]| match *values {
        [id] if id >= 0.0 && id.fract() == 0.0 && id < tokens as f32 => Some(id as u32),
        _ => None,
    };
    let expected = format!("a token of the language model, below {tokens}");
    let begin = part("bos_token", expected, &|_, values| id(values).is_some())?;
    let expected = format!("finite numbers of the shape [1, {speaker}]");
    let vector = part("cond", expected, &|shape, _| *shape == [1, speaker])?;
    let expected =
        format!("finite numbers of the shape [1, frames, {bands}], {least} frames or more");
    let mel = part(
        "ref_mel",
        expected,
        &|shape, _| matches!(*shape, [1, frames, width] if frames >= least && width == bands),
    )?;
    if let Some(key) = parts.into_keys().next() {
        return Err(Error::Setting {
            file: file.to_owned(),
            key: format!("{name}.{key}"),
            expected: "a bos_token, a cond and a ref_mel".into(),
            got: "something else".into(),
            hint: FOREIGN,
        });
    }
    let sound = token2wav::Voice { vector, mel };
    Ok(Voice { begin: id(&begin).unwrap_or_default(), sound })
}
