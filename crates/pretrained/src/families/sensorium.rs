//! Models that were trained here: `model_type` `sensorium`, a file of weights for each component.
//!
//! ```text
//! config.json  tokenizer.json  preprocessor_config.json  chat_template.jinja  provenance.json
//! image  audio  video  table  text  clip  projector  backbone   (.gguf or .safetensors)
//! audio_projector  video_projector  table_projector
//! ```
//! Image encoder, text tower and the scalars of `clip` compare; image encoder, projector and backbone
//! answer, and may have encoders of other media beside them, each with its projector; a backbone alone goes
//! on with texts; an audio encoder stands alone. `config.json` says which of these there are.

use sensorium_backbone::{Backbone, BackboneConfig};
use sensorium_checkpoint::gguf::{self, Kind, Metadata, Source};
use sensorium_checkpoint::{self as checkpoint, Tensors};
use sensorium_encoder::image::{Vit, VitConfig};
use sensorium_media::{ImageProcessor, Mel, Modality, Sound, Special, Style, Tokenizer, mel};
use sensorium_model::clip::{Clip, ClipConfig};
use sensorium_model::llava::{Llava, LlavaConfig, Tower};
use sensorium_model::weights::{self, under};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use super::language::Place;
use super::llava::{Published, Spliced};
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::generation::GenerationConfig;
use crate::names::PLAIN;
use crate::plan::Plan;
use crate::text::TextProcessor;
use crate::towers::{Reading, Towers, class_and_mean};
use crate::{CausalLm, Pretrained, text, vision};

/// `model_type`.
pub const FAMILY: &str = "sensorium";

/// The components, in the order in which data meets them.
pub const COMPONENTS: [&str; 11] = [
    "image",
    "audio",
    "video",
    "table",
    "text",
    "clip",
    "projector",
    "audio_projector",
    "video_projector",
    "table_projector",
    "backbone",
];

/// The components of a tower: its encoder and its projector.
fn tower(modality: Modality) -> [&'static str; 2] {
    match modality {
        Modality::Image | Modality::Text => ["image", "projector"],
        Modality::Audio => ["audio", "audio_projector"],
        Modality::Video => ["video", "video_projector"],
        Modality::Table => ["table", "table_projector"],
    }
}

/// `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SensoriumConfig {
    /// [`FAMILY`].
    pub model_type: String,
    /// Pictures and texts in one space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<ClipConfig>,
    /// A language model that sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub llava: Option<LlavaConfig>,
    /// A language model alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<BackboneConfig>,
    /// An encoder of sounds, alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<VitConfig>,
    /// Sentences around a label of a zero-shot classification: `{}` stands for it, `{a}` for it with its
    /// article.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<String>,
}

impl Default for SensoriumConfig {
    fn default() -> Self {
        let model_type = FAMILY.to_owned();
        let (clip, llava, language, audio) = (None, None, None, None);
        Self { model_type, clip, llava, language, audio, templates: Vec::new() }
    }
}

impl SensoriumConfig {
    /// From a directory's `config.json`.
    ///
    /// # Errors
    /// A key is missing, unknown or of another type.
    pub fn read(directory: &Directory) -> Result<Self> {
        let parsed = serde_json::from_value(directory.settings().clone());
        parsed.map_err(|error| Error::Setting {
            file: "config.json".into(),
            key: "the file".into(),
            expected: "the settings of a model that was trained here".into(),
            got: error.to_string(),
            hint: "the file may be damaged, or of a newer version",
        })
    }

    /// Both, where each says what the other does not.
    pub fn or(self, other: Self) -> Self {
        Self {
            model_type: self.model_type,
            clip: self.clip.or(other.clip),
            llava: self.llava.or(other.llava),
            language: self.language.or(other.language),
            audio: self.audio.or(other.audio),
            templates: if self.templates.is_empty() { other.templates } else { self.templates },
        }
    }

    /// Its components, in the order of [`COMPONENTS`].
    pub fn components(&self) -> Vec<&'static str> {
        let towers = self.llava.iter().flat_map(|llava| &llava.towers);
        let towers: Vec<&str> = towers.flat_map(|one| tower(one.encoder.modality())).collect();
        let has = |name: &&str| match *name {
            "image" => self.clip.is_some() || towers.contains(name),
            "audio" => self.audio.is_some() || towers.contains(name),
            "text" | "clip" => self.clip.is_some(),
            "backbone" => self.llava.is_some() || self.language.is_some(),
            _ => towers.contains(name),
        };
        COMPONENTS.into_iter().filter(has).collect()
    }
}

