//! Describing pictures as people did.

use std::collections::BTreeMap;

use sensorium_inference::ChatModel;

use super::questions::{Asker, about};
use super::set::Set;
use super::shots::Shown;
use super::{Measured, Metric, Own, Scored};
use crate::error::{EvalError, Result};
use crate::metrics::bleu::{self, bleu};
use crate::metrics::cider::Cider;
use crate::metrics::rouge::rouge_l;
use crate::metrics::tokens::words;
use crate::statistic::Aggregate;

/// Tokens of a caption.
const MAX_TOKENS: usize = 30;

const CIDER: &str = "CIDEr-D";
const BLEU: &str = "BLEU";
const ROUGE: &str = "ROUGE-L";

/// CIDEr-D, BLEU-1 to 4 and ROUGE-L beside those of the caption that is said most often, whatever the
/// picture.
pub(super) fn measure(model: &dyn ChatModel, set: &mut Set<'_>, own: &Own<'_>) -> Result<Measured> {
    let usual = if model.has_template()? { None } else { Some("") };
    measure_after(model, None, usual, set, own)
}

/// The same after exemplars, asked `usual`, or what suits the medium, unless the user says otherwise.
pub(super) fn measure_after(
    model: &dyn ChatModel,
    shown: Option<&Shown<'_>>,
    usual: Option<&str>,
    set: &mut Set<'_>,
    own: &Own<'_>,
) -> Result<Measured> {
    let request = own.prompts.first().map(String::as_str).or(usual);
    let asked = request.unwrap_or("what suits each medium").to_owned();
    let max_new_tokens = own.max_tokens.unwrap_or(MAX_TOKENS);
    let asker = Asker { model, shown, words: asked, max_new_tokens, choices: &[] };
    if set.classes.is_empty() {
        return Err(EvalError::Lacks { task: "caption", lacks: "captions" });
    }
    let described = set.each(|set, item| {
        let media = set.example(item)?.media;
        let said = asker.ask(item, &about(&media, request), &media)?.text;
        let references: Vec<_> = item.texts.iter().map(|text| words(text)).collect();
        Ok(vec![(item.scored(item.texts.join(" / "), said), references)])
    })?;
    let (mut examples, references): (Vec<Scored>, Vec<Vec<Vec<String>>>) =
        described.into_iter().unzip();
    let cider = Cider::new(&references);
    for (scored, references) in examples.iter_mut().zip(&references) {
        let said = words(&scored.got);
        let worth = cider.score(&said, references);
        scored.worth = worth;
        scored.numbers.insert(CIDER.into(), vec![worth]);
        scored.numbers.insert(BLEU.into(), bleu::counts(&said, references).to_vec());
        scored.numbers.insert(ROUGE.into(), vec![rouge_l(&said, references)]);
    }
    let (metrics, most_common) = metrics(&cider, &references, &examples);
    let notes = vec![
        asker.note(),
        format!("the prior says {most_common:?} of every picture"),
        "METEOR and SPICE are left out: both are Java programs with models of their own".into(),
    ];
    Ok(Measured { examples, metrics, notes })
}

/// The metrics with what the most frequent caption gets, and that caption.
fn metrics(
    cider: &Cider<'_>,
    references: &[Vec<Vec<String>>],
    examples: &[Scored],
) -> (Vec<Metric>, String) {
    let common = most_common(references);
    let n = examples.len().max(1) as f64;
    let mean = |score: &dyn Fn(&Vec<Vec<String>>) -> f64| {
        Some(references.iter().map(score).sum::<f64>() / n)
    };
    let metric = |name: &str, aggregate| Metric::new("captions", name, name, aggregate);
    let mut metrics = vec![Metric {
        prior: mean(&|references| cider.score(&common, references)),
        ..metric(CIDER, Aggregate::Mean)
    }];
    let mut counts = [0.0; 10];
    for references in references {
        let more = bleu::counts(&common, references);
        counts.iter_mut().zip(more).for_each(|(sum, count)| *sum += count);
    }
    for words in 1..=bleu::N {
        let aggregate = Aggregate::Bleu(words as u32);
        let named = Metric::new("captions", &format!("BLEU-{words}"), BLEU, aggregate);
        metrics.push(Metric { prior: Some(bleu(&counts, words)), ..named });
    }
    metrics.push(Metric {
        prior: mean(&|references| rouge_l(&common, references)),
        ..metric(ROUGE, Aggregate::Mean)
    });
    (metrics, common.join(" "))
}

/// The caption that stands at most pictures; of equals the first in the alphabet.
fn most_common(references: &[Vec<Vec<String>>]) -> Vec<String> {
    let mut counts: BTreeMap<&Vec<String>, usize> = BTreeMap::new();
    references.iter().flatten().for_each(|words| *counts.entry(words).or_default() += 1);
    let best = counts.into_iter().rev().max_by_key(|(_, count)| *count);
    best.map(|(words, _)| words.clone()).unwrap_or_default()
}
