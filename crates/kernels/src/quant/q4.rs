//! Q4_0 and Q4_1: 32 numbers of 4 bits. Byte j holds number j in its lower half and number j + 16
//! in its upper one.

use half::f16;

use super::{half_at, inverse, pack_blocks, range, unpack_blocks};
use crate::simd::vectorised;

const BLOCK: usize = 32;
/// The scale, then the numbers.
pub(super) const Q4_0_BYTES: usize = 2 + BLOCK / 2;
/// The scale, the least value, then the numbers.
pub(super) const Q4_1_BYTES: usize = 4 + BLOCK / 2;

vectorised! {
    pub(super) fn dequantize_q4_0(bytes: &[u8], y: &mut [f32]) {
        unpack_blocks::<Q4_0_BYTES, BLOCK>(bytes, y, |block, y| {
            let scale = half_at(block, 0);
            nibbles(&block[2..], y, |q| (q - 8.0) * scale);
        });
    }
}

vectorised! {
    pub(super) fn dequantize_q4_1(bytes: &[u8], y: &mut [f32]) {
        unpack_blocks::<Q4_1_BYTES, BLOCK>(bytes, y, |block, y| {
            let (scale, least) = (half_at(block, 0), half_at(block, 2));
            nibbles(&block[4..], y, |q| q * scale + least);
        });
    }
}

/// `f` of the lower halves of `packed` into the first half of `y`, of the upper into the second.
#[inline(always)]
fn nibbles(packed: &[u8], y: &mut [f32; BLOCK], f: impl Fn(f32) -> f32) {
    let (low, high) = y.split_at_mut(BLOCK / 2);
    for ((low, high), &byte) in low.iter_mut().zip(high).zip(packed) {
        *low = f(f32::from(byte & 15));
        *high = f(f32::from(byte >> 4));
    }
}

/// The number of largest magnitude becomes -8 steps exactly, so that all 16 codes are of use.
pub(super) fn quantize_q4_0(x: &[f32]) -> Vec<u8> {
    pack_blocks(x, |x: &[f32; BLOCK]| {
        let further = |most: f32, &x: &f32| if x.abs() > most.abs() { x } else { most };
        let scale = x.iter().fold(0.0, further) / -8.0;
        let inverse = inverse(scale);
        let mut block = [0; Q4_0_BYTES];
        block[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
        pack_nibbles(&mut block[2..], x, |x| x * inverse + 8.5);
        block
    })
}

/// Scale = range / 15, in 15 steps from the least number.
pub(super) fn quantize_q4_1(x: &[f32]) -> Vec<u8> {
    pack_blocks(x, |x: &[f32; BLOCK]| {
        let (low, high) = range(x);
        let scale = (high - low) / 15.0;
        let inverse = inverse(scale);
        let mut block = [0; Q4_1_BYTES];
        block[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
        block[2..4].copy_from_slice(&f16::from_f32(low).to_le_bytes());
        pack_nibbles(&mut block[4..], x, |x| (x - low) * inverse + 0.5);
        block
    })
}

/// Codes of `x`: `place` cut to whole numbers, at most 15 (the cast stops at 0).
fn pack_nibbles(packed: &mut [u8], x: &[f32; BLOCK], place: impl Fn(f32) -> f32) {
    let code = |x: f32| (place(x) as u8).min(15);
    let (low, high) = x.split_at(BLOCK / 2);
    for ((byte, &low), &high) in packed.iter_mut().zip(low).zip(high) {
        *byte = code(low) | code(high) << 4;
    }
}
