//! Which numbers matrix products multiply.

/// Numbers that a matrix product multiplies; its sums are f32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 24 bits of mantissa.
    #[default]
    F32,
    /// bfloat16: 8 bits of mantissa, the range of f32.
    Bf16,
}

impl Precision {
    /// The faster of those that a training tolerates, on this CPU: bfloat16 where it has the
    /// instruction, otherwise f32.
    pub fn fastest() -> Self {
        #[cfg(target_arch = "x86_64")]
        if crate::simd::has_avx512_bf16() {
            return Self::Bf16;
        }
        Self::F32
    }
}
