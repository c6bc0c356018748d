//! Qwen2-VL's Vision Transformer: pictures of any shape, and videos a few frames at a time.
//!
//! Wang et al. 2024, <https://arxiv.org/abs/2409.12191>, section 2.1; with windows, Bai et al. 2025,
//! <https://arxiv.org/abs/2502.13923>, section 2.1.1; with a table of positions and levels, Bai et al. 2025,
//! <https://arxiv.org/abs/2511.21631>
//!
//! ```text
//! patches [B, N, 3·frames·p²] ──linear──▶ [B, N, E] ──blocks──▶ [B, N, E]     B steps in time of one medium
//! ```
//! Patches stand square by square, each square being what becomes one token of the language model. Those of one
//! step see each other, whose places turn queries and keys: half of a head by the row, half by the column.

use std::sync::Arc;

use sensorium_flow::{Encode, Features, Grid};
use sensorium_nn::fused::rotary_rates;
use sensorium_nn::prelude::*;

/// Shape of a [`QwenVit`].
#[derive(Clone, Debug, PartialEq)]
pub struct QwenVitConfig {
    /// Numbers of a patch: its channels, frames and pixels.
    pub patch: usize,
    /// Whether the first map has a bias.
    pub patch_bias: bool,
    /// Patches along the edge of a square that becomes one token.
    pub merge: usize,
    /// Width E.
    pub hidden_size: usize,
    /// Blocks.
    pub n_layers: usize,
    /// Heads.
    pub n_heads: usize,
    /// Width inside the MLPs.
    pub intermediate_size: usize,
    /// What a block is made of.
    pub block: QwenBlockKind,
    /// Base of the rotary angles.
    pub theta: f32,
    /// Places along an edge of the table of positions, if there is one.
    pub positions: Option<usize>,
    /// Which blocks see only windows, if any do.
    pub window: Option<QwenWindow>,
    /// Blocks after which the stream is read too, beside the last.
    pub levels: Vec<usize>,
}

/// What a block of a [`QwenVit`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QwenBlockKind {
    /// LayerNorm, and two maps with an activation between them.
    Plain(Activation),
    /// RMSNorm and SwiGLU.
    Gated,
}

/// Windows that patches see each other in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QwenWindow {
    /// Squares along its edge.
    pub squares: usize,
    /// Blocks that see the whole step all the same.
    pub full: Vec<usize>,
}

/// Epsilon of every norm.
const EPS: f64 = 1e-6;

impl QwenVitConfig {
    fn norm(&self) -> NormKind {
        match self.block {
            QwenBlockKind::Plain(_) => NormKind::Layer,
            QwenBlockKind::Gated => NormKind::Rms,
        }
    }

    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| QwenVit::init(self, init))
    }
}

/// Patches of one medium.
#[derive(Clone, Debug)]
pub struct Patches {
    /// `[B, N, 3·frames·p²]`: of each step in time, square by square.
    pub pixels: Tensor<3>,
    /// How they lie.
    pub grid: Grid,
}

/// A Vision Transformer of patches of pictures and videos of any size.
#[derive(Module, Debug)]
pub struct QwenVit {
    stem: Linear,
    position: Option<Param<Tensor<2>>>,
    blocks: Vec<QwenBlock>,
    #[module(skip)]
    config: Shape,
}

/// What the places of patches follow from.
#[derive(Clone, Debug)]
struct Shape {
    merge: usize,
    rates: Vec<f32>,
    window: Option<QwenWindow>,
    levels: Vec<usize>,
}

sensorium_nn::pack!(QwenVit: stem, blocks);

impl QwenVit {
    /// Weights of `fan_in^-0.5`, a table of 0.02.
    pub fn init(config: &QwenVitConfig, init: &mut Init) -> Self {
        let e = config.hidden_size;
        let std = (config.patch as f64).powf(-0.5);
        // A quarter of a head's channels turns by each axis, with a quarter beside it.
        let rates = rotary_rates(config.theta, e / config.n_heads / 2);
        Self {
            stem: Linear::init(config.patch, e, config.patch_bias, std, init),
            position: config.positions.map(|side| init.normal([side * side, e], 0.02)),
            blocks: (0..config.n_layers).map(|_| QwenBlock::init(config, init)).collect(),
            config: Shape {
                merge: config.merge,
                rates,
                window: config.window.clone(),
                levels: config.levels.clone(),
            },
        }
    }

