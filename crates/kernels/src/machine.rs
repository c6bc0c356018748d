//! The processor, and how long pieces of typical work take on it by the numbers that are multiplied: a
//! precision that a processor lists is not always one that it is fast at.

use std::hint::black_box;
use std::time::Instant;

use crate::Precision;
use crate::linear::{linear, linear_backward};
use crate::packed::{Format, Packed};

/// Runs of each piece of work, after one that does not count. The best one counts: whatever else the
/// machine does only slows it.
const RUNS: usize = 4;

/// Name, numbers and features of the processor: equal for processors that are equally fast.
pub fn processor() -> String {
    #[cfg(target_arch = "x86_64")]
    return format!("{}; {}", x86::name(), features().join(" "));
    #[cfg(not(target_arch = "x86_64"))]
    format!("{}; {}", std::env::consts::ARCH, features().join(" "))
}

/// The vector instructions that kernels here are written for: `"AVX-512"`, `"AVX2"`, `"NEON"` or
/// `"portable"`.
pub fn class() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if crate::simd::has_avx512() {
            return "AVX-512";
        }
        if crate::simd::has_avx2() {
            return "AVX2";
        }
    }
    if cfg!(target_arch = "aarch64") { "NEON" } else { "portable" }
}

/// Those of the processor's features that products could use.
pub fn features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    return x86::features();
    #[cfg(target_arch = "aarch64")]
    return vec!["neon"];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    Vec::new()
}

/// Threads that products are cut for.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// Work that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A dense layer's part in a training step: forward and both gradients.
    Step,
    /// A dense layer that runs, of many rows: encoders, and prompts.
    Prefill,
    /// The same of one row: the next token.
    Decode,
}

impl Work {
    /// All of it.
    pub const ALL: [Self; 3] = [Self::Step, Self::Prefill, Self::Decode];

    /// Multiply-adds.
    fn products(self) -> usize {
        let [rows, in_, out] = self.shape();
        rows * in_ * out * if self == Self::Step { 3 } else { 1 }
    }

    fn shape(self) -> [usize; 3] {
        match self {
            Self::Step => [128, 384, 384],
            Self::Prefill => [64, 384, 768],
            Self::Decode => [1, 768, 1536],
        }
    }

    /// G operations a second, a multiply-add being two: the best of a few runs on the threads of the
    /// current pool.
    pub fn speed(self, precision: Precision) -> f64 {
        let [rows, in_, out] = self.shape();
        let (x, w, dy) = (numbers(rows * in_), numbers(out * in_), numbers(rows * out));
        let seconds = match self {
            Self::Step => best(|| {
                let mut y = vec![0.0; rows * out];
                linear(precision, rows, in_, out, &x, &w, None, &mut y);
                let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
                let (into_x, into_w) = (Some(&mut dx[..]), Some(&mut dw[..]));
                linear_backward(precision, rows, in_, out, &x, &w, &dy, into_x, into_w, None);
                black_box((y, dx, dw));
            }),
            Self::Prefill | Self::Decode => {
                let format = match precision {
                    Precision::F32 => Format::F32,
                    Precision::Bf16 => Format::Bf16,
                };
                let packed = Packed::new(format, out, in_, &w);
                best(|| {
                    black_box(packed.linear(rows, &x, None));
                })
            }
        };
        2.0 * self.products() as f64 / seconds / 1e9
    }
}

/// Seconds of the quickest run.
fn best(mut run: impl FnMut()) -> f64 {
    let mut timed = || {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    timed();
    (0..RUNS).map(|_| timed()).fold(f64::INFINITY, f64::min).max(f64::MIN_POSITIVE)
}

/// None of them is denormal.
fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i % 13) as f32 / 13.0 - 0.5).collect()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__cpuid, __get_cpuid_max};

    pub(super) fn features() -> Vec<&'static str> {
        let amx = |bit: u32| __get_cpuid_max(0).0 >= 7 && __cpuid(7).edx >> bit & 1 == 1;
        [
            ("avx2", is_x86_feature_detected!("avx2")),
            ("fma", is_x86_feature_detected!("fma")),
            ("f16c", is_x86_feature_detected!("f16c")),
            ("avx512f", is_x86_feature_detected!("avx512f")),
            ("avx512bw", is_x86_feature_detected!("avx512bw")),
            ("avx512vl", is_x86_feature_detected!("avx512vl")),
            ("avx512_vnni", is_x86_feature_detected!("avx512vnni")),
            ("avx512_bf16", is_x86_feature_detected!("avx512bf16")),
            ("amx_bf16", amx(22)),
            ("amx_int8", amx(25)),
        ]
        .into_iter()
        .filter_map(|(name, has)| has.then_some(name))
        .collect()
    }

    /// The brand's name, and family, model and stepping as one number.
    pub(super) fn name() -> String {
        let brand = (__cpuid(0x8000_0000).eax >= 0x8000_0004).then(|| {
            let registers = (0x8000_0002..=0x8000_0004).map(__cpuid);
            let words = registers.flat_map(|part| [part.eax, part.ebx, part.ecx, part.edx]);
            let bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).take_while(|&b| b != 0).collect();
            String::from_utf8_lossy(&bytes).trim().to_owned()
        });
        format!("{}, {:x}", brand.as_deref().unwrap_or("x86_64"), __cpuid(1).eax)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_has_a_name_and_the_features_of_its_class() {
        assert!(processor().len() > 8, "{}", processor());
        let needed = match class() {
            "AVX-512" => "avx512f",
            "AVX2" => "avx2",
            "NEON" => "neon",
            _ => return,
        };
        assert!(features().contains(&needed), "{:?}", features());
    }

    #[test]
    fn all_work_has_a_speed() {
        for work in Work::ALL {
            for precision in [Precision::F32, Precision::Bf16] {
                let speed = work.speed(precision);
                assert!(speed.is_finite() && speed > 0.0, "{work:?} {precision:?}: {speed}");
            }
        }
    }
}
