//! Phrases of two attributes as a teacher of both of CLIP's towers: what belongs to what.
//!
//! A contrastive loss alone leaves a bag of words (Yuksekgonul et al. 2022,
//! <https://arxiv.org/abs/2210.01936>): two towers that know nothing of a conjunction give each other
//! no direction in which to learn it, the product of two zeros has no slope. Here each phrase has a
//! learned vector of its own, and pictures, their positions (as RegionCLIP does, Zhong et al. 2021,
//! <https://arxiv.org/abs/2112.09106>), captions and the phrase's own words are all held against it.

use sensorium_data::look::{Color, Shape};
use sensorium_data::pairs::Pair;
use sensorium_data::phrase::{Phrase, named, positions};
use sensorium_flow::Features;
use sensorium_media::text::Tokenizer;
use sensorium_model::clip::{Clip, unit};
use sensorium_nn::prelude::*;

use crate::batch::texts;

/// Longest phrase in tokens.
const TOKENS: usize = 16;

/// Every which phrase is said in words each step.
const SAID: usize = 3;

/// A learned vector for each phrase, and scale and bias of the logits with them.
#[derive(Module, Debug)]
pub struct PhraseHead {
    table: Param<Tensor<2>>,
    scale: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    #[module(skip)]
    phrases: Vec<Phrase>,
}

/// One step's embeddings, of unit length.
pub struct Embedded {
    /// Pictures, `[B, C]`.
    pub images: Tensor<2>,
    /// The pictures' positions, `[B, N, E]`.
    pub features: Features,
    /// Captions, then their false ones, `[M, C]`.
    pub texts: Tensor<2>,
}

impl PhraseHead {
    /// Seeded vectors of width `c` for every phrase.
    pub fn init(c: usize, init: &mut Init) -> Self {
        let phrases = Phrase::all();
        Self {
            table: init.normal([phrases.len(), c], 0.1),
            scale: init.constant([1], 10f32.ln()),
            bias: init.constant([1], -3.0),
            phrases,
        }
    }

    /// Sum of the sigmoid losses of pictures, positions, phrases in words and captions.
    pub fn loss(
        &self,
        model: &Clip,
        embedded: Embedded,
        batch: &[Pair],
        tokenizer: &Tokenizer,
        step: u64,
    ) -> Tensor<1> {
        let Embedded { images, features, texts, .. } = embedded;
        let first = step as usize % SAID;
        let said: Vec<usize> = (first..self.phrases.len()).step_by(SAID).collect();
        let words = unit(model.text.embed(&self.words(&said, tokenizer))); // [P / 3, C]
        let (at, rows) = self.positions(batch, &features);
        let n = texts.dims()[0];

        let loss = self.against(images, self.seen(batch))
            + self.against(words, self.own(&said))
            + self.against(texts, self.joined(batch, n));
        if at.is_empty() {
            return loss;
        }
        let [b, n, e] = features.0.dims();
        let at = fused::embedding(features.0.reshape([b * n, e]), at); // [objects' positions, E]
        loss + self.against(unit(model.image.embed_positions(at)), self.looks(&rows))
    }

    fn against(&self, of: Tensor<2>, signs: Vec<f32>) -> Tensor<1> {
        loss::sigmoid_of(of, unit(self.table.val()), self.scale.val(), self.bias.val(), signs)
    }

    fn words(&self, said: &[usize], tokenizer: &Tokenizer) -> sensorium_encoder::text::Texts {
        let words: Vec<String> = said.iter().map(|&i| self.phrases[i].text()).collect();
        texts(words.iter().map(String::as_str), tokenizer, TOKENS)
    }

    /// Which phrases hold of each picture; of icons nothing is known.
    fn seen(&self, batch: &[Pair]) -> Vec<f32> {
        let row = |pair: &Pair| -> Vec<f32> {
            let scene = pair.scene.as_ref();
            self.phrases.iter().map(|phrase| scene.map_or(0.0, |s| sign(phrase.holds(s)))).collect()
        };
        batch.iter().flat_map(row).collect()
    }

    /// Each its own phrase and no other.
    fn own(&self, own: &[usize]) -> Vec<f32> {
        let row = |&own: &usize| (0..self.phrases.len()).map(move |i| sign(i == own));
        own.iter().flat_map(row).collect()
    }

    /// Each its own colour and shape and no other; of other phrases nothing is asked.
    fn looks(&self, own: &[usize]) -> Vec<f32> {
        let row = |&own: &usize| {
            let say = move |(i, phrase): (usize, &Phrase)| match (phrase.color, phrase.shape) {
                (Some(_), Some(_)) => sign(i == own),
                _ => 0.0,
            };
            self.phrases.iter().enumerate().map(say)
        };
        own.iter().flat_map(row).collect()
    }

    /// Which colours and shapes the first `n` of the true captions and the false ones join; of
    /// other phrases nothing is known.
    fn joined(&self, batch: &[Pair], n: usize) -> Vec<f32> {
        let row = |text: &String| -> Vec<f32> {
            let named = named(text);
            let say = |phrase: &Phrase| match (phrase.color, phrase.shape) {
                (Some(color), Some(shape)) if !named.is_empty() => {
                    sign(named.contains(&(color, shape)))
                }
                _ => 0.0,
            };
            self.phrases.iter().map(say).collect()
        };
        let false_ones = batch.iter().flat_map(|pair| &pair.negatives);
        batch.iter().map(|pair| &pair.caption).chain(false_ones).take(n).flat_map(row).collect()
    }

    /// Positions that lie on an object, counted over the batch, and the phrase of its colour and
    /// shape.
    fn positions(&self, batch: &[Pair], features: &Features) -> (Vec<i32>, Vec<usize>) {
        let n = features.0.dims()[1];
        let grid = n.isqrt();
        let mut all = (Vec::new(), Vec::new());
        for (i, scene) in batch.iter().enumerate().filter_map(|(i, p)| Some((i, p.scene.as_ref()?)))
        {
            for (cell, color, shape) in positions(scene, grid) {
                if let Some(row) = self.row(color, shape) {
                    all.0.push((i * n + cell) as i32);
                    all.1.push(row);
                }
            }
        }
        all
    }

    fn row(&self, color: Color, shape: Shape) -> Option<usize> {
        let look = Phrase { color: Some(color), shape: Some(shape), ..Phrase::default() };
        self.phrases.iter().position(|phrase| *phrase == look)
    }
}

fn sign(holds: bool) -> f32 {
    if holds { 1.0 } else { -1.0 }
}
