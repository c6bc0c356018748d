//! Sounds and their transcripts to what a step learns from.

use sensorium_data::rng::Rng;
use sensorium_data::{Example, Examples, Media};
use sensorium_encoder::audio::positions;
use sensorium_media::mel::{HOP, Mel, RATE};
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::ctc::CtcConfig;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::recipes::whisper::lacks;

/// Sounds that are read at once, and what is said in them.
pub struct Micro {
    /// Spectrograms, `[B, bands, F]`.
    pub mel: Vec<f32>,
    /// B, bands and F.
    pub shape: [usize; 3],
    /// Frames of each sound.
    pub frames: Vec<usize>,
    /// What the positions of each are to spell.
    pub transcripts: Vec<Transcript>,
}

impl Micro {
    /// Positions that are read, padding among them.
    pub fn positions(&self) -> usize {
        let [b, _, frames] = self.shape;
        b * positions(frames)
    }
}

/// What makes a step's batch.
pub struct Spectrograms {
    shape: CtcConfig,
    batch: usize,
    /// Sounds of a micro-batch.
    at_once: usize,
}

impl Spectrograms {
    /// Of `batch` sounds for a model, in so many micro-batches.
    pub fn new(shape: &CtcConfig, batch: usize, accumulate: usize) -> Self {
        Self { shape: shape.clone(), batch, at_once: batch.div_ceil(accumulate.max(1)) }
    }

    /// The batch of a step, sounds of about one length side by side.
    ///
    /// # Errors
    /// Nearly nothing of a data set can be learned from.
    pub fn make(&self, examples: &Examples, step: u64) -> Result<Vec<Micro>> {
        let first = step * self.batch as u64;
        let bands = self.shape.encoder.bands;
        let mut rows = Vec::new();
        for index in first..first + self.batch as u64 {
            let fits = |example: &Example| self.spelt(example).map(|_| ());
            let example = examples.draw_fitting(index, 1.0, fits)?;
            // What is drawn fits.
            let Ok((frames, transcript)) = self.spelt(&example) else { continue };
            let sound = example.media.into_iter().find_map(|medium| match medium {
                Media::Audio(sound) => Some(sound.at_rate(RATE).samples),
                _ => None,
            });
            rows.push((frames, Mel::new(&sound.unwrap_or_default(), bands), transcript));
        }
        rows.sort_by_key(|(frames, ..)| *frames);
        Ok(rows.chunks(self.at_once).map(|rows| micro(rows, bands)).collect())
    }

    /// Frames of an example's sound and its labels, or why it cannot be learned from whole.
    fn spelt(&self, example: &Example) -> std::result::Result<(usize, Transcript), String> {
        if let Some(lacks) = lacks(example) {
            return Err(format!("it has not {lacks}"));
        }
        let Some(sound) = example.media.iter().find_map(Media::sound) else {
            return Err("it has no sound".to_owned());
        };
        let samples = sound.samples.len() as u64 * u64::from(RATE);
        let frames = (samples.div_ceil(u64::from(sound.rate)) as usize).div_ceil(HOP);
        let (got, most) = (positions(frames), self.shape.encoder.positions);
        if got > most {
            let seconds = (4 * most * HOP) as f64 / f64::from(RATE);
            let got = sound.seconds();
            return Err(format!("expected a sound of at most {seconds} s, got {got:.1} s"));
        }
        let text = example.text.as_deref().unwrap_or_default();
        let labels = self.shape.labels(text).map_err(|c| {
            format!("expected a transcript in the characters of the alphabet, got {c:?}")
        })?;
        let transcript = Transcript { frames: got, labels };
        if !transcript.fits() {
            let count = transcript.labels.len();
            return Err(format!(
                "expected a transcript that {got} positions can spell, got {count} characters"
            ));
        }
        Ok((frames, transcript))
    }
}

fn micro(rows: &[(usize, Mel, Transcript)], bands: usize) -> Micro {
    let longest = rows.iter().map(|(frames, ..)| *frames).max().unwrap_or(0);
    Micro {
        mel: rows.iter().flat_map(|(_, mel, _)| mel.window(0, longest)).collect(),
        shape: [rows.len(), bands, longest],
        frames: rows.iter().map(|(frames, ..)| *frames).collect(),
        transcripts: rows.iter().map(|(.., transcript)| transcript.clone()).collect(),
    }
}

