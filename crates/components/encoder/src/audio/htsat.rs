//! HTSAT: a spectrogram folded to a square picture, and windows of attention that shift.
//!
//! Chen et al. 2022, <https://arxiv.org/abs/2202.00874>; its blocks are those of Swin (Liu et al. 2021,
//! <https://arxiv.org/abs/2103.14030>); what joins a long sound's crops is CLAP's (Wu et al. 2023, section 4.2,
//! <https://arxiv.org/abs/2211.06687>).
//!
//! ```text
//! [B, crops, F, bands] ──norm, stretch, fold──▶ [B, crops, s, s] ──patches, fusion──▶ [B, N, c]
//!     ──stages of windows, each a quarter of the positions──▶ [B, N', E] ──mean, proj──▶ [B, C]
//! ```

use sensorium_flow::{Encode, Features};
use sensorium_nn::prelude::*;

/// Shape of a [`Htsat`].
#[derive(Clone, Debug, PartialEq)]
pub struct HtsatConfig {
    /// Bands of the spectrogram; a divisor of the side.
    pub bands: usize,
    /// Side s of the square that a spectrogram is folded to.
    pub side: usize,
    /// Side of a patch, and the step from one to the next.
    pub patch: [usize; 2],
    /// Whether a norm stands behind the patches.
    pub patch_norm: bool,
    /// Channels c of a patch.
    pub channels: usize,
    /// Blocks of each stage.
    pub depths: Vec<usize>,
    /// Heads of each stage.
    pub n_heads: Vec<usize>,
    /// Side of a window, in positions.
    pub window: usize,
    /// Width inside the MLPs, over that outside.
    pub mlp_ratio: f64,
    /// Activation of the MLPs.
    pub activation: Activation,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Epsilon of the blocks' norms.
    pub eps: f64,
    /// Where a sound comes as a whole and three crops: by how much their fusion narrows the channels.
    pub fusion: Option<usize>,
    /// Width C of the shared space.
    pub embed: usize,
    /// Activation of the projection to it.
    pub proj_activation: Activation,
}

/// Epsilon of all other norms: PyTorch's default, which no checkpoint states.
const EPS: f64 = 1e-5;

/// Added to the scores of positions that are neighbours only because the picture was shifted.
const APART: f32 = -100.0;

impl HtsatConfig {
    /// Pieces of time that lie below each other.
    pub fn folds(&self) -> usize {
        self.side / self.bands
    }

    /// Most frames of a spectrogram.
    pub fn frames(&self) -> usize {
        self.side * self.folds()
    }

    /// Positions along an edge before a stage.
    pub fn grid(&self, stage: usize) -> usize {
        (self.side / self.patch[1]) >> stage
    }

    /// Width after the last stage.
    pub fn width(&self) -> usize {
        self.channels << (self.depths.len() - 1)
    }

    /// Crops of a sound, the whole among them.
    pub fn crops(&self) -> usize {
        if self.fusion.is_some() { 4 } else { 1 }
    }
}

/// What a windowed transformer hears in a spectrogram, laid out as a square.
#[derive(Module, Debug)]
pub struct Htsat {
    bands_norm: BatchNorm2d,
    stem: Conv2d,
    stem_norm: Option<LayerNorm>,
    fusion: Option<Fusion>,
    stages: Vec<Stage>,
    norm: LayerNorm,
    proj: Mlp,
    #[module(skip)]
    frames: [usize; 2],
}

sensorium_nn::pack!(Htsat: stem, stages, proj);

impl Htsat {
    /// Weights of `fan_in^-0.5`.
    pub fn init(config: &HtsatConfig, init: &mut Init) -> Self {
        let [kernel, stride] = config.patch;
        let c = config.channels;
        let padding = (kernel - stride) / 2;
        let conv = Conv2dConfig { c_in: 1, c_out: c, kernel, stride, padding, bias: true };
        let (e, embed) = (config.width(), config.embed);
        let std = [e, embed].map(|fan_in| (fan_in as f64).powf(-0.5));
        Self {
            bands_norm: BatchNorm2d::init(config.bands, 1.0, init),
            stem: Conv2d::init(conv, init),
            stem_norm: config.patch_norm.then(|| LayerNorm::init(c, EPS, init)),
            fusion: config.fusion.map(|narrow| Fusion::init(c, kernel, narrow, init)),
            stages: (0..config.depths.len()).map(|i| Stage::init(config, i, init)).collect(),
            norm: LayerNorm::init(e, EPS, init),
            proj: Mlp::init([e, embed, embed], config.proj_activation, std, init),
            frames: [config.frames(), config.folds()],
        }
    }

