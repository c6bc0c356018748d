//! Scaled dot-product attention: causal, bidirectional, prefix and cross, with grouped queries.

use std::sync::Arc;

use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Bool, Device, Int, Shape, Tensor, TensorData, module};
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
    /// As `Prefix`, of the last keys up to each query's own place and of those of its span. The queries
    /// stand at the last of the keys.
    Window {
        /// Keys up to the query's own place, that one too.
        window: usize,
        /// As `Prefix` has them; without, as `Causal`.
        spans: Option<Arc<[Span]>>,
    },
}

impl Mask {
    /// What the last `queries` of the sample `b` see of `keys`.
    pub(super) fn view_of(&self, b: usize, queries: usize, keys: usize) -> kernel::Mask<'_> {
        fn own(spans: &[Span], b: usize, keys: usize) -> &[Span] {
            if spans.is_empty() { spans } else { &spans[b * keys..(b + 1) * keys] }
        }
        match self.view(queries, keys) {
            kernel::Mask::Prefix { offset, spans } => {
                kernel::Mask::Prefix { offset, spans: own(spans, b, keys) }
            }
            kernel::Mask::Window { offset, spans, window } => {
                kernel::Mask::Window { offset, spans: own(spans, b, keys), window }
            }
            other => other,
        }
    }

    /// What the sample `b` sees of `keys`, as a mask of its own.
    pub(super) fn of_sample(&self, b: usize, keys: usize) -> Self {
        let own = |spans: &Arc<[Span]>| spans[b * keys..(b + 1) * keys].into();
        match self {
            Self::Prefix { offset, spans } => Self::Prefix { offset: *offset, spans: own(spans) },
            Self::Window { window, spans } => {
                Self::Window { window: *window, spans: spans.as_ref().map(own) }
            }
            other => other.clone(),
        }
    }

    fn view(&self, queries: usize, keys: usize) -> kernel::Mask<'_> {
        match self {
            Self::Full => kernel::Mask::Full,
            Self::Causal { offset } => kernel::Mask::Causal { offset: *offset },
            Self::Prefix { offset, spans } => kernel::Mask::Prefix { offset: *offset, spans },
            Self::Window { window, spans } => kernel::Mask::Window {
                offset: keys.saturating_sub(queries),
                spans: spans.as_deref().unwrap_or_default(),
                window: *window,
            },
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
            self.mask.view(shape.queries, shape.keys),
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
        let (shape, mask) = (shape_of(q, k), &self.mask);
        let mask = mask.view(shape.queries, shape.keys);
        let (q_, k_, v_) = (q.values(), k.values(), v.values());
        let o = kernel::attend(self.precision, shape, q_, k_, v_, self.scale, mask);
        Array::new(o, &q.shape())
    }

    fn backward(&self, call: &Call, grad: &Array, _wanted: &[bool]) -> Vec<Option<Array>> {
        let (q, k, v) = (&call.inputs[0], &call.inputs[1], &call.inputs[2]);
        let shape = shape_of(q, k);
        let mut dq = buffer(q.values().len());
        let mut dk = buffer(k.values().len());
        let mut dv = buffer(v.values().len());
        kernel::attention_backward(
            self.precision,
            shape,
            q.values(),
            k.values(),
            v.values(),
            self.scale,
            self.mask.view(shape.queries, shape.keys),
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
            Mask::Full | Mask::Prefix { .. } | Mask::Window { .. } => shape.queries * shape.keys,
        };
        4.0 * (shape.batch * shape.heads * shape.width * pairs) as f64
    }
}

/// `q [B, Tq, H, K], k v [B, Tk, Hkv, K] -> [B, Tq, H, K]`, scaled by `K^-0.5`.
///
/// `lengths [B]` is the number of keys that are not padding. A query that sees no key gives zeros.
/// Products are of numbers in `precision`; on other devices than the CPU, of f32.
pub fn attention(
    precision: Precision,
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: Mask,
    lengths: Option<Arc<[usize]>>,
) -> Tensor<4> {
    let scale = (q.dims()[3] as f32).powf(-0.5);
    let op = Attention { precision, mask: mask.clone(), lengths: lengths.clone(), scale };
    apply3(op, q, k, v, |q, k, v| composed(q, k, v, &mask, lengths.as_deref(), None))
}

/// As [`attention`], of scores that are first capped, `softcap·tanh(score / softcap)` (Gemma 2, Gemma Team
/// 2024, <https://arxiv.org/abs/2408.00118>, section 2): the framework's own, on every device.
pub fn softcapped_attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: &Mask,
    softcap: f32,
) -> Tensor<4> {
    composed(q, k, v, mask, None, Some(softcap))
}

