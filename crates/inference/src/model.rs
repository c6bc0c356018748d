//! A model of any kind, opened from where it lies.

use std::path::{Path, PathBuf};

use sensorium_checkpoint::gguf::Mapped;
use sensorium_generator::diffusion::Autoencoder;
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::clap::ClapTowers;
use sensorium_pretrained::families::generators::Generators;
use sensorium_pretrained::families::sensorium::Parts;
use sensorium_pretrained::families::talker::Voices;
use sensorium_pretrained::{
    ConsistencyDrawer, Dinov2, Directory, Drawer, Matcher, Pretrained, SentenceEncoder,
    SoundEncoder, Tower, Towers, bridge, gguf,
};

use crate::error::{Error, Result};
use crate::vision_language::Signal;
use crate::{
    AudioLanguageModel, ChatModel, CtcModel, EmbeddingModel, FewShot, FlamingoModel, IdeficsModel,
    JanusModel, KokoroModel, LanguageModel, QwenVlModel, ScoreModel, Space, SpeechT5Model,
    SpeechToText, T5Model, TextToMedia, TextToSpeech, VisionLanguageModel, VitsModel,
    Wav2Vec2Model, WhisperModel,
};
use sensorium_model::gill::SignalConfig;

/// How a model is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// What its matrices are laid out as on the CPU. Without one, those of a GGUF file are multiplied as
    /// they are stored where there is a kernel for that, all others in f32, as on other devices always.
    pub format: Option<pack::Format>,
    /// Where it computes.
    pub device: Device,
    /// Weights that the model has no place for are an error; else a warning names them.
    pub strict: bool,
    /// The directory of a LoRA adapter, in peft's format, that changes the weights.
    pub adapter: Option<PathBuf>,
}

impl Options {
    /// On a device, all else as usual.
    pub fn on(device: &Device) -> Self {
        Self { format: None, device: device.clone(), strict: false, adapter: None }
    }
}

/// A model that was trained here: what it consists of decides what it can do.
#[derive(Debug)]
pub struct SensoriumModel {
    space: Option<Space>,
    llava: Option<VisionLanguageModel>,
    language: Option<LanguageModel>,
    audio: Option<SoundEncoder>,
    ctc: Option<CtcModel>,
    generators: Option<Generators>,
    talker: Option<Voices>,
}

impl SensoriumModel {
    fn new(parts: Parts) -> Result<Self> {
        let Parts { towers, bound, domain, llava, language, audio, ctc, .. } = parts;
        let Parts { generators, signals, talker, .. } = parts;
        let llava = llava.map(|(mut text, spliced)| -> Result<_> {
            // What is said last is then what is asked for.
            text.eos_token_ids.extend(signals.iter().map(|(signal, _)| signal.signals[0]));
            let mut model = VisionLanguageModel::spliced(text, spliced)?;
            model.domain = domain;
            let signal = |(SignalConfig { modality, signals: ids, .. }, mapper)| Signal {
                modality,
                ids,
                mapper,
            };
            model.signals = signals.into_iter().map(signal).collect();
            Ok(model)
        });
        let language = language.map(|lm| LanguageModel { lm });
        let space = towers.map(|towers| Space { towers, bound });
        let ctc = ctc.map(|parts| CtcModel { parts });
        Ok(Self { space, llava: llava.transpose()?, language, audio, ctc, generators, talker })
    }

    fn pack(&mut self, format: pack::Format) {
        if let Some(space) = &mut self.space {
            space.towers.pack(format);
            space.bound.iter_mut().for_each(|bound| bound.imagebind.pack_as(format));
        }
        self.llava.iter_mut().for_each(|llava| llava.pack(format));
        self.language.iter_mut().for_each(|language| language.pack(format));
        self.audio.iter_mut().for_each(|audio| audio.pack(format));
        self.ctc.iter_mut().for_each(|ctc| ctc.parts.model.pack_as(format));
        self.generators.iter_mut().for_each(|generators| generators.pack(format));
        self.talker.iter_mut().for_each(|voices| voices.pack(format));
    }

