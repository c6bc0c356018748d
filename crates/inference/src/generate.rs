//! The one loop from logits to text: a token is drawn, heard of, and read, until the text ends.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::time::Instant;

use sensorium_backbone::{Sampler, Sampling};
use sensorium_flow::{self as flow, Embeds};
use sensorium_media::{Decoder, Modality, Slot, Tokenizer};
use sensorium_model::domain::Distance;

use crate::error::{Error, Result};
use crate::grammar::{Grammar, Guide, mask};
use crate::logits::{LogitsOptions, LogitsProcessor};
use crate::speech::Thoughts;

/// How a text is made.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    /// Most tokens of the text.
    pub max_new_tokens: usize,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// What is done to the logits before.
    pub logits: LogitsOptions,
    /// Strings before which the text ends.
    pub stop: Vec<String>,
    /// What is said word for word, whatever is likelier: who listens hears how likely it was.
    pub forced: Option<String>,
    /// What the text is held to: it is whole when it ends, or an error, and strings to stop at are passed over.
    pub grammar: Option<Grammar>,
    /// What the answer may be; without, whatever the model makes.
    pub modalities: Option<Vec<Modality>>,
    /// The answer is to be spoken: what a model with a voice of its own thought is told beside it.
    pub spoken: bool,
    /// A sound that follows a video is the video's own: a model that can hears it while it sees.
    pub use_audio_in_video: bool,
    /// What is kept of a text is of use to texts of the same salt, and to no others.
    pub cache_salt: String,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        let (sampling, logits) = (Sampling::default(), LogitsOptions::default());
        Self {
            max_new_tokens: 64,
            sampling,
            logits,
            stop: Vec::new(),
            forced: None,
            grammar: None,
            modalities: None,
            spoken: false,
            use_audio_in_video: false,
            cache_salt: String::new(),
        }
    }
}

/// Why a text goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model said one of its ends, or one of the strings to stop at.
    Stop,
    /// As many tokens as were asked for, or as fit.
    Length,
    /// Who listens broke off.
    Interrupted,
}

/// A text that was continued, and what it cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Continuation {
    /// What was added.
    pub text: String,
    /// Its ids, without the end.
    pub ids: Vec<u32>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those of them that were not read again: an older text begins so.
    pub cached_tokens: usize,
    /// Logits `[V]` of the first token after the prompt.
    pub first_logits: Vec<f32>,
    /// Why it ended.
    pub finish: Finish,
    /// The end that the model said, if it said one.
    pub eos: Option<u32>,
    /// Seconds from the prompt's ids to the first logits.
    pub prefill: f64,
    /// Tokens read one by one after the prompt.
    pub steps: usize,
    /// Seconds of those steps, sampling included.
    pub decode: f64,
}

/// An answer, what was asked, and what seeing cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Ids of the prompt, pictures' tokens among them.
    pub prompt: Vec<u32>,
    /// Where media stand in it, in order, and how many tokens each takes; nothing where they are asked from
    /// beside it.
    pub slots: Vec<Slot>,
    /// How far each picture lies from those of the training set, where the model knows that.
    pub distances: Vec<Distance>,
    /// Seconds from decoded pictures to pixels as the model reads them; 0 without pictures.
    pub process: f64,
    /// Seconds in the image encoder and the projector.
    pub encode: f64,
    /// What was said, and its cost.
    pub continuation: Continuation,
    /// The medium that the answer ends with, if it does: what its generator is told.
    pub wanted: Option<Wanted>,
    /// What the model's own voice reads, where it has one and the answer is to be spoken.
    pub thoughts: Option<Thoughts>,
}

