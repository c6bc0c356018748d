//! Vision Transformer: an image as a sentence of patches.
//!
//! Dosovitskiy et al. 2020, <https://arxiv.org/abs/2010.11929>; the convolutional stem is that of
//! Xiao et al. 2021, <https://arxiv.org/abs/2106.14881>, which makes short trainings possible.
//!
//! ```text
//! image [B, c, h, w] ──stem──▶ [B, N, E] ──blocks──▶ [B, N, E] ──pool, proj──▶ [B, C]
//! ```

use std::f32::consts::TAU;

use sensorium_flow::{Encode, Features};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use super::AttentionPool;

/// One convolution of the stem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv {
    /// Channels out.
    pub channels: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Step.
    pub stride: usize,
    /// Zeros on each side.
    pub padding: usize,
}

impl Conv {
    /// Places along a side of so many.
    fn out(&self, side: usize) -> usize {
        (side + 2 * self.padding).saturating_sub(self.kernel) / self.stride + 1
    }
}

/// How the positions become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// A class token in front of the patches, read after the last norm (CLIP).
    Class,
    /// A learned query attends to all patches (SigLIP), and beside it a matrix reads the whole grid.
    Attention,
    /// A learned query attends to all patches, then an MLP beside what it found (SigLIP).
    AttentionMlp,
    /// The mean of all patches: without weights of its own, as where only positions are read
    /// (Idefics3).
    Mean,
}

/// Shape of a [`Vit`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VitConfig {
    /// Side of the input picture in pixels; bands of a spectrogram.
    pub image: usize,
    /// Frames of a spectrogram, which is read as a picture of one channel that is so wide
    /// (Gong et al. 2021, <https://arxiv.org/abs/2104.01778>); nothing for pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<usize>,
    /// The stem, GELU between its convolutions; one entry is CLIP's patch embedding.
    pub stem: Vec<Conv>,
    /// Whether the stem's convolutions have biases.
    pub stem_bias: bool,
    /// Learned tokens without a place that the patches may write to, and nobody reads (Darcet et al.
    /// 2023, <https://arxiv.org/abs/2309.16588>).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub registers: usize,
    /// Base of the angles by which a patch's row and column turn queries and keys, in place of a table of
    /// positions (Siméoni et al. 2025, <https://arxiv.org/abs/2508.10104>, section 3.2); of published models
    /// alone, whose heads and patches have been found to fit.
    #[serde(skip)]
    pub rope_theta: Option<f32>,
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
    /// LayerNorm after the stem, before the positions are added, which then start as sines and
    /// cosines of the same size. A deep stem's output grows in training until nothing in it tells
    /// where a patch is; this keeps the place as loud as what is there.
    pub stem_norm: bool,
    /// LayerNorm before the first block (CLIP).
    pub pre_norm: bool,
    /// How the positions become one vector.
    pub pooling: Pooling,
    /// Whether a matrix takes the vector to the shared space (CLIP); without one, it is that space.
    pub proj: bool,
    /// Width C of the shared space; without `proj`, E.
    pub embed: usize,
    /// Epsilon of every norm.
    pub eps: f64,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// Which of a [`Vit`]'s positions are its features, and after which blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeatureSelect {
    /// How many blocks before the end it is read, its last norm left out, once for each number and
    /// side by side; none reads it after the last norm. LLaVA 1.5 reads CLIP at 1 (transformers'
    /// `vision_feature_layer` of -2); several are a Dense Connector (Yao et al. 2024,
    /// <https://arxiv.org/abs/2405.13800>, section 3.2).
    pub layers: Vec<usize>,
    /// Whether the class token, where there is one, stands in front of the patches.
    pub class: bool,
}

impl VitConfig {
    /// The embedded model's encoder: 96 px, conv stem, 8x8 positions, 2.8 M parameters.
    pub fn small() -> Self {
        let conv = |channels, kernel, stride, padding| Conv { channels, kernel, stride, padding };
        Self {
            image: 96,
            frames: None,
            stem: vec![conv(32, 3, 2, 1), conv(64, 3, 2, 1), conv(64, 3, 1, 1), conv(192, 3, 3, 0)],
            stem_bias: true,
            registers: 0,
            rope_theta: None,
            hidden_size: 192,
            n_layers: 5,
            n_heads: 6,
            intermediate_size: 768,
            activation: Activation::Gelu,
            stem_norm: true,
            pre_norm: false,
            pooling: Pooling::Attention,
            proj: true,
            embed: 128,
            eps: 1e-6,
        }
    }

