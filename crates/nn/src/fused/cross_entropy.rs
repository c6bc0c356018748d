//! Softmax cross-entropy over the vocabulary, mean over the rows that count.

use burn::tensor::Tensor;
use sensorium_kernels::buffer;
use sensorium_kernels::cross_entropy as kernel;

use super::backend::{Array, Call, Operation, apply1, shaped};

#[derive(Debug)]
struct CrossEntropy {
    targets: Vec<i32>,
    z_loss: f32,
    counted: f32,
}

impl Operation for CrossEntropy {
    fn forward(&self, inputs: &[Array]) -> (Array, Vec<Array>) {
        let logits = &inputs[0];
        let (rows, v) = (logits.rows(), logits.width());
        let (mut losses, mut lse) = (vec![0.0; rows], vec![0.0; rows]);
        kernel::cross_entropy(
            rows,
            v,
            logits.values(),
            &self.targets,
            self.z_loss,
            &mut losses,
            &mut lse,
        );
        let total: f64 = losses.iter().map(|&loss| f64::from(loss)).sum();
        let mean = (total / f64::from(self.counted)) as f32;
        (Array::new(vec![mean], &[1]), vec![Array::new(lse, &[rows])])
    }

    fn backward(&self, call: &Call, grad: &Array, _wanted: &[bool]) -> Vec<Option<Array>> {
        let logits = &call.inputs[0];
        let (rows, v) = (logits.rows(), logits.width());
        let dloss = vec![grad.values()[0] / self.counted; rows];
        let mut dlogits = buffer(rows * v);
        kernel::cross_entropy_backward(
            rows,
            v,
            logits.values(),
            &self.targets,
            call.saved[0].values(),
            &dloss,
            self.z_loss,
            &mut dlogits,
        );
        vec![shaped(Some(dlogits), logits)]
    }
}

/// `logits [rows, V] -> [1]`: mean of `-log p(target)` over rows whose target is not -100, plus
/// `z_loss · logsumexp²` (PaLM, Chowdhery et al. 2022, section 5). No counted row gives 0.
pub fn cross_entropy(logits: Tensor<2>, targets: Vec<i32>, z_loss: f32) -> Tensor<1> {
    let counted = targets.iter().filter(|&&target| target >= 0).count().max(1) as f32;
    apply1(CrossEntropy { targets, z_loss, counted }, logits)
}
