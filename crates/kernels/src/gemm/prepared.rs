//! A right side that is packed once and multiplied often.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::Wide;
use super::{Bf16, Format, Product, Rows, Single, Start, Strided, bf16};
use crate::Precision;
use crate::memory::large;
use crate::parallel::Shared;

/// `Wᵀ` of weights `[out, in]`, in panels.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    layout: Layout,
    in_: usize,
    out: usize,
    /// One panel after the other.
    words: Vec<f32>,
}

/// Which tile the panels are for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Layout {
    Single,
    #[cfg(target_arch = "x86_64")]
    Wide,
    Bf16,
}

/// Calls a generic function with the format of a layout.
macro_rules! with_format {
    ($layout:expr, $f:ident => $call:expr) => {
        match $layout {
            Layout::Single => {
                type $f = Single;
                $call
            }
            #[cfg(target_arch = "x86_64")]
            Layout::Wide => {
                type $f = Wide;
                $call
            }
            Layout::Bf16 => {
                type $f = Bf16;
                $call
            }
        }
    };
}

impl Prepared {
    /// Packs `w [out, in]`.
    pub(crate) fn new(precision: Precision, out: usize, in_: usize, w: &[f32]) -> Self {
        assert_eq!(w.len(), out * in_, "gemm: w is {out} x {in_}");
        let layout = match precision {
            #[cfg(target_arch = "x86_64")]
            Precision::F32 if Wide::fits(out) => Layout::Wide,
            Precision::F32 => Layout::Single,
            Precision::Bf16 => Layout::Bf16,
        };
        let words = with_format!(layout, F => pack::<F>(out, in_, w));
        Self { layout, in_, out, words }
    }

    /// Bytes of the packed weights.
    pub(crate) fn bytes(&self) -> usize {
        self.words.len() * size_of::<f32>()
    }

    /// Outputs of a panel.
    pub(crate) fn panel(&self) -> usize {
        with_format!(self.layout, F => F::COLUMNS)
    }

    /// The numbers that it multiplies.
    pub(crate) fn precision(&self) -> Precision {
        if self.layout == Layout::Bf16 { Precision::Bf16 } else { Precision::F32 }
    }

    /// `y = x·wᵀ` for some rows of `x [.., in]` and some outputs, whole panels but for the last ones,
    /// added to a start; on this thread. Rows of `y` are `y_row` apart.
    ///
    /// # Safety
    /// `y` is writable for the rows, and readable if it is added to.
    pub(crate) unsafe fn region(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        x: Left,
        start: Start,
        y: *mut f32,
        y_row: usize,
    ) {
        // SAFETY: promised by the caller.
        unsafe {
            with_format!(self.layout, F => self.region_of::<F>(rows, columns, x, start, y, y_row));
        }
    }

    /// # Safety
    /// As [`Prepared::region`], with the format of the layout.
    unsafe fn region_of<F: Format>(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        Left { words: x, row: x_row }: Left,
        start: Start,
        y: *mut f32,
        y_row: usize,
    ) {
        let in_words = self.in_.div_ceil(F::PACKED);
        assert!(in_words <= x_row && rows.end * x_row <= x.len(), "gemm: rows of a region");
        assert!(columns.end <= self.out, "gemm: columns of a region");
        let a = Strided::rows(x.as_ptr(), x_row).from(rows.start, 0);
        let (m, n, k) = (rows.len(), columns.len(), self.in_);
        let (b, c) = (Strided::rows(std::ptr::null(), 0), Shared::from_pointer(y));
        let product = Product { m, n, k, scale: 1.0, a, b, c, c_row: y_row, start };
        let (depth, words) = (product.depth::<F>(), product.panel_words::<F>());
        // SAFETY: x has the rows; y is promised by the caller; the packed panels are only read.
        unsafe {
            product.prepare();
            for first in (0..k).step_by(depth) {
                let start = if first > 0 { Start::Add } else { start };
                let a = Rows { first: a.from(0, first / F::PACKED), panel: F::ROWS * x_row };
                for panel in 0..n.div_ceil(F::COLUMNS) {
                    let at = (columns.start / F::COLUMNS + panel) * words;
                    let b = self.words.as_ptr().add(at + first / F::PACKED * F::COLUMNS);
                    let filled = (n - panel * F::COLUMNS).min(F::COLUMNS);
                    let depth = depth.min(k - first);
                    product.panel::<F>(depth, a, b, panel * F::COLUMNS, filled, start);
                }
            }
        }
    }
}

fn pack<F: Format>(out: usize, in_: usize, w: &[f32]) -> Vec<f32> {
    let panels = out.div_ceil(F::COLUMNS);
    let mut words = large(0.0, panels * in_.div_ceil(F::PACKED) * F::COLUMNS);
    let (a, c) = (Strided::rows(std::ptr::null(), in_), Shared::from_pointer(std::ptr::null_mut()));
    let b = Strided::rows(w.as_ptr(), in_).t();
    let product =
        Product { m: 0, n: out, k: in_, scale: 1.0, a, b, c, c_row: out, start: Start::Zero };
    for panel in 0..panels {
        // SAFETY: w [out, in] is readable, `words` has room for all panels.
        unsafe { product.pack_panel::<F>(panel, words.as_mut_ptr()) };
    }
    words
}

/// Rows of activations as a product reads them: words `row` apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left<'a> {
    pub(crate) words: &'a [f32],
    pub(crate) row: usize,
}

/// `x [rows, in]` as words for [`Left`], and the distance of their rows; none where `x` is good as it
/// is.
///
/// bfloat16 are two numbers in a word. Rows whose distance is a multiple of 4 KiB would all want the
/// same few places of L1: they are moved apart.
pub(crate) fn lay_out(
    precision: Precision,
    rows: usize,
    in_: usize,
    x: &[f32],
) -> Option<(Vec<f32>, usize)> {
    assert_eq!(x.len(), rows * in_, "gemm: x is {rows} x {in_}");
    let words = in_.div_ceil(if precision == Precision::Bf16 { 2 } else { 1 });
    let row = if words.is_multiple_of(1024) && rows > FEW { words + 16 } else { words };
    if precision == Precision::F32 && row == words {
        return None;
    }
    let mut laid_out = crate::buffer(rows * row);
    let to = Shared::new(&mut laid_out);
    let task = crate::parallel::rows_per_task(in_);
    crate::parallel::for_each(rows.div_ceil(task), x.len(), |n| {
        for i in n * task..((n + 1) * task).min(rows) {
            let x = &x[i * in_..(i + 1) * in_];
            // SAFETY: row i; a row is written by one task, and what is between rows is not read.
            unsafe {
                match precision {
                    Precision::F32 => to.at(i * row).copy_from_nonoverlapping(x.as_ptr(), in_),
                    Precision::Bf16 => bf16::pack_run(in_, x.as_ptr(), to.at(i * row)),
                }
            }
        }
    });
    Some((laid_out, row))
}

/// Rows that L1 holds even if all want the same places.
const FEW: usize = 8;
