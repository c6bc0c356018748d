//! Attention: softmax(scale·QKᵀ + mask)·V and its gradients (Vaswani et al. 2017,
//! <https://arxiv.org/abs/1706.03762>), grouped heads included.
//!
//! Scores exist for one tile of queries at a time; the backward pass makes them again from the
//! kept logarithms of their sums (Dao et al. 2022, <https://arxiv.org/abs/2205.14135>). Keys that
//! no query of a tile sees are never multiplied.

mod running;

pub use running::{Sample, attend, attend_each};

use crate::gemm::{Strided, gemm_strided};
use crate::math::exp;
use crate::parallel::{Shared, for_each};
use crate::simd::{map_and_sum, max_of, sum_of3, vectorised};
use crate::{Precision, buffer};

/// Queries of one tile.
const TILE: usize = 64;

/// Which keys a query may see.
#[derive(Clone, Copy, Debug)]
pub enum Mask<'a> {
    /// All.
    Full,
    /// Key `j` is visible to query `i` iff `j <= i + offset`.
    Causal {
        /// Keys that came before the first query.
        offset: usize,
    },
    /// As `Causal`, but for the keys of spans.
    Prefix {
        /// Keys that came before the first query.
        offset: usize,
        /// Of every key, `[B, Tk]`; query `i` has that of key `i + offset`.
        spans: &'a [Span],
    },
    /// As `Prefix`, but for the keys that stand `window` places or more before a query (Beltagy et al.
    /// 2020, <https://arxiv.org/abs/2004.05150>, section 3.1) and are not of its span.
    Window {
        /// Keys that came before the first query.
        offset: usize,
        /// As `Prefix` has them; none is as `Causal`.
        spans: &'a [Span],
        /// Keys up to the query's own place, that one too.
        window: usize,
    },
}

/// What a token has to do with others of its kind, besides standing before or after them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Span {
    /// Nothing: later tokens see it.
    #[default]
    None,
    /// Those of the same number see each other both ways: a picture's tokens in a prefix language
    /// model.
    Shared(u32),
    /// Of later tokens, only those of the same number see it: one of several questions about what
    /// stands before them.
    Apart(u32),
}

impl Span {
    /// Whether a token of this span sees an earlier one of `other`.
    fn sees_earlier(self, other: Self) -> bool {
        !matches!(other, Self::Apart(_)) || self == other
    }

    /// Whether a token of this span sees a later one of `other`, and one that is out of its window.
    fn sees_later(self, other: Self) -> bool {
        matches!(self, Self::Shared(_)) && self == other
    }
}

/// Sizes of attention: `q [B, Tq, H, K]`, `k, v [B, Tk, Hkv, K]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// B.
    pub batch: usize,
    /// Tq.
    pub queries: usize,
    /// Tk.
    pub keys: usize,
    /// H, a multiple of `kv_heads`.
    pub heads: usize,
    /// Hkv: query head `h` reads head `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// K.
    pub width: usize,
}

impl AttentionShape {
    fn check(&self, q: &[f32], k: &[f32], v: &[f32], mask: Mask, lengths: Option<&[usize]>) {
        let Self { batch, queries, keys, heads, kv_heads, width } = *self;
        assert!(
            heads == 0 || (kv_heads > 0 && heads.is_multiple_of(kv_heads)),
            "attention: {heads} heads on {kv_heads} kv heads"
        );
        assert_eq!(q.len(), batch * queries * heads * width, "attention: q of {self:?}");
        assert_eq!(k.len(), batch * keys * kv_heads * width, "attention: k of {self:?}");
        assert_eq!(v.len(), k.len(), "attention: v of {self:?}");
        match mask {
            Mask::Window { spans: [], .. } => {}
            Mask::Prefix { spans, .. } | Mask::Window { spans, .. } => {
                assert_eq!(spans.len(), batch * keys, "attention: spans of {self:?}");
            }
            Mask::Full | Mask::Causal { .. } => {}
        }
        if let Some(lengths) = lengths {
            assert_eq!(lengths.len(), batch, "attention: lengths of {self:?}");
            assert!(
                lengths.iter().all(|&n| n <= keys),
                "attention: lengths {lengths:?} of {keys} keys"
            );
        }
    }

    /// Elements between two queries of one head.
    fn q_row(&self) -> usize {
        self.heads * self.width
    }

