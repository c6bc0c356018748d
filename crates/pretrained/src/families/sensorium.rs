//! Models that were trained here: `model_type` `sensorium`, a file of weights for each component.
//!
//! ```text
//! config.json  tokenizer.json  preprocessor_config.json  chat_template.jinja  provenance.json
//! image  audio  speech  video  table  text  clip  projector  backbone   (.gguf or .safetensors)
//! audio_projector  video_projector  table_projector  audio_head  video_head  table_head
//! vae  image_generator  video_generator  audio_generator  image_text  video_text  audio_text
//! image_mapper  video_mapper  audio_mapper
//! ```
//! Image encoder, text tower and the scalars of `clip` compare; image encoder, projector and backbone
//! answer, and may have encoders of other media beside them, each with its projector; a backbone alone goes
//! on with texts; an audio encoder stands alone; `speech` has a
//! head for transcripts ([`ctc`](super::ctc)); generators make media of texts ([`generators`]). `config.json` says which of these there are.

use std::collections::BTreeSet;

use sensorium_backbone::{Backbone, BackboneConfig};
use sensorium_checkpoint::gguf::{self, Kind, Metadata, Source};
use sensorium_checkpoint::{self as checkpoint, Tensors};
use sensorium_encoder::audio::Conformer;
use sensorium_encoder::image::{Vit, VitConfig};
use sensorium_generator::VaeConfig;
use sensorium_generator::audio::VocoderConfig;
use sensorium_media::{ImageProcessor, Mel, Modality, Sound, Special, Style, Tokenizer, mel};
use sensorium_model::clip::{Clip, ClipConfig};
use sensorium_model::domain::Domain;
use sensorium_model::gill::SignalConfig;
use sensorium_model::imagebind::{BoundHead, BoundTower, ImageBind, ImageBindConfig};
use sensorium_model::latent_diffusion::LatentDiffusionConfig;
use sensorium_model::llava::{Llava, LlavaConfig, Tower};
use sensorium_model::weights::{self, under};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_output_projector::OutputProjector;
use serde::{Deserialize, Serialize};

use super::ctc::{CtcConfig, CtcParts};
use super::generators::{self, Generators};
use super::language::Place;
use super::llava::{Bidirectional, Published, Spliced};
use super::talker::{Voices, VoicesConfig, wrong_vocoder};
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::generation::GenerationConfig;
use crate::names::PLAIN;
use crate::plan::Plan;
use crate::text::TextProcessor;
use crate::towers::{Reading, Towers, class_and_mean};
use crate::{CausalLm, MediaProcessor, Pretrained, Words, text, vision};

/// `model_type`.
pub const FAMILY: &str = "sensorium";

/// The components, in the order in which data meets them.
pub const COMPONENTS: [&str; 28] = [
    "image",
    "audio",
    "speech",
    "talker",
    "vocoder",
    "video",
    "table",
    "text",
    "clip",
    "projector",
    "audio_projector",
    "video_projector",
    "table_projector",
    "audio_head",
    "video_head",
    "table_head",
    "domain",
    "backbone",
    "image_mapper",
    "video_mapper",
    "audio_mapper",
    "vae",
    "image_text",
    "video_text",
    "audio_text",
    "image_generator",
    "video_generator",
    "audio_generator",
];

/// What makes a vector of what an encoder beside those of pictures and texts saw.
pub fn head(modality: Modality) -> &'static str {
    match modality {
        Modality::Audio => "audio_head",
        Modality::Video => "video_head",
        Modality::Table | Modality::Image | Modality::Text => "table_head",
    }
}

