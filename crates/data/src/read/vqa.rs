//! Questions and answers about pictures in two JSON files, as VQAv2 has them (Goyal et al. 2017,
//! <https://arxiv.org/abs/1612.00837>).
//!
//! ```json
//! {"questions": [{"question_id": 1, "image_id": 7, "question": "What is this?"}]}
//! {"annotations": [{"question_id": 1, "multiple_choice_answer": "dog"}],
//!  "data_subtype": "train2014"}
//! ```

use std::collections::HashMap;
use std::path::Path;

use sensorium_media::{Message, Modality, Part, Role};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Entry, Record, Source, bytes};
use crate::{Error, Result};

#[derive(Deserialize)]
struct Questions {
    questions: Vec<Question>,
}

#[derive(Deserialize)]
struct Question {
    question_id: u64,
    image_id: u64,
    question: String,
}

#[derive(Deserialize)]
struct Answers {
    annotations: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    question_id: u64,
    multiple_choice_answer: String,
}

/// What people said to a question.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Annotation {
    /// The question.
    pub question_id: u64,
    /// The question's first words, as `what color is the`.
    pub question_type: String,
    /// `yes/no`, `number` or `other`.
    pub answer_type: String,
    /// Ten people's answers.
    pub answers: Vec<PersonsAnswer>,
}

/// What one of them said.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PersonsAnswer {
    /// Their words.
    pub answer: String,
}

/// What people said to each of the questions at `path`, by the annotations at `answers`, in the order of
/// [`read`]'s entries; to one without annotation, nothing.
///
/// # Errors
/// A file cannot be read or is of another form.
pub fn annotations(path: &Path, answers: &Path) -> Result<Vec<Annotation>> {
    #[derive(Deserialize)]
    struct Annotations {
        annotations: Vec<Annotation>,
    }
    let Questions { questions } = json(path, "questions in JSON as VQAv2 has them")?;
    let Annotations { annotations } = json(answers, "annotations in JSON as VQAv2 has them")?;
    let mut by_question: HashMap<u64, Annotation> =
        annotations.into_iter().map(|annotation| (annotation.question_id, annotation)).collect();
    Ok(questions.iter().map(|q| by_question.remove(&q.question_id).unwrap_or_default()).collect())
}

/// The entries of the questions at `path` with the answers at `answers`. A picture's file is `image`, in
/// which `{}` stands for its number, or `{:012}` for that with zeros in front.
///
/// # Errors
/// A file cannot be read or is of another form; `image` has no place for the number.
pub fn read(path: &Path, answers: &Path, image: &str) -> Result<Vec<Entry>> {
    let Questions { questions } = json(path, "questions in JSON as VQAv2 has them")?;
    let Answers { annotations } = json(answers, "annotations in JSON as VQAv2 has them")?;
    let answers: HashMap<u64, String> = annotations
        .into_iter()
        .map(|answer| (answer.question_id, answer.multiple_choice_answer))
        .collect();
    let [before, digits, after] = pattern(image).ok_or_else(|| Error::Config {
        key: "image",
        expected: "a file's name with {} or {:012} for the picture's number",
        got: image.to_owned(),
    })?;
    let width = digits.parse().unwrap_or_default();
    let entry = |Question { question_id, image_id, question }: Question| {
        let answer = answers.get(&question_id).map(|answer| answer.trim());
        let answer = answer.filter(|answer| !answer.is_empty());
        let answer = answer.ok_or_else(|| format!("question {question_id}: no answer"))?;
        let picture = Source::File(format!("{before}{image_id:0width$}{after}"));
        Ok(asked(vec![picture], &question, answer))
    };
    Ok(questions.into_iter().map(entry).collect())
}

/// A question about pictures with its answer.
pub(super) fn asked(pictures: Vec<Source>, question: &str, answer: &str) -> Record {
    let mut parts = vec![Part::Media(Modality::Image); pictures.len()];
    parts.push(Part::Text(question.trim().to_owned()));
    let asked = Message { role: Role::User, parts };
    Record {
        pictures,
        text: None,
        messages: vec![asked, Message::text(Role::Assistant, answer)],
        spoken: None,
    }
}

/// What is before the number, how many digits it has at least, and what is behind it.
fn pattern(image: &str) -> Option<[&str; 3]> {
    let (before, rest) = image.split_once('{')?;
    let (digits, after) = rest.split_once('}')?;
    let digits = digits.strip_prefix(":0").unwrap_or(digits);
    let fits = digits.is_empty() || digits.parse::<usize>().is_ok_and(|digits| digits <= 20);
    fits.then_some([before, digits, after])
}

fn json<T: DeserializeOwned>(path: &Path, expected: &'static str) -> Result<T> {
    serde_json::from_slice(&bytes(path, expected)?).map_err(|error| Error::Format {
        path: path.to_owned(),
        expected,
        got: error.to_string(),
        hint: "questions are in the file of `path`, annotations in that of `answers`",
    })
}
