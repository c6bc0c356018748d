//! Q8_0 of GGUF: blocks of 32 numbers as one f16 scale and 32 signed bytes.

use half::f16;

/// Numbers in a block.
pub const Q8_0_BLOCK: usize = 32;
/// Bytes of a block: the scale, little-endian, then the numbers.
pub const Q8_0_BYTES: usize = 2 + Q8_0_BLOCK;

/// Quantises, bit for bit as ggml's reference: scale = largest magnitude / 127, halves away from 0.
///
/// The length must be a multiple of [`Q8_0_BLOCK`]; the numbers finite.
pub fn quantize_q8_0(x: &[f32]) -> Vec<u8> {
    let (blocks, rest) = x.as_chunks::<Q8_0_BLOCK>();
    assert!(rest.is_empty(), "quantize_q8_0: {} is not a multiple of {Q8_0_BLOCK}", x.len());
    let mut bytes = Vec::with_capacity(blocks.len() * Q8_0_BYTES);
    for block in blocks {
        let largest = block.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        let scale = largest / 127.0;
        // The bytes are divided by the scale before it is rounded to f16, as ggml does.
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        bytes.extend(f16::from_f32(scale).to_le_bytes());
        bytes.extend(block.iter().map(|&x| ((x * inverse).round() as i8).to_le_bytes()[0]));
    }
    bytes
}

/// Widens blocks made by [`quantize_q8_0`]: 34 bytes to 32 numbers.
pub fn dequantize_q8_0(bytes: &[u8], y: &mut [f32]) {
    let (blocks, rest) = bytes.as_chunks::<Q8_0_BYTES>();
    assert!(
        rest.is_empty(),
        "dequantize_q8_0: {} bytes are no blocks of {Q8_0_BYTES}",
        bytes.len()
    );
    assert_eq!(y.len(), blocks.len() * Q8_0_BLOCK, "dequantize_q8_0: y");
    for (block, y) in blocks.iter().zip(y.chunks_exact_mut(Q8_0_BLOCK)) {
        let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
        for (y, &byte) in y.iter_mut().zip(&block[2..]) {
            *y = f32::from(byte.cast_signed()) * scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_known_block() {
        let mut x = [0.0; Q8_0_BLOCK];
        (x[0], x[1], x[2], x[3]) = (127.0, -127.0, 2.5, -2.5);
        let bytes = quantize_q8_0(&x);
        // 1.0 as f16, then 127, -127 and halves away from zero: 3, -3.
        assert_eq!(bytes[..6], [0x00, 0x3c, 0x7f, 0x81, 0x03, 0xfd]);
        assert_eq!(quantize_q8_0(&[0.0; Q8_0_BLOCK]), [0; Q8_0_BYTES]);
    }

    proptest! {
        #[test]
        fn back_and_forth_stays_within_half_a_step(x in proptest::collection::vec(-100.0_f32..100.0, Q8_0_BLOCK)) {
            let mut y = [0.0; Q8_0_BLOCK];
            dequantize_q8_0(&quantize_q8_0(&x), &mut y);
            let largest = x.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
            // Half a step, and the scale's rounding to f16 on up to 127 steps.
            let bound = largest / 127.0 * (0.5 + 127.0 / 2048.0) * 1.001;
            for (x, y) in x.iter().zip(y) {
                prop_assert!((x - y).abs() <= bound, "{x} became {y}, bound {bound}");
            }
        }
    }
}