    /// Patches after so many blocks, `[B, N, E]`: after none, what the first one reads.
    pub fn hidden(&self, patches: &Patches, blocks: usize) -> Tensor<3> {
        self.run(patches, blocks, |_, _| ())
    }

    /// As [`hidden`](Self::hidden); `after` is shown the stream behind each block.
    fn run(
        &self,
        patches: &Patches,
        blocks: usize,
        mut after: impl FnMut(usize, &Tensor<3>),
    ) -> Tensor<3> {
        let Patches { pixels, grid } = patches;
        let places: Vec<[usize; 2]> = grid.places(self.config.merge).collect();
        let table = self.turns(&places);
        let windows = self.config.window.as_ref().map(|window| self.windows(window, *grid));
        let x = self.placed(self.stem.forward(pixels.clone()), &places, *grid);
        self.blocks.iter().take(blocks).enumerate().fold(x, |x, (i, block)| {
            let full = self.config.window.as_ref().is_none_or(|window| window.full.contains(&i));
            let x = block.forward(x, &table, windows.as_ref().filter(|_| !full));
            after(i, &x);
            x
        })
    }

    /// The angles of patches at these rows and columns.
    fn turns(&self, places: &[[usize; 2]]) -> RotaryTable {
        let n = self.config.rates.len();
        let axes: Vec<usize> = (0..2 * n).map(|i| i / n).collect();
        RotaryTable::on(&self.config.rates.repeat(2), &axes, places.iter().copied())
    }

    /// `x [B, N, E]` with what the table of positions has for these places: between four of its own, the
    /// corners of both being the same.
    fn placed(&self, x: Tensor<3>, places: &[[usize; 2]], grid: Grid) -> Tensor<3> {
        let Some(position) = &self.position else { return x };
        let table = position.val();
        let ([n, e], device) = (table.dims(), table.device());
        let side = n.isqrt();
        let matrix = |to: usize| {
            Tensor::<2>::from_data(TensorData::new(between(side, to), [to, side]), &device)
        };
        let (rows, columns) = (grid.rows, grid.columns);
        let down = matrix(rows).matmul(table.reshape([side, side * e])); // [rows, side · E]
        let across = matrix(columns).unsqueeze::<3>().repeat_dim(0, rows); // [rows, columns, side]
        let all = across.matmul(down.reshape([rows, side, e])); // [rows, columns, E]
        let order = places.iter().map(|[row, column]| (row * columns + column) as i32).collect();
        let own = fused::embedding(all.reshape([rows * columns, e]), order); // [N, E]
        x + own.unsqueeze()
    }

    fn windows(&self, window: &QwenWindow, grid: Grid) -> Windows {
        let merge = self.config.merge;
        let (rows, columns) = (grid.rows / merge, grid.columns / merge);
        let starts = |edge: usize| (0..edge).step_by(window.squares);
        let end = |start: usize, edge: usize| (start + window.squares).min(edge);
        let of = |top: usize, left: usize| -> Vec<usize> {
            let squares = (top..end(top, rows)).flat_map(|row| {
                (left..end(left, columns)).map(move |column| row * columns + column)
            });
            squares
                .flat_map(|square| square * merge * merge..(square + 1) * merge * merge)
                .collect()
        };
        let corners = starts(rows).flat_map(|top| starts(columns).map(move |left| (top, left)));
        Windows::of(corners.map(|(top, left)| of(top, left)).collect(), grid.rows * grid.columns)
    }
}

impl Encode for QwenVit {
    type Input = Patches;

    /// `[B, N, E · (1 + levels)]`: the last block's, and beside it what was read before.
    fn encode(&self, patches: Patches) -> Features {
        let mut levels: Vec<Option<Tensor<3>>> = vec![None; self.config.levels.len()];
        let last = self.run(&patches, self.blocks.len(), |block, x| {
            for (level, kept) in self.config.levels.iter().zip(&mut levels) {
                if *level == block {
                    *kept = Some(x.clone());
                }
            }
        });
        let all: Vec<Tensor<3>> =
            std::iter::once(last).chain(levels.into_iter().flatten()).collect();
        Features(Tensor::cat(all, 2))
    }
}

