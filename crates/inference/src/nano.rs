//! nano: the model that lives in the binary. Drawn shapes and questions about them.
//!
//! ```text
//! models/nano/  tokenizer.json  image  text  clip  projector  backbone   (.gguf or .safetensors)
//! ```
//! Image encoder, projector and backbone answer; image encoder, text tower and the scalars of
//! `clip` compare.

use std::path::Path;
use std::time::Instant;

use sensorium_backbone::{BackboneConfig, Cache, LlamaConfig};
use sensorium_checkpoint::gguf::{self, Gguf, Kind, Metadata, Source};
use sensorium_checkpoint::{self as checkpoint, Tensors, safetensors};
use sensorium_encoder::EncoderConfig;
use sensorium_encoder::image::{FeatureSelect, Vit, VitConfig};
use sensorium_encoder::text::{TextTower, Texts};
use sensorium_flow::{Embeds, Features, Forward, Hidden, Project, Sequence as Tokens};
use sensorium_input_projector::ProjectorConfig;
use sensorium_media::{
    ImageProcessor, Message, Modality, Picture, Prompt, Special, Tokenizer, render,
};
use sensorium_model::clip::{Clip, ClipConfig, batch, in_chunks};
use sensorium_model::llava::{Llava, LlavaConfig, Tower, TowerConfig};
use sensorium_model::prompt::span;
use sensorium_model::splice::splice;
use sensorium_model::weights;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;

use crate::ChatModel;
use crate::generate::{GenerateOptions, OnStep, Reply, Request, Sequence};

/// Sentences around a label. All occur among training captions.
pub const TEMPLATES: &[&str] = &[
    "{a}",
    "a picture of {a}",
    "an image of {a}",
    "a drawing of {a}",
    "the picture shows {a}",
    "there is {a}",
    "this is {a}",
];

/// The components, in the order in which data meets them; each is one file.
pub const COMPONENTS: [&str; 5] = ["image", "text", "clip", "projector", "backbone"];

/// What can go wrong between files and an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NanoError {
    /// A weight file is damaged or foreign.
    #[error("{component}: {source}")]
    Component {
        /// Which component.
        component: String,
        /// What is wrong.
        source: Box<checkpoint::Error>,
    },

    /// The tokenizer is damaged or foreign, or the prompt does not fit its pictures.
    #[error(transparent)]
    Media(#[from] sensorium_media::Error),

    /// A component's file is not there.
    #[error("expected {component}.gguf or {component}.safetensors in {dir}, found neither\nhint: a model directory holds tokenizer.json and {}", COMPONENTS.join(", "))]
    Missing {
        /// Which component.
        component: String,
        /// Where it was sought.
        dir: String,
    },

    /// The prompt is longer than the model can read.
    #[error(
        "expected a prompt of at most {limit} tokens, got {got} ({images} pictures take {image_tokens} tokens each)\nhint: shorten the question or pass fewer pictures"
    )]
    TooLong {
        /// Tokens that fit beside one of the answer.
        limit: usize,
        /// Tokens of the prompt.
        got: usize,
        /// Pictures in it.
        images: usize,
        /// Tokens of a picture.
        image_tokens: usize,
    },
}

type Result<T> = std::result::Result<T, NanoError>;

/// The bytes of a model directory by file name.
#[derive(Clone, Debug, Default)]
pub struct Files<'a>(pub Vec<(&'a str, std::borrow::Cow<'a, [u8]>)>);

impl Files<'_> {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(file, _)| *file == name).map(|(_, bytes)| bytes.as_ref())
    }
}

/// A loaded model.
#[derive(Debug)]
pub struct Nano {
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// Pictures and texts in one space.
    pub clip: Clip,
    /// Answers about pictures.
    pub llava: Llava,
    /// Pictures to pixels of the right size.
    pub processor: ImageProcessor,
    clip_config: ClipConfig,
    llava_config: LlavaConfig,
    device: Device,
}

