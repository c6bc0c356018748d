//! Finding captions by pictures and pictures by captions, in a gallery of all of the data.
//!
//! A picture may have several captions, as those of COCO and Flickr have five: any of them counts when
//! captions are sought, and each is asked for when pictures are.

use std::collections::BTreeSet;

use rayon::prelude::*;
use sensorium_inference::{EmbeddingModel, ScoreModel};
use sensorium_media::Media;

use super::set::{Item, Set};
use super::zero_shot::media;
use super::{Measured, Metric, Own, Scored};
use crate::error::{EvalError, Result};
use crate::label::{best, similarity};
use crate::statistic::Aggregate;

/// Texts embedded at once.
const CHUNK: usize = 64;

/// Pictures and their captions; the captions of all stand one after another.
struct Gallery {
    items: Vec<Item>,
    /// For each picture, how well each caption fits.
    scores: Vec<Vec<f32>>,
    /// For each caption, its picture.
    owner: Vec<usize>,
    captions: Vec<String>,
}

/// Recall at 1, 5 and 10 both ways and the median ranks; after a closer look at the best again, where the
/// model has one.
pub(super) fn measure(
    model: &dyn EmbeddingModel,
    scorer: Option<&dyn ScoreModel>,
    set: &mut Set<'_>,
    own: &Own<'_>,
) -> Result<Measured> {
    let mut gallery = Gallery::embed(model, set)?;
    let mut ranks = gallery.ranks();
    let mut names = vec![String::new()];
    if let Some(scorer) = scorer
        && own.rerank > 0
        && gallery.rerank(scorer, set, own.rerank)?
    {
        names.push(format!("best {} again by matching: ", own.rerank));
        ranks.extend(gallery.ranks());
    }
    let examples = gallery.examples(&ranks);
    let (pictures, captions) = (gallery.items.len(), gallery.captions.len());
    let each = captions as f64 / pictures.max(1) as f64;
    let mut metrics = Vec::new();
    for (stage, name) in names.iter().enumerate() {
        for (way, task) in ["picture to caption", "caption to picture"].into_iter().enumerate() {
            let (task, numbers) = (format!("{name}{task}"), number_name(stage, way));
            for k in [1, 5, 10] {
                let aggregate = Aggregate::Below(k);
                let chance =
                    chance(k, if way == 0 { captions } else { pictures }, [each, 1.0][way]);
                let metric = Metric::new(&task, &format!("recall@{k}"), &numbers, aggregate);
                metrics.push(Metric { chance: Some(chance), ..metric });
            }
            metrics.push(Metric::new(&task, "median rank", &numbers, Aggregate::MedianRank));
        }
    }
    let notes = vec![
        format!("gallery of {pictures} pictures and {captions} captions; ties count against the model"),
        "any of a picture's captions counts; intervals of captions draw pictures with all of theirs".into(),
    ];
    Ok(Measured { examples, metrics, notes })
}

/// What the ranks of one way are called, without and with a closer look.
fn number_name(stage: usize, way: usize) -> String {
    ["captions", "pictures", "captions again", "pictures again"][2 * stage + way].to_owned()
}

/// That at least one of `each` right ones is among `k` of `all` at random.
fn chance(k: u32, all: usize, each: f64) -> f64 {
    let miss = (0..k).map(|i| {
        let left = all as f64 - f64::from(i);
        ((left - each) / left.max(1.0)).max(0.0)
    });
    1.0 - miss.product::<f64>()
}

impl Gallery {
    fn embed(model: &dyn EmbeddingModel, set: &mut Set<'_>) -> Result<Self> {
        let (mut items, mut views) = (Vec::new(), Vec::new());
        set.together(|chunk, read| {
            if chunk.iter().any(|item| item.texts.is_empty()) {
                return Err(EvalError::Lacks { task: "retrieval", lacks: "captions" });
            }
            views.extend(model.embed_views(&media(&read, "retrieval")?)?);
            items.extend(chunk.iter().map(|item| (*item).clone()));
            Ok(())
        })?;
        let each = items.iter().enumerate();
        let (owner, captions): (Vec<usize>, Vec<String>) =
            each.flat_map(|(i, item)| item.texts.iter().map(move |text| (i, text.clone()))).unzip();
        let mut vectors = Vec::new();
        for chunk in captions.chunks(CHUNK) {
            vectors.extend(model.embed_texts(chunk)?);
        }
        let row = |views: &Vec<f32>| vectors.iter().map(|text| similarity(views, text)).collect();
        let scores = views.par_iter().map(row).collect();
        Ok(Self { items, scores, owner, captions })
    }

