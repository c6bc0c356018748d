//! What makes CLAP's sounds ready: `ClapFeatureExtractor`, without its dice.

use sensorium_media::Sound;
use sensorium_media::decibels::{Decibels, DecibelsConfig, Scale};
use sensorium_media::sound::MAX_RATE;
use serde_json::json;

use crate::config::Config;
use crate::error::Result;

const FOREIGN: &str = "the file may be damaged, or of a model that is not supported";

/// Longest window of a spectrogram.
const MAX_WINDOW: usize = 1 << 16;

/// Longest sound that a model may hear at once, in seconds.
const MAX_SECONDS: usize = 600;

/// What makes spectrograms of sounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClapExtractor {
    /// Rate, window, step and bands.
    pub spectrogram: DecibelsConfig,
    /// Samples that are heard at once.
    pub samples: usize,
    /// What becomes of longer sounds.
    pub truncation: Truncation,
    /// What becomes of shorter ones.
    pub padding: Padding,
}

/// What becomes of a sound that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truncation {
    /// Its middle is heard (`rand_trunc`, which transformers takes from anywhere).
    Middle,
    /// The whole, shrunk, and one crop of each third: the middle one (`fusion`, where transformers draws them).
    Fusion,
}

/// What becomes of a sound that is too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// As often as it fits, and silence.
    RepeatPad,
    /// Again and again, to the end.
    Repeat,
    /// Once, and silence.
    Pad,
}

impl ClapExtractor {
    pub(super) fn read(config: &Config<'_>) -> Result<Self> {
        config.only("feature_extractor_type", &json!("ClapFeatureExtractor"))?;
        config.only("padding_value", &json!(0.0))?;
        config.only_null("top_db")?;
        // These follow from the others; each sound is heard alone, so that no mask is needed.
        config.without_effect(&[
            "nb_max_samples",
            "nb_frequency_bins",
            "padding_side",
            "return_attention_mask",
        ]);
        let size = |key: &str, default: usize, most: usize| {
            let n = config.size_or(key, default)?;
            match n <= most {
                true => Ok(n),
                false => Err(config.wrong(key, &format!("at most {most}"), FOREIGN)),
            }
        };
        let rate = size("sampling_rate", 48_000, MAX_RATE as usize)?;
        let window = size("fft_window_size", 1024, MAX_WINDOW)?;
        if !window.is_power_of_two() {
            return Err(config.wrong("fft_window_size", "a power of two", FOREIGN));
        }
        let seconds = size("max_length_s", 10, MAX_SECONDS)?;
        let truncation = match config.text_or("truncation", "fusion")? {
            "fusion" => Truncation::Fusion,
            "rand_trunc" => Truncation::Middle,
            _ => return Err(config.wrong("truncation", "fusion or rand_trunc", FOREIGN)),
        };
        let padding = match config.text_or("padding", "repeatpad")? {
            "repeatpad" => Padding::RepeatPad,
            "repeat" => Padding::Repeat,
            "pad" => Padding::Pad,
            _ => return Err(config.wrong("padding", "repeatpad, repeat or pad", FOREIGN)),
        };
        let scale = match truncation {
            Truncation::Fusion => Scale::Htk,
            Truncation::Middle => Scale::Slaney,
        };
        let bands = config.size_or("feature_size", 64)?;
        let hop = config.size_or("hop_length", 480)?;
        let range = range(config, rate)?;
        let spectrogram = DecibelsConfig { rate: rate as u32, window, hop, bands, range, scale };
        Ok(Self { spectrogram, samples: seconds * rate, truncation, padding })
    }

    /// Frames of what is heard at once.
    pub fn frames(&self) -> usize {
        1 + self.samples / self.spectrogram.hop
    }

    /// A sound's spectrograms, `[crops, frames, bands]`: the whole and three crops, or it alone.
    pub fn input_features(&self, sound: &Sound) -> Vec<f32> {
        let sound = sound.clone().at_rate(self.spectrogram.rate).samples;
        let made = Decibels::new(self.spectrogram);
        let most = self.samples;
        let heard = match self.truncation {
            _ if sound.len() <= most => made.spectrogram(&self.padded(&sound)),
            Truncation::Middle => {
                let first = (sound.len() - most) / 2;
                made.spectrogram(&sound[first..first + most])
            }
            Truncation::Fusion => made.spectrogram(&sound),
        };
        match self.truncation {
            Truncation::Middle => heard,
            Truncation::Fusion => self.fused(heard),
        }
    }

