//! Losses of the recipes.

use burn::tensor::activation::{log_sigmoid, log_softmax};
use burn::tensor::{Shape, Tensor, TensorData};

use crate::fused::{self, Transcript};

/// Next-token loss: `logits [B, T, V]`, `labels [B*T]` already shifted (the label of position t is
/// the token at t+1), -100 where nothing is learned. Mean over the labels that count.
pub fn next_token(logits: Tensor<3>, labels: Vec<i32>, z_loss: f32) -> Tensor<1> {
    let [b, t, v] = logits.dims();
    fused::cross_entropy(logits.reshape([b * t, v]), labels, z_loss)
}

/// CTC loss of `logits [B, T, V]` as PyTorch's `ctc_loss` means it: `-log p(labels)` by label of each sample,
/// mean over the samples; those whose labels do not fit into their frames count as 0.
pub fn ctc(logits: Tensor<3>, transcripts: &[Transcript]) -> Tensor<1> {
    let shares = transcripts.iter().map(|one| 1.0 / one.labels.len().max(1) as f32);
    let shares = TensorData::new(shares.collect::<Vec<_>>(), Shape::from([transcripts.len()]));
    let shares = Tensor::from_data(shares, &logits.device());
    (fused::ctc(logits, transcripts.into()) * shares).mean()
}

/// Cross-entropy whose target is not one class alone: a share `smoothing` of it is spread over all, of
/// the `allowed [N*C]` ones. `logits [N, C]`; row `i` is of class `labels[i]`, which is allowed. Mean
/// over the rows (Szegedy et al. 2015, section 7).
pub fn smoothed(
    logits: Tensor<2>,
    labels: &[i32],
    smoothing: f32,
    allowed: Option<&[bool]>,
) -> Tensor<1> {
    /// Far below any logit, and finite: what is not allowed has weight 0.
    const OUT: f32 = -1e9;
    let [n, c] = logits.dims();
    let is_allowed = |k: usize| allowed.is_none_or(|allowed| allowed[k]);
    let (mut weights, mut masks) = (vec![0.0; n * c], vec![0.0; n * c]);
    for (i, &label) in labels.iter().enumerate() {
        let row = i * c..(i + 1) * c;
        let classes = row.clone().filter(|&k| is_allowed(k)).count();
        for k in row {
            match is_allowed(k) {
                true => weights[k] = smoothing / classes as f32,
                false => masks[k] = OUT,
            }
        }
        weights[i * c + label as usize] += 1.0 - smoothing;
    }
    let device = logits.device();
    let constant =
        |values| Tensor::from_data(TensorData::new(values, Shape::from([n, c])), &device);
    let masked = logits + constant(masks);
    (log_softmax(masked, 1) * constant(weights)).sum_dim(1).mean().neg()
}

/// InfoNCE of CLIP (Radford et al. 2021, section 2.3): mean of the cross-entropies image → text
/// and text → image over `images, texts [N, C]`, both of unit length; `scale [1]` is the log of
/// the inverse temperature.
pub fn info_nce(images: Tensor<2>, texts: Tensor<2>, scale: Tensor<1>) -> Tensor<1> {
    let n = images.dims()[0];
    let labels: Vec<i32> = (0..n as i32).collect();
    let logits = images.matmul(texts.transpose()) * scale.exp().unsqueeze(); // [N, N]
    let by_image = fused::cross_entropy(logits.clone(), labels.clone(), 0.0);
    let by_text = fused::cross_entropy(logits.transpose(), labels, 0.0);
    (by_image + by_text) / 2.0
}

/// Sigmoid loss of SigLIP (Zhai et al. 2023, algorithm 1): every pair is its own yes/no question.
///
/// `images [N, C]`, `texts [M, C]`, `M >= N`, unit length; text `i` belongs to image `i`, texts from
/// `N` on are extra negatives. `scale` is a log, `bias` is added. `ignored[i * M + j]` leaves a pair
/// out: two equal meanings are neither a match nor a miss.
pub fn sigmoid(
    images: Tensor<2>,
    texts: Tensor<2>,
    scale: Tensor<1>,
    bias: Tensor<1>,
    ignored: &[bool],
) -> Tensor<1> {
    let ([n, _], [m, _]) = (images.dims(), texts.dims());
    let device = images.device();
    let sign = |i: usize, j: usize| if i == j { 1.0 } else { -1.0 };
    let signs: Vec<f32> = (0..n * m).map(|k| sign(k / m, k % m)).collect();
    let weights: Vec<f32> = ignored.iter().map(|&skip| if skip { 0.0 } else { 1.0 }).collect();
    let constant =
        |values: Vec<f32>| Tensor::from_data(TensorData::new(values, Shape::from([n, m])), &device);

    let logits = images.matmul(texts.transpose()) * scale.exp().unsqueeze() + bias.unsqueeze();
    let losses = log_sigmoid(logits * constant(signs)) * constant(weights); // [N, M]
    // Row by row: one running sum of all pairs would lose the small ones.
    losses.sum_dim(1).sum().neg() / n as f32
}

