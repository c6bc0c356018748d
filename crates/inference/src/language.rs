//! A language model that runs: text in, more text out.
//!
//! ```text
//! messages ──template──▶ text
//! text ──encode──▶ ids [T] ──embed──▶ [1, T, D] ──backbone──▶ logits [V] ──sample──▶ next id ──▶ text
//! ```

use std::mem::replace;

use sensorium_flow::{Embeds, Forward, Sequence};
use sensorium_kernels::cross_entropy::cross_entropy;
use sensorium_media::{Media, Medium, Message, Modality, Part, Prompt};
use sensorium_model::assistant::Assistant;
use sensorium_nn::params::read;
use sensorium_nn::prelude::{Pack, Tensor, pack};
use sensorium_pretrained::{CausalLm, Error as Directory, TextProcessor};
use serde_json::{Value, json};

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::generate::{Continuation, GenerateOptions, Inputs, OnStep, Reply, known, room};
use crate::{ChatModel, Learner};

/// A loaded language model.
#[derive(Debug)]
pub struct LanguageModel {
    /// Tokenizer, template, backbone.
    pub lm: CausalLm,
}

impl LanguageModel {
    /// Lays out every matrix for running.
    pub fn pack(&mut self, format: pack::Format) {
        self.lm.backbone.pack_as(format);
    }

    /// Ids of a text to be continued.
    ///
    /// # Errors
    /// The tokenizer has no ids for it.
    pub fn prompt(&self, text: &str) -> Result<Vec<u32>> {
        let TextProcessor { tokenizer, bos_token_id, suffix, .. } = &self.lm.text;
        let ids = bos_token_id.iter().copied().chain(tokenizer.encode(text)?);
        self.known(ids.chain(suffix.iter().copied()).collect())
    }

    /// The text of ids.
    ///
    /// # Errors
    /// An id is no token's.
    pub fn text(&self, ids: &[u32]) -> Result<String> {
        let ids = self.known(ids.to_vec())?;
        Ok(self.lm.text.tokenizer.decode(&ids)?)
    }

    /// As [`prompt`](Self::prompt), where names of special tokens become those tokens.
    ///
    /// # Errors
    /// The tokenizer has no ids for it.
    pub fn prompt_with_special(&self, text: &str) -> Result<Vec<u32>> {
        let TextProcessor { tokenizer, bos_token_id, .. } = &self.lm.text;
        let ids = tokenizer.encode_rendered(text)?;
        let bos = bos_token_id.filter(|bos| ids.first() != Some(bos));
        self.known(bos.into_iter().chain(ids).collect())
    }

    /// Ids of messages, `{"role": ..., "content": ...}`, that the assistant is to answer, by the
    /// model's own chat template.
    ///
    /// # Errors
    /// The model has no template, or it is broken, or refuses the messages.
    pub fn chat(&self, messages: &[Value]) -> Result<Vec<u32>> {
        let text = &self.lm.text;
        self.known(text.chat.prompt(&text.tokenizer, messages)?)
    }

    /// Goes on from `prompt` until an end, `max_new_tokens`, the end of the context, or a break.
    /// `on_step` hears of every token.
    ///
    /// # Errors
    /// The prompt is empty or leaves no room; the logits are not finite; the tokenizer's decoder
    /// fails; an id is no token's.
    pub fn extend(
        &self,
        prompt: &[u32],
        options: &GenerateOptions,
        on_step: OnStep<'_>,
    ) -> Result<Continuation> {
        self.extend_inputs(&self.inputs(prompt.to_vec(), options)?, on_step)
    }

    /// Token ids to what the backbone reads, `[1, T, D]`.
    pub(crate) fn embed(&self, ids: &[u32]) -> Embeds {
        self.lm.backbone.embed(ids, [1, ids.len()])
    }

    /// A prompt of ids alone, as [`Batch::join_inputs`] takes it.
    ///
    /// # Errors
    /// It is empty, leaves no room, or holds an id that is no token's.
    pub fn inputs(&self, ids: Vec<u32>, options: &GenerateOptions) -> Result<Inputs> {
        self.room(ids.len())?;
        let ids = self.known(ids)?;
        Ok(Inputs {
            embeds: self.embed(&ids),
            answer: vec![false; ids.len()],
            ids,
            sequence: Sequence::default(),
            slots: Vec::new(),
            distances: Vec::new(),
            process: 0.0,
            encode: 0.0,
            options: options.clone(),
        })
    }

