//! Fused operations against PyTorch's outputs and gradients, `goldens/ops`.
//!
//! Left out: `cross_entropy_smooth`, for no recipe smooths its labels.

use std::sync::Arc;

use burn::tensor::Tensor;
use sensorium_nn::fused::{self, Gelu, Mask, Precision, RotaryTable, Span};
use sensorium_testkit::{Golden, Tensors, assert_close};

use crate::case::{Operand, Operation, device, flat, run};

/// A single operation in f32 (README of `reference`).
const TOLERANCE: f32 = 1e-5;

struct Ops {
    config: serde_json::Value,
    inputs: Tensors,
    outputs: Tensors,
    gradients: Tensors,
}

impl Ops {
    fn open() -> Self {
        let golden = Golden::open("ops");
        Self {
            config: golden.config(),
            inputs: golden.inputs(),
            outputs: golden.outputs(),
            gradients: golden.gradients(),
        }
    }

    fn values(&self, case: &str, name: &str) -> Vec<f32> {
        self.inputs[&format!("{case}.{name}")].1.clone()
    }

    fn shape<const D: usize>(&self, case: &str, name: &str) -> [usize; D] {
        let shape = &self.inputs[&format!("{case}.{name}")].0;
        shape.as_slice().try_into().unwrap_or_else(|_| panic!("{case}.{name} is {shape:?}"))
    }

    fn number(&self, case: &str, name: &str) -> f64 {
        self.config[case][name].as_f64().unwrap_or_else(|| panic!("no number {case}.{name}"))
    }

    /// Runs `operation` on the operands of `case` and compares outputs and gradients.
    fn check(&self, case: &str, names: &[&'static str], operation: Operation) {
        let operands: Vec<Operand> =
            names.iter().map(|&name| (name, self.values(case, name))).collect();
        let got = run(&operation, &operands, &self.values(case, "upstream"), &device());
        let output = format!("{case}.output");
        assert_close(&output, &got.output, &self.outputs[&output].1, TOLERANCE);
        for (name, gradient) in names.iter().zip(&got.gradients) {
            let name = format!("{case}.{name}");
            assert_close(&name, gradient, &self.gradients[&name].1, TOLERANCE);
        }
    }
}

#[test]
fn norms() {
    let ops = Ops::open();
    let shape: [usize; 3] = ops.shape("layer_norm", "x");
    let eps = ops.number("layer_norm", "eps") as f32;
    ops.check(
        "layer_norm",
        &["x", "weight", "bias"],
        Box::new(move |o| {
            flat(fused::layer_norm(o[0].clone().reshape(shape), o[1].clone(), o[2].clone(), eps))
        }),
    );
    let shape: [usize; 3] = ops.shape("rms_norm", "x");
    let eps = ops.number("rms_norm", "eps") as f32;
    ops.check(
        "rms_norm",
        &["x", "weight"],
        Box::new(move |o| flat(fused::rms_norm(o[0].clone().reshape(shape), o[1].clone(), eps))),
    );
}

#[test]
fn activations() {
    let ops = Ops::open();
    let kinds = [("gelu_erf", Gelu::Erf), ("gelu_tanh", Gelu::Tanh), ("quick_gelu", Gelu::Quick)];
    for (case, kind) in kinds {
        ops.check(case, &["x"], Box::new(move |o| fused::gelu(kind, o[0].clone())));
    }
    ops.check("swiglu", &["gate", "up"], Box::new(|o| fused::swiglu(o[0].clone(), o[1].clone())));
}

#[test]
fn rotaries() {
    let ops = Ops::open();
    for case in ["rotary", "rotary_offset"] {
        let shape: [usize; 4] = ops.shape(case, "x"); // [B, H, T, K]
        let first = ops.number(case, "first_position") as usize;
        let theta = ops.number(case, "theta") as f32;
        ops.check(
            case,
            &["x"],
            Box::new(move |o| {
                let table = RotaryTable::new(theta, shape[3], first..first + shape[2]);
                let x = o[0].clone().reshape(shape).swap_dims(1, 2);
                flat(fused::rotary(x, &table).swap_dims(1, 2))
            }),
        );
    }
}

#[test]
fn attentions() {
    let ops = Ops::open();
    // A prefix of 4 that all see is a span of 4 at the start.
    let span = |n| if n % 9 < 4 { Span::Shared(1) } else { Span::None };
    let spans: Arc<[Span]> = (0..18).map(span).collect();
    let cases = [
        ("attention_full", Mask::Full),
        ("attention_causal", Mask::Causal { offset: 0 }),
        ("attention_mha", Mask::Causal { offset: 0 }),
        ("attention_cached", Mask::Causal { offset: 6 }),
        ("attention_prefix", Mask::Prefix { offset: 0, spans }),
        ("attention_cross", Mask::Full),
    ];
    for (case, mask) in cases {
        let shapes: [[usize; 4]; 3] = ["q", "k", "v"].map(|name| ops.shape(case, name));
        ops.check(
            case,
            &["q", "k", "v"],
            Box::new(move |o| {
                let [q, k, v] = [0, 1, 2].map(|i| turned(&o[i], shapes[i]));
                flat(fused::attention(Precision::F32, q, k, v, mask.clone(), None).swap_dims(1, 2))
            }),
        );
    }
}

/// PyTorch's `[B, H, T, K]` to our `[B, T, H, K]`.
fn turned(x: &Tensor<1>, shape: [usize; 4]) -> Tensor<4> {
    x.clone().reshape(shape).swap_dims(1, 2)
}

#[test]
fn cross_entropies() {
    let ops = Ops::open();
    let z = ops.number("cross_entropy_z", "z") as f32;
    for (case, z) in [("cross_entropy", 0.0), ("cross_entropy_ignore", 0.0), ("cross_entropy_z", z)]
    {
        let shape: [usize; 2] = ops.shape(case, "logits");
        let targets: Vec<i32> =
            ops.values(case, "targets").iter().map(|&target| target as i32).collect();
        ops.check(
            case,
            &["logits"],
            Box::new(move |o| {
                fused::cross_entropy(o[0].clone().reshape(shape), targets.clone(), z)
            }),
        );
    }
}

#[test]
fn convolutions() {
    let ops = Ops::open();
    for case in ["conv2d_stride1", "conv2d_stride2", "conv2d_stride3"] {
        let (x, weight): ([usize; 4], [usize; 4]) =
            (ops.shape(case, "x"), ops.shape(case, "weight"));
        let (stride, padding) = (ops.number(case, "stride"), ops.number(case, "padding"));
        ops.check(
            case,
            &["x", "weight", "bias"],
            Box::new(move |o| {
                flat(fused::conv2d(
                    Precision::F32,
                    o[0].clone().reshape(x),
                    o[1].clone().reshape(weight),
                    Some(o[2].clone()),
                    stride as usize,
                    padding as usize,
                ))
            }),
        );
    }
}
