//! A linear head that must name, at each of an image encoder's positions, what lies there, so that
//! the encoder keeps things where they are: region supervision as in RegionCLIP (Zhong et al. 2022,
//! <https://arxiv.org/abs/2112.09106>) with labels in place of region texts. It is thrown away after
//! training.
//!
//! ```text
//! features [B, N, E] ──head──▶ [B·N, sum of classes] ──▶ a cross-entropy for each attribute
//! ```

use sensorium_flow::Features;
use sensorium_nn::prelude::*;

/// See the [module](self).
#[derive(Module, Debug)]
pub struct Regions {
    /// Before the head: an encoder's features may be of any size.
    pub norm: LayerNorm,
    /// All attributes' classes side by side.
    pub head: Linear,
    #[module(skip)]
    classes: Vec<usize>,
}

/// PyTorch's.
const EPS: f64 = 1e-5;

impl Regions {
    /// Seeded weights for features of `width`; `classes` are the number of each attribute's.
    pub fn init(width: usize, classes: &[usize], init: &mut Init) -> Self {
        let norm = LayerNorm::init(width, EPS, init);
        let std = (width as f64).powf(-0.5);
        let head = Linear::init(width, classes.iter().sum(), true, std, init);
        Self { norm, head, classes: classes.to_vec() }
    }

    /// Sum of the attributes' losses, each a mean over positions, given `features [B, N, E]`.
    /// `targets` hold a class for each attribute of each position, below 0 where none is known.
    pub fn loss(&self, features: Features, targets: &[Vec<i32>]) -> Tensor<1> {
        let [b, n, e] = features.0.dims();
        let logits = self.head.forward(self.norm.forward(features.0.reshape([b * n, e])));
        let mut start = 0;
        let mut losses = Vec::with_capacity(self.classes.len());
        for (&classes, targets) in self.classes.iter().zip(targets) {
            let part = logits.clone().narrow(1, start, classes);
            losses.push(fused::cross_entropy(part, targets.clone(), 0.0));
            start += classes;
        }
        Tensor::cat(losses, 0).sum()
    }
}

#[cfg(test)]
mod tests {
    use sensorium_nn::params::read;
    use sensorium_nn::prelude::Device;

    use super::*;

    #[test]
    fn a_head_that_knows_nothing_loses_the_logarithm_of_the_classes() {
        let regions = Regions::init(4, &[3, 2], &mut Init::new(1, &Device::flex()));
        let features = Features(Tensor::zeros([1, 2, 4], &Device::flex()));
        let loss = read(regions.loss(features.clone(), &[vec![0, 2], vec![1, -100]]))[0];
        assert!((loss - 6.0_f32.ln()).abs() < 1e-5, "{loss}");
        let none = read(regions.loss(features, &[vec![-100, -100], vec![-100, -100]]))[0];
        assert_eq!(none, 0.0);
    }
}
