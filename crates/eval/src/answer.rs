//! Answers to many questions, and the best answers to the words alone.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use rayon::prelude::*;
use sensorium_data::question::Sample;
use sensorium_inference::{ChatModel, GenerateOptions};
use sensorium_media::{Media, Message, Modality, Part, Role};

use crate::error::Result;
use crate::figure::Figure;

/// Questions that are asked between two words of progress.
const CHUNK: usize = 64;

/// Answers have one to three words.
const MAX_NEW_TOKENS: usize = 8;

/// Greedy answers to questions about pictures of `size` pixels a side, normalised. `done` gets the
/// number of answers so far.
///
/// # Errors
/// A question does not fit the model's context.
pub fn all(
    model: &dyn ChatModel,
    samples: &[Sample],
    size: u32,
    done: &dyn Fn(usize),
) -> Result<Vec<String>> {
    let mut answers = Vec::with_capacity(samples.len());
    for chunk in samples.chunks(CHUNK) {
        let answered: Result<Vec<String>> =
            chunk.par_iter().map(|sample| one(model, sample, size)).collect();
        answers.extend(answered?);
        done(answers.len());
    }
    Ok(answers)
}

fn one(model: &dyn ChatModel, sample: &Sample, size: u32) -> Result<String> {
    let parts = vec![Part::Media(Modality::Image), Part::Text(sample.question.clone())];
    let messages = [Message { role: Role::User, parts }];
    let options = GenerateOptions { max_new_tokens: MAX_NEW_TOKENS, ..GenerateOptions::default() };
    let media = [Media::Image(sample.picture(size))];
    let reply = model.answer(&messages, &media, &options, &mut |_| ControlFlow::Continue(()))?;
    Ok(normal(&reply.continuation.text))
}

/// Lower case, without space or full stop at the ends: what exact match compares.
pub fn normal(answer: &str) -> String {
    answer.trim().trim_end_matches('.').trim_end().to_lowercase()
}

/// A question's words without what does not change them: spelling variant and question mark.
fn words(question: &str) -> String {
    question.replace("color", "colour").replace("grey", "gray").trim_end_matches('?').to_owned()
}

/// Scores answers beside chance, which is the mean of `1 / choices`, and the prior of the words.
pub fn figure(task: &str, scored: &[(&Sample, &String)], prior: f64) -> Figure {
    let right = scored.iter().filter(|(sample, answer)| normal(&sample.answer) == **answer);
    let guesses: f64 = scored.iter().map(|(sample, _)| 1.0 / sample.choices.max(1) as f64).sum();
    let n = scored.len();
    Figure::new(task, "exact match", [right.count(), n], guesses / n.max(1) as f64)
        .with_prior(prior)
}

/// The most frequent answer to each wording of a question, learned without pictures.
#[derive(Clone, Debug, Default)]
pub struct Prior {
    by_words: BTreeMap<String, BTreeMap<String, usize>>,
    overall: BTreeMap<String, usize>,
}

impl Prior {
    /// Counts the answers of training samples.
    pub fn learn(samples: impl Iterator<Item = Sample>) -> Self {
        let mut prior = Self::default();
        for sample in samples {
            let answer = normal(&sample.answer);
            let counts = prior.by_words.entry(words(&sample.question)).or_default();
            *counts.entry(answer.clone()).or_default() += 1;
            *prior.overall.entry(answer).or_default() += 1;
        }
        prior
    }

    /// The most frequent answer to these words; to words never met, the most frequent of all.
    pub fn answer(&self, question: &str) -> Option<&str> {
        most_frequent(self.by_words.get(&words(question)).unwrap_or(&self.overall))
    }

    /// The most frequent answer of all.
    pub fn majority(&self) -> Option<&str> {
        most_frequent(&self.overall)
    }

    /// Whether [`answer`](Self::answer) is right.
    pub fn hits(&self, sample: &Sample) -> bool {
        self.answer(&sample.question) == Some(&normal(&sample.answer))
    }
}

/// Of equals, the first in the alphabet.
fn most_frequent(counts: &BTreeMap<String, usize>) -> Option<&str> {
    let best = counts.iter().rev().max_by_key(|(_, count)| **count);
    best.map(|(answer, _)| answer.as_str())
}

/// Share of items that satisfy a condition; 0 of none.
pub fn share<T>(items: &[T], holds: impl Fn(&T) -> bool) -> f64 {
    items.iter().filter(|item| holds(item)).count() as f64 / items.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use sensorium_data::question;
    use sensorium_data::scene::Split;

    use super::*;

    fn sample(question: &str, answer: &str) -> Sample {
        let mut sample = question::sample(Split::Val, 1, 0, 1.0);
        (sample.question, sample.answer, sample.choices) = (question.into(), answer.into(), 2);
        sample
    }

    #[test]
    fn priors_answer_by_wording() {
        let train = [("is it red?", "no"), ("is it red", "no"), ("is it red?", "yes")];
        let more = [("what color is it?", "grey"), ("a?", "yes"), ("b?", "yes")];
        let samples = train.iter().chain(&more).map(|(q, a)| sample(q, a));
        let prior = Prior::learn(samples);
        assert_eq!(prior.answer("is it red?"), Some("no"));
        assert_eq!(prior.answer("what colour is it"), Some("grey"));
        assert_eq!((prior.answer("never met"), prior.majority()), (Some("yes"), Some("yes")));
        assert!(prior.hits(&sample("b", "Yes.")) && !prior.hits(&sample("b", "no")));
        assert_eq!(Prior::default().answer("x"), None);
    }

    #[test]
    fn figures_count_normalised_matches() {
        let (a, b) = (sample("x", "Yes"), sample("y", "no"));
        let answers = ["yes".to_owned(), "yes".to_owned()];
        let figure = figure("t", &[(&a, &answers[0]), (&b, &answers[1])], 0.25);
        assert_eq!((figure.right, figure.n, figure.chance), (Some(1), 2, Some(0.5)));
        assert_eq!(normal(" Red Circle. "), "red circle");
    }
}
