//! GILL: a language model answers with media. It says a kind's signal tokens, and what it thought at them becomes
//! what a generator is told.
//!
//! Koh et al. 2023, <https://arxiv.org/abs/2305.17216>. The language model stays as it is, but for the rows of the
//! signal tokens in its table; the first of them is said like any word, the others follow it.
//!
//! ```text
//! prompt ──backbone──▶ "[IMG0]" … "[IMG7]" ──hidden + embedding [B, 8, D]──mapper──▶ conditions [B, Q, C]
//! ```

use sensorium_flow::{Condition, Conditions, Forward, Hidden, Modality};
use sensorium_nn::prelude::*;
use sensorium_output_projector::{OutputProjector, OutputProjectorConfig};
use serde::{Deserialize, Serialize};

use crate::llava::{Encoded, Llava, answers_loss};
use crate::prompt::Batch;

/// How one kind of media is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalConfig {
    /// What is made.
    pub modality: Modality,
    /// The signal tokens' ids, in order.
    pub signals: Vec<u32>,
    /// From what the backbone thought at them to conditions.
    pub mapper: OutputProjectorConfig,
}

/// A language model and its output projectors.
#[derive(Module, Debug)]
pub struct Gill {
    /// What reads and answers.
    pub llava: Llava,
    /// One for each kind of media that it makes.
    pub mappers: Vec<OutputProjector>,
}

/// What a batch asks of a model.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Prompts that end with the signal tokens of one kind, and others.
    pub batch: Batch,
    /// Where the first signal token of each medium that is asked for stands, in the whole batch.
    pub signals: Vec<usize>,
}

impl Gill {
    /// The loss of the answers' tokens, and what a mapper makes of what was thought at the signal tokens of its
    /// kind, `[M, Q, C]`: nothing, where the batch asks for no medium.
    pub fn forward(
        &self,
        asked: &Asked,
        media: &[Encoded],
        kind: usize,
        signals: &[u32],
    ) -> (Tensor<1>, Option<Conditions>) {
        let Asked { batch, signals: places } = asked;
        let Hidden(hidden) = self.llava.forward(batch, media);
        let logits = |hidden| self.llava.backbone.logits(hidden);
        let said = answers_loss(logits, Hidden(hidden.clone()), &batch.labels, 0.0);
        if places.is_empty() {
            return (said, None);
        }
        let [b, t, d] = hidden.dims();
        let n = signals.len();
        let rows = places.iter().flat_map(|&first| (first..first + n).map(|at| at as i32));
        let thought = fused::embedding(hidden.reshape([b * t, d]), rows.collect());
        let thought = thought.reshape([places.len(), n, d]);
        (said, Some(told(&self.llava, &self.mappers[kind], thought, signals)))
    }
}

/// What a mapper makes of what was thought at signal tokens, `[M, n, D]`.
pub fn told(
    llava: &Llava,
    mapper: &OutputProjector,
    thought: Tensor<3>,
    signals: &[u32],
) -> Conditions {
    let known = llava.backbone.embed(signals, [1, signals.len()]).0;
    mapper.condition(Hidden(thought + known), None)
}
