//! A table of positions for pictures of another size.

/// Keys' cubic with a = -0.75, PyTorch's; Pillow's has -0.5.
const A: f32 = -0.75;

/// Resizes the grid behind the class token from `from`² to `to`² positions of width `e`, as PyTorch's
/// `interpolate(mode="bicubic", align_corners=False)` does: no antialiasing, edges repeated.
pub fn resize(table: Vec<f32>, from: usize, to: usize, e: usize) -> Vec<f32> {
    if from == to {
        return table;
    }
    let (class, grid) = table.split_at(e);
    let taps: Vec<[(usize, f32); 4]> = (0..to).map(|place| taps(place, from, to)).collect();
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

/// The four places around an output's middle, and their weights.
fn taps(place: usize, from: usize, to: usize) -> [(usize, f32); 4] {
    let scale = from as f32 / to as f32;
    let middle = scale * (place as f32 + 0.5) - 0.5;
    let t = middle - middle.floor();
    let first = middle.floor() as isize - 1;
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let weights = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
    std::array::from_fn(|i| {
        let at = (first + i as isize).clamp(0, from as isize - 1) as usize;
        (at, weights[i])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