impl Nano {
    /// A model from its files.
    ///
    /// # Errors
    /// A file is missing, damaged, or does not fit.
    pub fn load(files: &Files<'_>, device: &Device) -> Result<Self> {
        let tokenizer = Tokenizer::from_bytes(files.get("tokenizer.json").unwrap_or_default())?;
        let vocabulary = tokenizer.vocabulary();
        let mut clip_config = ClipConfig::nano();
        clip_config.text.vocabulary = vocabulary;
        let llava_config = config(vocabulary);

        let init = &mut Init::empty(device);
        let part = |name: &str| component(files, name);
        let image = fit("image", Vit::init(&clip_config.image, init), &part("image")?)?;
        let text = fit("text", TextTower::init(&clip_config.text, init), &part("text")?)?;
        let scalars = part("clip")?;
        let scalar = |name: &str| -> Result<Param<Tensor<1>>> {
            let tensor = scalars.get(name).map_err(|source| wrong("clip", source))?;
            Ok(Param::from_tensor(Tensor::from_floats(tensor.data(), device)))
        };
        let clip = Clip { image, text, scale: scalar("scale")?, bias: Some(scalar("bias")?) };
        let mut llava = Llava::init(&llava_config, init);
        let tower = llava.towers.remove(0);
        let encoder = fit("image", tower.encoder, &part("image")?)?;
        let projector = fit("projector", tower.projector, &part("projector")?)?;
        llava.towers.push(Tower { encoder, projector });
        llava.backbone = fit("backbone", llava.backbone, &part("backbone")?)?;
        let processor = ImageProcessor::nano();
        let device = device.clone();
        Ok(Self { tokenizer, clip, llava, processor, clip_config, llava_config, device })
    }

    /// Lays out every matrix of all five components for running.
    pub fn pack(&mut self, format: pack::Format) {
        self.clip.image.pack_as(format);
        self.clip.text.pack_as(format);
        self.llava.towers[0].pack_as(format);
        self.llava.backbone.pack_as(format);
    }

    /// A model from a directory.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn open(dir: &Path, device: &Device) -> Result<Self> {
        Self::load(&read_dir(dir)?, device)
    }

    /// Configurations of the two models.
    pub fn configs(&self) -> (&ClipConfig, &LlavaConfig) {
        (&self.clip_config, &self.llava_config)
    }

    /// Pictures to `[B, 3, size, size]`.
    pub fn images(&self, pictures: &[Picture]) -> Tensor<4> {
        let planes = pictures.iter().flat_map(|picture| self.processor.process(picture)).collect();
        batch(planes, self.processor.size().unwrap_or_default().map(|n| n as usize), &self.device)
    }

    /// One vector of unit length for each picture.
    pub fn embed_pictures(&self, pictures: &[Picture]) -> Vec<Vec<f32>> {
        in_chunks(CHUNK, pictures, |chunk| self.clip.embed_images(self.images(chunk)))
    }

    /// One vector of unit length for each text; longer ones are cut to the tower's context.
    ///
    /// # Errors
    /// A text is longer than the tokenizer reads.
    pub fn embed_texts<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Vec<f32>>> {
        let context = self.clip_config.text.context;
        let end = self.tokenizer.special(Special::End)?;
        let encode = |text: &S| {
            let mut ids = self.tokenizer.encode(text.as_ref())?;
            ids.truncate(context - 1);
            ids.push(end);
            Ok(ids)
        };
        let pad = self.tokenizer.special(Special::Pad)?;
        let ids = texts.iter().map(encode).collect::<Result<Vec<_>>>()?;
        Ok(in_chunks(CHUNK, &ids, |chunk| self.clip.embed_texts(&Texts::pad(chunk, pad))))
    }

    /// The prompt of a conversation that the assistant is to continue.
    ///
    /// # Errors
    /// It leaves no room for an answer.
    pub fn prompt(&self, messages: &[Message]) -> Result<Prompt> {
        let image_tokens = self.llava_config.towers[0].tokens();
        let prompt = render(&self.tokenizer, messages, image_tokens, true)?;
        let limit = self.llava_config.backbone.context() - 1;
        if prompt.ids.len() > limit {
            let (got, images) = (prompt.ids.len(), prompt.slots.len());
            return Err(NanoError::TooLong { limit, got, images, image_tokens });
        }
        Ok(prompt)
    }

    /// The prompt's embeddings with its pictures' spliced in.
    fn read(&self, prompt: &Prompt, features: Option<Features>) -> Embeds {
        let text = self.llava.backbone.embed(&prompt.ids, [1, prompt.ids.len()]);
        let Some(features) = features else { return text };
        splice(text, self.llava.towers[0].projector.project(features), &prompt.slots)
    }

    /// Logits `[V]` of the token after these, which the cache does not hold yet.
    fn next(&self, embeds: Embeds, prompt: Option<&Prompt>, cache: &mut Cache) -> Vec<f32> {
        let spans = prompt.filter(|_| self.llava_config.prefix);
        let spans = spans.map(|p| p.spans.iter().map(|&number| span(number)).collect());
        let sequence = Tokens { spans, positions: None };
        let Hidden(hidden) = self.llava.backbone.forward(embeds, &sequence, Some(cache));
        let [_, t, d] = hidden.dims();
        read(self.llava.backbone.logits(hidden.narrow(1, t - 1, 1).reshape([1, d])))
    }
}

impl ChatModel for Nano {
    fn modalities(&self) -> &[Modality] {
        &[Modality::Text, Modality::Image]
    }

