//! Keeps one bad batch from ruining a run: steps whose loss or gradient is not finite, or whose
//! gradient is far larger than usual, are skipped and counted.
//!
//! PaLM saw about twenty such spikes and went around them by hand: Chowdhery et al. 2022, section
//! 5.1, <https://arxiv.org/abs/2204.02311>.

use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};

/// When a step is called a spike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuardConfig {
    /// Steps that only feed the running average: early gradients are large and uneven.
    pub warmup: u64,
    /// A gradient norm above this many times its running average is a spike.
    pub factor: f64,
    /// Weight of the past in the running average, in `0..1`.
    pub decay: f64,
    /// Steps in a row that may be not finite before the run stops.
    pub not_finite_limit: u32,
    /// Spikes in a row after which they are taken as the new level and the average starts again.
    pub spike_limit: u32,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self { warmup: 20, factor: 10.0, decay: 0.98, not_finite_limit: 3, spike_limit: 8 }
    }
}

/// What to do with a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Apply the update.
    Apply,
    /// Skip it: the loss or the gradient norm is not finite.
    NotFinite,
    /// Skip it: the gradient norm is far above its running average.
    Spike,
}

/// The guard's memory. It belongs in the checkpoint: a resumed run then takes the same decisions.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    config: GuardConfig,
    #[serde(with = "bits")]
    average: f64,
    /// Norms in the average since it last started.
    seen: u64,
    not_finite_in_a_row: u32,
    spikes_in_a_row: u32,
    not_finite: u64,
    spikes: u64,
}

