//! Four numbers in a register of NEON, which every processor has that this is compiled for.

use std::arch::aarch64::{
    float32x4_t, int8x16_t, int32x4_t, vaddq_f32, vaddq_s32, vandq_s8, vandq_u32, vcvt_f32_f16,
    vcvtq_f32_s32, vdupq_n_f32, vdupq_n_s8, vdupq_n_s16, vdupq_n_s32, vdupq_n_u32, veorq_s8,
    vfmaq_f32, vget_low_s8, vld1_u16, vld1q_f32, vld1q_u8, vmlal_high_s8, vmlal_s8, vmulq_f32,
    vorrq_s8, vpadalq_s16, vpaddq_s32, vreinterpret_f16_u16, vreinterpretq_f32_u32,
    vreinterpretq_s8_s32, vreinterpretq_s8_u8, vreinterpretq_u8_s8, vreinterpretq_u32_f32,
    vshlq_n_u32, vshlq_u8, vshrq_n_u8, vst1q_f32,
};

use super::{FOUR, Lanes, Word};

/// Registers.
pub(crate) struct Neon;

// Every block below: this module is compiled only where NEON is on for the whole program, and what
// is read or written is an array of the instruction's length.
impl Lanes for Neon {
    const FAST: bool = true;
    type Floats = float32x4_t;
    type Words = int8x16_t;
    /// The sums of a word's first and last two bytes lie side by side: words 0 and 1, 2 and 3.
    type Sums = [int32x4_t; 2];

    #[inline(always)]
    fn splat(x: f32) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vdupq_n_f32(x) }
    }

    #[inline(always)]
    fn load(x: &[f32; FOUR]) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vld1q_f32(x.as_ptr()) }
    }

    #[inline(always)]
    fn halves(x: &[u16; FOUR]) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(x.as_ptr()))) }
    }

    #[inline(always)]
    fn array(x: float32x4_t) -> [f32; FOUR] {
        let mut to = [0.0; FOUR];
        // SAFETY: as above.
        unsafe { vst1q_f32(to.as_mut_ptr(), x) };
        to
    }

    #[inline(always)]
    fn add(x: float32x4_t, y: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vaddq_f32(x, y) }
    }

    #[inline(always)]
    fn multiply(x: float32x4_t, y: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vmulq_f32(x, y) }
    }

    #[inline(always)]
    fn multiply_add(x: float32x4_t, y: float32x4_t, sum: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vfmaq_f32(sum, x, y) }
    }

    #[inline(always)]
    fn bf16(words: float32x4_t) -> [float32x4_t; 2] {
        // SAFETY: as above.
        unsafe {
            let bits = vreinterpretq_u32_f32(words);
            let high = vandq_u32(bits, vdupq_n_u32(0xffff_0000));
            [vreinterpretq_f32_u32(vshlq_n_u32::<16>(bits)), vreinterpretq_f32_u32(high)]
        }
    }

    #[inline(always)]
    fn words(x: &[Word<u8>; FOUR]) -> int8x16_t {
        // SAFETY: as above.
        unsafe { vreinterpretq_s8_u8(vld1q_u8(x.as_ptr().cast())) }
    }

    #[inline(always)]
    fn word(x: Word<i8>) -> int8x16_t {
        let word = i32::from_le_bytes(x.map(i8::cast_unsigned));
        // SAFETY: as above.
        unsafe { vreinterpretq_s8_s32(vdupq_n_s32(word)) }
    }

    #[inline(always)]
    fn lowered(x: int8x16_t) -> int8x16_t {
        // SAFETY: as above.
        unsafe { veorq_s8(x, vdupq_n_s8(i8::MIN)) }
    }

    #[inline(always)]
    fn lower(x: int8x16_t) -> int8x16_t {
        // SAFETY: as above.
        unsafe { vandq_s8(x, vdupq_n_s8(15)) }
    }

    #[inline(always)]
    fn upper(x: int8x16_t) -> int8x16_t {
        // SAFETY: as above.
        unsafe { vreinterpretq_s8_u8(vshrq_n_u8::<4>(vreinterpretq_u8_s8(x))) }
    }

    #[inline(always)]
    fn raised<const BITS: usize>(low: int8x16_t, high: int8x16_t, n: usize) -> int8x16_t {
        // SAFETY: as above. A shift by less than nothing is one to the right.
        unsafe {
            let by = vdupq_n_s8(4 - (BITS * n) as i8);
            let high = vreinterpretq_s8_u8(vshlq_u8(vreinterpretq_u8_s8(high), by));
            vorrq_s8(low, vandq_s8(high, vdupq_n_s8(((1 << BITS) - 1) << 4)))
        }
    }

    #[inline(always)]
    fn no_sums() -> [int32x4_t; 2] {
        // SAFETY: as above.
        unsafe { [vdupq_n_s32(0); 2] }
    }

    #[inline(always)]
    fn dots<const N: usize>(
        w: [int8x16_t; N],
        x: &[int8x16_t; N],
        sums: [int32x4_t; 2],
    ) -> [int32x4_t; 2] {
        // SAFETY: as above.
        unsafe {
            let mut products = [vdupq_n_s16(0); 2];
            for (&w, &x) in w.iter().zip(x) {
                products[0] = vmlal_s8(products[0], vget_low_s8(w), vget_low_s8(x));
                products[1] = vmlal_high_s8(products[1], w, x);
            }
            [vpadalq_s16(sums[0], products[0]), vpadalq_s16(sums[1], products[1])]
        }
    }

    #[inline(always)]
    fn floats(sums: [int32x4_t; 2], plus: i32) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vcvtq_f32_s32(vaddq_s32(vpaddq_s32(sums[0], sums[1]), vdupq_n_s32(plus))) }
    }
}
