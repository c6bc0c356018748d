//! Attention over keys and values that are kept from call to call.

use std::mem::take;
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::Tensor;
use sensorium_kernels::Precision;
use sensorium_kernels::attention::{Sample, attend_each};

use super::backend::{Array, Call, Operation, apply3};
use super::{Mask, attention};

/// Keys and values of the tokens that one layer has read, on the device that read them. Samples need
/// not have read equally many.
#[derive(Clone, Debug, Default)]
pub struct KeyValues {
    samples: Vec<Kept>,
}

/// Of one sample, either for the kernels or on another device.
#[derive(Clone, Debug, Default)]
struct Kept {
    /// `[T, Hkv, K]`, which grows in place.
    keys: Vec<f32>,
    values: Vec<f32>,
    /// `[1, T, Hkv, K]`, keys and values.
    elsewhere: Option<[Tensor<4>; 2]>,
}

#[derive(Debug)]
struct Cached {
    precision: Precision,
    kept: Arc<Mutex<KeyValues>>,
    mask: Mask,
}

impl KeyValues {
    /// One sample of each of `parts`, taken from them.
    ///
    /// # Panics
    /// When one of them has read several samples.
    pub fn join<'a>(parts: impl Iterator<Item = &'a mut Self>) -> Self {
        let sample = |part: &'a mut Self| {
            assert!(part.samples.len() <= 1, "{} samples in one", part.samples.len());
            part.samples.pop().unwrap_or_default()
        };
        Self { samples: parts.map(sample).collect() }
    }

    /// The first `n` of the `tokens` that a sample has read.
    pub fn first(&self, n: usize, tokens: usize) -> Self {
        let first = |kept: &Kept| {
            let part = |all: &Vec<f32>| all[..all.len() / tokens.max(1) * n].to_vec();
            let elsewhere = kept.elsewhere.clone().map(|both| both.map(|x| x.narrow(1, 0, n)));
            Kept { keys: part(&kept.keys), values: part(&kept.values), elsewhere }
        };
        Self { samples: self.samples.iter().map(first).collect() }
    }

    /// Numbers in it.
    pub fn numbers(&self) -> usize {
        let of = |x: &Tensor<4>| x.dims().iter().product::<usize>();
        let numbers = |kept: &Kept| {
            let elsewhere: usize = kept.elsewhere.iter().flatten().map(of).sum();
            kept.keys.len() + kept.values.len() + elsewhere
        };
        self.samples.iter().map(numbers).sum()
    }

    /// Each sample by itself.
    pub fn split(self) -> impl Iterator<Item = Self> {
        self.samples.into_iter().map(|sample| Self { samples: vec![sample] })
    }

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
        let kept = Arc::new(Mutex::new(take(self)));
        let locked = || kept.lock().unwrap_or_else(PoisonError::into_inner);
        let op = Cached { precision, kept: kept.clone(), mask: mask.clone() };
        let o = apply3(op, q, k, v, |q, k, v| locked().composed(&q, &k, &v, &mask, None));
        *self = take(&mut *locked());
        o
    }

    /// As [`attention`](Self::attention), of scores that are capped
    /// ([`softcapped_attention`](super::softcapped_attention)).
    pub fn softcapped(
        &mut self,
        q: &Tensor<4>,
        k: &Tensor<4>,
        v: &Tensor<4>,
        mask: &Mask,
        softcap: f32,
    ) -> Tensor<4> {
        self.composed(q, k, v, mask, Some(softcap))
    }

    /// A sample at a time, for each may have read another number of tokens.
    fn composed(
        &mut self,
        q: &Tensor<4>,
        k: &Tensor<4>,
        v: &Tensor<4>,
        mask: &Mask,
        softcap: Option<f32>,
    ) -> Tensor<4> {
        self.each([q, k, v], |b, [q, k, v]| {
            let mask = mask.of_sample(b, k.dims()[1]);
            attention::composed(q, k, v, &mask, None, softcap)
        })
    }

    /// Adds keys and values; what `attend` makes of each sample's queries, and of all its keys and values:
    /// `qkv [B, T, H, K]`, of a sample `[1, T, H, K]`, to `[B, T, H, K]`. The framework's own, on every device.
    pub fn each(
        &mut self,
        qkv: [&Tensor<4>; 3],
        attend: impl Fn(usize, [Tensor<4>; 3]) -> Tensor<4>,
    ) -> Tensor<4> {
        self.samples.resize_with(qkv[0].dims()[0], Kept::default);
        let samples = self.samples.iter_mut().enumerate().map(|(b, kept)| {
            let [q, k, v] = qkv.map(|x| x.clone().narrow(0, b, 1));
            let [k, v] = match kept.elsewhere.take() {
                Some([keys, values]) => {
                    [Tensor::cat(vec![keys, k], 1), Tensor::cat(vec![values, v], 1)]
                }
                None => [k, v],
            };
            kept.elsewhere = Some([k.clone(), v.clone()]);
            attend(b, [q, k, v])
        });
        Tensor::cat(samples.collect(), 0)
    }
}

impl Operation for Cached {
    fn forward(&self, inputs: &[Array]) -> (Array, Vec<Array>) {
        let [q, k, v] = inputs else { unreachable!("attention has 3 inputs") };
        let shape = attention::shape_of(q, k);
        let row = shape.kv_heads * shape.width;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.samples.resize_with(shape.batch, Kept::default);
        let new = (shape.queries * row).max(1);
        let new = k.values().chunks(new).zip(v.values().chunks(new));
        for (Kept { keys, values, .. }, (k, v)) in kept.samples.iter_mut().zip(new) {
            keys.extend_from_slice(k);
            values.extend_from_slice(v);
        }
        let samples =
            kept.samples.iter().enumerate().map(|(b, Kept { keys, values, .. })| Sample {
                keys,
                values,
                mask: self.mask.view_of(b, shape.queries, keys.len() / row.max(1)),
            });
        let samples: Vec<_> = samples.collect();
        let scale = (shape.width as f32).powf(-0.5);
        let o = attend_each(self.precision, shape, q.values(), &samples, scale);
        (Array::new(o, &q.shape()), Vec::new())
    }

    fn backward(&self, _: &Call, _: &Array, _: &[bool]) -> Vec<Option<Array>> {
        panic!("attention over kept keys runs, it does not train")
    }
}
