//! Losses of the recipes.

use burn::tensor::activation::log_sigmoid;
use burn::tensor::{Shape, Tensor, TensorData};

use crate::fused;

/// Next-token loss: `logits [B, T, V]`, `labels [B*T]` already shifted (the label of position t is
/// the token at t+1), -100 where nothing is learned. Mean over the labels that count.
pub fn next_token(logits: Tensor<3>, labels: Vec<i32>, z_loss: f32) -> Tensor<1> {
    let [b, t, v] = logits.dims();
    fused::cross_entropy(logits.reshape([b * t, v]), labels, z_loss)
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
    losses.sum().neg() / n as f32
}