    /// Elements between two keys of one head.
    fn k_row(&self) -> usize {
        self.kv_heads * self.width
    }

    fn q_at(&self, b: usize, i: usize, h: usize) -> usize {
        ((b * self.queries + i) * self.heads + h) * self.width
    }

    fn k_at(&self, b: usize, h: usize) -> usize {
        (b * self.keys * self.kv_heads + h) * self.width
    }

    /// Query heads that read kv head `h`.
    fn readers(&self, h: usize) -> std::ops::Range<usize> {
        let group = self.heads / self.kv_heads;
        h * group..(h + 1) * group
    }

    /// Multiply-adds, roughly, in units of an elementwise loop's elements.
    fn work(&self) -> usize {
        self.batch * self.queries * self.keys * self.heads
    }
}

/// What one sample's queries see.
#[derive(Clone, Copy)]
struct View<'a> {
    mask: Mask<'a>,
    /// Valid keys.
    keys: usize,
}

impl<'a> View<'a> {
    fn new(shape: &AttentionShape, b: usize, mask: Mask<'a>, lengths: Option<&[usize]>) -> Self {
        let own = |spans: &'a [Span]| match spans {
            [] => spans,
            _ => &spans[b * shape.keys..(b + 1) * shape.keys],
        };
        let mask = match mask {
            Mask::Prefix { offset, spans } => Mask::Prefix { offset, spans: own(spans) },
            Mask::Window { offset, spans, window } => {
                Mask::Window { offset, spans: own(spans), window }
            }
            other => other,
        };
        Self { mask, keys: lengths.map_or(shape.keys, |lengths| lengths[b]) }
    }

    /// One past the last key that query `i` sees.
    fn end(&self, i: usize) -> usize {
        match self.mask {
            Mask::Full => self.keys,
            Mask::Causal { offset } => (i + offset + 1).min(self.keys),
            Mask::Prefix { offset, spans } | Mask::Window { offset, spans, .. } => {
                let end = (i + offset + 1).min(self.keys);
                let span = spans.get(i + offset).copied().unwrap_or_default();
                let later = spans.get(end..self.keys).unwrap_or_default();
                let last = later.iter().rposition(|&other| span.sees_later(other));
                last.map_or(end, |last| end + last + 1)
            }
        }
    }

    /// One past the last key that any query of a tile sees.
    fn tile_end(&self, queries: std::ops::Range<usize>) -> usize {
        queries.map(|i| self.end(i)).max().unwrap_or(0)
    }

    /// Sets the scores of the keys that query `i` does not see to `-inf`.
    fn hide(&self, i: usize, scores: &mut [f32]) {
        match self.mask {
            Mask::Full => {}
            Mask::Causal { .. } => {
                let end = self.end(i).min(scores.len());
                scores[end..].fill(f32::NEG_INFINITY);
            }
            Mask::Prefix { offset, spans } => hide_spans(i + offset, spans, scores),
            Mask::Window { offset, spans, window } => {
                let first = (i + offset + 1).saturating_sub(window).min(scores.len());
                if spans.is_empty() {
                    let end = self.end(i).min(scores.len());
                    scores[end..].fill(f32::NEG_INFINITY);
                    return scores[..first].fill(f32::NEG_INFINITY);
                }
                let span = spans.get(i + offset).copied().unwrap_or_default();
                hide_spans(i + offset, spans, scores);
                for (score, &other) in scores[..first].iter_mut().zip(spans) {
                    if !span.sees_later(other) {
                        *score = f32::NEG_INFINITY;
                    }
                }
            }
        }
    }
}

/// Sets the scores of the keys that the query at place `at` does not see by its span to `-inf`.
fn hide_spans(at: usize, spans: &[Span], scores: &mut [f32]) {
    let span = spans.get(at).copied().unwrap_or_default();
    for (j, (score, &other)) in scores.iter_mut().zip(spans).enumerate() {
        if !(if j > at { span.sees_later(other) } else { span.sees_earlier(other) }) {
            *score = f32::NEG_INFINITY;
        }
    }
}

