//! A diffusion transformer that makes spectrograms of codes of speech, in the voice of a recording: by flow matching,
//! a block of frames beside its neighbours alone.
//!
//! Xu et al. 2025, <https://arxiv.org/abs/2503.20215>, section 2.4; adaptive norms: Peebles and Xie 2022,
//! <https://arxiv.org/abs/2212.09748>; times that dwell at the noise: Chen et al. 2024 (F5-TTS),
//! <https://arxiv.org/abs/2410.06885>, section 3.3.
//!
//! ```text
//! recording [1, T, bands] ──Ecapa──▶ [1, 1, E] ─┐
//! codes [N] ──embed, each so many times───▶ [1, F, C] ─┼──beside a voice's vector──▶ told [1, F, ..] ─┐
//! noise [1, F, bands] ──steps along the velocity──▶ log-mel [1, F, bands]                             │
//!              └──beside what is told──▶ [1, F, D] ──blocks, moved by the time──▶ velocity ◀──────────┘
//! ```

use std::f32::consts::FRAC_PI_2;
use std::sync::Arc;

use sensorium_nn::prelude::*;

use super::{Ecapa, EcapaConfig};

/// Shape of a [`Dit`].
#[derive(Clone, Debug, PartialEq)]
pub struct DitConfig {
    /// Width D.
    pub hidden_size: usize,
    /// Blocks.
    pub n_layers: usize,
    /// Heads.
    pub n_heads: usize,
    /// Width K of a head.
    pub head_dim: usize,
    /// Width inside the MLPs.
    pub intermediate_size: usize,
    /// Codes that are known; one of them, 0, stands for none too.
    pub codes: usize,
    /// Width C of a code's vector.
    pub code_size: usize,
    /// Frames of a code.
    pub repeats: usize,
    /// Frames that see each other.
    pub block: usize,
    /// Layers whose blocks of frames see the one behind them.
    pub look_ahead: Vec<usize>,
    /// Layers whose blocks of frames see the one before them.
    pub look_backward: Vec<usize>,
    /// Base of the rotary angles.
    pub theta: f32,
    /// Most frames of a sound.
    pub frames: usize,
    /// Numbers of a voice's vector.
    pub speaker: usize,
    /// What hears a voice's recording.
    pub voice: EcapaConfig,
}

/// Who speaks.
#[derive(Clone, Debug, PartialEq)]
pub struct Voice {
    /// Its vector.
    pub vector: Vec<f32>,
    /// Log-mel features of a recording, `[T, bands]`.
    pub mel: Vec<f32>,
}

/// Numbers in which a time is told.
const WAVES: usize = 256;

/// Epsilon of all norms.
const EPS: f32 = 1e-6;

/// Times from noise to a spectrogram, and how much further to go than codes and voice say.
const TIMES: usize = 10;
const GUIDANCE: f64 = 0.5;

/// See the [module](self).
#[derive(Module, Debug)]
pub struct Dit {
    time: Mlp,
    codes: Embedding,
    /// What hears a voice's recording.
    pub voice: Ecapa,
    input: Linear,
    blocks: Vec<DitBlock>,
    modulation: Linear,
    out: Linear,
    #[module(skip)]
    bands: usize,
    #[module(skip)]
    repeats: usize,
    #[module(skip)]
    theta: f32,
    #[module(skip)]
    head_dim: usize,
}

sensorium_nn::pack!(Dit: time, voice, input, blocks, modulation, out);

impl Dit {
    /// Seeded weights.
    pub fn init(config: &DitConfig, init: &mut Init) -> Self {
        let (d, bands) = (config.hidden_size, config.voice.bands);
        let told = config.voice.width + config.code_size + config.speaker;
        Self {
            time: Mlp::init([WAVES, d, d], Activation::Silu, [std(WAVES), std(d)], init),
            codes: Embedding::init(config.codes, config.code_size, 1.0, init),
            voice: Ecapa::init(&config.voice, init),
            input: linear([bands + told, d], init),
            blocks: (0..config.n_layers).map(|i| DitBlock::init(config, i, init)).collect(),
            modulation: linear([d, 2 * d], init),
            out: linear([d, bands], init),
            bands,
            repeats: config.repeats,
            theta: config.theta,
            head_dim: config.head_dim,
        }
    }

