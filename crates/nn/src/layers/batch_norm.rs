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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Conv2d, Conv2dConfig};
    use crate::params::{gradients, set_trainable, update, values};
    use burn::tensor::{Device, TensorData};

    const SHAPE: [usize; 4] = [2, 2, 2, 2];
    const X: [f32; 16] =
        [1.0, 2.0, 4.0, 7.0, -1.0, 0.5, 3.0, -2.0, 0.0, 3.0, -5.0, 2.0, 8.0, 1.0, 0.0, 1.5];
    const UPSTREAM: [f32; 16] =
        [1.0, -2.0, 0.5, 3.0, 2.0, 1.0, -1.0, 0.0, -0.5, 1.5, 2.0, 1.0, -3.0, 0.5, 1.0, 2.0];

    /// As torch was asked for the values below.
    fn norm(trained: bool) -> BatchNorm2d {
        let norm = BatchNorm2d::init(2, 1.0, &mut Init::new(1, &Device::flex().autodiff()));
        let norm = update(norm, |name, _, values| {
            *values = match name {
                "weight" => vec![1.5, -0.5],
                "bias" => vec![0.25, 1.0],
                "running_mean" => vec![0.5, -1.0],
                _ => vec![4.0, 2.0],
            };
            true
        });
        set_trainable(norm, |_| trained)
    }

    fn tensor(values: [f32; 16]) -> Tensor<4> {
        let device = Device::flex().autodiff();
        Tensor::from_data(TensorData::new(values.to_vec(), SHAPE), &device)
    }

    fn loss(norm: &BatchNorm2d, x: Tensor<4>) -> Tensor<1> {
        (norm.forward(x) * tensor(UPSTREAM)).sum()
    }

    #[track_caller]
    fn assert_close(got: &[f32], want: &[f32]) {
        let off =
            got.iter().zip(want).fold(0.0f32, |most, (got, want)| most.max((got - want).abs()));
        assert!(got.len() == want.len() && off < 2e-5, "got {got:?}, want {want:?}");
    }

    /// Output, slope of the input, running mean and variance.
    fn outcome(norm: &BatchNorm2d) -> [Vec<f32>; 4] {
        let x = tensor(X).require_grad();
        let y = read(norm.forward(x.clone()));
        let statistics =
            ["running_mean", "running_var"].map(|name| values(norm)[name].data.clone());
        let slope = x.grad(&loss(norm, x.clone()).backward()).map(read);
        let [mean, var] = statistics;
        [y, slope.unwrap(), mean, var]
    }

    #[test]
    fn by_the_batch_as_torch() {
        let norm = norm(true);
        let [y, slope, mean, var] = outcome(&norm);
        assert_close(
            &y,
            &[
                -0.0982203, 0.366073, 1.29466, 2.68754, 1.41226, 1.15189, 0.717924, 1.58585,
                -0.562514, 0.830367, -2.88398, 0.366073, -0.150001, 1.06509, 1.23868, 0.978302,
            ],
        );
        assert_close(
            &slope,
            &[
                0.108428, -1.31295, -0.20921, 0.866033, -0.116296, -0.0542658, 0.106979, 0.305245,
                -0.559516, 0.283581, 0.743704, 0.0799308, 0.0822982, -0.0046584, -0.0170808,
                -0.302221,
            ],
        );
        assert_close(&mean, &[0.625, -0.7625]);
        assert_close(&var, &[4.79286, 2.74821]);
        let slopes = gradients(&norm, loss(&norm, tensor(X)).backward()).unwrap();
        assert_eq!(slopes.len(), 2, "statistics have no gradient");
        assert_close(&slopes["weight"].clone().into_vec(), &[1.58634, -9.87265]);
        assert_close(&slopes["bias"].clone().into_vec(), &[6.5, 2.5]);
    }

    #[test]
    fn by_the_running_statistics_as_torch() {
        let [y, slope, mean, var] = outcome(&norm(false));
        assert_close(
            &y,
            &[
                0.625, 1.375, 2.875, 5.12499, 1.0, 0.469671, -0.41421, 1.35355, -0.125, 2.125,
                -3.875, 1.375, -2.18197, 0.292895, 0.646447, 0.116119,
            ],
        );
        assert_close(
            &slope,
            &[
                0.749999, -1.5, 0.374999, 2.25, -0.707105, -0.353552, 0.353552, 0.0, -0.374999,
                1.125, 1.5, 0.749999, 1.06066, -0.176776, -0.353552, -0.707105,
            ],
        );
        assert_eq!([mean, var], [[0.5, -1.0], [4.0, 2.0]]);
    }

    #[test]
    fn slopes_are_those_of_the_forward() {
        const STEP: f32 = 1e-2;
        for trained in [true, false] {
            let norm = norm(trained);
            let [_, slope, ..] = outcome(&norm);
            for (at, slope) in slope.into_iter().enumerate() {
                let [above, below] = [STEP, -STEP].map(|step| {
                    let mut moved = X;
                    moved[at] += step;
                    read(loss(&norm, tensor(moved)))[0]
                });
                let seen = (above - below) / (2.0 * STEP);
                assert!((seen - slope).abs() < 2e-3, "{trained}, {at}: {seen} and {slope}");
            }
        }
    }

    #[test]
    fn a_batch_that_is_not_finite_is_passed_over() {
        let norm = norm(true);
        let mut broken = X;
        broken[0] = f32::NAN;
        norm.forward(tensor(broken));
        assert_eq!(values(&norm)["running_mean"].data, [0.5, -0.7625]);
    }

    #[test]
    fn folded_into_a_convolution_it_is_the_same() {
        let init = &mut Init::new(3, &Device::flex());
        let (c_in, c_out, kernel) = (2, 2, 1);
        let config = Conv2dConfig { c_in, c_out, kernel, stride: 1, padding: 0, bias: false };
        let (conv, norm) = (Conv2d::init(config, init), norm(false));
        let x = Tensor::from_data(TensorData::new(X.to_vec(), SHAPE), &Device::flex());
        let want = read(norm.clone().valid().forward(conv.forward(x.clone())));
        assert_close(&read(conv.folded(&norm).forward(x)), &want);
    }
}
