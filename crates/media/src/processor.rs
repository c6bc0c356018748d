//! From a picture of any size to the planes an image encoder was trained on.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::picture::{Picture, crop_start};
use crate::resample::{Filter, Window};

/// How a picture of any shape becomes a square.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// Scale both edges to the size, whatever the ratio (SigLIP).
    Squash,
    /// Scale the shorter edge to the size and keep the middle (CLIP).
    Crop,
    /// Scale the longer edge to the size and centre it on white: nothing is
    /// lost or bent.
    Pad,
}

/// Size, fit and normalisation of an image encoder's input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageProcessor {
    /// Edge of the square, in pixels, 1 to 4096.
    #[serde(deserialize_with = "edge")]
    pub size: u32,
    /// How a picture becomes that square.
    pub fit: Fit,
    /// Mean of each channel, of values in 0..=1.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, above 0.
    #[serde(deserialize_with = "deviation")]
    pub std: [f32; 3],
}

impl ImageProcessor {
    /// CLIP's preprocessing (Radford et al. 2021, `clip.py`).
    pub fn clip(size: u32) -> ImageProcessor {
        ImageProcessor {
            size,
            fit: Fit::Crop,
            mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
        }
    }

    /// SigLIP's preprocessing: squashed, values in -1..=1.
    pub fn siglip(size: u32) -> ImageProcessor {
        ImageProcessor { size, fit: Fit::Squash, mean: [0.5; 3], std: [0.5; 3] }
    }

    /// The nano models': 96 px on white, values in -1..=1.
    pub fn nano() -> ImageProcessor {
        ImageProcessor { size: 96, fit: Fit::Pad, mean: [0.5; 3], std: [0.5; 3] }
    }

    /// `size * size` pixels, before normalisation.
    pub fn fit(&self, picture: &Picture) -> Picture {
        let size = self.size.max(1);
        if (picture.width, picture.height) == (size, size) {
            return picture.clone();
        }
        match self.fit {
            Fit::Squash => picture.resize(size, size),
            Fit::Crop => crop(picture, size),
            Fit::Pad => pad(picture, size),
        }
    }

    /// `[3, size, size]`: planes of red, green, blue; `(value / 255 - mean) / std`.
    pub fn process(&self, picture: &Picture) -> Vec<f32> {
        let square = self.fit(picture);
        let channels = self.mean.iter().zip(&self.std).enumerate();
        channels
            .flat_map(|(c, (mean, std))| {
                let values = square.pixels.iter().skip(c).step_by(3);
                values.map(move |value| (f32::from(*value) / 255.0 - mean) / std)
            })
            .collect()
    }
}

/// Only the middle is ever made: a 1x16384 picture scaled whole would need gigabytes.
fn crop(picture: &Picture, size: u32) -> Picture {
    let (width, height) = picture.shortest_edge_size(size);
    let middle = |full| Window { full, start: crop_start(full, size), len: size };
    picture.resize_window(Filter::Bicubic, middle(width), middle(height))
}

fn pad(picture: &Picture, size: u32) -> Picture {
    let longest = u64::from(picture.width.max(picture.height));
    // Rounded to nearest; the shorter edge keeps at least one pixel.
    let scaled = |edge: u32| {
        let edge = (u64::from(edge) * u64::from(size) + longest / 2) / longest;
        (edge as u32).max(1)
    };
    let (width, height) = (scaled(picture.width), scaled(picture.height));
    let small = picture.resize(width, height);
    small.placed(size, size, (size - width) / 2, (size - height) / 2, [255; 3])
}

fn edge<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let size = u32::deserialize(deserializer)?;
    if !(1..=4096).contains(&size) {
        return Err(D::Error::custom(format!("expected a size of 1 to 4096 pixels, got {size}")));
    }
    Ok(size)
}

fn deviation<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[f32; 3], D::Error> {
    let std = <[f32; 3]>::deserialize(deserializer)?;
    if std.iter().any(|value| !(value.is_finite() && *value > 0.0)) {
        return Err(D::Error::custom(format!("expected std above 0, got {std:?}")));
    }
    Ok(std)
}
