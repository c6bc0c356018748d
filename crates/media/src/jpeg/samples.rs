//! Coefficients to samples to RGB, with libjpeg-turbo's rounding ("islow" and "fancy upsampling").

use std::num::Wrapping;

use super::{Block, Component, Frame};

/// Turns rows of the components into RGB.
pub(super) type ToRgb = fn(&[Vec<u8>], &mut [u8]);

/// Place in a block's rows of each coefficient in the file's order.
#[rustfmt::skip]
const ZIGZAG: [usize; 64] = [
     0,  1,  8, 16,  9,  2,  3, 10, 17, 24, 32, 25, 18, 11,  4,  5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13,  6,  7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// All of the frame's pixels; its coefficients are given up on the way.
pub(super) fn pixels(frame: &mut Frame, to_rgb: ToRgb) -> Vec<u8> {
    let planes: Vec<Vec<u8>> = frame.components.iter_mut().map(plane).collect();
    let mut rows = vec![Vec::new(); planes.len()];
    let mut pixels = vec![0; frame.width * frame.height * 3];
    for (y, line) in pixels.chunks_exact_mut(frame.width * 3).enumerate() {
        for ((component, plane), row) in frame.components.iter().zip(&planes).zip(&mut rows) {
            component.upsample(plane, frame.most, y, row);
        }
        to_rgb(&rows, line);
    }
    pixels
}

/// Samples of all blocks, row by row.
fn plane(component: &mut Component) -> Vec<u8> {
    let blocks = std::mem::take(&mut component.blocks);
    let quantization = component.quantization.unwrap_or([0; 64]);
    let stride = component.grid[0] * 8;
    let mut plane = vec![0; blocks.len() * 64];
    for (line, row) in
        plane.chunks_exact_mut(stride * 8).zip(blocks.chunks_exact(component.grid[0]))
    {
        for (x, block) in row.iter().enumerate() {
            let samples = samples(block, &quantization);
            for (to, from) in line.chunks_exact_mut(stride).zip(samples.chunks_exact(8)) {
                to[x * 8..x * 8 + 8].copy_from_slice(from);
            }
        }
    }
    plane
}

type W = Wrapping<i32>;

/// Fraction bits of the factors, and of the values between the two passes.
const FACTOR_BITS: usize = 13;
const PASS_BITS: usize = 2;

fn samples(block: &Block, quantization: &[u16; 64]) -> [u8; 64] {
    let product = |k: usize| Wrapping(i32::from(block[k]) * i32::from(quantization[k]));
    if block[1..].iter().all(|c| *c == 0) {
        return [level(descale(product(0) << PASS_BITS, PASS_BITS + 3)); 64];
    }
    let mut values = [Wrapping(0); 64];
    for (k, place) in ZIGZAG.iter().enumerate() {
        values[*place] = product(k);
    }
    for x in 0..8 {
        let column = std::array::from_fn(|y| values[y * 8 + x]);
        let column = if column[1..] == [Wrapping(0); 7] {
            [column[0] << FACTOR_BITS; 8]
        } else {
            idct(column)
        };
        for (y, value) in column.into_iter().enumerate() {
            values[y * 8 + x] = descale(value, FACTOR_BITS - PASS_BITS);
        }
    }
    let mut samples = [0; 64];
    for (to, from) in samples.chunks_exact_mut(8).zip(values.chunks_exact(8)) {
        let row = idct(std::array::from_fn(|x| from[x]));
        for (to, value) in to.iter_mut().zip(row) {
            *to = level(descale(value, FACTOR_BITS + PASS_BITS + 3));
        }
    }
    samples
}

fn descale(value: W, bits: usize) -> W {
    (value + (Wrapping(1) << (bits - 1))) >> bits
}

fn level(value: W) -> u8 {
    (value + Wrapping(128)).0.clamp(0, 255) as u8
}

/// Eight values times `1 << FACTOR_BITS`: Loeffler, Ligtenberg and Moschytz 1989.
fn idct(v: [W; 8]) -> [W; 8] {
    let by = |x: W, factor: i32| x * Wrapping(factor);
    let z1 = by(v[2] + v[6], 4433);
    let (even2, even3) = (z1 - by(v[6], 15137), z1 + by(v[2], 6270));
    let (even0, even1) = ((v[0] + v[4]) << FACTOR_BITS, (v[0] - v[4]) << FACTOR_BITS);
    let even = [even0 + even3, even1 + even2, even1 - even2, even0 - even3];
    let z5 = by(v[7] + v[3] + v[5] + v[1], 9633);
    let (z1, z2) = (by(v[7] + v[1], -7373), by(v[5] + v[3], -20995));
    let (z3, z4) = (z5 - by(v[7] + v[3], 16069), z5 - by(v[5] + v[1], 3196));
    let odd = [
        by(v[1], 12299) + z1 + z4,
        by(v[3], 25172) + z2 + z3,
        by(v[5], 16819) + z2 + z4,
        by(v[7], 2446) + z1 + z3,
    ];
    std::array::from_fn(|i| if i < 4 { even[i] + odd[i] } else { even[7 - i] - odd[7 - i] })
}

impl Component {
    /// Row `y` of the picture: between half-sized samples lie 3 parts of the nearer and 1 of the farther
    /// one, others are repeated.
    fn upsample(&self, plane: &[u8], most: [usize; 2], y: usize, row: &mut Vec<u8>) {
        let [h, v] = [most[0] / self.sampling[0], most[1] / self.sampling[1]];
        let [width, height] = self.size;
        let line = |y: usize| &plane[y * self.grid[0] * 8..][..width];
        let near = line(y / v);
        let far = match y % v {
            0 => line((y / v).saturating_sub(1)),
            _ => line((y / v + 1).min(height - 1)),
        };
        let between = |(near, far): (&u8, &u8)| 3 * u16::from(*near) + u16::from(*far);
        let wide = width > 2;
        row.clear();
        match (h, v) {
            (1, 1) => row.extend(near),
            (1, 2) => {
                let half = 1 + (y % 2) as u16;
                row.extend(near.iter().zip(far).map(|pair| ((between(pair) + half) >> 2) as u8));
            }
            (2, 1) if wide => stretch(near.iter().map(|sample| (*sample).into()), [1, 2], 2, row),
            (2, 2) if wide => stretch(near.iter().zip(far).map(between), [8, 7], 4, row),
            _ => near.iter().for_each(|sample| row.resize(row.len() + h, *sample)),
        }
    }
}

/// Two samples of each: `halves` are added before `bits` are dropped, in turn, so that neither up nor
/// down prevails.
fn stretch(samples: impl Iterator<Item = u16>, halves: [u16; 2], bits: u32, row: &mut Vec<u8>) {
    // The first and the last one are their own neighbours.
    let mut line = vec![0];
    line.extend(samples);
    line[0] = line[1];
    line.extend(line.last().copied());
    row.resize(2 * (line.len() - 2), 0);
    for (pair, near) in row.chunks_exact_mut(2).zip(line.windows(3)) {
        pair[0] = ((3 * near[1] + near[0] + halves[0]) >> bits) as u8;
        pair[1] = ((3 * near[1] + near[2] + halves[1]) >> bits) as u8;
    }
}

pub(super) fn grey(rows: &[Vec<u8>], line: &mut [u8]) {
    for (pixel, grey) in line.chunks_exact_mut(3).zip(&rows[0]) {
        pixel.fill(*grey);
    }
}

pub(super) fn rgb(rows: &[Vec<u8>], line: &mut [u8]) {
    for (pixel, levels) in line.chunks_exact_mut(3).zip(first_three(rows)) {
        pixel.copy_from_slice(&levels);
    }
}

pub(super) fn ycc(rows: &[Vec<u8>], line: &mut [u8]) {
    for (pixel, levels) in line.chunks_exact_mut(3).zip(first_three(rows)) {
        pixel.copy_from_slice(&ycc_to_rgb(levels));
    }
}

/// Printers' colours; files hold them inverted, as Adobe's programs write them.
pub(super) fn cmyk(rows: &[Vec<u8>], line: &mut [u8]) {
    for ((pixel, levels), black) in line.chunks_exact_mut(3).zip(first_three(rows)).zip(&rows[3]) {
        pixel.copy_from_slice(&under_black(levels, *black));
    }
}

pub(super) fn ycck(rows: &[Vec<u8>], line: &mut [u8]) {
    for ((pixel, levels), black) in line.chunks_exact_mut(3).zip(first_three(rows)).zip(&rows[3]) {
        let inverse = ycc_to_rgb(levels).map(|level| 255 - level);
        pixel.copy_from_slice(&under_black(inverse, *black));
    }
}

fn first_three(rows: &[Vec<u8>]) -> impl Iterator<Item = [u8; 3]> {
    rows[0].iter().zip(&rows[1]).zip(&rows[2]).map(|((a, b), c)| [*a, *b, *c])
}

/// As Pillow does.
fn under_black(levels: [u8; 3], black: u8) -> [u8; 3] {
    levels.map(|level| {
        let ink = u32::from(255 - level) * u32::from(black) + 128;
        black.saturating_sub((((ink >> 8) + ink) >> 8) as u8)
    })
}

/// ITU-R BT.601, full range.
fn ycc_to_rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let part = |sum: i32| (sum + (1 << 15)) >> 16;
    let red = y + part(91881 * cr);
    let green = y + part(-22554 * cb - 46802 * cr);
    let blue = y + part(116130 * cb);
    [red, green, blue].map(|level| level.clamp(0, 255) as u8)
}
