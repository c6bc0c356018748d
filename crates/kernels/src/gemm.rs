//! Matrix products, after Goto and van de Geijn 2008 (<https://doi.org/10.1145/1356052.1356053>):
//! B in panels of 16 columns, A in panels of 6 rows, a 6 x 16 tile of C in registers.
//!
//! Every element of C is summed over slices of `k` whose bounds depend on `k` alone, and inside a
//! slice one multiply-add at a time. So its bits depend neither on the threads nor on the other
//! rows and columns: a product of one row equals that row of a product of many.

mod pack;
mod tile;

use pack::{pack_a, pack_b};
use tile::{COLUMNS, ROWS, tile};

use crate::parallel::Shared;

/// Multiply-adds below which a product stays on its thread.
const SMALL: usize = 64 * 64 * 64;
/// Longest slice of `k`: a panel of B stays in L1.
const DEPTH: usize = 320;
/// Rows of a task: a slice of its A stays in L2.
const BLOCK: usize = 20 * ROWS;
/// Elements up to which a transposed A is read where it lies; one whose rows are contiguous
/// always is.
const DIRECT: usize = 16 * 1024;
/// Tasks that a product is cut into, if it is large enough.
const TASKS: usize = 8;
/// Columns of a task, at least: every task packs its own rows of A.
const WIDTH: usize = 192;