/// The framework's own, which may be a fused one: products are of f32.
pub(super) fn composed(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: &Mask,
    lengths: Option<&[usize]>,
    softcap: Option<f32>,
) -> Tensor<4> {
    let ([b, tq, h, _], [_, tk, hkv, width], device) = (q.dims(), k.dims(), q.device());
    // Query head h reads key-value head h / (H / Hkv).
    let repeated = |x: Tensor<4>| {
        let x = x.reshape([b, tk, hkv, 1, width]).expand([b, tk, hkv, h / hkv, width]);
        x.reshape([b, tk, h, width]).swap_dims(1, 2) // [B, H, Tk, K]
    };
    let is_causal = matches!(mask, Mask::Causal { offset } if *offset + tq == tk && tq > 1);
    let hidden = hidden(mask, [b, tq, tk], is_causal, &device);
    let padding = lengths.map(|lengths| padding(lengths, tk, &device));
    let hidden = match (hidden, padding) {
        (Some(hidden), Some(padding)) => Some(hidden.bool_or(padding)),
        (hidden, padding) => hidden.or(padding),
    };
    let hidden = hidden.map(|hidden| hidden.expand([b, h, tq, tk]));
    let softcap = softcap.map(f64::from);
    let options = AttentionModuleOptions { is_causal, softcap, ..Default::default() };
    let o = module::attention(q.swap_dims(1, 2), repeated(k), repeated(v), hidden, None, options);
    o.swap_dims(1, 2)
}

/// The keys that the mask hides from each query, `[1 or B, 1, Tq, Tk]`, where it hides any.
fn hidden(
    mask: &Mask,
    [b, tq, tk]: [usize; 3],
    is_causal: bool,
    device: &Device,
) -> Option<Tensor<4, Bool>> {
    let (offset, spans, window) = match mask {
        Mask::Full => return None,
        // The framework's own, or one query that sees all keys.
        Mask::Causal { .. } if is_causal => return None,
        Mask::Causal { offset } if *offset + 1 >= tk => return None,
        Mask::Causal { offset } => (*offset, None, None),
        Mask::Prefix { offset, spans } => (*offset, Some(spans), None),
        Mask::Window { window, spans } => (tk.saturating_sub(tq), spans.as_ref(), Some(*window)),
    };
    let places = |n: usize| Tensor::<1, Int>::arange(0..n as i64, device);
    let query = places(tq).add_scalar(offset as i64).reshape([1, 1, tq, 1]);
    let key = places(tk).reshape([1, 1, 1, tk]);
    let later = key.clone().greater(query.clone());
    let far = window.map(|window| key.add_scalar(window as i64).lower_equal(query));
    let Some(spans) = spans else {
        return Some(match far {
            Some(far) => later.bool_or(far),
            None => later,
        });
    };

    // Shared spans above 0, those apart below.
    let number = |span: &Span| match *span {
        Span::None => 0,
        Span::Shared(n) => n as i32 + 1,
        Span::Apart(n) => -(n as i32) - 1,
    };
    let numbers: Vec<i32> = spans.iter().map(number).collect();
    let numbers = TensorData::new(numbers, Shape::from([b, 1, 1, tk]));
    let other = Tensor::<4, Int>::from_data(numbers, device); // [B, 1, 1, Tk]
    let own = other.clone().narrow(3, offset, tq).swap_dims(2, 3); // [B, 1, Tq, 1]
    let differs = own.clone().equal(other.clone()).bool_not();
    let apart = differs.clone().bool_or(own.lower_equal_elem(0));
    let hidden_later = later.clone().bool_and(apart.clone());
    let hidden_earlier = later.bool_not().bool_and(differs.bool_and(other.lower_elem(0)));
    let hidden = hidden_later.bool_or(hidden_earlier);
    Some(match far {
        Some(far) => hidden.bool_or(far.bool_and(apart)),
        None => hidden,
    })
}

/// The keys from each sample's length on, `[B, 1, 1, Tk]`.
fn padding(lengths: &[usize], tk: usize, device: &Device) -> Tensor<4, Bool> {
    let values: Vec<i32> = lengths.iter().map(|&length| length as i32).collect();
    let lengths = TensorData::new(values, Shape::from([lengths.len(), 1, 1, 1]));
    let lengths = Tensor::<4, Int>::from_data(lengths, device);
    let places = Tensor::<1, Int>::arange(0..tk as i64, device).reshape([1, 1, 1, tk]);
    places.greater_equal(lengths)
}