/// A model that was trained here.
#[derive(Debug, Default)]
pub struct Parts {
    /// Compares pictures and texts.
    pub towers: Option<Towers>,
    /// Answers.
    pub llava: Option<(TextProcessor, Spliced)>,
    /// Goes on with texts.
    pub language: Option<CausalLm>,
    /// Hears.
    pub audio: Option<SoundEncoder>,
}

/// An encoder of sounds that was trained without words.
#[derive(Debug)]
pub struct SoundEncoder {
    vit: Vit,
    config: VitConfig,
    device: Device,
}

impl SoundEncoder {
    /// What a linear probe reads of a sound at the rate of [`mel`]: the class token after the last norm
    /// and the mean of the patches, each of width E; of a sound longer than is read at once, the mean over
    /// its parts.
    pub fn features(&self, sound: &Sound) -> Vec<f32> {
        let [bands, frames] = self.config.size();
        let mel = Mel::new(&sound.samples, bands);
        let heard = sound.samples.len().div_ceil(mel::HOP);
        let parts: Vec<f32> =
            (0..heard).step_by(frames).flat_map(|first| mel.window(first, frames)).collect();
        let shape = [parts.len() / (bands * frames), 1, bands, frames];
        let parts = Tensor::from_data(TensorData::new(parts, shape), &self.device);
        read(class_and_mean(self.vit.positions(parts)).mean_dim(0))
    }

    /// Lays out every matrix for running.
    pub fn pack(&mut self, format: pack::Format) {
        self.vit.pack_as(format);
    }
}

/// What the weights must be.
///
/// # Errors
/// The settings are damaged.
pub fn plan(directory: &Directory) -> Result<Plan> {
    let config = SensoriumConfig::read(directory)?;
    let mut all = Vec::new();
    if let Some(clip) = &config.clip {
        all.extend(clip.parameters());
    }
    if let Some(llava) = &config.llava {
        let ours = llava.towers.iter().flat_map(|one| {
            let [encoder, projector] = tower(one.encoder.modality());
            [under(encoder, one.encoder.parameters()), under(projector, one.projector.parameters())]
        });
        let ours = ours.chain([under("backbone", llava.backbone.parameters())]).flatten();
        let known: Vec<String> = all.iter().map(|(name, _): &(String, _)| name.clone()).collect();
        all.extend(ours.filter(|(name, _)| !known.contains(name)));
    }
    if let Some(language) = &config.language {
        all.extend(under("backbone", language.parameters()));
    }
    if let Some(audio) = &config.audio {
        all.extend(under("audio", audio.parameters()));
    }
    Ok(Plan::new(FAMILY, "language", PLAIN, all))
}

/// The model in a directory.
///
/// # Errors
/// A file is missing or damaged; the weights are not those of the settings.
pub fn open(directory: &Directory, device: &Device) -> Result<Pretrained> {
    let config = SensoriumConfig::read(directory)?;
    if let Some(audio) = config.audio {
        let vit = Vit::init(&audio, &mut Init::empty(device));
        let vit = fit(vit, directory, "audio")?;
        let audio = SoundEncoder { vit, config: audio, device: device.clone() };
        return Ok(Pretrained::Sensorium(Parts { audio: Some(audio), ..Parts::default() }));
    }
    let tokenizer = text::tokenizer(directory)?;
    let (towers, llava, language) = (&config.clip, &config.llava, &config.language);
    let towers = towers.as_ref().map(|c| self::towers(directory, c, &config, &tokenizer, device));
    let llava = llava.as_ref().map(|c| self::llava(directory, c, &tokenizer, device));
    let language = language.as_ref().map(|c| self::language(directory, c, &tokenizer, device));
    Ok(Pretrained::Sensorium(Parts {
        towers: towers.transpose()?,
        llava: llava.transpose()?,
        language: language.transpose()?,
        audio: None,
    }))
}

