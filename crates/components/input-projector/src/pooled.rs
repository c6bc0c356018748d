//! Squares of positions averaged, normed and mapped: Gemma 3 (Gemma Team 2025,
//! <https://arxiv.org/abs/2503.19786>, section 2.1).

use sensorium_flow::{Embeds, Features, Project};
use sensorium_nn::prelude::*;

/// `[B, N, E] -> [B, side², D]`
#[derive(Module, Debug)]
pub struct PooledProjector {
    #[module(skip)]
    side: usize,
    norm: RmsNorm,
    projection: Linear,
}

sensorium_nn::pack!(PooledProjector: projection);

impl PooledProjector {
    /// Weights of `fan_in^-0.5`; `side` tokens along an edge.
    pub fn init(side: usize, eps: f64, [features, width]: [usize; 2], init: &mut Init) -> Self {
        let std = (features as f64).powf(-0.5);
        Self {
            side,
            norm: RmsNorm::init(features, eps, init),
            projection: Linear::init(features, width, false, std, init),
        }
    }
}

impl Project for PooledProjector {
    fn project(&self, Features(x): Features) -> Embeds {
        let [b, n, e] = x.dims();
        let (grid, side) = (n.isqrt(), self.side);
        assert!(grid * grid == n && grid.is_multiple_of(side), "{n} positions for {side}² tokens");
        let square = grid / side;
        let pooled = x
            .reshape([b * side, square, side, square, e])
            .mean_dim(3)
            .mean_dim(1)
            .reshape([b, side * side, e]);
        Embeds(self.projection.forward(self.norm.forward(pooled)))
    }

    fn tokens(&self, _: usize) -> usize {
        self.side * self.side
    }
}

#[cfg(test)]
mod tests {
    use sensorium_nn::params::{self, read};

    use super::*;

    #[test]
    fn squares_are_averaged() {
        let projector = PooledProjector::init(2, 1e-6, [1, 1], &mut Init::new(1, &Device::flex()));
        let projector = params::fill(projector, |_, _| Some(vec![1.0]));
        let x = Tensor::<1>::from_floats(
            [1., 3., 0., 0., 1., 3., 0., 4., -1., -1., 2., 2., -1., -1., 2., 2.],
            &Device::flex(),
        );
        // The norm of one number is its sign.
        let seen = read(projector.project(Features(x.reshape([1, 16, 1]))).0);
        let want = [1.0, 1.0, -1.0, 1.0];
        assert!(seen.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-4), "{seen:?}");
    }
}
