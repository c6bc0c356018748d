//! From pictures and a prompt to a text.

mod prompt;

use std::time::Instant;

use sensorium_backbone::CrossCache;
use sensorium_flow::Features;
use sensorium_media::{Error, Media, Message, Modality, Picture, Role};
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::idefics::Parts;

use crate::embed::pooled;
use crate::error::Result;
use crate::generate::{GenerateOptions, OnStep, Reply, Request, room};
use crate::logits::LogitsProcessor;
use crate::video::{marked, with_frames};
use crate::{ChatModel, FewShot, cross};

pub use prompt::{IdeficsProcessor, Prompt};

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
        let fitted = self.fit(pictures);
        let process = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let cache = self.cross_keys(&fitted);
        let encode = start.elapsed().as_secs_f64();

        let tokenizer = &self.text_processor.tokenizer;
        let processor = LogitsProcessor {
            model: &self.parts.text.generation,
            suppress_tokens: &self.text_processor.picture_ids(),
            prompt: prompt.ids.clone(),
        };
        let eos_token_ids = &self.eos_token_ids;
        let request =
            Request { tokenizer, eos_token_ids, processor, room, options: options.clone() };
        let (language, seen) = (&self.parts.model.language, &prompt.image_attention);
        let continuation = cross::extend(language, seen, cache, request, on_step)?;
        Ok(Reply {
            prompt: prompt.ids.clone(),
            slots: Vec::new(),
            distances: Vec::new(),
            process,
            encode,
            continuation,
            wanted: None,
            thoughts: None,
        })
    }

    /// What the gated blocks will ask of pictures that [fit](sensorium_media::ImageProcessor::fit).
    pub fn cross_keys(&self, fitted: &[Picture]) -> CrossCache {
        let model = &self.parts.model;
        let features = self.encode(fitted, |images| model.encode(images));
        features.map(|features| model.language.cross_keys(&features)).unwrap_or_default()
    }

    fn fit(&self, pictures: &[Picture]) -> Vec<Picture> {
        pictures.iter().flat_map(|picture| self.parts.processor.fit(picture).pictures).collect()
    }

    fn encode(&self, fitted: &[Picture], see: impl Fn(Tensor<4>) -> Features) -> Option<Features> {
        let Parts { config, processor, device, .. } = &self.parts;
        cross::encode(fitted, processor, config.image.image, device, see)
    }

    /// Tokens that fit after the prompt.
    fn room(&self, prompt: &Prompt, pictures: usize) -> Result<usize> {
        if prompt.pictures() != pictures {
            let (modality, markers) = (Modality::Image, prompt.pictures());
            return Err(Error::Markers { modality, markers, given: pictures }.into());
        }
        room(self.parts.config.language.llama.context, prompt.ids.len())
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
        self.takes(media)?;
        let prompt = self.text_processor.conversation(&with_frames(messages, media))?;
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
        self.takes(media)?;
        let message = Message { role: Role::User, parts: marked(text, media)? };
        let parts = with_frames(&[message], media).remove(0).parts;
        let prompt = self.text_processor.prompt(&parts, parse_special)?;
        self.extend(&prompt, &pictures(media), options, on_step)
    }

    fn token(&self, id: u32) -> String {
        self.text_processor.tokenizer.decode(&[id]).unwrap_or_default()
    }
}

impl FewShot for IdeficsModel {
    fn caption_request(&self) -> &'static str {
        "describe the picture."
    }

    fn look(&self, picture: &Picture) -> Vec<f32> {
        let fitted = self.fit(std::slice::from_ref(picture));
        let image = &self.parts.model.image;
        pooled(self.encode(&fitted, |images| Features(image.positions_before(images, 0))))
    }
}

fn pictures(media: &[Media]) -> Vec<Picture> {
    media.iter().flat_map(Media::pictures).cloned().collect()
}
