//! Every row of a forward pass has the bits that it has alone, at every level: texts that are decoded
//! at once are each what they would be by themselves.

use proptest::prelude::*;

use crate::Precision;
use crate::activation::Gelu;
use crate::linear::linear;
use crate::norm::{layer_norm, rms_norm};
use crate::packed::{Blocked, Format, Packed, Product, Then, products};
use crate::rotary::{rotary, rotary_tables};
use crate::simd::Level;
use crate::testing::{at_most, random};

const LEVELS: [Level; 4] = [Level::Portable, Level::Lanes, Level::Avx2, Level::Avx512];
const FORMATS: [Format; 8] = [
    Format::F32,
    Format::Bf16,
    Format::Int8,
    Format::Blocks(Blocked::Q8_0),
    Format::Blocks(Blocked::Q4_0),
    Format::Blocks(Blocked::Q4_1),
    Format::Blocks(Blocked::Q4_K),
    Format::Blocks(Blocked::Q6_K),
];

/// Fails unless `f` makes of all of `x [rows, d]` what it makes of each row, which it is given with its
/// number; at every level.
fn assert_alone(d: usize, x: &[f32], f: impl Fn(usize, &[f32]) -> Vec<f32>) {
    for level in LEVELS {
        at_most(level, || {
            let each: Vec<_> = x.chunks(d).enumerate().flat_map(|(row, x)| f(row, x)).collect();
            let bits = |y: Vec<f32>| y.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            assert!(bits(f(0, x)) == bits(each), "{level:?}: a row depends on others");
        });
    }
}

/// Outputs of a packed layer with each of what may follow, a row's side by side.
fn layers(packed: &[Packed; 2], bias: &[f32], rows: usize, x: &[f32]) -> Vec<f32> {
    let ([gate, up], out) = (packed, bias.len());
    let mut all = Vec::new();
    for then in [Then::Nothing, Then::Gelu(Gelu::Erf), Then::Gelu(Gelu::Tanh), Then::Gate(up)] {
        all.push(products(&[Product { weights: gate, bias: Some(bias), then }], rows, x));
    }
    let mut sum = random(5, out).repeat(rows);
    gate.add_linear(rows, x, None, &mut sum);
    all.push(sum);
    let row = |row: usize| all.iter().flat_map(move |y| y[row * out..(row + 1) * out].to_vec());
    (0..rows).flat_map(row).collect()
}

fn packed(format: Format, out: usize, in_: usize) -> [Packed; 2] {
    [1, 2].map(|seed| Packed::new(format, out, in_, &random(seed, out * in_)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn of_packed_layers(rows in 1..40_usize, in_ in 1..90_usize, blocks in 0..3_usize, out in 1..70_usize, seed: u64) {
        let in_ = in_.next_multiple_of([1, 32, 256][blocks]);
        // More would go to other threads, which are at the highest level.
        let rows = rows.min(250_000 / (in_ * out)).max(1);
        let (x, bias) = (random(seed, rows * in_), random(seed ^ 1, out));
        for format in FORMATS {
            let packed = packed(format, out, in_);
            assert_alone(in_, &x, |_, x| layers(&packed, &bias, x.len() / in_, x));
        }
    }

    #[test]
    fn of_layers(rows in 1..40_usize, in_ in 1..90_usize, out in 1..70_usize, seed: u64) {
        let (x, w, bias) = (random(seed, rows * in_), random(1, out * in_), random(2, out));
        for precision in [Precision::F32, Precision::Bf16] {
            assert_alone(in_, &x, |_, x| {
                let rows = x.len() / in_;
                let mut y = vec![f32::NAN; rows * out];
                linear(precision, rows, in_, out, x, &w, Some(&bias), &mut y);
                y
            });
        }
    }

    #[test]
    fn of_norms(rows in 1..40_usize, d in 1..80_usize, seed: u64) {
        let (x, gamma, beta) = (random(seed, rows * d), random(1, d), random(2, d));
        assert_alone(d, &x, |_, x| {
            let (mut y, rows) = (vec![0.0; x.len()], x.len() / d);
            let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
            layer_norm(rows, d, x, &gamma, &beta, 1e-5, &mut y, &mut mean, &mut rstd);
            y
        });
        assert_alone(d, &x, |_, x| {
            let (mut y, rows) = (vec![0.0; x.len()], x.len() / d);
            rms_norm(rows, d, x, &gamma, 1e-5, &mut y, &mut vec![0.0; rows]);
            y
        });
    }

    #[test]
    fn of_rotations(rows in 1..40_usize, heads in 1..4_usize, half in 1..20_usize, seed: u64) {
        let row = heads * 2 * half;
        let x = random(seed, rows * row);
        let (cos, sin) = rotary_tables(1e4, 2 * half, 3..3 + rows);
        assert_alone(row, &x, |first, x| {
            let (mut y, rows) = (vec![0.0; x.len()], x.len() / row);
            let own = first * half..(first + rows) * half;
            rotary(rows, 1, heads, 2 * half, x, &cos[own.clone()], &sin[own], &mut y);
            y
        });
    }
}

/// On all threads, at sizes of real layers.
#[test]
fn of_large_layers() {
    for (in_, out) in [(512, 1500), (1536, 576), (2048, 70)] {
        for format in FORMATS {
            let (packed, x, bias) = (packed(format, out, in_), random(3, 33 * in_), random(4, out));
            for rows in [2, 8, 13, 16, 33] {
                let all = layers(&packed, &bias, rows, &x[..rows * in_]);
                let each = x.chunks(in_).take(rows).flat_map(|x| layers(&packed, &bias, 1, x));
                assert!(all.into_iter().eq(each), "{format:?}, {rows} rows of {in_} to {out}");
            }
        }
    }
}
