//! What generators make, as media.

use sensorium_flow::{Output, Sampler};
use sensorium_media::stft::{BANDS, RATE, Stft};
use sensorium_media::{Frame, Media, Modality, Picture, Sound, Video};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::generators::Generators;

use crate::TextToMedia;
use crate::error::{Error, Result};
use crate::generate::Wanted;

/// Seconds that a frame of a video is shown: the clips that are learned from have two a second.
const FRAME: f64 = 0.5;

impl TextToMedia for Generators {
    fn makes(&self) -> Vec<Modality> {
        self.modalities()
    }

    fn generate(
        &self,
        modality: Modality,
        texts: &[String],
        sampler: Sampler,
        _progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Media>> {
        own(&sampler)?;
        match self.generate(modality, texts, sampler)? {
            Some(output) => media(output),
            None => Err(Error::Makes { wanted: modality, known: self.modalities() }),
        }
    }

    fn make(&self, wanted: &Wanted, count: usize, sampler: Sampler) -> Result<Vec<Media>> {
        own(&sampler)?;
        let Wanted { modality, conditions, shape: [q, c] } = wanted;
        let data = TensorData::new(conditions.repeat(count), [count, *q, *c]);
        match self.told(*modality, data, sampler) {
            Some(output) => media(output),
            None => Err(Error::Makes { wanted: *modality, known: self.modalities() }),
        }
    }
}

/// That nothing is asked for which only published models can do.
fn own(sampler: &Sampler) -> Result<()> {
    match (sampler.scheduler, sampler.size) {
        (Some(scheduler), _) => {
            Err(Error::Fixed { what: "scheduler", got: scheduler.name().to_owned() })
        }
        (_, Some([h, w])) => Err(Error::Fixed { what: "size", got: format!("{w}x{h}") }),
        (None, None) => Ok(()),
    }
}

/// What generators make, as media.
pub(crate) fn media(output: Output) -> Result<Vec<Media>> {
    match output {
        Output::Image(x) => {
            pictures(x)?.into_iter().map(|picture| Ok(Media::Image(picture))).collect()
        }
        Output::Video(x) => {
            let [_, f, c, h, w] = x.dims();
            let all = pictures(x.reshape([-1, c as i32, h as i32, w as i32]))?;
            Ok(all.chunks(f).map(|frames| Media::Video(video(frames))).collect())
        }
        Output::Audio(x) => {
            let [_, bands, f] = x.dims();
            let mel = read(x.swap_dims(1, 2));
            Ok(mel.chunks(f * bands).map(|mel| Media::Audio(sound(mel))).collect())
        }
    }
}

/// `[B, 3, h, w]` from -1 to 1 as pictures.
fn pictures(x: Tensor<4>) -> Result<Vec<Picture>> {
    let [_, c, h, w] = x.dims();
    let level = |value: f32| ((value + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8;
    let rows = read(x.permute([0, 2, 3, 1]));
    let picture = |pixels: &[f32]| {
        let pixels = pixels.iter().map(|&value| level(value)).collect();
        Ok(Picture::new(w as u32, h as u32, pixels)?)
    };
    rows.chunks(h * w * c).map(picture).collect()
}

/// Rounds in which phases are found.
const ROUNDS: usize = 60;

/// What is quieter in every band is silence.
const SILENCE: f32 = -7.0;

/// A sound of log-mel features `[F, bands]`, without the silence behind it.
fn sound(mel: &[f32]) -> Sound {
    let loud = |frame: &&[f32]| frame.iter().any(|&x| x > SILENCE);
    let heard = mel.chunks(BANDS).rposition(|frame| loud(&frame)).map_or(1, |last| last + 1);
    let heard = (heard + TAIL).min(mel.len() / BANDS);
    let samples = Stft::default().griffin_lim(&mel[..heard * BANDS], ROUNDS);
    let samples = samples.into_iter().map(|x| if x.is_finite() { x.clamp(-1.0, 1.0) } else { 0.0 });
    Sound { rate: RATE, samples: samples.collect(), warning: None }
}

/// Columns that are kept of the silence.
const TAIL: usize = 8;

fn video(frames: &[Picture]) -> Video {
    let frame = |(i, picture): (usize, &Picture)| Frame {
        picture: picture.clone(),
        seconds: i as f64 * FRAME,
    };
    Video {
        frames: frames.iter().enumerate().map(frame).collect(),
        duration: frames.len() as f64 * FRAME,
    }
}
