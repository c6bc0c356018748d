//! Softmax cross-entropy over the vocabulary, mean over the rows that count.

use std::sync::Arc;

use burn::tensor::{Int, Shape, Tensor, TensorData};
use sensorium_kernels::buffer;
use sensorium_kernels::cross_entropy as kernel;

use super::backend::{Array, Call, Operation, apply1, shaped};

#[derive(Debug)]
struct CrossEntropy {
    targets: Arc<[i32]>,
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
    let targets: Arc<[i32]> = targets.into();
    let op = CrossEntropy { targets: targets.clone(), z_loss, counted };
    apply1(op, logits, |logits| composed(logits, &targets, z_loss) / counted)
}

/// The sum over the rows that count.
fn composed(logits: Tensor<2>, targets: &[i32], z_loss: f32) -> Tensor<1> {
    let (device, shape) = (logits.device(), [targets.len(), 1]);
    let ids: Vec<i32> = targets.iter().map(|&target| target.max(0)).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, Shape::from(shape)), &device);
    let counts: Vec<f32> = targets.iter().map(|&t| if t < 0 { 0.0 } else { 1.0 }).collect();
    let counts = Tensor::<2>::from_data(TensorData::new(counts, Shape::from(shape)), &device);

    let largest = logits.clone().detach().max_dim(1);
    let lse = (logits.clone() - largest.clone()).exp().sum_dim(1).log() + largest; // [rows, 1]
    let losses = lse.clone() - logits.gather(1, ids);
    let losses = match z_loss {
        0.0 => losses,
        z_loss => losses + lse.square() * z_loss,
    };
    (losses * counts).sum()
}
