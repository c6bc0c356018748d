//! A table of vectors by token id.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::fused::{self, Precision};
use crate::init::Init;
use crate::pack::{Dense, Matrix, Pack, Packed, Visit, halved};

/// `V` rows of width `D`.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[V, D]`.
    pub weight: Param<Tensor<2>>,
    #[module(skip)]
    precision: Precision,
    /// The head, packed.
    #[module(skip)]
    head: Option<Arc<Dense>>,
}

impl Embedding {
    /// Normal rows of `std`.
    pub fn init(v: usize, d: usize, std: f64, init: &mut Init) -> Self {
        Self { weight: init.normal([v, d], std), precision: init.precision(), head: None }
    }

    /// Rows V of the table.
    pub fn rows(&self) -> usize {
        self.weight.dims()[0]
    }

    /// `ids`, row-major `[B, T]` -> `[B, T, D]`
    pub fn forward(&self, ids: &[u32], [b, t]: [usize; 2]) -> Tensor<3> {
        let ids = ids.iter().map(|&id| id as i32).collect();
        let rows = fused::embedding(self.weight.val(), ids); // [B*T, D]
        let d = rows.dims()[1];
        rows.reshape([b, t, d])
    }

    /// The table as a tied language-model head: `[rows, D] -> [rows, V]`.
    pub fn unembed(&self, x: Tensor<2>) -> Tensor<2> {
        match &self.head {
            Some(head) => fused::packed_linear(x, head),
            None => fused::linear(self.precision, x, self.weight.val(), None),
        }
    }
}

impl Matrix for Embedding {
    /// The head; the table stays as it is.
    fn pack(&mut self, packer: &mut dyn FnMut(&Param<Tensor<2>>) -> Option<Arc<Packed>>) {
        self.head = packer(&self.weight).map(|weight| Arc::new(Dense { weight, bias: None }));
    }

    fn halve(&mut self) {
        self.weight = halved(&self.weight).unwrap_or_else(|| self.weight.clone());
    }
}

impl Pack for Embedding {
    fn matrices(&mut self, path: &str, visit: &mut Visit<'_>) {
        visit(path, self);
    }
}
