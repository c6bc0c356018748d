//! Labels as points in the space of pictures and texts.

/// Index of the label that is nearest to `picture`, all of unit length; the first of equals.
pub fn nearest(picture: &[f32], labels: &[Vec<f32>]) -> usize {
    best(&labels.iter().map(|label| cosine(picture, label)).collect::<Vec<_>>())
}

/// Index of the largest; the first of equals.
pub fn best(scores: &[f32]) -> usize {
    (0..scores.len()).fold(0, |best, i| if scores[i] > scores[best] { i } else { best })
}

/// Cosine of two vectors of unit length.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// How near a text is to a picture, by the nearest of the picture's vectors, which stand in a row.
pub fn similarity(views: &[f32], text: &[f32]) -> f32 {
    views.chunks(text.len().max(1)).map(|view| cosine(view, text)).fold(f32::MIN, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_wins_and_the_first_of_equals() {
        let labels = [vec![0.0, 1.0], vec![1.0, 0.0], vec![1.0, 0.0]];
        assert_eq!(nearest(&[0.9, 0.1], &labels), 1);
        assert_eq!(similarity(&[0.0, 1.0, 1.0, 0.0], &[1.0, 0.0]), 1.0);
    }
}
