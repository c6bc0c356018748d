//! Slopes by central differences.

/// The gradient of `f` at `x`, one value of `x` at a time: `(f(x + eps) - f(x - eps)) / 2 eps`.
///
/// `f` answers in f64 so that the difference of two near values keeps its digits. With f32 inside
/// `f`, `eps` of 1e-2 to 1e-3 is best: smaller steps drown in rounding.
pub fn finite_difference(mut f: impl FnMut(&[f32]) -> f64, x: &[f32], eps: f32) -> Vec<f32> {
    let mut moved = x.to_vec();
    (0..x.len())
        .map(|i| {
            let (above, below) = (x[i] + eps, x[i] - eps);
            moved[i] = above;
            let high = f(&moved);
            moved[i] = below;
            let low = f(&moved);
            moved[i] = x[i];
            // The step that f32 really took, not the one that was asked for.
            ((high - low) / (f64::from(above) - f64::from(below))) as f32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Golden, Tensors, assert_close};

    #[test]
    fn a_cubic_has_its_known_slope() {
        let cubic = |x: &[f32]| x.iter().map(|&v| f64::from(v).powi(3)).sum();
        let x = [0.5, -2.0, 3.0];
        let slope: Vec<f32> = x.iter().map(|v| 3.0 * v * v).collect();
        assert_close("slope", &finite_difference(cubic, &x, 1e-3), &slope, 1e-5);
    }

    /// Ties the goldens' gradients to their outputs without PyTorch.
    #[test]
    fn goldens_of_quick_gelu_agree_with_differences() {
        let golden = Golden::open("ops");
        let take = |tensors: Tensors, name: &str| tensors[name].1.clone();
        let x = take(golden.inputs(), "quick_gelu.x");
        let upstream = take(golden.inputs(), "quick_gelu.upstream");
        let f = |x: &[f32]| {
            let value = |x: f64| x / (1.0 + (-1.702 * x).exp());
            x.iter().zip(&upstream).map(|(&x, &u)| value(x.into()) * f64::from(u)).sum()
        };
        let want = take(golden.gradients(), "quick_gelu.x");
        assert_close("quick_gelu.x", &finite_difference(f, &x, 1e-3), &want, 1e-4);
    }
}
