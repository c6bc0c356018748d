//! Pictures and sounds changed at random before they are learned from: pictures as torchvision does for open_clip,
//! sounds in speed (Ko et al. 2015, <https://www.danielpovey.com/files/2015_interspeech_augmentation.pdf>).

use sensorium_kernels::rng::Rng;
use sensorium_media::{Picture, Sound, Video};
use serde::{Deserialize, Serialize};

use crate::{Error, Media, Result};

/// The stream of random numbers that change media.
const AUGMENT: u64 = 0xA06;

/// How often torchvision draws a part of a picture before it takes the middle.
const TRIES: usize = 10;

/// What is done to each picture and sound. In TOML: `augment = { random_resized_crop = [0.9, 1.0] }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augment {
    /// A part of the picture of so much of its area, from the least to the most, is scaled to the size that
    /// the model reads; without, all of it stays as it is. open_clip's is `[0.9, 1.0]`.
    pub random_resized_crop: Option<[f64; 2]>,
    /// Width over height of that part.
    #[serde(default = "ratio")]
    pub ratio: [f64; 2],
    /// How often (0 to 1) a picture is mirrored: where texts tell left from right, never.
    #[serde(default)]
    pub horizontal_flip: f32,
    /// A sound is played so much faster, from the least to the most, and so much higher; without, as it is.
    /// Kaldi's are 0.9, 1 and 1.1.
    pub speed: Option<[f64; 2]>,
}

fn ratio() -> [f64; 2] {
    [3.0 / 4.0, 4.0 / 3.0]
}

impl Augment {
    /// Whether its numbers make sense.
    ///
    /// # Errors
    /// A range that is none, or a chance that is none.
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |key, expected, got: String| Err(Error::Config { key, expected, got });
        let is_range = |[low, high]: [f64; 2]| low > 0.0 && low <= high && high.is_finite();
        let got = |range: [f64; 2]| format!("{range:?}");
        match self.random_resized_crop {
            Some(area) if !is_range(area) || area[1] > 1.0 => {
                let expected = "shares of the area, above 0 and up to 1";
                return wrong("augment.random_resized_crop", expected, got(area));
            }
            _ => {}
        }
        if !is_range(self.ratio) {
            return wrong("augment.ratio", "a range above 0", got(self.ratio));
        }
        let is_speed = |range: [f64; 2]| is_range(range) && range[0] >= 0.5 && range[1] <= 2.0;
        if let Some(range) = self.speed.filter(|range| !is_speed(*range)) {
            return wrong("augment.speed", "a range from 0.5 to 2", got(range));
        }
        if !(0.0..=1.0).contains(&self.horizontal_flip) {
            let got = self.horizontal_flip.to_string();
            return wrong("augment.horizontal_flip", "a number from 0 to 1", got);
        }
        Ok(())
    }

    /// The media of example `index` of a run, for a model that reads pictures of `side` pixels.
    pub(crate) fn apply(&self, media: Vec<Media>, seed: u64, index: u64, side: u32) -> Vec<Media> {
        let mut rng = Rng::at(seed, AUGMENT, index);
        let change = |medium| match medium {
            Media::Image(picture) => Media::Image(self.change(picture, &mut rng, side)),
            Media::Video(video) => Media::Video(self.change_all(video, &mut rng, side)),
            Media::Audio(sound) => Media::Audio(self.hasten(sound, &mut rng)),
            Media::Table(table) => Media::Table(table),
        };
        media.into_iter().map(change).collect()
    }

    /// The same part of every frame, mirrored or not.
    fn change_all(&self, mut video: Video, rng: &mut Rng, side: u32) -> Video {
        let begin = rng.clone();
        for frame in &mut video.frames {
            *rng = begin.clone();
            frame.picture = self.change(frame.picture.clone(), rng, side);
        }
        video
    }

    fn hasten(&self, sound: Sound, rng: &mut Rng) -> Sound {
        let Some([low, high]) = self.speed else { return sound };
        let (rate, speed) = (sound.rate, low + (high - low) * rng.uniform());
        // Hundredths: rates in whole ratios have few sets of weights.
        let faster = (u64::from(rate) * (speed * 100.0).round() as u64 / 100).max(1);
        Sound { rate: faster as u32, ..sound }.at_rate(rate)
    }

    fn change(&self, mut picture: Picture, rng: &mut Rng, side: u32) -> Picture {
        if let Some(area) = self.random_resized_crop {
            let part = self.part(area, [picture.width, picture.height], rng);
            picture = crop(&picture, part).resize(side, side);
        }
        if rng.chance(self.horizontal_flip) {
            mirror(&mut picture);
        }
        picture
    }

    /// Left, top, width and height of a part: torchvision's `RandomResizedCrop.get_params`.
    fn part(&self, area: [f64; 2], [width, height]: [u32; 2], rng: &mut Rng) -> [u32; 4] {
        let mut between = |[low, high]: [f64; 2]| low + (high - low) * rng.uniform();
        let whole = f64::from(width) * f64::from(height);
        for _ in 0..TRIES {
            let target = whole * between(area);
            let ratio = between(self.ratio.map(f64::ln)).exp();
            let [w, h] = [target * ratio, target / ratio].map(|x| x.sqrt().round() as u32);
            if (1..=width).contains(&w) && (1..=height).contains(&h) {
                let mut at = |free: u32| (between([0.0, f64::from(free) + 1.0]) as u32).min(free);
                return [at(width - w), at(height - h), w, h];
            }
        }
        let is = f64::from(width) / f64::from(height);
        let ratio = is.clamp(self.ratio[0], self.ratio[1]);
        let w = if is > ratio { (f64::from(height) * ratio).round() as u32 } else { width };
        let h = if is < ratio { (f64::from(width) / ratio).round() as u32 } else { height };
        let [w, h] = [w.clamp(1, width), h.clamp(1, height)];
        [(width - w) / 2, (height - h) / 2, w, h]
    }
}

