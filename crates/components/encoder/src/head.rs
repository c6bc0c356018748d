//! From what an encoder saw to one vector of a space that media share.
//!
//! The head of ImageBind (Girdhar et al. 2023, section 3.2, <https://arxiv.org/abs/2305.05665>): a norm and a
//! linear map; here of the mean of the positions, for encoders differ in whether they have a class token.
//!
//! ```text
//! Features [B, N, E] ──norm──▶ ──mean of those that count──▶ [B, E] ──proj──▶ [B, C]
//! ```

use sensorium_flow::{Features, Input};
use sensorium_nn::prelude::*;

use crate::audio;

/// Epsilon of the norm: PyTorch's default.
const EPS: f64 = 1e-5;

/// See the [module](self).
#[derive(Module, Debug)]
pub struct EmbeddingHead {
    norm: LayerNorm,
    proj: Linear,
}

sensorium_nn::pack!(EmbeddingHead: proj);

impl EmbeddingHead {
    /// Weights of `E^-0.5`.
    pub fn init([e, c]: [usize; 2], init: &mut Init) -> Self {
        let std = (e as f64).powf(-0.5);
        Self { norm: LayerNorm::init(e, EPS, init), proj: Linear::init(e, c, false, std, init) }
    }

    /// `[B, N, E] -> [B, C]`; of each medium the first `lengths` positions count, without them all.
    pub fn embed(&self, Features(x): Features, lengths: Option<&[usize]>) -> Tensor<2> {
        let [b, n, e] = x.dims();
        let share = |at: usize, length: usize| if at < length { 1.0 / length as f32 } else { 0.0 };
        let row = |i: usize| {
            let length = lengths.map_or(n, |lengths| lengths[i].clamp(1, n));
            (0..n).map(move |at| share(at, length))
        };
        let shares: Vec<f32> = (0..b).flat_map(row).collect();
        let shares = Tensor::from_data(TensorData::new(shares, [b, n, 1]), &x.device());
        let mean = (self.norm.forward(x) * shares).sum_dim(1).reshape([b, e]);
        self.proj.forward(mean)
    }
}

/// Positions of each medium that count, where media are padded to one length.
pub fn lengths(input: &Input) -> Option<Vec<usize>> {
    match input {
        Input::Audio(sounds) => {
            Some(sounds.frames.iter().map(|&frames| audio::positions(frames)).collect())
        }
        Input::Table(rows) => Some(rows.columns.to_vec()),
        Input::Image(_) | Input::Video(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use sensorium_nn::params::read;

    use super::*;

    #[test]
    fn only_positions_that_count_are_felt() {
        let mut init = Init::new(5, &Device::flex());
        let head = EmbeddingHead::init([6, 3], &mut init);
        let x = init.normal([2, 4, 6], 1.0).val();
        let all = head.embed(Features(x.clone()), Some(&[2, 4]));
        let first = head.embed(Features(x.clone().narrow(0, 0, 1).narrow(1, 0, 2)), None);
        let second = head.embed(Features(x.narrow(0, 1, 1)), None);
        let apart = Tensor::cat(vec![first, second], 0);
        assert!(read((all - apart).abs().max())[0] < 1e-6);
    }
}
