//! Attention of a model that runs: nothing is kept for a gradient.
//!
//! All query heads of a key head go together, so keys and values are laid out once for them. Every
//! number has the bits that [`attention`](super::attention) gives it.

use super::{AttentionShape, Mask, View, softmax_row};
use crate::Precision;
use crate::buffer;
use crate::gemm::{Strided, gemm_strided};
use crate::parallel::{Shared, for_each};

/// Queries of one tile.
const TILE: usize = 64;
/// Columns of the largest tile of a matrix product.
const PANEL: usize = 32;

/// Keys and values `[Tk, Hkv, K]` of one sample, and which of them its queries see.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// k.
    pub keys: &'a [f32],
    /// v.
    pub values: &'a [f32],
    /// Its spans are this sample's alone.
    pub mask: Mask<'a>,
}

/// `[B, Tq, H, K]`: `softmax(scale·q·kᵀ)·v` over the keys that each query sees. A query that sees
/// none gives 0. Products of numbers in `precision`.
pub fn attend(
    precision: Precision,
    shape: AttentionShape,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    scale: f32,
    mask: Mask,
) -> Vec<f32> {
    shape.check(q, k, v, mask, None);
    let sample = |b| {
        let own = shape.k_at(b, 0)..shape.k_at(b + 1, 0);
        let mask = View::new(&shape, b, mask, None).mask;
        Sample { keys: &k[own.clone()], values: &v[own], mask }
    };
    attend_each(precision, shape, q, &(0..shape.batch).map(sample).collect::<Vec<_>>(), scale)
}

/// As [`attend`], of B samples that have numbers of keys of their own; what `shape` says of keys is
/// not read.
pub fn attend_each(
    precision: Precision,
    shape: AttentionShape,
    q: &[f32],
    samples: &[Sample],
    scale: f32,
) -> Vec<f32> {
    assert_eq!(samples.len(), shape.batch, "attention: samples of {shape:?}");
    assert_eq!(q.len(), shape.q_at(shape.batch, 0, 0), "attention: q of {shape:?}");
    let shape_of = |(b, &Sample { keys, values, mask }): (usize, &Sample)| {
        let own = AttentionShape { batch: 1, keys: keys.len() / shape.k_row().max(1), ..shape };
        let q = &q[shape.q_at(b, 0, 0)..shape.q_at(b + 1, 0, 0)];
        own.check(q, keys, values, mask, None);
        own
    };
    let shapes: Vec<_> = samples.iter().enumerate().map(shape_of).collect();
    let work = shapes.iter().map(AttentionShape::work).sum::<usize>() * shape.width / 4;
    let mut o = buffer(q.len());
    let tiles = shape.queries.div_ceil(TILE);
    let all = Shared::new(&mut o);
    for_each(shape.batch * shape.kv_heads * tiles, work, |task| {
        // The last tiles see the most keys: they go first.
        let (tile, task) = (tiles - 1 - task % tiles, task / tiles);
        let (b, kv_head) = (task / shape.kv_heads, task % shape.kv_heads);
        let (own, Sample { keys, values, mask }) = (shapes[b], samples[b]);
        let at = own.k_at(0, kv_head);
        let group = Group {
            precision,
            shape: own,
            view: View { mask, keys: own.keys },
            keys: keys.get(at..).unwrap_or_default(),
            values: values.get(at..).unwrap_or_default(),
            scale,
            first: tile * TILE,
            rows: TILE.min(shape.queries - tile * TILE),
        };
        let at = shape.q_at(b, group.first, shape.readers(kv_head).start);
        // SAFETY: a task alone writes the heads that read its key head, for its queries; all of them.
        unsafe { group.run(&q[at..], all.from(at)) };
    });
    o
}

/// The query heads of one key head, for one tile of queries.
struct Group<'a> {
    precision: Precision,
    shape: AttentionShape,
    view: View<'a>,
    keys: &'a [f32],
    values: &'a [f32],
    scale: f32,
    first: usize,
    rows: usize,
}