/// What is hidden of a spectrogram: stretches of frequency and of time, where its mean stands instead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpecAugment {
    /// Stretches of frequency.
    pub freq_masks: usize,
    /// Most bands of each.
    pub freq_width: usize,
    /// Stretches of time.
    pub time_masks: usize,
    /// Most frames of each, of 10 ms.
    pub time_width: usize,
    /// And at most this share (0 to 1) of the sound's.
    pub time_share: f64,
}

impl Default for SpecAugment {
    /// The paper's policy LD.
    fn default() -> Self {
        Self { freq_masks: 2, freq_width: 27, time_masks: 2, time_width: 100, time_share: 1.0 }
    }
}

/// The stream of random numbers that say what is hidden.
const MASKS: u64 = 0x5AEC;

impl SpecAugment {
    /// Hides parts of the sounds of a step, others in each.
    pub fn apply(&self, step: &mut [Micro], seed: u64, number: u64) {
        let mut rng = Rng::at(seed, MASKS, number);
        for Micro { mel, shape: [_, bands, longest], frames, .. } in step {
            let rows = mel.chunks_exact_mut((*bands * *longest).max(1));
            for (row, &frames) in rows.zip(&*frames) {
                self.hide(row, [*bands, *longest, frames], &mut rng);
            }
        }
    }

    /// Of one spectrogram `[bands, longest]` with so many frames that count.
    fn hide(&self, mel: &mut [f32], [bands, longest, frames]: [usize; 3], rng: &mut Rng) {
        let sum: f32 = mel.chunks(longest.max(1)).flat_map(|band| &band[..frames]).sum();
        let mean = sum / (bands * frames).max(1) as f32;
        let mut stretch = |all: usize, most: usize| {
            let width = rng.range(0, most.min(all));
            let from = rng.range(0, all - width);
            from..from + width
        };
        for _ in 0..self.freq_masks {
            for band in stretch(bands, self.freq_width) {
                mel[band * longest..][..frames].fill(mean);
            }
        }
        let most = self.time_width.min((frames as f64 * self.time_share) as usize);
        for _ in 0..self.time_masks {
            let hidden = stretch(frames, most);
            mel.chunks_mut(longest.max(1)).for_each(|band| band[hidden.clone()].fill(mean));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_is_hidden_as_is_asked_for() {
        let [bands, longest, frames] = [20, 60, 50];
        let whole: Vec<f32> = (0..bands * longest).map(|i| (i * 37 % 101) as f32).collect();
        let masks = |freq_masks, time_masks| SpecAugment {
            freq_masks,
            freq_width: 5,
            time_masks,
            time_width: 40,
            time_share: 0.2,
        };
        let hidden = |masks: SpecAugment, number| {
            let mel = whole.clone();
            let mut micro = [Micro {
                mel,
                shape: [1, bands, longest],
                frames: vec![frames],
                transcripts: vec![],
            }];
            masks.apply(&mut micro, 3, number);
            let changed = micro[0].mel.iter().zip(&whole).map(|(now, before)| now != before);
            changed.collect::<Vec<bool>>()
        };
        assert!(!hidden(masks(0, 0), 0).contains(&true));
        let mut widths = [std::collections::BTreeSet::new(), std::collections::BTreeSet::new()];
        for number in 0..200 {
            let bands_hidden = hidden(masks(1, 0), number);
            assert_eq!(bands_hidden, hidden(masks(1, 0), number), "the same for the same step");
            let rows = bands_hidden.chunks(longest);
            // All frames that count, none behind them; the mean may be a value's own.
            assert!(rows.clone().all(|row| !row[frames..].contains(&true)));
            widths[0].insert(
                rows.filter(|row| row[..frames].iter().filter(|x| **x).count() > 40).count(),
            );
            let times_hidden = hidden(masks(0, 1), number);
            let column = |frame: usize| (0..bands).any(|band| times_hidden[band * longest + frame]);
            widths[1].insert((0..longest).filter(|&frame| column(frame)).count());
        }
        // A fifth of 50 frames is less than 40.
        assert!(widths[0].iter().copied().eq(0..=5), "{:?}", widths[0]);
        assert!(widths[1].iter().copied().eq(0..=10), "{:?}", widths[1]);
    }
}