    fn has_template(&self) -> crate::Result<bool> {
        Ok(true)
    }

    fn answer(
        &self,
        messages: &[Message],
        pictures: &[Picture],
        options: &GenerateOptions,
        on_step: OnStep<'_>,
    ) -> crate::Result<Reply> {
        let prompt = self.prompt(messages)?;
        let room = self.llava_config.backbone.context() - prompt.ids.len();
        let start = Instant::now();
        let images = (!pictures.is_empty()).then(|| self.images(pictures));
        let process = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let features = images.map(|images| self.llava.encode(images));
        let encode = start.elapsed().as_secs_f64();

        let mut cache = Cache::default();
        let next = |id: Option<u32>| match id {
            Some(id) => self.next(self.llava.backbone.embed(&[id], [1, 1]), None, &mut cache),
            None => self.next(self.read(&prompt, features.clone()), Some(&prompt), &mut cache),
        };
        let eos_token_ids = &[self.tokenizer.special(Special::End)?];
        let (tokenizer, prompt_tokens) = (&self.tokenizer, prompt.ids.len());
        let suppress_tokens = &[];
        let request =
            Request { tokenizer, eos_token_ids, suppress_tokens, prompt_tokens, room, options };
        let mut continuation = Sequence::new(request).run(next, on_step)?;
        continuation.text = continuation.text.trim().to_owned();
        Ok(Reply { prompt: prompt.ids, process, encode, continuation })
    }

    fn token(&self, id: u32) -> String {
        self.tokenizer.decode(&[id]).unwrap_or_default()
    }
}

fn config(vocabulary: usize) -> LlavaConfig {
    let features = FeatureSelect { layers: vec![1, 5], class: false };
    let encoder = EncoderConfig::Vit { vit: VitConfig::nano(), features };
    let backbone = BackboneConfig::Llama(LlamaConfig { vocabulary, ..LlamaConfig::nano() });
    let towers = vec![TowerConfig { encoder, projector: ProjectorConfig::nano() }];
    LlavaConfig { towers, backbone, prefix: true }
}

/// Pictures or texts that are embedded at once: bounds memory whatever their number.
const CHUNK: usize = 64;

/// The files of a model directory.
///
/// # Errors
/// A component is missing or unreadable.
pub fn read_dir(dir: &Path) -> Result<Files<'static>> {
    let mut files = Files::default();
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| {
            wrong(
                "model directory",
                checkpoint::Error::Io { action: "read", path: path.into(), source },
            )
        })
    };
    files.0.push(("tokenizer.json", read(&dir.join("tokenizer.json"))?.into()));
    for (gguf, safetensors) in FILE_NAMES {
        let name = [gguf, safetensors].into_iter().find(|name| dir.join(name).is_file());
        let Some(name) = name else {
            let component = gguf.trim_end_matches(".gguf").to_string();
            return Err(NanoError::Missing { component, dir: dir.display().to_string() });
        };
        files.0.push((name, read(&dir.join(name))?.into()));
    }
    Ok(files)
}

const FILE_NAMES: [(&str, &str); 5] = [
    ("image.gguf", "image.safetensors"),
    ("text.gguf", "text.safetensors"),
    ("clip.gguf", "clip.safetensors"),
    ("projector.gguf", "projector.safetensors"),
    ("backbone.gguf", "backbone.safetensors"),
];

/// The tensors of component `name`.
///
/// # Errors
/// The file is missing or damaged.
pub fn component(files: &Files<'_>, name: &str) -> Result<Tensors> {
    if let Some(bytes) = files.get(&format!("{name}.gguf")) {
        let parsed = Gguf::parse(bytes).and_then(|gguf| gguf.unpack());
        return parsed.map_err(|source| wrong(name, source));
    }
    match files.get(&format!("{name}.safetensors")) {
        Some(bytes) => safetensors::read(bytes).map_err(|source| wrong(name, source)),
        None => Err(NanoError::Missing { component: name.into(), dir: "the model".into() }),
    }
}

fn wrong(component: &str, source: checkpoint::Error) -> NanoError {
    NanoError::Component { component: component.into(), source: Box::new(source) }
}

fn fit<M: Module>(name: &str, module: M, tensors: &Tensors) -> Result<M> {
    weights::load(module, tensors).map_err(|source| wrong(name, source))
}

/// A component as GGUF with its matrices in Q8_0: what is embedded in the binary.
///
/// # Errors
/// A tensor that the format cannot hold.
pub fn quantised(name: &str, tensors: &Tensors) -> checkpoint::Result<Vec<u8>> {
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", gguf::Value::String("sensorium".into()));
    metadata.set("general.name", gguf::Value::String(format!("nano {name}")));
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
