//! Another sample rate: band-limited interpolation (Smith and Gossett 1984).
//!
//! Every output sample is a sum of the input around its place, weighted by a sinc under a Kaiser
//! window. Rates have few distinct places between two input samples, so the weights of each are made
//! once.

/// Zero crossings of the sinc on each side.
const ZEROS: f64 = 32.0;
/// Of the Kaiser window: what is to be removed is 95 dB down.
const BETA: f64 = 9.6;
/// Where the filter begins to fall, of the highest frequency that both rates hold.
const PASS: f64 = 0.94;
/// Most sets of weights. Rates with more distinct places take the set before theirs, which is at most
/// 1/4096 of a sample away.
const MAX_PHASES: u64 = 4096;
/// Samples that are taken at a time where all of them are there.
const PIECE: usize = 1 << 16;

/// Samples that come in pieces, at another rate.
pub(super) struct Resampler {
    /// Output sample i stands at i * step / places of the input.
    step: u64,
    places: u64,
    filters: Filters,
    /// The input from sample `start` on: no output that is still to come reads what was before.
    input: Vec<f32>,
    start: u64,
    /// Samples that were given out.
    given: u64,
}

impl Resampler {
    /// From `from` samples a second to `to`; both above 0.
    pub(super) fn new(from: u32, to: u32) -> Self {
        let (from, to) = (u64::from(from), u64::from(to));
        let common = divisor(from, to);
        let (step, places) = (from / common, to / common);
        let cutoff = PASS * (to as f64 / from as f64).min(1.0);
        let filters = Filters::new(places.min(MAX_PHASES), cutoff);
        Self { step, places, filters, input: Vec::new(), start: 0, given: 0 }
    }

    /// Takes the next samples; gives out those whose surroundings are known by then.
    pub(super) fn push(&mut self, samples: &[f32], output: &mut Vec<f32>) {
        self.input.extend_from_slice(samples);
        let reach = self.filters.taps as u64 / 2;
        while self.place() + reach < self.known() {
            output.push(self.next());
        }
        let passed = (self.place() + 1).saturating_sub(reach + self.start);
        let passed = (passed as usize).min(self.input.len());
        self.input.drain(..passed);
        self.start += passed as u64;
    }

    /// Gives out the rest: behind the last sample there is silence.
    pub(super) fn finish(mut self, output: &mut Vec<f32>) {
        let count = (self.known() * self.places).div_ceil(self.step);
        while self.given < count {
            output.push(self.next());
        }
    }

    /// Samples that were taken.
    fn known(&self) -> u64 {
        self.start + self.input.len() as u64
    }

    /// The input sample at or before the next output.
    fn place(&self) -> u64 {
        self.given * self.step / self.places
    }

    fn next(&mut self) -> f32 {
        let part = self.given * self.step % self.places;
        let weights = self.filters.at((part * self.filters.phases / self.places) as usize);
        let sample = around(&self.input, (self.place() - self.start) as usize, weights);
        self.given += 1;
        sample
    }
}

/// All of `samples` at another rate.
pub(super) fn resample(samples: &[f32], from: u32, to: u32) -> Vec<f32> {
    let mut resampler = Resampler::new(from, to);
    let mut output = Vec::new();
    for piece in samples.chunks(PIECE) {
        resampler.push(piece, &mut output);
    }
    resampler.finish(&mut output);
    output
}

/// The greatest common divisor (Euclid).
fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

/// The sum of the samples around `at`, zeros beyond the ends.
fn around(samples: &[f32], at: usize, weights: &[f32]) -> f32 {
    let before = weights.len() / 2 - 1;
    let skipped = before.saturating_sub(at).min(weights.len());
    let first = (at + skipped).saturating_sub(before).min(samples.len());
    dot(&samples[first..], &weights[skipped..])
}

