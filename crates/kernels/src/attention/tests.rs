//! Attention against a naive f64 version.

use proptest::prelude::*;

use super::*;
use crate::testing::{
    assert_close, assert_same_on_all_pools, assert_same_portably, gradient, random, wide,
};

fn visible(mask: Mask, shape: &AttentionShape, b: usize, i: usize, j: usize) -> bool {
    match mask {
        Mask::Full => true,
        Mask::Causal { offset } => j <= i + offset,
        Mask::Window { offset, spans: [], window } => (j..j + window).contains(&(i + offset)),
        Mask::Window { offset, spans, window } => {
            let spans_of_b = &spans[b * shape.keys..];
            let own = spans_of_b.get(i + offset).filter(|_| i + offset < shape.keys);
            let shared = matches!(own, Some(Span::Shared(_))) && own == Some(&spans_of_b[j]);
            let near = j + window > i + offset;
            (near || shared) && visible(Mask::Prefix { offset, spans }, shape, b, i, j)
        }
        Mask::Prefix { offset, spans } => {
            let spans = &spans[b * shape.keys..(b + 1) * shape.keys];
            let span = spans.get(i + offset).copied().unwrap_or_default();
            match (span, spans[j]) {
                (Span::Shared(own), Span::Shared(other)) if own == other => true,
                (Span::Apart(own), Span::Apart(other)) => own == other && j <= i + offset,
                (_, Span::Apart(_)) => false,
                _ => j <= i + offset,
            }
        }
    }
}

fn naive(
    s: &AttentionShape,
    q: &[f64],
    k: &[f64],
    v: &[f64],
    scale: f64,
    mask: Mask,
    lengths: Option<&[usize]>,
) -> Vec<f64> {
    let mut o = vec![0.0; q.len()];
    for (b, i, h) in (0..s.batch * s.queries * s.heads)
        .map(|n| (n / (s.queries * s.heads), n / s.heads % s.queries, n % s.heads))
    {
        let q = &q[s.q_at(b, i, h)..][..s.width];
        let head = h / (s.heads / s.kv_heads);
        let at = |j: usize| s.k_at(b, head) + j * s.k_row();
        let seen: Vec<usize> =
            (0..lengths.map_or(s.keys, |l| l[b])).filter(|&j| visible(mask, s, b, i, j)).collect();
        let weight =
            |&j: &usize| (scale * q.iter().zip(&k[at(j)..]).map(|(q, k)| q * k).sum::<f64>()).exp();
        let total: f64 = seen.iter().map(weight).sum();
        for j in &seen {
            let p = weight(j) / total;
            (0..s.width).for_each(|c| o[s.q_at(b, i, h) + c] += p * v[at(*j) + c]);
        }
    }
    o
}

/// o, dq, dk, dv on seeded inputs.
fn all(s: AttentionShape, mask: Mask, lengths: Option<&[usize]>) -> [Vec<f32>; 4] {
    all_in(Precision::F32, s, mask, lengths)
}

fn all_in(
    precision: Precision,
    s: AttentionShape,
    mask: Mask,
    lengths: Option<&[usize]>,
) -> [Vec<f32>; 4] {
    let (nq, nk) = (s.batch * s.queries * s.q_row(), s.batch * s.keys * s.k_row());
    let (q, k, v, d_o) = (random(1, nq), random(2, nk), random(3, nk), random(4, nq));
    let nan = |n| vec![f32::NAN; n];
    let (mut o, mut lse) = (nan(nq), nan(s.batch * s.heads * s.queries));
    attention(precision, s, &q, &k, &v, 0.7, mask, lengths, &mut o, &mut lse);
    let (mut dq, mut dk, mut dv) = (nan(nq), nan(nk), nan(nk));
    attention_backward(
        precision, s, &q, &k, &v, 0.7, mask, lengths, &o, &lse, &d_o, &mut dq, &mut dk, &mut dv,
    );
    [o, dq, dk, dv]
}

