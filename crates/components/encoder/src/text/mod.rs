//! The text tower of CLIP: a causal transformer read at the end token. Without the mask it is
//! SigLIP's, which is read at its last position.
//!
//! Radford et al. 2021, section 2.4, <https://arxiv.org/abs/2103.00020>
//!
//! ```text
//! ids [B, T] ──embed──▶ [B, T, E] ──blocks, causal──▶ [B, T, E] ──end token, proj──▶ [B, C]
//! ```

pub mod bert;
pub mod clap;

use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

/// Shape of a [`TextTower`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextConfig {
    /// Entries of the token table.
    #[serde(alias = "vocabulary")]
    pub vocab_size: usize,
    /// Longest text in tokens.
    pub context: usize,
    /// Positions that start as sines and cosines as loud as the tokens, in place of CLIP's faint
    /// noise: short trainings then learn that order matters.
    pub waves: bool,
    /// Rows of the table of pairs, 0 without one. Each token and the one before it are hashed to a
    /// row, which is added to the token's embedding (as fastText does with n-grams, Joulin et al.
    /// 2016, <https://arxiv.org/abs/1607.01759>): which adjective stands at which noun is then there
    /// before any attention has been learned.
    pub pairs: usize,
    /// Width E.
    #[serde(alias = "width")]
    pub hidden_size: usize,
    /// Blocks.
    pub n_layers: usize,
    /// Heads.
    pub n_heads: usize,
    /// Width inside the MLPs.
    #[serde(alias = "mlp")]
    pub intermediate_size: usize,
    /// QuickGELU in place of exact GELU (OpenAI's weights).
    pub activation: Activation,
    /// Whether a token sees only what comes before it (CLIP); else all of the text, padding too
    /// (SigLIP).
    pub causal: bool,
    /// Width C of the shared space.
    pub embed: usize,
    /// Whether a matrix takes the vector to the shared space; without one, as where the tower was
    /// published alone, it is that space.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub proj: bool,
    /// Whether the projection to it has a bias (SigLIP).
    pub proj_bias: bool,
    /// Epsilon of every norm.
    pub eps: f64,
}

fn yes() -> bool {
    true
}

fn is_true(on: &bool) -> bool {
    *on
}

impl TextConfig {
    /// The embedded model's tower: 3.7 M parameters, 1.6 M of them pairs of tokens.
    pub fn small() -> Self {
        Self {
            vocab_size: 4096,
            context: 64,
            waves: true,
            pairs: 8192,
            hidden_size: 192,
            n_layers: 3,
            n_heads: 6,
            intermediate_size: 768,
            activation: Activation::Gelu,
            causal: true,
            embed: 128,
            proj: true,
            proj_bias: false,
            eps: 1e-6,
        }
    }

    /// The tower of CLIP ViT-B/32 and B/16: 63,428,096 parameters.
    pub fn clip_base() -> Self {
        Self::clip(512, 512)
    }

    /// The tower of CLIP ViT-L/14: 123,650,304 parameters.
    pub fn clip_large() -> Self {
        Self::clip(768, 768)
    }

    /// Floating-point operations of the forward pass of a text of `t` tokens.
    pub fn flops(&self, t: usize) -> f64 {
        let e = self.hidden_size;
        2.0 * (self.n_layers * (t * (4 * e * e + 2 * e * self.intermediate_size) + t * t * e))
            as f64
    }

    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| TextTower::init(self, init))
    }

    fn clip(width: usize, embed: usize) -> Self {
        Self {
            vocab_size: 49_408,
            context: 77,
            waves: false,
            pairs: 0,
            hidden_size: width,
            n_layers: 12,
            n_heads: width / 64,
            intermediate_size: 4 * width,
            activation: Activation::QuickGelu,
            causal: true,
            embed,
            proj: true,
            proj_bias: false,
            eps: 1e-5,
        }
    }
}

/// Token ids padded to one length, and where each text is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    /// Row-major `[B, T]`.
    pub ids: Vec<u32>,
    /// B and T.
    pub shape: [usize; 2],
    /// Position at which each text is read, `[B]`: of its end token, or the last.
    pub ends: Vec<usize>,
}

