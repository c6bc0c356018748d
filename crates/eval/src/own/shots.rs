//! Answers after exemplars: how well a model does what it is shown in the prompt alone.
//!
//! Alayrac et al. 2022 (Flamingo), section 3.3 and appendix B.1.5, <https://arxiv.org/abs/2204.14198>. An
//! exemplar is a picture with what is asked and answered about it, as the training data have it. "0 shots"
//! are two exemplars without their pictures, so that the form of an answer is known.

use rayon::prelude::*;
use sensorium_data::rng::Rng;
use sensorium_data::scene::Split;
use sensorium_data::{At, Dataset, DatasetConfig, Example, Media, OpenOptions};
use sensorium_inference::FewShot;
use sensorium_media::{Message, Part, Picture, Role};

use super::questions::{about, questions, within};
use super::set::{Fault, Item, Set};
use super::{Measured, Own, Scored, Task, caption, vqa};
use crate::error::{EvalError, Result};
use crate::label::similarity;

/// Exemplars without pictures that stand for 0 shots.
const TOLD: usize = 2;

/// The stream of random numbers that exemplars are drawn by.
const DRAWN: u64 = 0x5407;

/// How exemplars are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choose {
    /// By chance, for each item anew; more shots keep those of fewer.
    Random,
    /// The pictures most like the item's, the nearest last (Yang et al. 2022, RICES,
    /// <https://arxiv.org/abs/2109.05014>), by what the model's own encoder sees.
    Rices,
    /// By chance, each with the next one's answer: what is gained by pictures and form alone.
    Shuffled,
}

/// Measuring after exemplars.
pub struct Shots<'a> {
    /// How many, one figure each.
    pub counts: &'a [usize],
    /// What they are taken from.
    pub exemplars: &'a DatasetConfig,
    /// How.
    pub choose: Choose,
}

/// What may be shown.
struct Pool<'a> {
    model: &'a dyn FewShot,
    dataset: Box<dyn Dataset>,
    len: u64,
    choose: Choose,
    seed: u64,
    /// They are captions, not questions with answers.
    captions: bool,
    /// They are of the data that are measured on: none may be shown itself.
    same: bool,
    /// Of [`Choose::Rices`], a vector for each that can be read.
    seen: Vec<(u64, Vec<f32>)>,
}

/// Exemplars before each question.
pub(super) struct Shown<'a> {
    pool: &'a Pool<'a>,
    count: usize,
}

/// The task once for each number of shots.
pub(super) fn measure(
    task: Task,
    model: &dyn FewShot,
    set: &mut Set<'_>,
    own: &Own<'_>,
    shots: &Shots<'_>,
) -> Result<Measured> {
    let pool = Pool::open(task, model, own, shots)?;
    let known = set.bad.len();
    let mut all = Measured { examples: Vec::new(), metrics: Vec::new(), notes: Vec::new() };
    for &count in shots.counts {
        set.bad.truncate(known);
        let shown = Some(Shown { pool: &pool, count });
        let mut measured = match task {
            Task::Caption => {
                let request = model.caption_request();
                caption::measure_after(model, shown.as_ref(), Some(request), set, own)
            }
            Task::Vqa => vqa::measure(model, shown.as_ref(), set, own),
            other => return Err(EvalError::Shots { task: other.name() }),
        }?;
        if shots.counts.len() > 1 {
            label(&mut measured, count);
        }
        all.examples.append(&mut measured.examples);
        all.metrics.append(&mut measured.metrics);
        all.notes = measured.notes;
    }
    let chosen = match shots.choose {
        Choose::Random => "drawn at random for each item",
        Choose::Rices => "those most like its picture by the model's own encoder, the nearest last",
        Choose::Shuffled => "drawn at random, each with the answer of the next: a control",
    };
    all.notes.push(format!(
        "exemplars from {}: {chosen}; 0 shots are {TOLD} of them without pictures",
        pool.dataset.name()
    ));
    Ok(all)
}

/// Tells what was measured after `count` shots from all else.
fn label(measured: &mut Measured, count: usize) {
    let told = |name: &str| format!("{name}, {count}-shot");
    for metric in &mut measured.metrics {
        metric.task = told(&metric.task);
        metric.numbers = told(&metric.numbers);
    }
    for Scored { id, groups, numbers, .. } in &mut measured.examples {
        *id = told(id);
        groups.iter_mut().for_each(|group| *group = told(group));
        *numbers = std::mem::take(numbers).into_iter().map(|(k, v)| (told(&k), v)).collect();
    }
}

