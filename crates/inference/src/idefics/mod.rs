//! From pictures and a prompt to a text.

mod prompt;

use std::time::Instant;

use sensorium_backbone::CrossCache;
use sensorium_flow::{self as flow, Features, Forward, Hidden};
use sensorium_media::{Error, Media, Message, Modality, Picture};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;

use sensorium_model::clip::batch;
use sensorium_pretrained::families::idefics::Parts;

use crate::ChatModel;
use crate::error::Result;
use crate::generate::{GenerateOptions, OnStep, Reply, Request, Sequence, room};
use crate::logits::LogitsProcessor;
use crate::video::{completed, with_frames};

pub use prompt::{IdeficsProcessor, Prompt};

/// Pictures that are encoded at once: bounds memory whatever their number.
const CHUNK: usize = 4;

/// A published Idefics as its users meet it.
#[derive(Debug)]
pub struct IdeficsModel {
    /// Sizes, processor, model.
    pub parts: Parts,
    /// Texts and pictures to prompts.
    pub text_processor: IdeficsProcessor,
    /// Ids after which nothing more is to be said.
    pub eos_token_ids: Vec<u32>,
}

impl IdeficsModel {
    /// A loaded model as one that answers.
    ///
    /// # Errors
    /// Its tokenizer has no token for pictures.
    pub fn new(parts: Parts) -> Result<Self> {
        let opening = parts.text.bos_token().unwrap_or_default().to_owned();
        let vocabulary = parts.config.language.llama.vocab_size;
        let text_processor =
            IdeficsProcessor::new(parts.text.tokenizer.clone(), opening, vocabulary)?;
        let mut eos_token_ids = parts.text.eos_token_ids.clone();
        eos_token_ids.extend(text_processor.utterance());
        Ok(Self { parts, text_processor, eos_token_ids })
    }

    /// Goes on from a prompt about these pictures until an end, `max_tokens`, the end of the context,
    /// or a break. `on_step` hears of every token.
    ///
    /// # Errors
    /// There are more or fewer pictures than the prompt speaks of; it is empty or leaves no room; the
    /// logits are not finite; the tokenizer's decoder fails.
    pub fn extend(
        &self,
        prompt: &Prompt,
        pictures: &[Picture],
        options: &GenerateOptions,
        on_step: OnStep<'_>,
    ) -> Result<Reply> {
        let room = self.room(prompt, pictures.len())?;
        let start = Instant::now();
        let fitted: Vec<Picture> =
            pictures.iter().flat_map(|p| self.parts.processor.fit(p).pictures).collect();
        let process = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let mut cache = self.cross_keys(&fitted);
        let encode = start.elapsed().as_secs_f64();

        let tokenizer = &self.text_processor.tokenizer;
        let processor = LogitsProcessor {
            model: &self.parts.text.generation,
            options: &options.logits,
            suppress_tokens: &self.text_processor.picture_ids(),
            prompt: prompt.ids.clone(),
        };
        let eos_token_ids = &self.eos_token_ids;
        let request = Request { tokenizer, eos_token_ids, processor, room, options };
        let latest = prompt.image_attention.last().copied().flatten();
        let next = |id: Option<u32>| match id {
            Some(id) => self.next(&[id], &[latest], &mut cache),
            None => self.next(&prompt.ids, &prompt.image_attention, &mut cache),
        };
        let continuation = Sequence::new(request).run(next, on_step)?;
        Ok(Reply { prompt: prompt.ids.clone(), process, encode, continuation })
    }

    /// What the gated blocks will ask of pictures that [fit](sensorium_media::ImageProcessor::fit).
    pub fn cross_keys(&self, fitted: &[Picture]) -> CrossCache {
        if fitted.is_empty() {
            return CrossCache::default();
        }
        let size = [self.parts.config.image.image; 2];
        let see = |chunk: &[Picture]| {
            let planes = chunk.iter().flat_map(|picture| self.parts.processor.planes(picture));
            self.parts.model.encode(batch(planes.collect(), size, &self.parts.device)).0
        };
        let features = fitted.chunks(CHUNK).map(see).collect();
        self.parts.model.language.cross_keys(&Features(Tensor::cat(features, 0)))
    }

    /// Tokens that fit after the prompt.
    fn room(&self, prompt: &Prompt, pictures: usize) -> Result<usize> {
        if prompt.pictures() != pictures {
            let (modality, markers) = (Modality::Image, prompt.pictures());
            return Err(Error::Markers { modality, markers, given: pictures }.into());
        }
        room(self.parts.config.language.llama.context, prompt.ids.len())
    }

    /// Logits `[V]` of the token after `ids`, which `shown` does not hold yet.
    fn next(
        &self,
        ids: &[u32],
        image_attention: &[Option<usize>],
        cache: &mut CrossCache,
    ) -> Vec<f32> {
        let language = &self.parts.model.language;
        let cross_attention = Some(image_attention.into());
        let sequence = flow::Sequence { cross_attention, ..flow::Sequence::default() };
        let embeds = language.embed(ids, [1, ids.len()]);
        let Hidden(hidden) = language.forward(embeds, &sequence, Some(cache));
        let [_, t, d] = hidden.dims();
        read(language.logits(hidden.narrow(1, t - 1, 1).reshape([1, d])))
    }
}

impl ChatModel for IdeficsModel {
    fn modalities(&self) -> &[Modality] {
        &[Modality::Text, Modality::Image, Modality::Video]
    }

    fn has_template(&self) -> Result<bool> {
        Ok(true)
    }

    fn answer(
        &self,
        messages: &[Message],
        media: &[Media],
        options: &GenerateOptions,
        on_step: OnStep<'_>,
    ) -> Result<Reply> {
        let prompt = self.text_processor.conversation(&with_frames(messages, media, false))?;
        self.extend(&prompt, &pictures(media), options, on_step)
    }

    fn complete(
        &self,
        text: &str,
        parse_special: bool,
        media: &[Media],
        options: &GenerateOptions,
        on_step: OnStep<'_>,
    ) -> Result<Reply> {
        let parts = completed(text, media, false)?;
        let prompt = self.text_processor.prompt(&parts, parse_special)?;
        self.extend(&prompt, &pictures(media), options, on_step)
    }

    fn token(&self, id: u32) -> String {
        self.text_processor.tokenizer.decode(&[id]).unwrap_or_default()
    }
}

fn pictures(media: &[Media]) -> Vec<Picture> {
    media.iter().flat_map(Media::pictures).cloned().collect()
}
