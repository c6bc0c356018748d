//! Q4_K and Q6_K: blocks of 256 whose parts have small integer scales of their own.

use half::f16;

use super::{half_at, inverse, pack_blocks, range, unpack_blocks};
use crate::simd::vectorised;

/// Numbers in a block.
pub(crate) const BLOCK: usize = 256;
/// Scales of scales and of least values, 8 + 8 of them in 6 bits each, 4 bits a number.
pub(crate) const Q4_K_BYTES: usize = 4 + SCALES + BLOCK / 2;
/// Lower 4 bits and upper 2 bits of the numbers, 16 scales of 8 bits, and theirs.
pub(crate) const Q6_K_BYTES: usize = BLOCK / 2 + BLOCK / 4 + BLOCK / 16 + 2;

/// Bytes of Q4_K's small scales.
const SCALES: usize = 12;
/// Numbers that share a small scale in Q4_K.
const EIGHTH: usize = BLOCK / 8;
/// Numbers that share a small scale in Q6_K.
const SIXTEENTH: usize = BLOCK / 16;

vectorised! {
    pub(super) fn dequantize_q4_k(bytes: &[u8], y: &mut [f32]) {
        unpack_blocks::<Q4_K_BYTES, BLOCK>(bytes, y, |block, y| {
            let (d, dmin) = (half_at(block, 0), half_at(block, 2));
            let (scales, codes) = block[4..].split_at(SCALES);
            for (i, y) in y.as_chunks_mut::<EIGHTH>().0.iter_mut().enumerate() {
                let (scale, least) = small_scales(scales, i);
                let (scale, least) = (d * f32::from(scale), dmin * f32::from(least));
                // 32 bytes hold two eighths: one in their lower halves, the next in their upper.
                let codes = &codes[i / 2 * EIGHTH..][..EIGHTH];
                for (y, &byte) in y.iter_mut().zip(codes) {
                    *y = f32::from(byte >> (i % 2 * 4) & 15) * scale - least;
                }
            }
        });
    }
}

/// Scale and least value of eighth `i`, 6 bits each: those of the first four stand in the lower bits
/// of bytes 0..4 and 4..8; of the last four, 4 bits stand in bytes 8..12 and 2 in the upper bits of
/// the first eight.
#[inline(always)]
fn small_scales(scales: &[u8], i: usize) -> (u8, u8) {
    if i < 4 {
        (scales[i] & 63, scales[i + 4] & 63)
    } else {
        let low = scales[i + 4];
        (low & 15 | (scales[i - 4] >> 6) << 4, low >> 4 | (scales[i] >> 6) << 4)
    }
}

/// A block taken apart.
pub(crate) struct Parts {
    /// f16, as bits.
    pub(crate) scale: u16,
    /// f16, as bits; not in Q6_K.
    pub(crate) least: u16,
    /// One of 6 bits for each eighth, or a signed one for each sixteenth.
    pub(crate) small: [u8; 16],
    /// One of 6 bits for each eighth; not in Q6_K.
    pub(crate) small_least: [u8; 8],
    /// Integers of 4 or 6 bits, in order.
    pub(crate) codes: [u8; BLOCK],
}

/// A block of Q4_K.
pub(crate) fn parts_q4_k(block: &[u8]) -> Parts {
    let half = |at: usize| u16::from_le_bytes([block[at], block[at + 1]]);
    let (scales, codes) = block[4..].split_at(SCALES);
    let (mut small, mut small_least) = ([0; 16], [0; 8]);
    for i in 0..8 {
        (small[i], small_least[i]) = small_scales(scales, i);
    }
    let code =
        |i: usize| codes[i / (2 * EIGHTH) * EIGHTH + i % EIGHTH] >> (i / EIGHTH % 2 * 4) & 15;
    Parts { scale: half(0), least: half(2), small, small_least, codes: std::array::from_fn(code) }
}

/// A block of Q6_K.
pub(crate) fn parts_q6_k(block: &[u8]) -> Parts {
    let (low, rest) = block.split_at(BLOCK / 2);
    let (high, rest) = rest.split_at(BLOCK / 4);
    let scale = u16::from_le_bytes([rest[BLOCK / 16], rest[BLOCK / 16 + 1]]);
    let code = |i: usize| {
        let (half, quarter, at) = (i / 128, i / 32 % 4, i % 32);
        let low = low[64 * half + 32 * (quarter % 2) + at] >> (quarter / 2 * 4) & 15;
        low | (high[32 * half + at] >> (2 * quarter) & 3) << 4
    };
    Parts {
        scale,
        least: 0,
        small: std::array::from_fn(|i| rest[i]),
        small_least: [0; 8],
        codes: std::array::from_fn(code),
    }
}

