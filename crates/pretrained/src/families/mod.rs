//! One file a family: its settings, its names, its weights.

pub mod assistant;
pub mod audio_language;
pub mod bert;
pub mod blip2;
pub mod clap;
pub mod clip;
mod clip_resnet;
pub mod consistency;
pub mod ctc;
pub mod dinov2;
mod dinov3;
mod dinov3_convnext;
pub mod flamingo;
pub mod generators;
mod hifigan;
pub mod idefics;
pub mod kokoro;
pub mod language;
pub mod llava;
pub mod open_clip;
pub mod qwen_vl;
pub mod sensorium;
pub mod siglip;
mod siglip2;
pub mod speecht5;
mod spelling;
pub mod stable_diffusion;
pub mod t5;
pub mod talker;
pub mod tower;
pub mod vits;
pub mod wav2vec2;
pub mod whisper;

use sensorium_checkpoint::Tensors;
use sensorium_nn::prelude::Device;

use crate::directory::Directory;
use crate::error::Result;
use crate::plan::Plan;
use crate::{Pretrained, text};

/// Names and contents of files.
pub type Files = Vec<(String, Vec<u8>)>;

/// What an encoder and a language model give to a model of them.
pub(crate) struct Frozen {
    /// Under the whole model's names.
    pub tensors: Tensors,
    /// `tokenizer.json`.
    pub tokenizer: Vec<u8>,
}

/// A family of checkpoints: all that is known of its `model_type`.
pub struct Family {
    /// `model_type` of `config.json`.
    pub model_type: &'static str,
    /// What the weights must be, by the settings alone.
    pub plan: fn(&Directory) -> Result<Plan>,
    /// The model with all that makes its inputs.
    pub open: fn(&Directory, &Device) -> Result<Pretrained>,
}

/// Every family that is built here.
pub const FAMILIES: &[Family] = &[
    Family { model_type: sensorium::FAMILY, plan: sensorium::plan, open: sensorium::open },
    Family {
        model_type: "clip",
        plan: |dir| if tower::is_alone(dir) { tower::plan(dir) } else { clip::plan(dir) },
        open: |dir, to| match tower::is_alone(dir) {
            true => tower(dir, to),
            false => towers(clip::open(dir, to)),
        },
    },
    Family {
        model_type: "open_clip",
        plan: open_clip::plan,
        open: |dir, to| towers(open_clip::open(dir, to)),
    },
    Family {
        model_type: "siglip",
        plan: |dir| if tower::is_alone(dir) { tower::plan(dir) } else { siglip::plan(dir) },
        open: |dir, to| match tower::is_alone(dir) {
            true => tower(dir, to),
            false => towers(siglip::open(dir, to)),
        },
    },
    Family {
        model_type: "siglip2",
        plan: siglip2::plan,
        open: |dir, to| towers(siglip2::open(dir, to)),
    },
    Family {
        model_type: "dinov2",
        plan: dinov2::plan,
        open: |dir, to| Ok(Pretrained::ImageEncoder(dinov2::open(dir, to)?)),
    },
    Family {
        model_type: "dinov2_with_registers",
        plan: dinov2::plan,
        open: |dir, to| Ok(Pretrained::ImageEncoder(dinov2::open(dir, to)?)),
    },
    Family {
        model_type: dinov3::FAMILY,
        plan: dinov3::plan,
        open: |dir, to| Ok(Pretrained::ImageEncoder(dinov3::open(dir, to)?)),
    },
    Family {
        model_type: dinov3_convnext::FAMILY,
        plan: dinov3_convnext::plan,
        open: |dir, to| Ok(Pretrained::ImageEncoder(dinov3_convnext::open(dir, to)?)),
    },
    Family { model_type: "clip_vision_model", plan: tower::plan, open: tower },
    Family { model_type: "clip_text_model", plan: tower::plan, open: tower },
    Family { model_type: "siglip_vision_model", plan: tower::plan, open: tower },
    Family { model_type: "siglip_text_model", plan: tower::plan, open: tower },
    Family {
        model_type: "bert",
        plan: bert::plan,
        open: |dir, to| Ok(Pretrained::SentenceEncoder(bert::SentenceEncoder::open(dir, to)?)),
    },
    Family { model_type: blip2::FAMILY, plan: blip2::plan, open: blip2::open },
    Family { model_type: blip2::OWN_FAMILY, plan: blip2::plan, open: blip2::open },
    Family { model_type: "llava", plan: llava::plan, open: spliced },
    Family { model_type: "llava_next", plan: llava::plan, open: spliced },
    Family { model_type: "llava_onevision", plan: llava::plan, open: spliced },
    Family { model_type: "gemma3", plan: llava::plan, open: spliced },
    Family { model_type: "paligemma", plan: llava::plan, open: spliced },
    Family { model_type: "internvl", plan: llava::plan, open: spliced },
    Family { model_type: llava::janus::JANUS, plan: llava::plan, open: janus },
    Family { model_type: "idefics3", plan: llava::plan, open: spliced },
    Family { model_type: "smolvlm", plan: llava::plan, open: spliced },
    Family { model_type: "qwen2_vl", plan: qwen_vl::plan, open: qwen_vl },
    Family { model_type: "qwen2_5_vl", plan: qwen_vl::plan, open: qwen_vl },
    Family { model_type: "qwen3_vl", plan: qwen_vl::plan, open: qwen_vl },
    Family { model_type: "qwen2_5_omni", plan: qwen_vl::plan, open: qwen_vl },
    Family { model_type: flamingo::FAMILY, plan: flamingo::plan, open: flamingo::open },
    Family { model_type: "idefics", plan: idefics::plan, open: idefics::open },
    Family { model_type: "llama", plan: language::plan, open: language },
    Family { model_type: "mistral", plan: language::plan, open: language },
    Family { model_type: "qwen2", plan: language::plan, open: language },
    Family { model_type: "qwen3", plan: language::plan, open: language },
    Family { model_type: "phi3", plan: language::plan, open: language },
    Family { model_type: "gemma", plan: language::plan, open: language },
    Family { model_type: "gemma2", plan: language::plan, open: language },
    Family { model_type: "gemma3_text", plan: language::plan, open: language },
    Family { model_type: "opt", plan: language::plan, open: language },
    Family { model_type: "gpt2", plan: language::plan, open: language },
    Family {
        model_type: t5::FAMILY,
        plan: t5::plan,
        open: |dir, to| Ok(Pretrained::T5(t5::open(dir, to)?)),
    },
    Family {
        model_type: "whisper",
        plan: whisper::plan,
        open: |dir, to| Ok(Pretrained::Whisper(whisper::open(dir, to)?)),
    },
    Family { model_type: "wav2vec2", plan: wav2vec2::plan, open: heard },
    Family { model_type: "hubert", plan: wav2vec2::plan, open: heard },
    Family { model_type: "qwen2_audio", plan: audio_language::plan, open: hearing },
    Family { model_type: "voxtral", plan: audio_language::plan, open: hearing },
    Family {
        model_type: "vits",
        plan: vits::plan,
        open: |dir, to| Ok(Pretrained::Vits(vits::open(dir, to)?)),
    },
    Family {
        model_type: "speecht5",
        plan: speecht5::plan,
        open: |dir, to| Ok(Pretrained::SpeechT5(speecht5::open(dir, to)?)),
    },
    Family {
        model_type: kokoro::FAMILY,
        plan: kokoro::plan,
        open: |dir, to| Ok(Pretrained::Kokoro(kokoro::open(dir, to)?)),
    },
    Family {
        model_type: "clap",
        plan: clap::plan,
        open: |dir, to| Ok(Pretrained::Clap(clap::open(dir, to)?)),
    },
    Family {
        model_type: stable_diffusion::FAMILY,
        plan: stable_diffusion::plan,
        open: |dir, to| Ok(Pretrained::StableDiffusion(stable_diffusion::open(dir, to)?)),
    },
    Family {
        model_type: consistency::FAMILY,
        plan: consistency::plan,
        open: |dir, to| Ok(Pretrained::Consistency(consistency::open(dir, to)?)),
    },
    Family {
        model_type: stable_diffusion::AUTOENCODERS[0],
        plan: stable_diffusion::autoencoder_plan,
        open: autoencoder,
    },
    Family {
        model_type: stable_diffusion::AUTOENCODERS[1],
        plan: stable_diffusion::autoencoder_plan,
        open: autoencoder,
    },
];

