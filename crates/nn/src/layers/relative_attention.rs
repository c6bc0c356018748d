//! Attention whose scores have summands of their own, such as how far positions lie apart.

use burn::tensor::Tensor;
use burn::tensor::activation::softmax;

/// How much each query reads of each key, `q [B, Tq, H, K], k [B, Tk, H, K] -> [B, H, Tq, Tk]`: the softmax of
/// products that are scaled by `K^-0.5`, and of `bias`, which has these axes or ones of 1.
pub fn attention_weights(q: Tensor<4>, k: Tensor<4>, bias: Tensor<4>) -> Tensor<4> {
    let scale = (q.dims()[3] as f64).powf(-0.5);
    let [q, k] = [q * scale, k].map(|x| x.swap_dims(1, 2)); // [B, H, T, K]
    softmax(q.matmul(k.swap_dims(2, 3)) + bias, 3)
}

/// What is read with such weights, `[B, H, Tq, Tk], v [B, Tk, H, K] -> [B, Tq, H, K]`.
pub fn weighted(weights: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    weights.matmul(v.swap_dims(1, 2)).swap_dims(1, 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::{Mask, Precision, attention};
    use crate::init::Init;
    use crate::params::read;
    use burn::tensor::Device;

    #[test]
    fn without_summands_it_is_attention() {
        let mut init = Init::new(7, &Device::flex());
        let mut part = || init.normal([2, 5, 3, 4], 1.0).val();
        let [q, k, v] = [part(), part(), part()];
        let bias = Tensor::zeros([1, 1, 1, 1], &Device::flex());
        let got = weighted(attention_weights(q.clone(), k.clone(), bias), v.clone());
        let want = attention(Precision::F32, q, k, v, Mask::Full, None);
        assert!(read((got - want).abs().max())[0] < 1e-5);
    }
}