    /// Positions after so many stages, `[B, crops, F, bands] -> [B, N, c]`: after none, what the first one reads.
    pub fn hidden(&self, mel: Tensor<4>, stages: usize) -> Tensor<3> {
        let x = self.folded(mel); // [B, crops, s, s]
        let whole = self.stem.forward(x.clone().narrow(1, 0, 1)); // [B, c, h, w]
        let x = match &self.fusion {
            Some(fusion) => fusion.forward(whole, x.narrow(1, 1, 3)),
            None => whole,
        };
        let [b, c, h, w] = x.dims();
        let x = x.reshape([b, c, h * w]).swap_dims(1, 2);
        let x = match &self.stem_norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        self.stages.iter().take(stages).fold(x, |x, stage| stage.forward(x))
    }

    /// `[B, crops, F, bands] -> [B, C]`, not of unit length.
    pub fn embed(&self, mel: Tensor<4>) -> Tensor<2> {
        let Features(x) = self.encode(mel);
        let [b, _, e] = x.dims();
        self.proj.forward(x.mean_dim(1).reshape([b, e]))
    }

    /// Bands normed, time stretched to the longest there is, and its pieces put below each other.
    fn folded(&self, mel: Tensor<4>) -> Tensor<4> {
        let x = self.bands_norm.forward(mel.permute([0, 3, 2, 1])); // [B, bands, F, crops]
        let [b, bands, frames, crops] = x.dims();
        let [most, folds] = self.frames;
        let x = x.permute([2, 0, 3, 1]).reshape([frames, b * crops * bands]);
        let x = if frames < most { stretched(x, most) } else { x };
        let side = most / folds;
        let x = x.reshape([folds, side, b * crops, bands]).permute([2, 0, 3, 1]);
        x.reshape([b, crops, folds * bands, side])
    }
}

impl Encode for Htsat {
    type Input = Tensor<4>;

    /// Spectrograms of one length, with their crops: `[B, crops, F, bands] -> [B, N, E]`.
    fn encode(&self, mel: Tensor<4>) -> Features {
        Features(self.norm.forward(self.hidden(mel, usize::MAX)))
    }
}

/// Rows at `to` places, the first and the last of which stay: `[F, W] -> [to, W]`, by cubic convolution of four
/// rows each (Keys 1981, <https://doi.org/10.1109/TASSP.1981.1163711>).
fn stretched(x: Tensor<2>, to: usize) -> Tensor<2> {
    const A: f32 = -0.75;
    let last = x.dims()[0] - 1;
    let at = |i: usize| (i * last) as f64 / (to - 1) as f64;
    let weight = |away: f32| match away.abs() {
        d if d <= 1.0 => ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0,
        d => ((A * d - 5.0 * A) * d + 8.0 * A) * d - 4.0 * A,
    };
    let tap = |tap: usize| {
        let rows = (0..to).map(|i| (at(i) as usize + tap).saturating_sub(1).min(last) as i32);
        let weights = (0..to).map(|i| weight((at(i) - at(i).floor()) as f32 + 1.0 - tap as f32));
        let weights = TensorData::new(weights.collect::<Vec<f32>>(), [to, 1]);
        fused::embedding(x.clone(), rows.collect()) * Tensor::from_data(weights, &x.device())
    };
    (1..4).fold(tap(0), |sum, i| sum + tap(i))
}

/// Puts what crops of a sound show beside what the whole does.
#[derive(Module, Debug)]
struct Fusion {
    /// `[c, 1, patch, 3·patch]`, each of its places read once.
    crops: Param<Tensor<4>>,
    crops_bias: Param<Tensor<1>>,
    local: Narrow,
    global: Narrow,
    #[module(skip)]
    precision: Precision,
}

impl Fusion {
    fn init(c: usize, patch: usize, narrow: usize, init: &mut Init) -> Self {
        let std = (2.0 / (3 * patch * patch) as f64).sqrt();
        Self {
            crops: init.normal([c, 1, patch, 3 * patch], std),
            crops_bias: init.constant([c], 0.0),
            local: Narrow::init(c, narrow, init),
            global: Narrow::init(c, narrow, init),
            precision: init.precision(),
        }
    }

    /// Patches of the whole `[B, c, h, w]`, and crops `[B, 3, s, s]`, to `[B, c, h, w]`.
    fn forward(&self, whole: Tensor<4>, crops: Tensor<4>) -> Tensor<4> {
        let crops = self.side_by_side(crops, whole.dims()[3]);
        let both = whole.clone() + crops.clone();
        let mean = both.clone().mean_dim(2).mean_dim(3);
        let share = fused::sigmoid(self.local.forward(both) + self.global.forward(mean));
        (whole * share.clone() + crops * (-share + 1.0)) * 2.0
    }

