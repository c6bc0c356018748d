//! Finding the caption of a picture and the picture of a caption, and telling a caption from the
//! same words in a wrong order.

use rayon::prelude::*;
use sensorium_data::pairs::{self, Pair};
use sensorium_data::scene::Split;
use sensorium_inference::EmbeddingModel;

use crate::Settings;
use crate::error::Result;
use crate::figure::Figure;
use crate::label::cosine;
use crate::report::Report;

const CHUNK: usize = 64;

/// A gallery: pictures, their captions and their false captions as vectors.
struct Gallery {
    pictures: Vec<Vec<f32>>,
    captions: Vec<Vec<f32>>,
    /// Picture, false caption, whether it has the words of the true one.
    negatives: Vec<(usize, Vec<f32>, bool)>,
    /// Captions that another picture has word for word.
    repeated: usize,
}

/// Recall at 1, 5 and 10 both ways in a gallery of 1,000 validation scenes (by default), and how
/// often a caption scores above itself made false.
pub fn measure(model: &dyn EmbeddingModel, settings: &Settings<'_>) -> Result<Report> {
    let n = settings.samples_or(1000);
    let gallery = Gallery::embed(model, n, settings)?;
    let mut figures = Vec::new();
    let ways = [
        ("picture to caption", &gallery.pictures, &gallery.captions),
        ("caption to picture", &gallery.captions, &gallery.pictures),
    ];
    for (task, queries, items) in ways {
        let ranks: Vec<usize> =
            (0..n).into_par_iter().map(|i| rank(&queries[i], items, i)).collect();
        for k in [1, 5, 10] {
            let right = ranks.iter().filter(|&&rank| rank < k).count();
            let chance = (k as f64 / n as f64).min(1.0);
            figures.push(Figure::new(task, &format!("recall@{k}"), [right, n], chance));
        }
    }
    figures.push(gallery.told_apart("swapped attributes", true));
    figures.push(gallery.told_apart("one attribute replaced", false));
    Ok(Report {
        name: "retrieval".to_owned(),
        data: format!("gallery of {n} validation scenes of 1 to 6 objects"),
        seed: settings.seed,
        figures,
        notes: vec![
            "ties count against the model".to_owned(),
            format!("captions that the gallery holds more than once: {}", gallery.repeated),
        ],
    })
}

impl Gallery {
    fn embed(model: &dyn EmbeddingModel, n: usize, settings: &Settings<'_>) -> Result<Self> {
        let size = settings.size;
        let mut gallery =
            Self { pictures: vec![], captions: vec![], negatives: vec![], repeated: 0 };
        let mut texts = Vec::with_capacity(n);
        for start in (0..n).step_by(CHUNK) {
            let pairs: Vec<Pair> = (start..n.min(start + CHUNK))
                .into_par_iter()
                .map(|i| pairs::scene_pair(Split::Val, settings.seed, i as u64, 1.0, size))
                .collect();
            gallery.add(model, start, &pairs)?;
            texts.extend(pairs.into_iter().map(|pair| pair.caption));
            (settings.progress)(texts.len(), n);
        }
        texts.sort_unstable();
        gallery.repeated =
            texts.chunk_by(|a, b| a == b).map(<[_]>::len).filter(|&len| len > 1).sum();
        Ok(gallery)
    }

    fn add(&mut self, model: &dyn EmbeddingModel, start: usize, pairs: &[Pair]) -> Result<()> {
        let pictures: Vec<_> = pairs.iter().map(|pair| pair.picture.clone()).collect();
        self.pictures.extend(model.embed_pictures(&pictures)?);
        let captions: Vec<_> = pairs.iter().map(|pair| pair.caption.clone()).collect();
        self.captions.extend(model.embed_texts(&captions)?);
        let false_ones: Vec<(usize, &Pair, &str)> = pairs
            .iter()
            .enumerate()
            .filter_map(|(i, pair)| Some((start + i, pair, pair.negatives.first()?.as_str())))
            .collect();
        let texts: Vec<_> = false_ones.iter().map(|(_, _, text)| (*text).to_owned()).collect();
        let embedded = model.embed_texts(&texts)?;
        self.negatives.extend(
            false_ones
                .iter()
                .zip(embedded)
                .map(|((i, pair, text), row)| (*i, row, same_words(&pair.caption, text))),
        );
        Ok(())
    }

    fn told_apart(&self, task: &str, swapped: bool) -> Figure {
        let mut counts = [0, 0];
        for (i, negative, _) in self.negatives.iter().filter(|item| item.2 == swapped) {
            let picture = &self.pictures[*i];
            counts[1] += 1;
            counts[0] +=
                usize::from(cosine(picture, &self.captions[*i]) > cosine(picture, negative));
        }
        Figure::new(task, "caption above its false twin", counts, 0.5)
    }
}

/// How many items other than number `own` score at least as high: a model that maps all to one
/// point is last, not first.
fn rank(query: &[f32], items: &[Vec<f32>], own: usize) -> usize {
    let score = cosine(query, &items[own]);
    items.iter().enumerate().filter(|(i, item)| *i != own && cosine(query, item) >= score).count()
}

/// Whether two texts have the same words, each equally often.
fn same_words(a: &str, b: &str) -> bool {
    let sorted = |text: &str| {
        let clean = text.replace([',', ':', '.'], " ");
        let mut words: Vec<String> = clean.split_whitespace().map(str::to_owned).collect();
        // The article goes with the noun that was swapped in: it is no other word.
        words.iter_mut().filter(|word| *word == "an").for_each(|word| *word = "a".to_owned());
        words.sort_unstable();
        words
    };
    sorted(a) == sorted(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swaps_have_the_same_words() {
        let caption = "a red circle and an orange star, above a box";
        assert!(same_words(caption, "an orange circle and a red star above a box"));
        assert!(!same_words(caption, "a blue circle and an orange star, above a box"));
    }

    #[test]
    fn ties_count_against_the_model() {
        let items = [vec![1.0, 0.0], vec![1.0, 0.0], vec![0.0, 1.0]];
        assert_eq!(rank(&[1.0, 0.0], &items, 0), 1);
        assert_eq!(rank(&[0.0, 1.0], &items, 2), 0);
    }

    #[test]
    fn validation_scenes_give_both_sorts_of_false_captions() {
        let pairs: Vec<_> = (0..200).map(|i| pairs::scene_pair(Split::Val, 1, i, 1.0, 8)).collect();
        let swapped = |pair: &Pair| Some(same_words(&pair.caption, pair.negatives.first()?));
        let count = |which| pairs.iter().filter(|pair| swapped(pair) == Some(which)).count();
        assert!(count(true) > 50 && count(false) > 20, "{} {}", count(true), count(false));
    }
}
