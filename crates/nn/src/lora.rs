//! What is learned beside a frozen matrix: a product of two small ones.
//!
//! Hu et al. 2021, section 4.1, <https://arxiv.org/abs/2106.09685>; with a magnitude for each output, DoRA: Liu et
//! al. 2024, <https://arxiv.org/abs/2402.09353>.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};
use sensorium_kernels::rng::Rng;

use crate::fused::{self, Precision};
use crate::init::Init;

/// `scale · B A x`, which begins as nothing: B is 0.
#[derive(Module, Debug)]
pub struct Lora {
    /// A, `[r, in]`.
    pub a: Param<Tensor<2>>,
    /// B, `[out, r]`.
    pub b: Param<Tensor<2>>,
    /// The length of each row of the matrix with what is learned, `[out]`: DoRA.
    pub magnitude: Option<Param<Tensor<1>>>,
    #[module(skip)]
    scale: f64,
    /// Share of the inputs that A does not see, and the seed of which; nothing where all are seen.
    #[module(skip)]
    dropout: Option<(f64, u64)>,
}

impl Lora {
    /// Beside a matrix `[out, in]`: A uniform up to `in^-0.5`, as peft has it.
    pub fn init([out, in_]: [usize; 2], rank: usize, scale: f64, init: &mut Init) -> Self {
        let bound = (in_ as f64).powf(-0.5);
        let (a, b) = (init.uniform([rank, in_], bound), init.constant([out, rank], 0.0));
        Self { a, b, magnitude: None, scale, dropout: None }
    }

    /// With magnitudes, which begin as the lengths of the rows of `weight`, `[out, in]`, with what is learned.
    pub fn with_magnitude(mut self, weight: Tensor<2>) -> Self {
        self.magnitude = Some(Param::from_tensor(self.lengths(weight)));
        self
    }

    /// Hides a share (0 to 1) of the inputs from A, chosen by `seed` alone, until it is called again.
    pub fn set_dropout(&mut self, share: f64, seed: u64) {
        self.dropout = (share > 0.0).then_some((share, seed));
    }

    /// `[.., in] -> [.., out]`: what is added to `base`, the product of x with the frozen `weight` without its
    /// bias.
    pub(crate) fn forward<const D: usize>(
        &self,
        precision: Precision,
        x: Tensor<D>,
        base: impl FnOnce() -> Tensor<D>,
        weight: impl FnOnce() -> Tensor<2>,
    ) -> Tensor<D> {
        let seen = match self.dropout {
            Some((share, seed)) => dropped(x.clone(), share, seed),
            None => x,
        };
        let low = fused::linear(precision, seen.clone(), self.a.val(), None);
        let added = fused::linear(precision, low, self.b.val(), None) * self.scale;
        let Some(magnitude) = &self.magnitude else { return added };
        let weight = weight();
        // As peft has it: with dropout, the matrix reads what A reads.
        let base = match self.dropout {
            Some(_) => fused::linear(precision, seen, weight.clone(), None),
            None => base(),
        };
        let gain = magnitude.val() / self.lengths(weight);
        let mut shape = [1; D];
        shape[D - 1] = gain.dims()[0];
        let gain = gain.reshape(shape);
        base * (gain.clone() - 1.0) + added * gain
    }

    /// `weight` `[out, in]` with what is learned in it: the matrix that does alone what both do without dropout.
    pub(crate) fn merged(&self, weight: Tensor<2>) -> Tensor<2> {
        let whole = self.whole(weight.clone());
        let Some(magnitude) = &self.magnitude else { return whole };
        let gain = magnitude.val().detach().set_require_grad(false) / self.lengths(weight);
        whole * gain.unsqueeze_dim(1)
    }

    /// `weight` and what is learned, before any magnitude.
    fn whole(&self, weight: Tensor<2>) -> Tensor<2> {
        let [a, b, weight] =
            [self.a.val(), self.b.val(), weight].map(|x| x.detach().set_require_grad(false));
        weight + b.matmul(a) * self.scale
    }

    /// The length of each row of `weight` with what is learned, through which nothing is learned (section 4.3 of
    /// DoRA's paper).
    fn lengths(&self, weight: Tensor<2>) -> Tensor<1> {
        let whole = self.whole(weight);
        whole.clone().mul(whole).sum_dim(1).sqrt().squeeze_dim(1)
    }
}

/// `x` with a share of its values 0, and the others larger by as much.
fn dropped<const D: usize>(x: Tensor<D>, share: f64, seed: u64) -> Tensor<D> {
    let (shape, mut rng) = (x.shape(), Rng::new(seed));
    // Sixteen bits decide on each.
    let (limit, kept) = ((share * 65_536.0) as u64, (1.0 / (1.0 - share)) as f32);
    let words = (0..shape.num_elements().div_ceil(4)).map(|_| rng.next_u64());
    let mask = words.flat_map(|word| [0, 16, 32, 48].map(|at| word >> at & 0xFFFF));
    let mask = mask.map(|bits| if bits < limit { 0.0 } else { kept });
    let mask: Vec<f32> = mask.take(shape.num_elements()).collect();
    let mask = Tensor::from_data(TensorData::new(mask, shape), &x.device());
    x * mask
}