/// Which of N patches see each other: windows of L at most.
#[derive(Debug)]
struct Windows {
    /// The patch at each place of each window, `[W, L]`; the first one where a window is smaller.
    rows: Vec<usize>,
    /// Patches of each window, `[W]`.
    lengths: Vec<usize>,
    /// The place of each patch, `[N]`.
    back: Vec<usize>,
}

impl Windows {
    fn of(windows: Vec<Vec<usize>>, n: usize) -> Self {
        let longest = windows.iter().map(Vec::len).max().unwrap_or_default();
        let (mut rows, mut back) = (Vec::new(), vec![0; n]);
        for window in &windows {
            for (i, patch) in window.iter().enumerate() {
                back[*patch] = rows.len() + i;
            }
            let padding = std::iter::repeat_n(0, longest - window.len());
            rows.extend(window.iter().copied().chain(padding));
        }
        Self { rows, lengths: windows.iter().map(Vec::len).collect(), back }
    }

    /// `[B, N, H, K] -> [B · W, L, H, K]`
    fn cut(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, _, h, k] = x.dims();
        let windows = self.lengths.len();
        taken(x, &self.rows).reshape([b * windows, self.rows.len() / windows, h, k])
    }

    /// `[B · W, L, H, K] -> [B, N, H, K]`
    fn joined(&self, x: Tensor<4>) -> Tensor<4> {
        let [windows, _, h, k] = x.dims();
        let b = windows / self.lengths.len();
        taken(x.reshape([b, self.rows.len(), h, k]), &self.back)
    }
}

/// These rows of each sample: `[B, N, H, K] -> [B, rows, H, K]`.
fn taken(x: Tensor<4>, rows: &[usize]) -> Tensor<4> {
    let [b, n, h, k] = x.dims();
    let all = (0..b).flat_map(|b| rows.iter().map(move |row| (b * n + row) as i32)).collect();
    fused::embedding(x.reshape([b * n, h * k]), all).reshape([b, rows.len(), h, k])
}

/// What each of `to` places takes from `from`, `[to, from]`, the first and last of both being the same
/// (PyTorch's `interpolate(mode="bilinear", align_corners=True)`).
fn between(from: usize, to: usize) -> Vec<f32> {
    let row = |place: usize| {
        let at = place as f32 * (from - 1) as f32 / (to - 1).max(1) as f32;
        let low = (at.floor() as usize).min(from - 1);
        let high = (low + 1).min(from - 1);
        let mut row = vec![0.0; from];
        row[low] += 1.0 - (at - low as f32);
        row[high] += at - low as f32;
        row
    };
    (0..to).flat_map(row).collect()
}

/// `x + attention(norm1(x))`, then `x + mlp(norm2(x))`.
#[derive(Module, Debug)]
struct QwenBlock {
    norm1: Norm,
    attention: PatchAttention,
    norm2: Norm,
    mlp: QwenMlp,
}

sensorium_nn::pack!(QwenBlock: attention, mlp);

impl QwenBlock {
    fn init(config: &QwenVitConfig, init: &mut Init) -> Self {
        let e = config.hidden_size;
        Self {
            norm1: Norm::init(config.norm(), e, EPS, init),
            attention: PatchAttention::init(e, config.n_heads, init),
            norm2: Norm::init(config.norm(), e, EPS, init),
            mlp: QwenMlp::init(config, init),
        }
    }

    /// `[B, N, E] -> [B, N, E]`
    fn forward(&self, x: Tensor<3>, table: &RotaryTable, windows: Option<&Windows>) -> Tensor<3> {
        let y = self.norm1.forward(x.clone());
        let x = self.attention.add_to(x, y, table, windows);
        let y = self.norm2.forward(x.clone());
        self.mlp.add_to(x, y)
    }
}

#[derive(Module, Debug)]
struct PatchAttention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    precision: Precision,
}

sensorium_nn::pack!(PatchAttention: q, k, v, o);

impl PatchAttention {
    fn init(e: usize, heads: usize, init: &mut Init) -> Self {
        let std = (e as f64).powf(-0.5);
        let linear = |init: &mut Init| Linear::init(e, e, true, std, init);
        Self {
            q: linear(init),
            k: linear(init),
            v: linear(init),
            o: linear(init),
            heads,
            precision: init.precision(),
        }
    }

