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

    /// Whether activations are to be rounded with [`round`] first.
    pub(crate) fn is_rounded(&self) -> bool {
        self.layout == Layout::Bf16
    }

    /// `y = x·wᵀ` for some rows of `x [.., in]`, rounded if it has to be, and some outputs, whole
    /// panels but for the last ones, added to a start; on this thread. Rows of `y` are `y_row` apart.
    ///
    /// # Safety
    /// `y` is writable for the rows, and readable if it is added to.
    pub(crate) unsafe fn region(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        x: &[f32],
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
        x: &[f32],
        start: Start,
        y: *mut f32,
        y_row: usize,
    ) {
        let x_row = self.in_.div_ceil(F::PACKED);
        assert!(x.len() >= rows.end * x_row && columns.end <= self.out, "gemm: a region");
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

/// Rows of `x [rows, in]` as words of two bfloat16.
pub(crate) fn round(rows: usize, in_: usize, x: &[f32]) -> Vec<f32> {
    assert_eq!(x.len(), rows * in_, "gemm: x is {rows} x {in_}");
    let row = in_.div_ceil(2);
    let mut words = crate::buffer(rows * row);
    let to = Shared::new(&mut words);
    let task = crate::parallel::rows_per_task(in_);
    crate::parallel::for_each(rows.div_ceil(task), x.len(), |n| {
        for i in n * task..((n + 1) * task).min(rows) {
            // SAFETY: row i of x and of the words; a row is written by one task.
            unsafe { bf16::pack_run(in_, x.as_ptr().add(i * in_), to.at(i * row)) };
        }
    });
    words
}
