//! Recall among all pairs of a validation set.

use std::collections::BTreeMap;

/// Vectors of pictures and of their captions, row for row, and which captions are alike.
#[derive(Default)]
pub(in crate::recipes) struct Gallery {
    images: Vec<Vec<f32>>,
    texts: Vec<Vec<f32>>,
    captions: Vec<Vec<u32>>,
}

impl Gallery {
    /// Adds a batch: vectors of unit length, row-major `[B, C]`, and the captions' ids.
    pub(in crate::recipes) fn add(
        &mut self,
        images: &[f32],
        texts: &[f32],
        captions: Vec<Vec<u32>>,
    ) {
        let width = images.len() / captions.len().max(1);
        let rows = |all: &[f32]| all.chunks(width.max(1)).map(<[f32]>::to_vec).collect::<Vec<_>>();
        self.images.extend(rows(images));
        self.texts.extend(rows(texts).into_iter().take(captions.len()));
        self.captions.extend(captions);
    }

    /// How often the nearest caption is a picture's own, and the nearest picture a caption's. Captions that
    /// are alike count as one: where they are names of classes, the first is the accuracy of zero-shot
    /// classification.
    pub(in crate::recipes) fn recall(&self) -> BTreeMap<String, f64> {
        let mut figures = BTreeMap::new();
        let ways = [
            ("val_recall_text", &self.images, &self.texts),
            ("val_recall_image", &self.texts, &self.images),
        ];
        for (name, queries, items) in ways {
            let right = |(i, query): &(usize, &Vec<f32>)| {
                let cosine = |item: &[f32]| query.iter().zip(item).map(|(a, b)| a * b).sum::<f32>();
                let nearest = (0..items.len())
                    .max_by(|&a, &b| cosine(&items[a]).total_cmp(&cosine(&items[b])));
                nearest.is_some_and(|nearest| self.captions[nearest] == self.captions[*i])
            };
            let n = queries.iter().enumerate().filter(right).count();
            figures.insert(name.to_owned(), n as f64 / queries.len().max(1) as f64);
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_that_are_alike_are_one() {
        let mut gallery = Gallery::default();
        let captions = vec![vec![1], vec![1], vec![2], vec![3]];
        let images = [1.0, 0.0, 0.9, 0.1, 0.0, 1.0, -1.0, 0.0];
        let texts = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.5, 0.5];
        gallery.add(&images, &texts, captions);
        let recall = gallery.recall();
        assert_eq!(recall["val_recall_text"], 0.75);
        assert_eq!(recall["val_recall_image"], 0.75);
    }
}
