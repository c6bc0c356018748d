//! Published checkpoints, as they lie in a directory or a GGUF file: what the settings name is what is
//! built, and every tensor must find its place.
//!
//! ```text
//! config.json ──Config──▶ Plan: family, names and shapes ─┐ every tensor has its place
//! *.safetensors ──Directory::shapes, ::tensors────────────┴──▶ model ─┐
//! preprocessor_config.json, tokenizer.json ──▶ what makes its inputs ─┴─▶ Pretrained
//! FILE.gguf ──metadata, tensors──▶ CausalLm
//! ```
//!
//! [`families::FAMILIES`] is the registry: a row for each `model_type`.

pub mod adapter;
pub mod bridge;
pub mod chat;
mod config;
pub mod convert;
mod directory;
mod error;
pub mod families;
mod feature_extractor;
mod generation;
pub mod gguf;
mod ignored;
mod media_processor;
pub mod names;
mod plan;
mod positions;
mod provenance;
pub mod text;
mod towers;
mod vision;
mod weight_norm;

use std::path::Path;

use sensorium_backbone::{Backbone, BackboneConfig};
use sensorium_nn::device;
use sensorium_nn::prelude::*;

pub use config::Config;
pub use directory::Directory;
pub use error::{Error, Result};
pub use families::bert::SentenceEncoder;
pub use families::blip2::{Match, Matcher};
pub use families::consistency::ConsistencyDrawer;
pub use families::dinov2::{Dinov2, Eye};
pub use families::family;
pub use families::sensorium::SoundEncoder;
pub use families::stable_diffusion::Drawer;
pub use families::tower::Tower;
pub use generation::GenerationConfig;
pub use ignored::ignored;
pub use media_processor::{MediaProcessor, Piece, Words};
pub use plan::{Expected, PARTS, Plan};
pub use provenance::{DataSource, Provenance};
pub use text::TextProcessor;
pub use towers::{TEMPLATES, TextInput, Towers, Trainable, planes, published};

/// A language model with what makes its inputs.
#[derive(Debug)]
pub struct CausalLm {
    /// Texts and messages to ids.
    pub text: TextProcessor,
    /// Shape of the backbone.
    pub config: BackboneConfig,
    /// Ids to the next token.
    pub backbone: Backbone,
}

/// A model of a published checkpoint with all that makes its inputs.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a program has one or two of them")]
pub enum Pretrained {
    /// A model that was trained here.
    Sensorium(families::sensorium::Parts),
    /// CLIP, SigLIP: pictures and texts in one space.
    DualEncoder(Towers),
    /// One tower of CLIP or SigLIP: pictures alone, or texts alone.
    Tower(Tower),
    /// DINOv2 or DINOv3: pictures alone.
    ImageEncoder(Dinov2),
    /// BERT as sentence-transformers publishes it: texts alone.
    SentenceEncoder(SentenceEncoder),
    /// BLIP-2 of the first stage: pictures and texts compared by a Q-Former.
    Matcher(Matcher),
    /// A language model.
    Language(CausalLm),
    /// A language model that reads pictures among its tokens.
    Llava(TextProcessor, families::llava::Spliced),
    /// A language model whose pictures and videos have places on three axes: Qwen2-VL and its successors.
    QwenVl(TextProcessor, families::qwen_vl::QwenVl),
    /// BLIP-2 of the second stage: a language model behind a picture's tokens.
    Blip2(TextProcessor, families::blip2::Writer),
    /// T5, alone or behind a picture's tokens: BLIP-2 with it.
    T5(families::t5::T5Parts),
    /// A language model whose gated blocks ask pictures.
    Idefics(families::idefics::Parts),
    /// The same of any language model, as it is trained here.
    Flamingo(families::flamingo::Parts),
    /// Whisper: sound to text.
    Whisper(families::whisper::WhisperParts),
    /// wav2vec 2.0, HuBERT: samples to letters.
    Wav2Vec2(families::wav2vec2::Wav2Vec2Parts),
    /// CLAP: sounds and texts in one space.
    Clap(families::clap::ClapTowers),
    /// VITS: letters to speech.
    Vits(families::vits::VitsParts),
    /// SpeechT5: a text to speech, in the voice of a vector.
    SpeechT5(families::speecht5::SpeechT5Parts),
    /// Kokoro: phonemes to speech, in a style.
    Kokoro(families::kokoro::KokoroParts),
    /// Qwen2-Audio, Voxtral: a language model that hears.
    AudioLanguage(families::audio_language::AudioLanguageParts),
    /// Stable Diffusion: text to picture.
    StableDiffusion(Drawer),
    /// Its autoencoder alone: pictures to latents and back.
    Autoencoder(sensorium_generator::diffusion::Autoencoder),
    /// A consistency model: a class or an amount to picture.
    Consistency(ConsistencyDrawer),
}

impl Pretrained {
    /// The model in a directory.
    ///
    /// # Errors
    /// A file is missing, damaged or asks for what is not built here; a tensor is missing, left over
    /// or of another shape. Memory is taken only for what the weights' files hold.
    pub fn open(path: &Path, device: &Device) -> Result<Self> {
        Self::load(&Directory::open(path)?, device)
    }

    /// As [`open`](Self::open), of a directory that is open.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn load(directory: &Directory, device: &Device) -> Result<Self> {
        let family = family(directory)?;
        if *device != Device::flex() {
            let (plan, stored) = ((family.plan)(directory)?, directory.shapes()?);
            // One that is stored in another shape is refused for that.
            let is_other = |name: &str, shape: &[usize]| {
                stored.get(name).is_some_and(|stored| stored.shape != shape)
            };
            let tensors = plan.tensors.iter().filter(|t| !is_other(&t.name, &t.shape));
            device::fits(device, tensors.map(|t| (t.name.as_str(), t.count())))?;
        }
        (family.open)(directory, device)
    }
}

/// What a checkpoint's weights must be, by its settings alone.
///
/// # Errors
/// The settings are damaged or ask for what is not built here.
pub fn plan(directory: &Directory) -> Result<Plan> {
    (family(directory)?.plan)(directory)
}
