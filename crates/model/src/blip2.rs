//! BLIP-2: a frozen image encoder whose picture a Q-Former sums up in a few tokens.
//!
//! Li et al. 2023, <https://arxiv.org/abs/2301.12597>
//!
//! ```text
//! image [B, c, h, w] ──encode──▶ [B, N+1, E] ──queries──▶ [B, Q, D] ──▶ cosine, match    (stage 1)
//!                                                                  └──▶ Embeds [B, Q, D] (stage 2)
//! ```

use std::sync::Arc;

use sensorium_encoder::image::{Vit, VitConfig};
use sensorium_encoder::text::Texts;
use sensorium_flow::Features;
use sensorium_input_projector::qformer::{Matching, MatchingConfig};
use sensorium_nn::prelude::*;

use crate::clip::unit;
use crate::weights::under;

/// Shape of a [`Blip2Matcher`].
#[derive(Clone, Debug, PartialEq)]
pub struct Blip2MatcherConfig {
    /// The image encoder.
    pub image: VitConfig,
    /// The Q-Former with its texts and heads.
    pub projector: MatchingConfig,
}

impl Blip2MatcherConfig {
    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        [under("image", self.image.parameters()), under("projector", self.projector.parameters())]
            .concat()
    }
}

/// Pictures and texts compared: what the first stage trains.
#[derive(Module, Debug)]
pub struct Blip2Matcher {
    /// The image encoder, read at all its positions after the last norm.
    pub image: Vit,
    /// The Q-Former with its texts and heads.
    pub projector: Matching,
}

impl Blip2Matcher {
    /// Seeded weights.
    pub fn init(config: &Blip2MatcherConfig, init: &mut Init) -> Self {
        Self {
            image: Vit::init(&config.image, init),
            projector: Matching::init(&config.projector, init),
        }
    }

    /// `[B, c, h, w] -> [B, N+1, E]`, the class token first.
    pub fn encode(&self, images: Tensor<4>) -> Features {
        Features(self.image.positions(images))
    }

    /// A vector of unit length for each query: `[B, N+1, E] -> [B·Q, C]`.
    pub fn embed_images(&self, features: &Features) -> Tensor<2> {
        let x = self.projector.embed_images(features);
        let [b, q, c] = x.dims();
        unit(x.reshape([b * q, c]))
    }

    /// A vector of unit length for each text: `[B, T] -> [B, C]`.
    pub fn embed_texts(&self, texts: &Texts) -> Tensor<2> {
        unit(self.projector.embed_texts(&texts.ids, texts.shape, &lengths(texts)))
    }

    /// Logits of "does not belong" and "belongs" of each picture with its text, `[B, 2]`.
    pub fn compare(&self, features: &Features, texts: &Texts) -> Tensor<2> {
        self.projector.compare(features, &texts.ids, texts.shape, &lengths(texts))
    }
}

/// Tokens of each text that count.
fn lengths(texts: &Texts) -> Arc<[usize]> {
    texts.ends.iter().map(|end| end + 1).collect()
}