    /// CLIP ViT-B/32 (Radford et al. 2021): 87,849,216 parameters.
    pub fn clip_base_patch32() -> Self {
        Self::clip(224, 32, 768, 12, 512)
    }

    /// CLIP ViT-B/16: 86,192,640 parameters.
    pub fn clip_base_patch16() -> Self {
        Self::clip(224, 16, 768, 12, 512)
    }

    /// CLIP ViT-L/14: 303,966,208 parameters.
    pub fn clip_large_patch14() -> Self {
        Self::clip(224, 14, 1024, 24, 768)
    }

    /// A CLIP tower: heads of 64, QuickGELU.
    pub fn clip(image: usize, patch: usize, width: usize, n_layers: usize, embed: usize) -> Self {
        Self {
            image,
            frames: None,
            stem: vec![Conv { channels: width, kernel: patch, stride: patch, padding: 0 }],
            stem_bias: false,
            registers: 0,
            rope_theta: None,
            hidden_size: width,
            n_layers,
            n_heads: width / 64,
            intermediate_size: 4 * width,
            activation: Activation::QuickGelu,
            stem_norm: false,
            pre_norm: true,
            pooling: Pooling::Class,
            proj: true,
            embed,
            eps: 1e-5,
        }
    }

    /// Side of the grid of a picture's positions: `image` through the strides of the stem.
    pub fn grid(&self) -> usize {
        self.grids()[0]
    }

    /// Rows and columns of the grid of positions.
    pub fn grids(&self) -> [usize; 2] {
        self.size().map(|side| self.stem.iter().fold(side, |side, conv| conv.out(side)))
    }

    /// Height and width of what is read.
    pub fn size(&self) -> [usize; 2] {
        [self.image, self.frames.unwrap_or(self.image)]
    }

    /// Channels of what is read.
    pub fn channels(&self) -> usize {
        if self.frames.is_some() { 1 } else { 3 }
    }

    /// Floating-point operations of one picture's forward pass, two for each multiply-add.
    pub fn flops(&self) -> f64 {
        let (mut c_in, mut size, mut stem) = (self.channels(), self.size(), 0);
        for conv in &self.stem {
            size = size.map(|side| conv.out(side));
            stem += size[0] * size[1] * conv.channels * c_in * conv.kernel * conv.kernel;
            c_in = conv.channels;
        }
        let (n, e) = (self.patches(), self.hidden_size);
        let maps = 1 + self.activation.reads();
        let block = n * (4 * e * e + maps * e * self.intermediate_size) + 2 * n * n * e;
        2.0 * (stem + self.n_layers * block) as f64
    }

    /// Patches, without a class token.
    pub fn patches(&self) -> usize {
        self.grids().iter().product()
    }

    /// The shape of its blocks.
    pub(super) fn block(&self) -> BlockConfig {
        BlockConfig {
            d: self.hidden_size,
            heads: self.n_heads,
            hidden: self.intermediate_size,
            activation: self.activation,
            eps: self.eps,
            n_layers: self.n_layers,
        }
    }

    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Vit::init(self, init))
    }
}

/// An image encoder: stem, blocks, norm, pooling, projection.
#[derive(Module, Debug)]
pub struct Vit {
    pub(super) stem: Stem,
    stem_norm: Option<LayerNorm>,
    pub(super) class: Option<Param<Tensor<1>>>,
    pub(super) position: Option<Param<Tensor<2>>>,
    registers: Option<Param<Tensor<2>>>,
    pre_norm: Option<LayerNorm>,
    pub(super) blocks: Vec<Block>,
    pub(super) norm: LayerNorm,
    pool: Option<AttentionPool>,
    proj: Option<Linear>,
    #[module(skip)]
    select: FeatureSelect,
    #[module(skip)]
    turn: Option<PatchTurn>,
}

