//! Random numbers that are a pure function of their seed and of how many were drawn.
//!
//! SplitMix64 (Steele, Lea, Flood 2014, <https://doi.org/10.1145/2660193.2660195>) used as a
//! counter: number `n` of a generator is `mix(key + n * golden)`. No state is shared between
//! samples, so the order in which threads make them cannot matter.

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A small generator of random numbers; see the module.
#[derive(Clone, Debug)]
pub struct Rng {
    key: u64,
    drawn: u64,
}

impl Rng {
    /// The generator of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { key: mix(seed ^ 0x5e45_0121_a11c_e5ed), drawn: 0 }
    }

    /// The generator of sample `index` in `stream` (one stream per purpose and split) of `seed`.
    pub fn at(seed: u64, stream: u64, index: u64) -> Self {
        // Each word is mixed in on its own: (1, 2, 3) and (3, 2, 1) have nothing in common.
        let key = mix(mix(mix(seed ^ GOLDEN).wrapping_add(stream)).wrapping_add(index));
        Self { key, drawn: 0 }
    }

    /// Next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(1);
        mix(self.key.wrapping_add(self.drawn.wrapping_mul(GOLDEN)))
    }

    /// Uniform in `0..n`; 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        // Multiply-shift: bias is n / 2^64, far below anything a data set can show.
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// Uniform in `low..=high`; `low` when the range is empty.
    pub fn range(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// Uniform in `[0, 1)`, 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal (Box and Muller, one of the pair).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Uniform in `[0, 1)`, 24 random bits.
    pub fn f32(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Uniform in `[low, high)`.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.f32()
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f32) -> bool {
        self.f32() < p
    }

    /// One of `items`, or nothing when there are none.
    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    /// One of a list that is never empty, because its length is part of its type.
    pub fn pick<T: Copy, const N: usize>(&mut self, items: &[T; N]) -> T {
        const { assert!(N > 0, "nothing to pick from") };
        items[self.below(N)]
    }

    /// Puts `items` into random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.range(0, last));
        }
    }
}

/// SplitMix64's finisher: every input bit reaches every output bit.
pub fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A number that depends on every byte of `text` and on nothing else.
pub fn hash(text: &str) -> u64 {
    text.bytes().fold(1, |sum, byte| mix(sum ^ u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_words_same_numbers() {
        let (mut a, mut b) = (Rng::at(1, 2, 3), Rng::at(1, 2, 3));
        assert!((0..100).all(|_| a.next_u64() == b.next_u64()));
        assert_ne!(Rng::at(1, 2, 3).next_u64(), Rng::at(3, 2, 1).next_u64());
    }

    #[test]
    fn normal_has_unit_variance() {
        let mut rng = Rng::new(1);
        let n = 20_000;
        let draws: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
        let mean = draws.iter().sum::<f64>() / n as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.03, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.05, "variance {variance}");
    }

    #[test]
    fn below_is_uniform() {
        let mut seen = [0usize; 10];
        for index in 0..20_000 {
            seen[Rng::at(5, 0, index).below(10)] += 1;
        }
        assert!(seen.iter().all(|n| (1850..2150).contains(n)), "{seen:?}");
    }

    #[test]
    fn edges() {
        let mut rng = Rng::at(0, 0, 0);
        assert_eq!((rng.below(0), rng.below(1), rng.range(4, 4), rng.range(4, 1)), (0, 0, 4, 4));
        assert!(rng.choose::<u8>(&[]).is_none());
        let mut items: Vec<u32> = (0..50).collect();
        rng.shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
