//! Multi-head attention with biases, as encoders use it (Vaswani et al. 2017).

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;

use super::Linear;
use crate::fused::{self, Mask, Precision};
use crate::init::Init;

/// Queries from one sequence, keys and values from another (or the same).
#[derive(Module, Debug)]
pub struct Attention {
    /// Queries.
    pub q: Linear,
    /// Keys.
    pub k: Linear,
    /// Values.
    pub v: Linear,
    /// Output.
    pub o: Linear,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    precision: Precision,
}

impl Attention {
    /// Width `d` in `heads` heads; weights of `std`, the output's of `out_std`.
    pub fn init(d: usize, heads: usize, [std, out_std]: [f64; 2], init: &mut Init) -> Self {
        assert!(d.is_multiple_of(heads), "width {d} is not a multiple of {heads} heads");
        Self {
            q: Linear::init(d, d, true, std, init),
            k: Linear::init(d, d, true, std, init),
            v: Linear::init(d, d, true, std, init),
            o: Linear::init(d, d, true, out_std, init),
            heads,
            precision: init.precision(),
        }
    }

    /// `x [B, Tq, D], context [B, Tk, D] -> [B, Tq, D]`; `lengths` are the keys that count.
    pub fn forward(
        &self,
        x: Tensor<3>,
        context: Tensor<3>,
        mask: Mask,
        lengths: Option<Arc<[usize]>>,
    ) -> Tensor<3> {
        let [b, tq, d] = x.dims();
        let tk = context.dims()[1];
        let (h, k) = (self.heads, d / self.heads);

        let queries = self.q.forward(x).reshape([b, tq, h, k]);
        let keys = self.k.forward(context.clone()).reshape([b, tk, h, k]);
        let values = self.v.forward(context).reshape([b, tk, h, k]);
        let o = fused::attention(self.precision, queries, keys, values, mask, lengths); // [B, Tq, H, K]
        self.o.forward(o.reshape([b, tq, d]))
    }
}

crate::pack!(Attention: q, k, v, o);
