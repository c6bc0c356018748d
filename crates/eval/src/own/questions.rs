//! Asking a model about an example.

use std::ops::ControlFlow;

use sensorium_inference::{ChatModel, GenerateOptions, among};
use sensorium_media::chat::caption_request;
use sensorium_media::{Media, Message, Modality, Part, Role};

use super::set::{Fault, Item, Set};
use super::shots::Shown;
use super::{Own, Scored};
use crate::error::{EvalError, Result};

/// A question with what was said before it, and its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The conversation up to the question.
    pub asked: Vec<Message>,
    /// How many of the example's media it holds.
    pub media: usize,
    /// The answer.
    pub answer: String,
}

impl Question {
    /// The words of the question itself.
    pub fn words(&self) -> String {
        self.asked.last().map(Message::words).unwrap_or_default()
    }
}

/// Every question of a conversation, each after the true answers before it; with `isolated`, as if it were
/// the first.
pub fn questions(messages: &[Message], isolated: bool) -> Vec<Question> {
    let mut questions = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        if message.role != Role::Assistant || at == 0 {
            continue;
        }
        let before = &messages[..at];
        let asked = match isolated {
            true => alone(before),
            false => before.to_vec(),
        };
        let answer = message.words().trim().to_owned();
        questions.push(Question { media: media(&asked), asked, answer });
    }
    questions
}

/// The last message alone, with the media that came before it.
fn alone(before: &[Message]) -> Vec<Message> {
    let Some((last, earlier)) = before.split_last() else { return Vec::new() };
    let is_medium = |part: &&Part| matches!(part, Part::Media(_));
    let media = earlier.iter().flat_map(|message| &message.parts).filter(is_medium).cloned();
    let parts = media.chain(last.parts.iter().cloned()).collect();
    vec![Message { role: last.role, parts }]
}

fn media(messages: &[Message]) -> usize {
    let parts = messages.iter().flat_map(|message| &message.parts);
    parts.filter(|part| matches!(part, Part::Media(_))).count()
}

/// The words around a question: the user's, or what a model without a chat template was made to continue.
///
/// # Errors
/// A prompt without `{}`, or a broken chat template.
pub fn template(model: &dyn ChatModel, own: &Own<'_>, bare: &'static str) -> Result<String> {
    let usual = if model.has_template()? { "{}" } else { bare };
    match own.prompts.first() {
        None => Ok(usual.to_owned()),
        Some(prompt) if prompt.contains("{}") => Ok(prompt.clone()),
        Some(prompt) => {
            let (got, what) = (prompt.clone(), "the question");
            Err(EvalError::Prompt { got, what, example: "Question: {} Short answer:" })
        }
    }
}

/// The question within a template.
pub fn within(question: &Question, template: &str) -> Vec<Message> {
    let mut asked = question.asked.clone();
    if let Some(last) = asked.last_mut() {
        let words = template.replace("{}", last.words().trim());
        let mut parts: Vec<Part> =
            last.parts.iter().filter(|part| matches!(part, Part::Media(_))).cloned().collect();
        parts.push(Part::Text(words));
        last.parts = parts;
    }
    asked
}

/// A request about media, in words that suit them where none are given; of no words, the media alone.
pub fn about(media: &[Media], words: Option<&str>) -> Vec<Message> {
    let kinds = media.iter().map(Media::modality);
    let words = words.unwrap_or(caption_request(kinds.clone().next().unwrap_or(Modality::Image)));
    let mut parts: Vec<Part> = kinds.map(Part::Media).collect();
    parts.extend((!words.is_empty()).then(|| Part::Text(words.to_owned())));
    vec![Message { role: Role::User, parts }]
}

/// Of two choices: the first one's probability, and whether it is right.
pub const AUC: &str = "AUC";

/// Who is asked, and how.
pub struct Asker<'a> {
    /// Who.
    pub model: &'a dyn ChatModel,
    /// Exemplars before each question.
    pub shown: Option<&'a Shown<'a>>,
    /// The request, or what is around a question.
    pub words: String,
    /// Most tokens of an answer.
    pub max_new_tokens: usize,
    /// The only answers; of none, any.
    pub choices: &'a [String],
}

/// What was answered.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// The words.
    pub text: String,
    /// How probable each of the choices was among them.
    pub probabilities: Vec<f64>,
}

