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
        let q = self.q.forward(x);
        let [k, v] = Linear::together([&self.k, &self.v], context);
        self.o.forward(self.mix([q, k, v], mask, lengths))
    }

    /// `stream + forward(x, x)`, `[B, T, D]`
    pub fn add_self(
        &self,
        stream: Tensor<3>,
        x: Tensor<3>,
        mask: Mask,
        lengths: Option<Arc<[usize]>>,
    ) -> Tensor<3> {
        let qkv = Linear::together([&self.q, &self.k, &self.v], x);
        self.o.add_to(stream, self.mix(qkv, mask, lengths))
    }

    /// Queries, keys and values `[B, T, D]` to what the heads read, `[B, Tq, D]`.
    fn mix(&self, qkv: [Tensor<3>; 3], mask: Mask, lengths: Option<Arc<[usize]>>) -> Tensor<3> {
        let [queries, keys, values] = qkv.map(|y| {
            let [b, t, d] = y.dims();
            y.reshape([b, t, self.heads, d / self.heads])
        });
        let o = fused::attention(self.precision, queries, keys, values, mask, lengths); // [B, Tq, H, K]
        let [b, tq, h, k] = o.dims();
        o.reshape([b, tq, h * k])
    }
}

crate::pack!(Attention: q, k, v, o);