impl Vit {
    /// Weights by CLIP's scheme.
    pub fn init(config: &VitConfig, init: &mut Init) -> Self {
        let e = config.hidden_size;
        let std = (e as f64).powf(-0.5);
        let block = config.block();
        let classes = usize::from(config.pooling == Pooling::Class);
        let grid = (config.pooling == Pooling::Attention).then_some(config.patches());
        let mlp = (config.pooling == Pooling::AttentionMlp).then_some(&block);
        Self {
            stem: Stem::init(config, init),
            stem_norm: config.stem_norm.then(|| LayerNorm::init(e, config.eps, init)),
            class: (classes == 1).then(|| init.normal([e], std)),
            position: match (config.rope_theta, config.stem_norm) {
                (Some(_), _) => None,
                (None, true) => {
                    let places = || places(config.grids(), classes, e);
                    Some(init.values(places, [config.patches() + classes, e]))
                }
                (None, false) => Some(init.normal([config.patches() + classes, e], std)),
            },
            registers: (config.registers > 0).then(|| init.normal([config.registers, e], std)),
            pre_norm: config.pre_norm.then(|| LayerNorm::init(e, config.eps, init)),
            blocks: (0..config.n_layers).map(|_| Block::init(&block, init)).collect(),
            norm: LayerNorm::init(e, config.eps, init),
            pool: (grid.is_some() || mlp.is_some())
                .then(|| AttentionPool::init(e, config.n_heads, grid, mlp, init)),
            proj: config.proj.then(|| Linear::init(e, config.embed, false, std, init)),
            select: FeatureSelect::default(),
            turn: config.rope_theta.map(|theta| PatchTurn::new(theta, config)),
        }
    }

    /// The same encoder with other features.
    pub fn with_features(self, select: FeatureSelect) -> Self {
        Self { select, ..self }
    }

    /// Which positions are its features, and after which blocks.
    pub fn features(&self) -> &FeatureSelect {
        &self.select
    }

    /// The patches' features so many blocks before the end, before the last norm, one beside the
    /// other: `[B, c, h, w] -> [B, N, len(skips)·E]`. LLaVA reads CLIP at 1 (its
    /// `hidden_states[-2]`); all blocks skipped is what the first one reads.
    pub fn encode_before(&self, image: Tensor<4>, skips: &[usize]) -> Features {
        Features(self.patches(self.levels(image, skips)))
    }

    /// As [`encode_before`](Self::encode_before), with the class token in front, where there is one:
    /// `[B, c, h, w] -> [B, N (+1), len(skips)·E]`.
    pub fn levels(&self, image: Tensor<4>, skips: &[usize]) -> Tensor<3> {
        let depth = |skip: usize| self.blocks.len().saturating_sub(skip);
        let deepest = skips.iter().map(|&skip| depth(skip)).max().unwrap_or_default();
        let table = self.table(&image);
        let mut levels = vec![self.tokens(image)];
        for (i, block) in self.blocks[..deepest].iter().enumerate() {
            levels.push(through(std::slice::from_ref(block), levels[i].clone(), table.as_ref()));
        }
        let level = |&skip: &usize| levels[depth(skip)].clone();
        Tensor::cat(skips.iter().map(level).collect(), 2)
    }

    /// All positions after the last norm, a class token first: `[B, c, h, w] -> [B, N (+1), E]`.
    pub fn positions(&self, image: Tensor<4>) -> Tensor<3> {
        self.normed(self.without_registers(self.positions_before(image, 0)))
    }

    /// All of [`encode`](Encode::encode) before the last norm, a class token first, to be done once for a
    /// picture where no more than that norm learns: `[B, c, h, w] -> [B, N (+1), E]`.
    pub fn before_norm(&self, image: Tensor<4>) -> Tensor<3> {
        self.without_registers(match self.select.layers.is_empty() {
            true => self.positions_before(image, 0),
            false => self.levels(image, &self.select.layers),
        })
    }

    /// The rest of it.
    pub fn after_norm(&self, x: Tensor<3>) -> Features {
        let x = if self.select.layers.is_empty() { self.normed(x) } else { x };
        Features(if self.select.class { x } else { self.without_class(x) })
    }

    /// The last norm: `[B, N (+1), E] -> [B, N (+1), E]`.
    pub fn normed(&self, x: Tensor<3>) -> Tensor<3> {
        self.norm.forward(x)
    }

