//! Several texts at once: each step reads one more token of every text, so that the weights are read
//! once for all. Texts join and leave between steps; each gets what it gets alone, bit for bit.

use std::ops::ControlFlow;

use sensorium_backbone::Cache;
use sensorium_flow::{Embeds, Forward, Hidden};
use sensorium_nn::params::read;

use crate::error::Result;
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
        self.running.push(Running { key, sequence, cache, next, rows, salt });
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
    /// come to their end leave: their logits may not be finite, or their decoder fail, without harm to
    /// the others.
    pub fn step(
        &mut self,
        on_step: &mut dyn FnMut(usize, Step<'_>) -> ControlFlow<()>,
    ) -> Vec<(usize, Result<Continuation>)> {
        self.read();
        let mut finished = Vec::new();
        for mut running in std::mem::take(&mut self.running) {
            let Next::Logits(logits) = &running.next else { continue };
            let key = running.key;
            match running.sequence.accept(logits, &mut |step| on_step(key, step)) {
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

    /// Reads the tokens that are drawn, all at once.
    fn read(&mut self) {
        let (mut ids, mut caches, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for Running { cache, next, .. } in &mut self.running {
            if let Next::Token(id) = next {
                ids.push(*id);
                caches.push(cache);
                waiting.push(next);
            }
        }
        if ids.is_empty() {
            return;
        }
        let backbone = &self.model.lm.backbone;
        let logits = read(backbone.logits(backbone.step(&ids, &mut caches)));
        for (next, row) in waiting.into_iter().zip(logits.chunks(logits.len() / ids.len())) {
            *next = Next::Logits(row.to_vec());
        }
    }
}
