//! Several texts at once: each step reads one more token of every text, so that the weights are read
//! once for all. Texts join and leave between steps; each gets what it gets alone, bit for bit. What breaks down on
//! one text ends that text alone: the others read again what they had read, and go on.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use sensorium_backbone::Cache;
use sensorium_flow::{self as flow, Embeds, Forward, Hidden};
use sensorium_nn::params::read;
use sensorium_pretrained::CausalLm;

use crate::error::{Error, Result};
use crate::generate::{Continuation, GenerateOptions, Inputs, Request, Sequence, Step};
use crate::language::LanguageModel;
use crate::logits::LogitsProcessor;
use crate::prefix::Prefixes;

/// Texts that a model goes on with together.
#[derive(Debug)]
pub struct Batch<'m> {
    model: &'m LanguageModel,
    running: Vec<Running<'m>>,
    joined: usize,
    prefixes: Prefixes,
}

/// One of them.
#[derive(Debug)]
struct Running<'m> {
    key: usize,
    sequence: Sequence<'m>,
    cache: Cache,
    next: Next,
    /// What the backbone read of the prompt, `[T, D]`, where it is to be kept.
    rows: Option<Vec<f32>>,
    salt: String,
    /// What the backbone reads of the prompt.
    prompt: (Embeds, flow::Sequence),
}

/// What a text waits for.
#[derive(Debug)]
enum Next {
    /// Logits `[V]` after its prompt.
    Logits(Vec<f32>),
    /// A token that is drawn and not read.
    Token(u32),
}

impl<'m> Batch<'m> {
    /// Nothing yet.
    pub fn new(model: &'m LanguageModel) -> Self {
        Self::remembering(model, 0)
    }

    /// Nothing yet; what is read of texts that have ended is kept within so many bytes, so that a prompt that
    /// begins like one of them is read from where they differ. It gets the same bits.
    pub fn remembering(model: &'m LanguageModel, bytes: usize) -> Self {
        Self { model, running: Vec::new(), joined: 0, prefixes: Prefixes::within(bytes) }
    }

    /// Reads a prompt of these ids; the key by which its text is told from the others.
    ///
    /// # Errors
    /// The prompt is empty or leaves no room.
    pub fn join(&mut self, prompt: &[u32], options: &GenerateOptions) -> Result<usize> {
        self.join_inputs(&self.model.inputs(prompt.to_vec(), options)?)
    }

    /// As [`join`](Self::join), from what [`ChatModel::prepare`](crate::ChatModel::prepare) has made ready.
    ///
    /// # Errors
    /// The prompt leaves no room.
    pub fn join_inputs(&mut self, inputs: &Inputs) -> Result<usize> {
        let Inputs { ids, embeds, sequence: tokens, options, .. } = inputs;
        let room = self.model.room(embeds.0.dims()[1])?;
        let lm = &self.model.lm;
        let (tokenizer, eos_token_ids) = (&lm.text.tokenizer, &lm.text.eos_token_ids);
        let processor = LogitsProcessor {
            model: &lm.text.generation,
            suppress_tokens: &[],
            prompt: ids.clone(),
        };
        let (options, salt) = (options.clone(), options.cache_salt.clone());
        let request = Request { tokenizer, eos_token_ids, processor, room, options };
        let mut sequence = Sequence::new(request)?;
        // Of others the rows do not tell all that was read: tokens that see each other both ways are read
        // together, and those of pictures stand at places of their own.
        let rows = (self.prefixes.is_used() && tokens.is_plain()).then(|| read(embeds.0.clone()));
        let [_, t, d] = embeds.0.dims();
        let kept = rows.as_ref().and_then(|rows| self.prefixes.longest(&salt, rows, d));
        let mut cache = kept.unwrap_or_default();
        let known = cache.tokens();
        sequence.cached = known;
        let unread = Embeds(embeds.0.clone().narrow(1, known, t - known));
        let Hidden(hidden) = lm.backbone.forward(unread, tokens, Some(&mut cache));
        let [_, t, d] = hidden.dims();
        let last = hidden.narrow(1, t - 1, 1).reshape([1, d]);
        let next = Next::Logits(read(lm.backbone.logits(last)));
        let key = self.joined;
        self.joined += 1;
        let prompt = (embeds.clone(), tokens.clone());
        self.running.push(Running { key, sequence, cache, next, rows, salt, prompt });
        Ok(key)
    }

