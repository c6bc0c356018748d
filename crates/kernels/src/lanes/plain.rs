//! Four numbers in an array: the twin that tests compare with on every machine.

use half::f16;

use super::{FOUR, Lanes, Word};

/// Arrays.
pub(crate) struct Plain;

impl Lanes for Plain {
    const FAST: bool = false;
    type Floats = [f32; FOUR];
    type Words = [Word<i8>; FOUR];
    type Sums = [i32; FOUR];

    #[inline(always)]
    fn splat(x: f32) -> [f32; FOUR] {
        [x; FOUR]
    }

    #[inline(always)]
    fn load(x: &[f32; FOUR]) -> [f32; FOUR] {
        *x
    }

    #[inline(always)]
    fn halves(x: &[u16; FOUR]) -> [f32; FOUR] {
        x.map(|x| f16::from_bits(x).to_f32())
    }

    #[inline(always)]
    fn array(x: [f32; FOUR]) -> [f32; FOUR] {
        x
    }

    #[inline(always)]
    fn add(x: [f32; FOUR], y: [f32; FOUR]) -> [f32; FOUR] {
        std::array::from_fn(|i| x[i] + y[i])
    }

    #[inline(always)]
    fn multiply(x: [f32; FOUR], y: [f32; FOUR]) -> [f32; FOUR] {
        std::array::from_fn(|i| x[i] * y[i])
    }

    #[inline(always)]
    fn multiply_add(x: [f32; FOUR], y: [f32; FOUR], sum: [f32; FOUR]) -> [f32; FOUR] {
        std::array::from_fn(|i| x[i].mul_add(y[i], sum[i]))
    }

    #[inline(always)]
    fn bf16(words: [f32; FOUR]) -> [[f32; FOUR]; 2] {
        [
            words.map(|word| f32::from_bits(word.to_bits() << 16)),
            words.map(|word| f32::from_bits(word.to_bits() & 0xffff_0000)),
        ]
    }

    #[inline(always)]
    fn words(x: &[Word<u8>; FOUR]) -> [Word<i8>; FOUR] {
        x.map(|word| word.map(u8::cast_signed))
    }

    #[inline(always)]
    fn word(x: Word<i8>) -> [Word<i8>; FOUR] {
        [x; FOUR]
    }

    #[inline(always)]
    fn lowered(x: [Word<i8>; FOUR]) -> [Word<i8>; FOUR] {
        x.map(|word| word.map(|byte| byte ^ i8::MIN))
    }

    #[inline(always)]
    fn lower(x: [Word<i8>; FOUR]) -> [Word<i8>; FOUR] {
        x.map(|word| word.map(|byte| byte & 15))
    }

    #[inline(always)]
    fn upper(x: [Word<i8>; FOUR]) -> [Word<i8>; FOUR] {
        x.map(|word| word.map(|byte| byte >> 4 & 15))
    }

    #[inline(always)]
    fn raised<const BITS: usize>(
        low: [Word<i8>; FOUR],
        high: [Word<i8>; FOUR],
        n: usize,
    ) -> [Word<i8>; FOUR] {
        let byte =
            |i: usize, k: usize| low[i][k] | (high[i][k] >> (BITS * n) & ((1 << BITS) - 1)) << 4;
        std::array::from_fn(|i| std::array::from_fn(|k| byte(i, k)))
    }

    #[inline(always)]
    fn no_sums() -> [i32; FOUR] {
        [0; FOUR]
    }

    #[inline(always)]
    fn dots<const N: usize>(
        w: [[Word<i8>; FOUR]; N],
        x: &[[Word<i8>; FOUR]; N],
        sums: [i32; FOUR],
    ) -> [i32; FOUR] {
        let mut products = [Word::<i16>::default(); FOUR];
        for (w, x) in w.iter().zip(x) {
            for (i, products) in products.iter_mut().enumerate() {
                for (k, product) in products.iter_mut().enumerate() {
                    *product += i16::from(w[i][k]) * i16::from(x[i][k]);
                }
            }
        }
        std::array::from_fn(|i| sums[i] + products[i].iter().map(|&p| i32::from(p)).sum::<i32>())
    }

    #[inline(always)]
    fn floats(sums: [i32; FOUR], plus: i32) -> [f32; FOUR] {
        sums.map(|sum| (sum + plus) as f32)
    }
}
