//! Several texts at once: each step reads one more token of every text, so that the weights are read
//! once for all. Texts join and leave between steps; each gets what it gets alone, bit for bit.

use std::ops::ControlFlow;

use sensorium_backbone::Cache;
use sensorium_flow::{Forward, Hidden, Sequence as Tokens};
use sensorium_nn::params::read;

use crate::error::Result;
use crate::generate::{Continuation, GenerateOptions, Inputs, Request, Sequence, Step};
use crate::language::LanguageModel;
use crate::logits::LogitsProcessor;

/// Texts that a model goes on with together.
#[derive(Debug)]
pub struct Batch<'m> {
    model: &'m LanguageModel,
    running: Vec<Running<'m>>,
    joined: usize,
}

/// One of them.
#[derive(Debug)]
struct Running<'m> {
    key: usize,
    sequence: Sequence<'m>,
    cache: Cache,
    next: Next,
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
        Self { model, running: Vec::new(), joined: 0 }
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
        let Inputs { ids, embeds, spans, options, .. } = inputs;
        let room = self.model.room(embeds.0.dims()[1])?;
        let lm = &self.model.lm;
        let (tokenizer, eos_token_ids) = (&lm.text.tokenizer, &lm.text.eos_token_ids);
        let processor = LogitsProcessor {
            model: &lm.text.generation,
            suppress_tokens: &[],
            prompt: ids.clone(),
        };
        let options = options.clone();
        let request = Request { tokenizer, eos_token_ids, processor, room, options };
        let (sequence, mut cache) = (Sequence::new(request)?, Cache::default());
        let tokens = Tokens { spans: spans.clone(), ..Tokens::default() };
        let Hidden(hidden) = lm.backbone.forward(embeds.clone(), &tokens, Some(&mut cache));
        let [_, t, d] = hidden.dims();
        let last = hidden.narrow(1, t - 1, 1).reshape([1, d]);
        let next = Next::Logits(read(lm.backbone.logits(last)));
        let key = self.joined;
        self.joined += 1;
        self.running.push(Running { key, sequence, cache, next });
        Ok(key)
    }

    /// Takes a text out, as far as it has come.
    pub fn leave(&mut self, key: usize) -> Option<Continuation> {
        let at = self.running.iter().position(|running| running.key == key)?;
        Some(self.running.remove(at).sequence.finish())
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
                Ok(None) => finished.push((key, Ok(running.sequence.finish()))),
                Err(error) => finished.push((key, Err(error))),
            }
        }
        finished
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
