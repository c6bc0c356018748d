//! Q8_0: 32 values share one half-precision scale and keep 8 bits each. Bit-exact with ggml's reference.

use super::super::error::Result;
use super::super::narrow::to_f16;
use half::f16;

/// Values of a block.
pub const BLOCK: usize = 32;
/// Bytes of a block: the scale, then the values.
pub const BYTES: usize = 34;

/// Appends the blocks of `values`, whose number is a multiple of [`BLOCK`]; `name` is the tensor's, for the error.
pub fn pack(name: &str, values: &[f32], bytes: &mut Vec<u8>) -> Result<()> {
    for block in values.as_chunks::<BLOCK>().0 {
        let largest = block.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        let scale = largest / 127.0;
        // As ggml: by the inverse of the scale before that is rounded to half precision.
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        bytes.extend(to_f16(name, scale)?.to_le_bytes());
        // Half away from zero, as C's roundf; the cast saturates, and makes 0 of NaN.
        bytes.extend(block.iter().map(|value| (value * inverse).round() as i8 as u8));
    }
    Ok(())
}

/// Appends the values of the blocks in `bytes`.
pub fn unpack(bytes: &[u8], values: &mut Vec<f32>) {
    for block in bytes.as_chunks::<BYTES>().0 {
        let [low, high, quants @ ..] = *block;
        let scale = f16::from_le_bytes([low, high]).to_f32();
        values.extend(quants.map(|quant| f32::from(quant as i8) * scale));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(values: &[f32]) -> Vec<f32> {
        let (mut bytes, mut back) = (Vec::new(), Vec::new());
        pack("w", values, &mut bytes).unwrap();
        assert_eq!(bytes.len(), values.len() / BLOCK * BYTES);
        unpack(&bytes, &mut back);
        back
    }

    #[test]
    fn known_bits() {
        let mut values = [0.0; BLOCK];
        (values[0], values[1], values[2], values[3]) = (127.0, -127.0, 0.5, -1.5);
        let mut bytes = Vec::new();
        pack("w", &values, &mut bytes).unwrap();
        // Scale 1.0 is 0x3C00; halves round away from zero.
        assert_eq!(bytes[..6], [0x00, 0x3C, 127, 129, 1, 254]);
        assert!(bytes[6..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn zeros_stay_zeros() {
        assert_eq!(round_trip(&[0.0; BLOCK]), [0.0; BLOCK]);
    }

    #[test]
    fn the_error_is_at_most_half_a_step_and_the_rounding_of_the_scale() {
        let values: Vec<f32> = (0..640)
            .map(|i| ((i * 7919 % 1013) as f32 / 500.0 - 1.0) * (1 + i / 64) as f32)
            .collect();
        let back = round_trip(&values);
        for (block, out) in values.chunks(BLOCK).zip(back.chunks(BLOCK)) {
            let step = block.iter().fold(0.0f32, |most, x| most.max(x.abs())) / 127.0;
            for (x, y) in block.iter().zip(out) {
                assert!((x - y).abs() <= step * 0.5 + 127.0 * step / 2048.0, "{x} {y} {step}");
            }
        }
    }

    #[test]
    fn a_scale_beyond_half_precision_is_an_error() {
        assert!(pack("w", &[1e7; BLOCK], &mut Vec::new()).is_err());
    }
}
