//! From pictures and a prompt to a text.

use std::ops::ControlFlow;
use std::time::Instant;

use sensorium_backbone::Shown;
use sensorium_flow::{Features, Hidden};
use sensorium_media::{Error, HubProcessor, Message, Picture};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;

use super::{Idefics, IdeficsConfig, Prompt, Prompter};
use crate::clip::batch;
use crate::llm::{self, LlmError, Reply, Step, Writing};
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
        let (ends, never) = (&self.ends, &self.prompter.picture_ids());
        let writing = Writing { tokenizer, ends, never, prompt_tokens, room, options };
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
        let size = [self.config.image.image; 2];
        let see = |chunk: &[Picture]| {
            let planes = chunk.iter().flat_map(|picture| self.processor.planes(picture));
            self.model.see(batch(planes.collect(), size)).0
        };
        let features = fitted.chunks(CHUNK).map(see).collect();
        self.model.language.show(&Features(Tensor::cat(features, 0)))
    }

    /// Tokens that fit after the prompt.
    fn room(&self, prompt: &Prompt, pictures: usize) -> Result<usize> {
        if prompt.pictures() != pictures {
            return Err(Error::Markers { markers: prompt.pictures(), pictures }.into());
        }
        llm::room(self.config.language.llama.context, prompt.ids.len())
    }

    /// Logits `[V]` of the token after `ids`, which `shown` does not hold yet.
    fn next(&self, ids: &[u32], looks: &[Option<usize>], shown: &mut Shown) -> Result<Vec<f32>> {
        let language = &self.model.language;
        let Hidden(hidden) = language.extend(language.embed(ids), looks, shown);
        let [_, t, d] = hidden.dims();
        let logits = read(language.logits(hidden.narrow(1, t - 1, 1).reshape([1, d])));
        llm::finite(logits, shown.tokens())
    }
}
