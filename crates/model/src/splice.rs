//! Splicing: a medium's tokens take the places that the prompt kept for them (LLaVA, Liu et al.
//! 2023, section 4.1).

use sensorium_flow::Embeds;
use sensorium_nn::prelude::*;

/// `text [B, T, D]` with row `i` of `media [M, Q, D]` written to positions `starts[i] ..
/// starts[i] + Q`, counted over the whole batch: `row·T + t`.
///
/// Every feature lands at its marker, all other positions keep their text embedding, and gradients
/// flow to both.
pub fn splice(Embeds(text): Embeds, Embeds(media): Embeds, starts: &[usize]) -> Embeds {
    let ([b, t, d], [m, q, _]) = (text.dims(), media.dims());
    assert!(m == starts.len(), "{m} media for {} places", starts.len());

    let mut rows: Vec<i32> = (0..(b * t) as i32).collect();
    for (i, &start) in starts.iter().enumerate() {
        assert!(start % t + q <= t, "media {i} of {q} tokens does not fit at {start} of {t}");
        for j in 0..q {
            rows[start + j] = (b * t + i * q + j) as i32;
        }
    }
    let table = Tensor::cat(vec![text.reshape([b * t, d]), media.reshape([m * q, d])], 0);
    Embeds(fused::embedding(table, rows).reshape([b, t, d]))
}

#[cfg(test)]
mod tests {
    use sensorium_nn::params::read;
    use sensorium_nn::running_device;

    use super::*;

    #[test]
    fn every_feature_lands_at_its_marker() {
        let device = running_device();
        let text: Tensor<3> = Tensor::zeros([2, 4, 1], &device);
        let media = Tensor::<1>::from_floats([1.0, 2.0, 3.0, 4.0], &device).reshape([2, 2, 1]);
        let Embeds(out) = splice(Embeds(text), Embeds(media), &[1, 6]);
        assert_eq!(read(out), [0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 3.0, 4.0]);
    }
}
