//! Products cut into tasks: some rows and some outputs of one product each.

use std::ops::Range;

use super::{Packed, Product, Then, Weights, blocks, int8};
use crate::activation::{gelu_in_place, swiglu_in_place};
use crate::buffer;
use crate::gemm::{Left, Prepared, Start, lay_out};
use crate::lanes::{FOUR, Word};
use crate::parallel::{Shared, for_each};
use crate::simd::vectorised;

/// Outputs of a tile of integers, and of a panel of their weights.
pub(super) const COLUMNS: usize = 32;
/// Rows of the largest tile, and a multiple of all.
const ROWS: usize = 12;
/// Rows of a task: their activations stay in L2.
const BLOCK: usize = 96;
/// Tasks that a product is cut into, if it is large enough: no thread waits long for the last one.
const TASKS: usize = 64;
/// Multiply-adds of a task, at least: some microseconds of weights that come from memory one after
/// the other, or the processor's prefetching would begin anew all the time.
const SMALL: usize = 1 << 17;

/// A tile's numbers.
pub(super) type Tile = [[f32; COLUMNS]];

/// Words of integers of all outputs of a panel.
pub(super) type Row = [Word<u8>; COLUMNS];

/// Number `n` of what lanes take at a time of all outputs of a panel.
#[inline(always)]
pub(super) fn four<T>(row: &[T; COLUMNS], n: usize) -> &[T; FOUR] {
    &row.as_chunks().0[n]
}

/// The activations in the forms that the weights want.
struct Activations<'a> {
    plain: &'a [f32],
    /// As f32 and as bfloat16.
    dense: [Option<(Vec<f32>, usize)>; 2],
    rows: Option<int8::Rows>,
    blocks: Option<blocks::Rows>,
}

/// One product's share of the work.
struct Job<'a> {
    product: Product<'a>,
    /// Tasks along the rows and along the outputs.
    grid: [usize; 2],
    /// Outputs of a task.
    width: usize,
    /// `[rows, out]`.
    y: Shared,
}

/// All `products` of `x [rows, in]`, written one after the other to `y` or added to it.
///
/// # Safety
/// `y` has room for `[rows, out]` of every product; what is added to must be there.
pub(super) unsafe fn run(products: &[Product], rows: usize, x: &[f32], y: *mut f32, add: bool) {
    let mut x = Activations { plain: x, dense: [None, None], rows: None, blocks: None };
    let (mut jobs, mut at) = (Vec::with_capacity(products.len()), Shared::from_pointer(y));
    for product in products {
        check(product, rows, x.plain);
        x.prepare(product.weights, rows);
        if let Then::Gate(up) = product.then {
            x.prepare(up, rows);
        }
        jobs.push(Job::new(*product, rows, at));
        at = at.from(rows * product.weights.out);
    }
    let tasks = jobs.iter().map(|job| job.grid[0] * job.grid[1]).sum();
    for_each(tasks, usize::MAX, |task| {
        let mut task = task;
        for job in &jobs {
            let own = job.grid[0] * job.grid[1];
            if task < own {
                // SAFETY: promised by the caller; tasks write disjoint parts.
                return unsafe { job.run(task, rows, &x, add) };
            }
            task -= own;
        }
    });
}

fn check(product: &Product, rows: usize, x: &[f32]) {
    let Packed { in_, out, .. } = *product.weights;
    assert_eq!(x.len(), rows * in_, "packed: x is {rows} x {in_}");
    assert!(product.bias.is_none_or(|bias| bias.len() == out), "packed: bias of {out}");
    if let Then::Gate(up) = product.then {
        assert!(product.weights.pairs_with(up), "packed: gate and up");
    }
}

impl Activations<'_> {
    /// Rounds them, unless that is done.
    fn prepare(&mut self, weights: &Packed, rows: usize) {
        let (x, in_) = (self.plain, weights.in_);
        match &weights.weights {
            Weights::Dense(dense) => {
                let precision = dense.precision();
                let laid_out = &mut self.dense[precision as usize];
                if laid_out.is_none() {
                    *laid_out = lay_out(precision, rows, in_, x);
                }
            }
            Weights::Int8(_) => {
                self.rows.get_or_insert_with(|| int8::Rows::new(rows, in_, x));
            }
            Weights::Blocks(_) | Weights::K(_) => {
                self.blocks.get_or_insert_with(|| blocks::Rows::new(rows, in_, x));
            }
        }
    }
}

impl Activations<'_> {
    /// Their rows for a dense product.
    fn left(&self, dense: &Prepared, in_: usize) -> Left<'_> {
        match &self.dense[dense.precision() as usize] {
            Some((words, row)) => Left { words, row: *row },
            None => Left { words: self.plain, row: in_ },
        }
    }
}

impl<'a> Job<'a> {
    fn new(product: Product<'a>, rows: usize, y: Shared) -> Self {
        let Packed { in_, out, ref weights } = *product.weights;
        let panel = match weights {
            Weights::Dense(dense) => dense.panel(),
            Weights::Int8(_) | Weights::Blocks(_) | Weights::K(_) => COLUMNS,
        };
        let (blocks, panels) = (rows.div_ceil(BLOCK), out.div_ceil(panel));
        let cuts = (rows * in_ * out / SMALL).clamp(1, TASKS).div_ceil(blocks.max(1));
        let width = panels.div_ceil(cuts).max(1) * panel;
        Self { product, grid: [blocks, out.div_ceil(width)], width, y }
    }