/// The components of a tower: its encoder and its projector.
pub fn tower(modality: Modality) -> [&'static str; 2] {
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
    /// Other media in that space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imagebind: Option<ImageBindConfig>,
    /// A language model that sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub llava: Option<LlavaConfig>,
    /// What pictures of the training set are like: so many numbers of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<usize>,
    /// A language model alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<BackboneConfig>,
    /// An encoder of sounds, alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<VitConfig>,
    /// An encoder of sounds that spells what was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctc: Option<CtcConfig>,
    /// What speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub talker: Option<VoicesConfig>,
    /// What makes samples of spectrograms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocoder: Option<VocoderConfig>,
    /// What makes pictures of generators' latents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vae: Option<VaeConfig>,
    /// Generators of media, one for each kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generators: Vec<LatentDiffusionConfig>,
    /// How the language model asks for media.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<SignalConfig>,
    /// Sentences around a label of a zero-shot classification: `{}` stands for it, `{a}` for it with its
    /// article.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<String>,
}

impl Default for SensoriumConfig {
    fn default() -> Self {
        let model_type = FAMILY.to_owned();
        Self {
            model_type,
            clip: None,
            imagebind: None,
            llava: None,
            domain: None,
            language: None,
            audio: None,
            ctc: None,
            talker: None,
            vocoder: None,
            vae: None,
            generators: Vec::new(),
            signals: Vec::new(),
            templates: Vec::new(),
        }
    }
}

impl SensoriumConfig {
    /// From a directory's `config.json`.
    ///
    /// # Errors
    /// A key is missing, unknown or of another type.
    pub fn read(directory: &Directory) -> Result<Self> {
        let wrong = |key: &str, expected: &str, got| Error::Setting {
            file: "config.json".into(),
            key: key.into(),
            expected: expected.into(),
            got,
            hint: "the file may be damaged, or of a newer version",
        };
        let expected = "the settings of a model that was trained here";
        let parsed = serde_json::from_value(directory.settings().clone());
        let parsed: Self =
            parsed.map_err(|error| wrong("the file", expected, error.to_string()))?;
        let ctc = parsed.ctc.as_ref().and_then(CtcConfig::wrong).map(|wrong| ("ctc", wrong));
        let talker = parsed.talker.as_ref().and_then(VoicesConfig::wrong);
        let talker = talker.map(|wrong| ("talker", wrong));
        let vocoder = parsed.vocoder.as_ref().and_then(wrong_vocoder);
        match ctc.or(talker).or(vocoder.map(|wrong| ("vocoder", wrong))) {
            Some((key, (expected, got))) => Err(wrong(key, expected, got)),
            None => Ok(parsed),
        }
    }

    /// Both, where each says what the other does not.
    pub fn or(self, other: Self) -> Self {
        Self {
            model_type: self.model_type,
            clip: self.clip.or(other.clip),
            imagebind: self.imagebind.or(other.imagebind),
            llava: self.llava.or(other.llava),
            domain: self.domain.or(other.domain),
            language: self.language.or(other.language),
            audio: self.audio.or(other.audio),
            ctc: self.ctc.or(other.ctc),
            talker: self.talker.or(other.talker),
            vocoder: self.vocoder.or(other.vocoder),
            vae: self.vae.or(other.vae),
            generators: if self.generators.is_empty() { other.generators } else { self.generators },
            signals: if self.signals.is_empty() { other.signals } else { self.signals },
            templates: if self.templates.is_empty() { other.templates } else { self.templates },
        }
    }

    /// Its components, in the order of [`COMPONENTS`].
    pub fn components(&self) -> Vec<&'static str> {
        let towers = self.llava.iter().flat_map(|llava| &llava.towers);
        let towers = towers.flat_map(|one| tower(one.encoder.modality()));
        let bound = self.imagebind.iter().flat_map(|bound| &bound.encoders);
        let bound = bound.flat_map(|one| [tower(one.modality())[0], head(one.modality())]);
        let towers: Vec<&str> = towers.chain(bound).collect();
        let made = self.generators.iter().flat_map(|one| generators::components(one.modality()));
        let mapped = self.signals.iter().map(|one| generators::mapper(one.modality));
        let made: Vec<&str> = made.chain(mapped).collect();
        let has = |name: &&str| match *name {
            "image" => self.clip.is_some() || towers.contains(name),
            "audio" => self.audio.is_some() || towers.contains(name),
            "speech" => self.ctc.is_some(),
            "talker" => self.talker.is_some(),
            "vocoder" => self.vocoder.is_some(),
            "domain" => self.domain.is_some(),
            "text" | "clip" => self.clip.is_some(),
            "backbone" => self.llava.is_some() || self.language.is_some(),
            "vae" => self.vae.is_some(),
            _ => towers.contains(name) || made.contains(name),
        };
        COMPONENTS.into_iter().filter(has).collect()
    }
}