/// Mean square of how far off `told` is.
pub fn mse<const D: usize>(told: Tensor<D>, wanted: Tensor<D>) -> Tensor<1> {
    let off = told - wanted;
    (off.clone() * off).mean()
}

/// Half the square of how far off `told` is, over `beta`; beyond `beta`, how far it is, so that few
/// numbers far off do not rule the rest (Girshick 2015, <https://arxiv.org/abs/1504.08083>). The mean.
pub fn smooth_l1<const D: usize>(told: Tensor<D>, wanted: Tensor<D>, beta: f64) -> Tensor<1> {
    let off = (told - wanted).abs();
    let near = off.clone().clamp_max(beta);
    (near.clone() * (off - near / 2.0) / beta).mean()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::params::read;
    use sensorium_kernels::rng::Rng;

    fn leaf(values: &[f32], shape: [usize; 2], device: &Device) -> Tensor<2> {
        let data = TensorData::new(values.to_vec(), Shape::from(shape));
        Tensor::from_data(data, device).require_grad()
    }

    fn draw(seed: u64, count: usize) -> Vec<f32> {
        let mut rng = Rng::new(seed);
        (0..count).map(|_| rng.normal() as f32).collect()
    }

    fn scalar(value: f32) -> Tensor<1> {
        Tensor::from_floats([value], &Device::flex().autodiff())
    }

    /// Equal features leave nothing to choose by: ln N.
    #[test]
    fn info_nce_of_equal_features_is_ln_n() {
        let device = Device::flex().autodiff();
        for n in [1, 2, 7, 64] {
            let row = [0.6, 0.8, 0.0].repeat(n);
            let (images, texts) = (leaf(&row, [n, 3], &device), leaf(&row, [n, 3], &device));
            let loss = f64::from(read(info_nce(images, texts, scalar(2.66)))[0]);
            assert!((loss - (n as f64).ln()).abs() < 1e-6, "N = {n}: {loss}");
        }
    }

    /// Perfect pairs at the largest scale: the mean of `-log softmax` at `100` against zeros.
    #[test]
    fn info_nce_of_perfect_pairs_is_nearly_zero() {
        let device = Device::flex().autodiff();
        let one_hot = [1.0, 0.0, 0.0, 1.0];
        let (images, texts) = (leaf(&one_hot, [2, 2], &device), leaf(&one_hot, [2, 2], &device));
        assert!(read(info_nce(images, texts, scalar(100f32.ln())))[0] < 1e-6);
    }

    #[test]
    fn info_nce_treats_pictures_and_texts_alike() {
        let device = Device::flex().autodiff();
        let (a, b) = (draw(1, 12), draw(2, 12));
        let loss = |x: &[f32], y: &[f32]| {
            let (x, y) = (leaf(x, [4, 3], &device), leaf(y, [4, 3], &device));
            read(info_nce(x, y, scalar(1.0)))[0]
        };
        assert!((loss(&a, &b) - loss(&b, &a)).abs() < 1e-6);
    }

    /// Cosines of zero at the initial `t = ln 10`, `b = -10`: `10.0000454 + (N-1)·4.53989e-5`.
    #[test]
    fn sigmoid_at_the_start_has_its_known_value() {
        let device = Device::flex().autodiff();
        for n in [1, 2, 8, 100] {
            let (images, texts) =
                (leaf(&vec![1.0; n], [n, 1], &device), leaf(&vec![0.0; n], [n, 1], &device));
            let ignored = vec![false; n * n];
            let loss = sigmoid(images, texts, scalar(10f32.ln()), scalar(-10.0), &ignored);
            let want = 10.000_045_4 + (n - 1) as f64 * 4.539_89e-5;
            let got = f64::from(read(loss)[0]);
            // The framework takes ln(1 + x), not ln1p(x): up to 3e-7 for each of the other pairs.
            let allowed = 2e-5 + (n - 1) as f64 * 3e-7;
            assert!((got - want).abs() < allowed, "N = {n}: got {got}, want {want}");
        }
    }

    /// Every pair stands alone, so losses of parts of the pictures add up to the whole, each part
    /// with its own texts in front and all others as extra negatives.
    #[test]
    fn sigmoid_over_chunks_sums_to_the_whole() {
        let device = Device::flex().autodiff();
        let (images, texts) = (draw(3, 6 * 4), draw(4, 6 * 4));
        let loss = |images: &[f32], texts: &[f32]| {
            let (n, m) = (images.len() / 4, texts.len() / 4);
            let images = leaf(images, [n, 4], &device);
            let all = leaf(texts, [m, 4], &device);
            let ignored = vec![false; n * m];
            let loss = sigmoid(images.clone(), all, scalar(0.5), scalar(-1.0), &ignored);
            let slopes = (loss.clone() * n as f32).backward();
            let slopes = read(images.grad(&slopes).expect("pictures learn"));
            (f64::from(read(loss)[0]) * n as f64, slopes)
        };
        let (whole, want) = loss(&images, &texts);
        let (first, mut got) = loss(&images[..8], &texts);
        let turned = [&texts[8..], &texts[..8]].concat();
        let (second, rest) = loss(&images[8..], &turned);
        got.extend(rest);
        assert!((first + second - whole).abs() < 1e-5 * whole, "{first} + {second} != {whole}");
        for (got, want) in got.iter().zip(&want) {
            assert!((got - want).abs() < 1e-5, "got {got}, want {want}");
        }
    }

    #[test]
    fn an_ignored_pair_neither_costs_nor_pulls() {
        let device = Device::flex().autodiff();
        let texts = draw(5, 6);
        let (left, right) = (leaf(&draw(6, 3), [1, 3], &device), leaf(&texts, [2, 3], &device));
        let ignored = [false, true];
        let two = sigmoid(left.clone(), right.clone(), scalar(1.0), scalar(0.0), &ignored);
        let one = leaf(&texts[..3], [1, 3], &device);
        let one = sigmoid(left, one, scalar(1.0), scalar(0.0), &[false]);
        assert!((read(two.clone())[0] - read(one)[0]).abs() < 1e-6);
        let slopes = read(right.grad(&two.backward()).expect("texts learn"));
        assert_eq!(slopes[3..], [0.0; 3]);
        assert!(slopes[..3].iter().any(|&g| g != 0.0));
    }

    /// Values and slopes of PyTorch's `smooth_l1_loss` and `mse_loss` by their definitions.
    #[test]
    fn distances_by_hand() {
        let device = Device::flex().autodiff();
        let told = || leaf(&[0.5, -0.2, 3.0, -2.0], [2, 2], &device);
        let wanted = leaf(&[0.0; 4], [2, 2], &device).detach();
        let both = |loss: fn(Tensor<2>, Tensor<2>) -> Tensor<1>| {
            let told = told();
            let loss = loss(told.clone(), wanted.clone());
            let slopes = read(told.grad(&loss.backward()).expect("what is told learns"));
            (read(loss)[0], slopes)
        };
        let near = |got: f32, want: f32| assert!((got - want).abs() < 1e-6, "{got}, {want}");
        let (loss, slopes) = both(|a, b| smooth_l1(a, b, 2.0));
        // Off by exactly beta, both formulas agree.
        near(loss, (0.0625 + 0.01 + 2.0 + 1.0) / 4.0);
        [0.0625, -0.025, 0.25].iter().zip(&slopes).for_each(|(want, got)| near(*got, *want));
        let (loss, slopes) = both(mse);
        near(loss, (0.25 + 0.04 + 9.0 + 4.0) / 4.0);
        [0.25, -0.1, 1.5, -1.0].iter().zip(&slopes).for_each(|(want, got)| near(*got, *want));
    }

    #[test]
    fn next_token_counts_only_labels_and_is_zero_without_any() {
        let device = Device::flex().autodiff();
        let logits = leaf(&draw(7, 3 * 5), [3, 5], &device);
        let of = |labels: [i32; 3]| {
            let logits = logits.clone().reshape([1, 3, 5]);
            f64::from(read(next_token(logits, labels.into(), 0.0))[0])
        };
        let parts = [[4, -100, -100], [-100, 0, -100], [-100, -100, 2]].map(of);
        let whole = of([4, 0, 2]);
        assert!((parts.iter().sum::<f64>() / 3.0 - whole).abs() < 1e-6);
        assert_eq!(of([-100; 3]), 0.0);

        let none = next_token(logits.clone().reshape([1, 3, 5]), vec![-100; 3], 1e-4);
        let slopes = read(logits.grad(&none.backward()).expect("a gradient of zeros"));
        assert!(slopes.iter().all(|&g| g == 0.0));
    }
}
