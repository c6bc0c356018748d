//! One learned question asked of all positions (the attention-pooling head of SigLIP, with or
//! without its MLP; Zhai et al. 2022, "Scaling Vision Transformers").

use sensorium_nn::prelude::*;

/// `[B, N, E] -> [B, E]`
#[derive(Module, Debug)]
pub struct AttentionPool {
    /// The question, `[1, 1, E]`.
    pub probe: Param<Tensor<3>>,
    /// Its attention over the positions.
    pub attention: Attention,
    /// Added to what the attention found: what lies at each position.
    pub grid: Option<Grid>,
    /// Before the MLP.
    pub norm: Option<LayerNorm>,
    /// Added to what the attention found.
    pub mlp: Option<Mlp>,
}

impl AttentionPool {
    /// Probe of standard deviation `e^-0.5`; a `grid` of so many positions; an `mlp` as the blocks
    /// have it.
    pub fn init(
        e: usize,
        heads: usize,
        grid: Option<usize>,
        mlp: Option<&BlockConfig>,
        init: &mut Init,
    ) -> Self {
        let std = (e as f64).powf(-0.5);
        Self {
            probe: init.normal([1, 1, e], std),
            attention: Attention::init(e, heads, [std, std], init),
            grid: grid.map(|positions| Grid::init(positions, e, init)),
            norm: mlp.map(|config| LayerNorm::init(e, config.eps, init)),
            mlp: mlp.map(|config| {
                Mlp::init([e, config.hidden, e], config.activation, [std, std], init)
            }),
        }
    }

    /// `[B, N, E] -> [B, E]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let [b, _, e] = x.dims();
        let grid = self.grid.as_ref().map(|grid| grid.forward(x.clone()));
        let probe = self.probe.val().repeat_dim(0, b); // [B, 1, E]
        let x = self.attention.forward(probe, x, Mask::Full, None).reshape([b, e]);
        let x = grid.into_iter().fold(x, |x, grid| x + grid);
        match (&self.norm, &self.mlp) {
            (Some(norm), Some(mlp)) => mlp.add_to(x.clone(), norm.forward(x)),
            _ => x,
        }
    }
}

sensorium_nn::pack!(AttentionPool: attention, grid, mlp);

/// Every position in a few numbers, and a matrix over all of them side by side: attention sums over
/// the positions and so forgets which of two things lies further left. `[B, N, E] -> [B, E]`
#[derive(Module, Debug)]
pub struct Grid {
    /// A position's features to [`Self::NUMBERS`].
    pub squeeze: Linear,
    /// All positions' numbers to one vector; starts at zero, which adds nothing.
    pub spread: Linear,
}

impl Grid {
    /// How many numbers tell what lies at a position.
    pub const NUMBERS: usize = 16;

    fn init(positions: usize, e: usize, init: &mut Init) -> Self {
        let std = (e as f64).powf(-0.5);
        Self {
            squeeze: Linear::init(e, Self::NUMBERS, false, std, init),
            spread: Linear::init(positions * Self::NUMBERS, e, false, 0.0, init),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let [b, n, _] = x.dims();
        self.spread.forward(self.squeeze.forward(x).reshape([b, n * Self::NUMBERS]))
    }
}

sensorium_nn::pack!(Grid: squeeze, spread);