/// A model that was trained here.
#[derive(Debug, Default)]
pub struct Parts {
    /// Compares pictures and texts.
    pub towers: Option<Towers>,
    /// Puts other media beside them.
    pub bound: Option<Bound>,
    /// Tells pictures that are unlike the training set's.
    pub domain: Option<Domain>,
    /// Answers.
    pub llava: Option<(TextProcessor, Spliced)>,
    /// Goes on with texts.
    pub language: Option<CausalLm>,
    /// Hears.
    pub audio: Option<SoundEncoder>,
    /// Writes down what was said.
    pub ctc: Option<CtcParts>,
    /// Speaks.
    pub talker: Option<Voices>,
    /// Makes media.
    pub generators: Option<Generators>,
    /// How what answers asks for media.
    pub signals: Vec<(SignalConfig, OutputProjector)>,
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
    for one in config.llava.iter().flat_map(|llava| &llava.towers) {
        let [encoder, projector] = tower(one.encoder.modality());
        all.extend(under(encoder, one.encoder.parameters()));
        all.extend(under(projector, one.projector.parameters()));
    }
    let backbones = [config.llava.as_ref().map(|llava| &llava.backbone), config.language.as_ref()];
    for backbone in backbones.into_iter().flatten() {
        all.extend(under("backbone", backbone.parameters()));
    }
    if let Some(bound) = &config.imagebind {
        for encoder in &bound.encoders {
            let sizes = [encoder.width(), bound.embed];
            let own = params::shapes(|init| BoundHead::init(sizes, init));
            all.extend(under(tower(encoder.modality())[0], encoder.parameters()));
            all.extend(under(head(encoder.modality()), own));
        }
    }
    if let Some(width) = config.domain {
        all.extend(under("domain", Domain::parameters(width)));
    }
    if let Some(audio) = &config.audio {
        all.extend(under("audio", audio.parameters()));
    }
    if let Some(talker) = &config.talker {
        all.extend(under("talker", talker.parameters()));
    }
    if let Some(vocoder) = &config.vocoder {
        all.extend(under("vocoder", vocoder.parameters()));
    }
    if let Some(ctc) = &config.ctc {
        let shapes = params::shapes(|init| Conformer::init(&ctc.encoder, init));
        all.extend(under("speech", shapes));
    }
    all.extend(generators::parameters(&config));
    // An encoder may serve several of them.
    let mut known = BTreeSet::new();
    all.retain(|(name, _)| known.insert(name.clone()));
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
    let ctc = config.ctc.clone().map(|ctc| CtcParts::open(directory, ctc, device)).transpose()?;
    let vocoder = config.vocoder.as_ref();
    let talker = config.talker.clone();
    let talker = talker.map(|talker| Voices::open(directory, talker, vocoder, device));
    let talker = talker.transpose()?;
    if config.components().iter().all(|name| ["speech", "talker", "vocoder"].contains(name)) {
        return Ok(Pretrained::Sensorium(Parts { ctc, talker, ..Parts::default() }));
    }
    let tokenizer = text::tokenizer(directory)?;
    let (towers, llava, language) = (&config.clip, &config.llava, &config.language);
    let towers = towers.as_ref().map(|c| self::towers(directory, c, &config, &tokenizer, device));
    let towers = towers.transpose()?;
    let words = towers
        .as_ref()
        .map(|towers| Words { tower: towers.text.clone(), input: towers.texts.clone() });
    let bound = config.imagebind.as_ref();
    let bound = bound.map(|c| self::bound(directory, c, words.as_ref(), &mut Init::empty(device)));
    let llava = llava
        .as_ref()
        .map(|c| self::llava(directory, c, (&tokenizer, words.as_ref()), &mut Init::empty(device)));
    let domain = config.domain.map(|width| domain(directory, width));
    let generators = words.as_ref().filter(|_| !config.generators.is_empty());
    let generators = generators.map(|words| Generators::open(directory, &config, words, device));
    let language = language.as_ref().map(|c| self::language(directory, c, &tokenizer, device));
    Ok(Pretrained::Sensorium(Parts {
        towers,
        bound: bound.transpose()?,
        domain: domain.transpose()?,
        llava: llava.transpose()?,
        language: language.transpose()?,
        ctc,
        talker,
        generators: generators.transpose()?,
        signals: generators::signals(directory, &config, device)?,
        audio: None,
    }))
}

