//! CIDEr-D (Vedantam et al. 2015, <https://arxiv.org/abs/1411.5726>), as pycocoevalcap computes it: how much
//! a caption has of the n-grams that people use for this picture and for few others.

use std::collections::{HashMap, HashSet};

use super::bleu::{N, ngrams};

/// Width of the bell by which captions of another length count less.
const SIGMA: f64 = 6.0;

/// In how many pictures' references each n-gram occurs.
#[derive(Debug)]
pub struct Cider<'a> {
    frequency: HashMap<&'a [String], usize>,
    /// Logarithm of the number of pictures.
    log_pictures: f64,
}

/// A caption: for each n the weights of its n-grams and their length, and how many words it has.
struct Vector<'a> {
    weights: [HashMap<&'a [String], f64>; N],
    norms: [f64; N],
    bigrams: f64,
}

impl<'a> Cider<'a> {
    /// Learns from all pictures' references which n-grams say little.
    pub fn new(references: &'a [Vec<Vec<String>>]) -> Self {
        let mut frequency = HashMap::new();
        for captions in references {
            let of_picture: HashSet<&[String]> =
                captions.iter().flat_map(|words| (1..=N).flat_map(|n| words.windows(n))).collect();
            of_picture.into_iter().for_each(|ngram| *frequency.entry(ngram).or_default() += 1);
        }
        Self { frequency, log_pictures: (references.len() as f64).ln() }
    }

    fn vector<'b>(&self, words: &'b [String]) -> Vector<'b> {
        let weights: [HashMap<&[String], f64>; N] = std::array::from_fn(|i| {
            let weight = |(ngram, count): (&'b [String], usize)| {
                let pictures = self.frequency.get(ngram).copied().unwrap_or(0).max(1) as f64;
                (ngram, count as f64 * (self.log_pictures - pictures.ln()))
            };
            ngrams(words, i + 1).into_iter().map(weight).collect()
        });
        // In the order of the text: a sum in a map's order would differ from run to run.
        let norm = |i: usize| {
            let mut seen = HashSet::new();
            let once = words.windows(i + 1).filter(|ngram| seen.insert(*ngram));
            once.map(|ngram| weights[i][ngram].powi(2)).sum::<f64>().sqrt()
        };
        let bigrams = words.len().saturating_sub(1) as f64;
        Vector { norms: std::array::from_fn(norm), weights, bigrams }
    }

    /// How well a caption fits the references of its picture, 0 to 10.
    pub fn score(&self, candidate: &[String], references: &[Vec<String>]) -> f64 {
        let ours = self.vector(candidate);
        let similarity = |reference: &Vec<String>| {
            let theirs = self.vector(reference);
            let difference = ours.bigrams - theirs.bigrams;
            let bell = (-difference * difference / (2.0 * SIGMA * SIGMA)).exp();
            bell * (0..N).map(|i| cosine(candidate, &ours, &theirs, i)).sum::<f64>() / N as f64
        };
        10.0 * references.iter().map(similarity).sum::<f64>() / references.len().max(1) as f64
    }
}

/// The cosine of two captions' n-grams of `i + 1` words, what the first has too often not counted.
fn cosine(words: &[String], ours: &Vector<'_>, theirs: &Vector<'_>, i: usize) -> f64 {
    let norm = ours.norms[i] * theirs.norms[i];
    if norm == 0.0 {
        return 0.0;
    }
    let mut seen = HashSet::new();
    let once = words.windows(i + 1).filter(|ngram| seen.insert(*ngram));
    let product = once.filter_map(|ngram| {
        let theirs = theirs.weights[i].get(ngram)?;
        Some(ours.weights[i][ngram].min(*theirs) * theirs)
    });
    product.sum::<f64>() / norm
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::tokens::words;

    #[test]
    fn what_all_pictures_have_says_nothing() {
        let references = [vec![words("a red dog runs home")], vec![words("a blue bird sings now")]];
        let cider = Cider::new(&references);
        let of = |candidate: &str| cider.score(&words(candidate), &references[0]);
        // All n-grams with one of the words that only this picture has: the cosines are 1.
        assert!((of("a red dog runs home") - 10.0).abs() < 1e-12);
        assert_eq!((of("a"), of(""), of("a blue bird sings now")), (0.0, 0.0, 0.0));
        // Of words and of pairs, one rare of the reference's four, 1 / (sqrt(1) sqrt(4)); no longer ones;
        // three pairs fewer.
        let short = of("a red");
        let bell = (-9.0f64 / 72.0).exp();
        assert!((short - 10.0 * bell * (0.5 + 0.5) / 4.0).abs() < 1e-12, "{short}");
        // Of one picture alone, every n-gram is in all.
        let alone = Cider::new(&references[..1]);
        assert_eq!(alone.score(&references[0][0], &references[0]), 0.0);
    }
}
