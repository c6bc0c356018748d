//! One loop, several machines: the same source compiled portably, for AVX2+FMA and for AVX-512.
//!
//! Portably means for the least processor of the target. On 64-bit ARM that one has NEON: there the
//! portable loops are vector code with fused multiply-adds, and [`lanes`](crate::lanes) has what
//! products need besides.

/// Width of the accumulators that sums are spread over: two AVX2 registers.
pub(crate) const LANES: usize = 16;

/// What a CPU may have.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Portable,
    /// Four numbers at a time: NEON, or arrays in its place.
    Lanes,
    Avx2,
    Avx512,
}

#[cfg(test)]
thread_local! {
    /// Tests set this to take slower versions on this thread.
    pub(crate) static LEVEL: std::cell::Cell<Level> = const { std::cell::Cell::new(Level::Avx512) };
}

/// Whether this CPU has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn has_avx2() -> bool {
    #[cfg(test)]
    if LEVEL.get() < Level::Avx2 {
        return false;
    }
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// Whether this CPU has AVX2, FMA and F16C, and does not multiply quadruples of bytes.
#[inline]
pub(crate) fn has_only_avx2() -> bool {
    #[cfg(target_arch = "x86_64")]
    return has_avx2() && is_x86_feature_detected!("f16c") && !has_avx512_vnni();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Whether this CPU has the parts of AVX-512 that every kernel of ours needs.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn has_avx512() -> bool {
    #[cfg(test)]
    if LEVEL.get() < Level::Avx512 {
        return false;
    }
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
}

/// Whether this CPU multiplies pairs of bfloat16.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn has_avx512_bf16() -> bool {
    is_x86_feature_detected!("avx512bf16") && has_avx512()
}

/// Whether this CPU multiplies quadruples of bytes.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn has_avx512_vnni() -> bool {
    is_x86_feature_detected!("avx512vnni") && has_avx512()
}

/// The transpose of 8 x 8 numbers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn transpose8(r: [std::arch::x86_64::__m256; 8]) -> [std::arch::x86_64::__m256; 8] {
    use std::arch::x86_64::{
        _mm256_permute2f128_ps, _mm256_shuffle_ps, _mm256_unpackhi_ps, _mm256_unpacklo_ps,
    };
    // Columns of rows i and i + 1, then of four rows, then of all eight.
    let pairs: [_; 8] = std::array::from_fn(|i| {
        let (x, y) = (r[i / 2 * 2], r[i / 2 * 2 + 1]);
        if i % 2 == 0 { _mm256_unpacklo_ps(x, y) } else { _mm256_unpackhi_ps(x, y) }
    });
    let fours: [_; 8] = std::array::from_fn(|i| {
        let (x, y) = (pairs[i / 4 * 4 + i % 4 / 2], pairs[i / 4 * 4 + i % 4 / 2 + 2]);
        if i % 2 == 0 { _mm256_shuffle_ps::<0x44>(x, y) } else { _mm256_shuffle_ps::<0xee>(x, y) }
    });
    std::array::from_fn(|i| {
        let (x, y) = (fours[i % 4], fours[i % 4 + 4]);
        if i < 4 {
            _mm256_permute2f128_ps::<0x20>(x, y)
        } else {
            _mm256_permute2f128_ps::<0x31>(x, y)
        }
    })
}

/// Defines a function whose body is compiled portably, for AVX2+FMA and for AVX-512, and chosen at
/// run time. Bodies are plain loops over slices; multiply-adds are written `mul_add`, so all versions
/// give the same bits.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    body($($arg),*)
                }
                #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl")]
                fn avx512($($arg: $ty),*) $(-> $ret)? {
                    body($($arg),*)
                }
                if crate::simd::has_avx512() {
                    // SAFETY: the CPU has the features that the function was compiled for; one
                    // with AVX-512 has AVX2 and FMA.
                    return unsafe { avx512($($arg),*) };
                }
                if crate::simd::has_avx2() {
                    // SAFETY: as above.
                    return unsafe { avx2($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}
pub(crate) use vectorised;

/// Adds up the lanes, in a fixed tree.
#[inline(always)]
pub(crate) fn add_lanes(lanes: [f32; LANES]) -> f32 {
    let mut lanes = lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Sum of `f(x)` over a slice, spread over [`LANES`] accumulators.
#[inline(always)]
pub(crate) fn sum_of(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0; LANES];
    let (body, tail) = x.as_chunks::<LANES>();
    for x in body {
        for i in 0..LANES {
            sums[i] += f(x[i]);
        }
    }
    for (sum, &x) in sums.iter_mut().zip(tail) {
        *sum += f(x);
    }
    add_lanes(sums)
}

/// Sum of `f(x, y, z)` over three slices of one length, spread over [`LANES`] accumulators.
#[inline(always)]
pub(crate) fn sum_of3(x: &[f32], y: &[f32], z: &[f32], f: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let mut sums = [0.0; LANES];
    let (x, x_tail) = x.as_chunks::<LANES>();
    let (y, y_tail) = y.as_chunks::<LANES>();
    let (z, z_tail) = z.as_chunks::<LANES>();
    for ((x, y), z) in x.iter().zip(y).zip(z) {
        for i in 0..LANES {
            sums[i] += f(x[i], y[i], z[i]);
        }
    }
    for (i, ((&x, &y), &z)) in x_tail.iter().zip(y_tail).zip(z_tail).enumerate() {
        sums[i] += f(x, y, z);
    }
    add_lanes(sums)
}

/// Applies `f` to every element in place; sums the results over [`LANES`] accumulators.
#[inline(always)]
pub(crate) fn map_and_sum(x: &mut [f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0; LANES];
    let (body, tail) = x.as_chunks_mut::<LANES>();
    for x in body {
        // Not `x.map(&f)`: that is not inlined, so it would be compiled without AVX2.
        for x in x.iter_mut() {
            *x = f(*x);
        }
        for i in 0..LANES {
            sums[i] += x[i];
        }
    }
    for (sum, x) in sums.iter_mut().zip(tail) {
        *x = f(*x);
        *sum += *x;
    }
    add_lanes(sums)
}

/// Largest element; `-inf` for an empty slice. NaN is passed over.
#[inline(always)]
pub(crate) fn max_of(x: &[f32]) -> f32 {
    let mut best = [f32::NEG_INFINITY; LANES];
    let (body, tail) = x.as_chunks::<LANES>();
    for x in body {
        for i in 0..LANES {
            best[i] = if x[i] > best[i] { x[i] } else { best[i] };
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            best[i] = if best[i + width] > best[i] { best[i + width] } else { best[i] };
        }
        width /= 2;
    }
    tail.iter().fold(best[0], |best, &x| if x > best { x } else { best })
}
