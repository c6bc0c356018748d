//! Tables of positions for pictures of another size.

/// Keys' cubic with a = -0.75, PyTorch's; Pillow's has -0.5.
const A: f32 = -0.75;

/// Where a resized place is read, of the places of the table, each with its weight.
pub type Taps = fn(place: usize, from: usize, to: usize) -> Vec<(usize, f32)>;

/// Resizes the grid behind the class token from `from`² to `to`² positions of width `e`, as PyTorch's
/// `interpolate(mode="bicubic", align_corners=False)` does, with `antialias` ([`antialiased`]) or without
/// ([`bicubic`]).
pub fn resize(table: Vec<f32>, [from, to]: [usize; 2], e: usize, taps: Taps) -> Vec<f32> {
    if from == to {
        return table;
    }
    let (class, grid) = table.split_at(e);
    let taps: Vec<Vec<(usize, f32)>> = (0..to).map(|place| taps(place, from, to)).collect();
    let mut out = Vec::with_capacity(e + to * to * e);
    out.extend_from_slice(class);
    for down in &taps {
        for across in &taps {
            let start = out.len();
            out.resize(start + e, 0.0);
            for (y, wy) in down {
                for (x, wx) in across {
                    let row = &grid[(y * from + x) * e..][..e];
                    let weight = wy * wx;
                    for (sum, value) in out[start..].iter_mut().zip(row) {
                        *sum += weight * value;
                    }
                }
            }
        }
    }
    out
}

/// The four places around an output's middle; edges are repeated.
pub fn bicubic(place: usize, from: usize, to: usize) -> Vec<(usize, f32)> {
    let scale = from as f32 / to as f32;
    let middle = scale * (place as f32 + 0.5) - 0.5;
    let t = middle - middle.floor();
    let first = middle.floor() as isize - 1;
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let weights = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
    let at = |i: usize| (first + i as isize).clamp(0, from as isize - 1) as usize;
    weights.into_iter().enumerate().map(|(i, weight)| (at(i), weight)).collect()
}

/// As many as an output covers, by Pillow's cubic (a = -0.5); there are none beyond the edges.
pub fn antialiased(place: usize, from: usize, to: usize) -> Vec<(usize, f32)> {
    let scale = from as f32 / to as f32;
    let wide = scale.max(1.0);
    let (middle, support) = (scale * (place as f32 + 0.5), 2.0 * wide);
    let first = (middle - support + 0.5).max(0.0) as usize;
    let last = ((middle + support + 0.5) as usize).min(from);
    let cubic = |x: f32| match x.abs() {
        x if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
        x if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
        _ => 0.0,
    };
    let weight = |at: usize| cubic((at as f32 - middle + 0.5) / wide);
    let all: f32 = (first..last).map(weight).sum();
    (first..last).map(|at| (at, weight(at) / all)).collect()
}

/// For each of `to` patches along an edge, the place of a table with `from` along an edge: the whole
/// edge is 1 long, and a patch takes the place in which it begins (Idefics2, Laurençon et al. 2024,
/// <https://arxiv.org/abs/2405.02246>, section 3.2). In `f32`, as the published code computes; for
/// tables of 16, 24, 26, 27, 32 and 70 places, those of published models, that gives its very
/// places. (For others a begin on a bound may fall to either side there too, by the machine.)
pub fn buckets(from: usize, to: usize) -> Vec<usize> {
    let step = 1.0 / from as f64;
    let bounds: Vec<f32> = (1..from).map(|i| (step + (i - 1) as f64 * step) as f32).collect();
    let patch = 1.0 / to as f32;
    let begins = (0..to).map(|i| (i as f32 * patch).min(1.0 - 1e-6));
    begins.map(|begin| bounds.iter().filter(|bound| **bound <= begin).count()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `torch.bucketize` as `Idefics3VisionEmbeddings` calls it.
    #[test]
    fn patches_look_up_the_places_where_they_begin() {
        assert_eq!(buckets(4, 4), [0, 1, 2, 3]);
        assert_eq!(buckets(4, 2), [0, 2]);
        assert_eq!(buckets(2, 4), [0, 0, 1, 1]);
        assert_eq!(buckets(1, 3), [0, 0, 0]);
        assert_eq!(buckets(5, 7), [0, 0, 1, 2, 2, 3, 4]);
        for side in [16, 24, 26, 27, 32, 70] {
            assert_eq!(buckets(side, side), (0..side).collect::<Vec<_>>());
        }
        let so400m = [
            0, 2, 5, 8, 10, 13, 16, 18, 21, 24, 26, 29, 32, 35, 37, 40, 43, 45, 48, 51, 53, 56, 59,
            61, 64, 67,
        ];
        assert_eq!(buckets(70, 26), so400m);
    }

    #[test]
    fn even_tables_stay_even_and_equal_sizes_stay_the_same() {
        let table: Vec<f32> = [vec![9.0], vec![2.0; 25]].concat();
        let small = resize(table.clone(), 5, 3, 1);
        assert_eq!((small.len(), small[0]), (10, 9.0));
        assert!(small[1..].iter().all(|x| (x - 2.0).abs() < 1e-5), "{small:?}");
        assert_eq!(resize(table.clone(), 5, 5, 1), table);
    }

    /// `torch.nn.functional.interpolate` of 0..9 as 3x3 to 2x2.
    #[test]
    fn numbers_are_pytorchs() {
        let table: Vec<f32> = (-1..9).map(|x| x as f32).collect();
        let got = resize(table, 3, 2, 1);
        let want = [-1.0, 0.765_625, 2.382_812_5, 5.617_187_5, 7.234_375];
        assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-5), "{got:?}");
    }
}
