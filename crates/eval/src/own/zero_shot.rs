//! Naming the class of a picture among all classes of the data.

use std::collections::HashMap;

use sensorium_data::{Example, Media};
use sensorium_inference::{EmbeddingModel, embed_labels};
use sensorium_media::Picture;

use super::set::{Item, Set};
use super::{Measured, Metric, Own, Scored};
use crate::error::{EvalError, Result};
use crate::label::{best, similarity};
use crate::statistic::Aggregate;

/// The rank of the true class, and whether it is the first, by class.
const RANK: &str = "rank";
const CLASS: &str = "class";

/// Top-1 and top-5 accuracy, the mean of the classes' accuracies, and that of each class.
pub(super) fn measure(
    model: &dyn EmbeddingModel,
    set: &mut Set<'_>,
    own: &Own<'_>,
) -> Result<Measured> {
    let classes = set.classes.clone();
    if classes.len() < 2 {
        return Err(EvalError::Classes { got: classes.len() });
    }
    let templates = match own.prompts {
        [] => model.templates(),
        prompts => prompts.to_vec(),
    };
    if let Some(template) = templates.iter().find(|t| !t.contains("{}") && !t.contains("{a}")) {
        let (got, what) = (template.clone(), "the class");
        return Err(EvalError::Prompt { got, what, example: "a photo of a {}." });
    }
    let labels = embed_labels(model, &classes, &templates)?;
    let mut examples = Vec::new();
    set.together(|items, read| {
        let views = model.embed_views(&media(&read, "zero-shot")?)?;
        let named = items.iter().zip(views);
        examples.extend(named.map(|(item, views)| name(item, &views, &labels, &classes)));
        Ok(())
    })?;
    let metrics = metrics(&examples, classes.len());
    let notes = vec![
        format!("templates: {}, as {:?}", templates.len(), templates.first().map_or("", |t| t)),
        "the prior is the most frequent classes of these data; ties count against the model".into(),
    ];
    Ok(Measured { examples, metrics, notes })
}

/// What each example is about: its first medium.
pub(super) fn media(read: &[Example], task: &'static str) -> Result<Vec<Media>> {
    let first = |example: &Example| {
        example.media.first().cloned().ok_or(EvalError::Lacks { task, lacks: "media" })
    };
    read.iter().map(first).collect()
}

/// The picture of each example.
pub(super) fn pictures(read: &[Example], task: &'static str) -> Result<Vec<Picture>> {
    let first = |example: &Example| {
        let picture = example.media.iter().flat_map(Media::pictures).next();
        picture.cloned().ok_or(EvalError::Lacks { task, lacks: "pictures" })
    };
    read.iter().map(first).collect()
}

fn name(item: &Item, views: &[f32], labels: &[Vec<f32>], classes: &[String]) -> Scored {
    let truth = item.texts.first().cloned().unwrap_or_default();
    let class = classes.binary_search(&truth).unwrap_or_default();
    let scores: Vec<f32> = labels.iter().map(|label| similarity(views, label)).collect();
    let ahead =
        (0..scores.len()).filter(|other| *other != class && scores[*other] >= scores[class]);
    let rank = ahead.count() as f64;
    let mut scored = item.scored(truth.clone(), classes[best(&scores)].clone());
    scored.groups.push(truth);
    scored.worth = 1.0 / (1.0 + rank);
    scored.numbers.insert(RANK.into(), vec![rank]);
    scored.numbers.insert(CLASS.into(), vec![class as f64, f64::from(u8::from(rank == 0.0))]);
    scored
}

fn metrics(examples: &[Scored], classes: usize) -> Vec<Metric> {
    let mut frequency: HashMap<&str, usize> = HashMap::new();
    examples.iter().for_each(|scored| *frequency.entry(&scored.expected).or_default() += 1);
    let mut frequency: Vec<usize> = frequency.into_values().collect();
    frequency.sort_unstable_by(|a, b| b.cmp(a));
    let chance = |k: u32| Some((f64::from(k) / classes as f64).min(1.0));
    let metric = |k: u32| {
        let most: usize = frequency.iter().take(k as usize).sum();
        let prior = Some(most as f64 / examples.len().max(1) as f64);
        let name = format!("top-{k} of {classes}");
        let metric = Metric::new("all classes", &name, RANK, Aggregate::Below(k));
        Metric { chance: chance(k), prior, ..metric }
    };
    let mut metrics = vec![metric(1)];
    metrics.extend((classes > 5).then(|| metric(5)));
    let mean = Metric::new("all classes", "mean of classes", CLASS, Aggregate::ClassMean);
    metrics.push(Metric { chance: chance(1), prior: chance(1), ..mean });
    metrics
}