impl<'a> Pool<'a> {
    fn open(task: Task, model: &'a dyn FewShot, own: &Own<'_>, shots: &Shots<'_>) -> Result<Self> {
        let options =
            OpenOptions { seed: own.seed, split: Split::Train, val_share: 0.0, picture_size: 224 };
        let (config, choose) = (shots.exemplars, shots.choose);
        let dataset = config.open(&options, own.decoder)?;
        let len = dataset.len().ok_or_else(|| EvalError::Endless { kind: config.kind() })?;
        let (seed, same, captions) = (own.seed, config == own.config, task == Task::Caption);
        let mut pool = Self { model, dataset, len, choose, seed, captions, same, seen: Vec::new() };
        if choose == Choose::Rices {
            let look = |index| Some((index, model.look(picture(&pool.read(index)?.media)?)));
            pool.seen = (0..len).into_par_iter().filter_map(look).collect();
        }
        Ok(pool)
    }

    fn read(&self, index: u64) -> Option<Example> {
        self.dataset.example(At { epoch: 0, index, progress: 1.0 }).ok()
    }

    /// The numbers of all exemplars, the first to be shown first.
    fn order(&self, item: &Item, media: &[Media]) -> Vec<u64> {
        if let (Choose::Rices, Some(picture)) = (self.choose, picture(media)) {
            let look = self.model.look(picture);
            let mut near: Vec<(u64, f32)> =
                self.seen.iter().map(|(index, seen)| (*index, similarity(seen, &look))).collect();
            near.sort_by(|a, b| b.1.total_cmp(&a.1));
            return near.into_iter().map(|(index, _)| index).collect();
        }
        let mut order: Vec<u64> = (0..self.len).collect();
        Rng::at(self.seed, DRAWN, item.index).shuffle(&mut order);
        order
    }
}

fn picture(media: &[Media]) -> Option<&Picture> {
    media.iter().flat_map(Media::pictures).next()
}

/// A picture, what is asked about it, and the answer.
struct Exemplar {
    asked: Vec<Message>,
    media: Vec<Media>,
    answer: String,
}

impl Exemplar {
    /// The caption of an example, or its first question, within the `words` around it.
    fn of(example: Example, words: &str, captions: bool) -> Option<Self> {
        let Example { mut media, text, messages, isolated, .. } = example;
        if captions {
            return Some(Self { asked: about(&media, Some(words)), media, answer: text? });
        }
        let first = questions(&messages, isolated).into_iter().next()?;
        media.truncate(first.media);
        Some(Self { asked: within(&first, words), media, answer: first.answer })
    }

    fn without_media(mut self) -> Self {
        self.media.clear();
        let is_text = |part: &Part| matches!(part, Part::Text(_));
        self.asked.iter_mut().for_each(|message| message.parts.retain(is_text));
        self
    }
}

impl Shown<'_> {
    /// What is asked about an item, with its media, behind exemplars asked within the same `words`.
    pub fn before(
        &self,
        item: &Item,
        (asked, media): (&[Message], &[Media]),
        words: &str,
    ) -> std::result::Result<(Vec<Message>, Vec<Media>), Fault> {
        let count = if self.count == 0 { TOLD } else { self.count };
        let of = |index: u64| {
            let outline = self.pool.dataset.outline(index).ok()?;
            match self.pool.same && item.is_of(&outline) {
                true => None,
                false => Exemplar::of(self.pool.read(index)?, words, self.pool.captions),
            }
        };
        let order = self.pool.order(item, media);
        let mut chosen: Vec<Exemplar> = order.into_iter().filter_map(of).take(count).collect();
        if chosen.len() < count {
            let got = chosen.len();
            return Err(EvalError::Exemplars { expected: count, got }.into());
        }
        match self.pool.choose {
            Choose::Random => {}
            Choose::Rices => chosen.reverse(),
            Choose::Shuffled => {
                let mut answers: Vec<String> = chosen.iter().map(|e| e.answer.clone()).collect();
                answers.rotate_left(1);
                chosen.iter_mut().zip(answers).for_each(|(e, answer)| e.answer = answer);
            }
        }
        let (mut all, mut seen) = (Vec::new(), Vec::new());
        for exemplar in chosen {
            let shown = if self.count == 0 { exemplar.without_media() } else { exemplar };
            all.extend(shown.asked);
            all.push(Message::text(Role::Assistant, shown.answer));
            seen.extend(shown.media);
        }
        all.extend_from_slice(asked);
        seen.extend_from_slice(media);
        Ok((all, seen))
    }
}
