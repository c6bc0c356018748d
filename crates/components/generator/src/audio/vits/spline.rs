//! Rational-quadratic splines, backwards.
//!
//! Durkan et al. 2019, <https://arxiv.org/abs/1906.04032>, section 3.1: between knots the map is a quotient of
//! quadratics that rises; outside of the bound nothing moves.

/// Least width and height of a bin, as a share of the whole, and least slope at a knot.
const LEAST: f64 = 1e-3;

/// Where the spline comes from that gives `y`: of `bins` widths, as many heights, both before their softmax, and the
/// slopes of the knots between them, before their softplus.
pub(super) fn inverse(y: f64, parameters: &[f64], bins: usize, bound: f64) -> f64 {
    if y.abs() > bound {
        return y;
    }
    let (widths, rest) = parameters.split_at(bins);
    let (heights, slopes) = rest.split_at(bins);
    let [xs, ys] = [widths, heights].map(|sizes| knots(sizes, bound));
    let bin = ys[1..bins].iter().filter(|knot| y >= **knot).count();
    // The slopes at both ends are 1, so that the map goes on straight.
    let slope = |knot: usize| match knot.checked_sub(1).and_then(|inner| slopes.get(inner)) {
        Some(slope) if knot < bins => LEAST + softplus(*slope),
        _ => 1.0,
    };
    let (width, height) = (xs[bin + 1] - xs[bin], ys[bin + 1] - ys[bin]);
    let (steep, left, right) = (height / width, slope(bin), slope(bin + 1));
    let (above, bend) = (y - ys[bin], left + right - 2.0 * height / width);
    // The root of a quadratic that lies in the bin, in the form that does not cancel.
    let a = height * (steep - left) + above * bend;
    let b = height * left - above * bend;
    let c = -steep * above;
    let root = 2.0 * c / (-b - (b * b - 4.0 * a * c).max(0.0).sqrt());
    xs[bin] + root * width
}

/// Where bins of such sizes begin and end, from `-bound` to `bound`.
fn knots(sizes: &[f64], bound: f64) -> Vec<f64> {
    let most = sizes.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exps: Vec<f64> = sizes.iter().map(|x| (x - most).exp()).collect();
    let sum: f64 = exps.iter().sum();
    let left = 1.0 - LEAST * sizes.len() as f64;
    let mut at = 0.0;
    let mut knots = vec![-bound];
    knots.extend(exps.iter().map(|exp| {
        at += LEAST + left * exp / sum;
        2.0 * bound * at - bound
    }));
    if let Some(last) = knots.last_mut() {
        *last = bound;
    }
    knots
}

fn softplus(x: f64) -> f64 {
    if x > 20.0 { x } else { x.exp().ln_1p() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_from_bound_to_bound_and_rests_outside() {
        let parameters: Vec<f64> = (0..11).map(|i| (i as f64 * 1.7).sin() * 2.0).collect();
        let at = |y| inverse(y, &parameters, 4, 3.0);
        assert_eq!((at(3.5), at(-7.0)), (3.5, -7.0));
        assert!((at(3.0) - 3.0).abs() < 1e-9 && (at(-3.0) + 3.0).abs() < 1e-9);
        let all: Vec<f64> = (0..=600).map(|i| at(-3.0 + i as f64 / 100.0)).collect();
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "{all:?}");
    }

    /// Bins of one size whose knots have slopes of 1 move nothing.
    #[test]
    fn a_straight_spline_moves_nothing() {
        let one = (1.0f64 - LEAST).exp_m1().ln();
        let parameters: Vec<f64> = [vec![0.0; 8], vec![one; 3]].concat();
        for y in [-2.9, -1.0, 0.0, 0.4, 2.2] {
            assert!((inverse(y, &parameters, 4, 3.0) - y).abs() < 1e-9, "{y}");
        }
    }
}
