//! A random order of any number of things that needs no memory: position `index` of epoch `epoch` can
//! be asked for on its own, so that a run resumes in the middle of an epoch.
//!
//! A Feistel network permutes the numbers of `2n` bits, whatever its rounds compute (Luby, Rackoff
//! 1988, <https://doi.org/10.1137/0217022>); numbers that it takes outside are sent through again
//! until they come back in (Black, Rogaway 2002, <https://doi.org/10.1007/3-540-45760-7_9>).

use sensorium_kernels::rng::{Rng, mix};

/// The stream of random numbers that orders are made of.
const SHUFFLE: u64 = 0x5F1E;

/// What stands at position `index` of a random order of `0..len`. Each number stands at one position;
/// each epoch has another order. An `index` outside counts on from the start.
pub(crate) fn shuffled(seed: u64, epoch: u64, index: u64, len: u64) -> u64 {
    if len < 2 {
        return 0;
    }
    let bits = (u64::BITS - (len - 1).leading_zeros()).div_ceil(2);
    let rng = &mut Rng::at(seed, SHUFFLE, epoch);
    let keys: [u64; 6] = std::array::from_fn(|_| rng.next_u64());
    let mut at = permuted(index % len, bits, &keys);
    while at >= len {
        at = permuted(at, bits, &keys);
    }
    at
}

/// A permutation of the numbers of `2 * bits` bits.
fn permuted(at: u64, bits: u32, keys: &[u64]) -> u64 {
    let mask = (1 << bits) - 1;
    let halves = (at >> bits, at & mask);
    let round = |(left, right), key| (right, left ^ (mix(right ^ key) & mask));
    let (left, right) = keys.iter().fold(halves, round);
    left << bits | right
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_number_comes_once(seed: u64, epoch: u64, len in 1u64..2_000) {
            let mut order: Vec<u64> = (0..len).map(|i| shuffled(seed, epoch, i, len)).collect();
            order.sort_unstable();
            prop_assert!(order.into_iter().eq(0..len));
        }

        #[test]
        fn any_length_is_kept_to(seed: u64, index: u64, len in 1u64..) {
            prop_assert!(shuffled(seed, 0, index, len) < len);
        }
    }

    #[test]
    fn epochs_and_seeds_have_orders_of_their_own() {
        let order = |seed, epoch| (0..1_000).map(|i| shuffled(seed, epoch, i, 1_000)).collect();
        let (a, b, c): (Vec<u64>, Vec<u64>, Vec<u64>) = (order(1, 0), order(1, 1), order(2, 0));
        assert!(a != b && a != c && b != c);
        let kept = a.iter().zip(0..).filter(|(at, index)| *at == index);
        assert!(kept.count() < 10);
    }
}
