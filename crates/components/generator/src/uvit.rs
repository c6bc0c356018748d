//! U-ViT: time, conditions and latents are tokens alike, and shallow blocks reach deep ones directly.
//!
//! Bao et al. 2022, <https://arxiv.org/abs/2209.12152>, without the last convolution.
//!
//! ```text
//! [time; conditions Q; latents N] [B, 1+Q+N, D] ──blocks, kept──▶ block ──blocks, each with what was kept──▶ [B, N, out]
//! ```

use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

/// Shape of a [`Uvit`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UvitConfig {
    /// Width D.
    pub hidden_size: usize,
    /// Blocks: those before and behind the middle one, so an odd number.
    pub n_layers: usize,
    /// Heads.
    pub n_heads: usize,
    /// Width inside the MLPs.
    pub intermediate_size: usize,
}

impl UvitConfig {
    /// The embedded model's: 7 blocks of 224.
    pub fn small() -> Self {
        Self { hidden_size: 224, n_layers: 7, n_heads: 7, intermediate_size: 896 }
    }

    /// What is wrong with the sizes: what is expected, and what there is.
    pub fn wrong(&self) -> Option<(&'static str, String)> {
        let Self { hidden_size, n_layers, n_heads, .. } = *self;
        let fits = n_heads > 0 && hidden_size.is_multiple_of(2 * n_heads) && hidden_size > 0;
        (!fits || n_layers.is_multiple_of(2)).then(|| {
            ("an odd number of blocks and an even width for each head", format!("{self:?}"))
        })
    }

    /// Floating-point operations of one sample's forward pass over `t` tokens.
    pub fn flops(&self, t: usize) -> f64 {
        let d = self.hidden_size;
        let block = t * (4 * d * d + 2 * d * self.intermediate_size) + 2 * t * t * d;
        2.0 * (self.n_layers * block + self.n_layers / 2 * t * 2 * d * d) as f64
    }
}

/// What goes in and comes out of a [`Uvit`].
#[derive(Clone, Copy, Debug)]
pub struct Tokens {
    /// Tokens N of the latents.
    pub latents: usize,
    /// Numbers of each that goes in.
    pub size: usize,
    /// Numbers of each that comes out.
    pub out: usize,
    /// Conditions Q.
    pub conditions: usize,
    /// Their width C.
    pub width: usize,
}

/// Epsilon of every norm.
const EPS: f64 = 1e-5;

/// Standard deviation of the learned places.
const PLACE_STD: f64 = 0.02;

/// Tokens alike, shallow blocks beside deep ones: `[B, N, size]` to `[B, N, out]`.
#[derive(Module, Debug)]
pub struct Uvit {
    latents_in: Linear,
    conditions_in: Linear,
    time: Mlp,
    places: Param<Tensor<2>>,
    shallow: Vec<Block>,
    middle: Block,
    deep: Vec<DeepBlock>,
    norm: LayerNorm,
    out: Linear,
}

sensorium_nn::pack!(Uvit: latents_in, conditions_in, time, shallow, middle, deep, out);

impl Uvit {
    /// Matrices of about `fan_in^-0.5`; what comes out starts at zero.
    pub fn init(config: &UvitConfig, tokens: Tokens, init: &mut Init) -> Self {
        let d = config.hidden_size;
        let linear = |in_: usize, out: usize, init: &mut Init| {
            Linear::init(in_, out, true, (in_ as f64).powf(-0.5), init)
        };
        let block = BlockConfig {
            d,
            heads: config.n_heads,
            hidden: config.intermediate_size,
            activation: Activation::GeluTanh,
            eps: EPS,
            n_layers: config.n_layers,
        };
        let half = config.n_layers / 2;
        let std = (d as f64).powf(-0.5);
        Self {
            latents_in: linear(tokens.size, d, init),
            conditions_in: linear(tokens.width, d, init),
            time: Mlp::init([d, d, d], Activation::Silu, [std; 2], init),
            places: init.normal([1 + tokens.conditions + tokens.latents, d], PLACE_STD),
            shallow: (0..half).map(|_| Block::init(&block, init)).collect(),
            middle: Block::init(&block, init),
            deep: (0..half).map(|_| DeepBlock::init(&block, init)).collect(),
            norm: LayerNorm::init(d, EPS, init),
            out: Linear::init(d, tokens.out, true, 0.0, init),
        }
    }

    /// `x [B, N, size], conditions [B, Q, C], times [B] -> [B, N, out]`
    ///
    /// # Panics
    /// When there is not a time for each sample.
    pub fn forward(&self, x: Tensor<3>, conditions: Tensor<3>, times: &[f32]) -> Tensor<3> {
        let ([b, n, _], q) = (x.dims(), conditions.dims()[1]);
        assert_eq!(times.len(), b, "a time for each sample");
        let d = self.places.dims()[1];
        let waves: Vec<f32> = times.iter().flat_map(|&time| time_waves(time, d)).collect();
        let time = Tensor::<3>::from_data(TensorData::new(waves, [b, 1, d]), &x.device());
        let parts = vec![
            self.time.forward(time),
            self.conditions_in.forward(conditions),
            self.latents_in.forward(x),
        ];
        let mut x = Tensor::cat(parts, 1) + self.places.val().unsqueeze();
        let mut kept = Vec::with_capacity(self.shallow.len());
        for block in &self.shallow {
            x = block.forward(x, &Mask::Full, None);
            kept.push(x.clone());
        }
        x = self.middle.forward(x, &Mask::Full, None);
        for (block, kept) in self.deep.iter().zip(kept.into_iter().rev()) {
            x = block.forward(x, kept);
        }
        self.out.forward(self.norm.forward(x.narrow(1, 1 + q, n)))
    }
}

/// A block that reads what a shallow one left beside what the one before did.
#[derive(Module, Debug)]
struct DeepBlock {
    skip: Linear,
    block: Block,
}

sensorium_nn::pack!(DeepBlock: skip, block);

impl DeepBlock {
    fn init(config: &BlockConfig, init: &mut Init) -> Self {
        let std = (2.0 * config.d as f64).powf(-0.5);
        let skip = Linear::init(2 * config.d, config.d, true, std, init);
        Self { skip, block: Block::init(config, init) }
    }

    fn forward(&self, x: Tensor<3>, kept: Tensor<3>) -> Tensor<3> {
        self.block.forward(self.skip.forward(Tensor::cat(vec![x, kept], 2)), &Mask::Full, None)
    }
}

/// A time from 0 to 1 as sines and cosines of a thousand times it, of wavelengths from 2π to 20,000π.
fn time_waves(time: f32, width: usize) -> impl Iterator<Item = f32> {
    let half = width / 2;
    let angle =
        move |i: usize| f64::from(time) * 1000.0 * 10_000f64.powf(-(i as f64) / half as f64);
    let cosines = (0..half).map(move |i| angle(i).cos() as f32);
    cosines.chain((0..width - half).map(move |i| angle(i).sin() as f32))
}