impl Group<'_> {
    /// Two matrix products, rows of all heads one after the other.
    ///
    /// # Safety
    /// The rows of these heads of `o` are writable by this thread alone.
    unsafe fn run(&self, q: &[f32], o: Shared) {
        let (width, q_row, n) = (self.shape.width, self.shape.q_row(), self.rows);
        let m = self.shape.heads / self.shape.kv_heads * n;
        let end = self.view.tile_end(self.first..self.first + n);
        let (keys, wide) = self.whole_panels(end);
        let (mut scores, mut rows) = (buffer(m * wide), buffer(m * width));
        for (at, row) in rows.chunks_exact_mut(width.max(1)).enumerate() {
            row.copy_from_slice(&q[at % n * q_row + at / n * width..][..width]);
        }
        let (x, to) = (Strided::rows(rows.as_ptr(), width), scores.as_mut_ptr());
        let keys =
            keys.as_deref().map_or(Strided::rows(self.keys.as_ptr(), self.shape.k_row()), |keys| {
                Strided::rows(keys.as_ptr(), width)
            });
        // SAFETY: rows [m, width], keysᵀ [width, wide], scores [m, wide].
        unsafe {
            gemm_strided(self.precision, m, wide, width, self.scale, x, keys.t(), to, wide, false)
        };
        for (at, scores) in scores.chunks_exact_mut(wide.max(1)).enumerate() {
            let (seen, beyond) = scores.split_at_mut(end);
            self.view.hide(self.first + at % n, seen);
            beyond.fill(f32::NEG_INFINITY);
            softmax_row(scores);
        }
        let p = Strided::rows(scores.as_ptr(), wide);
        let values = Strided::rows(self.values.as_ptr(), self.shape.k_row());
        let to = rows.as_mut_ptr();
        // SAFETY: scores [m, end], values [end, width], rows [m, width].
        unsafe { gemm_strided(self.precision, m, width, end, 1.0, p, values, to, width, false) };
        for (at, row) in rows.chunks_exact(width.max(1)).enumerate() {
            // SAFETY: promised by the caller.
            unsafe {
                let o = o.at(at % n * q_row + at / n * width);
                o.copy_from_nonoverlapping(row.as_ptr(), width);
            }
        }
    }

    /// The first `end` keys and zeros up to a multiple of what a matrix product takes at once, where
    /// they are not one by themselves: its way with the rest is slow. And how many they are.
    fn whole_panels(&self, end: usize) -> (Option<Vec<f32>>, usize) {
        let (wide, width) = (end.next_multiple_of(PANEL), self.shape.width);
        if wide == end {
            return (None, end);
        }
        let mut keys = buffer(wide * width);
        let (whole, rest) = keys.split_at_mut(end * width);
        let rows = self.keys.chunks(self.shape.k_row().max(1));
        for (to, from) in whole.chunks_exact_mut(width.max(1)).zip(rows) {
            to.copy_from_slice(&from[..width]);
        }
        rest.fill(0.0);
        (Some(keys), wide)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Precision::F32;
    use crate::attention::{Span, attention};
    use crate::testing::{assert_same_on_all_pools, random};

    fn run(shape: AttentionShape, mask: Mask) -> (Vec<f32>, Vec<f32>) {
        let AttentionShape { batch, queries, keys, heads, kv_heads, width } = shape;
        let q = random(1, batch * queries * heads * width);
        let (k, v) = (
            random(2, batch * keys * kv_heads * width),
            random(3, batch * keys * kv_heads * width),
        );
        let (mut o, mut lse) = (vec![0.0; q.len()], vec![0.0; batch * heads * queries]);
        attention(F32, shape, &q, &k, &v, 0.3, mask, None, &mut o, &mut lse);
        (attend(F32, shape, &q, &k, &v, 0.3, mask), o)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn it_is_attention(
            batch in 1..3_usize,
            queries in prop_oneof![Just(1_usize), 0..90_usize],
            before in 0..70_usize,
            kv_heads in 1..3_usize,
            group in 1..4_usize,
            width in 1..70_usize,
            kind in 0..5_usize,
        ) {
            let keys = queries + before;
            let shape = AttentionShape { batch, queries, keys, heads: kv_heads * group, kv_heads, width };
            let span = |at: usize| match at % keys.max(1) / 9 % 3 {
                0 => Span::None,
                n => Span::Shared(n as u32),
            };
            let spans: Vec<_> = (0..batch * keys).map(span).collect();
            let mask = [
                Mask::Full,
                Mask::Causal { offset: before },
                Mask::Prefix { offset: before, spans: &spans },
                Mask::Window { offset: before, spans: &spans, window: 7 },
                Mask::Window { offset: before, spans: &[], window: 1 },
            ][kind];
            let (got, want) = run(shape, mask);
            assert_eq!(got, want);
        }
    }

    proptest! {
        #[test]
        fn samples_do_not_know_of_each_other(
            keys in prop::collection::vec(1..90_usize, 0..9),
            queries in 1..4_usize,
            kv_heads in 1..3_usize,
            group in 1..4_usize,
            width in 1..40_usize,
        ) {
            let (batch, heads) = (keys.len(), kv_heads * group);
            let shape = AttentionShape { batch, queries, keys: 0, heads, kv_heads, width };
            let (q, mask) = (random(1, batch * queries * shape.q_row()), Mask::Causal { offset: 5 });
            let kept: Vec<_> = keys
                .iter()
                .map(|&n| [2, 3].map(|seed| random(seed, n * shape.k_row())))
                .collect();
            let samples: Vec<_> =
                kept.iter().map(|[keys, values]| Sample { keys, values, mask }).collect();
            let got = attend_each(F32, shape, &q, &samples, 0.3);
            let alone = |((q, keys), [k, v]): ((&[f32], usize), &[Vec<f32>; 2])| {
                attend(F32, AttentionShape { batch: 1, keys, ..shape }, q, k, v, 0.3, mask)
            };
            let each = q.chunks(queries * shape.q_row()).zip(keys).zip(&kept);
            assert_eq!(got, each.flat_map(alone).collect::<Vec<_>>());
        }
    }

    #[test]
    fn who_sees_nothing_gets_zeros() {
        for queries in [1, 20] {
            let shape =
                AttentionShape { batch: 1, queries, keys: 0, heads: 2, kv_heads: 1, width: 5 };
            let o = attend(F32, shape, &random(1, queries * 10), &[], &[], 1.0, Mask::Full);
            assert_eq!(o, vec![0.0; queries * 10]);
        }
    }

    #[test]
    fn threads_do_not_change_bits() {
        let shape = |queries, keys, heads| AttentionShape {
            batch: 2,
            queries,
            keys,
            heads,
            kv_heads: 2,
            width: 40,
        };
        for (queries, keys) in [(1, 700), (150, 200)] {
            let mask = Mask::Causal { offset: keys - queries };
            assert_same_on_all_pools(|| run(shape(queries, keys, 6), mask).0);
        }
    }
}