    /// Numbers of noise for so many codes.
    pub fn noise(&self, codes: usize) -> usize {
        codes * self.repeats * self.bands
    }

    /// Log-mel features `[1, F, bands]` of codes, from `noise` as of [`noise`](Self::noise).
    pub fn sample(&self, codes: &[u32], voice: &Voice, noise: Vec<f32>) -> Tensor<3> {
        let told = self.told(codes, voice);
        let shape = [1, codes.len() * self.repeats, self.bands];
        let noise = Tensor::from_data(TensorData::new(noise, shape), &told.device());
        let slope = |time: f32, x: Tensor<3>| {
            let both = self.velocity(x.repeat_dim(0, 2), &told, time);
            let [with, without] = [0, 1].map(|row| both.clone().narrow(0, row, 1));
            with.clone() + (with - without) * GUIDANCE
        };
        let times = (0..TIMES).map(|i| 1.0 - (FRAC_PI_2 * i as f32 / (TIMES - 1) as f32).cos());
        let times: Vec<f32> = times.collect();
        times.windows(2).fold(noise, |x, ends| step(&slope, x, [ends[0], ends[1]]))
    }

    /// What codes and a voice say of each frame, and what nothing says, `[2, F, E + C + S]`.
    pub fn told(&self, codes: &[u32], voice: &Voice) -> Tensor<3> {
        let device = self.codes.weight.val().device();
        let pair = |values: &[f32], width: usize| {
            let rows = values.len() / width;
            let both = [values, &vec![0.0; values.len()]].concat();
            Tensor::<3>::from_data(TensorData::new(both, [2, rows, width]), &device)
        };
        let frames = codes.len() * self.repeats;
        let each = codes.iter().flat_map(|&code| std::iter::repeat_n(code, self.repeats));
        let ids: Vec<u32> = each.chain(std::iter::repeat_n(0, frames)).collect();
        let heard = self.voice.forward(pair(&voice.mel, self.bands)).repeat_dim(1, frames);
        let vector = pair(&voice.vector, voice.vector.len()).repeat_dim(1, frames);
        Tensor::cat(vec![heard, self.codes.forward(&ids, [2, frames]), vector], 2)
    }

    /// Where `x [B, F, bands]` is to go at a time from 0 to 1, as it is `told [B, F, ..]`, `[B, F, bands]`.
    pub fn velocity(&self, x: Tensor<3>, told: &Tensor<3>, time: f32) -> Tensor<3> {
        let frames = x.dims()[1];
        let waves = Tensor::<2>::from_data(TensorData::new(waves(time), [1, WAVES]), &x.device());
        let time = Activation::Silu.forward(self.time.forward(waves)); // [1, D]
        let table = RotaryTable::new(self.theta, self.head_dim, 0..frames);
        let x = self.input.forward(Tensor::cat(vec![x, told.clone()], 2));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x, &time, &table));
        let [scale, shift] = parts(self.modulation.forward(time));
        self.out.forward(fused::layer_norm(x, scale + 1.0, shift, EPS))
    }
}

/// From one time to the next by Kutta's rule of 3/8.
fn step(
    slope: &dyn Fn(f32, Tensor<3>) -> Tensor<3>,
    x: Tensor<3>,
    [from, to]: [f32; 2],
) -> Tensor<3> {
    let h = to - from;
    let k1 = slope(from, x.clone());
    let k2 = slope(from + h / 3.0, x.clone() + k1.clone() * (h / 3.0));
    let third = k1.clone() / 3.0;
    let k3 = slope(from + h * 2.0 / 3.0, x.clone() + (k2.clone() - third) * h);
    let k4 = slope(to, x.clone() + (k1.clone() - k2.clone() + k3.clone()) * h);
    x + (k1 + (k2 + k3) * 3.0 + k4) * (h / 8.0)
}