/// `o [B, Tq, H, K] = softmax(scale·q·kᵀ)·v` over the visible keys; products of numbers in
/// `precision`, the softmax in f32.
///
/// `lengths [B]`: keys from there on are padding. `lse [B, H, Tq]` is kept for the gradient. A
/// query that sees no key gives 0.
pub fn attention(
    precision: Precision,
    shape: AttentionShape,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    scale: f32,
    mask: Mask,
    lengths: Option<&[usize]>,
    o: &mut [f32],
    lse: &mut [f32],
) {
    shape.check(q, k, v, mask, lengths);
    assert_eq!(o.len(), q.len(), "attention: o of {shape:?}");
    assert_eq!(lse.len(), shape.batch * shape.heads * shape.queries, "attention: lse of {shape:?}");
    let (o, lse) = (Shared::new(o), Shared::new(lse));
    for_each(shape.batch * shape.kv_heads, shape.work(), |task| {
        let (b, kv_head) = (task / shape.kv_heads, task % shape.kv_heads);
        let view = View::new(&shape, b, mask, lengths);
        let mut scores = buffer(TILE.min(shape.queries) * shape.keys);
        let at = shape.k_at(b, kv_head);
        let keys = Strided::rows(k.as_ptr().wrapping_add(at), shape.k_row());
        let values = Strided::rows(v.as_ptr().wrapping_add(at), shape.k_row());
        for head in shape.readers(kv_head) {
            for first in (0..shape.queries).step_by(TILE) {
                let rows = TILE.min(shape.queries - first);
                let at = shape.q_at(b, first, head);
                let queries = Strided::rows(q.as_ptr().wrapping_add(at), shape.q_row());
                let end = view.tile_end(first..first + rows);
                let scores = &mut scores[..rows * end];
                // SAFETY: a task alone writes the heads that read its kv head.
                let lse = unsafe {
                    std::slice::from_raw_parts_mut(
                        lse.at((b * shape.heads + head) * shape.queries + first),
                        rows,
                    )
                };
                // SAFETY: queries [rows, width], keysᵀ [width, end], scores [rows, end].
                unsafe {
                    gemm_strided(
                        precision,
                        rows,
                        end,
                        shape.width,
                        scale,
                        queries,
                        keys.t(),
                        scores.as_mut_ptr(),
                        end,
                        false,
                    );
                }
                softmax(view, first, end, scores, lse);
                let scores = Strided::rows(scores.as_ptr(), end);
                // SAFETY: scores [rows, end], values [end, width]; the rows of this head of `o` are
                // written by this task alone.
                unsafe {
                    gemm_strided(
                        precision,
                        rows,
                        shape.width,
                        end,
                        1.0,
                        scores,
                        values,
                        o.at(at),
                        shape.q_row(),
                        false,
                    );
                }
            }
        }
    });
}

/// Softmax of every row of a tile, in place; keeps the logarithms of the sums.
fn softmax(view: View, first: usize, end: usize, scores: &mut [f32], lse: &mut [f32]) {
    if end == 0 {
        return lse.fill(f32::NEG_INFINITY);
    }
    for (i, (row, lse)) in scores.chunks_exact_mut(end).zip(lse).enumerate() {
        view.hide(first + i, row);
        *lse = softmax_row(row);
    }
}

vectorised! {
    /// Softmax in place, and the logarithm of the sum of exponentials; all 0 and `-inf` if every
    /// score is `-inf`.
    fn softmax_row(row: &mut [f32]) -> f32 {
        let max = max_of(row);
        if max == f32::NEG_INFINITY {
            row.fill(0.0);
            return max;
        }
        let sum = map_and_sum(row, |x| exp(x - max));
        let inverse = 1.0 / sum;
        for x in row.iter_mut() {
            *x *= inverse;
        }
        max + sum.ln()
    }
}

