//! Blocks taken apart and put together: all formats have the same parts, each in places of its own.

use half::f16;

use super::Kind;
use crate::simd::vectorised;

/// Most numbers of a block.
const BLOCK: usize = 256;
/// Most groups of a block.
const GROUPS: usize = 16;

/// The numbers that codes of 4 bits stand for in IQ4_NL and IQ4_XS: closer where weights are frequent.
pub(super) const TABLE: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// What the parts of a format's blocks are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Numbers that share a small scale.
    pub(crate) group: usize,
    /// Bits that a code needs, at least 4; tables are looked up.
    pub(crate) bits: usize,
    /// What codes are raised by, so that they are not negative.
    pub(crate) zero: u8,
    /// Whether there are least values.
    pub(crate) least: bool,
}

/// A block: number `i` of group `g` is `scale·small[g]·(codes[i] - zero) - least·small_least[g]`.
pub(crate) struct Parts {
    /// f16, as bits.
    pub(crate) scale: u16,
    /// f16, as bits; 0 where there are no least values.
    pub(crate) least: u16,
    pub(crate) small: [i8; GROUPS],
    pub(crate) small_least: [i8; GROUPS],
    pub(crate) codes: [u8; BLOCK],
}

/// The sign of an f16: formats of one group add their least values.
pub(super) const SIGN: u16 = 0x8000;

impl Parts {
    /// Of a block of one group, without codes.
    pub(super) fn single(scale: f16, least: u16) -> Self {
        Self {
            scale: scale.to_bits(),
            least,
            small: [1; GROUPS],
            small_least: [1; GROUPS],
            codes: [0; BLOCK],
        }
    }

    /// Reads a block.
    #[inline(always)]
    pub(crate) fn of(kind: Kind, block: &[u8]) -> Self {
        let mut parts = Self::single(f16::ZERO, 0);
        parts.read(kind, block);
        parts
    }

    /// Reads another block of the same format.
    #[inline(always)]
    fn read(&mut self, kind: Kind, block: &[u8]) {
        let half = |at: usize| u16::from_le_bytes([block[at], block[at + 1]]);
        let Self { scale, least, small, small_least, codes } = self;
        // Fields are added to what is there.
        codes[..kind.block()].fill(0);
        *scale = half(kind.scale_at());
        match kind {
            Kind::F32 | Kind::F16 | Kind::BF16 => unreachable!("quant: numbers without blocks"),
            Kind::Q8_0 => {
                codes.iter_mut().zip(&block[2..]).for_each(|(code, byte)| *code = byte ^ 0x80);
            }
            Kind::Q4_0 => fields(&block[2..], 4, 0, &mut codes[..32]),
            Kind::Q4_1 => {
                *least = half(2) ^ SIGN;
                fields(&block[4..], 4, 0, &mut codes[..32]);
            }
            Kind::Q5_0 => fifth_bits(&block[2..6], &block[6..], codes),
            Kind::Q5_1 => {
                *least = half(2) ^ SIGN;
                fifth_bits(&block[4..8], &block[8..], codes);
            }
            Kind::IQ4_NL => {
                fields(&block[2..], 4, 0, &mut codes[..32]);
                look_up(&mut codes[..32]);
            }
            Kind::Q2_K => {
                *least = half(82);
                for (g, byte) in block[..16].iter().enumerate() {
                    small[g] = (byte & 15).cast_signed();
                    small_least[g] = (byte >> 4).cast_signed();
                }
                each(&block[16..80], 32, 2, 0, codes);
            }
            Kind::Q3_K => {
                *small = std::array::from_fn(|g| {
                    let low = block[96 + g % 8] >> (g / 8 * 4) & 15;
                    (low | (block[104 + g % 4] >> (g / 4 * 2) & 3) << 4).cast_signed() - 32
                });
                each(&block[32..96], 32, 2, 0, codes);
                fields(&block[..32], 1, 2, codes);
            }
            Kind::Q4_K | Kind::Q5_K => {
                *least = half(2);
                for g in 0..8 {
                    let (scale, least) = six_bits(&block[4..16], g);
                    (small[g], small_least[g]) = (scale.cast_signed(), least.cast_signed());
                }
                if kind == Kind::Q5_K {
                    fields(&block[16..48], 1, 4, codes);
                }
                each(&block[block.len() - 128..], 32, 4, 0, codes);
            }
            Kind::Q6_K => {
                *small = std::array::from_fn(|g| block[192 + g].cast_signed());
                each(&block[..128], 64, 4, 0, codes);
                each(&block[128..192], 32, 2, 4, codes);
            }
            Kind::IQ4_XS => {
                for g in 0..8 {
                    let low = block[4 + g / 2] >> (g % 2 * 4) & 15;
                    let high = (half(2) >> (2 * g) & 3) as u8;
                    small[g] = (low | high << 4).cast_signed() - 32;
                }
                each(&block[8..], 16, 4, 0, codes);
                look_up(codes);
            }
        }
    }