impl Guard {
    /// A guard that has seen nothing yet.
    pub fn new(config: GuardConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// Judges one step from its loss and its gradient norm before clipping.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] when too many steps in a row were not finite.
    pub fn check(&mut self, step: u64, loss: f64, grad_norm: f64) -> Result<Verdict> {
        if !(loss.is_finite() && grad_norm.is_finite()) {
            return self.not_finite(step, loss, grad_norm);
        }
        self.not_finite_in_a_row = 0;
        if self.is_spike(grad_norm) {
            return Ok(self.spike(grad_norm));
        }
        self.spikes_in_a_row = 0;
        self.feed(grad_norm);
        Ok(Verdict::Apply)
    }

    /// Steps skipped so far because something was not finite.
    pub fn not_finite_steps(&self) -> u64 {
        self.not_finite
    }

    /// Steps skipped so far because of a spike.
    pub fn spike_steps(&self) -> u64 {
        self.spikes
    }

    /// Running average of the gradient norm.
    pub fn average(&self) -> f64 {
        self.average
    }

    fn not_finite(&mut self, step: u64, loss: f64, grad_norm: f64) -> Result<Verdict> {
        self.not_finite += 1;
        self.not_finite_in_a_row += 1;
        let count = self.not_finite_in_a_row;
        if count >= self.config.not_finite_limit {
            return Err(TrainError::NotFinite { step, count, loss, grad_norm });
        }
        Ok(Verdict::NotFinite)
    }

    /// An average of zero (all gradients were exactly zero) says nothing about what is usual.
    fn is_spike(&self, grad_norm: f64) -> bool {
        self.seen >= self.config.warmup
            && self.average > 0.0
            && grad_norm > self.config.factor * self.average
    }

    fn spike(&mut self, grad_norm: f64) -> Verdict {
        self.spikes += 1;
        self.spikes_in_a_row += 1;
        if self.spikes_in_a_row >= self.config.spike_limit {
            // Not a spike but a new level. Without this the run would skip for ever.
            self.spikes_in_a_row = 0;
            self.seen = 0;
            self.feed(grad_norm);
        }
        Verdict::Spike
    }

    /// A plain mean at first, so that the average is right from the second step on; then
    /// exponential. A spike is never fed.
    fn feed(&mut self, grad_norm: f64) {
        self.seen += 1;
        let past = self.config.decay.min(1.0 - 1.0 / self.seen as f64);
        self.average = past * self.average + (1.0 - past) * grad_norm;
    }
}

/// A float as its bits: text formats may round the last digit, and resume must be exact.
mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(value.to_bits())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        u64::deserialize(from).map(f64::from_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counter-based noise in `0..1`.
    fn noise(seed: u64, index: u64) -> f64 {
        let mut x =
            seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A falling, uneven gradient norm: a factor of four between neighbours is common.
    fn norm(seed: u64, step: u64) -> f64 {
        (1.0 + 20.0 / (1.0 + step as f64)) * (1.4 * (noise(seed, step) - 0.5)).exp()
    }

    #[test]
    fn clean_runs_are_never_skipped() {
        for seed in 0..10 {
            let mut guard = Guard::new(GuardConfig::default());
            for step in 0..1000 {
                assert_eq!(guard.check(step, 1.0, norm(seed, step)).unwrap(), Verdict::Apply);
            }
        }
    }

    #[test]
    fn planted_faults_are_skipped_and_counted() {
        let (mut nan, mut spike) = (0, 0);
        let mut guard = Guard::new(GuardConfig::default());
        for step in 0..10_000u64 {
            let usual = norm(7, step);
            let (loss, grad_norm, expected) = match step % 100 {
                50 => (f64::NAN, usual, Verdict::NotFinite),
                70 => {
                    (1.0, [f64::INFINITY, f64::NAN][(step / 100 % 2) as usize], Verdict::NotFinite)
                }
                90 => (1.0, usual * 30.0, Verdict::Spike),
                _ => (1.0, usual, Verdict::Apply),
            };
            nan += u64::from(expected == Verdict::NotFinite);
            spike += u64::from(expected == Verdict::Spike);
            assert_eq!(guard.check(step, loss, grad_norm).unwrap(), expected, "step {step}");
        }
        assert_eq!((guard.not_finite_steps(), guard.spike_steps()), (nan, spike));
        assert_eq!((nan, spike), (200, 100));
    }

    #[test]
    fn three_in_a_row_stop_the_run_and_name_the_step() {
        let mut guard = Guard::new(GuardConfig::default());
        for step in 0..10 {
            let loss = if step % 3 == 2 { 1.0 } else { f64::NAN };
            assert!(guard.check(step, loss, 1.0).is_ok(), "two in a row are borne");
        }
        assert!(guard.check(10, f64::NAN, 1.0).is_ok());
        let error = guard.check(11, f64::NAN, 1.0).unwrap_err().to_string();
        assert!(error.contains("step 11") && error.contains("3 times"), "{error}");
    }

    #[test]
    fn a_new_level_is_accepted_after_a_while() {
        for (before, after) in [(1.0, 100.0), (0.0, 1.0), (1e-300, 1e300)] {
            let mut guard = Guard::new(GuardConfig::default());
            let mut applied = 0;
            for step in 0..60 {
                let norm = if step < 30 { before } else { after };
                applied += u64::from(guard.check(step, 1.0, norm).unwrap() == Verdict::Apply);
            }
            assert!(applied >= 52, "{before} to {after}: {applied}");
        }
    }

    #[test]
    fn a_resumed_guard_decides_the_same() {
        let mut whole = Guard::new(GuardConfig::default());
        for step in 0..500 {
            let _ = whole.check(step, 1.0, norm(3, step)).unwrap();
        }
        let json = serde_json::to_string(&whole).unwrap();
        let mut resumed: Guard = serde_json::from_str(&json).unwrap();
        assert_eq!(toml::from_str::<Guard>(&toml::to_string(&whole).unwrap()).unwrap(), whole);
        for step in 500..1000 {
            let norm = norm(3, step) * if step % 37 == 0 { 9.0 } else { 1.0 };
            assert_eq!(
                whole.check(step, 1.0, norm).unwrap(),
                resumed.check(step, 1.0, norm).unwrap()
            );
        }
        assert_eq!(whole.average().to_bits(), resumed.average().to_bits());
    }
}
