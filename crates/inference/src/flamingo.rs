//! A Flamingo: pictures, videos and a prompt in, text out.

use std::time::Instant;

use sensorium_flow::{Encode, Features};
use sensorium_media::{Error, Media, Message, Modality, Picture, Prompt};
use sensorium_model::flamingo::latest;
use sensorium_pretrained::families::flamingo::{Parts, Prompts};

use crate::embed::pooled;
use crate::error::Result;
use crate::generate::{GenerateOptions, OnStep, Reply, Request, room};
use crate::logits::LogitsProcessor;
use crate::video::marked;
use crate::{ChatModel, FewShot, cross};

/// A Flamingo as its users meet it.
#[derive(Debug)]
pub struct FlamingoModel {
    /// Sizes, processor, model.
    pub parts: Parts,
    prompts: Prompts,
    eos_token_ids: Vec<u32>,
}

impl FlamingoModel {
    /// A loaded model as one that answers.
    pub fn new(parts: Parts) -> Self {
        let prompts = Prompts::new(&parts.text, &parts.config.language);
        let mut eos_token_ids = parts.text.eos_token_ids.clone();
        eos_token_ids.push(parts.config.language.end());
        Self { parts, prompts, eos_token_ids }
    }

    fn reply(
        &self,
        prompt: Prompt,
        media: &[Media],
        options: &GenerateOptions,
        on_step: OnStep<'_>,
    ) -> Result<Reply> {
        self.takes(media)?;
        let (language, model) = (&self.parts.config.language, &self.parts.model);
        let seen = latest(&prompt.ids, [1, prompt.ids.len()], language.picture());
        let last = seen.last().copied().flatten();
        let (markers, given) = (last.map_or(0, |last| last + 1), media.len());
        if markers != given {
            return Err(Error::Markers { modality: Modality::Image, markers, given }.into());
        }
        let room = room(language.backbone.context(), prompt.ids.len())?;
        let start = Instant::now();
        let fit = |medium: &Media| self.fit(medium.pictures());
        let fitted: Vec<Vec<Picture>> = media.iter().map(fit).collect();
        let process = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let frames: Vec<usize> = fitted.iter().map(Vec::len).collect();
        let features = self.encode(&fitted.concat());
        let features = features.map(|features| model.projector.resample_frames(&features, &frames));
        let cache = features.map(|features| model.language.cross_keys(&features));
        let encode = start.elapsed().as_secs_f64();

        let processor = LogitsProcessor {
            model: &self.parts.text.generation,
            suppress_tokens: &[language.picture()],
            prompt: prompt.ids.clone(),
        };
        let (tokenizer, eos_token_ids) = (&self.parts.text.tokenizer, &self.eos_token_ids);
        let request =
            Request { tokenizer, eos_token_ids, processor, room, options: options.clone() };
        let cache = cache.unwrap_or_default();
        let continuation = cross::extend(&model.language, &seen, cache, request, on_step)?;
        Ok(Reply {
            prompt: prompt.ids,
            slots: Vec::new(),
            distances: Vec::new(),
            process,
            encode,
            continuation,
            wanted: None,
            thoughts: None,
        })
    }

    fn fit<'a>(&self, pictures: impl Iterator<Item = &'a Picture>) -> Vec<Picture> {
        pictures.flat_map(|picture| self.parts.processor.fit(picture).pictures).collect()
    }

    /// What the image encoder sees of pictures that fit, `[n, N, E]`.
    fn encode(&self, fitted: &[Picture]) -> Option<Features> {
        let Parts { config, processor, model, device, .. } = &self.parts;
        cross::encode(fitted, processor, config.image.image, device, |x| model.image.encode(x))
    }
}

impl ChatModel for FlamingoModel {
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
        self.reply(self.prompts.conversation(messages, true)?, media, options, on_step)
    }

    fn complete(
        &self,
        text: &str,
        _parse_special: bool,
        media: &[Media],
        options: &GenerateOptions,
        on_step: OnStep<'_>,
    ) -> Result<Reply> {
        let parts = marked(text, media)?;
        self.reply(self.prompts.raw(&parts)?, media, options, on_step)
    }

    fn token(&self, id: u32) -> String {
        self.parts.text.tokenizer.decode(&[id]).unwrap_or_default()
    }
}

impl FewShot for FlamingoModel {
    /// Nothing: `<image>Output:`, as OpenFlamingo has it.
    fn caption_request(&self) -> &'static str {
        ""
    }

    fn look(&self, picture: &Picture) -> Vec<f32> {
        pooled(self.encode(&self.fit(std::iter::once(picture))))
    }
}
