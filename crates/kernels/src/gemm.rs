//! Matrix products, after Goto and van de Geijn 2008 (<https://doi.org/10.1145/1356052.1356053>):
//! B in panels of columns, A in panels of rows, a tile of C in registers.
//!
//! Every element of C is summed over slices of `k` whose bounds depend on `k` alone, and inside a
//! slice one multiply-add at a time. So its bits depend neither on the threads nor on the other
//! rows and columns: a product of one row equals that row of a product of many.

mod bf16;
mod prepared;
mod scratch;
mod single;

use bf16::Bf16;
pub(crate) use prepared::{Left, Prepared, lay_out};
use scratch::{Use, with_scratch};
use single::Single;
#[cfg(target_arch = "x86_64")]
use single::Wide;

use crate::lanes::{FOUR, Lanes};
use crate::parallel::{Pieces, Shared, for_each};
use crate::{Precision, buffer};

/// Multiply-adds below which a product stays on its thread.
const SMALL: usize = 64 * 64 * 64;
/// Rows of a task, a multiple of every tile's: a slice of its A stays in L2.
const BLOCK: usize = 120;
/// Tasks that a product is cut into, if it is large enough.
const TASKS: usize = 8;
/// Columns of a task, at least: every task packs its own rows of A.
const WIDTH: usize = 192;

/// Numbers in which a product is done: how they are packed and multiplied. Sizes of packed
/// matrices are in words of 32 bits, one or two numbers each.
trait Format {
    /// Rows of a tile of C; divides [`BLOCK`].
    const ROWS: usize;
    /// Columns of a tile of C.
    const COLUMNS: usize;
    /// Longest slice of `k`: a panel of B stays in L1.
    const DEPTH: usize;
    /// Numbers in a word.
    const PACKED: usize;

    /// Words that a slice of `m` rows of A needs to be packed, 0 if it is read where it lies.
    fn room(m: usize, depth: usize, a: Strided) -> usize;

    /// Packs rows of A.
    ///
    /// # Safety
    /// `a [m, depth]` is readable, `packed` has the [`Format::room`].
    unsafe fn pack_a(m: usize, depth: usize, a: Strided, packed: *mut f32) -> Rows;

    /// Packs one panel of B, filled up with zeros.
    ///
    /// # Safety
    /// `b [depth, columns]` is readable, `columns <= COLUMNS`, `packed` has room for `COLUMNS`.
    unsafe fn pack_b(depth: usize, columns: usize, b: Strided, packed: *mut f32);

    /// The innermost loop for so many rows and all columns.
    fn kernel(rows: usize) -> Kernel;
}

/// `C[rows, COLUMNS] = scale·A·B`, plus the last argument, for one tile: `words` of depth, A, B's
/// panel, C and the distance of its rows, and what is added.
///
/// Unsafe: all of it must be in bounds; what is added has contiguous rows.
type Kernel = unsafe fn(usize, f32, Strided, *const f32, *mut f32, usize, Option<Strided>);

/// Rows of A as a kernel reads them: panels of a tile's rows, `panel` words apart.
#[derive(Clone, Copy)]
struct Rows {
    first: Strided,
    panel: usize,
}

impl Rows {
    /// Panel number `at`.
    fn panel(self, at: usize) -> Strided {
        Strided { at: self.first.at.wrapping_add(at * self.panel), ..self.first }
    }
}

/// `C[m,n] = op(A) op(B)`, or `C += ...` with `accumulate`; products of numbers in `precision`, their
/// sums in f32.
///
/// `a` is `[m,k]`, or stored `[k,m]` if `a_t`; `b` is `[k,n]`, or stored `[n,k]` if `b_t`.
pub fn gemm(
    precision: Precision,
    m: usize,
    n: usize,
    k: usize,
    a: &[f32],
    a_t: bool,
    b: &[f32],
    b_t: bool,
    c: &mut [f32],
    accumulate: bool,
) {
    let start = if accumulate { Start::Add } else { Start::Zero };
    gemm_from(precision, m, n, k, a, a_t, b, b_t, c, start);
}

/// What a product is added to.
#[derive(Clone, Copy)]
pub(crate) enum Start<'a> {
    /// Nothing: C is overwritten.
    Zero,
    /// C as it is.
    Add,
    /// A row `[n]`, the same for every row of C.
    Row(&'a [f32]),
}

