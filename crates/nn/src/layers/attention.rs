//! Multi-head attention with biases, as encoders use it (Vaswani et al. 2017).

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;

use super::Linear;
use crate::fused::{self, KeyValues, Mask, Precision, RotaryTable};
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

    /// As [`init`](Self::init), with keys and values of a context of width `e`.
    pub fn across(
        [d, e]: [usize; 2],
        heads: usize,
        [std, out_std]: [f64; 2],
        init: &mut Init,
    ) -> Self {
        let mut attention = Self::init(d, heads, [std, out_std], init);
        attention.k = Linear::init(e, d, true, std, init);
        attention.v = Linear::init(e, d, true, std, init);
        attention
    }

    /// `x [B, Tq, D], context [B, Tk, E] -> [B, Tq, D]`; `lengths` are the keys that count.
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

    /// As [`add_self`](Self::add_self), queries and keys turned by the angles of their positions.
    pub fn add_self_rotary(
        &self,
        stream: Tensor<3>,
        x: Tensor<3>,
        table: &RotaryTable,
        lengths: Option<Arc<[usize]>>,
    ) -> Tensor<3> {
        let [q, k, v] = Linear::together([&self.q, &self.k, &self.v], x).map(|y| self.split(y));
        let [q, k] = [q, k].map(|y| fused::rotary(y, table));
        let mixed = fused::attention(self.precision, q, k, v, Mask::Full, lengths);
        self.o.add_to(stream, joined(mixed))
    }

    /// `stream + forward(x, all that was kept and x)`, `[B, T, D]`; `kept` grows by `x`.
    pub fn extend_self(
        &self,
        stream: Tensor<3>,
        x: Tensor<3>,
        mask: Mask,
        kept: &mut KeyValues,
    ) -> Tensor<3> {
        let [q, k, v] = Linear::together([&self.q, &self.k, &self.v], x).map(|y| self.split(y));
        self.o.add_to(stream, joined(kept.attention(self.precision, q, k, v, mask)))
    }

    /// Keys and values of a context that is asked often, `[B, Tk, E] -> [B, Tk, H, K]` each.
    pub fn keys_values(&self, context: Tensor<3>) -> [Tensor<4>; 2] {
        Linear::together([&self.k, &self.v], context).map(|y| self.split(y))
    }

    /// `stream + forward(x, context)`, `[B, Tq, D]`, of a context's keys and values.
    pub fn add_across(
        &self,
        stream: Tensor<3>,
        x: Tensor<3>,
        [keys, values]: &[Tensor<4>; 2],
    ) -> Tensor<3> {
        let q = self.split(self.q.forward(x));
        let (k, v) = (keys.clone(), values.clone());
        let mixed = fused::attention(self.precision, q, k, v, Mask::Full, None);
        self.o.add_to(stream, joined(mixed))
    }

    /// Queries, keys and values `[B, T, D]` to what the heads read, `[B, Tq, D]`.
    fn mix(&self, qkv: [Tensor<3>; 3], mask: Mask, lengths: Option<Arc<[usize]>>) -> Tensor<3> {
        let [q, k, v] = qkv.map(|y| self.split(y));
        joined(fused::attention(self.precision, q, k, v, mask, lengths))
    }

    /// `[B, T, D] -> [B, T, H, K]`
    fn split(&self, y: Tensor<3>) -> Tensor<4> {
        let [b, t, d] = y.dims();
        y.reshape([b, t, self.heads, d / self.heads])
    }
}

/// `[B, T, H, K] -> [B, T, D]`
fn joined(o: Tensor<4>) -> Tensor<3> {
    let [b, t, h, k] = o.dims();
    o.reshape([b, t, h * k])
}

crate::pack!(Attention: q, k, v, o);