/// Over the shorter of both; eight sums, so that the compiler takes vectors.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    let mut sums = [0.0f32; 8];
    let (whole_a, whole_b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = whole_a.remainder().iter().zip(whole_b.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in whole_a.zip(whole_b) {
        for (sum, (x, y)) in sums.iter_mut().zip(x.iter().zip(y)) {
            *sum += x * y;
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// The weights of each place between two input samples.
struct Filters {
    phases: u64,
    taps: usize,
    weights: Vec<f32>,
}

impl Filters {
    /// `cutoff` is a share of half the input's rate.
    fn new(phases: u64, cutoff: f64) -> Self {
        let reach = ZEROS / cutoff;
        let taps = 2 * reach.ceil() as usize;
        let mut weights = Vec::with_capacity(phases as usize * taps);
        for phase in 0..phases {
            let place = (taps / 2 - 1) as f64 + phase as f64 / phases as f64;
            let row: Vec<f64> =
                (0..taps).map(|tap| weight(tap as f64 - place, cutoff, reach)).collect();
            // Silence and constants stay what they are at every place.
            let sum: f64 = row.iter().sum();
            weights.extend(row.iter().map(|w| (w / sum) as f32));
        }
        Self { phases, taps, weights }
    }

    fn at(&self, phase: usize) -> &[f32] {
        &self.weights[phase * self.taps..][..self.taps]
    }
}

/// Of a sample `x` away.
fn weight(x: f64, cutoff: f64, reach: f64) -> f64 {
    let inside = 1.0 - (x / reach).powi(2);
    if inside <= 0.0 {
        return 0.0;
    }
    let angle = std::f64::consts::PI * cutoff * x;
    let sinc = if angle.abs() < 1e-9 { 1.0 } else { angle.sin() / angle };
    sinc * bessel(BETA * inside.sqrt())
}

/// The modified Bessel function of order 0, by its power series.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for n in 1..60 {
        term *= (x / (2.0 * f64::from(n))).powi(2);
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    fn sine(hertz: f64, rate: u32, count: usize) -> Vec<f32> {
        (0..count).map(|i| (TAU * hertz * i as f64 / f64::from(rate)).sin() as f32).collect()
    }

    /// The largest difference away from the ends, where the filter sees beyond them.
    fn off(got: &[f32], want: &[f32]) -> f32 {
        let inner = got.len() / 8..got.len() * 7 / 8;
        got[inner.clone()]
            .iter()
            .zip(&want[inner])
            .fold(0.0, |most, (a, b)| most.max((a - b).abs()))
    }

    #[test]
    fn tones_that_both_rates_hold_stay() {
        for (from, to) in [(44_100, 16_000), (8_000, 16_000), (48_000, 16_000), (22_050, 16_000)] {
            for hertz in [0.0, 50.0, 440.0, 3_000.0] {
                let count = from as usize;
                let got = resample(&sine(hertz, from, count), from, to);
                assert_eq!(got.len(), to as usize);
                let wrong = off(&got, &sine(hertz, to, got.len()));
                assert!(wrong < 1e-4, "{hertz} Hz from {from} to {to}: {wrong}");
            }
        }
    }

    #[test]
    fn tones_that_the_new_rate_cannot_hold_go() {
        for (from, hertz) in [(44_100, 9_000.0), (48_000, 15_900.0), (48_000, 23_000.0)] {
            let got = resample(&sine(hertz, from, from as usize), from, 16_000);
            let left = off(&got, &vec![0.0; got.len()]);
            assert!(left < 1e-4, "{hertz} Hz of {from}: {left}");
        }
    }

    #[test]
    fn pieces_of_any_length_give_the_same_samples() {
        let sound = sine(700.0, 44_100, 20_000);
        for (from, to) in [(44_100, 16_000), (8_000, 16_000), (384_000, 16_000)] {
            let whole = resample(&sound, from, to);
            for length in [1, 7, 1152, 19_999] {
                let (mut resampler, mut got) = (Resampler::new(from, to), Vec::new());
                sound.chunks(length).for_each(|piece| resampler.push(piece, &mut got));
                resampler.finish(&mut got);
                assert!(got == whole, "{length} samples of {from} Hz at a time");
            }
        }
    }

    #[test]
    fn rates_without_a_common_measure_come_near() {
        let got = resample(&sine(700.0, 44_101, 44_101), 44_101, 16_000);
        assert!(off(&got, &sine(700.0, 16_000, got.len())) < 1e-4);
        for (from, to, count) in [(384_000, 16_000, 7), (1, 16_000, 3), (16_000, 1, 5)] {
            let got = resample(&vec![0.5; count], from, to);
            assert_eq!(got.len() as u64, (count as u64 * u64::from(to)).div_ceil(u64::from(from)));
            assert!(got.iter().all(|x| x.is_finite()));
        }
    }
}