    /// As [`extend`](Self::extend), from a prompt that is ready.
    pub(crate) fn extend_inputs(
        &self,
        inputs: &Inputs,
        on_step: OnStep<'_>,
    ) -> Result<Continuation> {
        let mut batch = Batch::new(self);
        batch.join_inputs(inputs)?;
        loop {
            let mut finished = batch.step(&mut |_, step| on_step(step));
            if let Some((_, done)) = finished.pop() {
                return done;
            }
        }
    }

    /// A prompt with the opening token, if there is one, unless its text has written it, as transformers has it.
    ///
    /// # Errors
    /// It has an id that the model has no row for.
    pub(crate) fn opened(&self, mut prompt: Prompt) -> Result<Prompt> {
        let bos = self.lm.text.bos_token_id;
        if let Some(bos) = bos.filter(|bos| prompt.ids.first() != Some(bos)) {
            prompt.open(bos);
        }
        prompt.ids = self.known(prompt.ids)?;
        Ok(prompt)
    }

    /// A conversation that the assistant is to continue, by the model's own template; without one, what `plain`
    /// makes.
    ///
    /// # Errors
    /// The template is broken or refuses the messages, or leaves media out; as `plain`.
    pub(crate) fn prompted(
        &self,
        messages: &[Message],
        media: &[Medium],
        plain: impl FnOnce() -> Result<Prompt>,
    ) -> Result<Prompt> {
        let TextProcessor { tokenizer, chat, .. } = &self.lm.text;
        match chat.format() {
            Ok(format) => self.opened(format.prompt(tokenizer, messages, media)?),
            Err(Directory::NoChat) => plain(),
            Err(error) => Err(error.into()),
        }
    }

    /// A whole conversation to learn from, by the model's own template. What is beyond its context is left out.
    ///
    /// # Errors
    /// There is no template, or it is broken or refuses the messages; the media take more than the model reads.
    pub(crate) fn taught(&self, messages: &[Message], media: &[Medium]) -> Result<Prompt> {
        let TextProcessor { tokenizer, chat, .. } = &self.lm.text;
        self.shortened(self.opened(chat.format()?.lesson(tokenizer, messages, media)?)?)
    }

    /// What of a prompt the model reads, with a token left to say.
    ///
    /// # Errors
    /// That ends before the last of its media.
    pub(crate) fn shortened(&self, mut prompt: Prompt) -> Result<Prompt> {
        let limit = self.lm.config.context().saturating_sub(1);
        let got = prompt.slots.iter().map(|slot| slot.at + slot.len).max().unwrap_or_default();
        if got > limit {
            return Err(Error::TooLong { limit, got });
        }
        prompt.ids.truncate(limit);
        prompt.answer.truncate(limit);
        prompt.spans.truncate(limit);
        Ok(prompt)
    }