/// Pictures and texts in one space, which others learn to join.
#[derive(Debug)]
pub struct Anchors {
    /// The two towers.
    pub towers: Towers,
    /// Texts to ids.
    pub tokenizer: Tokenizer,
}

/// What of the model in a directory compares pictures and texts.
///
/// # Errors
/// A file is missing or damaged; the model does not compare.
pub fn anchors(directory: &Directory, device: &Device) -> Result<Anchors> {
    let settings = SensoriumConfig::read(directory)?;
    let Some(clip) = &settings.clip else {
        let hint = "take one that a clip recipe made";
        return Err(directory.config().wrong("clip", "a model that compares", hint));
    };
    let tokenizer = text::tokenizer(directory)?;
    let towers = towers(directory, clip, &settings, &tokenizer, device)?;
    Ok(Anchors { towers, tokenizer })
}

/// Encoders of other media in CLIP's space, and what makes their inputs.
#[derive(Debug)]
pub struct Bound {
    /// The encoders.
    pub imagebind: ImageBind,
    /// What makes the input of each.
    pub processors: Vec<MediaProcessor>,
    /// Where they compute.
    pub device: Device,
}

/// The encoders of other media, with layers as `init` makes them.
fn bound(
    directory: &Directory,
    config: &ImageBindConfig,
    words: Option<&Words>,
    init: &mut Init,
) -> Result<Bound> {
    let mut imagebind = ImageBind::init(config, init);
    let towers = std::mem::take(&mut imagebind.towers).into_iter();
    let fitted = towers.map(|BoundTower { encoder, head }| -> Result<BoundTower> {
        let modality = encoder.modality();
        let encoder = fit(encoder, directory, tower(modality)[0])?;
        Ok(BoundTower { encoder, head: fit(head, directory, self::head(modality))? })
    });
    imagebind.towers = fitted.collect::<Result<_>>()?;
    let image = processor(directory)?;
    let processors = config.encoders.iter().map(|one| MediaProcessor::new(one, &image, words));
    let processors = processors.collect::<Result<_>>()?;
    Ok(Bound { imagebind, processors, device: init.device().clone() })
}

fn domain(directory: &Directory, width: usize) -> Result<Domain> {
    let read = Domain::read(&directory.component("domain")?, width);
    Ok(read.map_err(|source| source.in_file(&directory.path().join("domain")))?)
}

