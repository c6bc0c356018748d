//! Antialiased resampling, equal to Pillow's bit for bit.
//!
//! CLIP and LLaVA were trained on Pillow's pictures. Its two passes, across
//! and then down, store 8-bit pixels between them, and its weights are fixed
//! point numbers: both are part of the result. (Pillow 13 goes down first
//! where that saves work, and rounds differently there; the models of before
//! did not see that.)

use std::f64::consts::PI;
use std::ops::Range;

/// Fraction bits of a weight: 8 bits of pixel and 2 of headroom stay free in an `i32`.
const PRECISION_BITS: u32 = 32 - 8 - 2;
/// Most weights that are held at a time, unless one output pixel has more.
const MAX_WEIGHTS: usize = 1 << 20;

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
    let (across, down) = (Axis::new(filter, width, x), Axis::new(filter, height, y));
    let rows = down.reach();
    let row_bytes = width as usize * 3;
    let needed = &pixels[rows.start * row_bytes..rows.end * row_bytes];
    let narrow = pass_across(needed, row_bytes, &across);
    pass_down(&narrow, x.len as usize * 3, rows.start, &down)
}

/// As [`resample`], of numbers that are rounded nowhere: what PyTorch's `interpolate` makes of floats with
/// `antialias=True`.
pub(crate) fn smooth(
    filter: Filter,
    pixels: &[u8],
    (width, height): (u32, u32),
    x: Window,
    y: Window,
) -> Vec<f32> {
    let (across, down) = (Axis::new(filter, width, x), Axis::new(filter, height, y));
    let rows = down.reach();
    let row = width as usize * 3;
    let needed = &pixels[rows.start * row..rows.end * row];
    let taps: Vec<_> = (0..across.len()).map(|i| across.weights(i)).collect();
    let narrow: Vec<f32> = needed.chunks_exact(row).flat_map(|row| blend_row(row, &taps)).collect();
    let row = across.len() * 3;
    let taps = (0..down.len()).map(|i| down.weights(i));
    taps.flat_map(|(first, weights)| {
        let mut sums = vec![0.0; row];
        let lines = narrow[(first - rows.start) * row..].chunks_exact(row);
        for (weight, line) in weights.iter().zip(lines) {
            sums.iter_mut().zip(line).for_each(|(sum, value)| *sum += weight * value);
        }
        sums
    })
    .collect()
}

/// RGB `row` at the places of `taps`.
fn blend_row(row: &[u8], taps: &[(usize, Vec<f32>)]) -> Vec<f32> {
    let blended = taps.iter().flat_map(|(first, weights)| {
        [0, 1, 2].map(|c| {
            let values = row[first * 3 + c..].iter().step_by(3);
            weights.iter().zip(values).map(|(weight, value)| weight * f32::from(*value)).sum()
        })
    });
    blended.collect()
}

/// The source pixels and weights behind each output pixel of one axis, made when they are needed: of an
/// edge of millions of pixels they would take more memory than the picture.
struct Axis {
    filter: Filter,
    source: usize,
    scale: f64,
    window: Window,
    /// Source pixels of the nearest neighbours, which have no weights.
    nearest: Vec<usize>,
}

impl Axis {
    fn new(filter: Filter, source: u32, window: Window) -> Self {
        let scale = f64::from(source) / f64::from(window.full);
        let source = source as usize;
        let mut nearest = Vec::new();
        if filter == Filter::Nearest {
            // Summed up as Pillow does: a product would round differently.
            let middles = std::iter::successors(Some(scale * 0.5), |at| Some(at + scale));
            let middles = middles.skip(window.start as usize).take(window.len as usize);
            nearest = middles.map(|at| (at as usize).min(source - 1)).collect();
        }
        Self { filter, source, scale, window, nearest }
    }

    fn len(&self) -> usize {
        self.window.len as usize
    }

    /// Source pixels that any output pixel uses.
    fn reach(&self) -> Range<usize> {
        self.sources(0).start..self.sources(self.len() - 1).end
    }

    /// Shrinking widens the filter so that every source pixel counts: the antialiasing.
    fn stretch(&self) -> f64 {
        self.scale.max(1.0)
    }

    fn center(&self, index: usize) -> f64 {
        (f64::from(self.window.start) + index as f64 + 0.5) * self.scale
    }

    /// Source pixels of the window's output pixel.
    fn sources(&self, index: usize) -> Range<usize> {
        if let Some(at) = self.nearest.get(index) {
            return *at..*at + 1;
        }
        let (center, support) = (self.center(index), self.filter.support() * self.stretch());
        let first = (center - support + 0.5).max(0.0) as usize;
        first..((center + support + 0.5) as usize).min(self.source)
    }

    /// First source pixel and the weights from there on, in fixed point.
    fn taps(&self, index: usize) -> (usize, Vec<i32>) {
        let unit = f64::from(1_u32 << PRECISION_BITS);
        self.weighed(index, |weight| {
            let weight = weight * unit;
            (weight + 0.5_f64.copysign(weight)) as i32
        })
    }

    /// First source pixel and the weights from there on.
    fn weights(&self, index: usize) -> (usize, Vec<f32>) {
        self.weighed(index, |weight| weight as f32)
    }

    fn weighed<W>(&self, index: usize, to: impl Fn(f64) -> W) -> (usize, Vec<W>) {
        let sources = self.sources(index);
        if self.filter == Filter::Nearest {
            return (sources.start, vec![to(1.0)]);
        }
        let center = self.center(index);
        // Multiplied by the inverse as Pillow does: dividing would round differently.
        let inverse = 1.0 / self.stretch();
        let weight = |at: usize| self.filter.weight((at as f64 - center + 0.5) * inverse);
        let sum: f64 = sources.clone().map(weight).sum();
        let share = |at: usize| if sum == 0.0 { weight(at) } else { weight(at) / sum };
        (sources.start, sources.map(|at| to(share(at))).collect())
    }
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

fn pass_across(pixels: &[u8], row_bytes: usize, axis: &Axis) -> Vec<u8> {
    let out_bytes = axis.len() * 3;
    let mut out = vec![0; pixels.len() / row_bytes * out_bytes];
    // All columns of an ordinary picture at once.
    let columns = (MAX_WEIGHTS / axis.sources(axis.len() / 2).len().max(1)).max(1);
    for start in (0..axis.len()).step_by(columns) {
        let end = (start + columns).min(axis.len());
        let taps: Vec<(usize, Vec<i32>)> = (start..end).map(|index| axis.taps(index)).collect();
        for (row, line) in pixels.chunks_exact(row_bytes).zip(out.chunks_exact_mut(out_bytes)) {
            for ((first, weights), to) in taps.iter().zip(line[start * 3..].chunks_exact_mut(3)) {
                let mut sums = [HALF; 3];
                for (pixel, weight) in row[first * 3..].chunks_exact(3).zip(weights) {
                    for (sum, value) in sums.iter_mut().zip(pixel) {
                        *sum += i32::from(*value) * weight;
                    }
                }
                to.copy_from_slice(&sums.map(round));
            }
        }
    }
    out
}

/// `pixels` starts at source row `top`.
fn pass_down(pixels: &[u8], row_bytes: usize, top: usize, axis: &Axis) -> Vec<u8> {
    let mut out = Vec::with_capacity(row_bytes * axis.len());
    let mut sums = vec![HALF; row_bytes];
    for (first, weights) in (0..axis.len()).map(|index| axis.taps(index)) {
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
