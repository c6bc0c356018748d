//! Rows of a table by id.

use std::sync::Arc;

use burn::tensor::{DType, FloatDType, Int, Shape, Tensor, TensorData};
use sensorium_kernels::buffer;
use sensorium_kernels::embedding as kernel;

use super::backend::{Array, Call, Operation, apply1, shaped};

#[derive(Debug)]
struct Embedding {
    ids: Arc<[i32]>,
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
    let ids: Arc<[i32]> = ids.into();
    apply1(Embedding { ids: ids.clone() }, table, |table| {
        let ids = TensorData::new(ids.to_vec(), Shape::from([ids.len()]));
        let ids = Tensor::<1, Int>::from_data(ids, &table.device());
        let rows = table.select(0, ids);
        match rows.dtype() {
            DType::F32 => rows,
            _ => rows.cast(FloatDType::F32),
        }
    })
}