impl Texts {
    /// Pads `texts` (each ending with its end token) with `pad` to the longest of them.
    pub fn pad(texts: &[Vec<u32>], pad: u32) -> Self {
        let t = texts.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let mut ids = Vec::with_capacity(texts.len() * t);
        for (i, text) in texts.iter().enumerate() {
            ids.extend(text);
            ids.resize((i + 1) * t, pad);
        }
        let ends = texts.iter().map(|text| text.len().saturating_sub(1)).collect();
        Self { ids, shape: [texts.len(), t], ends }
    }
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct TextTower {
    embedding: Embedding,
    pairs: Option<Embedding>,
    position: Param<Tensor<2>>,
    blocks: Vec<Block>,
    norm: LayerNorm,
    proj: Option<Linear>,
    #[module(skip)]
    causal: bool,
}

impl TextTower {
    /// Weights by CLIP's scheme.
    pub fn init(config: &TextConfig, init: &mut Init) -> Self {
        let block = BlockConfig {
            d: config.hidden_size,
            heads: config.n_heads,
            hidden: config.intermediate_size,
            activation: config.activation,
            eps: config.eps,
            n_layers: config.n_layers,
        };
        let std = (config.hidden_size as f64).powf(-0.5);
        Self {
            embedding: Embedding::init(config.vocab_size, config.hidden_size, TOKEN_STD, init),
            // From zero: a pair that training never shows adds nothing.
            pairs: (config.pairs > 0)
                .then(|| Embedding::init(config.pairs, config.hidden_size, 0.0, init)),
            position: match config.waves {
                true => init.values(|| positions(config), [config.context, config.hidden_size]),
                false => init.normal([config.context, config.hidden_size], 0.01),
            },
            blocks: (0..config.n_layers).map(|_| Block::init(&block, init)).collect(),
            norm: LayerNorm::init(config.hidden_size, config.eps, init),
            proj: config.proj.then(|| {
                Linear::init(config.hidden_size, config.embed, config.proj_bias, std, init)
            }),
            causal: config.causal,
        }
    }

    /// Texts to the shared space, not yet of unit length: `[B, T] -> [B, C]`.
    ///
    /// Where the mask is causal, what pads a text never reaches its end token.
    pub fn embed(&self, texts: &Texts) -> Tensor<2> {
        let [b, t] = texts.shape;
        let x = self.hidden(texts, self.blocks.len());
        let e = x.dims()[2];
        let ends = texts.ends.iter().enumerate().map(|(i, end)| (i * t + end) as i32).collect();
        let at_end = fused::embedding(x.reshape([b * t, e]), ends); // [B, E]
        let at_end = self.norm.forward(at_end);
        match &self.proj {
            Some(proj) => proj.forward(at_end),
            None => at_end,
        }
    }

    /// All positions after the last norm: `[B, T] -> [B, T, E]`.
    pub fn positions(&self, texts: &Texts) -> Tensor<3> {
        self.norm.forward(self.hidden(texts, self.blocks.len()))
    }

    /// All positions after so many blocks, `[B, T, E]`: after none, what the first one reads.
    pub fn hidden(&self, texts: &Texts, blocks: usize) -> Tensor<3> {
        let [b, t] = texts.shape;
        let x = self.embedding.forward(&texts.ids, [b, t]); // [B, T, E]
        let x = match &self.pairs {
            Some(pairs) => x + pairs.forward(&pair_rows(texts, pairs.rows()), [b, t]),
            None => x,
        };
        let x = x + self.position.val().narrow(0, 0, t).unsqueeze();
        let mask = if self.causal { Mask::Causal { offset: 0 } } else { Mask::Full };
        self.blocks.iter().take(blocks).fold(x, |x, block| block.forward(x, &mask, None))
    }
}

sensorium_nn::pack!(TextTower: blocks, proj);

/// Standard deviation of the tokens' embeddings before training (CLIP).
const TOKEN_STD: f64 = 0.02;

/// The row of each token and the one before it, `[B, T]`; before the first stands nothing.
fn pair_rows(texts: &Texts, rows: usize) -> Vec<u32> {
    let [_, t] = texts.shape;
    let row = |(i, &id): (usize, &u32)| {
        let before = if i % t == 0 { 0 } else { u64::from(texts.ids[i - 1]) + 1 };
        // Fibonacci hashing (Knuth): the high bits of a product with 2^64 over the golden ratio.
        let hash = (before << 32 | u64::from(id)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((hash >> 32) as usize % rows) as u32
    };
    texts.ids.iter().enumerate().map(row).collect()
}

/// Waves of the tokens' size, `[context, E]`.
fn positions(config: &TextConfig) -> Vec<f32> {
    let scale = std::f32::consts::SQRT_2 * TOKEN_STD as f32;
    let rows = (0..config.context).flat_map(|at| waves(at, config.hidden_size));
    rows.map(|value| scale * value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_told_apart_by_order_and_neighbours() {
        let texts = Texts { ids: vec![5, 9, 5, 9, 5, 5], shape: [2, 3], ends: vec![2, 2] };
        let rows = pair_rows(&texts, 1 << 20);
        let [first, ahead, back, other, again, twice] = rows[..] else { panic!("{rows:?}") };
        assert_eq!(again, back, "the same pair at another place");
        let mut all = vec![first, ahead, back, other, twice];
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 5);
        assert!(pair_rows(&texts, 7).iter().all(|&row| row < 7));
    }
}