/// Sines and cosines of a thousand times a time, of wavelengths from 2π to 20,000π.
fn waves(time: f32) -> Vec<f32> {
    const HALF: usize = WAVES / 2;
    let rate = |i: usize| (-(i as f64) * 10_000f64.ln() / (HALF - 1) as f64).exp() as f32;
    let angles: Vec<f32> = (0..HALF).map(|i| 1000.0 * time * rate(i)).collect();
    let all = |turn: fn(f32) -> f32| angles.iter().map(move |&angle| turn(angle));
    all(f32::sin).chain(all(f32::cos)).collect()
}

fn std(width: usize) -> f64 {
    (width as f64).powf(-0.5)
}

fn linear([in_, out]: [usize; 2], init: &mut Init) -> Linear {
    Linear::init(in_, out, true, std(in_), init)
}

/// `[1, N·D]` to N vectors `[D]`.
fn parts<const N: usize>(told: Tensor<2>) -> [Tensor<1>; N] {
    let d = told.dims()[1] / N;
    std::array::from_fn(|i| told.clone().narrow(1, i * d, d).reshape([d]))
}

/// `x + gate·attention(norm(x))`, `x + gate·mlp(norm(x))`: norms and gates as the time says.
#[derive(Module, Debug)]
struct DitBlock {
    modulation: Linear,
    attention: BlockAttention,
    mlp: Mlp,
}

sensorium_nn::pack!(DitBlock: modulation, attention, mlp);

impl DitBlock {
    fn init(config: &DitConfig, layer: usize, init: &mut Init) -> Self {
        let (d, hidden) = (config.hidden_size, config.intermediate_size);
        Self {
            modulation: linear([d, 6 * d], init),
            attention: BlockAttention::init(config, layer, init),
            mlp: Mlp::init([d, hidden, d], Activation::GeluTanh, [std(d), std(hidden)], init),
        }
    }

    /// `x [B, F, D], time [1, D] -> [B, F, D]`
    fn forward(&self, x: Tensor<3>, time: &Tensor<2>, table: &RotaryTable) -> Tensor<3> {
        let [shift, scale, gate, shift2, scale2, gate2] =
            parts(self.modulation.forward(time.clone()));
        let y = fused::layer_norm(x.clone(), scale + 1.0, shift, EPS);
        let x = x + self.attention.forward(y, table) * gate.unsqueeze();
        let y = fused::layer_norm(x.clone(), scale2 + 1.0, shift2, EPS);
        x + self.mlp.forward(y) * gate2.unsqueeze()
    }
}

/// Attention of each block of frames to itself, and to a neighbour.
#[derive(Module, Debug)]
struct BlockAttention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    sight: Sight,
    #[module(skip)]
    precision: Precision,
}

sensorium_nn::pack!(BlockAttention: q, k, v, o);

impl BlockAttention {
    fn init(config: &DitConfig, layer: usize, init: &mut Init) -> Self {
        let (d, inner) = (config.hidden_size, config.n_heads * config.head_dim);
        Self {
            q: linear([d, inner], init),
            k: linear([d, inner], init),
            v: linear([d, inner], init),
            o: linear([inner, d], init),
            heads: config.n_heads,
            sight: Sight {
                block: config.block,
                before: usize::from(config.look_backward.contains(&layer)),
                behind: usize::from(config.look_ahead.contains(&layer)),
            },
            precision: init.precision(),
        }
    }

    /// `[B, F, D] -> [B, F, D]`
    fn forward(&self, x: Tensor<3>, table: &RotaryTable) -> Tensor<3> {
        let [b, f, _] = x.dims();
        let qkv = Linear::together([&self.q, &self.k, &self.v], x);
        let inner = qkv[0].dims()[2];
        let [q, k, v] = qkv.map(|y| y.reshape([b, f, self.heads, inner / self.heads]));
        let [q, k] = [q, k].map(|y| turned(y, table));
        let lengths = Some(self.sight.lengths(b, f));
        let [k, v] = [k, v].map(|y| self.sight.keys(y));
        let q = self.sight.queries(q);
        let o = fused::attention(self.precision, q, k, v, Mask::Full, lengths);
        let o = o.reshape([b, f.next_multiple_of(self.sight.block), inner]);
        self.o.forward(o.narrow(1, 0, f))
    }
}