    /// Patches of the crops, three times as wide as those of the whole, behind each other, and zeros to its
    /// width: `[B, 3, s, s] -> [B, c, h, width]`.
    fn side_by_side(&self, crops: Tensor<4>, width: usize) -> Tensor<4> {
        let [b, n, side, _] = crops.dims();
        let [c, _, high, wide] = self.crops.dims();
        let (rows, columns) = (side / high, side / wide);
        let x = crops.narrow(3, 0, columns * wide);
        let x: Tensor<6> = x.reshape([b * n, rows, high, columns, wide, 1]);
        let x = x.permute([0, 1, 3, 2, 4, 5]).reshape([b * n, rows * columns, high * wide]);
        let weight = self.crops.val().reshape([c, high * wide]);
        let x = fused::linear(self.precision, x, weight, Some(self.crops_bias.val()));
        let x: Tensor<5> = x.reshape([b, n, rows, columns, c]);
        let x = x.permute([0, 4, 2, 1, 3]).reshape([b, c, rows, n * columns]);
        let rest = Tensor::zeros([b, c, rows, width - n * columns], &x.device());
        Tensor::cat(vec![x, rest], 3)
    }
}

/// Fewer channels, and as many as before, each normed.
#[derive(Module, Debug)]
struct Narrow {
    conv1: Conv2d,
    norm1: BatchNorm2d,
    conv2: Conv2d,
    norm2: BatchNorm2d,
}

impl Narrow {
    fn init(c: usize, narrow: usize, init: &mut Init) -> Self {
        let inner = c / narrow;
        let conv = |c_in, c_out, init: &mut Init| {
            let (kernel, stride, padding) = (1, 1, 0);
            Conv2d::init(Conv2dConfig { c_in, c_out, kernel, stride, padding, bias: true }, init)
        };
        Self {
            conv1: conv(c, inner, init),
            norm1: BatchNorm2d::init(inner, 1.0, init),
            conv2: conv(inner, c, init),
            norm2: BatchNorm2d::init(c, 1.0, init),
        }
    }

    /// `[B, c, h, w] -> [B, c, h, w]`
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = Activation::Relu.forward(self.norm1.forward(self.conv1.forward(x)));
        self.norm2.forward(self.conv2.forward(x))
    }
}

/// Blocks, and what makes one position of four.
#[derive(Module, Debug)]
struct Stage {
    blocks: Vec<WindowBlock>,
    merge_norm: Option<LayerNorm>,
    merge: Option<Linear>,
    #[module(skip)]
    grid: usize,
}

sensorium_nn::pack!(Stage: blocks, merge);

impl Stage {
    fn init(config: &HtsatConfig, i: usize, init: &mut Init) -> Self {
        let (c, grid) = (config.channels << i, config.grid(i));
        let merges = i + 1 < config.depths.len();
        let block = |j: usize, init: &mut Init| {
            // A window as large as the picture has nowhere to go.
            let shifts = j % 2 == 1 && grid > config.window;
            let shift = if shifts { config.window / 2 } else { 0 };
            WindowBlock::init(config, c, config.n_heads[i], shift, init)
        };
        Self {
            blocks: (0..config.depths[i]).map(|j| block(j, init)).collect(),
            merge_norm: merges.then(|| LayerNorm::init(4 * c, EPS, init)),
            merge: merges
                .then(|| Linear::init(4 * c, 2 * c, false, (4.0 * c as f64).powf(-0.5), init)),
            grid,
        }
    }

    /// `[B, N, c] -> [B, N / 4, 2c]`; after the last, as it is.
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x, self.grid));
        let (Some(norm), Some(merge)) = (&self.merge_norm, &self.merge) else { return x };
        let ([b, _, c], half) = (x.dims(), self.grid / 2);
        let x: Tensor<6> = x.reshape([b, half, 2, half, 2, c]);
        // Down each column first.
        let x = x.permute([0, 1, 3, 4, 2, 5]).reshape([b, half * half, 4 * c]);
        merge.forward(norm.forward(x))
    }
}

/// Attention of the positions of a window to each other, and an MLP.
#[derive(Module, Debug)]
struct WindowBlock {
    norm1: LayerNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    /// A summand of the scores for each way from one position to another, `[(2m - 1)², H]`.
    relative: Param<Tensor<2>>,
    norm2: LayerNorm,
    mlp: Mlp,
    #[module(skip)]
    window: usize,
    #[module(skip)]
    shift: usize,
}

sensorium_nn::pack!(WindowBlock: q, k, v, o, mlp);