/// `C[m,n] = op(A) op(B)`, or `C += ...` with `accumulate`.
///
/// `a` is `[m,k]`, or stored `[k,m]` if `a_t`; `b` is `[k,n]`, or stored `[n,k]` if `b_t`.
pub fn gemm(
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
    gemm_from(m, n, k, a, a_t, b, b_t, c, start);
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
    unsafe { if m * n * k <= SMALL { product.run() } else { product.run_on_all_threads() } }
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
    unsafe { Product { m, n, k, scale, a, b, c: Shared::from_pointer(c), c_row, start }.run() }
}

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
    /// Length of a slice of `k`: slices of one length, up to rounding, at most [`DEPTH`].
    fn depth(&self) -> usize {
        self.k.div_ceil(self.k.div_ceil(DEPTH).max(1)).max(1)
    }

    /// # Safety
    /// As [`gemm_strided`].
    unsafe fn run(self) {
        // SAFETY: promised by the caller.
        unsafe {
            self.prepare();
            if self.m <= BLOCK {
                return self.block(None);
            }
            pack::with_scratch(
                pack::Use::SharedB,
                self.k * self.n.next_multiple_of(COLUMNS),
                |packed| {
                    for panel in 0..self.n.div_ceil(COLUMNS) {
                        self.pack_panel(panel, packed);
                    }
                    for first in (0..self.m).step_by(BLOCK) {
                        self.part(first..(first + BLOCK).min(self.m), 0..self.n)
                            .block(Some((packed, 0)));
                    }
                },
            );
        }
    }

    /// # Safety
    /// As [`gemm_strided`], with all threads for the one.
    unsafe fn run_on_all_threads(self) {
        let blocks = self.m.div_ceil(BLOCK).max(1);
        // Few rows: cut the columns too.
        let width = self.n.div_ceil(TASKS.div_ceil(blocks)).next_multiple_of(COLUMNS).max(WIDTH);
        let columns = self.n.div_ceil(width);
        let task = |task: usize| {
            let (block, column) = (task / columns, task % columns);
            let rows = block * BLOCK..((block + 1) * BLOCK).min(self.m);
            let part = self.part(rows, column * width..((column + 1) * width).min(self.n));
            // SAFETY: parts are disjoint in C; the rest is promised by the caller.
            unsafe { part.prepare() };
            (part, column * width / COLUMNS)
        };
        if blocks == 1 {
            // SAFETY: as above.
            return for_each(columns, |i| unsafe { task(i).0.block(None) });
        }
        pack::with_scratch(
            pack::Use::SharedB,
            self.k * self.n.next_multiple_of(COLUMNS),
            |packed| {
                let shared = Shared::from_pointer(packed);
                // SAFETY: panels are disjoint in `packed`.
                for_each(self.n.div_ceil(COLUMNS), |panel| unsafe {
                    self.pack_panel(panel, shared.at(0))
                });
                for_each(blocks * columns, |i| {
                    let (part, panel) = task(i);
                    // SAFETY: as above; `packed` is only read from here on.
                    unsafe { part.block(Some((shared.at(0), panel))) }
                });
            },
        );
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

    /// Writes what the product is added to, where the first slice of `k` does not do it.
    ///
    /// # Safety
    /// As [`gemm_strided`].
    unsafe fn prepare(&self) {
        for i in 0..self.m {
            // SAFETY: row `i` of C, [n].
            unsafe {
                match self.start {
                    Start::Row(row) => {
                        self.c.at(i * self.c_row).copy_from_nonoverlapping(row.as_ptr(), self.n)
                    }
                    Start::Zero if self.k == 0 => self.c.at(i * self.c_row).write_bytes(0, self.n),
                    _ => return,
                }
            }
        }
    }

    /// Packs one panel of B, all slices of `k`, behind the panels before it.
    ///
    /// # Safety
    /// `packed` has room for all panels.
    unsafe fn pack_panel(&self, panel: usize, packed: *mut f32) {
        let columns = (self.n - panel * COLUMNS).min(COLUMNS);
        // SAFETY: promised by the caller.
        unsafe {
            pack_b(
                self.k,
                columns,
                self.b.from(0, panel * COLUMNS),
                packed.add(panel * COLUMNS * self.k),
            );
        }
    }

    /// At most [`BLOCK`] rows on this thread. `packed` holds B's panels, ours from the given one
    /// on; without it each panel is packed when its turn comes.
    ///
    /// # Safety
    /// As [`gemm_strided`].
    unsafe fn block(&self, packed: Option<(*mut f32, usize)>) {
        let depth = self.depth();
        let direct = self.a.column == 1 || self.m * self.k <= DIRECT;
        let size_a = if direct { 0 } else { self.m.next_multiple_of(ROWS) * depth };
        pack::with_scratch(pack::Use::Own, size_a + depth * COLUMNS, |scratch| {
            for first in (0..self.k).step_by(depth) {
                let depth = depth.min(self.k - first);
                let add = first > 0 || !matches!(self.start, Start::Zero);
                // SAFETY: the scratch holds the packed rows of A and then one panel of B.
                unsafe {
                    let a = if direct { None } else { Some(scratch.cast_const()) };
                    if !direct {
                        pack_a(self.m, depth, self.a.from(0, first), scratch);
                    }
                    for panel in 0..self.n.div_ceil(COLUMNS) {
                        let columns = (self.n - panel * COLUMNS).min(COLUMNS);
                        let b = match packed {
                            Some((packed, from)) => {
                                packed.add((from + panel) * COLUMNS * self.k + first * COLUMNS)
                            }
                            None => {
                                let b = scratch.add(size_a);
                                pack_b(depth, columns, self.b.from(first, panel * COLUMNS), b);
                                b
                            }
                        };
                        self.panel(first, depth, a, b, panel * COLUMNS, columns, add);
                    }
                }
            }
        });
    }

    /// All rows of one panel of columns, over one slice of `k`.
    ///
    /// # Safety
    /// As [`gemm_strided`]; `a` and `b` hold what [`Product::block`] packed.
    unsafe fn panel(
        &self,
        first: usize,
        depth: usize,
        a: Option<*const f32>,
        b: *const f32,
        column: usize,
        columns: usize,
        add: bool,
    ) {
        for row in (0..self.m).step_by(ROWS) {
            let rows = (self.m - row).min(ROWS);
            let a = match a {
                Some(a) => Strided { at: a.wrapping_add(row * depth), row: 1, column: ROWS },
                None => self.a.from(row, first),
            };
            // SAFETY: promised by the caller.
            unsafe {
                tile(
                    depth,
                    self.scale,
                    a,
                    b,
                    self.c.at(row * self.c_row + column),
                    self.c_row,
                    rows,
                    columns,
                    add,
                );
            }
        }
    }
}

