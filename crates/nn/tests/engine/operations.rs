//! Every fused operation with operands.

use std::sync::Arc;

use burn::tensor::Tensor;
use sensorium_kernels::quant::Kind;
use sensorium_nn::fused::{self, Gelu, Mask, Precision, Quantized, RotaryTable, Span, Transcript};

use crate::case::{Operand, Operation, draw, flat};

/// An operation and its operands.
pub struct Case {
    pub name: String,
    pub operands: Vec<Operand>,
    pub fused: Operation,
}

/// All of them. No size is a multiple of a vector's length.
pub fn all() -> Vec<Case> {
    let mut cases = vec![linear(true), linear(false), layer_norm(), rms_norm(), swiglu(), rotary()];
    cases.extend([Gelu::Erf, Gelu::Tanh, Gelu::Quick].map(gelu));
    cases.extend(attentions());
    cases.extend([0.0, 1e-2].map(cross_entropy));
    cases.extend([embedding(), quantized_linear(), ctc()]);
    cases.extend([false, true].map(group_norm));
    cases.extend([(9, 2, 1, true), (9, 3, 0, true), (7, 1, 1, false)].map(convolution));
    cases
}

fn linear(bias: bool) -> Case {
    let mut operands = vec![("x", draw(1, 2 * 5 * 7)), ("weight", draw(2, 11 * 7))];
    operands.extend(bias.then(|| ("bias", draw(3, 11))));
    Case {
        name: format!("linear, bias {bias}"),
        operands,
        fused: Box::new(|o| {
            let x = o[0].clone().reshape([2, 5, 7]);
            flat(fused::linear(Precision::F32, x, o[1].clone().reshape([11, 7]), o.get(2).cloned()))
        }),
    }
}

/// A frozen matrix in blocks of 32.
fn quantized_linear() -> Case {
    let weight = Quantized::new(Kind::Q8_0, [11, 64], &draw(31, 11 * 64)).expect("whole blocks");
    let weight = Arc::new(weight);
    Case {
        name: "quantized_linear".into(),
        operands: vec![("x", draw(30, 2 * 5 * 64))],
        fused: Box::new(move |o| {
            let x = o[0].clone().reshape([2, 5, 64]);
            flat(fused::quantized_linear(Precision::F32, x, &weight))
        }),
    }
}

fn layer_norm() -> Case {
    // A mean far from zero: a variance by E[x²] - E[x]² would lose its digits.
    let x = draw(4, 6 * 23).iter().map(|v| 2.0 * v + 3.0).collect();
    Case {
        name: "layer_norm".into(),
        operands: vec![("x", x), ("weight", draw(5, 23)), ("bias", draw(6, 23))],
        fused: Box::new(|o| {
            let x = o[0].clone().reshape([2, 3, 23]);
            flat(fused::layer_norm(x, o[1].clone(), o[2].clone(), 1e-5))
        }),
    }
}

fn group_norm(silu: bool) -> Case {
    let x = draw(40, 2 * 6 * 15).iter().map(|v| 2.0 * v + 3.0).collect();
    Case {
        name: format!("group_norm, silu {silu}"),
        operands: vec![("x", x), ("weight", draw(41, 6)), ("bias", draw(42, 6))],
        fused: Box::new(move |o| {
            let x = o[0].clone().reshape([2, 6, 3, 5]);
            flat(fused::group_norm(x, o[1].clone(), o[2].clone(), 3, 1e-5, silu))
        }),
    }
}

fn rms_norm() -> Case {
    Case {
        name: "rms_norm".into(),
        operands: vec![("x", draw(7, 6 * 23)), ("weight", draw(8, 23))],
        fused: Box::new(|o| {
            let x = o[0].clone().reshape([2, 3, 23]);
            flat(fused::rms_norm(x, o[1].clone(), 1e-6))
        }),
    }
}

fn gelu(kind: Gelu) -> Case {
    let x = draw(9, 71).iter().map(|v| 2.5 * v).collect();
    Case {
        name: format!("gelu {kind:?}"),
        operands: vec![("x", x)],
        fused: Box::new(move |o| fused::gelu(kind, o[0].clone())),
    }
}

fn swiglu() -> Case {
    Case {
        name: "swiglu".into(),
        operands: vec![("gate", draw(10, 71)), ("up", draw(11, 71))],
        fused: Box::new(|o| fused::swiglu(o[0].clone(), o[1].clone())),
    }
}

