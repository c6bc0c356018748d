//! Every fused operation twice: fused, and as the formula of its paper in plain burn operations.

use std::sync::Arc;

use burn::tensor::activation::{log_softmax, sigmoid, softmax};
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Int, Tensor, TensorData};
use sensorium_nn::fused::{self, Gelu, Mask, Precision, RotaryTable, Span};

use crate::case::{Operand, Operation, draw, flat, tensor};

/// An operation, its operands, and the same result from plain burn operations.
pub struct Pair {
    pub name: String,
    pub operands: Vec<Operand>,
    pub fused: Operation,
    pub composed: Operation,
}

/// All of them. No size is a multiple of a vector's length.
pub fn all() -> Vec<Pair> {
    let mut pairs = vec![linear(true), linear(false), layer_norm(), rms_norm(), swiglu(), rotary()];
    pairs.extend([Gelu::Erf, Gelu::Tanh, Gelu::Quick].map(gelu));
    pairs.extend(attentions());
    pairs.extend([0.0, 1e-2].map(cross_entropy));
    pairs.push(embedding());
    pairs.extend([(9, 2, 1, true), (9, 3, 0, true), (7, 1, 1, false)].map(convolution));
    pairs
}

fn linear(bias: bool) -> Pair {
    let mut operands = vec![("x", draw(1, 2 * 5 * 7)), ("weight", draw(2, 11 * 7))];
    operands.extend(bias.then(|| ("bias", draw(3, 11))));
    Pair {
        name: format!("linear, bias {bias}"),
        operands,
        fused: Box::new(|o| {
            let x = o[0].clone().reshape([2, 5, 7]);
            flat(fused::linear(Precision::F32, x, o[1].clone().reshape([11, 7]), o.get(2).cloned()))
        }),
        composed: Box::new(|o| {
            let weight = o[1].clone().reshape([11, 7]).transpose();
            let y = o[0].clone().reshape([10, 7]).matmul(weight);
            let y = match o.get(2) {
                Some(bias) => y + bias.clone().reshape([1, 11]),
                None => y,
            };
            flat(y)
        }),
    }
}

fn layer_norm() -> Pair {
    // A mean far from zero: a variance by E[x²] - E[x]² would lose its digits.
    let x = draw(4, 6 * 23).iter().map(|v| 2.0 * v + 3.0).collect();
    Pair {
        name: "layer_norm".into(),
        operands: vec![("x", x), ("weight", draw(5, 23)), ("bias", draw(6, 23))],
        fused: Box::new(|o| {
            let x = o[0].clone().reshape([2, 3, 23]);
            flat(fused::layer_norm(x, o[1].clone(), o[2].clone(), 1e-5))
        }),
        composed: Box::new(|o| {
            let x = o[0].clone().reshape([6, 23]);
            let centred = x.clone() - x.mean_dim(1);
            let variance = centred.clone().square().mean_dim(1);
            let normed = centred / (variance + 1e-5).sqrt();
            flat(normed * o[1].clone().reshape([1, 23]) + o[2].clone().reshape([1, 23]))
        }),
    }
}

fn rms_norm() -> Pair {
    Pair {
        name: "rms_norm".into(),
        operands: vec![("x", draw(7, 6 * 23)), ("weight", draw(8, 23))],
        fused: Box::new(|o| {
            let x = o[0].clone().reshape([2, 3, 23]);
            flat(fused::rms_norm(x, o[1].clone(), 1e-6))
        }),
        composed: Box::new(|o| {
            let x = o[0].clone().reshape([6, 23]);
            let square = x.clone().square().mean_dim(1);
            flat(x / (square + 1e-6).sqrt() * o[1].clone().reshape([1, 23]))
        }),
    }
}

fn gelu(kind: Gelu) -> Pair {
    let x = draw(9, 71).iter().map(|v| 2.5 * v).collect();
    Pair {
        name: format!("gelu {kind:?}"),
        operands: vec![("x", x)],
        fused: Box::new(move |o| fused::gelu(kind, o[0].clone())),
        composed: Box::new(move |o| {
            let x = o[0].clone();
            match kind {
                Gelu::Erf => x.clone() * ((x / std::f64::consts::SQRT_2).erf() + 1.0) / 2.0,
                Gelu::Tanh => {
                    let inner = x.clone() + x.clone().powf_scalar(3.0) * 0.044_715;
                    let root = (2.0 / std::f64::consts::PI).sqrt();
                    x * ((inner * root).tanh() + 1.0) / 2.0
                }
                Gelu::Quick => x.clone() * sigmoid(x * 1.702),
            }
        }),
    }
}

fn swiglu() -> Pair {
    Pair {
        name: "swiglu".into(),
        operands: vec![("gate", draw(10, 71)), ("up", draw(11, 71))],
        fused: Box::new(|o| fused::swiglu(o[0].clone(), o[1].clone())),
        composed: Box::new(|o| o[0].clone() * sigmoid(o[0].clone()) * o[1].clone()),
    }
}

