//! Activations rounded to 8-bit integers.

use crate::simd::{max_of, vectorised};

/// The largest magnitude; 0 for none. NaN is passed over.
pub(super) fn largest(x: &[f32]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if crate::simd::has_avx512_vnni() {
        // SAFETY: the CPU has the instructions.
        return unsafe { largest_avx512(x) };
    }
    largest_portable(x)
}

vectorised! {
    fn largest_portable(x: &[f32]) -> f32 {
        let mut sums = [0.0_f32; 16];
        let (body, tail) = x.as_chunks::<16>();
        for x in body {
            for i in 0..16 {
                let a = x[i].abs();
                sums[i] = if a > sums[i] { a } else { sums[i] };
            }
        }
        tail.iter().fold(max_of(&sums), |most, x| if x.abs() > most { x.abs() } else { most })
    }
}

/// # Safety
/// The CPU has AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn largest_avx512(x: &[f32]) -> f32 {
    use std::arch::x86_64::{
        _mm512_abs_ps, _mm512_loadu_ps, _mm512_maskz_loadu_ps, _mm512_max_ps, _mm512_reduce_max_ps,
        _mm512_setzero_ps,
    };
    // Of a pair with NaN the second is taken: the largest so far.
    let mut most = [_mm512_setzero_ps(); 4];
    let (fours, rest) = x.as_chunks::<64>();
    for x in fours {
        for (i, most) in most.iter_mut().enumerate() {
            // SAFETY: 16 of 64 numbers.
            let x = unsafe { _mm512_loadu_ps(x.as_ptr().add(16 * i)) };
            *most = _mm512_max_ps(_mm512_abs_ps(x), *most);
        }
    }
    for x in rest.chunks(16) {
        // SAFETY: what the mask leaves out is not read.
        let x = unsafe { _mm512_maskz_loadu_ps(mask(x.len()), x.as_ptr()) };
        most[0] = _mm512_max_ps(_mm512_abs_ps(x), most[0]);
    }
    let pairs = (_mm512_max_ps(most[0], most[1]), _mm512_max_ps(most[2], most[3]));
    _mm512_reduce_max_ps(_mm512_max_ps(pairs.0, pairs.1))
}

/// The first `n` of 16 lanes.
#[cfg(target_arch = "x86_64")]
fn mask(n: usize) -> u16 {
    ((1_u32 << n) - 1) as u16
}

/// Rounds `x·inverse` to integers, ties to even, and adds them up. NaN becomes 0.
pub(super) fn round(x: &[f32], inverse: f32, to: &mut [i8]) -> i32 {
    assert_eq!(x.len(), to.len(), "packed: as many integers as numbers");
    #[cfg(target_arch = "x86_64")]
    if crate::simd::has_avx512_vnni() {
        // SAFETY: the CPU has the instructions; the lengths agree.
        return unsafe { round_avx512(x, inverse, to) };
    }
    round_portable(x, inverse, to)
}

vectorised! {
    fn round_portable(x: &[f32], inverse: f32, to: &mut [i8]) -> i32 {
        let mut sum = 0;
        for (to, &x) in to.iter_mut().zip(x) {
            let q = (x * inverse).round_ties_even() as i32;
            *to = q as i8;
            sum += q;
        }
        sum
    }
}

/// # Safety
/// `to` is as long as `x`; the CPU has AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn round_avx512(x: &[f32], inverse: f32, to: &mut [i8]) -> i32 {
    use std::arch::x86_64::{
        __m128i, __m512i, _CMP_ORD_Q, _mm_mask_storeu_epi8, _mm_storeu_si128, _mm512_add_epi32,
        _mm512_cmp_ps_mask, _mm512_cvtepi32_epi8, _mm512_loadu_ps, _mm512_maskz_cvtps_epi32,
        _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_reduce_add_epi32, _mm512_set1_ps,
        _mm512_setzero_si512,
    };
    let inverse = _mm512_set1_ps(inverse);
    let integers = |x| -> __m512i {
        let x = _mm512_mul_ps(x, inverse);
        _mm512_maskz_cvtps_epi32(_mm512_cmp_ps_mask::<_CMP_ORD_Q>(x, x), x)
    };
    let mut sums = _mm512_setzero_si512();
    let whole = x.len() / 16 * 16;
    for at in (0..whole).step_by(16) {
        // SAFETY: 16 numbers inside both.
        unsafe {
            let q = integers(_mm512_loadu_ps(x.as_ptr().add(at)));
            let bytes: __m128i = _mm512_cvtepi32_epi8(q);
            _mm_storeu_si128(to.as_mut_ptr().add(at).cast(), bytes);
            sums = _mm512_add_epi32(sums, q);
        }
    }
    if whole < x.len() {
        let mask = mask(x.len() - whole);
        // SAFETY: what the mask leaves out is neither read nor written.
        unsafe {
            let q = integers(_mm512_maskz_loadu_ps(mask, x.as_ptr().add(whole)));
            _mm_mask_storeu_epi8(to.as_mut_ptr().add(whole), mask, _mm512_cvtepi32_epi8(q));
            sums = _mm512_add_epi32(sums, q);
        }
    }
    _mm512_reduce_add_epi32(sums)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same_portably, random};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn portable_rounding_has_the_same_bits(n in 0..150_usize, seed: u64, odd in 0..5_usize) {
            let mut x: Vec<f32> = random(seed, n).iter().map(|x| x * 200.0).collect();
            let special = [f32::NAN, -0.0, 0.5, 2.5, -127.4];
            if let Some(x) = x.get_mut(n / 2) {
                *x = special[odd];
            }
            let most = largest(&x);
            let want = x.iter().filter(|x| !x.is_nan()).fold(0.0, |most: f32, x| most.max(x.abs()));
            prop_assert_eq!(most, want);
            let inverse = super::super::scale(most).1;
            assert_same_portably(|| {
                let mut to = vec![1; n];
                let sum = round(&x, inverse, &mut to);
                let all = to.iter().map(|&q| f32::from(q));
                all.chain([sum as f32, largest(&x)]).collect()
            });
        }
    }
}
