//! GELU in its three published forms, and SwiGLU (Shazeer 2020).

use burn::tensor::Tensor;
use burn::tensor::activation::{sigmoid, silu};
use sensorium_kernels::activation as kernel;
use sensorium_kernels::buffer;

use super::Gelu;
use super::backend::{Array, Call, Operation, apply1, apply2, shaped};

#[derive(Debug)]
struct GeluOperation(Gelu);

impl Operation for GeluOperation {
    fn forward(&self, inputs: &[Array]) -> (Array, Vec<Array>) {
        let x = &inputs[0];
        let mut y = buffer(x.values().len());
        kernel::gelu(self.0, x.values(), &mut y);
        (Array::new(y, &x.shape()), Vec::new())
    }

    fn backward(&self, call: &Call, grad: &Array, _wanted: &[bool]) -> Vec<Option<Array>> {
        let x = &call.inputs[0];
        let mut dx = buffer(x.values().len());
        kernel::gelu_backward(self.0, x.values(), grad.values(), &mut dx);
        vec![shaped(Some(dx), x)]
    }
}

/// GELU, elementwise: exact (erf), tanh form, or QuickGELU `x·sigmoid(1.702x)` of OpenAI's CLIP.
pub fn gelu<const D: usize>(kind: Gelu, x: Tensor<D>) -> Tensor<D> {
    apply1(GeluOperation(kind), x, |x| match kind {
        // Not the framework's own, whose gradient is that of the tanh form.
        Gelu::Erf => x.clone() * ((x * std::f64::consts::FRAC_1_SQRT_2).erf() + 1.0) * 0.5,
        Gelu::Tanh => {
            let inner = x.clone() + x.clone() * x.clone() * x.clone() * 0.044_715;
            let root = (2.0 / std::f64::consts::PI).sqrt();
            x * ((inner * root).tanh() + 1.0) * 0.5
        }
        Gelu::Quick => x.clone() * sigmoid(x * 1.702),
    })
}

#[derive(Debug)]
struct SwiGlu;

impl Operation for SwiGlu {
    fn forward(&self, inputs: &[Array]) -> (Array, Vec<Array>) {
        let [gate, up] = inputs else { unreachable!("swiglu has 2 inputs") };
        let mut y = buffer(up.values().len());
        kernel::swiglu(gate.values(), up.values(), &mut y);
        (Array::new(y, &up.shape()), Vec::new())
    }

    fn backward(&self, call: &Call, grad: &Array, _wanted: &[bool]) -> Vec<Option<Array>> {
        let (gate, up) = (&call.inputs[0], &call.inputs[1]);
        let n = up.values().len();
        let (mut dgate, mut dup) = (buffer(n), buffer(n));
        kernel::swiglu_backward(gate.values(), up.values(), grad.values(), &mut dgate, &mut dup);
        vec![shaped(Some(dgate), gate), shaped(Some(dup), up)]
    }
}

/// `silu(gate) * up`, elementwise.
pub fn swiglu<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    apply2(SwiGlu, gate, up, |gate, up| silu(gate) * up)
}
