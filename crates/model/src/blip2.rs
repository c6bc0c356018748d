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
use sensorium_flow::{Embeds, Features, Project};
use sensorium_input_projector::qformer::{
    Matching, MatchingConfig, QFormerConfig, QFormerProjector,
};
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

/// Shape of a [`Blip2Eye`].
#[derive(Clone, Debug, PartialEq)]
pub struct Blip2EyeConfig {
    /// The image encoder.
    pub image: VitConfig,
    /// The Q-Former.
    pub qformer: QFormerConfig,
    /// Width D of the language model.
    pub width: usize,
}

impl Blip2EyeConfig {
    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let projector = QFormerProjector::parameters(&self.qformer, self.width);
        [under("image", self.image.parameters()), under("projector", projector)].concat()
    }
}

/// Pictures to a language model's embeddings: what the second stage trains.
#[derive(Module, Debug)]
pub struct Blip2Eye {
    /// The image encoder, read at all its positions after the last norm.
    pub image: Vit,
    /// Its features to tokens.
    pub projector: QFormerProjector,
}

impl Blip2Eye {
    /// Seeded weights.
    pub fn init(config: &Blip2EyeConfig, init: &mut Init) -> Self {
        Self {
            image: Vit::init(&config.image, init),
            projector: QFormerProjector::init(&config.qformer, config.width, init),
        }
    }

    /// Lays out every matrix for running.
    pub fn pack(&mut self, format: pack::Format) {
        self.image.pack_as(format);
        self.projector.pack_as(format);
    }

    /// `[B, c, h, w] -> [B, Q, D]`
    pub fn look(&self, images: Tensor<4>) -> Embeds {
        self.projector.project(Features(self.image.positions(images)))
    }
}

/// Tokens of each text that count.
fn lengths(texts: &Texts) -> Arc<[usize]> {
    texts.ends.iter().map(|end| end + 1).collect()
}
