//! From logits to the next token: greedy, temperature, top-k, top-p, min-p.

use sensorium_nn::rng::Rng;
use serde::{Deserialize, Serialize};

/// How the next token is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Logits are divided by this; 0 takes the best token (greedy).
    pub temperature: f32,
    /// Only the `top_k` best tokens; 0 keeps all.
    pub top_k: usize,
    /// Only the fewest best tokens whose probabilities reach `top_p` (Holtzman et al. 2019).
    pub top_p: f32,
    /// Only tokens that are at least so likely, as a share of the likeliest (Nguyen et al. 2024,
    /// <https://arxiv.org/abs/2407.01082>); 0 keeps all.
    pub min_p: f32,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 0 }
    }
}

/// Draws tokens; same seed and logits, same tokens.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    rng: Rng,
}

impl Sampler {
    /// A sampler at the start of its stream.
    pub fn new(sampling: Sampling) -> Self {
        Self { sampling, rng: Rng::new(sampling.seed) }
    }

    /// The next token from `logits [V]`. Equal logits go to the lower id.
    pub fn pick(&mut self, logits: &[f32]) -> u32 {
        if self.sampling.temperature <= 0.0 {
            return best(logits);
        }
        let candidates = self.candidates(logits);
        let mut draw = self.rng.uniform() * candidates.iter().map(|&(_, p)| p).sum::<f64>();
        for &(id, p) in &candidates {
            draw -= p;
            if draw < 0.0 {
                return id;
            }
        }
        candidates.first().map_or(0, |&(id, _)| id)
    }

    /// Ids with their unnormalised probabilities, best first, cut by top-k and top-p.
    fn candidates(&self, logits: &[f32]) -> Vec<(u32, f64)> {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
        if self.sampling.top_k > 0 {
            order.truncate(self.sampling.top_k);
        }
        let top = order.first().map_or(0.0, |&id| logits[id as usize]);
        let weight =
            |id: u32| f64::from((logits[id as usize] - top) / self.sampling.temperature).exp();
        let mut weighted: Vec<(u32, f64)> = order.iter().map(|&id| (id, weight(id))).collect();
        let limit = f64::from(self.sampling.top_p) * weighted.iter().map(|&(_, p)| p).sum::<f64>();
        let mut reached = 0.0;
        let kept = weighted.iter().take_while(|&&(_, p)| {
            let keep = reached < limit;
            reached += p;
            keep
        });
        let kept = kept.count().max(1);
        weighted.truncate(kept);
        // Of the likeliest the weight is 1.
        weighted.retain(|&(_, p)| p >= f64::from(self.sampling.min_p).min(1.0));
        weighted
    }
}

/// The first largest logit. Block by block: a vocabulary is long, and this is done for every token.
fn best(logits: &[f32]) -> u32 {
    const BLOCK: usize = 1024;
    const LANES: usize = 16;
    let largest = |block: &[f32]| {
        let mut most = [f32::NEG_INFINITY; LANES];
        for lanes in block.chunks(LANES) {
            for (most, &x) in most.iter_mut().zip(lanes) {
                *most = if x > *most { x } else { *most };
            }
        }
        most.into_iter().fold(f32::NEG_INFINITY, |most, x| if x > most { x } else { most })
    };
    let (mut at, mut most) = (0, f32::NEG_INFINITY);
    for (i, block) in logits.chunks(BLOCK).enumerate() {
        let x = largest(block);
        if x > most {
            (at, most) = (i * BLOCK, x);
        }
    }
    let block = &logits[at..logits.len().min(at + BLOCK)];
    (at + block.iter().position(|&x| x == most).unwrap_or(0)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [0.0, 3.0, 1.0, 3.0, -2.0];

    fn draws(sampling: Sampling) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling);
        (0..2000).map(|_| sampler.pick(&LOGITS)).collect()
    }

    #[test]
    fn greedy_takes_the_first_best() {
        assert_eq!(Sampler::new(Sampling::default()).pick(&LOGITS), 1);
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let sampling = Sampling { temperature: 1.0, top_k: 2, ..Sampling::default() };
        assert!(draws(sampling).iter().all(|id| [1, 3].contains(id)));
        let sampling = Sampling { temperature: 1.0, top_p: 0.5, ..Sampling::default() };
        assert!(draws(sampling).iter().all(|id| [1, 3].contains(id)));
        let sampling = Sampling { temperature: 1.0, min_p: 0.5, ..Sampling::default() };
        assert!(draws(sampling).iter().all(|id| [1, 3].contains(id)));
        let sampling = Sampling { temperature: 1.0, min_p: 0.1, ..Sampling::default() };
        assert!(draws(sampling).contains(&2) && !draws(sampling).contains(&0));
        let sampling = Sampling { temperature: 1.0, ..Sampling::default() };
        assert!(draws(sampling).contains(&2));
    }

    #[test]
    fn same_seed_same_tokens() {
        let sampling = Sampling { temperature: 0.7, seed: 5, ..Sampling::default() };
        assert_eq!(draws(sampling), draws(sampling));
        assert_ne!(draws(sampling), draws(Sampling { seed: 6, ..sampling }));
    }
}
