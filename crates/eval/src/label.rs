//! Labels as points in the space of pictures and texts.

use sensorium_model::nano::Nano;

/// Sentences around a label; their mean is less moody than any one of them (Radford et al. 2021,
/// <https://arxiv.org/abs/2103.00020>, section 3.1.4). All occur among training captions.
pub const TEMPLATES: [&str; 7] = [
    "{}",
    "a picture of {}",
    "an image of {}",
    "a drawing of {}",
    "the picture shows {}",
    "there is {}",
    "this is {}",
];

/// One vector of unit length for each label: every template is embedded to unit length, and the
/// mean of them is scaled to unit length.
pub fn embed<S: AsRef<str>>(nano: &Nano, labels: &[S]) -> Vec<Vec<f32>> {
    let sentences: Vec<String> = labels
        .iter()
        .map(|label| with_article(label.as_ref()))
        .flat_map(|label| TEMPLATES.map(|template| template.replace("{}", &label)))
        .collect();
    nano.embed_texts(&sentences).chunks(TEMPLATES.len()).map(mean).collect()
}

/// "a" or "an" before a label that has no article yet.
pub fn with_article(label: &str) -> String {
    let label = label.trim();
    let has_one = ["a ", "an ", "the "].iter().any(|article| label.starts_with(article));
    match label.chars().next() {
        _ if has_one => label.to_owned(),
        Some(c) if "aeiouAEIOU".contains(c) => format!("an {label}"),
        _ => format!("a {label}"),
    }
}

/// Index of the label that is nearest to `picture`, all of unit length; the first of equals.
pub fn nearest(picture: &[f32], labels: &[Vec<f32>]) -> usize {
    let scores: Vec<f32> = labels.iter().map(|label| cosine(picture, label)).collect();
    (0..scores.len()).fold(0, |best, i| if scores[i] > scores[best] { i } else { best })
}

/// Cosine of two vectors of unit length.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn mean(rows: &[Vec<f32>]) -> Vec<f32> {
    let width = rows.first().map_or(0, Vec::len);
    let sum: Vec<f32> = (0..width).map(|i| rows.iter().map(|row| row[i]).sum()).collect();
    // A sum of zero length stays zero instead of becoming NaN.
    let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
    sum.iter().map(|x| x / length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn articles() {
        let cases =
            [("red circle", "a red circle"), ("orange", "an orange"), ("the sun", "the sun")];
        for (label, expected) in cases {
            assert_eq!(with_article(label), expected);
        }
        assert_eq!(with_article(" a cat "), "a cat");
    }

    #[test]
    fn means_have_unit_length_and_the_nearest_wins() {
        assert_eq!(mean(&[vec![1.0, 0.0], vec![1.0, 0.0]]), [1.0, 0.0]);
        assert_eq!(mean(&[vec![1.0], vec![-1.0]]), [0.0]);
        let labels = [vec![0.0, 1.0], vec![1.0, 0.0], vec![1.0, 0.0]];
        assert_eq!(nearest(&[0.9, 0.1], &labels), 1);
    }
}