    /// Writes the block that [`of`](Self::of) reads.
    pub(super) fn pack(&self, kind: Kind) -> Vec<u8> {
        let Self { scale, least, small, small_least, codes } = self;
        let mut block = vec![0; kind.block_bytes()];
        let at = kind.scale_at();
        block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
        let mut put_least = |least: u16, at: usize| {
            block[at..at + 2].copy_from_slice(&least.to_le_bytes());
        };
        match kind {
            Kind::Q4_1 | Kind::Q5_1 => put_least(least ^ SIGN, 2),
            Kind::Q4_K | Kind::Q5_K => put_least(*least, 2),
            Kind::Q2_K => put_least(*least, 82),
            _ => {}
        }
        match kind {
            Kind::F32 | Kind::F16 | Kind::BF16 => unreachable!("quant: numbers without blocks"),
            Kind::Q8_0 => {
                block[2..].iter_mut().zip(codes).for_each(|(byte, code)| *byte = code ^ 0x80);
            }
            Kind::Q4_0 | Kind::Q4_1 => {
                let first = block.len() - 16;
                put_fields(&codes[..32], 4, 0, &mut block[first..]);
            }
            Kind::Q5_0 | Kind::Q5_1 => {
                let first = block.len() - 16;
                put_fields(&codes[..32], 4, 0, &mut block[first..]);
                for (i, code) in codes[..32].iter().enumerate() {
                    block[first - 4 + i / 8] |= code >> 4 << (i % 8);
                }
            }
            Kind::IQ4_NL => put_fields(&places(&codes[..32]), 4, 0, &mut block[2..]),
            Kind::Q2_K => {
                for g in 0..16 {
                    block[g] = (small[g] | small_least[g] << 4).cast_unsigned();
                }
                put_each(codes, 32, 2, 0, &mut block[16..80]);
            }
            Kind::Q3_K => {
                for g in 0..16 {
                    let scale = (small[g] + 32).cast_unsigned();
                    block[96 + g % 8] |= (scale & 15) << (g / 8 * 4);
                    block[104 + g % 4] |= scale >> 4 << (g / 4 * 2);
                }
                put_each(codes, 32, 2, 0, &mut block[32..96]);
                put_fields(codes, 1, 2, &mut block[..32]);
            }
            Kind::Q4_K | Kind::Q5_K => {
                for g in 0..4 {
                    let [scale, later] = [small[g], small[g + 4]].map(i8::cast_unsigned);
                    let [least, later_least] =
                        [small_least[g], small_least[g + 4]].map(i8::cast_unsigned);
                    block[4 + g] = scale | later >> 4 << 6;
                    block[8 + g] = least | later_least >> 4 << 6;
                    block[12 + g] = later & 15 | later_least << 4;
                }
                let first = block.len() - 128;
                put_each(codes, 32, 4, 0, &mut block[first..]);
                if kind == Kind::Q5_K {
                    put_fields(codes, 1, 4, &mut block[16..48]);
                }
            }
            Kind::Q6_K => {
                for g in 0..16 {
                    block[192 + g] = small[g].cast_unsigned();
                }
                put_each(codes, 64, 4, 0, &mut block[..128]);
                put_each(codes, 32, 2, 4, &mut block[128..192]);
            }
            Kind::IQ4_XS => {
                for g in 0..8 {
                    let scale = (small[g] + 32).cast_unsigned();
                    block[4 + g / 2] |= (scale & 15) << (g % 2 * 4);
                    block[2 + g / 4] |= scale >> 4 << (g % 4 * 2);
                }
                put_each(&places(codes), 16, 4, 0, &mut block[8..]);
            }
        }
        block
    }
}

