//! CLIP and SigLIP as their users meet them: pictures and texts in, cosines and logits out.

use sensorium_encoder::image::Encoder;
use sensorium_encoder::text::{TextConfig, TextTower, Texts};
use sensorium_media::clean::cleaned;
use sensorium_media::{ImageProcessor, Picture, Special, Tokenizer};
use sensorium_nn::prelude::*;

use super::directory::Directory;
use super::error::Result;
use super::plan::Plan;
use super::vision;
use crate::names::{self, Layout};
use sensorium_checkpoint::{Tensor as Stored, Tensors};
use sensorium_model::clip::{Clip, ClipConfig, Comparison, batch, in_chunks, unit};

/// How a text is padded, and at which position it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// At its largest id, the first of equals (OpenAI's code; configs with `eos_token_id` 2).
    Largest,
    /// At the first end token; at the start without one.
    First(u32),
    /// Padded to the whole context with this id, read at the last position (SigLIP).
    Last(u32),
    /// At an end token that is put behind every text (models that were trained here).
    Appended { end: u32, pad: u32 },
}

/// Two towers of one space, and what makes their inputs.
#[derive(Debug)]
pub struct Towers {
    /// Pixels to vectors.
    pub image: Encoder,
    /// Ids to vectors.
    pub text: TextTower,
    /// What makes logits of cosines.
    pub comparison: Comparison,
    /// Pictures to pixels.
    pub processor: ImageProcessor,
    /// Texts to ids.
    pub texts: TextInput,
    /// Sentences around a label of a zero-shot classification.
    pub templates: Vec<String>,
    device: Device,
}

/// What makes the text tower's input.
#[derive(Clone, Debug)]
pub struct TextInput {
    /// Texts to ids.
    pub tokenizer: Tokenizer,
    config: TextConfig,
    reading: Reading,
    /// Texts are cleaned as open_clip does it.
    pub(crate) cleans: bool,
}

/// What transformers puts labels into.
pub const TEMPLATES: [&str; 1] = ["This is a photo of {}."];

/// What makes the towers' inputs.
pub(crate) type Inputs = (ImageProcessor, Tokenizer, Reading);

/// A dual encoder to train.
#[derive(Debug)]
pub struct Trainable {
    /// The model.
    pub clip: Clip,
    /// Its shape.
    pub config: ClipConfig,
    /// What its tensors are called where it is published.
    pub layout: Layout,
    /// Pictures to pixels.
    pub processor: ImageProcessor,
    /// Texts to ids.
    pub texts: TextInput,
}

impl Trainable {
    /// The weights of the directory, which must be those of `plan`, in layers as `init` makes them.
    pub(crate) fn load(
        directory: &Directory,
        plan: &Plan,
        config: ClipConfig,
        (processor, tokenizer, reading): Inputs,
        init: &mut Init,
    ) -> Result<Self> {
        let tensors = tensors(directory, plan)?;
        let clip = Clip::init(&config, init);
        let clip = names::take(clip, tensors, &plan.layout)?;
        let texts = TextInput::new(tokenizer, config.text.clone(), reading);
        Ok(Self { clip, config, layout: plan.layout, processor, texts })
    }

    /// The same model, to be run.
    pub(crate) fn towers(self, device: &Device) -> Towers {
        let TextInput { tokenizer, config, reading, cleans } = self.texts;
        let inputs = (self.processor, tokenizer, reading);
        let mut towers = Towers::new(self.clip, config, inputs, device);
        towers.texts.cleans = cleans;
        towers
    }
}

impl Towers {
    /// The parts of a loaded model.
    pub(crate) fn new(clip: Clip, config: TextConfig, inputs: Inputs, device: &Device) -> Self {
        let comparison = clip.comparison();
        let (processor, tokenizer, reading) = inputs;
        let (image, text) = (clip.image.folded(), clip.text);
        let texts = TextInput::new(tokenizer, config, reading);
        let (device, templates) = (device.clone(), TEMPLATES.map(str::to_owned).to_vec());
        Self { image, text, comparison, processor, texts, templates, device }
    }

    /// Lays out every matrix for running.
    pub fn pack(&mut self, format: pack::Format) {
        self.image.pack_as(format);
        self.text.pack_as(format);
    }

    /// One vector of unit length for each picture.
    pub fn embed_pictures(&self, pictures: &[Picture]) -> Vec<Vec<f32>> {
        // Pictures of sizes of their own are no batch.
        let together = if self.processor.size().is_some() { CHUNK } else { 1 };
        in_chunks(together, pictures, |chunk| {
            unit(self.image.embed(planes(&self.processor, chunk, &self.device)))
        })
    }

    /// One vector of unit length for each text; longer ones are cut before their end token.
    ///
    /// # Errors
    /// The tokenizer fails at a text, or gives an id that the model has no row for.
    pub fn embed_texts<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Vec<f32>>> {
        let ids = texts.iter().map(|text| self.ids(text.as_ref())).collect::<Result<Vec<_>>>()?;
        Ok(in_chunks(CHUNK, &ids, |chunk| unit(self.text.embed(&self.texts.pad(chunk)))))
    }

    /// Ids of a text as the tower reads it, not yet padded.
    ///
    /// # Errors
    /// As [`embed_texts`](Self::embed_texts).
    pub fn ids(&self, text: &str) -> Result<Vec<u32>> {
        self.texts.ids(text)
    }
}

impl TextInput {
    /// What makes a tower's input.
    pub(crate) fn new(tokenizer: Tokenizer, config: TextConfig, reading: Reading) -> Self {
        Self { tokenizer, config, reading, cleans: false }
    }