    fn does(&self) -> &'static str {
        match (&self.space, &self.llava, &self.language) {
            (Some(_), Some(_), _) => "answers about pictures and compares them with texts",
            (Some(_), None, _) => "compares pictures and texts",
            (None, Some(_), _) => "answers about pictures",
            (None, None, Some(_)) => "continues texts",
            (None, None, None) if self.ctc.is_some() => "writes down what was said",
            (None, None, None) if self.talker.is_some() => "speaks",
            (None, None, None) => "makes features of sounds alone",
        }
    }
}

/// A loaded model.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a program has one or two of them")]
pub enum Model {
    /// A model that was trained here.
    Sensorium(SensoriumModel),
    /// CLIP, SigLIP.
    DualEncoder(Towers),
    /// One tower of CLIP or SigLIP.
    Tower(Tower),
    /// DINOv2 or DINOv3.
    ImageEncoder(Dinov2),
    /// BERT, MiniLM.
    SentenceEncoder(SentenceEncoder),
    /// BLIP-2 of the first stage.
    Matcher(Matcher),
    /// Texts in, text out.
    Language(LanguageModel),
    /// Pictures among a language model's tokens: LLaVA, SmolVLM, BLIP-2 of the second stage.
    VisionLanguage(VisionLanguageModel),
    /// Pictures and videos among them that have places on three axes: Qwen2-VL and its successors.
    QwenVl(QwenVlModel),
    /// Pictures beside them: Idefics.
    Idefics(IdeficsModel),
    /// The same, trained here.
    Flamingo(FlamingoModel),
    /// Janus, which draws too.
    Janus(JanusModel),
    /// T5, alone or behind a picture's tokens: BLIP-2 with it.
    T5(T5Model),
    /// Whisper.
    Whisper(WhisperModel),
    /// wav2vec 2.0, HuBERT.
    Wav2Vec2(Wav2Vec2Model),
    /// CLAP.
    Clap(ClapTowers),
    /// VITS.
    Vits(VitsModel),
    /// SpeechT5.
    SpeechT5(SpeechT5Model),
    /// Kokoro.
    Kokoro(KokoroModel),
    /// Sounds among a language model's tokens: Qwen2-Audio, Voxtral.
    AudioLanguage(AudioLanguageModel),
    /// Stable Diffusion.
    StableDiffusion(Drawer),
    /// An autoencoder of a model that draws, alone.
    Autoencoder(Autoencoder),
    /// A consistency model.
    Consistency(ConsistencyDrawer),
}

