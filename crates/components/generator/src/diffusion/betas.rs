//! How much noise each step of training adds.

/// How the noise of a step grows from the first to the last.
#[derive(Clone, Debug, PartialEq)]
pub enum BetaSchedule {
    /// Evenly (Ho et al. 2020, <https://arxiv.org/abs/2006.11239>).
    Linear {
        /// That of the first step.
        start: f64,
        /// That of the last.
        end: f64,
    },
    /// By an evenly growing root (Rombach et al. 2022).
    ScaledLinear {
        /// That of the first step.
        start: f64,
        /// That of the last.
        end: f64,
    },
    /// So that what is left falls as a squared cosine (Nichol and Dhariwal 2021, <https://arxiv.org/abs/2102.09672>).
    SquaredCosine,
    /// As they are listed.
    Trained(Vec<f32>),
}

/// The noise of training.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseSchedule {
    /// How it grows.
    pub betas: BetaSchedule,
    /// Steps of training.
    pub steps: usize,
    /// Whether nothing of a picture is left at the last step (Lin et al. 2023, algorithm 1,
    /// <https://arxiv.org/abs/2305.08891>).
    pub zero_snr: bool,
}

/// Most noise of a step of the squared cosine.
const MOST: f64 = 0.999;

impl NoiseSchedule {
    /// The share of a picture's variance that is left after each step, `[steps]`: numbers of 32 bits, as models have
    /// learned with them, of which the first differ visibly from exact ones.
    pub fn alphas_cumprod(&self) -> Vec<f64> {
        let left = cumulated(self.betas().into_iter().map(|beta| f64::from(1.0 - beta)));
        let left = if self.zero_snr { without_rest(&left) } else { left };
        left.into_iter().map(|left| f64::from(left as f32)).collect()
    }

    fn betas(&self) -> Vec<f32> {
        let n = self.steps;
        let even = |start: f64, end: f64, i: usize| {
            start + (end - start) * i as f64 / (n.saturating_sub(1).max(1)) as f64
        };
        let each = |beta: &dyn Fn(usize) -> f64| (0..n).map(|i| beta(i) as f32).collect();
        match &self.betas {
            BetaSchedule::Linear { start, end } => each(&|i| even(*start, *end, i)),
            BetaSchedule::ScaledLinear { start, end } => {
                each(&|i| even(start.sqrt(), end.sqrt(), i).powi(2))
            }
            BetaSchedule::SquaredCosine => {
                let left =
                    |t: f64| ((t + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
                let at = |i: usize| left(i as f64 / n as f64);
                each(&|i| (1.0 - at(i + 1) / at(i)).min(MOST))
            }
            BetaSchedule::Trained(betas) => betas.clone(),
        }
    }
}

fn cumulated(factors: impl Iterator<Item = f64>) -> Vec<f64> {
    let product = |all: &mut f64, factor: f64| {
        *all *= factor;
        Some(*all)
    };
    factors.scan(1.0, product).collect()
}

/// Roots shifted so that the last is 0, and stretched so that the first stays.
fn without_rest(left: &[f64]) -> Vec<f64> {
    let root = |i: usize| left.get(i).copied().unwrap_or(1.0).sqrt();
    let (first, last) = (root(0), root(left.len().saturating_sub(1)));
    let stretched = |left: &f64| ((left.sqrt() - last) * first / (first - last)).powi(2);
    left.iter().map(stretched).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_at_the_last_step_and_the_first_stays() {
        let betas = BetaSchedule::ScaledLinear { start: 0.00085, end: 0.012 };
        let usual = NoiseSchedule { betas, steps: 1000, zero_snr: false };
        let left = usual.alphas_cumprod();
        assert!((left[999] - 0.004_66).abs() < 1e-5, "{}", left[999]);
        let none = NoiseSchedule { zero_snr: true, ..usual }.alphas_cumprod();
        assert_eq!(none[999], 0.0);
        assert!((none[0] - left[0]).abs() < 1e-7);
    }
}