    /// A text with the `mark` of each of its media, its control tokens as letters unless they are `special`.
    pub(crate) fn written(
        &self,
        parts: &[Part],
        special: bool,
        mark: impl Fn(Modality) -> String,
    ) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) if special => text.clone(),
            Part::Text(text) => self.lm.text.tokenizer.shield(text),
            Part::Media(modality) => mark(*modality),
        };
        parts.iter().map(part).collect()
    }

    /// See [`known`].
    pub(crate) fn known(&self, ids: Vec<u32>) -> Result<Vec<u32>> {
        known(ids, self.lm.config.vocabulary())
    }

    /// See [`room`].
    pub(crate) fn room(&self, prompt: usize) -> Result<usize> {
        room(self.lm.config.context(), prompt)
    }

    /// Logits `[T, V]`, row-major, of the tokens after each of `ids [T]`.
    pub fn logits(&self, ids: &[u32]) -> Vec<f32> {
        self.logits_from(ids, 0)
    }

    fn logits_from(&self, ids: &[u32], first: usize) -> Vec<f32> {
        let hidden = self.hidden(ids);
        let [_, t, d] = hidden.dims();
        let rows = t - first;
        read(self.lm.backbone.logits(hidden.narrow(1, first, rows).reshape([rows, d])))
    }

    /// What the backbone makes of `ids [T]`, `[1, T, D]`.
    fn hidden(&self, ids: &[u32]) -> Tensor<3> {
        self.lm.backbone.forward(self.embed(ids), &Sequence::default(), None).0
    }

    /// `-ln p` of each token after position `first` of `ids`, given all tokens before it: one number
    /// for each of `ids[first + 1..]`.
    pub fn surprise(&self, ids: &[u32], first: usize) -> Vec<f32> {
        let (read, said) = (&ids[..ids.len() - 1], &ids[first + 1..]);
        let logits = self.logits_from(read, first);
        let targets: Vec<i32> = said.iter().map(|&id| id as i32).collect();
        let (mut losses, mut lse) = (vec![0.0; said.len()], vec![0.0; said.len()]);
        let v = self.lm.config.vocabulary();
        cross_entropy(said.len(), v, &logits, &targets, 0.0, &mut losses, &mut lse);
        losses
    }

    /// A conversation that the assistant is to continue; without a template, its last message.
    fn conversation(
        &self,
        messages: &[Message],
        media: &[Media],
        options: &GenerateOptions,
    ) -> Result<Inputs> {
        self.without(media)?;
        let ids = match self.has_template()? {
            false => self.prompt(&messages.last().map(Message::words).unwrap_or_default())?,
            true => self.chat(&messages.iter().map(spoken).collect::<Vec<_>>())?,
        };
        self.inputs(ids, options)
    }

    /// That a prompt holds no media.
    fn without(&self, media: &[Media]) -> Result<()> {
        match media.iter().any(|medium| medium.pictures().next().is_some()) {
            true => Err(Error::Blind),
            false => self.takes(media),
        }
    }

    /// The answer to a prompt that is ready.
    pub(crate) fn say(&self, inputs: Inputs, on_step: OnStep<'_>) -> Result<Reply> {
        let continuation = self.extend_inputs(&inputs, on_step)?;
        Ok(inputs.reply(continuation, None))
    }
}

impl Learner for LanguageModel {
    fn put(&mut self, new: Assistant) -> Assistant {
        let backbone = replace(&mut self.lm.backbone, new.backbone);
        Assistant { towers: Vec::new(), patches: None, anyres: None, backbone }
    }

    fn lesson(&self, messages: &[Message], media: &[Media]) -> Result<Inputs> {
        self.without(media)?;
        let Prompt { ids, answer, .. } = self.taught(messages, &[])?;
        Ok(Inputs { answer, ..self.inputs(ids, &GenerateOptions::default())? })
    }
}

impl ChatModel for LanguageModel {
    fn modalities(&self) -> &[Modality] {
        &[Modality::Text]
    }

    fn has_template(&self) -> Result<bool> {
        has_template(&self.lm)
    }

    fn answer(
        &self,
        messages: &[Message],
        media: &[Media],
        options: &GenerateOptions,
        on_step: OnStep<'_>,
    ) -> Result<Reply> {
        self.say(self.conversation(messages, media, options)?, on_step)
    }

    fn prepare(
        &self,
        messages: &[Message],
        media: &[Media],
        options: &GenerateOptions,
    ) -> Result<Option<Inputs>> {
        self.conversation(messages, media, options).map(Some)
    }

    fn complete(
        &self,
        text: &str,
        parse_special: bool,
        media: &[Media],
        options: &GenerateOptions,
        on_step: OnStep<'_>,
    ) -> Result<Reply> {
        self.without(media)?;
        let ids = match parse_special {
            true => self.prompt_with_special(text)?,
            false => self.prompt(text)?,
        };
        self.say(self.inputs(ids, options)?, on_step)
    }

    fn token(&self, id: u32) -> String {
        self.lm.text.tokenizer.decode(&[id]).unwrap_or_default()
    }
}

/// Whether a model has a chat template.
///
/// # Errors
/// It has a broken one.
pub(crate) fn has_template(lm: &CausalLm) -> Result<bool> {
    match lm.text.chat.template() {
        Ok(_) => Ok(true),
        Err(Directory::NoChat) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A message as chat templates read it.
fn spoken(message: &Message) -> Value {
    json!({"role": message.role, "content": message.words()})
}