/// A prompt that a language model is to go on with, its media encoded.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Ids of the prompt, media's tokens among them.
    pub ids: Vec<u32>,
    /// Which of them are an answer's that is learned; none of a prompt that is to be answered.
    pub answer: Vec<bool>,
    /// What the backbone reads in their place, `[1, T, D]`.
    pub embeds: Embeds,
    /// Where these stand, and what they have to do with each other.
    pub sequence: flow::Sequence,
    /// As [`Reply::slots`].
    pub slots: Vec<Slot>,
    /// As [`Reply::distances`].
    pub distances: Vec<Distance>,
    /// As [`Reply::process`].
    pub process: f64,
    /// As [`Reply::encode`].
    pub encode: f64,
    /// How the text is made.
    pub options: GenerateOptions,
}

impl Inputs {
    /// What was said to them, and the medium that it ends with.
    pub fn reply(self, continuation: Continuation, wanted: Option<Wanted>) -> Reply {
        let Self { ids: prompt, slots, distances, process, encode, .. } = self;
        let thoughts = None;
        Reply { prompt, slots, distances, process, encode, continuation, wanted, thoughts }
    }
}

/// A medium that a model wants to answer with.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// What it is.
    pub modality: Modality,
    /// What its generator is told, row-major `[Q, C]`.
    pub conditions: Vec<f32>,
    /// Q and C.
    pub shape: [usize; 2],
}

/// What is known after each token.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The added text so far.
    pub text: &'a str,
    /// The token.
    pub id: u32,
    /// The logits `[V]` from which it was drawn.
    pub logits: &'a [f32],
}

impl Step<'_> {
    /// The logarithm of the probability that the model gave to a token in this one's place.
    pub fn log_probability(&self) -> impl Fn(u32) -> f64 {
        let most = self.logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = self.logits.iter().map(|&x| f64::from(x - most).exp()).sum();
        move |id| f64::from(self.logits[id as usize] - most) - sum.ln()
    }
}

/// Who hears of every token, and may break off.
pub type OnStep<'a> = &'a mut dyn FnMut(Step<'_>) -> ControlFlow<()>;

/// Changes the logits `[V]` after the tokens drawn so far.
type Process<'a> = &'a dyn Fn(&mut Cow<'_, [f32]>, &[u32]);

/// Hears of the tokens drawn so far and of the last one; says why the text ends there, if it does.
type OnDraw<'a> = &'a mut dyn FnMut(&[u32], Drawn<'_>) -> Result<Option<Finish>>;

/// Tokens that are drawn one after another.
#[derive(Debug)]
pub(crate) struct Drawing<'a> {
    /// The tokens so far, without the end.
    pub ids: Vec<u32>,
    sampler: Sampler,
    eos_token_ids: &'a [u32],
    room: usize,
    /// Tokens that are not drawn but given, and then end the text.
    forced: Vec<u32>,
}

/// A token that was drawn.
pub(crate) struct Drawn<'a> {
    pub id: u32,
    /// Whether it ends the text; it is then no part of it.
    pub ends: bool,
    /// The logits that the model gave.
    pub logits: &'a [f32],
    /// Those from which it was drawn.
    pub processed: &'a [f32],
}

impl<'a> Drawing<'a> {
    /// At most `room` tokens, until one of `eos_token_ids`.
    pub fn new(sampling: Sampling, eos_token_ids: &'a [u32], room: usize) -> Self {
        let (sampler, forced) = (Sampler::new(sampling), Vec::new());
        Self { ids: Vec::new(), sampler, eos_token_ids, room, forced }
    }

    /// Draws from the logits `[V]` after the last token, as `process` leaves them; why the text ends
    /// there, if it does. `on_draw` hears of the token, the end too.
    ///
    /// # Errors
    /// The logits are not finite, or `on_draw` fails.
    pub fn draw(
        &mut self,
        logits: &[f32],
        process: Process<'_>,
        on_draw: OnDraw<'_>,
    ) -> Result<Option<Finish>> {
        if !logits.iter().all(|logit| logit.is_finite()) {
            return Err(Error::NotFinite { tokens: self.ids.len() });
        }
        let mut processed = Cow::Borrowed(logits);
        process(&mut processed, &self.ids);
        let given = self.forced.get(self.ids.len()).copied();
        let id = given.unwrap_or_else(|| self.sampler.pick(&processed));
        let ends = given.is_none() && self.eos_token_ids.contains(&id);
        if !ends {
            self.ids.push(id);
        }
        let finish = on_draw(&self.ids, Drawn { id, ends, logits, processed: &processed })?;
        Ok(match ends || !self.forced.is_empty() && self.ids.len() >= self.forced.len() {
            true => Some(Finish::Stop),
            false => finish.or((self.ids.len() >= self.room).then_some(Finish::Length)),
        })
    }

    /// Draws until the text ends. `next` is handed each token, at first none for the prompt, and gives
    /// the logits `[V]` of the one after it.
    ///
    /// # Errors
    /// As `next` and [`draw`](Self::draw).
    pub fn run(
        &mut self,
        next: &mut dyn FnMut(Option<u32>) -> Result<Vec<f32>>,
        process: Process<'_>,
        on_draw: OnDraw<'_>,
    ) -> Result<Finish> {
        let mut read = None;
        loop {
            let logits = next(read)?;
            if let Some(finish) = self.draw(&logits, process, on_draw)? {
                return Ok(finish);
            }
            read = self.ids.last().copied();
        }
    }
}

/// What a text needs beside the model that writes it.
#[derive(Clone, Debug)]
pub(crate) struct Request<'a> {
    /// Ids to text.
    pub tokenizer: &'a Tokenizer,
    /// Ids after which nothing more is to be said.
    pub eos_token_ids: &'a [u32],
    /// What changes the logits, and the prompt's ids.
    pub processor: LogitsProcessor<'a>,
    /// Tokens that fit after it.
    pub room: usize,
    /// How it is made.
    pub options: GenerateOptions,
}

