//! Attention over keys and values that are kept from call to call.

use std::mem::take;
use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::Dispatch;
use burn::tensor::Tensor;
use sensorium_kernels::Precision;
use sensorium_kernels::attention::{AttentionShape, attend};

use super::backend::{Array, Call, Fused, Operation};
use super::{Mask, attention};

/// Keys and values of the tokens that one layer has read.
#[derive(Clone, Debug, Default)]
pub struct KeyValues {
    /// `[T, Hkv, K]` of each sample.
    samples: Vec<Kept>,
}

#[derive(Clone, Debug, Default)]
struct Kept {
    keys: Vec<f32>,
    values: Vec<f32>,
}

#[derive(Debug)]
struct Cached {
    precision: Precision,
    kept: Mutex<KeyValues>,
    mask: Mask,
}

impl KeyValues {
    /// Adds `k, v [B, T, Hkv, K]`, then asks all that were added: `q [B, T, H, K] -> [B, T, H, K]`,
    /// scaled by `K^-0.5`; products of numbers in `precision`. For models that run.
    pub fn attention(
        &mut self,
        precision: Precision,
        q: Tensor<4>,
        k: Tensor<4>,
        v: Tensor<4>,
        mask: Mask,
    ) -> Tensor<4> {
        let op = Arc::new(Cached { precision, kept: Mutex::new(take(self)), mask });
        let (q, k, v) = (q.into_dispatch(), k.into_dispatch(), v.into_dispatch());
        let o = Tensor::from_dispatch(Dispatch::fused3(op.clone(), q, k, v));
        *self = take(&mut *op.kept.lock().unwrap_or_else(PoisonError::into_inner));
        o
    }
}

impl Operation for Cached {
    fn forward(&self, inputs: &[Array]) -> (Array, Vec<Array>) {
        let [q, k, v] = inputs else { unreachable!("attention has 3 inputs") };
        let AttentionShape { batch, queries, heads, kv_heads, width, .. } =
            attention::shape_of(q, k);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.samples.resize_with(batch, Kept::default);
        let scale = (width as f32).powf(-0.5);
        let (q_size, k_size) = (queries * heads * width, queries * kv_heads * width);
        let mut o = Vec::new();
        for (b, Kept { keys, values }) in kept.samples.iter_mut().enumerate() {
            keys.extend_from_slice(&k.values()[b * k_size..(b + 1) * k_size]);
            values.extend_from_slice(&v.values()[b * k_size..(b + 1) * k_size]);
            let n = keys.len() / (kv_heads * width).max(1);
            let shape = AttentionShape { batch: 1, queries, keys: n, heads, kv_heads, width };
            let q = &q.values()[b * q_size..(b + 1) * q_size];
            let one =
                attend(self.precision, shape, q, keys, values, scale, self.mask.view_of(b, n));
            if batch == 1 { o = one } else { o.extend(one) }
        }
        (Array::new(o, &q.shape()), Vec::new())
    }

    fn backward(&self, _: &Call, _: &Array, _: &[bool]) -> Vec<Option<Array>> {
        panic!("attention over kept keys runs, it does not train")
    }
}
