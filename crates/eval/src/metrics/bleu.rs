//! BLEU (Papineni et al. 2002, <https://aclanthology.org/P02-1040>) of a whole set, with the closest
//! reference's length, as pycocoevalcap computes it.

use std::collections::HashMap;

/// Longest n-grams.
pub const N: usize = 4;

/// What the BLEU of a set is a function of, summed over its captions: the candidates' words, the closest
/// references', and for each n the n-grams that fit and all.
pub type Counts = [f64; 2 + 2 * N];

/// How often each run of `n` words occurs.
pub fn ngrams(words: &[String], n: usize) -> HashMap<&[String], usize> {
    let mut counts = HashMap::new();
    words.windows(n).for_each(|ngram| *counts.entry(ngram).or_default() += 1);
    counts
}

/// The counts of one caption beside its references.
pub fn counts(candidate: &[String], references: &[Vec<String>]) -> Counts {
    let mut counts = [0.0; 2 + 2 * N];
    let lengths = references.iter().map(Vec::len);
    let closest = lengths.min_by_key(|length| (length.abs_diff(candidate.len()), *length));
    counts[0] = candidate.len() as f64;
    counts[1] = closest.unwrap_or(0) as f64;
    for n in 1..=N {
        let of_references: Vec<_> = references.iter().map(|words| ngrams(words, n)).collect();
        let most = |ngram: &[String]| {
            of_references.iter().filter_map(|counts| counts.get(ngram)).max().copied().unwrap_or(0)
        };
        let fitting = ngrams(candidate, n).into_iter().map(|(ngram, count)| count.min(most(ngram)));
        counts[2 * n] = fitting.sum::<usize>() as f64;
        counts[2 * n + 1] = (candidate.len() + 1).saturating_sub(n) as f64;
    }
    counts
}

/// BLEU of n-grams up to `n` words, 0 to 1, from the sums of [`counts`].
pub fn bleu(counts: &[f64], n: usize) -> f64 {
    // pycocoevalcap's, so that nothing is divided by 0.
    const SMALL: f64 = 1e-9;
    const TINY: f64 = 1e-15;
    let precisions =
        counts[2..2 + 2 * n].chunks_exact(2).map(|pair| (pair[0] + TINY) / (pair[1] + SMALL));
    let mean = precisions.product::<f64>().powf(1.0 / n as f64);
    let ratio = (counts[0] + TINY) / (counts[1] + SMALL);
    if ratio < 1.0 { mean * (1.0 - 1.0 / ratio).exp() } else { mean }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::tokens::words;

    #[test]
    fn counts_are_clipped_and_short_captions_pay() {
        let references = [words("the cat is on the mat"), words("there is a cat on the mat")];
        // Papineni's example: "the" counts twice at most.
        let found = counts(&words("the the the the the the the"), &references);
        assert_eq!(found[..6], [7.0, 7.0, 2.0, 7.0, 0.0, 6.0]);
        let found = counts(&words("the cat is"), &references);
        assert_eq!(found, [3.0, 6.0, 3.0, 3.0, 2.0, 2.0, 1.0, 1.0, 0.0, 0.0]);
        assert!((bleu(&found, 1) - (-1.0f64).exp()).abs() < 1e-6, "{}", bleu(&found, 1));
        let same = counts(&references[0], &references);
        assert!((bleu(&same, 4) - 1.0).abs() < 1e-6);
        assert!(bleu(&counts(&[], &references), 4) < 1e-9);
    }
}
