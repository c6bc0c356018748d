//! Scaled dot-product attention: causal, bidirectional, prefix and cross, with grouped queries.

use std::sync::Arc;

use burn::tensor::Tensor;
use sensorium_kernels::attention::{self as kernel, Span};
use sensorium_kernels::{Precision, buffer};

use super::backend::{Array, Call, Operation, apply3, shaped};

/// Which keys a query sees.
#[derive(Clone, Debug)]
pub enum Mask {
    /// All keys.
    Full,
    /// Key `j` if `j <= i + offset`; `offset` counts the keys that came before the first query.
    Causal {
        /// Keys before the first query.
        offset: usize,
    },
    /// Causal, but for the keys of spans: see [`Span`].
    Prefix {
        /// Keys before the first query.
        offset: usize,
        /// Of every key, `[B, T]`.
        spans: Arc<[Span]>,
    },
}

impl Mask {
    /// What the sample `b` sees of `keys`.
    pub(super) fn view_of(&self, b: usize, keys: usize) -> kernel::Mask<'_> {
        match self.view() {
            kernel::Mask::Prefix { offset, spans } => {
                kernel::Mask::Prefix { offset, spans: &spans[b * keys..(b + 1) * keys] }
            }
            other => other,
        }
    }

    fn view(&self) -> kernel::Mask<'_> {
        match self {
            Self::Full => kernel::Mask::Full,
            Self::Causal { offset } => kernel::Mask::Causal { offset: *offset },
            Self::Prefix { offset, spans } => kernel::Mask::Prefix { offset: *offset, spans },
        }
    }
}

#[derive(Debug)]
struct Attention {
    precision: Precision,
    mask: Mask,
    lengths: Option<Arc<[usize]>>,
    scale: f32,
}

pub(super) fn shape_of(q: &Array, k: &Array) -> kernel::AttentionShape {
    let ([batch, queries, heads, width], [_, keys, kv_heads, _]) = (&q.shape()[..], &k.shape()[..])
    else {
        unreachable!("attention takes [B, T, H, K]")
    };
    kernel::AttentionShape {
        batch: *batch,
        queries: *queries,
        keys: *keys,
        heads: *heads,
        kv_heads: *kv_heads,
        width: *width,
    }
}

impl Operation for Attention {
    fn forward(&self, inputs: &[Array]) -> (Array, Vec<Array>) {
        let [q, k, v] = inputs else { unreachable!("attention has 3 inputs") };
        let shape = shape_of(q, k);
        let rows = [shape.batch, shape.heads, shape.queries];
        let mut o = buffer(q.values().len());
        let mut lse = buffer(rows.iter().product());
        kernel::attention(
            self.precision,
            shape,
            q.values(),
            k.values(),
            v.values(),
            self.scale,
            self.mask.view(),
            self.lengths.as_deref(),
            &mut o,
            &mut lse,
        );
        let o = Array::new(o, &q.shape());
        (o.clone(), vec![o, Array::new(lse, &rows)])
    }

    fn run(&self, inputs: Vec<Array>) -> Array {
        let ([q, k, v], None) = (&inputs[..], &self.lengths) else {
            return self.forward(&inputs).0;
        };
        let (q_, k_, v_) = (q.values(), k.values(), v.values());
        let o = kernel::attend(
            self.precision,
            shape_of(q, k),
            q_,
            k_,
            v_,
            self.scale,
            self.mask.view(),
        );
        Array::new(o, &q.shape())
    }

    fn backward(&self, call: &Call, grad: &Array, _wanted: &[bool]) -> Vec<Option<Array>> {
        let (q, k, v) = (&call.inputs[0], &call.inputs[1], &call.inputs[2]);
        let mut dq = buffer(q.values().len());
        let mut dk = buffer(k.values().len());
        let mut dv = buffer(v.values().len());
        kernel::attention_backward(
            self.precision,
            shape_of(q, k),
            q.values(),
            k.values(),
            v.values(),
            self.scale,
            self.mask.view(),
            self.lengths.as_deref(),
            call.saved[0].values(),
            call.saved[1].values(),
            grad.values(),
            &mut dq,
            &mut dk,
            &mut dv,
        );
        vec![shaped(Some(dq), q), shaped(Some(dk), k), shaped(Some(dv), v)]
    }

    /// Of the pairs that a causal mask shows; padding and spans are not looked at.
    fn flop(&self, inputs: &[Array]) -> f64 {
        let shape = shape_of(&inputs[0], &inputs[1]);
        let pairs: usize = match self.mask {
            Mask::Causal { offset } => {
                (0..shape.queries).map(|query| shape.keys.min(query + offset + 1)).sum()
            }
            Mask::Full | Mask::Prefix { .. } => shape.queries * shape.keys,
        };
        4.0 * (shape.batch * shape.heads * shape.width * pairs) as f64
    }
}

/// `q [B, Tq, H, K], k v [B, Tk, Hkv, K] -> [B, Tq, H, K]`, scaled by `K^-0.5`.
///
/// `lengths [B]` is the number of keys that are not padding. A query that sees no key gives zeros.
/// Products are of numbers in `precision`.
pub fn attention(
    precision: Precision,
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: Mask,
    lengths: Option<Arc<[usize]>>,
) -> Tensor<4> {
    let scale = (q.dims()[3] as f32).powf(-0.5);
    apply3(Attention { precision, mask, lengths, scale }, q, k, v)
}
