//! A right side that is packed once and multiplied often.

use super::{Bf16, Format, Product, Single, Start, Strided};
use crate::Precision;
use crate::parallel::Shared;

/// `Wᵀ` of weights `[out, in]`, in panels.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    precision: Precision,
    in_: usize,
    out: usize,
    /// One panel after the other.
    words: Vec<f32>,
}

impl Prepared {
    /// Packs `w [out, in]`.
    pub(crate) fn new(precision: Precision, out: usize, in_: usize, w: &[f32]) -> Self {
        match precision {
            Precision::F32 => Self::pack::<Single>(precision, out, in_, w),
            Precision::Bf16 => Self::pack::<Bf16>(precision, out, in_, w),
        }
    }

    fn pack<F: Format>(precision: Precision, out: usize, in_: usize, w: &[f32]) -> Self {
        assert_eq!(w.len(), out * in_, "gemm: w is {out} x {in_}");
        let panels = out.div_ceil(F::COLUMNS);
        let mut words = vec![0.0; panels * in_.div_ceil(F::PACKED) * F::COLUMNS];
        let mut packed = Self { precision, in_, out, words: Vec::new() };
        let product = packed.product(0, w.as_ptr(), &mut [], Start::Zero);
        for panel in 0..panels {
            // SAFETY: w [out, in] is readable, `words` has room for all panels.
            unsafe { product.pack_panel::<F>(panel, words.as_mut_ptr()) };
        }
        packed.words = words;
        packed
    }

    /// Bytes of the packed weights.
    pub(crate) fn bytes(&self) -> usize {
        self.words.len() * size_of::<f32>()
    }

    /// `y [rows, out] = x [rows, in] · wᵀ`, added to a start.
    pub(crate) fn multiply(&self, rows: usize, x: &[f32], start: Start, y: &mut [f32]) {
        assert_eq!(x.len(), rows * self.in_, "gemm: x is {rows} x {}", self.in_);
        assert_eq!(y.len(), rows * self.out, "gemm: y is {rows} x {}", self.out);
        // B is packed: nobody reads it.
        let a = Strided::rows(x.as_ptr(), self.in_);
        let product = Product { a, ..self.product(rows, std::ptr::null(), y, start) };
        let packed = Some(Shared::from_pointer(self.words.as_ptr().cast_mut()));
        // SAFETY: the lengths were checked; the packed panels are only read.
        unsafe {
            match self.precision {
                Precision::F32 => product.run_tasks::<Single>(packed),
                Precision::Bf16 => product.run_tasks::<Bf16>(packed),
            }
        }
    }

    fn product<'a>(&self, m: usize, w: *const f32, y: &mut [f32], start: Start<'a>) -> Product<'a> {
        let b = Strided::rows(w, self.in_).t();
        let a = Strided::rows(std::ptr::null(), self.in_);
        let (k, n) = (self.in_, self.out);
        Product { m, n, k, scale: 1.0, a, b, c: Shared::new(y), c_row: n, start }
    }
}