fn rotary() -> Pair {
    let (theta, first) = (1e4_f32, 5_usize);
    Pair {
        name: "rotary".into(),
        operands: vec![("x", draw(12, 2 * 3 * 4 * 10))],
        fused: Box::new(move |o| {
            let table = RotaryTable::new(theta, 10, first..first + 3);
            flat(fused::rotary(o[0].clone().reshape([2, 3, 4, 10]), &table))
        }),
        composed: Box::new(move |o| {
            let angle = |t: usize, i: usize| {
                (first + t) as f64 * f64::from(theta).powf(-2.0 * i as f64 / 10.0)
            };
            let angles = || (0..3).flat_map(move |t| (0..5).map(move |i| angle(t, i)));
            let cos: Vec<f32> = angles().map(|a| a.cos() as f32).collect();
            let sin: Vec<f32> = angles().map(|a| a.sin() as f32).collect();
            let device = o[0].device();
            let [cos, sin] = [cos, sin].map(|v| tensor(&v, [1, 3, 1, 5], &device));
            let x = o[0].clone().reshape([2, 3, 4, 10]);
            let (a, b) = (x.clone().narrow(3, 0, 5), x.narrow(3, 5, 5));
            let left = a.clone() * cos.clone() - b.clone() * sin.clone();
            flat(Tensor::cat(vec![left, b * cos + a * sin], 3))
        }),
    }
}

/// Queries, keys, query heads and key-value heads of one attention; 2 samples, heads of 6.
#[derive(Clone, Copy)]
struct Sizes(usize, usize, usize, usize);

fn attentions() -> Vec<Pair> {
    let causal = |offset| Mask::Causal { offset };
    let of = |spans: [i32; 18]| -> Arc<[Span]> {
        let span = |n: i32| match n {
            0 => Span::None,
            1.. => Span::Shared(n as u32),
            _ => Span::Apart(n.unsigned_abs()),
        };
        spans.into_iter().map(span).collect()
    };
    let spans = of([0, 1, 1, 1, 0, 0, 2, 2, 0, 1, 1, 0, 0, 0, 2, 2, 2, 0]);
    let apart = of([0, 1, 1, -1, -1, -2, -2, -2, 0, 1, 1, -1, 0, -2, 0, -3, -3, -1]);
    let lengths: Option<Arc<[usize]>> = Some(Arc::from([9, 4]));
    [
        ("full", Sizes(9, 9, 4, 4), Mask::Full, None),
        ("full, grouped", Sizes(9, 9, 4, 2), Mask::Full, None),
        ("full, padded", Sizes(9, 9, 4, 2), Mask::Full, lengths.clone()),
        ("causal", Sizes(9, 9, 4, 4), causal(0), None),
        ("causal, one kv head", Sizes(9, 9, 4, 1), causal(0), None),
        ("causal, padded", Sizes(9, 9, 4, 2), causal(0), lengths),
        ("causal, cached", Sizes(3, 9, 4, 2), causal(6), None),
        ("prefix", Sizes(9, 9, 4, 2), Mask::Prefix { offset: 0, spans: spans.clone() }, None),
        ("prefix, cached", Sizes(4, 9, 4, 2), Mask::Prefix { offset: 5, spans }, None),
        ("apart", Sizes(9, 9, 4, 2), Mask::Prefix { offset: 0, spans: apart.clone() }, None),
        ("apart, cached", Sizes(4, 9, 4, 2), Mask::Prefix { offset: 5, spans: apart }, None),
        ("cross", Sizes(5, 11, 4, 2), Mask::Full, None),
        // More queries than one of the kernel's tiles holds.
        ("causal, long", Sizes(70, 70, 2, 1), causal(0), None),
    ]
    .map(|(name, sizes, mask, lengths)| attention(name, sizes, mask, lengths))
    .into()
}

