//! ROUGE-L (Lin 2004, <https://aclanthology.org/W04-1013>): the longest common subsequence of a caption and
//! its references, as pycocoevalcap weighs it.

/// How much more recall weighs than precision.
const BETA: f64 = 1.2;

/// 0 to 1, from the best precision and the best recall among the references.
pub fn rouge_l(candidate: &[String], references: &[Vec<String>]) -> f64 {
    let (mut precision, mut recall) = (0.0, 0.0);
    for reference in references {
        let common = longest_common_subsequence(candidate, reference) as f64;
        precision = f64::max(precision, common / candidate.len().max(1) as f64);
        recall = f64::max(recall, common / reference.len().max(1) as f64);
    }
    if precision == 0.0 || recall == 0.0 {
        return 0.0;
    }
    (1.0 + BETA * BETA) * precision * recall / (recall + BETA * BETA * precision)
}

fn longest_common_subsequence(a: &[String], b: &[String]) -> usize {
    let mut row = vec![0; b.len() + 1];
    for word in a {
        let mut diagonal = 0;
        for (j, other) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if word == other { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::tokens::words;

    #[test]
    fn subsequences_need_not_be_together() {
        let reference = words("police killed the gunman");
        let of = |candidate: &str| rouge_l(&words(candidate), std::slice::from_ref(&reference));
        // Lin's example: 3 of 4 words in order, then 2 of 4.
        assert!((of("police kill the gunman") - 0.75).abs() < 1e-12);
        assert!((of("the gunman kill police") - 0.5).abs() < 1e-12);
        assert_eq!((of(""), of("nothing fits"), rouge_l(&words("a"), &[])), (0.0, 0.0, 0.0));
    }
}
