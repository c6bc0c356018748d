use half::f16;
use proptest::prelude::*;

use super::*;
use crate::testing::{assert_close, assert_same_on_all_pools, assert_same_portably, random};

/// Every format; those of blocks last.
fn all() -> impl Iterator<Item = Format> {
    let blocks = Blocked::ALL.into_iter().map(Format::Blocks);
    [Format::F32, Format::Bf16, Format::Int8].into_iter().chain(blocks)
}

fn naive(rows: usize, in_: usize, out: usize, x: &[f32], w: &[f32], bias: &[f32]) -> Vec<f64> {
    let dot = |r: usize, o: usize| -> f64 {
        (0..in_).map(|i| f64::from(x[r * in_ + i]) * f64::from(w[o * in_ + i])).sum()
    };
    (0..rows * out).map(|at| dot(at / out, at % out) + f64::from(bias[at % out])).collect()
}

fn packed(format: Format, rows: usize, in_: usize, out: usize) -> Vec<f32> {
    let (x, w, bias) = (random(1, rows * in_), random(2, out * in_), random(3, out));
    Packed::new(format, out, in_, &w).linear(rows, &x, Some(&bias))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(700))]
    #[test]
    fn products_match_f64(rows in 0..30_usize, mut in_ in 0..90_usize, blocks in 0..3_usize, out in 0..80_usize) {
        if blocks > 0 {
            in_ = in_.next_multiple_of([32, 256][blocks - 1]);
        }
        let (x, w, bias) = (random(1, rows * in_), random(2, out * in_), random(3, out));
        let want = naive(rows, in_, out, &x, &w, &bias);
        for format in all() {
            // Half a step of rounding on each side, of numbers up to 1, added up as random errors: five
            // times their standard deviation.
            let step = match format {
                Format::F32 => 1e-6,
                Format::Bf16 => 1.0 / 256.0,
                Format::Int8 | Format::Blocks(Blocked::Q8_0) => 2.0 / 127.0,
                // Steps of a third of the range and of the largest magnitude, and of an eighth.
                Format::Blocks(Blocked::Q2_K | Blocked::Q3_K) => 2.0 / 3.0,
                Format::Blocks(_) => 2.0 / 8.0,
            };
            assert_close(&packed(format, rows, in_, out), &want, step * (in_ as f64).sqrt().max(4.0));
        }
    }
}

#[test]
fn int8_is_exact_on_integers() {
    let (rows, in_, out) = (13, 70, 45);
    let whole = |seed, n| -> Vec<f32> {
        let mut x: Vec<f32> = random(seed, n).iter().map(|x| (x * 127.0).round()).collect();
        x.iter_mut().step_by(in_).for_each(|x| *x = 127.0);
        x
    };
    let (x, w) = (whole(1, rows * in_), whole(2, out * in_));
    let y = Packed::new(Format::Int8, out, in_, &w).linear(rows, &x, None);
    assert_close(&y, &naive(rows, in_, out, &x, &w, &vec![0.0; out]), 1e-6);
}

#[test]
fn zeros_and_huge_rows_stay_finite() {
    let w = random(1, 4 * 8);
    for format in all() {
        let x = [[0.0; 8], [1e30; 8]].concat();
        let y = Packed::new(format, 4, 8, &w).linear(2, &x, None);
        assert!(y.iter().all(|y| y.is_finite()) && y[..4] == [0.0; 4], "{format:?}: {y:?}");
    }
}

#[test]
fn portable_integers_have_the_same_bits() {
    for (rows, in_, out) in
        [(1, 5, 3), (13, 66, 40), (12, 64, 32), (7, 96, 70), (8, 512, 33), (1, 256, 64)]
    {
        for format in all().skip(2) {
            assert_same_portably(|| packed(format, rows, in_, out));
        }
    }
}

/// Weights and activations of the largest magnitude that there is: no sum of integers overflows.
#[test]
fn largest_integers_have_the_same_bits() {
    let x = [1.0, -1.0].map(|x| [x; 256]).concat();
    for kind in Blocked::ALL {
        let size = kind.kind().block_bytes();
        for byte in [0xff, 0x7f, 0x80, 0] {
            let mut block = vec![byte; size];
            for at in [0, 2, 80, 82, 108, 208] {
                // Places of scales in one format or the other.
                if let Some(scale) = block.get_mut(at..at + 2) {
                    scale.copy_from_slice(&f16::ONE.to_le_bytes());
                }
            }
            let bytes = block.repeat(3 * 256 / kind.kind().block());
            let packed = Packed::from_blocks(kind, 3, 256, &bytes);
            assert_same_portably(|| packed.linear(2, &x, None));
        }
    }
    let packed = Packed::new(Format::Int8, 3, 256, &[-1.0; 3 * 256]);
    assert_same_portably(|| packed.linear(2, &x, None));
}