impl WindowBlock {
    fn init(config: &HtsatConfig, c: usize, heads: usize, shift: usize, init: &mut Init) -> Self {
        let std = (c as f64).powf(-0.5);
        let inner = (config.mlp_ratio * c as f64) as usize;
        let ways = (2 * config.window - 1).pow(2);
        let part = |init: &mut Init| Linear::init(c, c, config.qkv_bias, std, init);
        Self {
            norm1: LayerNorm::init(c, config.eps, init),
            q: part(init),
            k: part(init),
            v: part(init),
            o: Linear::init(c, c, true, std, init),
            relative: init.normal([ways, heads], 0.02),
            norm2: LayerNorm::init(c, config.eps, init),
            mlp: Mlp::init([c, inner, c], config.activation, [std; 2], init),
            window: config.window,
            shift,
        }
    }

    /// `[B, N, c] -> [B, N, c]`, of a square of positions.
    fn forward(&self, x: Tensor<3>, grid: usize) -> Tensor<3> {
        let ([b, n, c], m, shift) = (x.dims(), self.window, self.shift);
        let y = self.norm1.forward(x.clone()).reshape([b, grid, grid, c]);
        let windows = cut(rolled(y, shift), m); // [B·W, m², c]
        let read = self.attention(windows, b, grid);
        let read = rolled(joined(read, [b, grid], m), (grid - shift) % grid);
        let x = self.o.add_to(x, read.reshape([b, n, c]));
        self.mlp.add_to(x.clone(), self.norm2.forward(x))
    }

    /// What heads read, `[B·W, m², c] -> [B·W, m², c]`.
    fn attention(&self, x: Tensor<3>, b: usize, grid: usize) -> Tensor<3> {
        let ([w, n, c], heads) = (x.dims(), self.relative.dims()[1]);
        let split = |y: Tensor<3>| y.reshape([w, n, heads, c / heads]);
        let [q, k, v] = Linear::together([&self.q, &self.k, &self.v], x).map(split);
        let bias = self.bias(n);
        let bias = match self.shift {
            0 => bias,
            shift => {
                let apart = apart(grid, self.window, shift);
                let apart = TensorData::new(apart, [w / b, 1, n, n]);
                (bias + Tensor::from_data(apart, &q.device())).repeat_dim(0, b)
            }
        };
        weighted(attention_weights(q, k, bias), v).reshape([w, n, c])
    }

    /// Summands for the positions of a window, `[1, H, m², m²]`.
    fn bias(&self, n: usize) -> Tensor<4> {
        let (m, heads) = (self.window, self.relative.dims()[1]);
        let way = |from: usize, to: usize| from + m - 1 - to;
        let row = |i: usize, j: usize| way(i / m, j / m) * (2 * m - 1) + way(i % m, j % m);
        let rows = (0..n).flat_map(|i| (0..n).map(move |j| row(i, j) as i32)).collect();
        fused::embedding(self.relative.val(), rows).reshape([1, n, n, heads]).permute([0, 3, 1, 2])
    }
}

/// The picture moved up and left by `by`, what falls off coming back on the other side.
fn rolled(x: Tensor<4>, by: usize) -> Tensor<4> {
    if by == 0 {
        return x;
    }
    [1, 2].into_iter().fold(x, |x, axis| {
        let n = x.dims()[axis];
        let ahead = x.clone().narrow(axis, by, n - by);
        Tensor::cat(vec![ahead, x.narrow(axis, 0, by)], axis)
    })
}

/// `[B, h, h, c] -> [B·W, m², c]`
fn cut(x: Tensor<4>, m: usize) -> Tensor<3> {
    let [b, h, _, c] = x.dims();
    let n = h / m;
    let x: Tensor<6> = x.reshape([b, n, m, n, m, c]);
    x.permute([0, 1, 3, 2, 4, 5]).reshape([b * n * n, m * m, c])
}

/// `[B·W, m², c] -> [B, h, h, c]`
fn joined(x: Tensor<3>, [b, h]: [usize; 2], m: usize) -> Tensor<4> {
    let (c, n) = (x.dims()[2], h / m);
    let x: Tensor<6> = x.reshape([b, n, n, m, m, c]);
    x.permute([0, 1, 3, 2, 4, 5]).reshape([b, h, h, c])
}

/// For each window of a picture that was shifted, which of its positions were no neighbours before: `[W, m², m²]`.
fn apart(grid: usize, m: usize, shift: usize) -> Vec<f32> {
    let region = |at: usize| usize::from(at >= grid - m) + usize::from(at >= grid - shift);
    let windows = grid / m;
    let mut all = Vec::with_capacity(windows * windows * m.pow(4));
    for (top, left) in (0..windows).flat_map(|y| (0..windows).map(move |x| (y * m, x * m))) {
        let part = |i: usize| (region(top + i / m), region(left + i % m));
        for i in 0..m * m {
            all.extend((0..m * m).map(|j| if part(i) == part(j) { 0.0 } else { APART }));
        }
    }
    all
}
