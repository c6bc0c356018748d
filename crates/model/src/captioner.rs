//! A small decoder that reads an image encoder's positions and writes what is where, so that the
//! encoder learns to keep it: the captioning loss of SigLIP 2 (Tschannen et al. 2025,
//! <https://arxiv.org/abs/2502.14786>, section 2.1). It is thrown away after training.
//!
//! ```text
//! features [B, N, E] ──project──▶ [B, Q, D] ──splice──▶ backbone ──▶ loss of the caption's tokens
//! ```

use sensorium_backbone::{Llama, LlamaConfig};
use sensorium_flow::Features;
use sensorium_input_projector::{Projector, ProjectorConfig};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::llava::answers_loss;
use crate::prompt::Batch;
use crate::splice::splice;

/// Shape of a [`Captioner`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptionerConfig {
    /// The projector.
    pub projector: ProjectorConfig,
    /// The decoder.
    pub decoder: LlamaConfig,
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct Captioner {
    /// From the encoder's features to the decoder's tokens.
    pub projector: Projector,
    /// The decoder.
    pub decoder: Llama,
}

impl Captioner {
    /// Seeded weights.
    pub fn init(config: &CaptionerConfig, init: &mut Init) -> Self {
        Self {
            projector: Projector::init(&config.projector, init),
            decoder: Llama::init(&config.decoder, init),
        }
    }

    /// Loss of the captions' tokens, mean over the batch, given `features [B, N, E]`.
    pub fn loss(&self, batch: &Batch, features: Features) -> Tensor<1> {
        let text = self.decoder.embed(&batch.ids, batch.shape);
        let embeds = splice(text, self.projector.project(features), &batch.images);
        let hidden = self.decoder.forward(embeds, Some(batch.spans.clone()));
        answers_loss(&self.decoder, hidden, batch, 0.0)
    }
}