/// Runs `task(0..n)` on all threads, one at a time each.
fn for_each(n: usize, task: impl Fn(usize) + Sync + Send) {
    use rayon::prelude::*;
    (0..n).into_par_iter().with_max_len(1).for_each(task);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{assert_close, assert_same_on_all_pools, random};

    fn naive(m: usize, n: usize, k: usize, a: &[f32], a_t: bool, b: &[f32], b_t: bool) -> Vec<f64> {
        let at = |i: usize, j: usize| f64::from(if a_t { a[j * m + i] } else { a[i * k + j] });
        let bt = |i: usize, j: usize| f64::from(if b_t { b[j * k + i] } else { b[i * n + j] });
        (0..m * n).map(|ij| (0..k).map(|l| at(ij / n, l) * bt(l, ij % n)).sum()).collect()
    }

    fn compare(m: usize, n: usize, k: usize, a_t: bool, b_t: bool, accumulate: bool) {
        let (a, b, mut c) = (random(1, m * k), random(2, k * n), random(3, m * n));
        let mut want = naive(m, n, k, &a, a_t, &b, b_t);
        if accumulate {
            want.iter_mut().zip(&c).for_each(|(want, &c)| *want += f64::from(c));
        } else {
            // What was there must not be read.
            c.fill(f32::NAN);
        }
        gemm(m, n, k, &a, a_t, &b, b_t, &mut c, accumulate);
        assert_close(&c, &want, 1e-6 * (k as f64).sqrt().max(4.0) * 2.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn small_shapes_match_f64(m in 0..40_usize, n in 0..70_usize, k in 0..50_usize, a_t: bool, b_t: bool, accumulate: bool) {
            compare(m, n, k, a_t, b_t, accumulate);
        }
    }

    #[test]
    fn large_shapes_match_f64() {
        for (m, n, k) in
            [(130, 70, 600), (1, 300, 1100), (300, 1, 257), (201, 33, 129), (97, 530, 64)]
        {
            for flags in 0..8 {
                compare(m, n, k, flags & 1 > 0, flags & 2 > 0, flags & 4 > 0);
            }
        }
    }

    #[test]
    fn a_row_alone_has_the_bits_it_has_among_others() {
        let (m, n, k) = (250, 100, 700);
        let (a, b) = (random(1, m * k), random(2, k * n));
        let (mut all, mut one) = (vec![0.0; m * n], vec![0.0; n]);
        gemm(m, n, k, &a, false, &b, true, &mut all, false);
        for row in [0, 5, 123, 249] {
            gemm(1, n, k, &a[row * k..(row + 1) * k], false, &b, true, &mut one, false);
            assert_eq!(one, all[row * n..(row + 1) * n]);
        }
    }

    #[test]
    fn portable_tiles_have_the_same_bits() {
        for (m, n, k) in [(5, 17, 9), (13, 33, 40), (6, 16, 350)] {
            let (a, b, c) = (random(1, m * k), random(2, k * n), random(3, m * n));
            crate::testing::assert_same_portably(|| {
                let mut c = c.clone();
                gemm(m, n, k, &a, false, &b, true, &mut c, true);
                c
            });
        }
    }

    #[test]
    fn threads_do_not_change_bits() {
        for (m, n, k) in [
            (200, 300, 700),
            (1, 3000, 100),
            (64, 64, 5000),
            (500, 7, 90),
            (1000, 1, 300),
            (259, 133, 65),
        ] {
            for flags in 0..4 {
                let (a, b) = (random(1, m * k), random(2, k * n));
                assert_same_on_all_pools(|| {
                    let mut c = vec![0.0; m * n];
                    gemm(m, n, k, &a, flags & 1 > 0, &b, flags & 2 > 0, &mut c, false);
                    c
                });
            }
        }
    }
}