/// [`gemm`] with a choice of what the product is added to.
pub(crate) fn gemm_from(
    precision: Precision,
    m: usize,
    n: usize,
    k: usize,
    a: &[f32],
    a_t: bool,
    b: &[f32],
    b_t: bool,
    c: &mut [f32],
    start: Start,
) {
    assert_eq!(a.len(), m * k, "gemm: a is {m} x {k}");
    assert_eq!(b.len(), k * n, "gemm: b is {k} x {n}");
    assert_eq!(c.len(), m * n, "gemm: c is {m} x {n}");
    if let Start::Row(row) = start {
        assert_eq!(row.len(), n, "gemm: a row of {n}");
    }
    let a =
        Strided { at: a.as_ptr(), row: if a_t { 1 } else { k }, column: if a_t { m } else { 1 } };
    let b =
        Strided { at: b.as_ptr(), row: if b_t { 1 } else { n }, column: if b_t { k } else { 1 } };
    let product = Product { m, n, k, scale: 1.0, a, b, c: Shared::new(c), c_row: n, start };
    // SAFETY: the lengths were checked against the strides above; `c` is borrowed alone.
    unsafe {
        match precision {
            #[cfg(target_arch = "x86_64")]
            Precision::F32 if Wide::fits(n) => product.run_anywhere::<Wide>(),
            Precision::F32 => product.run_anywhere::<Single>(),
            Precision::Bf16 => product.run_anywhere::<Bf16>(),
        }
    }
}

/// A matrix anywhere in memory: element `(i, j)` is `at[i·row + j·column]`.
#[derive(Clone, Copy)]
pub(crate) struct Strided {
    at: *const f32,
    row: usize,
    column: usize,
}

// SAFETY: only a pointer to read; whoever dereferences it states why it may.
unsafe impl Send for Strided {}
// SAFETY: as above.
unsafe impl Sync for Strided {}

impl Strided {
    /// Contiguous elements in a row, rows `row` apart.
    pub(crate) fn rows(at: *const f32, row: usize) -> Self {
        Self { at, row, column: 1 }
    }

    /// The transpose.
    pub(crate) fn t(self) -> Self {
        Self { at: self.at, row: self.column, column: self.row }
    }

    /// The matrix from element `(i, j)` on.
    fn from(self, i: usize, j: usize) -> Self {
        Self { at: self.at.wrapping_add(i * self.row + j * self.column), ..self }
    }
}

/// `C = scale·A·B` (or `C += ...`) on this thread; rows of `C` are `c_row` apart.
///
/// # Safety
/// `a [m,k]` and `b [k,n]` must be readable and `c [m,n]` writable by this thread alone.
pub(crate) unsafe fn gemm_strided(
    precision: Precision,
    m: usize,
    n: usize,
    k: usize,
    scale: f32,
    a: Strided,
    b: Strided,
    c: *mut f32,
    c_row: usize,
    accumulate: bool,
) {
    let start = if accumulate { Start::Add } else { Start::Zero };
    // SAFETY: promised by the caller.
    unsafe {
        let product = Product { m, n, k, scale, a, b, c: Shared::from_pointer(c), c_row, start };
        match precision {
            #[cfg(target_arch = "x86_64")]
            Precision::F32 if Wide::fits(n) => product.run::<Wide>(),
            Precision::F32 => product.run::<Single>(),
            Precision::Bf16 => product.run::<Bf16>(),
        }
    }
}

/// `C = A·B` (or `C += ...`) on all threads, of a B that is nowhere as a whole: `lay_out(columns, to)` writes some of
/// its columns as `[k, to.len() / k]`, zeros behind the last one.
///
/// # Safety
/// `a [m,k]` must be readable and `c [m,n]` writable by nobody else.
pub(crate) unsafe fn gemm_laid_out(
    precision: Precision,
    m: usize,
    n: usize,
    k: usize,
    a: Strided,
    lay_out: &LayOut<'_>,
    c: *mut f32,
    c_row: usize,
    accumulate: bool,
) {
    let start = if accumulate { Start::Add } else { Start::Zero };
    let (b, c) = (Strided::rows(std::ptr::null(), 0), Shared::from_pointer(c));
    let product = Product { m, n, k, scale: 1.0, a, b, c, c_row, start };
    // SAFETY: promised by the caller.
    unsafe {
        match precision {
            #[cfg(target_arch = "x86_64")]
            Precision::F32 if Wide::fits(n) => product.run_laid_out::<Wide>(lay_out),
            Precision::F32 => product.run_laid_out::<Single>(lay_out),
            Precision::Bf16 => product.run_laid_out::<Bf16>(lay_out),
        }
    }
}

