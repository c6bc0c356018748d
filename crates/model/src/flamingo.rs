//! Flamingo: pictures stay beside the text, and gated blocks of any language model ask them.
//!
//! Alayrac et al. 2022, <https://arxiv.org/abs/2204.14198>; the parts are OpenFlamingo's
//! (<https://arxiv.org/abs/2308.01390>).
//!
//! ```text
//! frames [F, c, h, w] ──encode──▶ [F, N, E] ──resample──▶ [M, Q, E] ──keys, values, once──┐
//! ids [B, T] ──embed──▶ [B, T, P] ──gated language model────────────────────────────────────┴──▶ next token
//! ```
//! A picture is one frame, a video several: either is one medium of Q latents.

use sensorium_backbone::{GatedBackbone, GatedBackboneConfig};
use sensorium_encoder::image::{Vit, VitConfig};
use sensorium_flow::{Encode, Features, Forward, Sequence};
use sensorium_input_projector::{Perceiver, PerceiverConfig};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::llava::answers_loss;
use crate::prompt::Batch;

/// Shape of a [`Flamingo`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlamingoConfig {
    /// The image encoder.
    pub image: VitConfig,
    /// From its patches to a fixed number of latents, as wide as they are.
    pub projector: PerceiverConfig,
    /// The language model and its gated blocks.
    pub language: GatedBackboneConfig,
}

impl FlamingoConfig {
    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Flamingo::init(self, init))
    }
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct Flamingo {
    /// The image encoder, whose patches are read after its last norm.
    pub image: Vit,
    /// From them to latents.
    pub projector: Perceiver,
    /// The language model and its gated blocks.
    pub language: GatedBackbone,
}

sensorium_nn::pack!(Flamingo: image, projector, language);

impl Flamingo {
    /// Weights by each part's scheme.
    pub fn init(config: &FlamingoConfig, init: &mut Init) -> Self {
        Self {
            image: Vit::init(&config.image, init),
            projector: Perceiver::init(&config.projector, init),
            language: GatedBackbone::init(&config.language, init),
        }
    }

    /// Media of so many frames each to what the gated blocks ask: `[sum of frames, c, h, w] -> [M, Q, E]`.
    pub fn encode(&self, images: Tensor<4>, frames: &[usize]) -> Features {
        self.projector.resample_frames(&self.image.encode(images), frames)
    }

    /// Loss of the batch's labels, mean over them: each token sees the picture that `seen [B*T]` names, of
    /// all that `features` are of.
    pub fn loss(
        &self,
        batch: &Batch,
        features: Option<Features>,
        seen: &[Option<usize>],
    ) -> Tensor<1> {
        let cross_attention = Some(seen.into());
        let sequence = Sequence { features, cross_attention, ..Sequence::default() };
        let embeds = self.language.embed(&batch.ids, batch.shape);
        let hidden = self.language.forward(embeds, &sequence, None);
        answers_loss(|hidden| self.language.logits(hidden), hidden, &batch.labels, 0.0)
    }
}

/// The picture that each token sees: the latest at or before it in its row, counted over all rows `[B, T]`.
pub fn latest(ids: &[u32], [_, t]: [usize; 2], picture: u32) -> Vec<Option<usize>> {
    let (mut shown, mut seen) = (0, Vec::with_capacity(ids.len()));
    for row in ids.chunks(t.max(1)) {
        let mut latest = None;
        for &id in row {
            if id == picture {
                latest = Some(shown);
                shown += 1;
            }
            seen.push(latest);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_sees_the_latest_picture_of_its_row() {
        let seen = latest(&[5, 9, 4, 9, 6, 7, 9, 1], [2, 4], 9);
        let none = None;
        assert_eq!(seen, [none, Some(0), Some(0), Some(1), none, none, Some(2), Some(2)]);
    }
}