    /// `stream + attention(x)`, `[B, N, E]`
    fn add_to(
        &self,
        stream: Tensor<3>,
        x: Tensor<3>,
        table: &RotaryTable,
        windows: Option<&Windows>,
    ) -> Tensor<3> {
        let [b, n, e] = x.dims();
        let split = |y: Tensor<3>| y.reshape([b, n, self.heads, e / self.heads]);
        let [q, k, v] = Linear::together([&self.q, &self.k, &self.v], x).map(split);
        let [q, k] = [q, k].map(|y| fused::rotary(y, table));
        let full =
            |q, k, v, lengths| fused::attention(self.precision, q, k, v, Mask::Full, lengths);
        let seen = match windows {
            None => full(q, k, v, None),
            Some(windows) => {
                let lengths: Arc<[usize]> = windows.lengths.repeat(b).into();
                let [q, k, v] = [q, k, v].map(|y| windows.cut(y));
                windows.joined(full(q, k, v, Some(lengths)))
            }
        };
        self.o.add_to(stream, seen.reshape([b, n, e]))
    }
}

#[expect(clippy::large_enum_variant, reason = "a tower's are all of one kind")]
#[derive(Module, Debug)]
enum QwenMlp {
    Plain(Mlp),
    Gated(GatedMlp),
}

impl QwenMlp {
    fn init(config: &QwenVitConfig, init: &mut Init) -> Self {
        let (e, hidden) = (config.hidden_size, config.intermediate_size);
        let std = [e, hidden].map(|width| (width as f64).powf(-0.5));
        match config.block {
            QwenBlockKind::Plain(activation) => {
                Self::Plain(Mlp::init([e, hidden, e], activation, std, init))
            }
            QwenBlockKind::Gated => Self::Gated(GatedMlp {
                gate: Linear::init(e, hidden, true, std[0], init),
                up: Linear::init(e, hidden, true, std[0], init),
                down: Linear::init(hidden, e, true, std[1], init),
            }),
        }
    }

    /// `stream + mlp(x)`, `[B, N, E]`
    fn add_to(&self, stream: Tensor<3>, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Plain(mlp) => mlp.add_to(stream, x),
            Self::Gated(GatedMlp { gate, up, down }) => {
                down.add_to(stream, Linear::gated(gate, up, x))
            }
        }
    }
}

impl Pack for QwenMlp {
    fn matrices(&mut self, path: &str, visit: &mut pack::Visit<'_>) {
        match self {
            Self::Plain(mlp) => mlp.matrices(path, visit),
            Self::Gated(mlp) => mlp.matrices(path, visit),
        }
    }
}

/// SwiGLU with biases.
#[derive(Module, Debug)]
struct GatedMlp {
    gate: Linear,
    up: Linear,
    down: Linear,
}

sensorium_nn::pack!(GatedMlp: gate, up, down);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_between_its_places() {
        assert_eq!(between(3, 3), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(between(3, 2), [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(between(2, 3), [1.0, 0.0, 0.5, 0.5, 0.0, 1.0]);
        assert_eq!(between(2, 1), [1.0, 0.0]);
    }

    /// Windows of 2 x 2 squares on 3 x 3: four, of which one is whole.
    #[test]
    fn every_patch_is_in_one_window_and_comes_back() {
        let config = QwenVitConfig {
            patch: 3,
            patch_bias: false,
            merge: 2,
            hidden_size: 8,
            n_layers: 1,
            n_heads: 2,
            intermediate_size: 8,
            block: QwenBlockKind::Gated,
            theta: 1e4,
            positions: None,
            window: Some(QwenWindow { squares: 2, full: Vec::new() }),
            levels: Vec::new(),
        };
        let mut init = Init::new(1, &Device::flex());
        let vit = QwenVit::init(&config, &mut init);
        let grid = Grid { steps: 2, rows: 6, columns: 6 };
        let window = config.window.clone().unwrap();
        let windows = vit.windows(&window, grid);
        assert_eq!(windows.lengths, [16, 8, 8, 4]);
        let x = init.normal([2, 36, 2, 4], 1.0).val();
        let back = windows.joined(windows.cut(x.clone()));
        assert_eq!(params::read(back), params::read(x));
    }
}
