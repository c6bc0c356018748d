//! A small decoder that reads an image encoder's positions and answers what is where, so that the
//! encoder learns to keep it: the captioning loss of SigLIP 2 (Tschannen et al. 2025,
//! <https://arxiv.org/abs/2502.14786>, section 2.1). It reads vectors of the shared space too, those
//! of pictures and those of captions, and writes what they say: a vector of which one can tell
//! which colour belongs to which shape is no bag of words. It is thrown away after training.
//!
//! ```text
//! features [B, N, E] ──project──▶ [B, Q, D] ──splice──▶ decoder ──▶ loss of the answers' tokens
//! vectors [B, C] ─────vector────▶ [B, 1, D] ──splice──▶ decoder ──▶ loss of the gists' tokens
//! ```

use sensorium_backbone::{Llama, LlamaConfig};
use sensorium_flow::{Embeds, Features, Forward, Project, Sequence};
use sensorium_input_projector::{LinearProjector, Projector, ProjectorConfig};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use sensorium_model::llava::answers_loss;
use sensorium_model::prompt::Batch;
use sensorium_model::splice::splice;

/// Shape of a [`Captioner`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptionerConfig {
    /// How many blocks before the encoder's end its positions are read: where LLaVA reads them.
    pub skip: usize,
    /// The projector of positions.
    pub projector: ProjectorConfig,
    /// Width C of the shared space.
    pub vector: usize,
    /// The decoder.
    pub decoder: LlamaConfig,
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct Captioner {
    /// From the encoder's features to the decoder's tokens.
    pub projector: Projector,
    /// From the shared space to one token.
    pub vector: LinearProjector,
    /// The decoder.
    pub decoder: Llama,
}

impl Captioner {
    /// Seeded weights.
    pub fn init(config: &CaptionerConfig, init: &mut Init) -> Self {
        Self {
            projector: Projector::init(&config.projector, init),
            vector: LinearProjector::init(
                1,
                true,
                [config.vector, config.decoder.hidden_size],
                init,
            ),
            decoder: Llama::init(&config.decoder, init),
        }
    }

    /// Loss of the answers' tokens, mean over the batch, given `features [B, N, E]`.
    pub fn loss(&self, batch: &Batch, features: Features) -> Tensor<1> {
        self.answers(batch, self.projector.project(features))
    }

    /// Loss of the gists' tokens, mean over the batch, given unit `vectors [B, C]`.
    pub fn gist_loss(&self, batch: &Batch, vectors: Tensor<2>) -> Tensor<1> {
        let [b, c] = vectors.dims();
        self.answers(batch, self.vector.project(Features(vectors.reshape([b, 1, c]))))
    }

    fn answers(&self, batch: &Batch, media: Embeds) -> Tensor<1> {
        let text = self.decoder.embed(&batch.ids, batch.shape);
        let embeds = splice(text, media, &batch.slots);
        let sequence = Sequence {
            spans: Some(batch.spans.clone()),
            positions: batch.positions.clone(),
            ..Sequence::default()
        };
        let hidden = self.decoder.forward(embeds, &sequence, None);
        answers_loss(|hidden| self.decoder.logits(hidden), hidden, &batch.labels, 0.0)
    }
}