/// Gradients of [`attention`], overwritten: `dq` as `q`, `dk, dv` as `k`. Queries that see no key
/// contribute 0.
pub fn attention_backward(
    precision: Precision,
    shape: AttentionShape,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    scale: f32,
    mask: Mask,
    lengths: Option<&[usize]>,
    o: &[f32],
    lse: &[f32],
    d_o: &[f32],
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
) {
    shape.check(q, k, v, mask, lengths);
    for (name, n) in [("o", o.len()), ("d_o", d_o.len()), ("dq", dq.len())] {
        assert_eq!(n, q.len(), "attention_backward: {name} of {shape:?}");
    }
    assert_eq!(dk.len(), k.len(), "attention_backward: dk of {shape:?}");
    assert_eq!(dv.len(), k.len(), "attention_backward: dv of {shape:?}");
    assert_eq!(
        lse.len(),
        shape.batch * shape.heads * shape.queries,
        "attention_backward: lse of {shape:?}"
    );
    let (dq, dk, dv) = (Shared::new(dq), Shared::new(dk), Shared::new(dv));
    for_each(shape.batch * shape.kv_heads, shape.work(), |task| {
        let (b, kv_head) = (task / shape.kv_heads, task % shape.kv_heads);
        let view = View::new(&shape, b, mask, lengths);
        let tile = TILE.min(shape.queries) * shape.keys;
        let (mut scores, mut slopes) = (buffer(tile), buffer(tile));
        let at = shape.k_at(b, kv_head);
        let (k_row, q_row, width) = (shape.k_row(), shape.q_row(), shape.width);
        let (keys, values) = (
            Strided::rows(k.as_ptr().wrapping_add(at), k_row),
            Strided::rows(v.as_ptr().wrapping_add(at), k_row),
        );
        for key in 0..shape.keys {
            // SAFETY: a task alone writes its kv head.
            unsafe {
                dk.at(at + key * k_row).write_bytes(0, width);
                dv.at(at + key * k_row).write_bytes(0, width);
            }
        }
        for head in shape.readers(kv_head) {
            for first in (0..shape.queries).step_by(TILE) {
                let rows = TILE.min(shape.queries - first);
                let q_at = shape.q_at(b, first, head);
                let end = view.tile_end(first..first + rows);
                let (p, ds) = (&mut scores[..rows * end], &mut slopes[..rows * end]);
                let queries = Strided::rows(q.as_ptr().wrapping_add(q_at), q_row);
                let d_out = Strided::rows(d_o.as_ptr().wrapping_add(q_at), q_row);
                // SAFETY: queries, d_out [rows, width], keysᵀ, valuesᵀ [width, end], tiles [rows, end].
                unsafe {
                    gemm_strided(
                        precision,
                        rows,
                        end,
                        width,
                        scale,
                        queries,
                        keys.t(),
                        p.as_mut_ptr(),
                        end,
                        false,
                    );
                    gemm_strided(
                        precision,
                        rows,
                        end,
                        width,
                        1.0,
                        d_out,
                        values.t(),
                        ds.as_mut_ptr(),
                        end,
                        false,
                    );
                }
                for i in 0..rows.min(p.len()) {
                    let (p, ds) = (&mut p[i * end..(i + 1) * end], &mut ds[i * end..(i + 1) * end]);
                    let out = q_at + i * q_row..q_at + i * q_row + width;
                    let lse = lse[(b * shape.heads + head) * shape.queries + first + i];
                    view.hide(first + i, p);
                    score_slopes(scale, lse, &o[out.clone()], &d_o[out], p, ds);
                }
                let (p, ds) = (Strided::rows(p.as_ptr(), end), Strided::rows(ds.as_ptr(), end));
                // SAFETY: tiles [rows, end], keys [end, width]; the rows of this task's heads are
                // written by it alone.
                unsafe {
                    gemm_strided(
                        precision,
                        rows,
                        width,
                        end,
                        1.0,
                        ds,
                        keys,
                        dq.at(q_at),
                        q_row,
                        false,
                    );
                    gemm_strided(
                        precision,
                        end,
                        width,
                        rows,
                        1.0,
                        ds.t(),
                        queries,
                        dk.at(at),
                        k_row,
                        true,
                    );
                    gemm_strided(
                        precision,
                        end,
                        width,
                        rows,
                        1.0,
                        p.t(),
                        d_out,
                        dv.at(at),
                        k_row,
                        true,
                    );
                }
            }
        }
    });
}

vectorised! {
    /// One query: scores become probabilities `p`, and the gradient `dp` of the probabilities
    /// becomes that of the scores before scaling, `p·(dp - o·d_o)·scale`.
    fn score_slopes(scale: f32, lse: f32, o: &[f32], d_o: &[f32], p: &mut [f32], dp: &mut [f32]) {
        if lse == f32::NEG_INFINITY {
            p.fill(0.0);
            dp.fill(0.0);
            return;
        }
        let mean = sum_of3(o, d_o, o, |o, d_o, _| o * d_o);
        for p in p.iter_mut() {
            *p = exp(*p - lse);
        }
        for (dp, &p) in dp.iter_mut().zip(p.iter()) {
            *dp = p * (*dp - mean) * scale;
        }
    }
}

#[cfg(test)]
mod tests;