impl Model {
    /// The model in a directory or a GGUF file.
    ///
    /// # Errors
    /// A file is missing, damaged, or asks for what is not built here.
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        let is_gguf = path.extension().is_some_and(|end| end == "gguf");
        if path.is_file() || is_gguf && !path.is_dir() {
            return match options.adapter {
                Some(_) => {
                    Err(sensorium_pretrained::Error::NotAdaptable { path: path.into() }.into())
                }
                None => Self::gguf(path, options),
            };
        }
        Self::load(&bridge::open(path, options.strict)?, options)
    }

    /// The model in a directory that is open.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn load(directory: &Directory, options: &Options) -> Result<Self> {
        let adapted = directory.clone().adapted(options.adapter.as_deref())?;
        let mut model = Self::from(Pretrained::load(&adapted, &options.device)?)?;
        let default = model.gains().then_some(pack::Format::F32);
        if let Some(format) = options.format.or(default) {
            model.pack(format);
        }
        Ok(model)
    }

    fn gguf(path: &Path, options: &Options) -> Result<Self> {
        let mapped = Mapped::open(path)?;
        let lm = gguf::open(&mapped.gguf()?, options.format, options.strict, &options.device);
        let lm = lm.map_err(|error| match error {
            sensorium_pretrained::Error::Weights(source) => Error::File(source.in_file(path)),
            other => other.into(),
        })?;
        Ok(Self::Language(LanguageModel { lm }))
    }

    pub(crate) fn from(pretrained: Pretrained) -> Result<Self> {
        Ok(match pretrained {
            Pretrained::Sensorium(parts) => Self::Sensorium(SensoriumModel::new(parts)?),
            Pretrained::DualEncoder(towers) => Self::DualEncoder(towers),
            Pretrained::Tower(tower) => Self::Tower(tower),
            Pretrained::ImageEncoder(encoder) => Self::ImageEncoder(encoder),
            Pretrained::SentenceEncoder(encoder) => Self::SentenceEncoder(encoder),
            Pretrained::Matcher(matcher) => Self::Matcher(matcher),
            Pretrained::Language(lm) => Self::Language(LanguageModel { lm }),
            Pretrained::Llava(text, mut spliced) => match spliced.painter.take() {
                Some(painter) => Self::Janus(JanusModel::new(text, spliced, painter)?),
                None => Self::VisionLanguage(VisionLanguageModel::spliced(text, spliced)?),
            },
            Pretrained::QwenVl(text, model) => Self::QwenVl(QwenVlModel::new(text, model)?),
            Pretrained::Blip2(text, writer) => {
                Self::VisionLanguage(VisionLanguageModel::blip2(text, writer))
            }
            Pretrained::Idefics(parts) => Self::Idefics(IdeficsModel::new(parts)?),
            Pretrained::Flamingo(parts) => Self::Flamingo(FlamingoModel::new(parts)),
            Pretrained::T5(parts) => Self::T5(T5Model::new(parts)),
            Pretrained::Whisper(parts) => Self::Whisper(WhisperModel { parts }),
            Pretrained::Wav2Vec2(parts) => Self::Wav2Vec2(Wav2Vec2Model { parts }),
            Pretrained::Clap(towers) => Self::Clap(towers),
            Pretrained::Vits(parts) => Self::Vits(VitsModel { parts }),
            Pretrained::Kokoro(parts) => Self::Kokoro(KokoroModel { parts }),
            Pretrained::SpeechT5(parts) => Self::SpeechT5(SpeechT5Model { parts }),
            Pretrained::AudioLanguage(parts) => Self::AudioLanguage(AudioLanguageModel::new(parts)),
            Pretrained::StableDiffusion(drawer) => Self::StableDiffusion(drawer),
            Pretrained::Autoencoder(autoencoder) => Self::Autoencoder(autoencoder),
            Pretrained::Consistency(drawer) => Self::Consistency(drawer),
        })
    }

    fn pack(&mut self, format: pack::Format) {
        match self {
            Self::Sensorium(model) => model.pack(format),
            Self::DualEncoder(towers) => towers.pack(format),
            Self::Tower(tower) => tower.pack(format),
            Self::ImageEncoder(encoder) => encoder.pack(format),
            Self::SentenceEncoder(encoder) => encoder.pack(format),
            Self::Matcher(matcher) => matcher.pack(format),
            Self::Language(model) => model.pack(format),
            Self::VisionLanguage(model) => model.pack(format),
            Self::QwenVl(model) => model.pack(format),
            Self::Idefics(model) => model.parts.model.pack_as(format),
            Self::Flamingo(model) => model.parts.model.pack_as(format),
            Self::Janus(model) => model.pack(format),
            Self::T5(model) => model.pack(format),
            Self::Whisper(model) => model.parts.model.pack_as(format),
            Self::Wav2Vec2(model) => model.parts.model.pack_as(format),
            Self::Clap(towers) => towers.clap.pack_as(format),
            Self::Vits(model) => model.pack(format),
            Self::SpeechT5(model) => model.pack(format),
            Self::Kokoro(model) => model.pack(format),
            Self::AudioLanguage(model) => model.pack(format),
            Self::StableDiffusion(drawer) => drawer.pack(format),
            Self::Autoencoder(autoencoder) => autoencoder.pack_as(format),
            Self::Consistency(drawer) => drawer.pack(format),
        }
    }

    /// Keeps what it sees, within so many bytes: a picture that is shown again is not looked at again.
    pub fn remember(&mut self, bytes: usize) {
        match self {
            Self::VisionLanguage(model) => model.remember(bytes),
            Self::QwenVl(model) => model.remember(bytes),
            Self::Janus(model) => model.chat.remember(bytes),
            Self::Sensorium(SensoriumModel { llava: Some(model), .. }) => model.remember(bytes),
            _ => {}
        }
    }

    /// Whether packed matrices are the faster ones at any rate: by rows one at a time, and in convolutions.
    fn gains(&self) -> bool {
        matches!(
            self,
            Self::Language(_)
                | Self::VisionLanguage(_)
                | Self::QwenVl(_)
                | Self::Idefics(_)
                | Self::Flamingo(_)
                | Self::Janus(_)
                | Self::T5(_)
                | Self::Whisper(_)
                | Self::Wav2Vec2(_)
                | Self::Vits(_)
                | Self::SpeechT5(_)
                | Self::Kokoro(_)
                | Self::AudioLanguage(_)
                | Self::StableDiffusion(_)
                | Self::Autoencoder(_)
        )
    }

    /// The model as one that answers.
    ///
    /// # Errors
    /// It was not made for that.
    pub fn chat(&self) -> Result<&dyn ChatModel> {
        match self {
            Self::Sensorium(SensoriumModel { llava: Some(model), .. }) => Ok(model),
            Self::Sensorium(SensoriumModel { language: Some(model), .. }) => Ok(model),
            Self::Language(model) => Ok(model),
            Self::VisionLanguage(model) => Ok(model),
            Self::QwenVl(model) => Ok(model),
            Self::Idefics(model) => Ok(model),
            Self::Flamingo(model) => Ok(model),
            Self::Janus(model) => Ok(&model.chat),
            Self::T5(model) => Ok(model),
            Self::AudioLanguage(model) => Ok(model),
            other => Err(other.cannot(
                "answers",
                "take a language model, LLaVA, SmolVLM, Qwen2-VL, BLIP-2 or Idefics",
            )),
        }
    }

    /// The model as one that is shown exemplars.
    ///
    /// # Errors
    /// It was not made for several pictures in a prompt.
    pub fn few_shot(&self) -> Result<&dyn FewShot> {
        match self {
            Self::VisionLanguage(model) if model.interleaved => Ok(model),
            Self::Idefics(model) => Ok(model),
            Self::Flamingo(model) => Ok(model),
            other => {
                let hint = "take a Flamingo that was trained here, Idefics, Idefics3 or SmolVLM";
                Err(other.cannot("reads several pictures with texts between them", hint))
            }
        }
    }

    /// The model as one that continues texts.
    ///
    /// # Errors
    /// It was not made for that.
    pub fn language(&self) -> Result<&LanguageModel> {
        match self {
            Self::Language(model) => Ok(model),
            Self::VisionLanguage(model) => Ok(&model.llm),
            Self::AudioLanguage(model) => Ok(&model.llm),
            Self::QwenVl(model) => Ok(&model.llm),
            Self::Janus(model) => Ok(&model.chat.llm),
            Self::Sensorium(SensoriumModel { llava: Some(model), .. }) => Ok(&model.llm),
            Self::Sensorium(SensoriumModel { language: Some(model), .. }) => Ok(model),
            other => {
                Err(other
                    .cannot("continues texts", "take a language model: Llama, Qwen, OPT, GPT-2"))
            }
        }
    }

    /// The model as one that makes vectors.
    ///
    /// # Errors
    /// It was not made for that.
    pub fn embedding(&self) -> Result<&dyn EmbeddingModel> {
        match self {
            Self::Sensorium(SensoriumModel { space: Some(model), .. }) => Ok(model),
            Self::Sensorium(SensoriumModel { audio: Some(model), .. }) => Ok(model),
            Self::DualEncoder(model) => Ok(model),
            Self::Tower(model) => Ok(model),
            Self::ImageEncoder(model) => Ok(model),
            Self::SentenceEncoder(model) => Ok(model),
            Self::Matcher(model) => Ok(model),
            Self::Clap(model) => Ok(model),
            other => {
                Err(other
                    .cannot("makes vectors", "take CLIP, SigLIP, DINOv2 or a sentence encoder"))
            }
        }
    }

    /// The model as one that compares pictures and texts.
    ///
    /// # Errors
    /// It was not made for that.
    pub fn score(&self) -> Result<&dyn ScoreModel> {
        match self {
            Self::Sensorium(SensoriumModel { space: Some(model), .. }) => Ok(model),
            Self::DualEncoder(model) => Ok(model),
            Self::Matcher(model) => Ok(model),
            Self::Clap(model) => Ok(model),
            other => Err(other.cannot(
                "compares pictures and texts",
                "take CLIP, SigLIP, or BLIP-2 as Blip2ForImageTextRetrieval",
            )),
        }
    }

    /// The model as one that writes down what was said.
    ///
    /// # Errors
    /// It was not made for that.
    pub fn speech(&self) -> Result<&dyn SpeechToText> {
        match self {
            Self::Whisper(model) => Ok(model),
            Self::Wav2Vec2(model) => Ok(model),
            Self::AudioLanguage(model) if model.transcribes() => Ok(model),
            Self::Sensorium(SensoriumModel { ctc: Some(model), .. }) => Ok(model),
            other => Err(other.cannot("hears", "pass --model DIR with a Whisper checkpoint: config.json, model.safetensors, tokenizer.json; wav2vec 2.0 or HuBERT with a head for transcripts; Voxtral; or what the recipe `ctc` has left")),
        }
    }

    /// The model as one that makes media of texts.
    ///
    /// # Errors
    /// It was not made for that.
    pub fn media(&self) -> Result<&dyn TextToMedia> {
        match self {
            Self::Sensorium(SensoriumModel { generators: Some(model), .. }) => Ok(model),
            Self::StableDiffusion(model) => Ok(model),
            Self::Consistency(model) => Ok(model),
            Self::Janus(model) => Ok(model),
            other => Err(other.cannot(
                "makes pictures, clips or sounds",
                "take a model that was trained here by the recipe `flow`, Stable Diffusion, a consistency model or Janus",
            )),
        }
    }

    /// The model as one that speaks.
    ///
    /// # Errors
    /// It was not made for that.
    pub fn voices(&self) -> Result<&dyn TextToSpeech> {
        match self {
            Self::Sensorium(SensoriumModel { talker: Some(voices), .. }) => Ok(voices),
            Self::Vits(model) => Ok(model),
            Self::SpeechT5(model) => Ok(model),
            Self::Kokoro(model) => Ok(model),
            Self::QwenVl(model) if model.speaking.is_some() => Ok(model),
            other => {
                let hint = "take what the recipe `talker` has left, VITS, a voice of Piper, SpeechT5 or Kokoro; of Qwen2.5-Omni, a directory with voices.safetensors";
                Err(other.cannot("speaks", hint))
            }
        }
    }

    pub(crate) fn cannot(&self, expected: &'static str, hint: &'static str) -> Error {
        let (family, does) = match self {
            Self::Sensorium(model) => ("a model that was trained here", model.does()),
            Self::DualEncoder(_) => ("CLIP or SigLIP", "compares pictures and texts"),
            Self::Tower(_) => {
                ("one tower of CLIP or SigLIP", "makes vectors of pictures or of texts alone")
            }
            Self::ImageEncoder(_) => ("DINO", "makes vectors of pictures alone"),
            Self::SentenceEncoder(_) => ("a sentence encoder", "makes vectors of texts alone"),
            Self::Matcher(_) => ("BLIP-2 of the first stage", "compares pictures and texts"),
            Self::Language(_) => ("a language model", "continues and answers texts"),
            Self::VisionLanguage(_) | Self::QwenVl(_) | Self::Idefics(_) | Self::Flamingo(_) => {
                ("a vision-language model", "answers about pictures")
            }
            Self::Janus(_) => ("Janus", "answers about pictures and draws them"),
            Self::T5(_) => ("T5", "reads a whole text and answers it"),
            Self::Whisper(_) => ("Whisper", "writes down what was said"),
            Self::Wav2Vec2(_) => ("wav2vec 2.0 or HuBERT", "writes down what was said"),
            Self::Clap(_) => ("CLAP", "compares sounds and texts"),
            Self::Vits(_) => ("VITS", "speaks"),
            Self::SpeechT5(_) => ("SpeechT5", "speaks"),
            Self::Kokoro(_) => ("Kokoro", "speaks"),
            Self::AudioLanguage(_) => ("a language model that hears", "answers about sounds"),
            Self::StableDiffusion(_) => ("Stable Diffusion", "draws what a text says"),
            Self::Consistency(_) => ("a consistency model", "draws what a number says"),
            Self::Autoencoder(_) => {
                ("an autoencoder alone", "makes latents of pictures, and pictures of latents")
            }
        };
        Error::Cannot { expected, family, does, hint }
    }
}
