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
//! | Q5_0 | 32 | 22 | `d·(q - 16)`, q of 5 bits |
//! | Q5_1 | 32 | 24 | `d·q + m` |
//! | IQ4_NL | 32 | 18 | `d·table[q]`, q of 4 bits |
//! | Q2_K | 256 | 84 | `d·s·q - dmin·m`, q of 2 bits, s and m of 4 bits for each 16 numbers |
//! | Q3_K | 256 | 110 | `d·s·(q - 4)`, q of 3 bits, s of 6 bits for each 16 numbers |
//! | Q4_K | 256 | 144 | `d·s·q - dmin·m`, q of 4 bits, s and m of 6 bits for each 32 numbers |
//! | Q5_K | 256 | 176 | the same, q of 5 bits |
//! | Q6_K | 256 | 210 | `d·s·(q - 32)`, q of 6 bits, s of 8 bits for each 16 numbers |
//! | IQ4_XS | 256 | 136 | `d·s·table[q]`, q of 4 bits, s of 6 bits for each 32 numbers |
//!
//! With f16 scales every product is exact in f32 and at most one sum is rounded: a number has the
//! same bits in whatever order, and with fused multiply-adds or not, it is computed.

mod pack;
mod parts;
mod plain;
#[cfg(test)]
mod tests;

pub(crate) use parts::{Layout, Parts};
use plain::{narrow_bf16, narrow_f16, widen_bf16, widen_f16, widen_f32};

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
    /// 5.5 bits a number: blocks of 32 with one scale.
    Q5_0,
    /// 6 bits a number: blocks of 32 with a scale and a least value.
    Q5_1,
    /// 2.625 bits a number: blocks of 256 in sixteenths of 16, each with a scale and a least value.
    Q2_K,
    /// 3.4375 bits a number: blocks of 256 in sixteenths of 16, each with a scale.
    Q3_K,
    /// 4.5 bits a number: blocks of 256 in eighths of 32, each with a scale and a least value.
    Q4_K,
    /// 5.5 bits a number: blocks of 256 in eighths of 32, each with a scale and a least value.
    Q5_K,
    /// 6.5625 bits a number: blocks of 256 in sixteenths of 16, each with a scale.
    Q6_K,
    /// 4.5 bits a number: blocks of 32 with one scale, numbers from a table.
    IQ4_NL,
    /// 4.25 bits a number: blocks of 256 in eighths of 32, each with a scale, numbers from a table.
    IQ4_XS,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q2_K,
        Self::Q3_K,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
        Self::IQ4_NL,
        Self::IQ4_XS,
    ];

    /// Numbers in a block: a row's length is a multiple of it.
    pub fn block(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q8_0 | Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::IQ4_NL => 32,
            Self::Q2_K | Self::Q3_K | Self::Q4_K | Self::Q5_K | Self::Q6_K | Self::IQ4_XS => 256,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q8_0 => 34,
            Self::Q4_0 | Self::IQ4_NL => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q2_K => 84,
            Self::Q3_K => 110,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
            Self::IQ4_XS => 136,
        }
    }

    /// What its blocks consist of.
    pub(crate) fn layout(self) -> Layout {
        let (group, bits, zero, least) = match self {
            Self::F32 | Self::F16 | Self::BF16 => (1, 32, 0, false),
            Self::Q8_0 | Self::IQ4_NL => (32, 8, 128, false),
            Self::Q4_0 => (32, 4, 8, false),
            Self::Q4_1 => (32, 4, 0, true),
            Self::Q5_0 => (32, 5, 16, false),
            Self::Q5_1 => (32, 5, 0, true),
            Self::Q2_K => (16, 4, 0, true),
            Self::Q3_K => (16, 4, 4, false),
            Self::Q4_K => (32, 4, 0, true),
            Self::Q5_K => (32, 5, 0, true),
            Self::Q6_K => (16, 6, 32, false),
            Self::IQ4_XS => (32, 8, 128, false),
        };
        Layout { group, bits, zero, least }
    }

    /// Where in a block its scale stands.
    fn scale_at(self) -> usize {
        match self {
            Self::Q2_K => 80,
            Self::Q3_K => 108,
            Self::Q6_K => 208,
            _ => 0,
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
            _ => parts::dequantize(self, bytes, y),
        }
    }

    /// Packs `x`: Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1 with the bits of ggml's reference, the others with
    /// scales that cover the least and the largest number (ggml searches for scales of less squared
    /// error).
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
            _ => pack::quantize(self, x),
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
            Self::Q4_1 | Self::Q5_1 | Self::Q4_K | Self::Q5_K => (&[0, 2], HALF),
            Self::Q2_K => (&[80, 82], HALF),
            Self::Q3_K => (&[108], HALF),
            Self::Q6_K => (&[208], HALF),
            _ => (&[0], HALF),
        }
    }
}