    /// Adds what a closer look says to the scores of the `k` best captions of each picture and pictures of
    /// each caption, as BLIP-2's authors do, and puts all others behind them; whether the model has such a
    /// look.
    fn rerank(&mut self, model: &dyn ScoreModel, set: &Set<'_>, k: usize) -> Result<bool> {
        let look = |i: usize, texts: &[String]| -> Result<Option<Vec<f32>>> {
            let Ok(example) = set.example(&self.items[i]) else { return Ok(None) };
            let Some(picture) = example.media.iter().flat_map(Media::pictures).next() else {
                return Ok(None);
            };
            Ok(model.matching(picture, texts)?)
        };
        if self.items.is_empty() || look(0, &[])?.is_none() {
            return Ok(false);
        }
        let mut chosen: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); self.items.len()];
        for (picture, row) in self.scores.iter().enumerate() {
            chosen[picture].extend(first(k, row.iter().copied()));
        }
        for caption in 0..self.captions.len() {
            let column = self.scores.iter().map(|row| row[caption]);
            first(k, column).into_iter().for_each(|picture| _ = chosen[picture].insert(caption));
        }
        let mut rows = Vec::new();
        for (i, captions) in chosen.into_iter().enumerate() {
            let texts: Vec<String> = captions.iter().map(|c| self.captions[*c].clone()).collect();
            let logits = look(i, &texts)?.unwrap_or_default();
            let row = &self.scores[i];
            let mut again: Vec<f32> = row.iter().map(|score| score - BEHIND).collect();
            for (caption, logit) in captions.into_iter().zip(logits) {
                again[caption] = row[caption] + logit;
            }
            rows.push(again);
        }
        self.scores = rows;
        Ok(true)
    }

    /// Ranks from 0: for each picture that of its best caption; for each caption that of its picture.
    fn ranks(&self) -> Vec<Vec<Vec<f64>>> {
        let all: Vec<usize> = (0..self.items.len()).collect();
        let of_picture = |&i: &usize| {
            let row = &self.scores[i];
            let own = (0..row.len()).filter(|c| self.owner[*c] == i);
            let best = own.map(|c| row[c]).fold(f32::MIN, f32::max);
            let above = (0..row.len()).filter(|c| self.owner[*c] != i && row[*c] >= best);
            vec![above.count() as f64]
        };
        let of_captions = |&i: &usize| {
            let own = (0..self.owner.len()).filter(|c| self.owner[*c] == i);
            own.map(|c| {
                let score = self.scores[i][c];
                all.iter().filter(|j| **j != i && self.scores[**j][c] >= score).count() as f64
            })
            .collect()
        };
        vec![all.par_iter().map(of_picture).collect(), all.par_iter().map(of_captions).collect()]
    }

    fn examples(&self, ranks: &[Vec<Vec<f64>>]) -> Vec<Scored> {
        let each = self.items.iter().enumerate().map(|(i, item)| {
            let row = &self.scores[i];
            let mut scored = item.scored(item.texts.join(" / "), self.captions[best(row)].clone());
            for (place, ways) in ranks.iter().enumerate() {
                scored.numbers.insert(number_name(place / 2, place % 2), ways[i].clone());
                scored.worth = if place % 2 == 0 { 1.0 / (1.0 + ways[i][0]) } else { scored.worth };
            }
            scored
        });
        each.collect()
    }
}

/// How far behind comes what was not looked at again: further than logits go.
const BEHIND: f32 = 1000.0;

/// The places of the `k` largest.
fn first(k: usize, scores: impl Iterator<Item = f32>) -> Vec<usize> {
    let mut places: Vec<(f32, usize)> = scores.zip(0..).collect();
    places.sort_by(|a, b| b.0.total_cmp(&a.0));
    places.into_iter().take(k).map(|(_, place)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gallery(scores: Vec<Vec<f32>>) -> Gallery {
        let item = |id: &str| Item { id: id.into(), ..Item::default() };
        let captions = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        Gallery { items: vec![item("x"), item("y")], scores, owner: vec![0, 0, 1, 1], captions }
    }

    #[test]
    fn any_caption_counts_and_ties_do_not() {
        let found = gallery(vec![vec![0.1, 0.9, 0.5, 0.2], vec![0.4, 0.9, 0.3, 0.2]]).ranks();
        assert_eq!(found[0], [vec![0.0], vec![2.0]]);
        assert_eq!(found[1], [vec![1.0, 1.0], vec![1.0, 1.0]]);
        let found = gallery(vec![vec![1.0, 0.0, 0.0, 0.0], vec![0.0, 0.0, 1.0, 1.0]]).ranks();
        assert_eq!(found, [[vec![0.0], vec![0.0]], [vec![0.0, 1.0], vec![0.0, 0.0]]]);
    }

    #[test]
    fn chance_of_several_right_ones() {
        assert!((chance(1, 5000, 5.0) - 0.001).abs() < 1e-12);
        assert!((chance(10, 1000, 1.0) - 0.01).abs() < 1e-12);
        // Of two draws among two right and two wrong ones, both are wrong by 2/4 times 1/3.
        assert!((chance(2, 4, 2.0) - (1.0 - 0.5 / 3.0)).abs() < 1e-12);
        assert_eq!(chance(10, 4, 1.0), 1.0);
        assert_eq!(first(2, [0.1, 0.9, 0.5].into_iter()), [1, 2]);
    }
}