fn crop(picture: &Picture, [left, top, width, height]: [u32; 4]) -> Picture {
    let rows = picture.pixels.chunks_exact(picture.width as usize * 3);
    let row = |row: &[u8]| row[left as usize * 3..(left + width) as usize * 3].to_vec();
    let pixels = rows.skip(top as usize).take(height as usize).flat_map(row).collect();
    Picture { width, height, pixels }
}

fn mirror(picture: &mut Picture) {
    for row in picture.pixels.chunks_exact_mut(picture.width as usize * 3) {
        row.as_chunks_mut::<3>().0.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sensorium_kernels::rng::Rng;
    use std::f64::consts::TAU;

    const PLAIN: Augment = Augment {
        random_resized_crop: None,
        ratio: [0.75, 4.0 / 3.0],
        horizontal_flip: 0.0,
        speed: None,
    };

    /// A picture whose pixels tell where they are.
    fn picture(width: u32, height: u32) -> Picture {
        let pixel = |i: u32| [(i % width) as u8, (i / width) as u8, 0];
        Picture { width, height, pixels: (0..width * height).flat_map(pixel).collect() }
    }

    fn changed(augment: Augment, picture: Picture, index: u64) -> Picture {
        let media = augment.apply(vec![Media::Image(picture)], 7, index, 8);
        media[0].pictures().next().expect("a picture stays one").clone()
    }

    proptest! {
        #[test]
        fn a_part_lies_within_and_has_the_area_and_ratio_asked_for(
            width in 1u32..200, height in 1u32..200, low in 0.05f64..1.0, index: u64,
        ) {
            let area = [low, 1.0];
            let augment = Augment { random_resized_crop: Some(area), ..PLAIN };
            let [left, top, w, h] = augment.part(area, [width, height], &mut Rng::at(1, 2, index));
            prop_assert!(w >= 1 && h >= 1 && left + w <= width && top + h <= height);
            if width.min(height) > 50 {
                let ratio = f64::from(w) / f64::from(h);
                prop_assert!((0.72..1.39).contains(&ratio), "{}", ratio);
            }
            prop_assert_eq!(crop(&picture(width, height), [left, top, w, h]).pixels.len() as u32, 3 * w * h);
        }
    }

    #[test]
    fn pictures_change_by_number_alone_and_only_as_asked() {
        let whole = picture(20, 12);
        assert_eq!(changed(PLAIN, whole.clone(), 3), whole);
        let crops = Augment { random_resized_crop: Some([0.3, 0.9]), ..PLAIN };
        let all: Vec<Picture> = (0..20).map(|i| changed(crops, whole.clone(), i)).collect();
        assert!(all.iter().all(|picture| (picture.width, picture.height) == (8, 8)));
        assert_eq!(all[5], changed(crops, whole.clone(), 5));
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
        // Columns still rise from left to right.
        assert!(all.iter().all(|picture| picture.pixels[0] < picture.pixels[21]));

        let flips = Augment { horizontal_flip: 0.5, ..PLAIN };
        let is_mirrored = |i| changed(flips, whole.clone(), i).pixels[0] == 19;
        let mirrored = (0..200).filter(|&i| is_mirrored(i)).count();
        assert!((70..130).contains(&mirrored), "{mirrored}");
        let always = Augment { horizontal_flip: 1.0, ..PLAIN };
        assert_eq!(changed(always, changed(always, whole.clone(), 1), 1), whole);
    }

    /// A tone of 500 Hz: played faster it is shorter and higher.
    #[test]
    fn sounds_change_their_speed() {
        let samples = (0..1600).map(|i| (f64::from(i) * 500.0 / 8000.0 * TAU).sin() as f32);
        let tone = Sound { rate: 8000, samples: samples.collect(), warning: None };
        let changed = |speed, index| {
            let media = vec![Media::Audio(tone.clone())];
            let media = Augment { speed, ..PLAIN }.apply(media, 7, index, 8);
            media[0].sound().expect("a sound stays one").clone()
        };
        assert_eq!(changed(None, 1), tone);
        for (speed, length, hertz) in [(0.8, 2000, 400.0), (1.25, 1280, 625.0)] {
            let sound = changed(Some([speed; 2]), 1);
            assert_eq!((sound.rate, sound.samples.len()), (8000, length));
            let wave = |i: usize| (i as f64 * hertz / 8000.0 * TAU).sin();
            let off = (400..800).map(|i| (f64::from(sound.samples[i]) - wave(i)).abs());
            assert!(off.fold(0.0, f64::max) < 1e-2, "{speed}");
        }
        let lengths = (0..20).map(|i| changed(Some([0.9, 1.1]), i).samples.len());
        let lengths: std::collections::BTreeSet<_> = lengths.collect();
        assert!(
            lengths.len() > 5 && lengths.iter().all(|n| (1450..1790).contains(n)),
            "{lengths:?}"
        );
    }

    #[test]
    fn numbers_that_make_no_sense_are_named() {
        for (augment, key) in [
            (Augment { random_resized_crop: Some([0.0, 1.0]), ..PLAIN }, "random_resized_crop"),
            (Augment { random_resized_crop: Some([0.9, 1.1]), ..PLAIN }, "random_resized_crop"),
            (Augment { ratio: [2.0, 1.0], ..PLAIN }, "ratio"),
            (Augment { horizontal_flip: f32::NAN, ..PLAIN }, "horizontal_flip"),
            (Augment { speed: Some([1.1, 0.9]), ..PLAIN }, "speed"),
            (Augment { speed: Some([0.0, 1.0]), ..PLAIN }, "speed"),
        ] {
            let error = augment.check().map_err(|error| error.to_string()).unwrap_err();
            assert!(error.contains(key) && error.contains("hint:"), "{error}");
        }
        assert!(PLAIN.check().is_ok());
    }
}