vectorised! {
    pub(super) fn dequantize(kind: Kind, bytes: &[u8], y: &mut [f32]) {
        let Layout { group, zero, .. } = kind.layout();
        let blocks = bytes.chunks_exact(kind.block_bytes());
        let mut parts = Parts::single(f16::ZERO, 0);
        for (block, y) in blocks.zip(y.chunks_exact_mut(kind.block())) {
            parts.read(kind, block);
            let [scale, least] = [parts.scale, parts.least].map(|x| f16::from_bits(x).to_f32());
            let groups = y.chunks_exact_mut(group).zip(parts.codes.chunks_exact(group));
            for (g, (y, codes)) in groups.enumerate() {
                let scale = scale * f32::from(parts.small[g]);
                let least = least * f32::from(parts.small_least[g]);
                for (y, &code) in y.iter_mut().zip(codes) {
                    *y = scale * (f32::from(code) - f32::from(zero)) - least;
                }
            }
        }
    }
}

/// Adds the fields of `bits` bits of all bytes to `codes`, `raised` higher: first the lowest of each
/// byte, then the next of each.
#[inline(always)]
fn fields(bytes: &[u8], bits: usize, raised: usize, codes: &mut [u8]) {
    for (k, codes) in codes.chunks_exact_mut(bytes.len()).enumerate() {
        for (code, byte) in codes.iter_mut().zip(bytes) {
            *code |= (byte >> (bits * k) & ((1 << bits) - 1)) << raised;
        }
    }
}

/// [`fields`] of each `n` bytes by themselves.
#[inline(always)]
fn each(bytes: &[u8], n: usize, bits: usize, raised: usize, codes: &mut [u8]) {
    for (bytes, codes) in bytes.chunks_exact(n).zip(codes.chunks_exact_mut(n * 8 / bits)) {
        fields(bytes, bits, raised, codes);
    }
}

/// The inverse of [`fields`].
fn put_fields(codes: &[u8], bits: usize, raised: usize, bytes: &mut [u8]) {
    for (k, codes) in codes.chunks_exact(bytes.len()).enumerate() {
        for (byte, code) in bytes.iter_mut().zip(codes) {
            *byte |= (code >> raised & ((1 << bits) - 1)) << (bits * k);
        }
    }
}

/// The inverse of [`each`].
fn put_each(codes: &[u8], n: usize, bits: usize, raised: usize, bytes: &mut [u8]) {
    for (codes, bytes) in codes.chunks_exact(n * 8 / bits).zip(bytes.chunks_exact_mut(n)) {
        put_fields(codes, bits, raised, bytes);
    }
}

/// The codes of Q5_0 and Q5_1: four bits as in Q4_0, the fifth of all in four bytes.
#[inline(always)]
fn fifth_bits(high: &[u8], low: &[u8], codes: &mut [u8; BLOCK]) {
    fields(low, 4, 0, &mut codes[..32]);
    for (i, code) in codes[..32].iter_mut().enumerate() {
        *code |= (high[i / 8] >> (i % 8) & 1) << 4;
    }
}

/// Scale and least value of eighth `g`, 6 bits each: those of the first four stand in the lower bits
/// of bytes 0..4 and 4..8; of the last four, 4 bits stand in bytes 8..12 and 2 in the upper bits of
/// the first eight.
#[inline(always)]
fn six_bits(scales: &[u8], g: usize) -> (u8, u8) {
    if g < 4 {
        (scales[g] & 63, scales[g + 4] & 63)
    } else {
        let low = scales[g + 4];
        (low & 15 | (scales[g - 4] >> 6) << 4, low >> 4 | (scales[g] >> 6) << 4)
    }
}

/// Codes of the [`TABLE`] to its numbers, raised by 128.
#[inline(always)]
fn look_up(codes: &mut [u8]) {
    codes.iter_mut().for_each(|code| *code = TABLE[usize::from(*code)].cast_unsigned() ^ 0x80);
}

/// The inverse of [`look_up`].
fn places(codes: &[u8]) -> Vec<u8> {
    let place = |code: &u8| {
        let is = |number: &i8| number.cast_unsigned() ^ 0x80 == *code;
        TABLE.iter().position(is).unwrap_or_default() as u8
    };
    codes.iter().map(place).collect()
}
