//! Naming the class of a picture among all classes of the data.

use std::collections::HashMap;

use sensorium_inference::{EmbeddingModel, embed_labels};
use sensorium_media::{Media, Picture};

use super::set::Set;
use super::{Measured, Metric, Own};
use crate::error::{EvalError, Result};
use crate::label::similarity;
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
        let pictures: Vec<Picture> =
            read.iter().filter_map(|example| picture(&example.media)).collect();
        if pictures.len() < items.len() {
            return Err(EvalError::Lacks { task: "zero-shot", lacks: "pictures" });
        }
        for (item, views) in items.iter().zip(model.embed_views(&pictures)?) {
            let truth = item.texts.first().cloned().unwrap_or_default();
            let class = classes.binary_search(&truth).unwrap_or_default();
            let scores: Vec<f32> = labels.iter().map(|label| similarity(&views, label)).collect();
            // Ties count against the model.
            let rank =
                scores.iter().filter(|score| **score >= scores[class]).count().saturating_sub(1);
            let best = (0..scores.len())
                .fold(0, |best, i| if scores[i] > scores[best] { i } else { best });
            let mut scored = item.scored(truth.clone(), classes[best].clone());
            scored.groups.push(truth);
            scored.worth = 1.0 / (1.0 + rank as f64);
            scored.numbers.insert(RANK.into(), vec![rank as f64]);
            scored.numbers.insert(CLASS.into(), vec![class as f64, f64::from(u8::from(rank == 0))]);
            examples.push(scored);
        }
        Ok(())
    })?;
    let mut frequency: HashMap<&str, usize> = HashMap::new();
    examples.iter().for_each(|scored| *frequency.entry(&scored.expected).or_default() += 1);
    let mut frequency: Vec<usize> = frequency.into_values().collect();
    frequency.sort_unstable_by(|a, b| b.cmp(a));
    let n = classes.len() as f64;
    let metric = |k: u32| Metric {
        chance: Some((f64::from(k) / n).min(1.0)),
        prior: Some(
            frequency.iter().take(k as usize).sum::<usize>() as f64 / examples.len().max(1) as f64,
        ),
        ..Metric::new("all classes", &format!("top-{k} of {n}"), RANK, Aggregate::Below(k))
    };
    let mut metrics = vec![metric(1)];
    if classes.len() > 5 {
        metrics.push(metric(5));
    }
    let mean = Metric::new("all classes", "mean of classes", CLASS, Aggregate::ClassMean);
    metrics.push(Metric { chance: Some(1.0 / n), prior: Some(1.0 / n), ..mean });
    let notes = vec![
        format!("templates: {}, as {:?}", templates.len(), templates.first().map_or("", |t| t)),
        "the prior is the most frequent classes of these data; ties count against the model".into(),
    ];
    Ok(Measured { examples, metrics, notes })
}

/// The first picture of an example.
pub(super) fn picture(media: &[Media]) -> Option<Picture> {
    media.iter().map(|Media::Image(picture)| picture.clone()).next()
}