fn rotary() -> Case {
    let (theta, first) = (1e4_f32, 5_usize);
    Case {
        name: "rotary".into(),
        operands: vec![("x", draw(12, 2 * 3 * 4 * 10))],
        fused: Box::new(move |o| {
            let table = RotaryTable::new(theta, 10, first..first + 3);
            flat(fused::rotary(o[0].clone().reshape([2, 3, 4, 10]), &table))
        }),
    }
}

/// Queries, keys, query heads and key-value heads of one attention; 2 samples, heads of 6.
#[derive(Clone, Copy)]
struct Sizes(usize, usize, usize, usize);

fn attentions() -> Vec<Case> {
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
        (
            "prefix, cached",
            Sizes(4, 9, 4, 2),
            Mask::Prefix { offset: 5, spans: spans.clone() },
            None,
        ),
        ("window", Sizes(9, 9, 4, 2), Mask::Window { window: 3, spans: None }, None),
        ("window, cached", Sizes(4, 9, 4, 2), Mask::Window { window: 3, spans: None }, None),
        ("window, prefix", Sizes(9, 9, 4, 2), Mask::Window { window: 2, spans: Some(spans) }, None),
        ("apart", Sizes(9, 9, 4, 2), Mask::Prefix { offset: 0, spans: apart.clone() }, None),
        ("apart, cached", Sizes(4, 9, 4, 2), Mask::Prefix { offset: 5, spans: apart }, None),
        ("cross", Sizes(5, 11, 4, 2), Mask::Full, None),
        // More queries than one of the kernel's tiles holds.
        ("causal, long", Sizes(70, 70, 2, 1), causal(0), None),
    ]
    .map(|(name, sizes, mask, lengths)| attention(name, sizes, mask, lengths))
    .into()
}

fn attention(name: &str, sizes: Sizes, mask: Mask, lengths: Option<Arc<[usize]>>) -> Case {
    let Sizes(tq, tk, h, hkv) = sizes;
    let split = move |o: &[Tensor<1>]| {
        (
            o[0].clone().reshape([2, tq, h, 6]),
            o[1].clone().reshape([2, tk, hkv, 6]),
            o[2].clone().reshape([2, tk, hkv, 6]),
        )
    };
    Case {
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
    }
}

fn cross_entropy(z_loss: f32) -> Case {
    const TARGETS: [i32; 8] = [3, 0, -100, 10, 7, -100, 3, 1];
    let logits = draw(16, 8 * 11).iter().map(|v| 3.0 * v).collect();
    Case {
        name: format!("cross_entropy, z {z_loss}"),
        operands: vec![("logits", logits)],
        fused: Box::new(move |o| {
            fused::cross_entropy(o[0].clone().reshape([8, 11]), TARGETS.into(), z_loss)
        }),
    }
}

fn embedding() -> Case {
    // A repeated row must add up its gradients, an unread one keeps zero.
    const IDS: [i32; 6] = [4, 0, 4, 2, 8, 4];
    Case {
        name: "embedding".into(),
        operands: vec![("table", draw(17, 9 * 7))],
        fused: Box::new(|o| flat(fused::embedding(o[0].clone().reshape([9, 7]), IDS.into()))),
    }
}

/// A sample of all frames, a shorter one, one without labels and one whose labels do not fit.
fn ctc() -> Case {
    let of = |frames, labels: &[u32]| Transcript { frames, labels: labels.to_vec() };
    let transcripts: Arc<[Transcript]> =
        [of(7, &[2, 2, 1]), of(5, &[3, 1]), of(6, &[]), of(3, &[4, 4])].into();
    Case {
        name: "ctc".into(),
        operands: vec![("logits", draw(21, 4 * 7 * 5))],
        fused: Box::new(move |o| fused::ctc(o[0].clone().reshape([4, 7, 5]), transcripts.clone())),
    }
}

fn convolution((side, stride, padding, bias): (usize, usize, usize, bool)) -> Case {
    let mut operands = vec![("x", draw(18, 2 * 3 * side * side)), ("weight", draw(19, 5 * 3 * 9))];
    operands.extend(bias.then(|| ("bias", draw(20, 5))));
    let split = move |o: &[Tensor<1>]| {
        let x = o[0].clone().reshape([2, 3, side, side]);
        (x, o[1].clone().reshape([5, 3, 3, 3]), o.get(2).cloned())
    };
    Case {
        name: format!("conv2d, stride {stride}, padding {padding}, bias {bias}"),
        operands,
        fused: Box::new(move |o| {
            let (x, weight, bias) = split(o);
            flat(fused::conv2d(Precision::F32, x, weight, bias, stride, padding))
        }),
    }
}