vectorised! {
    pub(super) fn dequantize_q6_k(bytes: &[u8], y: &mut [f32]) {
        unpack_blocks::<Q6_K_BYTES, BLOCK>(bytes, y, |block, y| {
            let (low, rest) = block.split_at(BLOCK / 2);
            let (high, rest) = rest.split_at(BLOCK / 4);
            let d = half_at(rest, BLOCK / 16);
            for half in 0..2 {
                for quarter in 0..4 {
                    // Quarters 0 and 1 of 32 numbers are the lower halves of 64 bytes, 2 and 3 the
                    // upper; the upper bits of all four share 32 bytes.
                    let low = &low[64 * half + 32 * (quarter % 2)..][..32];
                    let high = &high[32 * half..][..32];
                    let scales = &rest[8 * half + 2 * quarter..][..2];
                    let y = &mut y[128 * half + 32 * quarter..][..32];
                    for i in 0..32 {
                        let code = low[i] >> (quarter / 2 * 4) & 15 | (high[i] >> (2 * quarter) & 3) << 4;
                        let scale = d * f32::from(scales[i / SIXTEENTH].cast_signed());
                        y[i] = scale * (f32::from(code) - 32.0);
                    }
                }
            }
        });
    }
}

/// Scales that cover each eighth's range from 0 or its least number up to its largest; a number is
/// then at most half a step off.
pub(super) fn quantize_q4_k(x: &[f32]) -> Vec<u8> {
    pack_blocks(x, |x: &[f32; BLOCK]| {
        let (parts, _) = x.as_chunks::<EIGHTH>();
        let ranges: [(f32, f32); 8] = std::array::from_fn(|i| range(&parts[i]));
        let (dmin, leasts) = covering(ranges.map(|(low, _)| (-low).max(0.0)), 63.0);
        let least = |i: usize| dmin.to_f32() * f32::from(leasts[i]);
        let steps: [f32; 8] = std::array::from_fn(|i| (ranges[i].1 + least(i)).max(0.0) / 15.0);
        let (d, scales) = covering(steps, 63.0);

        let mut block = [0; Q4_K_BYTES];
        block[..2].copy_from_slice(&d.to_le_bytes());
        block[2..4].copy_from_slice(&dmin.to_le_bytes());
        block[4..4 + SCALES].copy_from_slice(&pack_small_scales(scales, leasts));
        for (i, part) in parts.iter().enumerate() {
            let (inverse, least) = (inverse(d.to_f32() * f32::from(scales[i])), least(i));
            let codes = &mut block[4 + SCALES + i / 2 * EIGHTH..][..EIGHTH];
            for (byte, x) in codes.iter_mut().zip(part) {
                let code = ((x + least) * inverse).round().clamp(0.0, 15.0) as u8;
                *byte |= code << (i % 2 * 4);
            }
        }
        block
    })
}

/// The inverse of [`small_scales`].
fn pack_small_scales(scales: [u8; 8], leasts: [u8; 8]) -> [u8; SCALES] {
    let mut packed = [0; SCALES];
    for i in 0..4 {
        packed[i] = scales[i] | scales[i + 4] >> 4 << 6;
        packed[i + 4] = leasts[i] | leasts[i + 4] >> 4 << 6;
        packed[i + 8] = scales[i + 4] & 15 | leasts[i + 4] << 4;
    }
    packed
}

/// Scales that cover each sixteenth's largest magnitude with 31 steps; a number is then at most
/// half a step off.
pub(super) fn quantize_q6_k(x: &[f32]) -> Vec<u8> {
    pack_blocks(x, |x: &[f32; BLOCK]| {
        let (parts, _) = x.as_chunks::<SIXTEENTH>();
        let largest = |x: &[f32]| x.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        let steps: [f32; 16] = std::array::from_fn(|i| largest(&parts[i]) / 31.0);
        let (d, scales) = covering(steps, 127.0);

        let mut block = [0; Q6_K_BYTES];
        let (low, rest) = block.split_at_mut(BLOCK / 2);
        let (high, rest) = rest.split_at_mut(BLOCK / 4);
        rest[..16].copy_from_slice(&scales);
        rest[16..].copy_from_slice(&d.to_le_bytes());
        for (i, x) in x.iter().enumerate() {
            let inverse = inverse(d.to_f32() * f32::from(scales[i / SIXTEENTH]));
            let code = ((x * inverse).round().clamp(-32.0, 31.0) + 32.0) as u8;
            let (half, quarter, at) = (i / 128, i / 32 % 4, i % 32);
            low[64 * half + 32 * (quarter % 2) + at] |= (code & 15) << (quarter / 2 * 4);
            high[32 * half + at] |= code >> 4 << (2 * quarter);
        }
        block
    })
}

/// A scale in f16 and how many of it reach each of `wanted` at least, up to `most`. Both are rounded
/// up: a step that is a little too long costs precision, one too short cuts the largest number off.
fn covering<const N: usize>(wanted: [f32; N], most: f32) -> (f16, [u8; N]) {
    let scale = half_up(wanted.iter().fold(0.0_f32, |largest, x| largest.max(*x)) / most);
    let inverse = inverse(scale.to_f32());
    (scale, wanted.map(|wanted| (wanted * inverse).ceil().min(most) as u8))
}

/// The least f16 that is not below `x`, which is not negative.
fn half_up(x: f32) -> f16 {
    let near = f16::from_f32(x);
    if near.to_f32() < x { f16::from_bits(near.to_bits() + 1) } else { near }
}
