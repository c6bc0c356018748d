//! From pictures and a prompt to a text.

use std::ops::ControlFlow;
use std::time::Instant;

use sensorium_backbone::{Sampler, Shown};
use sensorium_flow::{Features, Hidden};
use sensorium_media::{Error, HubProcessor, Picture};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;

use super::{Idefics, IdeficsConfig, Prompt, Prompter};
use crate::llm::{Continuation, Finish, LlmError, Step};
use crate::nano::AskOptions;
use crate::published::{CHUNK, planes};

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
    /// What the gated blocks will ask of these pictures.
    pub fn show(&self, pictures: &[Picture]) -> Shown {
        let see = |chunk: &[Picture]| self.model.see(planes(&self.processor, chunk)).0;
        match pictures {
            [] => Shown::default(),
            some => {
                let features = some.chunks(CHUNK).map(see).collect();
                self.model.language.show(&Features(Tensor::cat(features, 0)))
            }
        }
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
        mut on_step: impl FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Continuation> {
        let room = self.room(prompt, pictures.len())?.min(options.max_tokens);
        let start = Instant::now();
        let mut shown = self.show(pictures);
        let mut sampler = Sampler::new(options.sampling);
        let mut logits = self.next(&prompt.ids, &prompt.looks, &mut shown)?;
        let (prefill, first_logits) = (start.elapsed().as_secs_f64(), logits.clone());

        let (start, mut ids, mut text, mut steps) = (Instant::now(), Vec::new(), String::new(), 0);
        let look = prompt.looks.last().copied().flatten();
        let finish = loop {
            let id = sampler.pick(&logits);
            if self.ends.contains(&id) {
                break Finish::Stop;
            }
            ids.push(id);
            text = self.prompter.tokenizer.decode(&ids)?;
            if on_step(Step { text: &text, id, logits: &logits }).is_break() {
                break Finish::Interrupted;
            }
            if ids.len() >= room {
                break Finish::Length;
            }
            logits = self.next(&[id], &[look], &mut shown)?;
            steps += 1;
        };
        let (decode, prompt_tokens) = (start.elapsed().as_secs_f64(), prompt.ids.len());
        Ok(Continuation { text, ids, prompt_tokens, first_logits, finish, prefill, steps, decode })
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
        match context.checked_sub(got) {
            Some(room) if room > 0 => Ok(room),
            _ => Err(LlmError::TooLong { limit: context.saturating_sub(1), got }),
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