fn attention(name: &str, sizes: Sizes, mask: Mask, lengths: Option<Arc<[usize]>>) -> Pair {
    let Sizes(tq, tk, h, hkv) = sizes;
    let split = move |o: &[Tensor<1>]| {
        (
            o[0].clone().reshape([2, tq, h, 6]),
            o[1].clone().reshape([2, tk, hkv, 6]),
            o[2].clone().reshape([2, tk, hkv, 6]),
        )
    };
    let hidden = hidden(sizes, &mask, lengths.as_deref());
    Pair {
        name: format!("attention {name}"),
        operands: vec![
            ("q", draw(13, 2 * tq * h * 6)),
            ("k", draw(14, 2 * tk * hkv * 6)),
            ("v", draw(15, 2 * tk * hkv * 6)),
        ],
        fused: Box::new(move |o| {
            let (q, k, v) = split(o);
            flat(fused::attention(Precision::F32, q, k, v, mask.clone(), lengths.clone()))
        }),
        composed: Box::new(move |o| {
            let (q, k, v) = split(o);
            // Query head h reads key-value head h / (H / Hkv).
            let repeated = |x: Tensor<4>| {
                let x = x.reshape([2, tk, hkv, 1, 6]).repeat_dim(3, h / hkv);
                x.reshape([2, tk, h, 6]).swap_dims(1, 2) // [B, H, Tk, K]
            };
            let (q, k, v) = (q.swap_dims(1, 2), repeated(k), repeated(v));
            let scores = q.matmul(k.swap_dims(2, 3)) * 6f64.powf(-0.5);
            let hidden = tensor(&hidden, [2, 1, tq, tk], &o[0].device());
            flat(softmax(scores + hidden, 3).matmul(v).swap_dims(1, 2))
        }),
    }
}

/// What is added to the scores, `[2, Tq, Tk]`: 0 where a query sees a key, else very little.
fn hidden(Sizes(tq, tk, ..): Sizes, mask: &Mask, lengths: Option<&[usize]>) -> Vec<f32> {
    let sees = |b: usize, i: usize, j: usize| match mask {
        Mask::Full => true,
        Mask::Causal { offset } => j <= i + offset,
        Mask::Prefix { offset, spans } => {
            let (own, other) = (spans[b * tk + i + offset], spans[b * tk + j]);
            match j <= i + offset {
                true => own == other || !matches!(other, Span::Apart(_)),
                false => own == other && matches!(own, Span::Shared(_)),
            }
        }
    };
    let valid = |b: usize, j: usize| lengths.is_none_or(|lengths| j < lengths[b]);
    (0..2 * tq * tk)
        .map(|n| (n / (tq * tk), n / tk % tq, n % tk))
        .map(|(b, i, j)| if sees(b, i, j) && valid(b, j) { 0.0 } else { -1e30 })
        .collect()
}

fn cross_entropy(z_loss: f32) -> Pair {
    const TARGETS: [i32; 8] = [3, 0, -100, 10, 7, -100, 3, 1];
    let logits = draw(16, 8 * 11).iter().map(|v| 3.0 * v).collect();
    Pair {
        name: format!("cross_entropy, z {z_loss}"),
        operands: vec![("logits", logits)],
        fused: Box::new(move |o| {
            fused::cross_entropy(o[0].clone().reshape([8, 11]), TARGETS.into(), z_loss)
        }),
        composed: Box::new(move |o| {
            let logits = o[0].clone().reshape([8, 11]);
            let device = logits.device();
            let picked: Vec<f32> = (0..8 * 11)
                .map(|n| if TARGETS[n / 11] == (n % 11) as i32 { 1.0 } else { 0.0 })
                .collect();
            let counted = TARGETS.map(|target| if target < 0 { 0.0 } else { 1.0 });
            let likely = log_softmax(logits.clone(), 1) * tensor(&picked, [8, 11], &device);
            let z = logits.exp().sum_dim(1).log().square() * tensor(&counted, [8, 1], &device);
            (likely.sum().neg() + z.sum() * z_loss) / 6.0
        }),
    }
}

fn embedding() -> Pair {
    // A repeated row must add up its gradients, an unread one keeps zero.
    const IDS: [i32; 6] = [4, 0, 4, 2, 8, 4];
    Pair {
        name: "embedding".into(),
        operands: vec![("table", draw(17, 9 * 7))],
        fused: Box::new(|o| flat(fused::embedding(o[0].clone().reshape([9, 7]), IDS.into()))),
        composed: Box::new(|o| {
            let ids: Tensor<1, Int> = Tensor::from_data(TensorData::from(IDS), &o[0].device());
            flat(o[0].clone().reshape([9, 7]).select(0, ids))
        }),
    }
}

fn convolution((side, stride, padding, bias): (usize, usize, usize, bool)) -> Pair {
    let mut operands = vec![("x", draw(18, 2 * 3 * side * side)), ("weight", draw(19, 5 * 3 * 9))];
    operands.extend(bias.then(|| ("bias", draw(20, 5))));
    let split = move |o: &[Tensor<1>]| {
        let x = o[0].clone().reshape([2, 3, side, side]);
        (x, o[1].clone().reshape([5, 3, 3, 3]), o.get(2).cloned())
    };
    Pair {
        name: format!("conv2d, stride {stride}, padding {padding}, bias {bias}"),
        operands,
        fused: Box::new(move |o| {
            let (x, weight, bias) = split(o);
            flat(fused::conv2d(Precision::F32, x, weight, bias, stride, padding))
        }),
        composed: Box::new(move |o| {
            let (x, weight, bias) = split(o);
            let options = ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1);
            flat(conv2d(x, weight, bias, options))
        }),
    }
}
