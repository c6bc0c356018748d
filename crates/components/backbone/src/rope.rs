//! Rotary angles of positions, and how they were stretched for longer texts.

use sensorium_nn::fused::{RotaryTable, rotary_rates};
use serde::{Deserialize, Serialize};

/// What was done to the rotary rates before a model was trained on longer texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum RopeScaling {
    /// Nothing.
    #[default]
    None,
    /// All turns are slowed alike (Chen et al. 2023, <https://arxiv.org/abs/2306.15595>).
    Linear {
        /// How much longer the texts are.
        factor: f32,
    },
    /// Llama 3.1's: slow turns are slowed by `factor`, quick ones kept, with a slope between.
    Llama3 {
        /// How much longer the texts are.
        factor: f32,
        /// Turns in `context` below which a rate is slow.
        low: f32,
        /// Turns in `context` above which a rate is quick.
        high: f32,
        /// Longest text before, in tokens.
        context: f32,
    },
    /// YaRN (Peng et al. 2023, <https://arxiv.org/abs/2309.00071>): as Llama 3.1's, with the slope along
    /// the channels.
    Yarn {
        /// How much longer the texts are.
        factor: f32,
        /// Turns in `context` above which a rate is quick.
        fast: f32,
        /// Turns in `context` below which a rate is slow.
        slow: f32,
        /// Longest text before, in tokens.
        context: f32,
        /// Whether the slope begins and ends at a whole channel.
        truncate: bool,
        /// Queries and keys are multiplied by it.
        attention: f32,
    },
    /// LongRoPE (Ding et al. 2024, <https://arxiv.org/abs/2402.13753>): a factor for each rate, one list
    /// for texts of at most `context` tokens and one for those that are longer when they are read. A text
    /// that grows past it keeps the keys of what was read before.
    LongRope {
        /// Factors on wavelengths, `[K / 2]`.
        short: Vec<f32>,
        /// Of longer texts.
        long: Vec<f32>,
        /// Longest text before, in tokens.
        context: usize,
        /// Queries and keys are multiplied by it.
        attention: f32,
    },
}

impl RopeScaling {
    /// What the wavelength of each of the `head_width / 2` rotary angles is multiplied by in texts of so
    /// many `tokens`.
    pub fn factors(&self, theta: f32, head_width: usize, tokens: usize) -> Vec<f32> {
        let rates = rotary_rates(theta, head_width);
        let stretched = self.rates(theta, head_width, tokens);
        rates.into_iter().zip(stretched).map(|(rate, stretched)| rate / stretched).collect()
    }

    /// The rates after stretching, `[K / 2]`.
    fn rates(&self, theta: f32, head_width: usize, tokens: usize) -> Vec<f32> {
        let rates = rotary_rates(theta, head_width).into_iter();
        match self {
            Self::None => rates.collect(),
            Self::Linear { factor } => rates.map(|rate| rate / factor).collect(),
            Self::Llama3 { factor, low, high, context } => {
                let slowed = |rate: f32| {
                    let turns = context / (std::f32::consts::TAU / rate);
                    // Turns equal to a bound lie on the slope, whose ends they are.
                    let slope = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    (1.0 - slope) * rate / factor + slope * rate
                };
                rates.map(slowed).collect()
            }
            Self::Yarn { factor, .. } => {
                let [low, high] = self.slope(theta, head_width);
                let slowed = |(i, rate): (usize, f32)| {
                    let slope = ((i as f32 - low) / (high - low)).clamp(0.0, 1.0);
                    rate / factor * slope + rate * (1.0 - slope)
                };
                rates.enumerate().map(slowed).collect()
            }
            Self::LongRope { short, long, context, .. } => {
                let factors = if tokens > *context { long } else { short };
                rates.zip(factors).map(|(rate, factor)| rate / factor).collect()
            }
        }
    }

    /// Channels between which YaRN's slope lies.
    fn slope(&self, theta: f32, head_width: usize) -> [f32; 2] {
        let Self::Yarn { fast, slow, context, truncate, .. } = *self else { return [0.0, 1.0] };
        let k = head_width as f64;
        // The channel that turns so often in a text of the length before.
        let channel = |turns: f32| {
            let once = f64::from(context) / (f64::from(turns) * std::f64::consts::TAU);
            k * once.ln() / (2.0 * f64::from(theta).ln())
        };
        let (low, high) = (channel(fast), channel(slow));
        let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
        let (low, high) = (low.max(0.0), high.min(k - 1.0));
        [low, if low == high { high + 0.001 } else { high }].map(|channel| channel as f32)
    }

    /// What queries and keys are multiplied by.
    fn attention(&self) -> f32 {
        match self {
            Self::Yarn { attention, .. } | Self::LongRope { attention, .. } => *attention,
            _ => 1.0,
        }
    }
}

/// What the angles follow from; they are made when asked for.
#[derive(Clone, Debug)]
pub(crate) struct Rotary {
    pub(crate) theta: f32,
    pub(crate) head_width: usize,
    pub(crate) rope_scaling: RopeScaling,
}

impl Rotary {
    /// Angles of these positions of a call, `[T]` or `[B, T]`.
    pub(crate) fn at(&self, positions: impl IntoIterator<Item = usize>) -> RotaryTable {
        let positions: Vec<usize> = positions.into_iter().collect();
        let tokens = positions.iter().max().map_or(0, |last| last + 1);
        let rates = self.rope_scaling.rates(self.theta, self.head_width, tokens);
        RotaryTable::at(&rates, positions).scaled(self.rope_scaling.attention())
    }

    /// Angles of one position of each of several texts, `[S, 1]`.
    pub(crate) fn of_each(&self, positions: &[usize]) -> RotaryTable {
        RotaryTable::join(positions.iter().map(|position| self.at([*position])))
    }
}