/// A text that grows token by token until an end, a stop string, `max_new_tokens`, no room, or a break.
#[derive(Debug)]
pub(crate) struct Sequence<'a> {
    request: Request<'a>,
    drawing: Drawing<'a>,
    guide: Option<Guide<'a>>,
    decoder: Decoder<'a>,
    text: String,
    first_logits: Vec<f32>,
    started: Instant,
    prefill: f64,
    steps: usize,
    finish: Option<Finish>,
    eos: Option<u32>,
    /// As [`Continuation::cached_tokens`].
    pub cached: usize,
}

impl<'a> Sequence<'a> {
    /// A text of which nothing is drawn yet; its prompt is about to be read.
    ///
    /// # Errors
    /// The tokenizer has no ids for what is to be said, or these do not fit; a grammar is broken.
    pub fn new(request: Request<'a>) -> Result<Self> {
        let room = request.room.min(request.options.max_new_tokens);
        let mut drawing = Drawing::new(request.options.sampling, request.eos_token_ids, room);
        if let Some(text) = &request.options.forced {
            drawing.forced = request.tokenizer.encode(text)?;
            if drawing.forced.len() > room {
                let (limit, got) = (room, drawing.forced.len());
                return Err(Error::TooLong { limit, got });
            }
        }
        let guide = request.options.grammar.as_ref();
        let guide =
            guide.map(|grammar| Guide::new(grammar, request.tokenizer, request.eos_token_ids));
        let guide = guide.transpose()?;
        Ok(Self {
            guide,
            decoder: request.tokenizer.decoder(),
            request,
            drawing,
            text: String::new(),
            first_logits: Vec::new(),
            started: Instant::now(),
            prefill: 0.0,
            steps: 0,
            finish: None,
            eos: None,
            cached: 0,
        })
    }

    /// The tokens so far, without the end.
    pub fn ids(&self) -> &[u32] {
        &self.drawing.ids
    }