    /// Takes a text out, as far as it has come.
    pub fn leave(&mut self, key: usize) -> Option<Continuation> {
        let at = self.running.iter().position(|running| running.key == key)?;
        let running = self.running.remove(at);
        Some(self.end(running))
    }

    /// Texts that are going on.
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Draws one more token of every text; `on_step` hears of each, with the text's key. Those that have
    /// come to their end leave: their logits may not be finite, their decoder fail, or the work on them break
    /// down, without harm to the others.
    pub fn step(
        &mut self,
        on_step: &mut dyn FnMut(usize, Step<'_>) -> ControlFlow<()>,
    ) -> Vec<(usize, Result<Continuation>)> {
        let mut finished = self.read();
        for mut running in std::mem::take(&mut self.running) {
            let Next::Logits(logits) = &running.next else { continue };
            let key = running.key;
            let sequence = &mut running.sequence;
            match unbroken(|| sequence.accept(logits, &mut |step| on_step(key, step))) {
                Ok(Some(id)) => {
                    running.next = Next::Token(id);
                    self.running.push(running);
                }
                Ok(None) => finished.push((key, Ok(self.end(running)))),
                Err(error) => finished.push((key, Err(error))),
            }
        }
        finished
    }

    /// What was said of a text that has left, of which what was read is kept.
    fn end(&mut self, running: Running<'m>) -> Continuation {
        let Running { sequence, cache, rows, salt, .. } = running;
        let said = sequence.finish();
        if let Some(mut rows) = rows {
            let tokens = cache.tokens().saturating_sub(said.prompt_tokens).min(said.ids.len());
            if tokens > 0 {
                rows.extend(read(self.model.embed(&said.ids[..tokens]).0));
            }
            self.prefixes.keep(&salt, rows, cache);
        }
        said
    }

    /// Reads the tokens that are drawn, all at once; the texts on which that breaks down.
    fn read(&mut self) -> Vec<(usize, Result<Continuation>)> {
        let lm = &self.model.lm;
        let (mut ids, mut caches, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for Running { cache, next, .. } in &mut self.running {
            if let Next::Token(id) = next {
                ids.push(*id);
                caches.push(cache);
                waiting.push(next);
            }
        }
        if ids.is_empty() {
            return Vec::new();
        }
        let Ok(logits) = unbroken(|| Ok(step(lm, &ids, &mut caches))) else {
            return self.read_again();
        };
        for (next, row) in waiting.into_iter().zip(logits.chunks(logits.len() / ids.len())) {
            *next = Next::Logits(row.to_vec());
        }
        Vec::new()
    }

    /// Reads each text anew and alone, as what it had read is lost; those on which that breaks down leave.
    fn read_again(&mut self) -> Vec<(usize, Result<Continuation>)> {
        let (lm, mut broken) = (&self.model.lm, Vec::new());
        self.running.retain_mut(|running| {
            // Of one that has just joined nothing was to be read.
            let Next::Token(last) = running.next else { return true };
            match unbroken(|| Ok(running.reread(lm, last))) {
                Ok(logits) => running.next = Next::Logits(logits),
                Err(error) => {
                    broken.push((running.key, Err(error)));
                    return false;
                }
            }
            true
        });
        broken
    }
}

impl Running<'_> {
    /// Reads the prompt and what was drawn after it; the logits after that.
    fn reread(&mut self, lm: &CausalLm, last: u32) -> Vec<f32> {
        self.cache = Cache::default();
        let (embeds, tokens) = &self.prompt;
        let _ = lm.backbone.forward(embeds.clone(), tokens, Some(&mut self.cache));
        let drawn = self.sequence.ids();
        let before = &drawn[..drawn.len().saturating_sub(1)];
        let mut logits = Vec::new();
        for &id in before.iter().chain([&last]) {
            logits = step(lm, &[id], &mut [&mut self.cache]);
        }
        logits
    }
}

/// Logits `[B, V]`, row-major, after one more token of each text.
fn step(lm: &CausalLm, ids: &[u32], caches: &mut [&mut Cache]) -> Vec<f32> {
    read(lm.backbone.logits(lm.backbone.step(ids, caches)))
}

/// What `work` gives; an error where it panics.
fn unbroken<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(Error::BrokeDown))
}

