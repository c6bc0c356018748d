//! From pictures and a prompt to a text.

use std::ops::ControlFlow;
use std::time::Instant;

use sensorium_backbone::Shown;
use sensorium_flow::{Features, Hidden};
use sensorium_media::{Error, HubProcessor, Message, Picture};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_nn::running_device;

use super::{Idefics, IdeficsConfig, Prompt, Prompter};
use crate::llm::{LlmError, Reply, Step, Writing};
use crate::nano::AskOptions;

/// Pictures that are encoded at once: bounds memory whatever their number.
const CHUNK: usize = 4;

type Result<T> = std::result::Result<T, LlmError>;

/// A published Idefics as its users meet it.
#[derive(Debug)]
pub struct Viewer {
    /// Sizes.
    pub config: IdeficsConfig,
    /// Pictures to pixels.
    pub processor: HubProcessor,
    /// Texts and pictures to prompts.
    pub prompter: Prompter,
    /// Ids after which nothing more is to be said.
    pub ends: Vec<u32>,
    /// The model.
    pub model: Idefics,
}

impl Viewer {
    /// Answers a conversation whose messages hold `pictures` in order. `on_step` hears of every token.
    ///
    /// # Errors
    /// As [`extend`](Self::extend).
    pub fn answer(
        &self,
        messages: &[Message],
        pictures: &[Picture],
        options: AskOptions,
        on_step: impl FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Reply> {
        self.extend(&self.prompter.conversation(messages)?, pictures, options, on_step)
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
        options: AskOptions,
        on_step: impl FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Reply> {
        let room = self.room(prompt, pictures.len())?;
        let start = Instant::now();
        let fitted: Vec<Picture> = pictures.iter().map(|p| self.processor.fit(p)).collect();
        let process = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let mut shown = self.show(&fitted);
        let encode = start.elapsed().as_secs_f64();

        let (tokenizer, prompt_tokens) = (&self.prompter.tokenizer, prompt.ids.len());
        let writing = Writing { tokenizer, ends: &self.ends, prompt_tokens, room, options };
        let latest = prompt.looks.last().copied().flatten();
        let next = |id: Option<u32>| match id {
            Some(id) => self.next(&[id], &[latest], &mut shown),
            None => self.next(&prompt.ids, &prompt.looks, &mut shown),
        };
        let continuation = writing.write(next, on_step)?;
        Ok(Reply { prompt: prompt.ids.clone(), process, encode, continuation })
    }

    /// What the gated blocks will ask of pictures that [fit](HubProcessor::fit).
    pub fn show(&self, fitted: &[Picture]) -> Shown {
        if fitted.is_empty() {
            return Shown::default();
        }
        let side = self.config.image.image;
        let see = |chunk: &[Picture]| {
            let values = chunk.iter().flat_map(|picture| self.processor.planes(picture));
            let data = TensorData::new(values.collect(), [chunk.len(), 3, side, side]);
            self.model.see(Tensor::from_data(data, &running_device())).0
        };
        let features = fitted.chunks(CHUNK).map(see).collect();
        self.model.language.show(&Features(Tensor::cat(features, 0)))
    }

    /// Tokens that fit after the prompt.
    fn room(&self, prompt: &Prompt, pictures: usize) -> Result<usize> {
        if prompt.pictures() != pictures {
            return Err(Error::Markers { markers: prompt.pictures(), pictures }.into());
        }
        if prompt.ids.is_empty() {
            return Err(LlmError::Empty);
        }
        let (context, got) = (self.config.language.llama.context, prompt.ids.len());
        match context.saturating_sub(got) {
            0 => Err(LlmError::TooLong { limit: context.saturating_sub(1), got }),
            room => Ok(room),
        }
    }

    /// Logits `[V]` of the token after `ids`, which `shown` does not hold yet. The tokens of pictures
    /// are never next.
    fn next(&self, ids: &[u32], looks: &[Option<usize>], shown: &mut Shown) -> Result<Vec<f32>> {
        let language = &self.model.language;
        let Hidden(hidden) = language.extend(language.embed(ids), looks, shown);
        let [_, t, d] = hidden.dims();
        let mut logits = read(language.logits(hidden.narrow(1, t - 1, 1).reshape([1, d])));
        if !logits.iter().all(|logit| logit.is_finite()) {
            return Err(LlmError::NotFinite { tokens: shown.tokens() });
        }
        for id in self.prompter.picture_ids() {
            logits[id as usize] = f32::NEG_INFINITY;
        }
        Ok(logits)
    }
}
