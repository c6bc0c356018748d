//! How far positions stand apart, and where: two orders of the same numbers (Shaw et al. 2018,
//! <https://arxiv.org/abs/1803.02155>, section 3.3).

use sensorium_nn::prelude::*;

/// Numbers by how far a key stands from a query, 2w + 1 of them, as numbers by where it stands; 0 of those
/// further away: `[1, H, T, 2w + 1] -> [1, H, T, T]`.
pub(super) fn by_place(near: Tensor<4>) -> Tensor<4> {
    let [b, h, t, n] = near.dims();
    // Row i begins i places further right: as rows of one place less, each begins below the last.
    let far = t.saturating_sub(n / 2 + 1);
    let near = padded(near, far, far);
    let width = near.dims()[3];
    let first = (width - (2 * t - 1)) / 2;
    let rows = padded(near.narrow(3, first, 2 * t - 1), 0, 1).reshape([b, h, 1, 2 * t * t]);
    let rows = padded(rows, 0, t - 1).reshape([b, h, t + 1, 2 * t - 1]);
    rows.narrow(2, 0, t).narrow(3, t - 1, t)
}

/// The other way, of the `n` that are near: `[1, H, T, T] -> [1, H, T, n]`.
pub(super) fn by_distance(weights: Tensor<4>, n: usize) -> Tensor<4> {
    let [b, h, t, _] = weights.dims();
    let rows = padded(weights, 0, t - 1).reshape([b, h, 1, t * (2 * t - 1)]);
    let rows = padded(rows, t, 0).reshape([b, h, t, 2 * t]).narrow(3, 1, 2 * t - 1);
    let far = (n / 2 + 1).saturating_sub(t);
    let rows = padded(rows, far, far);
    let first = (rows.dims()[3] - n) / 2;
    rows.narrow(3, first, n)
}

/// Zeros on either side of the last axis.
fn padded(x: Tensor<4>, before: usize, behind: usize) -> Tensor<4> {
    let [b, h, t, _] = x.dims();
    let zeros = |n: usize| Tensor::zeros([b, h, t, n], &x.device());
    Tensor::cat(vec![zeros(before), x.clone(), zeros(behind)], 3)
}

#[cfg(test)]
mod tests {
    use sensorium_nn::params::read;

    use super::*;

    /// For texts shorter and longer than the window.
    #[test]
    fn distances_are_places_and_places_distances() {
        for t in 1..9 {
            for w in [1, 2, 4] {
                let n = 2 * w + 1;
                let values: Vec<f32> = (0..2 * t * n).map(|i| i as f32 + 1.0).collect();
                let near = TensorData::new(values.clone(), [1, 2, t, n]);
                let places = by_place(Tensor::from_data(near, &Device::flex()));
                assert_eq!(places.dims(), [1, 2, t, t]);
                let got = read(places.clone());
                let back = read(by_distance(places, n));
                for (h, i) in (0..2).flat_map(|h| (0..t).map(move |i| (h, i))) {
                    for j in 0..t {
                        let at = (j + w).checked_sub(i).filter(|at| *at < n);
                        let want = at.map_or(0.0, |at| values[(h * t + i) * n + at]);
                        assert_eq!(got[(h * t + i) * t + j], want, "{t} letters, window {w}");
                    }
                    for at in 0..n {
                        let there = (i + at).checked_sub(w).is_some_and(|j| j < t);
                        let place = (h * t + i) * n + at;
                        let want = if there { values[place] } else { 0.0 };
                        assert_eq!(back[place], want, "{t} letters, window {w}");
                    }
                }
            }
        }
    }
}
