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

/// Which axis of a position each rotary angle turns by: time, height or width (M-RoPE, Wang et al. 2024,
/// <https://arxiv.org/abs/2409.12191>, section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mrope {
    /// Angles of each axis; all of a head's together.
    pub section: [usize; 3],
    /// The axes take turns from the first angle on, and time has what is left (Qwen3-VL, Bai et al. 2025,
    /// <https://arxiv.org/abs/2511.21631>); without, they follow each other.
    pub interleaved: bool,
}

impl Mrope {
    /// The axis of each of so many angles.
    fn axes(self, angles: usize) -> Vec<usize> {
        let [time, height, width] = self.section;
        let own = |i: usize| match (self.interleaved, i % 3) {
            (true, axis @ 1..) if i < 3 * self.section[axis] => axis,
            (true, _) => 0,
            (false, _) => usize::from(i >= time) + usize::from(i >= time + height),
        };
        debug_assert_eq!(time + height + width, angles, "sections of all angles");
        (0..angles).map(own).collect()
    }
}

/// What the angles follow from; they are made when asked for.
#[derive(Clone, Debug)]
pub(crate) struct Rotary {
    pub(crate) theta: f32,
    pub(crate) head_width: usize,
    pub(crate) rope_scaling: RopeScaling,
    pub(crate) mrope: Option<Mrope>,
}

impl Rotary {
    /// Angles of these positions of a call, `[T]` or `[B, T]`.
    pub(crate) fn at(&self, positions: impl IntoIterator<Item = usize>) -> RotaryTable {
        let positions: Vec<usize> = positions.into_iter().collect();
        let tokens = positions.iter().max().map_or(0, |last| last + 1);
        let rates = self.rope_scaling.rates(self.theta, self.head_width, tokens);
        RotaryTable::at(&rates, positions).scaled(self.rope_scaling.attention())
    }

    /// Angles of these positions in time, height and width, `[T]` or `[B, T]`; without [`Mrope`], in time.
    pub(crate) fn on(&self, grid: &[[u32; 3]]) -> RotaryTable {
        let tokens = furthest(grid) + 1;
        let rates = self.rope_scaling.rates(self.theta, self.head_width, tokens);
        let axes = self.mrope.map_or(vec![0; rates.len()], |mrope| mrope.axes(rates.len()));
        let grid = grid.iter().map(|at| at.map(|axis| axis as usize));
        RotaryTable::on(&rates, &axes, grid).scaled(self.rope_scaling.attention())
    }

    /// Angles of one position of each of several texts, `[S, 1]`.
    pub(crate) fn of_each(&self, positions: &[usize]) -> RotaryTable {
        RotaryTable::join(positions.iter().map(|position| self.at([*position])))
    }
}

/// The largest of these positions on any axis.
pub(crate) fn furthest(grid: &[[u32; 3]]) -> usize {
    grid.iter().flatten().max().map_or(0, |&last| last as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published sections of heads of 128, and in turn.
    #[test]
    fn angles_are_shared_among_the_axes() {
        let axes = |section, interleaved| Mrope { section, interleaved }.axes(64);
        let rows = axes([16, 24, 24], false);
        assert_eq!([rows[15], rows[16], rows[39], rows[40], rows[63]], [0, 1, 1, 2, 2]);
        let turns = axes([24, 20, 20], true);
        assert_eq!(turns[..6], [0, 1, 2, 0, 1, 2]);
        assert_eq!(turns[57..], [0, 1, 2, 0, 0, 0, 0]);
        let count = |axis| turns.iter().filter(|own| **own == axis).count();
        assert_eq!([0, 1, 2].map(count), [24, 20, 20]);
    }
}