/// The blocks that a matrix is packed to are those that the format stores, so the only difference to
/// the unpacked matrix is the rounding of activations: none where they are integers.
#[test]
fn blocks_multiply_as_what_they_unpack_to() {
    let (rows, in_, out) = (7, 512, 70);
    let mut x: Vec<f32> = random(1, rows * in_).iter().map(|x| (x * 127.0).round()).collect();
    x.iter_mut().step_by(32).for_each(|x| *x = 127.0);
    for kind in Blocked::ALL {
        let bytes = kind.kind().quantize(&random(2, out * in_));
        let mut w = vec![0.0; out * in_];
        kind.kind().dequantize(&bytes, &mut w);
        let y = Packed::from_blocks(kind, out, in_, &bytes).linear(rows, &x, None);
        assert_close(&y, &naive(rows, in_, out, &x, &w, &vec![0.0; out]), 1e-4);
    }
}

#[test]
fn threads_and_other_rows_do_not_change_bits() {
    for format in all() {
        for (rows, in_, out) in [(1, 300, 1000), (50, 192, 768), (300, 100, 70), (20, 256, 300)] {
            assert_same_on_all_pools(|| packed(format, rows, in_, out));
        }
        let (all, one) = (packed(format, 130, 96, 50), packed(format, 1, 96, 50));
        assert_eq!(all[..50], one[..], "{format:?}");
    }
}

#[test]
fn dense_packing_equals_a_product() {
    for (rows, in_, out) in [(130, 500, 65), (20, 1024, 40), (13, 2048, 17), (3, 7, 5)] {
        let (x, w, bias) = (random(1, rows * in_), random(2, out * in_), random(3, out));
        for (format, precision) in [(Format::F32, Precision::F32), (Format::Bf16, Precision::Bf16)]
        {
            let mut y = vec![0.0; rows * out];
            crate::linear::linear(precision, rows, in_, out, &x, &w, Some(&bias), &mut y);
            assert_eq!(packed(format, rows, in_, out), y);
        }
    }
}

/// Several products at once, what follows them, and sums: bit for bit what the steps give one by one.
#[test]
fn fused_steps_have_the_bits_of_single_ones() {
    use crate::activation::{gelu, swiglu};
    for format in all() {
        for (rows, in_, out) in [(1, 64, 70), (5, 32, 33), (50, 256, 200), (130, 64, 31)] {
            let (x, w, bias) = (random(1, rows * in_), random(2, out * in_), random(3, out));
            let (gate, up) = (
                Packed::new(format, out, in_, &w),
                Packed::new(format, out, in_, &random(4, w.len())),
            );
            let other = Packed::new(Format::Int8, 7, in_, &w[..7 * in_]);
            let (g, u) = (gate.linear(rows, &x, Some(&bias)), up.linear(rows, &x, None));
            let mut want = g.clone();
            want.extend(other.linear(rows, &x, None));
            for kind in [Gelu::Erf, Gelu::Tanh, Gelu::Quick] {
                let mut y = vec![0.0; g.len()];
                gelu(kind, &g, &mut y);
                want.extend(y);
            }
            let mut y = vec![0.0; g.len()];
            swiglu(&g, &u, &mut y);
            want.extend(y);
            let product = |weights, bias, then| Product { weights, bias, then };
            let gelu = |kind| product(&gate, Some(&bias[..]), Then::Gelu(kind));
            let got = products(
                &[
                    product(&gate, Some(&bias), Then::Nothing),
                    product(&other, None, Then::Nothing),
                    gelu(Gelu::Erf),
                    gelu(Gelu::Tanh),
                    gelu(Gelu::Quick),
                    product(&gate, Some(&bias), Then::Gate(&up)),
                ],
                rows,
                &x,
            );
            assert_eq!(got, want, "{format:?} {rows} x {in_} x {out}");
            let mut sum = random(5, g.len());
            let want: Vec<f32> = sum.iter().zip(&g).map(|(x, y)| x + y).collect();
            gate.add_linear(rows, &x, Some(&bias), &mut sum);
            assert_eq!(sum, want, "{format:?} {rows} x {in_} x {out}");
        }
    }
}
