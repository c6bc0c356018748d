//! Four numbers at a time: what products are made of where registers hold four. NEON has the
//! operations as instructions; plain arrays compute the same bits everywhere.

#[cfg(all(target_arch = "aarch64", target_feature = "neon", target_endian = "little"))]
mod neon;
mod plain;

/// The fastest that this machine has.
#[cfg(all(target_arch = "aarch64", target_feature = "neon", target_endian = "little"))]
pub(crate) use neon::Neon as Native;
#[cfg(not(all(target_arch = "aarch64", target_feature = "neon", target_endian = "little")))]
pub(crate) use plain::Plain as Native;
pub(crate) use plain::Plain;

/// Numbers in a register.
pub(crate) const FOUR: usize = 4;

/// Four bytes that follow each other along a sum.
pub(crate) type Word<T> = [T; 4];

/// Computes on four numbers at a time.
pub(crate) trait Lanes {
    /// Whether it does so with instructions.
    const FAST: bool;
    /// Four f32.
    type Floats: Copy;
    /// Four words of signed bytes.
    type Words: Copy;
    /// Four sums of integers, each perhaps in parts.
    type Sums: Copy;

    /// One number four times.
    fn splat(x: f32) -> Self::Floats;
    /// Four numbers from memory.
    fn load(x: &[f32; FOUR]) -> Self::Floats;
    /// The same from half precision, as bits.
    fn halves(x: &[u16; FOUR]) -> Self::Floats;
    /// Four numbers for memory.
    fn array(x: Self::Floats) -> [f32; FOUR];
    /// `x + y`
    fn add(x: Self::Floats, y: Self::Floats) -> Self::Floats;
    /// `x·y`
    fn multiply(x: Self::Floats, y: Self::Floats) -> Self::Floats;
    /// `x·y + sum`, rounded once.
    fn multiply_add(x: Self::Floats, y: Self::Floats, sum: Self::Floats) -> Self::Floats;
    /// Of words of two bfloat16 each, all in the low halves and all in the high ones.
    fn bf16(words: Self::Floats) -> [Self::Floats; 2];

    /// Four words from memory.
    fn words(x: &[Word<u8>; FOUR]) -> Self::Words;
    /// One word four times.
    fn word(x: Word<i8>) -> Self::Words;
    /// Bytes that were stored 128 higher.
    fn lowered(x: Self::Words) -> Self::Words;
    /// The lower halves of bytes.
    fn lower(x: Self::Words) -> Self::Words;
    /// The upper halves of bytes.
    fn upper(x: Self::Words) -> Self::Words;
    /// Integers from their lower four bits and, field number `n` of each byte, their upper `BITS`.
    fn raised<const BITS: usize>(low: Self::Words, high: Self::Words, n: usize) -> Self::Words;

    /// Zeros.
    fn no_sums() -> Self::Sums;
    /// Adds the products of bytes to the sums of their words. Products of one place of `N` words must
    /// fit into 16 bits together.
    fn dots<const N: usize>(
        w: [Self::Words; N],
        x: &[Self::Words; N],
        sums: Self::Sums,
    ) -> Self::Sums;
    /// The sums, each `plus` the same.
    fn floats(sums: Self::Sums, plus: i32) -> Self::Floats;
}

/// Whether products are made of [`Native`] lanes.
#[inline]
pub(crate) fn have_lanes() -> bool {
    #[cfg(test)]
    {
        use crate::simd::{LEVEL, Level};
        use std::cmp::Ordering;
        match LEVEL.get().cmp(&Level::Lanes) {
            Ordering::Less => return false,
            // Tests want them even where they are arrays.
            Ordering::Equal => return true,
            Ordering::Greater => {}
        }
    }
    Native::FAST
}