    /// # Safety
    /// `y [rows, out]` is writable where the task is, and readable if it is added to.
    unsafe fn run(&self, task: usize, rows: usize, x: &Activations, add: bool) {
        let (block, chunk) = (task / self.grid[1], task % self.grid[1]);
        let out = self.product.weights.out;
        let tiles = rows.div_ceil(ROWS);
        let edge = |block: usize| (tiles * block / self.grid[0] * ROWS).min(rows);
        let rows = edge(block)..edge(block + 1);
        let columns = chunk * self.width..((chunk + 1) * self.width).min(out);
        // SAFETY: promised by the caller.
        unsafe {
            match &self.product.weights.weights {
                Weights::Dense(dense) => {
                    let x = x.left(dense, self.product.weights.in_);
                    self.dense(rows, columns, x, add);
                }
                _ => self.integers(rows, columns, x, add),
            }
        }
    }

    /// Panel by panel, tile by tile: what becomes of a tile is done while it is in L1.
    ///
    /// # Safety
    /// As [`Job::run`].
    unsafe fn integers(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        x: &Activations,
        add: bool,
    ) {
        let Product { weights, bias, then } = self.product;
        let tiles = rows.len().div_ceil(ROWS);
        for first in columns.step_by(COLUMNS) {
            let filled = COLUMNS.min(weights.out - first);
            let mut row_of_bias = [0.0; COLUMNS];
            if let Some(bias) = bias {
                row_of_bias[..filled].copy_from_slice(&bias[first..first + filled]);
            }
            for tile in 0..tiles {
                // Tiles of one height, or nearly: a low one would leave the processor waiting.
                let row = |tile: usize| rows.start + tile * rows.len() / tiles;
                let (row, n) = (row(tile), row(tile + 1) - row(tile));
                let mut sums = [[0.0; COLUMNS]; ROWS];
                let sums = &mut sums[..n];
                weights.tile(first / COLUMNS, x, row, sums);
                if bias.is_some() {
                    add_bias(&row_of_bias, sums);
                }
                match then {
                    Then::Nothing => {}
                    Then::Gelu(kind) => gelu_in_place(kind, sums.as_flattened_mut()),
                    Then::Gate(up) => {
                        let mut ups = [[0.0; COLUMNS]; ROWS];
                        up.tile(first / COLUMNS, x, row, &mut ups[..n]);
                        swiglu_in_place(sums.as_flattened_mut(), ups[..n].as_flattened());
                    }
                }
                for (i, sums) in sums.iter().enumerate() {
                    // SAFETY: promised by the caller.
                    unsafe {
                        write(&sums[..filled], self.y.at((row + i) * weights.out + first), add)
                    };
                }
            }
        }
    }

    /// # Safety
    /// As [`Job::run`].
    unsafe fn dense(&self, rows: Range<usize>, columns: Range<usize>, x: Left, add: bool) {
        let Product { weights, bias, then } = self.product;
        let width = columns.len();
        let start = bias.map_or(Start::Zero, |bias| Start::Row(&bias[columns.clone()]));
        let region = |weights: &Packed, start: Start, y: *mut f32, y_row: usize| {
            let Weights::Dense(dense) = &weights.weights else {
                unreachable!("packed: gate and up are of one kind")
            };
            // SAFETY: y has room for the rows, `y_row` apart.
            unsafe { dense.region(rows.clone(), columns.clone(), x, start, y, y_row) };
        };
        // SAFETY: promised by the caller: inside y.
        let y = |row: usize| unsafe { self.y.at(row * weights.out + columns.start) };
        if add {
            let mut sums = buffer(rows.len() * width);
            region(weights, start, sums.as_mut_ptr(), width);
            for (row, sums) in rows.clone().zip(sums.chunks_exact(width)) {
                // SAFETY: as above.
                unsafe { write(sums, y(row), true) };
            }
            return;
        }
        region(weights, start, y(rows.start), weights.out);
        let mut ups = Vec::new();
        if let Then::Gate(up) = then {
            ups = buffer(rows.len() * width);
            region(up, Start::Zero, ups.as_mut_ptr(), width);
        }
        for (i, row) in rows.clone().enumerate() {
            // SAFETY: as above; the region was just written.
            let y = unsafe { std::slice::from_raw_parts_mut(y(row), width) };
            match then {
                Then::Nothing => {}
                Then::Gelu(kind) => gelu_in_place(kind, y),
                Then::Gate(_) => swiglu_in_place(y, &ups[i * width..(i + 1) * width]),
            }
        }
    }
}

impl Packed {
    /// Sums of a panel of integer weights for the rows from `row` on.
    fn tile(&self, panel: usize, x: &Activations, row: usize, sums: &mut Tile) {
        match (&self.weights, &x.rows, &x.blocks) {
            (Weights::Int8(int8), Some(x), _) => int8.tile(panel, x, row, sums),
            (Weights::Blocks(blocks), _, Some(x)) => blocks.tile(panel, x, row, sums),
            (Weights::K(blocks), _, Some(x)) => blocks.tile(panel, x, row, sums),
            _ => unreachable!("packed: activations were rounded for these weights"),
        }
    }
}

vectorised! {
    fn add_bias(bias: &[f32; COLUMNS], sums: &mut Tile) {
        for sums in sums {
            for (sum, bias) in sums.iter_mut().zip(bias) {
                *sum += bias;
            }
        }
    }
}

/// `y = x`, or `y += x`.
///
/// # Safety
/// `y` has as many numbers as `x`; they are set if they are added to.
#[inline(always)]
unsafe fn write(x: &[f32], y: *mut f32, add: bool) {
    // SAFETY: promised by the caller.
    unsafe {
        if !add {
            return y.copy_from_nonoverlapping(x.as_ptr(), x.len());
        }
        let y = std::slice::from_raw_parts_mut(y, x.len());
        y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
    }
}