    /// Pictures to the shared space, not yet of unit length: `[B, c, h, w] -> [B, C]`.
    pub fn embed(&self, image: Tensor<4>) -> Tensor<2> {
        self.pooled(self.norm.forward(self.positions_before(image, 0)))
    }

    /// The table of positions, `[N (+1), E]`, where there is one.
    pub(super) fn position(&self) -> Option<Tensor<2>> {
        self.position.as_ref().map(Param::val)
    }

    /// The same encoder with another table of positions.
    pub(super) fn placed(&self, position: Tensor<2>) -> Self {
        Self { position: Some(Param::from_tensor(position)), ..self.clone() }
    }

    /// What [`encode_before`](Self::encode_before) and [`embed`](Self::embed) give, in one pass.
    pub fn encode_and_embed(&self, image: Tensor<4>, skip: usize) -> (Features, Tensor<2>) {
        let table = self.table(&image);
        let (first, last) = self.split(skip);
        let before = through(first, self.tokens(image), table.as_ref());
        let after = through(last, before.clone(), table.as_ref());
        (Features(self.patches(before)), self.pooled(self.norm.forward(after)))
    }

    /// Positions after the last norm to the shared space: `[B, N (+1), E] -> [B, C]`.
    fn pooled(&self, x: Tensor<3>) -> Tensor<2> {
        let [b, _, e] = x.dims();
        let pooled = match (&self.pool, &self.class) {
            (Some(pool), _) => pool.forward(x),
            (None, Some(_)) => x.narrow(1, 0, 1).reshape([b, e]),
            (None, None) => x.mean_dim(1).reshape([b, e]),
        };
        match &self.proj {
            Some(proj) => proj.forward(pooled),
            None => pooled,
        }
    }

    /// All positions so many blocks before the end, before the last norm, a class token first,
    /// registers last: `[B, c, h, w] -> [B, N (+1) (+R), E]`. Idefics reads its encoder at 0.
    pub fn positions_before(&self, image: Tensor<4>, skip: usize) -> Tensor<3> {
        let table = self.table(&image);
        through(self.split(skip).0, self.tokens(image), table.as_ref())
    }

    /// What the first block reads: `[B, c, h, w] -> [B, N (+1) (+R), E]`.
    fn tokens(&self, image: Tensor<4>) -> Tensor<3> {
        let patches = self.stem.forward(image); // [B, N, E]
        let patches = self.stem_norm.iter().fold(patches, |x, norm| norm.forward(x));
        let [b, _, e] = patches.dims();
        let x = match &self.class {
            Some(class) => {
                let class = class.val().reshape([1, 1, e]).repeat_dim(0, b);
                Tensor::cat(vec![class, patches], 1)
            }
            None => patches,
        };
        let x = self.position.iter().fold(x, |x, position| x + position.val().unsqueeze());
        // Behind the others: attention does not ask where a token stands.
        let x = match &self.registers {
            Some(registers) => {
                let registers = registers.val().unsqueeze::<3>().repeat_dim(0, b);
                Tensor::cat(vec![x, registers], 1)
            }
            None => x,
        };
        self.pre_norm.iter().fold(x, |x, norm| norm.forward(x))
    }

    /// The blocks before the last `skip`, and these.
    fn split(&self, skip: usize) -> (&[Block], &[Block]) {
        self.blocks.split_at(self.blocks.len().saturating_sub(skip))
    }

    /// The angles of the tokens of pictures of this size, where their places turn them.
    fn table(&self, image: &Tensor<4>) -> Option<RotaryTable> {
        let [_, _, height, width] = image.dims();
        let registers = self.registers.as_ref().map_or(0, |registers| registers.dims()[0]);
        let others = [usize::from(self.class.is_some()), registers];
        self.turn.as_ref().map(|turn| turn.table([height, width], others))
    }

    fn without_registers(&self, x: Tensor<3>) -> Tensor<3> {
        match &self.registers {
            Some(registers) => {
                let n = x.dims()[1] - registers.dims()[0];
                x.narrow(1, 0, n)
            }
            None => x,
        }
    }

    fn patches(&self, x: Tensor<3>) -> Tensor<3> {
        self.without_class(self.without_registers(x))
    }

    fn without_class(&self, x: Tensor<3>) -> Tensor<3> {
        match self.class {
            Some(_) => {
                let n = x.dims()[1] - 1;
                x.narrow(1, 1, n)
            }
            None => x,
        }
    }
}

