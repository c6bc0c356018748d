//! Block formats of GGUF: a matrix's numbers as small integers with a few scales.
//!
//! Layouts, bits and rounding are ggml's, <https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c>
//! (`block_q4_0` and its neighbours). A block holds consecutive numbers of one row, so rows are whole
//! blocks. Everything is little-endian.
//!
//! | kind | numbers | bytes | a number |
//! |---|---|---|---|
//! | Q8_0 | 32 | 34 | `d·q`, q of 8 bits |
//! | Q4_0 | 32 | 18 | `d·(q - 8)`, q of 4 bits |
//! | Q4_1 | 32 | 20 | `d·q + m` |
//! | Q4_K | 256 | 144 | `d·s·q - dmin·m`, s and m of 6 bits for each 32 numbers |
//! | Q6_K | 256 | 210 | `d·s·(q - 32)`, q of 6 bits, s of 8 bits for each 16 numbers |
//!
//! With f16 scales every product is exact in f32 and at most one sum is rounded: a number has the
//! same bits in whatever order, and with fused multiply-adds or not, it is computed.

pub(crate) mod k;
mod plain;
mod q4;
mod q8;
#[cfg(test)]
mod tests;

use half::f16;

use k::{dequantize_q4_k, dequantize_q6_k, quantize_q4_k, quantize_q6_k};
use plain::{narrow_bf16, narrow_f16, widen_bf16, widen_f16, widen_f32};
use q4::{dequantize_q4_0, dequantize_q4_1, quantize_q4_0, quantize_q4_1};
use q8::{dequantize_q8_0, quantize_q8_0};

/// How a tensor's numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types)] // The names are the format's.
pub enum Kind {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16: the upper half of a single.
    BF16,
    /// 8.5 bits a number: blocks of 32 with one scale.
    Q8_0,
    /// 4.5 bits a number: blocks of 32 with one scale.
    Q4_0,
    /// 5 bits a number: blocks of 32 with a scale and a least value.
    Q4_1,
    /// 4.5 bits a number: blocks of 256 in eights of 32, each with a scale and a least value.
    Q4_K,
    /// 6.5625 bits a number: blocks of 256 in sixteenths of 16, each with a scale.
    Q6_K,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q4_K,
        Self::Q6_K,
    ];

    /// Numbers in a block: a row's length is a multiple of it.
    pub fn block(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q8_0 | Self::Q4_0 | Self::Q4_1 => 32,
            Self::Q4_K | Self::Q6_K => k::BLOCK,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q8_0 => q8::Q8_0_BYTES,
            Self::Q4_0 => q4::Q4_0_BYTES,
            Self::Q4_1 => q4::Q4_1_BYTES,
            Self::Q4_K => k::Q4_K_BYTES,
            Self::Q6_K => k::Q6_K_BYTES,
        }
    }

    /// Widens whole blocks of `bytes` into `y`.
    ///
    /// Panics unless `bytes` is whole blocks and `y` has the length of what they hold.
    pub fn dequantize(self, bytes: &[u8], y: &mut [f32]) {
        let (size, rest) = (self.block_bytes(), bytes.len() % self.block_bytes());
        assert_eq!(rest, 0, "dequantize: {} bytes are no blocks of {size}", bytes.len());
        assert_eq!(y.len(), bytes.len() / size * self.block(), "dequantize: y");
        match self {
            Self::F32 => widen_f32(bytes, y),
            Self::F16 => widen_f16(bytes, y),
            Self::BF16 => widen_bf16(bytes, y),
            Self::Q8_0 => dequantize_q8_0(bytes, y),
            Self::Q4_0 => dequantize_q4_0(bytes, y),
            Self::Q4_1 => dequantize_q4_1(bytes, y),
            Self::Q4_K => dequantize_q4_k(bytes, y),
            Self::Q6_K => dequantize_q6_k(bytes, y),
        }
    }

    /// Packs `x`: Q8_0, Q4_0 and Q4_1 with the bits of ggml's reference, Q4_K and Q6_K with scales
    /// that cover the least and the largest number (ggml searches for scales of less squared error).
    ///
    /// Panics unless `x` is whole blocks. Numbers must be finite; where they are too large for the
    /// scales, [`bad_block`](Self::bad_block) finds the infinity.
    pub fn quantize(self, x: &[f32]) -> Vec<u8> {
        let block = self.block();
        assert_eq!(x.len() % block, 0, "quantize: {} is not a multiple of {block}", x.len());
        match self {
            Self::F32 => x.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::F16 => narrow_f16(x),
            Self::BF16 => narrow_bf16(x),
            Self::Q8_0 => quantize_q8_0(x),
            Self::Q4_0 => quantize_q4_0(x),
            Self::Q4_1 => quantize_q4_1(x),
            Self::Q4_K => quantize_q4_k(x),
            Self::Q6_K => quantize_q6_k(x),
        }
    }

    /// The first block with a scale (where there is none: a number) that is NaN or infinite.
    pub fn bad_block(self, bytes: &[u8]) -> Option<usize> {
        let (words, ones) = self.exponents();
        let bad =
            |block: &[u8], at: usize| u16::from_le_bytes([block[at], block[at + 1]]) & ones == ones;
        let mut blocks = bytes.chunks_exact(self.block_bytes());
        blocks.position(|block| words.iter().any(|&at| bad(block, at)))
    }

    /// Where in a block 16 bits hold an exponent, and the mask under which NaN and infinity have
    /// all ones.
    fn exponents(self) -> (&'static [usize], u16) {
        const HALF: u16 = 0x7c00;
        const SINGLE: u16 = 0x7f80;
        match self {
            Self::F32 => (&[2], SINGLE),
            Self::BF16 => (&[0], SINGLE),
            Self::F16 | Self::Q8_0 | Self::Q4_0 => (&[0], HALF),
            Self::Q4_1 | Self::Q4_K => (&[0, 2], HALF),
            Self::Q6_K => (&[k::Q6_K_BYTES - 2], HALF),
        }
    }
}

/// Each block of `bytes` through `unpack` into `y`.
#[inline(always)]
fn unpack_blocks<const BYTES: usize, const BLOCK: usize>(
    bytes: &[u8],
    y: &mut [f32],
    unpack: impl Fn(&[u8; BYTES], &mut [f32; BLOCK]),
) {
    let (blocks, _) = bytes.as_chunks::<BYTES>();
    let (rows, _) = y.as_chunks_mut::<BLOCK>();
    for (block, row) in blocks.iter().zip(rows) {
        unpack(block, row);
    }
}

/// Each block of `x` through `pack`.
fn pack_blocks<const BYTES: usize, const BLOCK: usize>(
    x: &[f32],
    pack: impl Fn(&[f32; BLOCK]) -> [u8; BYTES],
) -> Vec<u8> {
    let (blocks, _) = x.as_chunks::<BLOCK>();
    blocks.iter().flat_map(pack).collect()
}

/// A half-precision number at byte `at` of a block.
#[inline(always)]
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Least and largest of `x`; NaN is passed over.
fn range(x: &[f32]) -> (f32, f32) {
    let widen = |(low, high): (f32, f32), &x: &f32| (low.min(x), high.max(x));
    x.iter().fold((f32::INFINITY, f32::NEG_INFINITY), widen)
}

/// `1 / scale`, 0 for a scale of 0: such a block holds zeros.
fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}