fn towers(
    directory: &Directory,
    config: &ClipConfig,
    whole: &SensoriumConfig,
    tokenizer: &Tokenizer,
    device: &Device,
) -> Result<Towers> {
    let mut clip = Clip::init(config, &mut Init::empty(device));
    clip.image = fit(clip.image, directory, "image")?;
    clip.text = fit(clip.text, directory, "text")?;
    let scalars = directory.component("clip")?;
    let scalar = |name: &str| -> Result<Param<Tensor<1>>> {
        let tensor = scalars.get(name)?;
        Ok(Param::from_tensor(Tensor::from_floats(tensor.data(), device)))
    };
    clip.scale = scalar("scale")?;
    clip.bias = config.bias.then(|| scalar("bias")).transpose()?;
    let inputs = (processor(directory)?, tokenizer.clone(), Reading::own(tokenizer)?);
    let mut towers = Towers::new(clip, config.text.clone(), inputs, device);
    if !whole.templates.is_empty() {
        towers.templates = whole.templates.clone();
    }
    Ok(towers)
}

fn llava(
    directory: &Directory,
    config: &LlavaConfig,
    tokenizer: &Tokenizer,
    device: &Device,
) -> Result<(TextProcessor, Spliced)> {
    let mut llava = Llava::init(config, &mut Init::empty(device));
    let towers = std::mem::take(&mut llava.towers).into_iter();
    let fitted = towers.map(|Tower { encoder, projector }| -> Result<Tower> {
        let names = tower(encoder.modality());
        let encoder = fit(encoder, directory, names[0])?;
        Ok(Tower { encoder, projector: fit(projector, directory, names[1])? })
    });
    llava.towers = fitted.collect::<Result<_>>()?;
    llava.backbone = fit(llava.backbone, directory, "backbone")?;
    let spliced = Spliced {
        llava,
        config: config.clone(),
        processor: processor(directory)?,
        marker: tokenizer.special(Special::ImageToken)?,
        frame: [Special::Image, Special::ImageEnd].map(Special::name),
        timed: false,
        interleaved: false,
        path: directory.path().to_owned(),
        device: device.clone(),
        published: Published {
            layout: PLAIN,
            place: Place::Whole("backbone."),
            config: config.clone(),
            dinov2: false,
            table: None,
        },
    };
    Ok((text(directory, tokenizer)?, spliced))
}

fn language(
    directory: &Directory,
    config: &BackboneConfig,
    tokenizer: &Tokenizer,
    device: &Device,
) -> Result<CausalLm> {
    let backbone = Backbone::init(config, &mut Init::empty(device));
    let backbone = fit(backbone, directory, "backbone")?;
    Ok(CausalLm { text: text(directory, tokenizer)?, config: config.clone(), backbone })
}

/// Every tokenizer that is trained here opens a text with one token and ends it with another.
fn text(directory: &Directory, tokenizer: &Tokenizer) -> Result<TextProcessor> {
    Ok(TextProcessor {
        tokenizer: tokenizer.clone(),
        suffix: Vec::new(),
        generation: GenerationConfig::default(),
        bos_token_id: Some(tokenizer.special(Special::Bos)?),
        eos_token_ids: vec![tokenizer.special(Special::End)?],
        chat: crate::text::chat(directory)?,
    })
}

fn processor(directory: &Directory) -> Result<ImageProcessor> {
    vision::processor(directory, Style::Clip)
}

fn fit<M: Module>(module: M, directory: &Directory, component: &str) -> Result<M> {
    let tensors = directory.component(component)?;
    let fitted = weights::load(module, &tensors);
    Ok(fitted.map_err(|source| source.in_file(&directory.path().join(component)))?)
}

/// A component as GGUF with its matrices in Q8_0.
///
/// # Errors
/// A tensor that the format cannot hold.
pub fn quantised(name: &str, tensors: &Tensors) -> checkpoint::Result<Vec<u8>> {
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", gguf::Value::String(FAMILY.into()));
    metadata.set("general.name", gguf::Value::String(name.to_owned()));
    let sources: Vec<Source<'_>> = tensors
        .tensors
        .iter()
        .map(|(name, tensor)| Source {
            name,
            shape: tensor.shape(),
            data: tensor.data(),
            kind: if tensor.shape().len() < 2 { Kind::F32 } else { Kind::Q8_0 },
        })
        .collect();
    gguf::write(&metadata, &sources)
}
