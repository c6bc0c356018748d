use half::{bf16, f16};
use proptest::prelude::*;

use super::Kind;
use crate::testing::{assert_same_portably, random};

/// Number `i` of a block, computed in f64 straight from the table of bits.
fn naive(kind: Kind, block: &[u8], i: usize) -> f64 {
    let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f64();
    let nibble =
        |at: usize, upper: bool| f64::from(if upper { block[at] / 16 } else { block[at] % 16 });
    match kind {
        Kind::F32 => f64::from(f32::from_le_bytes(block.try_into().unwrap())),
        Kind::F16 => half(0),
        Kind::BF16 => bf16::from_le_bytes([block[0], block[1]]).to_f64(),
        Kind::Q8_0 => half(0) * f64::from(block[2 + i] as i8),
        Kind::Q4_0 => half(0) * (nibble(2 + i % 16, i >= 16) - 8.0),
        Kind::Q4_1 => half(0) * nibble(4 + i % 16, i >= 16) + half(2),
        Kind::Q5_0 | Kind::Q5_1 => {
            let first = block.len() - 16;
            let fifth = f64::from(block[first - 4 + i / 8] >> (i % 8) & 1);
            let code = nibble(first + i % 16, i >= 16) + 16.0 * fifth;
            if kind == Kind::Q5_0 { half(0) * (code - 16.0) } else { half(0) * code + half(2) }
        }
        Kind::IQ4_NL => half(0) * table(nibble(2 + i % 16, i >= 16)),
        Kind::Q2_K => {
            let code = block[16 + i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
            half(80) * nibble(i / 16, false) * f64::from(code) - half(82) * nibble(i / 16, true)
        }
        Kind::Q3_K => {
            let low = block[32 + i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
            let high = block[i % 32] >> (i / 32) & 1;
            let part = i / 16;
            let scale = nibble(96 + part % 8, part >= 8)
                + 16.0 * f64::from(block[104 + part % 4] >> (part / 4 * 2) & 3);
            half(108) * (scale - 32.0) * f64::from(low as i8 - if high > 0 { 0 } else { 4 })
        }
        Kind::IQ4_XS => {
            let eighth = i / 32;
            let high = u16::from_le_bytes([block[2], block[3]]) >> (2 * eighth) & 3;
            let scale = nibble(4 + eighth / 2, eighth % 2 == 1) + 16.0 * f64::from(high);
            half(0) * (scale - 32.0) * table(nibble(8 + eighth * 16 + i % 16, i % 32 >= 16))
        }
        Kind::Q4_K | Kind::Q5_K => {
            let eighth = i / 32;
            let bits = |at: usize, shift: u32, mask: u8| block[4 + at] >> shift & mask;
            let (scale, least) = match eighth {
                0..4 => (bits(eighth, 0, 63), bits(eighth + 4, 0, 63)),
                _ => (
                    bits(eighth + 4, 0, 15) + 16 * bits(eighth - 4, 6, 3),
                    bits(eighth + 4, 4, 15) + 16 * bits(eighth, 6, 3),
                ),
            };
            let mut code = nibble(block.len() - 128 + i / 64 * 32 + i % 32, eighth % 2 == 1);
            if kind == Kind::Q5_K {
                code += 16.0 * f64::from(block[16 + i % 32] >> eighth & 1);
            }
            half(0) * f64::from(scale) * code - half(2) * f64::from(least)
        }
        Kind::Q6_K => {
            let (half_block, within) = (i / 128, i % 128);
            let low = nibble(64 * half_block + within % 64, within >= 64);
            let high = block[128 + 32 * half_block + within % 32] >> (within / 32 * 2) & 3;
            let scale = block[192 + i / 16] as i8;
            half(208) * f64::from(scale) * (low + 16.0 * f64::from(high) - 32.0)
        }
    }
}

/// The number that a code of four bits stands for in the formats with a table.
fn table(code: f64) -> f64 {
    f64::from(super::parts::TABLE[code as usize])
}

fn widened(kind: Kind, bytes: &[u8]) -> Vec<f32> {
    let mut y = vec![0.0; bytes.len() / kind.block_bytes() * kind.block()];
    kind.dequantize(bytes, &mut y);
    y
}

/// Blocks of random bytes whose scales are made finite.
fn random_blocks(kind: Kind, seed: u64, blocks: usize) -> Vec<u8> {
    let n = blocks * kind.block_bytes();
    let mut bytes: Vec<u8> = random(seed, n).iter().map(|x| ((x + 1.0) * 128.0) as u8).collect();
    let (words, _) = kind.exponents();
    for block in bytes.chunks_exact_mut(kind.block_bytes()) {
        words.iter().for_each(|&at| block[at + 1] &= 0xbb);
    }
    bytes
}

#[test]
fn every_bit_of_a_block_counts_as_the_format_says() {
    for kind in Kind::ALL {
        let bytes = random_blocks(kind, kind as u64, 50);
        let got = widened(kind, &bytes);
        let blocks = bytes.chunks_exact(kind.block_bytes());
        for (block, got) in blocks.zip(got.chunks_exact(kind.block())) {
            for (i, &got) in got.iter().enumerate() {
                let want = naive(kind, block, i) as f32;
                assert_eq!(got.to_bits(), want.to_bits(), "{kind:?} number {i}: {got} {want}");
            }
        }
    }
}

#[test]
fn both_machines_give_the_same_bits() {
    for kind in Kind::ALL {
        assert_same_portably(|| widened(kind, &random_blocks(kind, 9, 5)));
    }
}

#[test]
fn a_known_block_of_q8_0() {
    let mut x = [0.0; 32];
    (x[0], x[1], x[2], x[3]) = (127.0, -127.0, 2.5, -2.5);
    let bytes = Kind::Q8_0.quantize(&x);
    // 1.0 as f16, then 127, -127 and halves away from zero: 3, -3.
    assert_eq!(bytes[..6], [0x00, 0x3c, 0x7f, 0x81, 0x03, 0xfd]);
    assert_eq!(Kind::Q8_0.quantize(&[0.0; 32]), [0; 34]);
}

#[test]
fn a_known_block_of_q4_0() {
    // Half a step a number: -8, -7.5 ... 7.5; codes 0, 1, 1, 2, 2 ... as halves go up, 16 to 15.
    let x: [f32; 32] = std::array::from_fn(|i| i as f32 / 2.0 - 8.0);
    let code = |i: usize| i.div_ceil(2).min(15) as u8;
    let mut want = vec![0x00, 0x3c];
    want.extend((0..16).map(|j| code(j) | code(j + 16) << 4));
    assert_eq!(Kind::Q4_0.quantize(&x), want);
    // Where +8 is further from zero than -7.5 the scale is negative, as in ggml.
    let turned = Kind::Q4_0.quantize(&x.map(|x| -x));
    assert_eq!(turned[..2], [0x00, 0xbc]);
    assert_eq!(Kind::Q4_0.quantize(&[0.0; 32])[..3], [0, 0x80, 0x88]);
}

#[test]
fn a_known_block_of_q4_1() {
    // From -3 to 12 in steps of 1: each code once up, once down.
    let x: [f32; 32] =
        std::array::from_fn(|i| if i < 16 { i as f32 - 3.0 } else { 28.0 - i as f32 });
    let mut want = vec![0x00, 0x3c, 0x00, 0xc2];
    want.extend((0..16_u8).map(|j| j | (15 - j) << 4));
    let bytes = Kind::Q4_1.quantize(&x);
    assert_eq!(bytes, want);
    assert_eq!(widened(Kind::Q4_1, &bytes), x);
}

#[test]
fn a_known_block_of_q4_k() {
    // Eighth e holds its codes times (e + 1), 2 e below zero; scales d = dmin = 1.
    let number = |i: usize| ((i % 16) * (i / 32 + 1)) as f32 - (2 * (i / 32)) as f32;
    let mut block = vec![0x00, 0x3c, 0x00, 0x3c];
    // Scales 1 to 8 and least values 0 to 14: none needs its upper two bits.
    block.extend([1, 2, 3, 4, 0, 2, 4, 6]);
    block.extend([5 | 8 << 4, 6 | 10 << 4, 7 | 12 << 4, 8 | 14 << 4]);
    block.extend((0..128).map(|j| (j % 16) as u8 * 0x11));
    assert_eq!(widened(Kind::Q4_K, &block), (0..256).map(number).collect::<Vec<_>>());
    // Upper bits: 48 more for eighth 4's scale, 16 more for eighth 7's least value.
    block[4] |= 0xc0;
    block[4 + 7] |= 0x40;
    let y = widened(Kind::Q4_K, &block);
    assert_eq!((y[4 * 32 + 3], y[7 * 32 + 3], y[3]), (3.0 * 53.0 - 8.0, 3.0 * 8.0 - 30.0, 3.0));
}

#[test]
fn a_known_block_of_q6_k() {
    // Number i has code i % 64, but sixteenths 8 to 15 have scale -2 in place of 1.
    let code = |i: usize| (i % 64) as u8;
    let mut block = vec![0; 210];
    for (i, byte) in block[..128].iter_mut().enumerate() {
        let lower = 128 * (i / 64) + i % 64;
        *byte = code(lower) & 15 | (code(lower + 64) & 15) << 4;
    }
    for i in 0..64 {
        let first = 128 * (i / 32) + i % 32;
        block[128 + i] = (0..4).map(|k| code(first + 32 * k) >> 4 << (2 * k)).sum();
    }
    block[192..200].fill(1);
    block[200..208].fill(254);
    block[208..].copy_from_slice(&f16::ONE.to_le_bytes());
    let want = |i: usize| (f32::from(code(i)) - 32.0) * if i < 128 { 1.0 } else { -2.0 };
    assert_eq!(widened(Kind::Q6_K, &block), (0..256).map(want).collect::<Vec<_>>());
}

#[test]
fn scales_that_are_no_numbers_are_found() {
    for kind in Kind::ALL {
        let good = random_blocks(kind, 4, 5);
        assert_eq!(kind.bad_block(&good), None, "{kind:?}");
        for &at in kind.exponents().0 {
            for word in [[0x00, 0x7c], [0x01, 0xfe], [0x80, 0x7f], [0x80, 0xff]] {
                let mut bytes = good.clone();
                bytes[3 * kind.block_bytes() + at..][..2].copy_from_slice(&word);
                let is_bad = widened(kind, &bytes).iter().any(|y| !y.is_finite());
                assert_eq!(kind.bad_block(&bytes), is_bad.then_some(3), "{kind:?} {word:02x?}");
            }
        }
        let huge = vec![f32::MAX; kind.block()];
        let is_wide = matches!(kind, Kind::F32);
        assert_eq!(kind.bad_block(&kind.quantize(&huge)).is_none(), is_wide, "{kind:?}");
    }
}

#[test]
#[should_panic(expected = "is not a multiple of 256")]
fn odd_lengths_are_not_packed() {
    Kind::Q4_K.quantize(&[0.0; 288]);
}

#[test]
#[should_panic(expected = "are no blocks of 18")]
fn odd_lengths_are_not_unpacked() {
    Kind::Q4_0.dequantize(&[0; 17], &mut [0.0; 32]);
}

#[test]
#[should_panic(expected = "dequantize: y")]
fn other_lengths_are_not_filled() {
    Kind::Q6_K.dequantize(&[0; 210], &mut [0.0; 255]);
}

/// What 127 steps are off whose f16 scale is the least there is.
const SUBNORMAL: f32 = 127.0 * 6e-8;

/// Steps that a number may be off, beside the rounding of the scales to f16.
fn steps_off(kind: Kind) -> f32 {
    // Steps from the largest magnitude down cannot reach as far on the other side.
    match kind {
        Kind::Q4_0 | Kind::Q5_0 => 1.0,
        // From 113 to 127.
        Kind::IQ4_NL | Kind::IQ4_XS => 14.0,
        _ => 0.5,
    }
}

/// The step of the part of a block of `x` that number `i` belongs to, as the format's scales give it.
fn step(kind: Kind, x: &[f32], bytes: &[u8], i: usize) -> f32 {
    let half = |at: usize| f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32().abs();
    let largest = x.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    match kind {
        Kind::F32 => 0.0,
        Kind::F16 => x[i].abs() / 1024.0 + 6e-8,
        Kind::BF16 => x[i].abs() / 128.0,
        // What the f16 scale is off counts once for each step of the number.
        Kind::Q8_0 => half(0) + 2.0 * largest / 2048.0,
        Kind::Q4_0 => half(0) + 2.0 * largest / 2048.0,
        Kind::Q5_0 | Kind::IQ4_NL => half(0) + 2.0 * largest / 2048.0,
        Kind::Q4_1 | Kind::Q5_1 => half(0) + 4.0 * largest / 2048.0,
        _ => {
            let parts = super::Parts::of(kind, bytes);
            let small = parts.small[i / kind.layout().group];
            f16::from_bits(parts.scale).to_f32() * f32::from(small)
        }
    }
}

proptest! {
    #[test]
    fn back_and_forth_stays_within_half_a_step(
        x in proptest::collection::vec(-100.0_f32..100.0, 256),
        shift in -150.0_f32..150.0,
        shrink in proptest::collection::vec(-10_i32..1, 8),
    ) {
        // Parts of very different size, and some that do not reach zero.
        let x: Vec<f32> =
            x.iter().enumerate().map(|(i, x)| (x + shift) * 2_f32.powi(shrink[i / 32])).collect();
        for kind in Kind::ALL {
            let bytes = kind.quantize(&x);
            prop_assert_eq!(bytes.len(), 256 / kind.block() * kind.block_bytes());
            let y = widened(kind, &bytes);
            for (b, x) in x.chunks_exact(kind.block()).enumerate() {
                let bytes = &bytes[b * kind.block_bytes()..][..kind.block_bytes()];
                for (i, &x_i) in x.iter().enumerate() {
                    let bound = steps_off(kind) * step(kind, x, bytes, i) * 1.0001
                        + 1e-6 * x_i.abs() + SUBNORMAL;
                    let y = y[b * kind.block() + i];
                    prop_assert!((x_i - y).abs() <= bound, "{:?}: {} became {}, bound {}", kind, x_i, y, bound);
                }
            }
        }
    }
}