#[cfg(test)]
mod tests {
    use sensorium_nn::prelude::{Device, pack};
    use sensorium_testkit::Golden;

    use super::*;
    use crate::{Model, Options};

    const TEXTS: usize = 16;
    const FAULTS: usize = 1000;

    /// Where the work on a text breaks down.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fault {
        /// Inside the step of all texts: a token that no row of the table is for.
        Backbone,
        /// While its token is drawn and told.
        Told,
    }

    /// What 16 texts say of which one breaks down after some steps.
    fn said(batch: &mut Batch<'_>, fault: Option<(Fault, usize, usize)>) -> Vec<Result<Vec<u32>>> {
        let options = GenerateOptions { max_new_tokens: 6, ..GenerateOptions::default() };
        let prompt = |i: usize| (0..=i as u32 % 5).map(|at| 5 + at + i as u32).collect::<Vec<_>>();
        let keys: Vec<_> =
            (0..TEXTS).map(|i| batch.join(&prompt(i), &options).expect("it fits")).collect();
        let mut said: Vec<_> = (0..TEXTS).map(|_| None).collect();
        for step in 0.. {
            if batch.is_empty() {
                break;
            }
            let now = fault.filter(|&(_, at, _)| at == step).map(|(kind, _, i)| (kind, keys[i]));
            for running in &mut batch.running {
                if now == Some((Fault::Backbone, running.key)) {
                    running.next = Next::Token(u32::MAX >> 1);
                }
            }
            let finished = batch.step(&mut |key, _| {
                assert_ne!(now, Some((Fault::Told, key)), "a fault");
                ControlFlow::Continue(())
            });
            for (key, done) in finished {
                let at = keys.iter().position(|&known| known == key).expect("it joined");
                said[at] = Some(done.map(|done| done.ids));
            }
        }
        said.into_iter().map(|said| said.expect("it ended")).collect()
    }

    #[test]
    fn what_breaks_down_on_one_text_ends_that_text_alone() {
        let options = Options { format: Some(pack::Format::F32), ..Options::on(&Device::flex()) };
        let model = Model::open(&Golden::open("chatting").path(""), &options).expect("it opens");
        let Model::Language(model) = model else { panic!("a language model") };
        let want = said(&mut Batch::new(&model), None);
        assert!(want.iter().all(|said| said.as_ref().is_ok_and(|ids| !ids.is_empty())));
        let mut batch = Batch::remembering(&model, 1 << 20);
        for round in 0..FAULTS {
            let (victim, step) = (round % TEXTS, round / TEXTS % 4);
            let kind = if step > 0 && round % 3 > 0 { Fault::Backbone } else { Fault::Told };
            let got = said(&mut batch, Some((kind, step, victim)));
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                match (got, want) {
                    (Err(Error::BrokeDown), _) if i == victim => {}
                    (Ok(got), Ok(want)) if i != victim => assert_eq!(got, want, "{round}, {i}"),
                    _ => panic!("round {round}, text {i}: {got:?}"),
                }
            }
        }
    }
}