    /// Draws from the logits `[V]` after the last token; the token to be read next, none at the end.
    /// `on_step` hears of it.
    ///
    /// # Errors
    /// The logits are not finite, or the tokenizer's decoder fails; the text ends before what it is held to does.
    pub fn accept(&mut self, logits: &[f32], on_step: OnStep<'_>) -> Result<Option<u32>> {
        if self.first_logits.is_empty() {
            self.first_logits = logits.to_vec();
            self.prefill = self.started.elapsed().as_secs_f64();
        } else {
            self.steps += 1;
        }
        let Self { request, drawing, guide, decoder, text, eos, .. } = self;
        let allowed = guide.as_mut().map(|guide| guide.allowed(logits.len())).transpose()?;
        let process = |logits: &mut Cow<'_, [f32]>, said: &[u32]| {
            request.processor.process(&request.options.logits, logits, said);
            allowed.iter().for_each(|allowed| mask(logits, allowed));
        };
        let mut stops = false;
        let mut on_draw = |_: &[u32], drawn: Drawn<'_>| {
            if drawn.ends {
                *eos = Some(drawn.id);
                return Ok(None);
            }
            text.push_str(&decoder.push(drawn.id)?);
            let over = match guide.as_mut() {
                Some(guide) => guide.read(drawn.id).map(|()| guide.is_over())?,
                None => {
                    stops = cut(text, &request.options.stop);
                    stops
                }
            };
            let broken = on_step(Step { text, id: drawn.id, logits: drawn.logits }).is_break();
            Ok(broken.then_some(Finish::Interrupted).or(over.then_some(Finish::Stop)))
        };
        self.finish = drawing.draw(logits, &process, &mut on_draw)?;
        if self.finish == Some(Finish::Length) && !guide.as_mut().is_none_or(Guide::is_whole) {
            let max_new_tokens = request.options.max_new_tokens;
            return Err(Error::Unfinished { room: drawing.room, max_new_tokens });
        }
        if self.finish.is_some() && !stops {
            text.push_str(&decoder.finish()?);
            if guide.is_none() {
                cut(text, &request.options.stop);
            }
        }
        Ok(self.drawing.ids.last().copied().filter(|_| self.finish.is_none()))
    }

    /// What was said.
    pub fn finish(self) -> Continuation {
        let Self { request, drawing, text, first_logits, started, prefill, steps, .. } = self;
        let Self { finish, eos, cached: cached_tokens, .. } = self;
        let (prompt_tokens, ids) = (request.processor.prompt.len(), drawing.ids);
        let finish = finish.unwrap_or(Finish::Interrupted);
        let decode = started.elapsed().as_secs_f64() - prefill;
        Continuation {
            text,
            ids,
            prompt_tokens,
            cached_tokens,
            first_logits,
            finish,
            eos,
            prefill,
            steps,
            decode,
        }
    }

    /// Goes on to the end. `next` is handed each token, at first none for the prompt, and gives the
    /// logits `[V]` of the one after it.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn run(
        mut self,
        mut next: impl FnMut(Option<u32>) -> Vec<f32>,
        on_step: OnStep<'_>,
    ) -> Result<Continuation> {
        let mut logits = next(None);
        while let Some(id) = self.accept(&logits, on_step)? {
            logits = next(Some(id));
        }
        Ok(self.finish())
    }
}

/// Ends a text before the first of these strings; whether there was one.
fn cut(text: &mut String, stop: &[String]) -> bool {
    let at = stop.iter().filter_map(|stop| text.find(stop.as_str())).min();
    at.inspect(|&at| text.truncate(at)).is_some()
}

/// These ids, if a table of so many rows has them all.
pub(crate) fn known(ids: Vec<u32>, vocabulary: usize) -> Result<Vec<u32>> {
    match ids.iter().find(|id| **id as usize >= vocabulary) {
        Some(&got) => Err(Error::NoToken { vocabulary, got }),
        None => Ok(ids),
    }
}

/// Tokens that fit after a prompt of so many.
pub(crate) fn room(context: usize, prompt: usize) -> Result<usize> {
    if prompt == 0 {
        return Err(Error::Empty);
    }
    match context.saturating_sub(prompt) {
        0 => Err(Error::TooLong { limit: context.saturating_sub(1), got: prompt }),
        room => Ok(room),
    }
}
