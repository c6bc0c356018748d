//! Weights of a dense layer, laid out once for many products: the running life of a model.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod blocks;
mod fill;
mod int8;
mod k;
mod round;
mod tasks;

use crate::Precision;
use crate::activation::Gelu;
use crate::buffer;
use crate::gemm::Prepared;
use crate::quant::Kind;

/// How packed weights are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// As they are.
    F32,
    /// bfloat16; activations are rounded to it too.
    Bf16,
    /// 8-bit integers with one scale an output; activations are rounded to such with one scale a
    /// row.
    Int8,
    /// GGUF's blocks; activations are rounded to 8-bit integers in blocks of 32.
    Blocks(Blocked),
}

/// The block formats that are multiplied as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types)] // The names are the format's.
pub enum Blocked {
    /// 8-bit integers.
    Q8_0,
    /// 4-bit integers.
    Q4_0,
    /// 4-bit integers and a least value.
    Q4_1,
    /// 5-bit integers.
    Q5_0,
    /// 5-bit integers and a least value.
    Q5_1,
    /// 16 numbers of a table.
    IQ4_NL,
    /// Blocks of 256: 2-bit integers, and scales and least values of 4 bits.
    Q2_K,
    /// Blocks of 256: 3-bit integers and scales of 6 bits.
    Q3_K,
    /// Blocks of 256: 4-bit integers, and scales and least values of 6 bits.
    Q4_K,
    /// Blocks of 256: 5-bit integers, and scales and least values of 6 bits.
    Q5_K,
    /// Blocks of 256: 6-bit integers and scales of 8 bits.
    Q6_K,
    /// Blocks of 256: 16 numbers of a table and scales of 6 bits.
    IQ4_XS,
}

impl Blocked {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::IQ4_NL,
        Self::Q2_K,
        Self::Q3_K,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
        Self::IQ4_XS,
    ];

    /// The same as a kind of tensor.
    pub fn kind(self) -> Kind {
        match self {
            Self::Q8_0 => Kind::Q8_0,
            Self::Q4_0 => Kind::Q4_0,
            Self::Q4_1 => Kind::Q4_1,
            Self::Q5_0 => Kind::Q5_0,
            Self::Q5_1 => Kind::Q5_1,
            Self::IQ4_NL => Kind::IQ4_NL,
            Self::Q2_K => Kind::Q2_K,
            Self::Q3_K => Kind::Q3_K,
            Self::Q4_K => Kind::Q4_K,
            Self::Q5_K => Kind::Q5_K,
            Self::Q6_K => Kind::Q6_K,
            Self::IQ4_XS => Kind::IQ4_XS,
        }
    }
}

impl TryFrom<Kind> for Blocked {
    type Error = Kind;

    fn try_from(kind: Kind) -> Result<Self, Kind> {
        Self::ALL.into_iter().find(|blocked| blocked.kind() == kind).ok_or(kind)
    }
}

/// `[out, in]` weights, packed.
#[derive(Clone, Debug)]
pub struct Packed {
    out: usize,
    in_: usize,
    weights: Weights,
}

#[derive(Clone, Debug)]
enum Weights {
    Dense(Prepared),
    Int8(int8::Int8),
    Blocks(blocks::Blocks),
    K(k::Blocks),
}

/// `x·wᵀ + bias`, and what becomes of it: one of several products of the same activations.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a> {
    /// `w [out, in]`.
    pub weights: &'a Packed,
    /// `[out]`.
    pub bias: Option<&'a [f32]>,
    /// Applied to each number.
    pub then: Then<'a>,
}

/// What becomes of the numbers of a product while they are in the cache.
#[derive(Clone, Copy, Debug, Default)]
pub enum Then<'a> {
    /// They stay.
    #[default]
    Nothing,
    /// `gelu(y)`.
    Gelu(Gelu),
    /// `silu(y)·(x·upᵀ)` with other weights of the same shape: SwiGLU.
    Gate(&'a Packed),
}