/// Writes some columns of a matrix: see [`gemm_laid_out`].
pub(crate) type LayOut<'a> = dyn Fn(std::ops::Range<usize>, &mut [f32]) + Sync + 'a;

/// One product to be done.
#[derive(Clone, Copy)]
struct Product<'a> {
    m: usize,
    n: usize,
    k: usize,
    scale: f32,
    a: Strided,
    b: Strided,
    c: Shared,
    c_row: usize,
    start: Start<'a>,
}

impl Product<'_> {
    /// Length of a slice of `k`: whole words, slices of one length up to rounding, at most
    /// [`Format::DEPTH`].
    fn depth<F: Format>(&self) -> usize {
        let slices = self.k.div_ceil(F::DEPTH).max(1);
        self.k.div_ceil(slices).next_multiple_of(F::PACKED).max(F::PACKED)
    }

    /// # Safety
    /// As [`gemm_strided`], with all threads for the one.
    unsafe fn run_anywhere<F: Format>(self) {
        // SAFETY: promised by the caller.
        unsafe {
            if self.m * self.n * self.k <= SMALL {
                self.run::<F>();
            } else {
                self.run_on_all_threads::<F>();
            }
        }
    }

    /// # Safety
    /// As [`gemm_strided`].
    unsafe fn run<F: Format>(self) {
        // SAFETY: promised by the caller.
        unsafe {
            self.prepare();
            if self.m <= BLOCK {
                return self.block::<F>(None);
            }
            with_scratch(
                Use::SharedB,
                self.n.div_ceil(F::COLUMNS) * self.panel_words::<F>(),
                |packed| {
                    for panel in 0..self.n.div_ceil(F::COLUMNS) {
                        self.pack_panel::<F>(panel, packed);
                    }
                    for first in (0..self.m).step_by(BLOCK) {
                        self.part(first..(first + BLOCK).min(self.m), 0..self.n)
                            .block::<F>(Some((packed, 0)));
                    }
                },
            );
        }
    }

    /// # Safety
    /// As [`gemm_strided`], with all threads for the one.
    unsafe fn run_on_all_threads<F: Format>(self) {
        if self.m <= BLOCK {
            // SAFETY: promised by the caller.
            return unsafe { self.run_tasks::<F>(None) };
        }
        let panels = self.n.div_ceil(F::COLUMNS);
        with_scratch(Use::SharedB, panels * self.panel_words::<F>(), |packed| {
            let shared = Shared::from_pointer(packed);
            // SAFETY: panels are disjoint in `packed`, and only read after this.
            unsafe {
                for_each(panels, usize::MAX, |panel| self.pack_panel::<F>(panel, shared.at(0)));
                self.run_tasks::<F>(Some(shared));
            }
        });
    }

    /// # Safety
    /// As [`gemm_laid_out`].
    unsafe fn run_laid_out<F: Format>(self, lay_out: &LayOut<'_>) {
        const ALIGN: usize = 16;
        let (panels, words) = (self.n.div_ceil(F::COLUMNS), self.panel_words::<F>());
        let mut packed = buffer(panels * words + ALIGN);
        // Reads of a whole line of the cache should be of one.
        let first = packed.as_ptr().align_offset(ALIGN * size_of::<f32>()).min(ALIGN);
        let packed = &mut packed[first..first + panels * words];
        let pieces = Pieces::new(packed, words);
        for_each(panels, usize::MAX, |panel| {
            let columns = panel * F::COLUMNS..((panel + 1) * F::COLUMNS).min(self.n);
            // SAFETY: every task has its own panel, and so its own piece.
            let to = unsafe { pieces.get_mut(panel) };
            if F::PACKED == 1 {
                return lay_out(columns, to);
            }
            let mut wide = buffer(self.k * F::COLUMNS);
            lay_out(columns, &mut wide);
            let b = Strided::rows(wide.as_ptr(), F::COLUMNS);
            // SAFETY: `wide` is `[k, COLUMNS]`, a panel has room for as many.
            unsafe { F::pack_b(self.k, F::COLUMNS, b, to.as_mut_ptr()) };
        });
        // SAFETY: promised by the caller.
        unsafe { self.run_tasks::<F>(Some(Shared::new(packed))) };
    }

    /// All tasks on all threads; `packed` holds all of B's panels.
    ///
    /// # Safety
    /// As [`gemm_strided`], with all threads for the one.
    unsafe fn run_tasks<F: Format>(self, packed: Option<Shared>) {
        let tiles = self.m.div_ceil(F::ROWS);
        // As many for every thread.
        let blocks = match self.m.div_ceil(BLOCK).max(1) {
            few @ 1..=2 => few,
            many => many.next_multiple_of(4),
        };
        // Few rows: cut the columns too.
        let width = self.n.div_ceil(TASKS.div_ceil(blocks)).next_multiple_of(F::COLUMNS).max(WIDTH);
        let columns = self.n.div_ceil(width);
        let task = |task: usize| {
            let (block, column) = (task / columns, task % columns);
            let edge = |block: usize| (tiles * block / blocks * F::ROWS).min(self.m);
            let rows = edge(block)..edge(block + 1);
            let part = self.part(rows, column * width..((column + 1) * width).min(self.n));
            // SAFETY: parts are disjoint in C; the rest is promised by the caller.
            unsafe { part.prepare() };
            (part, column * width / F::COLUMNS)
        };
        for_each(blocks * columns, usize::MAX, |i| {
            let (part, panel) = task(i);
            // SAFETY: as above; `packed` is only read.
            unsafe { part.block::<F>(packed.map(|packed| (packed.at(0), panel))) }
        });
    }

    /// The same product of some rows and columns of C.
    fn part(self, rows: std::ops::Range<usize>, columns: std::ops::Range<usize>) -> Self {
        let start = match self.start {
            Start::Row(row) => Start::Row(&row[columns.clone()]),
            other => other,
        };
        Self {
            m: rows.len(),
            n: columns.len(),
            a: self.a.from(rows.start, 0),
            b: self.b.from(0, columns.start),
            c: self.c.from(rows.start * self.c_row + columns.start),
            start,
            ..self
        }
    }

    /// Writes what the product is added to where there are no products.
    ///
    /// # Safety
    /// As [`gemm_strided`].
    unsafe fn prepare(&self) {
        if self.k > 0 {
            return;
        }
        for i in 0..self.m {
            let c = self.c.from(i * self.c_row);
            // SAFETY: row `i` of C, [n].
            unsafe {
                match self.start {
                    Start::Row(row) => c.at(0).copy_from_nonoverlapping(row.as_ptr(), self.n),
                    Start::Zero => c.at(0).write_bytes(0, self.n),
                    Start::Add => {}
                }
            }
        }
    }

    /// Words of one packed panel of B, all slices of `k`.
    fn panel_words<F: Format>(&self) -> usize {
        self.k.div_ceil(F::PACKED) * F::COLUMNS
    }

    /// Packs one panel of B, all slices of `k`, behind the panels before it.
    ///
    /// # Safety
    /// `packed` has room for all panels.
    unsafe fn pack_panel<F: Format>(&self, panel: usize, packed: *mut f32) {
        let columns = (self.n - panel * F::COLUMNS).min(F::COLUMNS);
        let b = self.b.from(0, panel * F::COLUMNS);
        // SAFETY: promised by the caller.
        unsafe { F::pack_b(self.k, columns, b, packed.add(panel * self.panel_words::<F>())) };
    }

    /// At most [`BLOCK`] rows on this thread. `packed` holds B's panels, ours from the given one
    /// on; without it each panel is packed when its turn comes.
    ///
    /// # Safety
    /// As [`gemm_strided`].
    unsafe fn block<F: Format>(&self, packed: Option<(*mut f32, usize)>) {
        let depth = self.depth::<F>();
        let room = F::room(self.m, depth, self.a);
        with_scratch(Use::Own, room + depth / F::PACKED * F::COLUMNS, |scratch| {
            for first in (0..self.k).step_by(depth) {
                let depth = depth.min(self.k - first);
                let start = if first > 0 { Start::Add } else { self.start };
                // SAFETY: the scratch holds the packed rows of A and then one panel of B.
                unsafe {
                    let a = F::pack_a(self.m, depth, self.a.from(0, first), scratch);
                    for panel in 0..self.n.div_ceil(F::COLUMNS) {
                        let columns = (self.n - panel * F::COLUMNS).min(F::COLUMNS);
                        let b = match packed {
                            Some((packed, from)) => packed.add(
                                (from + panel) * self.panel_words::<F>()
                                    + first / F::PACKED * F::COLUMNS,
                            ),
                            None => {
                                let b = scratch.add(room);
                                F::pack_b(
                                    depth,
                                    columns,
                                    self.b.from(first, panel * F::COLUMNS),
                                    b,
                                );
                                b
                            }
                        };
                        self.panel::<F>(depth, a, b, panel * F::COLUMNS, columns, start);
                    }
                }
            }
        });
    }

    /// All rows of one panel of columns, over one slice of `k`.
    ///
    /// # Safety
    /// As [`gemm_strided`]; `a` and `b` hold what [`Product::block`] packed.
    unsafe fn panel<F: Format>(
        &self,
        depth: usize,
        a: Rows,
        b: *const f32,
        column: usize,
        columns: usize,
        start: Start,
    ) {
        let words = depth.div_ceil(F::PACKED);
        for row in (0..self.m).step_by(F::ROWS) {
            let rows = (self.m - row).min(F::ROWS);
            let (run, a) = (F::kernel(rows), a.panel(row / F::ROWS));
            // SAFETY: promised by the caller.
            unsafe {
                let c = self.c.at(row * self.c_row + column);
                let plus = match start {
                    Start::Zero => None,
                    Start::Add => Some(Strided::rows(c, self.c_row)),
                    Start::Row(row) => Some(Strided::rows(row.as_ptr().add(column), 0)),
                };
                if columns == F::COLUMNS {
                    run(words, self.scale, a, b, c, self.c_row, plus);
                } else {
                    let mut edge = [0.0; EDGE];
                    run(words, self.scale, a, b, edge.as_mut_ptr(), F::COLUMNS, None);
                    for i in 0..rows {
                        for j in 0..columns {
                            let sum = edge[i * F::COLUMNS + j];
                            let plus = plus.map(|plus| *plus.from(i, j).at);
                            *c.add(i * self.c_row + j) = plus.map_or(sum, |plus| plus + sum);
                        }
                    }
                }
            }
        }
    }
}