impl Encode for Vit {
    type Input = Tensor<4>;

    /// `[B, c, h, w] -> [B, N (+1), E]`, or of as many E side by side as there are layers: see
    /// [`FeatureSelect`].
    fn encode(&self, image: Tensor<4>) -> Features {
        self.after_norm(self.before_norm(image))
    }
}

sensorium_nn::pack!(Vit: stem, blocks, pool, proj);

/// Tokens after some blocks, `[B, N (+1) (+R), E] -> [B, N (+1) (+R), E]`.
fn through(blocks: &[Block], x: Tensor<3>, table: Option<&RotaryTable>) -> Tensor<3> {
    blocks.iter().fold(x, |x, block| match table {
        Some(table) => block.forward_rotary(x, table),
        None => block.forward(x, &Mask::Full, None),
    })
}

/// How patches turn queries and keys: half of a head by the row, half by the column, each as the middle of
/// the patch lies between -1 and 1.
#[derive(Clone, Debug)]
struct PatchTurn {
    /// Edge of a patch in pixels.
    patch: usize,
    /// Angles per unit of place, of a quarter of a head's channels.
    rates: Vec<f32>,
}

impl PatchTurn {
    fn new(theta: f32, config: &VitConfig) -> Self {
        let quarter = config.hidden_size / config.n_heads / 4;
        let rate = |i| TAU / theta.powf(i as f32 / quarter as f32);
        let patch = config.stem.iter().map(|conv| conv.stride).product();
        Self { patch, rates: (0..quarter).map(rate).collect() }
    }

    /// Angles of a picture's patches, row by row, between those of so many tokens before and behind them,
    /// which do not turn.
    fn table(&self, size: [usize; 2], [before, behind]: [usize; 2]) -> RotaryTable {
        let [rows, columns] = size.map(|edge| edge / self.patch);
        let at = |i: usize, n: usize| 2.0 * ((i as f32 + 0.5) / n as f32) - 1.0;
        let still = |tokens: usize| std::iter::repeat_n(0.0, tokens * 2 * self.rates.len());
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let turned = places.flat_map(|(row, column)| {
            let place = [at(row, rows), at(column, columns)];
            place.into_iter().flat_map(|at| self.rates.iter().map(move |rate| at * rate))
        });
        let angles: Vec<f32> = still(before).chain(turned).chain(still(behind)).collect();
        RotaryTable::of_angles(&angles)
    }
}

/// Convolutions from pixels to positions.
#[derive(Module, Debug)]
pub(super) struct Stem {
    pub(super) convs: Vec<Conv2d>,
}

impl Stem {
    pub(super) fn init(config: &VitConfig, init: &mut Init) -> Self {
        let mut c_in = config.channels();
        let mut convs = Vec::new();
        for conv in &config.stem {
            let Conv { channels: c_out, kernel, stride, padding } = *conv;
            let bias = config.stem_bias;
            convs.push(Conv2d::init(
                Conv2dConfig { c_in, c_out, kernel, stride, padding, bias },
                init,
            ));
            c_in = c_out;
        }
        Self { convs }
    }

    /// `[B, c, h, w] -> [B, N, E]`, row by row
    fn forward(&self, image: Tensor<4>) -> Tensor<3> {
        let Some((last, before)) = self.convs.split_last() else {
            // Without convolutions every pixel is a position.
            return image.flatten::<3>(2, 3).swap_dims(1, 2);
        };
        let x = before.iter().fold(image, |x, conv| Activation::Gelu.forward(conv.forward(x)));
        last.positions(x)
    }
}

sensorium_nn::pack!(Stem: convs);

/// Zeros for the class token, then each place of a grid, row by row, as waves along its height and
/// its width: `[classes + rows·columns, E]` (Beyer et al. 2022, <https://arxiv.org/abs/2205.01580>).
pub(super) fn places([rows, columns]: [usize; 2], classes: usize, e: usize) -> Vec<f32> {
    let place = |i: usize| [waves(i / columns, e / 2), waves(i % columns, e - e / 2)].concat();
    let grid = (0..rows * columns).flat_map(place);
    std::iter::repeat_n(0.0, classes * e).chain(grid).collect()
}
