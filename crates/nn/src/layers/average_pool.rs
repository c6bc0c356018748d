//! Means of squares.

use burn::tensor::Tensor;
use burn::tensor::module::avg_pool2d;
use burn::tensor::ops::AvgPoolOptions;

/// The mean of every square of `side` pixels, `[B, c, h, w] -> [B, c, h / side, w / side]`; what is
/// left over at the far edges is passed over.
pub fn average_pool2d(x: Tensor<4>, side: usize) -> Tensor<4> {
    avg_pool2d(x, AvgPoolOptions::new([side; 2]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::read;
    use burn::tensor::Device;
    use burn::tensor::TensorData;

    #[test]
    fn squares_become_their_means() {
        let x: Vec<f32> = (0..30).map(|i| i as f32).collect();
        let x = TensorData::new(x, [1, 2, 3, 5]);
        let y = average_pool2d(Tensor::from_data(x, &Device::flex()), 2);
        assert_eq!(y.dims(), [1, 2, 1, 2]);
        assert_eq!(read(y), [3.0, 5.0, 18.0, 20.0]);
    }
}
