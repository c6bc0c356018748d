//! What a model that was taught to answer with media thinks at its signal tokens.

use std::sync::Arc;

use sensorium_flow::{Condition, Embeds, Forward, Hidden, Modality, Sequence, Span};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_output_projector::OutputProjector;

use crate::generate::{Inputs, Wanted};
use crate::language::LanguageModel;

/// How one kind of media is asked for.
#[derive(Debug)]
pub struct Signal {
    /// What it is.
    pub modality: Modality,
    /// The signal tokens, of which the first is said, and the others follow it; at least one.
    pub ids: Vec<u32>,
    /// From what is thought at them to what the generator is told.
    pub mapper: OutputProjector,
}

impl Signal {
    /// What the generator is told where the signal follows a prompt and what was `said` after it: all of it is
    /// read once more.
    pub fn wanted(&self, llm: &LanguageModel, inputs: &Inputs, said: &[u32]) -> Wanted {
        let signals = llm.embed(&self.ids).0;
        let mut parts = vec![inputs.embeds.0.clone()];
        if !said.is_empty() {
            parts.push(llm.embed(said).0);
        }
        parts.push(signals.clone());
        let embeds = Tensor::cat(parts, 1);
        let [_, t, _] = embeds.dims();
        let plain = |spans: Arc<[Span]>| -> Arc<[Span]> {
            spans.iter().copied().chain(std::iter::repeat(Span::None)).take(t).collect()
        };
        let sequence =
            Sequence { spans: inputs.sequence.spans.clone().map(plain), ..Sequence::default() };
        let Hidden(hidden) = llm.lm.backbone.forward(Embeds(embeds), &sequence, None);
        let n = self.ids.len();
        let thought = hidden.narrow(1, t - n, n) + signals;
        let conditions = self.mapper.condition(Hidden(thought), None).0;
        let [_, q, c] = conditions.dims();
        Wanted { modality: self.modality, conditions: read(conditions), shape: [q, c] }
    }
}