    fn padded(&self, sound: &[f32]) -> Vec<f32> {
        let times = self.samples / sound.len().max(1);
        let (times, length) = match self.padding {
            Padding::RepeatPad => (times, times * sound.len()),
            Padding::Repeat => (times + 1, self.samples),
            Padding::Pad => (1, sound.len()),
        };
        let heard = sound.iter().copied().cycle().take((times * sound.len()).min(length));
        let mut heard: Vec<f32> = heard.collect();
        heard.resize(self.samples, 0.0);
        heard
    }

    /// A spectrogram `[frames, bands]` as the whole, shrunk, and three crops.
    fn fused(&self, mel: Vec<f32>) -> Vec<f32> {
        let (bands, frames) = (self.spectrogram.bands, self.frames());
        let all = mel.len() / bands.max(1);
        if all <= frames {
            return mel.repeat(4);
        }
        let mut crops = shrunk(&mel, bands, frames);
        for first in middles(all - frames + 1) {
            crops.extend(&mel[first * bands..(first + frames) * bands]);
        }
        crops
    }
}

/// The lowest and the highest frequency, of which the second is above the first and within the rate.
fn range(config: &Config<'_>, rate: usize) -> Result<[f64; 2]> {
    let lowest = match config.get("frequency_min") {
        Some(value) if value.as_f64() == Some(0.0) => 0.0,
        _ => config.positive_or("frequency_min", f64::MIN_POSITIVE)?,
    };
    let highest = config.positive_or("frequency_max", 14_000.0)?;
    if highest > lowest && highest <= rate as f64 / 2.0 {
        return Ok([lowest, highest]);
    }
    let expected = format!("more than frequency_min, at most half of the {rate} samples a second");
    Err(config.wrong("frequency_max", &expected, FOREIGN))
}

/// The middle of each third of so many starts; the first where there are fewer.
fn middles(starts: usize) -> [usize; 3] {
    let length = |third: usize| starts / 3 + usize::from(third < starts % 3);
    let mut first = 0;
    [0, 1, 2].map(|third| {
        let length = length(third);
        let middle = if length == 0 { 0 } else { first + length / 2 };
        first += length;
        middle
    })
}

/// Rows `[.., bands]` as so many, each between its two neighbours among the old ones.
fn shrunk(mel: &[f32], bands: usize, frames: usize) -> Vec<f32> {
    let all = mel.len() / bands;
    let row = |frame: usize| {
        let at = ((frame as f32 + 0.5) * (all as f32 / frames as f32) - 0.5).max(0.0);
        let (first, share) = (at as usize, at - at.floor());
        let second = (first + 1).min(all - 1);
        let [first, second] = [first, second].map(|row| &mel[row * bands..(row + 1) * bands]);
        first.iter().zip(second).map(move |(a, b)| a * (1.0 - share) + b * share)
    };
    (0..frames).flat_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crops_begin_in_the_middle_of_each_third() {
        assert_eq!(middles(9), [1, 4, 7]);
        assert_eq!(middles(10), [2, 5, 8]);
        assert_eq!(middles(2), [0, 1, 0]);
        assert_eq!(middles(1), [0, 0, 0]);
    }

    #[test]
    fn short_sounds_are_repeated_or_followed_by_silence() {
        let range = [0.0, 4.0];
        let (rate, window, hop, bands, scale) = (8, 2, 1, 1, Scale::Slaney);
        let spectrogram = DecibelsConfig { rate, window, hop, bands, range, scale };
        let padded = |padding| {
            let truncation = Truncation::Middle;
            let extractor = ClapExtractor { spectrogram, samples: 8, truncation, padding };
            [extractor.padded(&[1.0, 2.0, 3.0]), extractor.padded(&[1.0; 8])]
        };
        let whole = vec![1.0; 8];
        for (padding, want) in [
            (Padding::RepeatPad, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 0.0, 0.0]),
            (Padding::Repeat, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0, 2.0]),
            (Padding::Pad, [1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
        ] {
            assert_eq!(padded(padding), [want.to_vec(), whole.clone()], "{padding:?}");
        }
    }
}
