//! Learning-rate schedules: pure functions of the step.
//!
//! ```text
//! constant  ╱‾‾‾‾‾‾‾‾‾‾     cosine  ╱‾‾╲__      wsd  ╱‾‾‾‾‾‾‾╲
//! ```

use std::f64::consts::PI;

use serde::{Deserialize, Deserializer, Serialize, de::Error};

/// How the learning rate moves over a stage. In TOML: `{ kind = "cosine", learning_rate = 1e-3, warmup_steps = 100 }`.
///
/// Warm-up is linear and never starts at zero: step 0 already learns a little.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// One rate after the warm-up.
    Constant {
        /// Peak learning rate.
        #[serde(alias = "rate", deserialize_with = "positive")]
        learning_rate: f64,
        /// Steps of linear warm-up.
        #[serde(default, alias = "warmup")]
        warmup_steps: u64,
    },
    /// Half a cosine from the peak to the minimum. Loshchilov and Hutter 2016,
    /// <https://arxiv.org/abs/1608.03983>, without restarts.
    Cosine {
        /// Peak learning rate.
        #[serde(alias = "rate", deserialize_with = "positive")]
        learning_rate: f64,
        /// Learning rate at the end.
        #[serde(default, deserialize_with = "non_negative")]
        min: f64,
        /// Steps of linear warm-up.
        #[serde(default, alias = "warmup")]
        warmup_steps: u64,
    },
    /// Warm-up, stable, decay: constant, then a short linear fall, so that a run may be stopped
    /// anywhere and still be finished well. Hu et al. 2024, <https://arxiv.org/abs/2404.06395>.
    Wsd {
        /// Peak learning rate.
        #[serde(alias = "rate", deserialize_with = "positive")]
        learning_rate: f64,
        /// Learning rate at the end.
        #[serde(default, deserialize_with = "non_negative")]
        min: f64,
        /// Steps of linear warm-up.
        #[serde(default, alias = "warmup")]
        warmup_steps: u64,
        /// Fraction of all steps that decays, in `0..=1`.
        #[serde(default = "default_decay", deserialize_with = "fraction")]
        decay: f64,
    },
}

/// How far (0 to 1) a curriculum is at `step` (from 0) of `steps`, when the first begins and the last
/// ends so far.
pub fn progress([begin, end]: [f32; 2], step: u64, steps: u64) -> f32 {
    begin + (end - begin) * (step as f32 / steps as f32)
}

/// The learning rate of `step` (from 0) in a stage of `steps` steps. Past the end it stays at the
/// end value.
pub fn rate(schedule: &Schedule, step: u64, steps: u64) -> f64 {
    match *schedule {
        Schedule::Constant { learning_rate: rate, warmup_steps: warmup } => {
            rate * warm(step, warmup)
        }
        Schedule::Cosine { learning_rate: rate, min, warmup_steps: warmup } => {
            if step < warmup {
                return rate * warm(step, warmup);
            }
            let done = share(step - warmup, steps.saturating_sub(warmup));
            min + (rate - min) * 0.5 * (1.0 + (PI * done).cos())
        }
        Schedule::Wsd { learning_rate: rate, min, warmup_steps: warmup, decay } => {
            let falling = (decay * steps as f64).ceil() as u64;
            let left = share(steps.saturating_sub(step), falling);
            // A warm-up that reaches into the decay must not climb above it.
            (min + (rate - min) * left).min(rate * warm(step, warmup))
        }
    }
}

/// Share of the peak during the warm-up, in `0..=1`.
fn warm(step: u64, warmup: u64) -> f64 {
    share(step.saturating_add(1), warmup)
}

/// `part / whole` in `0..=1`; all of it when there is no whole.
fn share(part: u64, whole: u64) -> f64 {
    if part >= whole { 1.0 } else { part as f64 / whole as f64 }
}

fn default_decay() -> f64 {
    0.2
}

fn non_negative<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(from)?;
    if value.is_finite() && value >= 0.0 {
        return Ok(value);
    }
    Err(D::Error::custom(format!("expected a learning rate of 0 or more, got {value}")))
}

fn positive<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(from)?;
    if value.is_finite() && value > 0.0 {
        return Ok(value);
    }
    Err(D::Error::custom(format!("expected a learning rate above 0, got {value}")))
}

