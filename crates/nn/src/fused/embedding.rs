//! Rows of a table by id.

use burn::tensor::Tensor;
use sensorium_kernels::buffer;
use sensorium_kernels::embedding as kernel;

use super::backend::{Array, Call, Operation, apply1, shaped};

#[derive(Debug)]
struct Embedding {
    ids: Vec<i32>,
}

impl Operation for Embedding {
    fn forward(&self, inputs: &[Array]) -> (Array, Vec<Array>) {
        let table = &inputs[0];
        let d = table.width();
        let mut y = buffer(self.ids.len() * d);
        kernel::embedding(&self.ids, d, table.values(), &mut y);
        (Array::new(y, &[self.ids.len(), d]), Vec::new())
    }

    fn backward(&self, call: &Call, grad: &Array, _wanted: &[bool]) -> Vec<Option<Array>> {
        let table = &call.inputs[0];
        let mut dtable = buffer(table.values().len());
        kernel::embedding_backward(
            &self.ids,
            table.width(),
            table.rows(),
            grad.values(),
            &mut dtable,
        );
        vec![shaped(Some(dtable), table)]
    }
}

/// `table [V, D], ids [rows] -> [rows, D]`.
pub fn embedding(table: Tensor<2>, ids: Vec<i32>) -> Tensor<2> {
    apply1(Embedding { ids }, table)
}