impl Asker<'_> {
    /// The greedy answer to what is asked about an item, or the likeliest choice; of no words where that does
    /// not fit the model's context.
    ///
    /// # Errors
    /// The model cannot be asked such a thing at all, or there are too few exemplars.
    pub fn ask(
        &self,
        item: &Item,
        asked: &[Message],
        media: &[Media],
    ) -> std::result::Result<Said, Fault> {
        let max_new_tokens = self.max_new_tokens;
        let mut options = GenerateOptions { max_new_tokens, ..GenerateOptions::default() };
        let shown = self.shown.map(|shown| shown.before(item, (asked, media), &self.words));
        let shown = shown.transpose()?;
        let (asked, media) = match &shown {
            Some((asked, media)) => {
                // Exemplars have one line each, and a model that was not taught to end writes another.
                options.stop.push("\n".into());
                (&asked[..], &media[..])
            }
            None => (asked, media),
        };
        let said = match self.choices {
            [] => self.said(asked, media, &options),
            choices => {
                self.model.likelihoods(asked, media, choices).map(|all| chosen(choices, &all))
            }
        };
        match said {
            Ok(said) => Ok(said),
            Err(error) if error.is_full() => Ok(Said::default()),
            Err(error) => Err(EvalError::from(error).into()),
        }
    }

    fn said(
        &self,
        asked: &[Message],
        media: &[Media],
        options: &GenerateOptions,
    ) -> sensorium_inference::Result<Said> {
        let reply = self.model.answer(asked, media, options, &mut |_| ControlFlow::Continue(()))?;
        let text = reply.continuation.text.trim().to_owned();
        Ok(Said { text, probabilities: Vec::new() })
    }

    /// The report's note on it.
    pub fn note(&self) -> String {
        match self.choices {
            [] => {
                format!("asked: {:?}; at most {} tokens, greedy", self.words, self.max_new_tokens)
            }
            choices => format!("asked: {:?}; the likeliest of {}", self.words, choices.join(", ")),
        }
    }
}

/// The likeliest of the choices.
fn chosen(choices: &[String], likelihoods: &[f64]) -> Said {
    let most = likelihoods.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let best = likelihoods.iter().position(|x| *x == most).unwrap_or_default();
    Said { text: choices[best].trim().to_owned(), probabilities: among(likelihoods) }
}

/// Asks every question of an item within a template; `judge` makes something of question and answer.
///
/// # Errors
/// The item cannot be read or asks nothing, or the model cannot be asked such a thing.
pub fn each_answer<T>(
    asker: &Asker<'_>,
    set: &Set<'_>,
    item: &Item,
    judge: impl Fn(&Question, Scored) -> T,
) -> std::result::Result<Vec<T>, Fault> {
    let example = set.example(item)?;
    let questions = questions(&example.messages, example.isolated);
    if questions.is_empty() {
        return Err(Fault::Bad("no question with an answer".into()));
    }
    let answered = questions.iter().enumerate().map(|(turn, question)| {
        let media = &example.media[..question.media.min(example.media.len())];
        let asked = within(question, &asker.words);
        let said = asker.ask(item, &asked, media)?;
        let mut scored = item.scored(question.answer.clone(), said.text);
        if let [first, _] = said.probabilities[..] {
            let positive = asker.choices[0].trim() == question.answer;
            scored.numbers.insert(AUC.into(), vec![first, f64::from(u8::from(positive))]);
        }
        if turn > 0 {
            scored.id = format!("{}, question {}", scored.id, turn + 1);
        }
        Ok(judge(question, scored))
    });
    answered.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_its_question() {
        let user = |text: &str, picture: bool| {
            let mut message = Message::text(Role::User, text);
            if picture {
                message.parts.insert(0, Part::Media(Modality::Image));
            }
            message
        };
        let said = |text: &str| Message::text(Role::Assistant, text);
        let messages = [user("what?", true), said("a dog"), user("where?", false), said(" here ")];
        let found = questions(&messages, false);
        assert_eq!(found.len(), 2);
        assert_eq!((found[1].asked.len(), found[1].media, &*found[1].answer), (3, 1, "here"));
        let alone = questions(&messages, true);
        assert_eq!((alone[1].asked.len(), alone[1].media), (1, 1));
        assert_eq!(alone[1].words(), "where?");
        let within = within(&alone[1], "Question: {} Answer:");
        assert_eq!(within[0].words(), "Question: where? Answer:");
        assert_eq!(within[0].parts.len(), 2);
        assert_eq!(about(&[], Some("")).len(), 1);
    }
}