fn fraction<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(from)?;
    if (0.0..=1.0).contains(&value) {
        return Ok(value);
    }
    Err(D::Error::custom(format!("expected a fraction between 0 and 1, got {value}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(schedule: &Schedule, steps: u64) -> Vec<f64> {
        (0..steps).map(|step| rate(schedule, step, steps)).collect()
    }

    #[test]
    fn a_curriculum_may_begin_further_on_and_end_early() {
        let thirds = |way| [0, 50, 100].map(|step| progress(way, step, 100));
        assert_eq!(thirds([0.0, 1.0]), [0.0, 0.5, 1.0]);
        assert_eq!(thirds([0.5, 1.0]), [0.5, 0.75, 1.0]);
        assert_eq!(thirds([0.0, 0.5]), [0.0, 0.25, 0.5]);
    }

    #[test]
    fn constant_warms_up_then_stays() {
        let schedule = Schedule::Constant { learning_rate: 2.0, warmup_steps: 4 };
        assert_eq!(curve(&schedule, 6), [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]);
        assert_eq!(rate(&Schedule::Constant { learning_rate: 2.0, warmup_steps: 0 }, 0, 6), 2.0);
    }

    #[test]
    fn cosine_goes_from_peak_to_minimum() {
        let schedule = Schedule::Cosine { learning_rate: 1.0, min: 0.1, warmup_steps: 10 };
        assert_eq!(rate(&schedule, 9, 110), 1.0);
        assert_eq!(rate(&schedule, 10, 110), 1.0);
        assert!((rate(&schedule, 60, 110) - 0.55).abs() < 1e-12, "half way");
        assert!((rate(&schedule, 110, 110) - 0.1).abs() < 1e-12);
        assert_eq!(rate(&schedule, u64::MAX, 110), rate(&schedule, 110, 110));
        let curve = curve(&schedule, 110);
        assert!(curve[10..].windows(2).all(|pair| pair[1] <= pair[0]));
    }

    #[test]
    fn wsd_is_flat_then_falls_in_a_line() {
        let schedule = Schedule::Wsd { learning_rate: 1.0, min: 0.0, warmup_steps: 2, decay: 0.4 };
        assert_eq!(curve(&schedule, 10), [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]);
        assert_eq!(rate(&schedule, 10, 10), 0.0);
        let never = Schedule::Wsd { learning_rate: 1.0, min: 0.0, warmup_steps: 0, decay: 0.0 };
        assert_eq!(curve(&never, 3), [1.0; 3]);
    }

    #[test]
    fn every_corner_is_finite_and_within_bounds() {
        let corners = [0, 1, 2, 99, u64::MAX - 1, u64::MAX];
        for warmup in corners {
            let schedules = [
                Schedule::Constant { learning_rate: 1.0, warmup_steps: warmup },
                Schedule::Cosine { learning_rate: 1.0, min: 0.1, warmup_steps: warmup },
                Schedule::Wsd { learning_rate: 1.0, min: 0.1, warmup_steps: warmup, decay: 0.5 },
            ];
            for (schedule, step) in schedules.iter().flat_map(|s| corners.map(|step| (s, step))) {
                for steps in corners {
                    let rate = rate(schedule, step, steps);
                    assert!((0.0..=1.0).contains(&rate), "{schedule:?} {step}/{steps}: {rate}");
                }
            }
        }
    }

    #[test]
    fn is_spelled_by_kind_and_refuses_nonsense() {
        let parse = |text: &str| toml::from_str::<Schedule>(text);
        let wsd = parse("kind = 'wsd'\nrate = 1e-3\nwarmup = 5").unwrap();
        assert_eq!(
            wsd,
            Schedule::Wsd { learning_rate: 1e-3, min: 0.0, warmup_steps: 5, decay: 0.2 }
        );
        assert_eq!(parse(&toml::to_string(&wsd).unwrap()).unwrap(), wsd);
        for bad in [
            "kind = 'cosine'\nrate = -1.0",
            "kind = 'cosine'\nrate = nan",
            "kind = 'wsd'\nrate = 1.0\ndecay = 1.5",
            "kind = 'constant'\nrate = 1.0\nmin = 0.1",
            "kind = 'step'\nrate = 1.0",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
