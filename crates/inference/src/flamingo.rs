//! A Flamingo: pictures and a prompt in, text out.

use std::time::Instant;

use sensorium_backbone::CrossCache;
use sensorium_flow::{self as flow, Features, Forward, Hidden};
use sensorium_media::{Error, Media, Message, Modality, Picture, Prompt};
use sensorium_model::clip::batch;
use sensorium_model::flamingo::latest;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::flamingo::{Parts, Prompts};

use crate::ChatModel;
use crate::error::Result;
use crate::generate::{GenerateOptions, OnStep, Reply, Request, Sequence, room};
use crate::logits::LogitsProcessor;
use crate::video::{completed, with_frames};

/// Pictures that are encoded at once: bounds memory whatever their number.
const CHUNK: usize = 4;

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
        let language = &self.parts.config.language;
        let seen = latest(&prompt.ids, [1, prompt.ids.len()], language.picture());
        let last = seen.last().copied().flatten();
        let pictures: Vec<&Picture> = media.iter().flat_map(Media::pictures).collect();
        let (markers, given) = (last.map_or(0, |last| last + 1), pictures.len());
        if markers != given {
            return Err(Error::Markers { modality: Modality::Image, markers, given }.into());
        }
        let room = room(language.backbone.context(), prompt.ids.len())?;
        let start = Instant::now();
        let fit = |picture: &Picture| self.parts.processor.fit(picture).pictures;
        let fitted: Vec<Picture> = pictures.into_iter().flat_map(fit).collect();
        let process = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let mut features = self.encode(&fitted);
        let encode = start.elapsed().as_secs_f64();

        let processor = LogitsProcessor {
            model: &self.parts.text.generation,
            options: &options.logits,
            suppress_tokens: &[language.picture()],
            prompt: prompt.ids.clone(),
        };
        let (tokenizer, eos_token_ids) = (&self.parts.text.tokenizer, &self.eos_token_ids);
        let request = Request { tokenizer, eos_token_ids, processor, room, options };
        let mut cache = CrossCache::default();
        let next = |id: Option<u32>| match id {
            Some(id) => self.next(&[id], &[last], None, &mut cache),
            None => self.next(&prompt.ids, &seen, features.take(), &mut cache),
        };
        let continuation = Sequence::new(request).run(next, on_step)?;
        Ok(Reply { prompt: prompt.ids.clone(), process, encode, continuation })
    }

    fn encode(&self, fitted: &[Picture]) -> Option<Features> {
        let side = [self.parts.config.image.image; 2];
        let see = |chunk: &[Picture]| {
            let planes = chunk.iter().flat_map(|picture| self.parts.processor.planes(picture));
            self.parts.model.encode(batch(planes.collect(), side, &self.parts.device)).0
        };
        let seen: Vec<Tensor<3>> = fitted.chunks(CHUNK).map(see).collect();
        (!seen.is_empty()).then(|| Features(Tensor::cat(seen, 0)))
    }

    /// Logits `[V]` of the token after `ids`.
    fn next(
        &self,
        ids: &[u32],
        seen: &[Option<usize>],
        features: Option<Features>,
        cache: &mut CrossCache,
    ) -> Vec<f32> {
        let language = &self.parts.model.language;
        let cross_attention = Some(seen.into());
        let sequence = flow::Sequence { features, cross_attention, ..flow::Sequence::default() };
        let embeds = language.embed(ids, [1, ids.len()]);
        let Hidden(hidden) = language.forward(embeds, &sequence, Some(cache));
        let [_, t, d] = hidden.dims();
        read(language.logits(hidden.narrow(1, t - 1, 1).reshape([1, d])))
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
        let messages = with_frames(messages, media, false);
        self.reply(self.prompts.conversation(&messages, true)?, media, options, on_step)
    }

    fn complete(
        &self,
        text: &str,
        _parse_special: bool,
        media: &[Media],
        options: &GenerateOptions,
        on_step: OnStep<'_>,
    ) -> Result<Reply> {
        let parts = completed(text, media, false)?;
        self.reply(self.prompts.raw(&parts)?, media, options, on_step)
    }

    fn token(&self, id: u32) -> String {
        self.parts.text.tokenizer.decode(&[id]).unwrap_or_default()
    }
}
