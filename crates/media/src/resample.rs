//! Antialiased resampling, equal to Pillow's bit for bit.
//!
//! CLIP and LLaVA were trained on Pillow's pictures. Its two passes, across
//! and then down, store 8-bit pixels between them, and its weights are fixed
//! point numbers: both are part of the result. (Pillow 13 goes down first
//! where that saves work, and rounds differently there; the models of before
//! did not see that.)

use std::f64::consts::PI;

/// Fraction bits of a weight: 8 bits of pixel and 2 of headroom stay free in an `i32`.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// How pixels between pixels are made, as Pillow numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// 0: the pixel whose area covers the middle; no antialiasing.
    Nearest,
    /// 1: a sinc under a wider one, of reach 3.
    Lanczos,
    /// 2: a triangle.
    Bilinear,
    /// 3: Keys' cubic with a = -0.5.
    Bicubic,
    /// 4: all that the output pixel covers alike.
    Box,
    /// 5: a sinc under Hamming's window.
    Hamming,
}

impl Filter {
    /// All, at the place of their number.
    pub const ALL: [Self; 6] =
        [Self::Nearest, Self::Lanczos, Self::Bilinear, Self::Bicubic, Self::Box, Self::Hamming];

    /// Reach in output pixels.
    fn support(self) -> f64 {
        match self {
            Self::Nearest | Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Nearest | Self::Box => f64::from(u8::from(x > -0.5 && x <= 0.5)),
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Bicubic => cubic(x),
            Self::Hamming if x.abs() >= 1.0 => 0.0,
            Self::Hamming => sinc(x.abs()) * (0.54 + 0.46 * (x.abs() * PI).cos()),
            Self::Lanczos if !(-3.0..3.0).contains(&x) => 0.0,
            Self::Lanczos => sinc(x) * sinc(x / 3.0),
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
}

/// A stretch `start..start + len` of an axis scaled to `full` pixels: what a
/// crop after the resize would keep, without making the rest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) full: u32,
    pub(crate) start: u32,
    pub(crate) len: u32,
}

impl Window {
    pub(crate) fn whole(full: u32) -> Window {
        Window { full, start: 0, len: full }
    }
}

/// Scales RGB `pixels` of `width` x `height`; the result is `x.len` x `y.len`.
pub(crate) fn resample(
    filter: Filter,
    pixels: &[u8],
    (width, height): (u32, u32),
    x: Window,
    y: Window,
) -> Vec<u8> {
    let across = Taps::new(filter, width, x);
    let down = Taps::new(filter, height, y);
    let rows = down.reach();
    let row_bytes = width as usize * 3;
    let needed = &pixels[rows.start * row_bytes..rows.end * row_bytes];
    let narrow = pass_across(needed, row_bytes, &across);
    pass_down(&narrow, x.len as usize * 3, rows.start, &down)
}

/// The source pixels and weights behind each output pixel of one axis.
struct Taps {
    firsts: Vec<usize>,
    weights: Vec<Vec<i32>>,
}

impl Taps {
    fn new(filter: Filter, source: u32, window: Window) -> Taps {
        let scale = f64::from(source) / f64::from(window.full);
        let outputs = window.start..window.start + window.len;
        if filter == Filter::Nearest {
            // Summed up as Pillow does: a product would round differently.
            let middles = std::iter::successors(Some(scale * 0.5), |at| Some(at + scale));
            let middles = middles.skip(window.start as usize).take(window.len as usize);
            let firsts = middles.map(|at| (at as usize).min(source as usize - 1)).collect();
            return Taps { firsts, weights: vec![vec![1 << PRECISION_BITS]; window.len as usize] };
        }
        let (firsts, weights) = outputs.map(|out| taps_of(filter, out, source, scale)).unzip();
        Taps { firsts, weights }
    }

    /// Source pixels that any output pixel uses.
    fn reach(&self) -> std::ops::Range<usize> {
        let first = self.firsts.iter().copied().min().unwrap_or(0);
        let ends = self.firsts.iter().zip(&self.weights).map(|(at, w)| at + w.len());
        first..ends.max().unwrap_or(0)
    }

    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.firsts.iter().copied().zip(self.weights.iter().map(Vec::as_slice))
    }
}

fn taps_of(filter: Filter, out: u32, source: u32, scale: f64) -> (usize, Vec<i32>) {
    // Shrinking widens the filter so that every source pixel counts: the antialiasing.
    let stretch = scale.max(1.0);
    let support = filter.support() * stretch;
    let center = (f64::from(out) + 0.5) * scale;
    let first = (center - support + 0.5).max(0.0) as usize;
    let end = ((center + support + 0.5) as usize).min(source as usize);
    // Multiplied by the inverse as Pillow does: dividing would round differently.
    let inverse = 1.0 / stretch;
    let raw: Vec<f64> =
        (first..end).map(|at| filter.weight((at as f64 - center + 0.5) * inverse)).collect();
    let sum: f64 = raw.iter().sum();
    let unit = f64::from(1_u32 << PRECISION_BITS);
    let fixed = raw.iter().map(|weight| {
        let weight = if sum == 0.0 { *weight } else { weight / sum } * unit;
        (weight + 0.5_f64.copysign(weight)) as i32
    });
    (first, fixed.collect())
}

/// Keys' cubic with a = -0.5 (1981, doi:10.1109/TASSP.1981.1163711).
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn round(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (PRECISION_BITS - 1);

fn pass_across(pixels: &[u8], row_bytes: usize, taps: &Taps) -> Vec<u8> {
    let rows = pixels.len() / row_bytes;
    let mut out = Vec::with_capacity(rows * taps.firsts.len() * 3);
    for row in pixels.chunks_exact(row_bytes) {
        for (first, weights) in taps.iter() {
            let mut sums = [HALF; 3];
            for (pixel, weight) in row[first * 3..].chunks_exact(3).zip(weights) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(*value) * weight;
                }
            }
            out.extend(sums.map(round));
        }
    }
    out
}

/// `pixels` starts at source row `top`.
fn pass_down(pixels: &[u8], row_bytes: usize, top: usize, taps: &Taps) -> Vec<u8> {
    let mut out = Vec::with_capacity(row_bytes * taps.firsts.len());
    let mut sums = vec![HALF; row_bytes];
    for (first, weights) in taps.iter() {
        sums.fill(HALF);
        let rows = pixels[(first - top) * row_bytes..].chunks_exact(row_bytes);
        for (row, weight) in rows.zip(weights) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += i32::from(*value) * weight;
            }
        }
        out.extend(sums.iter().map(|sum| round(*sum)));
    }
    out
}
