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
use sensorium_input_projector::qformer::{Matching, MatchingConfig, WordHead};
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

    /// Logits of "does not belong" and "belongs" of each picture, or of one for all, with its text, `[B, 2]`.
    pub fn compare(&self, features: &Features, texts: &Texts) -> Tensor<2> {
        self.projector.compare(features, &texts.ids, texts.shape, &lengths(texts))
    }
}

/// Share of the target that is spread over all classes (LAVIS).
const SMOOTHING: f32 = 0.1;

/// What the first stage trains: beside the model, what tells texts and how sharply they are compared.
#[derive(Module, Debug)]
pub struct Blip2Pretraining {
    /// What is left of it.
    pub matcher: Blip2Matcher,
    /// Tells texts.
    pub words: WordHead,
    /// Cosines are divided by it, `[1]`.
    pub temperature: Param<Tensor<1>>,
}

impl Blip2Pretraining {
    /// Seeded weights, a temperature of 0.07.
    pub fn init(config: &Blip2MatcherConfig, init: &mut Init) -> Self {
        Self {
            matcher: Blip2Matcher::init(config, init),
            words: WordHead::init(&config.projector, init),
            temperature: init.constant([1], 0.07),
        }
    }

    /// Image-text contrast of a batch of pairs: the loss, and the similarity of each picture with each
    /// text, `[B, B]`, the largest over the queries. `allowed [B*B]` leaves out what is neither a pair
    /// nor none.
    pub fn contrast(
        &self,
        features: &Features,
        texts: &Texts,
        allowed: &[bool],
    ) -> (Tensor<1>, Tensor<2>) {
        let b = texts.shape[0];
        let images = self.matcher.embed_images(features); // [B·Q, C]
        let queries = images.dims()[0] / b;
        let cosines = images.matmul(self.matcher.embed_texts(texts).transpose()); // [B·Q, B]
        let best = cosines.reshape([b, queries, b]).max_dim(1).reshape([b, b]);
        let similarities = best / self.temperature.val().unsqueeze();
        let labels: Vec<i32> = (0..b as i32).collect();
        let turned: Vec<bool> = (0..b * b).map(|k| allowed[k % b * b + k / b]).collect();
        let loss = |logits, allowed| loss::smoothed(logits, &labels, SMOOTHING, Some(allowed));
        let by_image = loss(similarities.clone(), allowed);
        let by_text = loss(similarities.clone().transpose(), &turned);
        ((by_image + by_text) / 2.0, similarities)
    }

    /// Image-text matching: each pair, each text with another picture, each picture with another text,
    /// `others` telling which: logits `[3·B, 2]`, the pairs first, and their loss.
    pub fn matching(
        &self,
        Features(features): &Features,
        texts: &Texts,
        [pictures, sentences]: [&[usize]; 2],
    ) -> (Tensor<1>, Tensor<2>) {
        let ([b, t], [_, n, e]) = (texts.shape, features.dims());
        let own = 0..b;
        let seen = own.clone().chain(pictures.iter().copied()).chain(own.clone());
        let read: Vec<usize> = own.clone().chain(own).chain(sentences.iter().copied()).collect();
        let rows = seen.map(|i| i as i32).collect();
        let features = fused::embedding(features.clone().reshape([b, n * e]), rows);
        let texts = Texts {
            ids: read.iter().flat_map(|&i| &texts.ids[i * t..(i + 1) * t]).copied().collect(),
            shape: [3 * b, t],
            ends: read.iter().map(|&i| texts.ends[i]).collect(),
        };
        let logits = self.matcher.compare(&Features(features.reshape([3 * b, n, e])), &texts);
        let labels = (0..3 * b).map(|i| i32::from(i < b)).collect();
        (fused::cross_entropy(logits.clone(), labels, 0.0), logits)
    }

    /// Image-grounded text generation: the loss of each token after those before it, where `begin`
    /// stands for the first.
    pub fn telling(&self, features: &Features, texts: &Texts, begin: u32) -> Tensor<1> {
        let [b, t] = texts.shape;
        let mut ids = texts.ids.clone();
        ids.iter_mut().step_by(t).for_each(|id| *id = begin);
        let told = |row: usize| (0..texts.ends[row]).map(move |at| row * t + at);
        let at: Vec<usize> = (0..b).flat_map(told).collect();
        let labels: Vec<i32> = at.iter().map(|&at| ids[at + 1] as i32).collect();
        let at = at.into_iter().map(|at| at as i32).collect();
        let logits = self.words.tell(&self.matcher.projector, features, (&ids, texts.shape), at);
        loss::smoothed(logits, &labels, SMOOTHING, None)
    }
}

/// Tokens of each text that count.
fn lengths(texts: &Texts) -> Arc<[usize]> {
    texts.ends.iter().map(|end| end + 1).collect()
}
