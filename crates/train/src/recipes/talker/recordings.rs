//! Recordings with their phonemes to what a step learns from.

use sensorium_data::{Example, Examples, Media};
use sensorium_generator::audio::Speech;
use sensorium_media::stft::{BANDS, HOP, RATE, Stft};
use sensorium_pretrained::families::talker::VoicesConfig;

use crate::error::Result;

/// Recordings that are read at once.
pub struct Micro {
    /// What is said, and by whom.
    pub speech: Speech,
    /// Frames of each phoneme.
    pub frames: Vec<Vec<usize>>,
    /// Log-mel spectrograms, `[B, F, bands]`.
    pub mel: Vec<f32>,
    /// B, F and bands.
    pub shape: [usize; 3],
}

impl Micro {
    /// Frames that count.
    pub fn frames(&self) -> usize {
        self.frames.iter().flatten().sum()
    }
}

/// What makes a step's batch.
pub struct Recordings {
    shape: VoicesConfig,
    batch: usize,
    /// Recordings of a micro-batch.
    at_once: usize,
    /// Seconds of the longest.
    longest: f32,
}

/// One recording.
struct Row {
    voice: u32,
    phonemes: Vec<u32>,
    frames: Vec<usize>,
    mel: Vec<f32>,
}

impl Recordings {
    /// `batch` recordings of at most `longest` seconds in `accumulate` micro-batches, for a model.
    pub fn new(shape: &VoicesConfig, [batch, accumulate]: [usize; 2], longest: f32) -> Self {
        let at_once = batch.div_ceil(accumulate.max(1));
        Self { shape: shape.clone(), batch, at_once, longest }
    }

    /// The batch of a step, recordings of about one length side by side.
    ///
    /// # Errors
    /// Nearly nothing of a data set can be learned from.
    pub fn make(&self, examples: &Examples, step: u64) -> Result<Vec<Micro>> {
        let (first, stft) = (step * self.batch as u64, Stft::default());
        let mut rows = Vec::new();
        for index in first..first + self.batch as u64 {
            let fits = |example: &Example| self.spelt(example).map(|_| ());
            let example = examples.draw_fitting(index, 1.0, fits)?;
            // What is drawn fits.
            let Ok((voice, phonemes, frames)) = self.spelt(&example) else { continue };
            let sound = example.media.into_iter().find_map(|medium| match medium {
                Media::Audio(sound) => Some(sound.at_rate(RATE).samples),
                _ => None,
            });
            let mut mel = stft.log_mel(&sound.unwrap_or_default());
            mel.truncate(frames.iter().sum::<usize>() * BANDS);
            rows.push(Row { voice, phonemes, frames, mel });
        }
        rows.sort_by_key(|row| row.mel.len());
        Ok(rows.chunks(self.at_once).map(micro).collect())
    }

    /// Voice, phonemes and their frames, or why a recording cannot be learned from whole.
    fn spelt(&self, example: &Example) -> std::result::Result<(u32, Vec<u32>, Vec<usize>), String> {
        let sound = example.media.iter().find_map(Media::sound).ok_or("it has no sound")?;
        let spoken = example.spoken.as_ref().ok_or("it has no voice and phones")?;
        let got = sound.seconds();
        if got > f64::from(self.longest) {
            return Err(format!("expected at most {} s, got {got:.1} s", self.longest));
        }
        let voice = self.shape.voice(&spoken.voice).ok_or_else(|| {
            format!("expected a voice of {}, got {}", self.shape.voices.join(", "), spoken.voice)
        })?;
        let number = |name: &String| {
            self.shape.phoneme(name).ok_or_else(|| format!("expected phonemes, got {name}"))
        };
        let phonemes = spoken.phonemes.iter().map(|(name, _)| number(name));
        let phonemes = phonemes.collect::<std::result::Result<Vec<u32>, _>>()?;
        let samples = (sound.samples.len() as u64 * u64::from(RATE)).div_ceil(sound.rate.into());
        let all = (samples as usize).div_ceil(HOP);
        let frame = |end: f32| ((end * RATE as f32 / HOP as f32).round() as usize).min(all);
        let mut ends: Vec<usize> = spoken.phonemes.iter().map(|(_, end)| frame(*end)).collect();
        // Behind the last phoneme there is nothing to say.
        let Some(last) = ends.last_mut().filter(|last| **last > 0) else {
            return Err("it has no phonemes".to_owned());
        };
        *last = all;
        let begins = std::iter::once(0).chain(ends.iter().copied());
        Ok((voice, phonemes, ends.iter().zip(begins).map(|(end, begin)| end - begin).collect()))
    }
}

fn micro(rows: &[Row]) -> Micro {
    let longest = rows.iter().map(|row| row.mel.len()).max().unwrap_or(0);
    let most = rows.iter().map(|row| row.phonemes.len()).max().unwrap_or(0);
    let mut micro = Micro {
        speech: Speech { phonemes: Vec::new(), lengths: Vec::new(), voices: Vec::new() },
        frames: rows.iter().map(|row| row.frames.clone()).collect(),
        mel: Vec::with_capacity(rows.len() * longest),
        shape: [rows.len(), longest / BANDS, BANDS],
    };
    for row in rows {
        micro.speech.voices.push(row.voice);
        micro.speech.lengths.push(row.phonemes.len());
        micro.speech.phonemes.extend(&row.phonemes);
        micro.speech.phonemes.resize(micro.speech.lengths.len() * most, 0);
        micro.mel.extend(&row.mel);
        micro.mel.resize(micro.speech.lengths.len() * longest, 0.0);
    }
    micro
}

/// What an example has not.
pub fn lacks(example: &Example) -> Option<&'static str> {
    match (&example.spoken, example.media.iter().any(|one| one.sound().is_some())) {
        (_, false) => Some("recordings"),
        (None, true) => Some("the columns voice and phones"),
        (Some(_), true) => None,
    }
}