/// The way of four lanes out of a tile's sums: `C = scale·sums`, plus what is added.
///
/// # Safety
/// `c` has as many rows and columns as `sums`, its rows `c_row` apart; so has `plus`.
#[inline(always)]
unsafe fn write<L: Lanes, const N: usize>(
    sums: &[[L::Floats; N]],
    scale: f32,
    c: *mut f32,
    c_row: usize,
    plus: Option<Strided>,
) {
    let scale = L::splat(scale);
    for (i, sums) in sums.iter().enumerate() {
        for (j, &sum) in sums.iter().enumerate() {
            let mut sum = L::multiply(sum, scale);
            // SAFETY: promised by the caller.
            unsafe {
                if let Some(plus) = plus {
                    let plus = plus.at.add(i * plus.row + j * FOUR);
                    sum = L::add(L::load(&*plus.cast()), sum);
                }
                c.add(i * c_row + j * FOUR).cast::<[f32; FOUR]>().write(L::array(sum));
            }
        }
    }
}

/// Numbers in the largest tile.
const EDGE: usize = Bf16::ROWS * Bf16::COLUMNS;

/// Asks for `n` numbers from an address on, which need not exist.
#[inline]
fn prefetch(at: *const f32, n: usize) {
    #[cfg(target_arch = "x86_64")]
    for i in (0..n).step_by(16) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that the program could see, and cannot fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(i).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, n);
}

#[cfg(test)]
mod tests;