/// The first head turned by the angles of its frames, `[B, F, H, K]`: as the published model was trained, the others
/// know of no order. Of that head, neighbouring channels are a pair.
fn turned(y: Tensor<4>, table: &RotaryTable) -> Tensor<4> {
    let [b, f, h, k] = y.dims();
    let pairs = y.clone().narrow(2, 0, 1).reshape([b, f, k / 2, 2]).swap_dims(2, 3);
    let first = fused::rotary(pairs.reshape([b, f, 1, k]), table);
    match h {
        1 => first,
        _ => Tensor::cat(vec![first, y.narrow(2, 1, h - 1)], 2),
    }
}

/// What a block of frames sees.
#[derive(Clone, Copy, Debug)]
struct Sight {
    /// Its frames.
    block: usize,
    /// Blocks before it.
    before: usize,
    /// Blocks behind it.
    behind: usize,
}

impl Sight {
    /// Where the keys of each block of so many frames begin and end.
    fn spans(self, frames: usize) -> impl Iterator<Item = [usize; 2]> {
        (0..frames.div_ceil(self.block)).map(move |i| {
            let end = (i + 1 + self.behind) * self.block;
            [i.saturating_sub(self.before) * self.block, end.min(frames)]
        })
    }

    /// Keys that each block of each sample sees.
    fn lengths(self, samples: usize, frames: usize) -> Arc<[usize]> {
        let each = || self.spans(frames).map(|[start, end]| end - start);
        (0..samples).flat_map(|_| each()).collect()
    }

    /// Blocks of frames as samples, `[B, F, H, K] -> [B·n, block, H, K]`; behind the last frame stand zeros.
    fn queries(self, q: Tensor<4>) -> Tensor<4> {
        let [b, f, h, k] = q.dims();
        let n = f.div_ceil(self.block);
        padded(q, n * self.block).reshape([b * n, self.block, h, k])
    }

    /// What each block sees, `[B, F, H, K] -> [B·n, most, H, K]`.
    fn keys(self, x: Tensor<4>) -> Tensor<4> {
        let [b, f, h, k] = x.dims();
        let (n, width) = (f.div_ceil(self.block), self.block * (1 + self.before + self.behind));
        let x = padded(x, (n * self.block) + width);
        let windows = self.spans(f).map(|[start, _]| x.clone().narrow(1, start, width));
        Tensor::cat(windows.collect(), 1).reshape([b * n, width, h, k])
    }
}

/// `[B, F, H, K] -> [B, len, H, K]`, zeros behind.
fn padded(x: Tensor<4>, len: usize) -> Tensor<4> {
    let [b, f, h, k] = x.dims();
    match len - f {
        0 => x,
        more => Tensor::cat(vec![x.clone(), Tensor::zeros([b, more, h, k], &x.device())], 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensorium_nn::params::read;

    /// Against every frame's own choice of keys.
    #[test]
    fn blocks_see_their_neighbours_alone() {
        let mut init = Init::new(3, &Device::flex());
        for (frames, before, behind) in [(3, 1, 1), (7, 1, 0), (9, 0, 1), (8, 0, 0), (10, 1, 1)] {
            let sight = Sight { block: 4, before, behind };
            let mut part = || init.normal([2, frames, 2, 6], 1.0).val();
            let [q, k, v] = [part(), part(), part()];
            let lengths = Some(sight.lengths(2, frames));
            let (keys, values) = (sight.keys(k.clone()), sight.keys(v.clone()));
            let queries = sight.queries(q.clone());
            let got = fused::attention(Precision::F32, queries, keys, values, Mask::Full, lengths);
            let got = got.reshape([2, frames.next_multiple_of(4), 2, 6]).narrow(1, 0, frames);
            let rows: Vec<_> = (0..frames)
                .map(|i| {
                    let [start, end] = sight.spans(frames).nth(i / 4).unwrap();
                    let [k, v] = [&k, &v].map(|x| x.clone().narrow(1, start, end - start));
                    let q = q.clone().narrow(1, i, 1);
                    fused::attention(Precision::F32, q, k, v, Mask::Full, None)
                })
                .collect();
            let off = read((got - Tensor::cat(rows, 1)).abs().max())[0];
            assert!(off < 1e-5, "{frames}, {before}, {behind}: {off}");
        }
    }
}