/// The family of a directory.
///
/// # Errors
/// Its `model_type` is none that is built here; all that are, are listed.
pub fn family(directory: &Directory) -> Result<&'static Family> {
    let kind = directory.model_type();
    FAMILIES.iter().find(|family| kind == Some(family.model_type)).ok_or_else(|| {
        let known: Vec<&str> = FAMILIES.iter().map(|family| family.model_type).collect();
        let hint = "models of other families cannot be run yet";
        directory.config().wrong("model_type", &format!("one of {}", known.join(", ")), hint)
    })
}

fn tower(directory: &Directory, device: &Device) -> Result<Pretrained> {
    Ok(Pretrained::Tower(tower::open(directory, device)?))
}

fn heard(directory: &Directory, device: &Device) -> Result<Pretrained> {
    Ok(Pretrained::Wav2Vec2(wav2vec2::open(directory, device)?))
}

fn hearing(directory: &Directory, device: &Device) -> Result<Pretrained> {
    Ok(Pretrained::AudioLanguage(audio_language::open(directory, device)?))
}

fn autoencoder(directory: &Directory, device: &Device) -> Result<Pretrained> {
    Ok(Pretrained::Autoencoder(stable_diffusion::autoencoder(directory, device)?))
}

fn towers(towers: Result<crate::Towers>) -> Result<Pretrained> {
    Ok(Pretrained::DualEncoder(towers?))
}

fn spliced(directory: &Directory, device: &Device) -> Result<Pretrained> {
    let text = text::TextProcessor::read(directory)?;
    Ok(Pretrained::Llava(text, llava::open(directory, device)?))
}

fn janus(directory: &Directory, device: &Device) -> Result<Pretrained> {
    Ok(Pretrained::Llava(llava::janus::opened(directory)?, llava::open(directory, device)?))
}

fn qwen_vl(directory: &Directory, device: &Device) -> Result<Pretrained> {
    Ok(Pretrained::QwenVl(qwen_vl::text(directory)?, qwen_vl::open(directory, device)?))
}

fn language(directory: &Directory, device: &Device) -> Result<Pretrained> {
    let text = text::TextProcessor::read(directory)?;
    let (config, backbone) = language::load(directory, device)?;
    Ok(Pretrained::Language(crate::CausalLm { text, config, backbone }))
}
