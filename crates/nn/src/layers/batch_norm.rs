//! Normalisation of channels over a batch (Ioffe and Szegedy 2015).

use burn::module::{Module, Param, RunningState};
use burn::tensor::Tensor;
use burn::tensor::module::{batch_norm, batch_norm_train};

use crate::init::Init;
use crate::params::read;

/// PyTorch's, which nobody changes.
const EPS: f64 = 1e-5;
/// Weight of a batch in the running statistics.
const MOMENTUM: f64 = 0.1;

/// BatchNorm of pictures with scale and shift: while its scale is trained, by the statistics of the batch,
/// which the running ones follow; otherwise by the running ones, which stay.
#[derive(Module, Debug)]
pub struct BatchNorm2d {
    /// Scale `[c]`.
    pub weight: Param<Tensor<1>>,
    /// Shift `[c]`.
    pub bias: Param<Tensor<1>>,
    /// `[c]`
    running_mean: RunningState<Tensor<1>>,
    /// `[c]`, of a sample: over one value less than there are.
    running_var: RunningState<Tensor<1>>,
}

impl BatchNorm2d {
    /// Every scale `weight`, shift 0.
    pub fn init(channels: usize, weight: f32, init: &mut Init) -> Self {
        let mut running = |value| {
            RunningState::new(init.constant([channels], value).val().set_require_grad(false))
        };
        let [running_mean, running_var] = [0.0, 1.0].map(&mut running);
        let [weight, bias] = [weight, 0.0].map(|value| init.constant([channels], value));
        Self { weight, bias, running_mean, running_var }
    }

    /// `[B, c, h, w] -> [B, c, h, w]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        if !weight.is_require_grad() {
            let [mean, var] = [&self.running_mean, &self.running_var].map(RunningState::value);
            return batch_norm(x, weight, bias, mean, var, EPS);
        }
        let [b, _, h, w] = x.dims();
        let values = b * h * w;
        let seen = batch_norm_train(x, weight, bias, EPS);
        // What the batch is normalised by is over all values.
        let unbiased = values as f64 / (values - 1).max(1) as f64;
        follow(&self.running_mean, seen.mean);
        follow(&self.running_var, seen.variance * unbiased);
        seen.output
    }

    /// The factor and the summand of each channel by the running statistics.
    pub(crate) fn affine(&self) -> (Vec<f32>, Vec<f32>) {
        let [mean, var] = [&self.running_mean, &self.running_var].map(|state| read(state.value()));
        let root = |var: &f32| (var + EPS as f32).sqrt();
        let scale: Vec<f32> =
            read(self.weight.val()).iter().zip(&var).map(|(w, var)| w / root(var)).collect();
        let means = scale.iter().zip(&mean).map(|(scale, mean)| scale * mean);
        let shift = read(self.bias.val()).iter().zip(means).map(|(b, mean)| b - mean).collect();
        (scale, shift)
    }
}

/// A batch that is not finite is passed over, as its step is.
fn follow(state: &RunningState<Tensor<1>>, batch: Tensor<1>) {
    let old = state.value();
    let new = old.clone() * (1.0 - MOMENTUM) + batch.detach() * MOMENTUM;
    state.update(old.mask_where(new.clone().is_finite(), new));
    // An update is seen only once it is asked for.
    state.value_sync();
}
