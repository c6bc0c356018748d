//! Examples to requests for media, and to conversations in words.

use sensorium_data::{Example, Examples, Media};
use sensorium_encoder::text::Texts;
use sensorium_media::{Message, Modality, Part, Prompt, Role};
use sensorium_model::gill::SignalConfig;
use sensorium_model::prompt::Batch;
use sensorium_nn::rng::Rng;
use sensorium_pretrained::{Piece, Words};

use crate::batch::{draw, texts};
use crate::error::Result;
use crate::talk::Reader;

/// What makes a step's lessons.
pub(super) struct Requests {
    pub(super) reader: Reader,
    pub(super) words: Words,
    /// What may be asked for, and in what words.
    pub(super) outputs: Vec<(SignalConfig, Vec<String>)>,
    pub(super) batch_size: usize,
    pub(super) seed: u64,
}

/// Lessons of one kind.
pub(crate) struct Lessons {
    /// Which of the outputs is asked for, if one is.
    pub(super) kind: Option<usize>,
    pub(super) samples: usize,
    pub(super) batch: Batch,
    /// Where each medium's first signal token stands in the batch.
    pub(super) signals: Vec<usize>,
    /// What is said of the media that are asked for.
    pub(super) captions: Texts,
    /// What is seen, `[M, 3, h, w]`.
    pub(super) planes: Vec<f32>,
    /// What the other towers read.
    pub(super) pieces: Vec<Piece>,
}

/// One of them.
struct Lesson {
    kind: Option<usize>,
    prompt: Prompt,
    caption: String,
    planes: Vec<f32>,
    pieces: Vec<Piece>,
}

/// What an example has not that is to be asked for or told.
pub(super) fn lacks(example: &Example, kinds: &[Modality]) -> Option<&'static str> {
    let fits = match wanted(example) {
        Some((modality, _)) => kinds.contains(&modality) && !caption(example).trim().is_empty(),
        None => !example.messages.is_empty(),
    };
    (!fits).then_some("conversations, or one medium with a caption, of a kind in [[outputs]]")
}

/// What an example has not that is to be told of media, which towers of these `kinds` read.
pub(super) fn lacks_media(example: &Example, kinds: &[Modality]) -> Option<&'static str> {
    // Of a video, pictures are read where there is no other tower.
    let is_read =
        |medium: &Media| kinds.contains(&medium.modality()) || medium.modality() == Modality::Video;
    let told = match example.messages.last() {
        Some(last) => !answers_with_medium(last),
        None => example.text.is_some(),
    };
    let fits = told && !example.media.is_empty() && example.media.iter().all(is_read);
    (!fits).then_some("media that the model has towers for, with captions or conversations")
}

/// The medium that is to be made, and how many are seen before it: the only one, where there is but a caption, or that
/// which a conversation ends with.
fn wanted(example: &Example) -> Option<(Modality, usize)> {
    match (&example.messages[..], &example.media[..]) {
        ([], [medium]) => Some((medium.modality(), 0)),
        ([.., last], [seen @ .., medium]) if answers_with_medium(last) => {
            Some((medium.modality(), seen.len()))
        }
        _ => None,
    }
}

/// What is said of the medium that is to be made: by the example, or by the words before it.
fn caption(example: &Example) -> String {
    let said = || example.messages.last().map(Message::words).unwrap_or_default();
    example.text.clone().unwrap_or_else(said)
}

/// The stream of random numbers that choose the words of a request.
const WORDS: u64 = 0x6111;

impl Requests {
    pub(super) fn make(
        &self,
        examples: &Examples,
        step: u64,
        progress: f32,
    ) -> Result<Vec<Lessons>> {
        let drawn = draw(examples, step, self.batch_size, progress)?;
        let rng = &mut Rng::at(self.seed, WORDS, step);
        let lessons = drawn.iter().map(|example| self.lesson(example, rng));
        let lessons: Vec<Lesson> = lessons.collect::<Result<_>>()?;
        let kinds = (0..self.outputs.len()).map(Some).chain([None]);
        let of = |kind: Option<usize>| -> Result<Option<Lessons>> {
            let own: Vec<&Lesson> = lessons.iter().filter(|lesson| lesson.kind == kind).collect();
            (!own.is_empty()).then(|| self.together(kind, &own)).transpose()
        };
        let all: Vec<Option<Lessons>> = kinds.map(of).collect::<Result<_>>()?;
        Ok(all.into_iter().flatten().collect())
    }

    /// A request, where the example is a medium with its caption or a conversation that ends with a medium;
    /// else a conversation in words.
    fn lesson(&self, example: &Example, rng: &mut Rng) -> Result<Lesson> {
        let place = |modality| self.outputs.iter().position(|(one, _)| one.modality == modality);
        let asked = wanted(example).and_then(|(modality, seen)| Some((place(modality)?, seen)));
        let Some((kind, seen)) = asked else {
            let (prompt, planes, pieces) = self.reader.talk(example)?;
            let caption = String::new();
            return Ok(Lesson { kind: None, prompt, caption, planes, pieces });
        };
        let (signal, requests) = &self.outputs[kind];
        let caption = caption(example);
        let (mut planes, mut pieces, mut media) = (Vec::new(), Vec::new(), Vec::new());
        for medium in &example.media[..seen] {
            media.push(self.reader.medium(medium, &mut planes, &mut pieces)?);
        }
        let (messages, words) = match &example.messages[..] {
            [asked @ .., last] => (asked.to_vec(), last.words()),
            [] => {
                let request = rng.choose(requests).map_or("{}", String::as_str);
                let asked = Message::text(Role::User, request.replace("{}", &caption));
                (vec![asked], String::new())
            }
        };
        let prompt = self.reader.chat.answered(&messages, &media, &words, &signal.signals)?;
        Ok(Lesson { kind: Some(kind), prompt, caption, planes, pieces })
    }

    fn together(&self, kind: Option<usize>, lessons: &[&Lesson]) -> Result<Lessons> {
        let prompts: Vec<Prompt> = lessons.iter().map(|lesson| lesson.prompt.clone()).collect();
        let batch = Batch::new(&prompts, self.reader.chat.pad);
        let captions: Vec<&str> = lessons.iter().map(|lesson| lesson.caption.as_str()).collect();
        let captions = texts(&self.words.input, &captions)?;
        let [_, t] = batch.shape;
        let n = kind.map_or(0, |kind| self.outputs[kind].0.signals.len());
        let first = |(row, prompt): (usize, &Prompt)| row * t + prompt.ids.len() - n;
        let signals = match kind {
            Some(_) => prompts.iter().enumerate().map(first).collect(),
            None => Vec::new(),
        };
        Ok(Lessons {
            kind,
            samples: lessons.len(),
            batch,
            signals,
            captions,
            planes: lessons.iter().flat_map(|lesson| lesson.planes.clone()).collect(),
            pieces: lessons.iter().flat_map(|lesson| lesson.pieces.clone()).collect(),
        })
    }
}

fn answers_with_medium(message: &Message) -> bool {
    let is_medium = |part: &Part| matches!(part, Part::Media(_));
    message.role == Role::Assistant && message.parts.iter().any(is_medium)
}