    /// That of the models that are trained here.
    ///
    /// # Errors
    /// The tokenizer is another's.
    pub fn own(tokenizer: &Tokenizer, config: &TextConfig) -> Result<Self> {
        Ok(Self::new(tokenizer.clone(), config.clone(), Reading::own(tokenizer)?))
    }

    /// Ids of a text as the tower reads it, not yet padded; a longer one is cut before its end token.
    ///
    /// # Errors
    /// The tokenizer fails at the text, or gives an id that the model has no row for.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let TextConfig { context, vocab_size: vocabulary, .. } = self.config;
        let cleaned = self.cleans.then(|| cleaned(text));
        let text = cleaned.as_deref().unwrap_or(text);
        if let Reading::Appended { end, .. } = self.reading {
            let ids = vision::ids(&self.tokenizer, text, context - 1, vocabulary)?;
            return Ok(ids.into_iter().chain([end]).collect());
        }
        let ids = vision::ids(&self.tokenizer, text, context, vocabulary)?;
        // A tower reads at least one position.
        Ok(if ids.is_empty() { vec![self.reading.pad()] } else { ids })
    }

    /// Texts' ids padded to one length.
    pub fn pad(&self, texts: &[Vec<u32>]) -> Texts {
        let mut texts = texts.to_vec();
        if let Reading::Last(pad) = self.reading {
            texts.iter_mut().for_each(|ids| ids.resize(self.config.context, pad));
        }
        let ends = texts.iter().map(|ids| self.reading.place(ids)).collect();
        Texts { ends, ..Texts::pad(&texts, self.reading.pad()) }
    }
}

impl Reading {
    /// That of texts whose tokenizer was trained here.
    pub(crate) fn own(tokenizer: &Tokenizer) -> Result<Self> {
        let [end, pad] = [Special::End, Special::Pad].map(|special| tokenizer.special(special));
        Ok(Self::Appended { end: end?, pad: pad? })
    }

    /// What the tower never reads, or is trained to read through.
    fn pad(self) -> u32 {
        match self {
            Self::Last(pad) | Self::Appended { pad, .. } => pad,
            Self::Largest | Self::First(_) => 0,
        }
    }

    fn place(self, ids: &[u32]) -> usize {
        let at = |wanted: Option<u32>| ids.iter().position(|&id| Some(id) == wanted);
        match self {
            Self::Largest => at(ids.iter().copied().max()).unwrap_or_default(),
            Self::First(end) => at(Some(end)).unwrap_or_default(),
            Self::Last(_) | Self::Appended { .. } => ids.len().saturating_sub(1),
        }
    }
}

/// The weights of the directory, which must be those of `plan`; projections as ours.
pub(crate) fn tensors(directory: &Directory, plan: &Plan) -> Result<Tensors> {
    let strays = plan.check(directory)?;
    let mut tensors =
        directory.tensors_but(|name| plan.is_ignorable(name) || strays.contains(name))?;
    names::OPEN_CLIP_PROJECTIONS.iter().for_each(|name| transpose(&mut tensors, name));
    Ok(tensors)
}

/// The weights of a trained model as its layout publishes them.
///
/// # Errors
/// Never in practice: a parameter's shape always fits its values.
pub fn published(clip: &Clip, layout: &Layout) -> Result<Tensors> {
    let mut tensors = names::save(clip, layout)?;
    names::OPEN_CLIP_PROJECTIONS.iter().for_each(|name| transpose(&mut tensors, name));
    Ok(tensors)
}

/// Turns a matrix `[E, C]` of that name, which only open_clip's files hold, to `[C, E]`.
fn transpose(tensors: &mut Tensors, name: &str) {
    let Some(tensor) = tensors.tensors.remove(name) else { return };
    let &[rows, columns] = tensor.shape() else { return };
    let at = |i: usize| tensor.data()[i % rows * columns + i / rows];
    // As many values as before.
    if let Ok(turned) = Stored::new(vec![columns, rows], (0..rows * columns).map(at).collect()) {
        tensors.tensors.insert(name.to_owned(), turned);
    }
}

/// Pictures or texts that are embedded at once: bounds memory whatever their number.
pub(crate) const CHUNK: usize = 8;

/// Pictures as the model reads them, `[B, 3, h, w]`: all of one size.
pub fn planes(processor: &ImageProcessor, pictures: &[Picture], device: &Device) -> Tensor<4> {
    let size = pictures.first().map_or([0; 2], |picture| processor.size_of(picture));
    let values = pictures.iter().flat_map(|picture| processor.process(picture)).collect();
    batch(values, size.map(|n| n as usize), device)
}

/// `[B, 1+N, E]`, the class token first, to `[B, 2·E]`: it, and the mean of the others.
pub(crate) fn class_and_mean(x: Tensor<3>) -> Tensor<2> {
    let [b, n, e] = x.dims();
    let [class, rest] = [x.clone().narrow(1, 0, 1), x.narrow(1, 1, n - 1).mean_dim(1)];
    Tensor::cat(vec![class.reshape([b, e]), rest.reshape([b, e])], 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_where_the_config_says() {
        let ids = [5, 9, 2, 9, 7];
        assert_eq!(Reading::Largest.place(&ids), 1);
        assert_eq!(Reading::First(2).place(&ids), 2);
        // As transformers: the position of the first maximum of no hits.
        assert_eq!(Reading::First(3).place(&ids), 0);
        assert_eq!(Reading::Last(1).place(&ids), 4);
    }
}
