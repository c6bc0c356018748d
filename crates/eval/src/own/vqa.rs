//! Answering questions: by VQAv2's rule where ten people answered, else by exact match.

use std::collections::BTreeMap;

use sensorium_data::DatasetConfig;
use sensorium_data::read::vqa::{Annotation, annotations};
use sensorium_inference::ChatModel;

use super::questions::{AUC, Asker, Question, each_answer, template};
use super::set::Set;
use super::shots::Shown;
use super::{Measured, Metric, Own, Scored};
use crate::error::Result;
use crate::metrics::vqa::{accuracy, normal};
use crate::statistic::Aggregate;

/// Tokens of an answer.
const MAX_TOKENS: usize = 10;

/// What a model without a chat template continues.
const BARE: &str = "Question: {} Short answer:";

const ACCURACY: &str = "accuracy";

/// A question with its answer, what people answered in normal form, and its type.
struct Answered {
    scored: Scored,
    people: Vec<String>,
    kind: String,
}

/// Accuracy over all questions, by type of answer and of question.
pub(super) fn measure(
    model: &dyn ChatModel,
    shown: Option<&Shown<'_>>,
    set: &mut Set<'_>,
    own: &Own<'_>,
) -> Result<Measured> {
    let words = template(model, own, BARE)?;
    let max_new_tokens = own.max_tokens.unwrap_or(MAX_TOKENS);
    let choices = own.choices;
    let asker = Asker { model, shown, words, max_new_tokens, choices };
    let annotations = match own.config {
        DatasetConfig::Vqa { path, answers, .. } => annotations(path, answers)?,
        _ => Vec::new(),
    };
    let mut answered = set.each(|set, item| {
        let annotation = annotations.get(item.index as usize);
        each_answer(&asker, set, item, |question, scored| judge(question, scored, annotation))
    })?;
    let prior = prior(&answered);
    let soft = answered.iter().any(|answered| answered.people.len() > 1);
    let name = if soft { "VQA accuracy" } else { "exact match" };
    let metric = Metric::new("all questions", name, ACCURACY, Aggregate::Mean);
    let notes = vec![
        asker.note(),
        "answers are compared in VQAv2's normal form".into(),
        "the prior is the best single answer to each type of question, learned from these very data".into(),
    ];
    let mut metrics = vec![Metric { prior: Some(prior), ..metric }];
    if choices.len() == 2 {
        let auc = Metric::new("all questions", AUC, AUC, Aggregate::Auc);
        metrics.push(Metric { chance: Some(0.5), ..auc });
    }
    let examples = answered.drain(..).map(|answered| answered.scored).collect();
    Ok(Measured { examples, metrics, notes })
}

fn judge(question: &Question, mut scored: Scored, annotation: Option<&Annotation>) -> Answered {
    let all = annotation.map_or(&[][..], |annotation| &annotation.answers);
    let mut people: Vec<String> = all.iter().map(|person| normal(&person.answer)).collect();
    if people.is_empty() {
        people.push(normal(&question.answer));
    }
    let right = accuracy(&normal(&scored.got), &people);
    let first = || question.words().split_whitespace().next().unwrap_or_default().to_lowercase();
    let said =
        |told: fn(&Annotation) -> &String| annotation.map(told).filter(|s| !s.is_empty()).cloned();
    let kind = said(|annotation| &annotation.question_type).unwrap_or_else(first);
    let answer = said(|annotation| &annotation.answer_type)
        .unwrap_or_else(|| answer_type(&people[0]).to_owned());
    scored.groups = vec![format!("answer: {answer}"), format!("question: {kind}")];
    scored.worth = right;
    scored.numbers.insert(ACCURACY.into(), vec![right]);
    Answered { scored, people, kind }
}

fn answer_type(answer: &str) -> &'static str {
    match answer {
        "yes" | "no" => "yes/no",
        number if number.parse::<f64>().is_ok() => "number",
        _ => "other",
    }
}

/// What one gets who answers each type of question alike, as well as can be.
fn prior(answered: &[Answered]) -> f64 {
    let mut kinds: BTreeMap<&str, Vec<&Answered>> = BTreeMap::new();
    for question in answered {
        kinds.entry(&question.kind).or_default().push(question);
    }
    let best = kinds.values().map(|questions| {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        questions.iter().flat_map(|question| &question.people).for_each(|answer| {
            *counts.entry(answer).or_default() += 1;
        });
        let common = counts.into_iter().rev().max_by_key(|(_, count)| *count);
        let answer = common.map_or("", |(answer, _)| answer);
        questions.iter().map(|question| accuracy(answer, &question.people)).sum::<f64>()
    });
    best.sum::<f64>() / answered.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use sensorium_data::read::vqa::PersonsAnswer;
    use sensorium_media::{Message, Role};

    use super::*;

    fn judged(words: &str, answer: &str, got: &str, annotation: Option<&Annotation>) -> Answered {
        let asked = vec![Message::text(Role::User, words)];
        let question = Question { asked, media: 0, answer: answer.into() };
        judge(&question, Scored { got: got.into(), ..Scored::default() }, annotation)
    }

    #[test]
    fn answers_are_judged_by_people_or_by_the_only_answer() {
        let person = |answer: &str| PersonsAnswer { answer: answer.into() };
        let said = ["2", "two", "two.", "3", "3", "3", "3", "3", "3", "3"];
        let annotation = Annotation {
            question_type: "how many".into(),
            answer_type: "number".into(),
            answers: said.map(person).to_vec(),
            ..Annotation::default()
        };
        let found = judged("How many dogs are there?", "3", "Two", Some(&annotation));
        assert!((found.scored.worth - 0.9).abs() < 1e-12);
        assert_eq!(found.scored.groups, ["answer: number", "question: how many"]);
        let alone = judged("Is it red?", "Yes.", "yes", None);
        assert_eq!(alone.scored.groups, ["answer: yes/no", "question: is"]);
        assert_eq!(alone.scored.worth, 1.0);
    }

    #[test]
    fn the_prior_answers_by_type() {
        let all = [
            judged("is it?", "yes", "", None),
            judged("is this?", "yes", "", None),
            judged("is that?", "no", "", None),
            judged("what?", "dog", "", None),
        ];
        assert_eq!(prior(&all), 0.75);
    }
}