impl Packed {
    /// Packs `w [out, in]`.
    pub fn new(format: Format, out: usize, in_: usize, w: &[f32]) -> Self {
        assert_eq!(w.len(), out * in_, "packed: w is {out} x {in_}");
        let dense = |precision| Weights::Dense(Prepared::new(precision, out, in_, w));
        let weights = match format {
            Format::F32 => dense(Precision::F32),
            Format::Bf16 => dense(Precision::Bf16),
            Format::Int8 => Weights::Int8(int8::Int8::new(out, in_, w)),
            // Rows that are no whole blocks have no such format.
            Format::Blocks(kind) if !in_.is_multiple_of(kind.kind().block()) => {
                dense(Precision::F32)
            }
            Format::Blocks(kind) => {
                return Self::from_blocks(kind, out, in_, &kind.kind().quantize(w));
            }
        };
        Self { out, in_, weights }
    }

    /// Packs `[out, in]` weights from the bytes of their blocks, without rounding them again.
    pub fn from_blocks(kind: Blocked, out: usize, in_: usize, bytes: &[u8]) -> Self {
        let weights = match kind.kind().block() {
            blocks::BLOCK => Weights::Blocks(blocks::Blocks::new(kind, out, in_, bytes)),
            _ => Weights::K(k::Blocks::new(kind, out, in_, bytes)),
        };
        Self { out, in_, weights }
    }

    /// Outputs.
    pub fn out(&self) -> usize {
        self.out
    }

    /// Inputs.
    pub fn in_(&self) -> usize {
        self.in_
    }

    /// Whether these weights can be the gate of those in one product.
    pub fn pairs_with(&self, up: &Self) -> bool {
        let alike = match (&self.weights, &up.weights) {
            (Weights::Dense(gate), Weights::Dense(up)) => gate.precision() == up.precision(),
            (gate, up) => std::mem::discriminant(gate) == std::mem::discriminant(up),
        };
        alike && (self.out, self.in_) == (up.out, up.in_)
    }

    /// Bytes that the weights take.
    pub fn bytes(&self) -> usize {
        match &self.weights {
            Weights::Dense(dense) => dense.bytes(),
            Weights::Int8(int8) => int8.bytes(),
            Weights::Blocks(blocks) => blocks.bytes(),
            Weights::K(blocks) => blocks.bytes(),
        }
    }

    /// `x[rows, in] · wᵀ + bias[out]`, `[rows, out]`.
    pub fn linear(&self, rows: usize, x: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        products(&[Product { weights: self, bias, then: Then::Nothing }], rows, x)
    }

    /// Adds `x[rows, in] · wᵀ + bias[out]` to `y[rows, out]`.
    pub fn add_linear(&self, rows: usize, x: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
        product_into(Product { weights: self, bias, then: Then::Nothing }, rows, x, y, true);
    }
}

/// One product of `x[rows, in]`, written to `y [rows, out]` or added to it.
pub(crate) fn product_into(product: Product, rows: usize, x: &[f32], y: &mut [f32], add: bool) {
    assert_eq!(y.len(), rows * product.weights.out, "packed: y of {rows} rows");
    // SAFETY: y is [rows, out], and ours.
    unsafe { tasks::run(&[product], rows, x, y.as_mut_ptr(), add) };
}

/// Several products of `x[rows, in]`, one after the other: `[rows, out]` each.
pub fn products(products: &[Product], rows: usize, x: &[f32]) -> Vec<f32> {
    let out: usize = products.iter().map(|product| product.weights.out).sum();
    let mut y = buffer(rows * out);
    // SAFETY: there is room for [rows, out] of each product.
    unsafe { tasks::run(products, rows, x, y.as_mut_ptr(), false) };
    y
}

/// The scale of integers to ±127 for numbers up to `largest`, and its inverse; both 0 for zeros
/// and for what is no number.
#[inline(always)]
fn scale(largest: f32) -> (f32, f32) {
    let scale = largest / 127.0;
    if scale > 0.0 && scale.is_finite() && (1.0 / scale).is_finite() {
        (scale, 1.0 / scale)
    } else {
        (0.0, 0.0)
    }
}

#[cfg(test)]
mod tests;
