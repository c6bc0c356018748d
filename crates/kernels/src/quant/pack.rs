//! Numbers to blocks.

use half::f16;

use super::Kind;
use super::parts::{Parts, SIGN, TABLE};

/// The blocks of `x`, which is whole ones.
pub(super) fn quantize(kind: Kind, x: &[f32]) -> Vec<u8> {
    let parts = |x: &[f32]| match kind {
        Kind::F32 | Kind::F16 | Kind::BF16 => unreachable!("quant: numbers without blocks"),
        Kind::Q8_0 => q8_0(x),
        Kind::Q4_0 => from_largest(x, 8.0),
        Kind::Q5_0 => from_largest(x, 16.0),
        Kind::Q4_1 => from_least(x, 15.0),
        Kind::Q5_1 => from_least(x, 31.0),
        Kind::IQ4_NL => iq4_nl(x),
        Kind::Q2_K => ranges::<16>(x, 3.0, 15.0),
        Kind::Q4_K => ranges::<32>(x, 15.0, 63.0),
        Kind::Q5_K => ranges::<32>(x, 31.0, 63.0),
        Kind::Q3_K => magnitudes::<16>(x, 3.0, 31.0, |x| whole(x, 4.0)),
        Kind::Q6_K => magnitudes::<16>(x, 31.0, 127.0, |x| whole(x, 32.0)),
        Kind::IQ4_XS => magnitudes::<32>(x, 127.0, 31.0, nearest),
    };
    x.chunks_exact(kind.block()).flat_map(|x| parts(x).pack(kind)).collect()
}

/// Scale = largest magnitude / 127, halves away from 0.
fn q8_0(x: &[f32]) -> Parts {
    let scale = largest(x) / 127.0;
    // The numbers are divided by the scale before it is rounded to f16, as ggml does.
    let inverse = inverse(scale);
    coded(x, f16::from_f32(scale), 0, |x| ((x * inverse).round() as i8).cast_unsigned() ^ 0x80)
}

/// The number of largest magnitude becomes `-steps` exactly, so that all codes are of use.
fn from_largest(x: &[f32], steps: f32) -> Parts {
    let scale = furthest(x) / -steps;
    let (inverse, most) = (inverse(scale), 2 * steps as u8 - 1);
    // The cast stops at 0.
    let code = |x: f32| ((x * inverse + (steps + 0.5)) as u8).min(most);
    coded(x, f16::from_f32(scale), 0, code)
}

/// Scale = range / steps, from the least number.
fn from_least(x: &[f32], steps: f32) -> Parts {
    let (low, high) = range(x);
    let scale = (high - low) / steps;
    let inverse = inverse(scale);
    let code = |x: f32| (((x - low) * inverse + 0.5) as u8).min(steps as u8);
    coded(x, f16::from_f32(scale), f16::from_f32(low).to_bits() ^ SIGN, code)
}

/// The number of largest magnitude becomes the table's first.
fn iq4_nl(x: &[f32]) -> Parts {
    let scale = furthest(x) / f32::from(TABLE[0]);
    let inverse = inverse(scale);
    coded(x, f16::from_f32(scale), 0, |x| nearest(x * inverse))
}

/// A block of one group.
fn coded(x: &[f32], scale: f16, least: u16, code: impl Fn(f32) -> u8) -> Parts {
    let mut parts = Parts::single(scale, least);
    parts.codes.iter_mut().zip(x).for_each(|(to, x)| *to = code(*x));
    parts
}

/// Scales of up to `scales` that cover each group's range from 0 or its least number up to its largest
/// in so many steps; a number is then at most half a step off.
fn ranges<const GROUP: usize>(x: &[f32], steps: f32, scales: f32) -> Parts {
    let (groups, _) = x.as_chunks::<GROUP>();
    let all = groups.iter().map(|group| range(group)).collect::<Vec<_>>();
    let leasts = all.iter().map(|(low, _)| (-low).max(0.0));
    let (least, small_least) = covering(leasts, scales);
    let low = |g: usize| least.to_f32() * f32::from(small_least[g]);
    let reach = all.iter().enumerate().map(|(g, (_, high))| (high + low(g)).max(0.0) / steps);
    let (scale, small) = covering(reach, scales);

    let mut parts = Parts::single(scale, 0);
    (parts.least, parts.small, parts.small_least) = (least.to_bits(), small, small_least);
    for (g, (codes, x)) in parts.codes.chunks_exact_mut(GROUP).zip(groups).enumerate() {
        let (inverse, low) = (inverse(scale.to_f32() * f32::from(small[g])), low(g));
        for (code, x) in codes.iter_mut().zip(x) {
            *code = ((x + low) * inverse).round().clamp(0.0, steps) as u8;
        }
    }
    parts
}

/// Scales of up to `scales` that cover each group's largest magnitude with so many steps, of which
/// `code` makes codes.
fn magnitudes<const GROUP: usize>(
    x: &[f32],
    steps: f32,
    scales: f32,
    code: impl Fn(f32) -> u8,
) -> Parts {
    let (groups, _) = x.as_chunks::<GROUP>();
    let (scale, small) = covering(groups.iter().map(|group| largest(group) / steps), scales);
    let mut parts = Parts::single(scale, 0);
    parts.small = small;
    for (g, (codes, x)) in parts.codes.chunks_exact_mut(GROUP).zip(groups).enumerate() {
        let inverse = inverse(scale.to_f32() * f32::from(small[g]));
        codes.iter_mut().zip(x).for_each(|(to, x)| *to = code(x * inverse));
    }
    parts
}

/// Whole steps, raised by `zero`.
fn whole(x: f32, zero: f32) -> u8 {
    (x.round().clamp(-zero, zero - 1.0) + zero) as u8
}

/// The table's nearest number, raised by 128.
fn nearest(x: f32) -> u8 {
    let nearer =
        |a: i8, b: i8| if (x - f32::from(b)).abs() < (x - f32::from(a)).abs() { b } else { a };
    TABLE.into_iter().fold(TABLE[0], nearer).cast_unsigned() ^ 0x80
}

/// A scale in f16 and how many of it reach each of `wanted` at least, up to `most`. Both are rounded
/// up: a step that is a little too long costs precision, one too short cuts the largest number off.
fn covering(wanted: impl Iterator<Item = f32> + Clone, most: f32) -> (f16, [i8; 16]) {
    let scale = half_up(wanted.clone().fold(0.0_f32, f32::max) / most);
    let inverse = inverse(scale.to_f32());
    let mut small = [0; 16];
    small.iter_mut().zip(wanted).for_each(|(to, x)| *to = (x * inverse).ceil().min(most) as i8);
    (scale, small)
}

/// The least f16 that is not below `x`, which is not negative.
fn half_up(x: f32) -> f16 {
    let near = f16::from_f32(x);
    if near.to_f32() < x { f16::from_bits(near.to_bits() + 1) } else { near }
}

/// The largest magnitude.
fn largest(x: &[f32]) -> f32 {
    x.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()))
}

/// The number of largest magnitude.
fn furthest(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |most: f32, &x| if x.abs() > most.abs() { x } else { most })
}

/// Least and largest of `x`; NaN is passed over.
fn range(x: &[f32]) -> (f32, f32) {
    let widen = |(low, high): (f32, f32), &x: &f32| (low.min(x), high.max(x));
    x.iter().fold((f32::INFINITY, f32::NEG_INFINITY), widen)
}

/// `1 / scale`, 0 for a scale of 0: such a block holds zeros.
fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}
