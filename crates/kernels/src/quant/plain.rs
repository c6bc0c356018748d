//! Numbers without blocks: singles, halves and the upper halves of singles.

use half::{bf16, f16};

use crate::simd::vectorised;

vectorised! {
    pub(super) fn widen_f32(bytes: &[u8], y: &mut [f32]) {
        for (y, bytes) in y.iter_mut().zip(bytes.as_chunks().0) {
            *y = f32::from_le_bytes(*bytes);
        }
    }
}

vectorised! {
    pub(super) fn widen_f16(bytes: &[u8], y: &mut [f32]) {
        for (y, bytes) in y.iter_mut().zip(bytes.as_chunks().0) {
            *y = f16::from_le_bytes(*bytes).to_f32();
        }
    }
}

vectorised! {
    pub(super) fn widen_bf16(bytes: &[u8], y: &mut [f32]) {
        for (y, bytes) in y.iter_mut().zip(bytes.as_chunks().0) {
            *y = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
        }
    }
}

/// Rounded to nearest even; too large a number becomes infinite.
pub(super) fn narrow_f16(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect()
}

/// Rounded to nearest even; too large a number becomes infinite.
pub(super) fn narrow_bf16(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect()
}