/// A model that answers, to be trained on.
#[derive(Debug)]
pub struct Trainable {
    /// `config.json`.
    pub settings: SensoriumConfig,
    /// What makes its prompts.
    pub text: TextProcessor,
    /// The model.
    pub spliced: Spliced,
    /// What makes vectors of a table's words, where it has a text tower.
    pub words: Option<Words>,
    /// The components that are no part of what answers.
    pub others: Vec<(&'static str, Tensors)>,
}

/// The components of the model in a directory, but those that are named.
///
/// # Errors
/// A file is missing or damaged.
pub fn components_but(
    directory: &Directory,
    settings: &SensoriumConfig,
    but: &[&str],
) -> Result<Vec<(&'static str, Tensors)>> {
    let names = settings.components().into_iter().filter(|name| !but.contains(name));
    names.map(|name| Ok((name, directory.component(name)?))).collect()
}

/// The model in a directory, to be trained on, with layers as `init` makes them.
///
/// # Errors
/// As [`open`]; it does not answer.
pub fn trainable(directory: &Directory, init: &mut Init) -> Result<Trainable> {
    let settings = SensoriumConfig::read(directory)?;
    let Some(config) = &settings.llava else {
        let hint = "take one that a llava recipe made";
        return Err(directory.config().wrong("llava", "a model that answers", hint));
    };
    let tokenizer = text::tokenizer(directory)?;
    let constants = init.device().clone().without_autodiff();
    let towers =
        settings.clip.as_ref().map(|c| towers(directory, c, &settings, &tokenizer, &constants));
    let words = towers.transpose()?.map(|towers| Words { tower: towers.text, input: towers.texts });
    let (text, spliced) = llava(directory, config, (&tokenizer, words.as_ref()), init)?;
    let answers: Vec<&str> = config
        .towers
        .iter()
        .flat_map(|one| tower(one.encoder.modality()))
        .chain(["backbone"])
        .collect();
    let others = components_but(directory, &settings, &answers)?;
    Ok(Trainable { settings, text, spliced, words, others })
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

/// What answers, with layers as `init` makes them; `words` make vectors of a table's words.
fn llava(
    directory: &Directory,
    config: &LlavaConfig,
    (tokenizer, words): (&Tokenizer, Option<&Words>),
    init: &mut Init,
) -> Result<(TextProcessor, Spliced)> {
    let mut llava = Llava::init(config, init);
    let towers = std::mem::take(&mut llava.towers).into_iter();
    let fitted = towers.map(|Tower { encoder, projector }| -> Result<Tower> {
        let names = tower(encoder.modality());
        let encoder = fit(encoder, directory, names[0])?;
        Ok(Tower { encoder, projector: fit(projector, directory, names[1])? })
    });
    llava.towers = fitted.collect::<Result<_>>()?;
    llava.backbone = fit(llava.backbone, directory, "backbone")?;
    let processor = processor(directory)?;
    let others = config.towers.iter().skip(1);
    let others = others.map(|tower| MediaProcessor::new(&tower.encoder, &processor, words));
    let spliced = Spliced {
        llava,
        config: config.clone(),
        processors: others.collect::<Result<_>>()?,
        processor,
        marker: tokenizer.special(Special::ImageToken)?,
        frame: [Special::Image, Special::ImageEnd].map(Special::name),
        begin_and_end: None,
        bidirectional: if config.prefix { Bidirectional::Framed } else { Bidirectional::Never },
        anyres: None,
        painter: None,
        video: None,
        timed: false,
        interleaved: false,
        path: directory.path().to_owned(),
        device: init.device().clone(),
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

/// What makes pixels of its pictures.
///
/// # Errors
/// The file is missing or damaged.
pub fn processor(directory: &Directory) -> Result<ImageProcessor> {
    vision::processor(directory, Style::Clip)
}

pub(crate) fn fit<M: Module>(module: M, directory: &Directory, component: &str) -> Result<M> {
    let tensors = directory.component(component)?;
    let fitted = weights::load(module, &tensors);
    Ok(fitted.map_err(|source| source.in_file(&directory.path().join(component)))?)
}

/// A component as GGUF with its matrices in Q8_0; those of `domain`, whose products nearly cancel, stay as they
/// are.
///
/// # Errors
/// A tensor that the format cannot hold.
pub fn quantised(component: &str, tensors: &Tensors) -> checkpoint::Result<Vec<u8>> {
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", gguf::Value::String(FAMILY.into()));
    metadata.set("general.name", gguf::Value::String(component.to_owned()));
    let sources: Vec<Source<'_>> = tensors
        .tensors
        .iter()
        .map(|(name, tensor)| Source {
            name,
            shape: tensor.shape(),
            data: tensor.data(),
            kind: match tensor.shape().len() < 2 || component == "domain" {
                true => Kind::F32,
                false => Kind::Q8_0,
            },
        })
        .collect();
    gguf::write(&metadata, &sources)
}