fn inputs(s: &AttentionShape) -> [Vec<f64>; 4] {
    let (nq, nk) = (s.batch * s.queries * s.q_row(), s.batch * s.keys * s.k_row());
    [wide(&random(1, nq)), wide(&random(2, nk)), wide(&random(3, nk)), wide(&random(4, nq))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn values_match_f64(
        batch in 1..3_usize, queries in 1..90_usize, keys in 0..90_usize, kv_heads in 1..3_usize, group in 1..3_usize,
        width in 1..10_usize, kind in 0..5, offset in 0..6_usize, padded: bool, seed: u64,
    ) {
        let s = AttentionShape { batch, queries, keys, heads: kv_heads * group, kv_heads, width };
        let (spans, lengths) = spans_and_lengths(&s, seed);
        let mask = mask(kind, offset, &spans);
        let lengths = padded.then_some(&lengths[..]);
        let [q, k, v, _] = inputs(&s);
        let [o, dq, dk, dv] = all(s, mask, lengths);
        assert_close(&o, &naive(&s, &q, &k, &v, 0.7_f32.into(), mask, lengths), 1e-5);
        prop_assert!([dq, dk, dv].concat().iter().all(|x| x.is_finite()));
    }

    #[test]
    fn bf16_is_as_close_as_rounding(
        queries in 1..90_usize, keys in 1..90_usize, kv_heads in 1..3_usize, group in 1..3_usize,
        width in 1..40_usize, kind in 0..5, offset in 0..6_usize, padded: bool, seed: u64,
    ) {
        let s = AttentionShape { batch: 1, queries, keys, heads: kv_heads * group, kv_heads, width };
        let (spans, lengths) = spans_and_lengths(&s, seed);
        let mask = mask(kind, offset, &spans);
        let lengths = padded.then_some(&lengths[..]);
        let exact = all(s, mask, lengths).map(|x| wide(&x));
        let rounded = all_in(Precision::Bf16, s, mask, lengths);
        assert_close(&rounded[0], &exact[0], 0.02);
        // Gradients add up the rounding of as many queries.
        for (rounded, exact) in rounded.iter().zip(&exact).skip(1) {
            assert_close(rounded, exact, 0.2);
        }
    }

    #[test]
    fn gradients_match_differences(
        queries in 1..5_usize, keys in 1..6_usize, kv_heads in 1..3_usize, group in 1..3_usize,
        width in 1..4_usize, kind in 0..5, offset in 0..3_usize, padded: bool, seed: u64,
    ) {
        let s = AttentionShape { batch: 2, queries, keys, heads: kv_heads * group, kv_heads, width };
        let (spans, lengths) = spans_and_lengths(&s, seed);
        let mask = mask(kind, offset, &spans);
        let lengths = padded.then_some(&lengths[..]);
        let [q, k, v, d_o] = inputs(&s);
        let [_, dq, dk, dv] = all(s, mask, lengths);
        let loss = |q: &[f64], k: &[f64], v: &[f64]| -> f64 {
            naive(&s, q, k, v, 0.7_f32.into(), mask, lengths).iter().zip(&d_o).map(|(o, d)| o * d).sum()
        };
        assert_close(&dq, &gradient(&q, |q| loss(q, &k, &v)), 1e-5);
        assert_close(&dk, &gradient(&k, |k| loss(&q, k, &v)), 1e-5);
        assert_close(&dv, &gradient(&v, |v| loss(&q, &k, v)), 1e-5);
    }
}

fn mask(kind: i32, offset: usize, spans: &[Span]) -> Mask<'_> {
    match kind {
        0 => Mask::Full,
        1 => Mask::Causal { offset },
        2 => Mask::Prefix { offset, spans },
        3 => Mask::Window { offset, spans, window: 1 + 3 * offset },
        _ => Mask::Window { offset, spans: &[], window: 5 },
    }
}

/// Random spans, two of each kind, and random lengths, some 0.
fn spans_and_lengths(s: &AttentionShape, seed: u64) -> (Vec<Span>, Vec<usize>) {
    let spans = random(seed, s.batch * s.keys);
    let lengths = random(seed ^ 1, s.batch);
    let length = |x: &f32| ((x + 1.0) * 0.5 * (s.keys + 1) as f32) as usize;
    let span = |x: &f32| match ((x + 1.0) * 2.5) as u32 {
        0 => Span::None,
        n @ 1..=2 => Span::Shared(n),
        n => Span::Apart(n),
    };
    (spans.iter().map(span).collect(), lengths.iter().map(length).collect())
}

#[test]
fn a_query_without_keys_gives_nothing() {
    let s = AttentionShape { batch: 2, queries: 3, keys: 4, heads: 2, kv_heads: 1, width: 5 };
    let [o, dq, dk, dv] = all(s, Mask::Full, Some(&[0, 4]));
    let (half_q, half_k) = (o.len() / 2, dk.len() / 2);
    assert!(
        [&o[..half_q], &dq[..half_q], &dk[..half_k], &dv[..half_k]]
            .concat()
            .iter()
            .all(|&x| x == 0.0)
    );
    assert!(o[half_q..].iter().all(|&x| x != 0.0));
}

#[test]
fn later_keys_do_not_change_bits() {
    let s = AttentionShape { batch: 1, queries: 150, keys: 150, heads: 1, kv_heads: 1, width: 16 };
    let n = 150 * 16;
    let (q, k, v) = (random(1, n), random(2, n), random(3, n));
    let run = |k: &[f32], v: &[f32]| {
        let (mut o, mut lse) = (vec![0.0; n], vec![0.0; 150]);
        attention(
            Precision::F32,
            s,
            &q,
            k,
            v,
            0.3,
            Mask::Causal { offset: 0 },
            None,
            &mut o,
            &mut lse,
        );
        o
    };
    let (mut k2, mut v2) = (k.clone(), v.clone());
    k2[100 * 16..].fill(9.0);
    v2[100 * 16..].fill(-9.0);
    assert_eq!(run(&k, &v)[..100 * 16], run(&k2, &v2)[..100 * 16]);
}

#[test]
fn bits_are_the_same_everywhere() {
    let s = AttentionShape { batch: 3, queries: 70, keys: 70, heads: 4, kv_heads: 2, width: 24 };
    assert_same_on_all_pools(|| all(s, Mask::Causal { offset: 0 }, None).concat());
    let row = random(1, 99);
    assert_same_portably(|| {
        let (mut p, mut dp) = (row.clone(), row.clone());
        let lse = softmax_row(&mut p);
        score_slopes(0.5, lse, &row, &row, &mut p, &mut dp);
        [p, dp].concat()
    });
}
