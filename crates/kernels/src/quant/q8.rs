//! Q8_0: one f16 scale, then 32 signed bytes.

use half::f16;

use super::{half_at, inverse, pack_blocks, unpack_blocks};
use crate::simd::vectorised;

const BLOCK: usize = 32;
/// The scale, then the numbers.
pub(super) const Q8_0_BYTES: usize = 2 + BLOCK;

vectorised! {
    pub(super) fn dequantize_q8_0(bytes: &[u8], y: &mut [f32]) {
        unpack_blocks::<Q8_0_BYTES, BLOCK>(bytes, y, |block, y| {
            let scale = half_at(block, 0);
            for (y, &byte) in y.iter_mut().zip(&block[2..]) {
                *y = f32::from(byte.cast_signed()) * scale;
            }
        });
    }
}

/// Scale = largest magnitude / 127, halves away from 0.
pub(super) fn quantize_q8_0(x: &[f32]) -> Vec<u8> {
    pack_blocks(x, |x: &[f32; BLOCK]| {
        let scale = x.iter().fold(0.0_f32, |largest, x| largest.max(x.abs())) / 127.0;
        // The numbers are divided by the scale before it is rounded to f16, as ggml does.
        let inverse = inverse(scale);
        let mut block = [0; Q8_0_BYTES];
        block[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
        for (byte, x) in block[2..].iter_mut().zip(x) {
            *byte = ((x * inverse).round() as i8).cast_unsigned();
        }
        block
    })
}
