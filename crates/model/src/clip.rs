//! CLIP: pictures and texts in one space.
//!
//! Radford et al. 2021, <https://arxiv.org/abs/2103.00020>; with a bias, SigLIP: Zhai et al. 2023,
//! <https://arxiv.org/abs/2303.15343>
//!
//! ```text
//! image [B, c, h, w] ──image encoder──▶ [B, C] ─┐ unit length
//! text  [B, T]       ──text tower─────▶ [B, C] ─┴─▶ logits [B, B] = exp(scale)·I·Tᵀ (+ bias)
//! ```

use sensorium_encoder::image::{Encoder, EncoderConfig, VitConfig};
use sensorium_encoder::text::{TextConfig, TextTower, Texts};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

/// Largest value of the learned scale: ln 100 (the paper, section 2.5).
pub const MAX_SCALE: f32 = 4.605_170_2;

/// Shape of a [`Clip`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipConfig {
    /// The image encoder.
    pub image: EncoderConfig,
    /// The text tower.
    pub text: TextConfig,
    /// Whether logits have a learned bias (SigLIP) and the scale starts at ln 10; without, at
    /// ln(1/0.07).
    pub bias: bool,
}

impl ClipConfig {
    /// The embedded model's pair of encoders.
    pub fn small() -> Self {
        Self {
            image: EncoderConfig::Vit(VitConfig::small()),
            text: TextConfig::small(),
            bias: true,
        }
    }

    /// Name and shape of every parameter and statistic, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Clip::init(self, init))
    }
}

/// A picture and a text beside each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Cosine of the two vectors, -1 to 1.
    pub similarity: f32,
    /// `similarity · exp(scale) (+ bias)`.
    pub logit: f32,
    /// Of this text among all of the picture (softmax); with a bias, of the pair alone (sigmoid).
    pub probability: f32,
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct Clip {
    /// The image encoder.
    pub image: Encoder,
    /// The text tower.
    pub text: TextTower,
    /// Log of the factor on cosines, `[1]`.
    pub scale: Param<Tensor<1>>,
    /// Added to logits, `[1]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Clip {
    /// Seeded weights.
    pub fn init(config: &ClipConfig, init: &mut Init) -> Self {
        let scale = if config.bias { 10f32.ln() } else { (1.0f32 / 0.07).ln() };
        Self {
            image: Encoder::init(&config.image, init),
            text: TextTower::init(&config.text, init),
            scale: init.constant([1], scale),
            bias: config.bias.then(|| init.constant([1], -10.0)),
        }
    }

    /// `[B, c, h, w] -> [B, C]`, unit length
    pub fn embed_images(&self, images: Tensor<4>) -> Tensor<2> {
        unit(self.image.embed(images))
    }

    /// `[B, T] -> [B, C]`, unit length
    pub fn embed_texts(&self, texts: &Texts) -> Tensor<2> {
        unit(self.text.embed(texts))
    }

    /// What makes logits of the cosines.
    pub fn comparison(&self) -> Comparison {
        Comparison {
            scale: params::read(self.scale.val().exp())[0],
            bias: self.bias.as_ref().map(|bias| params::read(bias.val())[0]),
        }
    }
}

/// What makes logits of cosines.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Factor.
    pub scale: f32,
    /// Added to every product (SigLIP).
    pub bias: Option<f32>,
}

impl Comparison {
    /// Every picture's vector beside every text's, a row for each picture.
    pub fn scores(&self, pictures: &[Vec<f32>], texts: &[Vec<f32>]) -> Vec<Vec<Score>> {
        let Self { scale, bias } = *self;
        let row = |picture: &Vec<f32>| {
            let cosines =
                texts.iter().map(|text| picture.iter().zip(text).map(|(a, b)| a * b).sum());
            let cosines: Vec<f32> = cosines.collect();
            let logits: Vec<f32> =
                cosines.iter().map(|cosine| cosine * scale + bias.unwrap_or_default()).collect();
            let probabilities = match bias {
                Some(_) => logits.iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect(),
                None => softmax(&logits),
            };
            let scores = cosines.iter().zip(&logits).zip(probabilities);
            scores
                .map(|((&similarity, &logit), probability)| Score {
                    similarity,
                    logit,
                    probability,
                })
                .collect()
        };
        pictures.iter().map(row).collect()
    }
}

/// `exp(x) / Σ exp(x)`
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let top = logits.iter().copied().fold(f32::MIN, f32::max);
    let exps: Vec<f32> = logits.iter().map(|logit| (logit - top).exp()).collect();
    let sum: f32 = exps.iter().sum();
    exps.iter().map(|exp| exp / sum).collect()
}

/// Planes `[B, 3, h, w]`, row-major, as a tensor.
pub fn batch(planes: Vec<f32>, [height, width]: [usize; 2], device: &Device) -> Tensor<4> {
    let pictures = planes.len() / (3 * height * width);
    let data = TensorData::new(planes, [pictures, 3, height, width]);
    Tensor::from_data(data, device)
}

/// Runs `embed` over chunks of `size`, which bounds memory whatever the number of items.
pub fn in_chunks<T>(size: usize, items: &[T], embed: impl Fn(&[T]) -> Tensor<2>) -> Vec<Vec<f32>> {
    let mut rows = Vec::with_capacity(items.len());
    for chunk in items.chunks(size) {
        let embedded = embed(chunk);
        let width = embedded.dims()[1];
        rows.extend(params::read(embedded).chunks(width).map(<[f32]>::to_vec));
    }
    rows
}

/// Rows divided by their lengths; a zero row stays zero.
pub fn unit(x: Tensor<2>) -> Tensor<2> {
    let length = x.clone().square().sum_dim(1).sqrt(); // [B, 1]
    x / length.clamp_min(1e-12)
}
