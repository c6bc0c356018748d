//! easy-VQA (Victor Zhou 2019, MIT, <https://github.com/vzhou842/easy-VQA>): 64 x 64 pictures of one
//! shape, 48,248 questions, 13 answers. Its test half is for measuring only.

use std::collections::HashMap;
use std::path::Path;

use sensorium_media::{MediaDecoder, Picture};

use crate::drawn::conversation::Conversation;
use crate::drawn::look::{Color, HELD_OUT, Shape};
use crate::drawn::question::{Kind, Sample, View};
use crate::drawn::sample::Turn;
use crate::drawn::scene::Split;
use crate::{Error, Result};
use sensorium_kernels::rng::Rng;

/// One question: index of its picture, its words, its answer.
#[derive(Debug)]
struct Question {
    picture: usize,
    question: String,
    answer: String,
}

/// The pictures and questions of one split, in memory (50 MB for training).
#[derive(Debug)]
pub struct EasyVqa {
    pictures: Vec<Picture>,
    questions: Vec<Question>,
}

impl EasyVqa {
    /// Reads a split below `dir` (by default `data/easy-vqa`), which holds
    /// `{train,test}/images/N.png`, for `decoder`, and `{train,test}/questions.json`.
    ///
    /// - [`Split::Train`]: the train half without pictures of held-out pairs (teal triangles), so
    ///   that these stay unseen wherever they might come from;
    /// - [`Split::Val`]: the official test half, complete;
    /// - [`Split::HeldOut`]: what was left out of the train half.
    ///
    /// # Errors
    /// A missing or damaged file, by name; a question that names no picture.
    pub fn open(dir: &Path, split: Split, decoder: &MediaDecoder) -> Result<Self> {
        let dir = dir.join(if split == Split::Val { "test" } else { "train" });
        let (path, what) = (dir.join("questions.json"), "the questions of easy-VQA");
        let text = std::fs::read(&path).map_err(|source| Error::Unreadable {
            what,
            path: path.clone(),
            source,
        })?;
        let records: Vec<(String, String, usize)> = serde_json::from_slice(&text)
            .map_err(|source| Error::Json { what, path: path.clone(), source })?;
        let suspects = suspects(&records);
        let mut at = HashMap::new();
        let mut data = Self { pictures: Vec::new(), questions: Vec::new() };
        for (record, (question, answer, id)) in records.into_iter().enumerate() {
            if choices(&answer).is_none() {
                let (path, expected) = (path.clone(), "one of easy-VQA's 13 answers");
                return Err(Error::Record { path, record, expected, got: answer });
            }
            let held = suspects.get(&id).is_some_and(|facts| facts.may_be_held_out());
            if split != Split::Val && held != (split == Split::HeldOut) {
                continue;
            }
            let picture = match at.get(&id) {
                Some(&picture) => picture,
                None => {
                    let path = dir.join("images").join(format!("{id}.png"));
                    data.pictures.push(read(&path, decoder)?);
                    at.insert(id, data.pictures.len() - 1);
                    data.pictures.len() - 1
                }
            };
            data.questions.push(Question { picture, question, answer });
        }
        if data.questions.is_empty() {
            return Err(Error::Empty { what, path });
        }
        Ok(data)
    }

    /// The number of questions, at least 1.
    #[allow(clippy::len_without_is_empty)] // An empty set does not open.
    pub fn len(&self) -> usize {
        self.questions.len()
    }

    /// The number of pictures.
    pub fn pictures(&self) -> usize {
        self.pictures.len()
    }

    /// Up to `most` questions about picture `index` (counted round and round), in random order.
    pub fn conversation(&self, index: usize, most: usize, rng: &mut Rng) -> Conversation {
        let picture = index % self.pictures.len();
        let about = self.questions.iter().filter(|question| question.picture == picture);
        let mut turns: Vec<Turn> =
            about.map(|record| [record.question.clone(), record.answer.clone()]).collect();
        rng.shuffle(&mut turns);
        turns.truncate(most);
        Conversation { view: View::Picture(self.pictures[picture].clone()), turns }
    }

    /// Question `index`, counted round and round.
    pub fn sample(&self, index: usize) -> Sample {
        let record = &self.questions[index % self.questions.len()];
        Sample {
            view: View::Picture(self.pictures[record.picture].clone()),
            question: record.question.clone(),
            answer: record.answer.clone(),
            kind: Kind::EasyVqa,
            choices: choices(&record.answer).unwrap_or(2),
        }
    }
}

fn read(path: &Path, decoder: &MediaDecoder) -> Result<Picture> {
    decoder
        .picture(path)
        .map_err(|error| Error::Picture { path: path.to_owned(), reason: error.to_string() })
}

/// How many answers are of this answer's sort; nothing when easy-VQA does not know it.
fn choices(answer: &str) -> Option<usize> {
    match answer {
        "yes" | "no" => Some(2),
        "circle" | "rectangle" | "triangle" => Some(3),
        "blue" | "green" | "red" | "gray" | "yellow" | "teal" | "black" | "brown" => Some(8),
        _ => None,
    }
}

/// What the questions about one picture tell of its only shape.
#[derive(Default)]
struct Facts {
    color: Option<Color>,
    shape: Option<Shape>,
    not_colors: Vec<Color>,
    not_shapes: Vec<Shape>,
}

impl Facts {
    fn learn(&mut self, question: &str, answer: &str) {
        let negated = question.contains(" not ") || question.contains(" no ");
        let holds = match answer {
            "yes" => !negated,
            "no" => negated,
            _ => true,
        };
        let named = |name: &str| question.contains(name) || answer == name;
        for color in Color::ALL.into_iter().filter(|c| named(c.name())) {
            if holds { self.color = Some(color) } else { self.not_colors.push(color) }
        }
        for shape in Shape::ALL.into_iter().filter(|s| named(s.name())) {
            if holds { self.shape = Some(shape) } else { self.not_shapes.push(shape) }
        }
    }

    /// Whether nothing said rules out that the shape is of a held-out pair.
    fn may_be_held_out(&self) -> bool {
        HELD_OUT.iter().any(|&(color, shape)| {
            // Only what easy-VQA draws can be in its pictures.
            choices(color.name()).is_some()
                && choices(shape.name()).is_some()
                && self.color.is_none_or(|c| c == color)
                && self.shape.is_none_or(|s| s == shape)
                && !self.not_colors.contains(&color)
                && !self.not_shapes.contains(&shape)
        })
    }
}

fn suspects(records: &[(String, String, usize)]) -> HashMap<usize, Facts> {
    let mut facts: HashMap<usize, Facts> = HashMap::new();
    for (question, answer, id) in records {
        facts.entry(*id).or_default().learn(question, answer);
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{At, DatasetConfig, OpenOptions};

    fn open(dir: &Path, split: Split) -> Result<EasyVqa> {
        EasyVqa::open(dir, split, &MediaDecoder::here())
    }

    /// Three pictures: a red circle, a teal triangle, a blue rectangle.
    fn fixture(dir: &Path) {
        let images = dir.join("train/images");
        std::fs::create_dir_all(&images).expect("writable");
        for id in 0..3 {
            let png = Picture::filled(4, 4, [id * 40, 9, 9]).to_png();
            std::fs::write(images.join(format!("{id}.png")), png).expect("writable");
        }
        let questions = r#"[["what color is the shape?", "red", 0],
            ["is there a triangle?", "yes", 1], ["is there not a teal shape?", "no", 1],
            ["what is the blue shape?", "rectangle", 2], ["is no circle present?", "yes", 2]]"#;
        std::fs::write(dir.join("train/questions.json"), questions).expect("writable");
    }

    #[test]
    fn reads_and_keeps_held_out_pairs_apart() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fixture(dir.path());
        let train = open(dir.path(), Split::Train).expect("opens");
        assert_eq!((train.len(), train.pictures()), (3, 2));
        let sample = train.sample(1);
        assert_eq!((&*sample.question, &*sample.answer), ("what is the blue shape?", "rectangle"));
        assert_eq!((sample.choices, sample.picture(96).pixels[0]), (3, 80));
        let talk = train.conversation(3, 1, &mut Rng::at(1, 0, 0));
        assert_eq!(talk.turns.len(), 1, "of the two about the blue rectangle");
        assert!(talk.turns[0][0].contains("blue") || talk.turns[0][0].contains("circle"));
        let held = open(dir.path(), Split::HeldOut).expect("opens");
        assert_eq!((held.len(), held.pictures()), (2, 1));
    }

    #[test]
    fn as_a_data_set_it_is_one_conversation_a_picture() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fixture(dir.path());
        let (path, split) = (dir.path().to_owned(), Split::Train);
        let config = DatasetConfig::EasyVqa { path, turns: 8, isolated: 1.0, share: 1.0 };
        let options = OpenOptions { seed: 1, split, val_share: 0.0, picture_size: 9 };
        let dataset = config.open(&options, &MediaDecoder::here()).expect("opens");
        assert_eq!(dataset.len(), Some(2));
        let example = dataset.example(At { epoch: 0, index: 1, progress: 0.0 }).expect("read");
        assert_eq!((example.media.len(), example.messages.len()), (1, 4));
        assert!(example.isolated);
    }

    #[test]
    fn bad_files_are_named() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let error = |split| open(dir.path(), split).expect_err("broken").to_string();
        assert!(error(Split::Val).contains("questions.json"));
        fixture(dir.path());
        std::fs::write(dir.path().join("train/images/2.png"), b"not a picture").expect("writable");
        assert!(error(Split::Train).contains("2.png"));
        std::fs::write(dir.path().join("train/questions.json"), b"[[1]]").expect("writable");
        assert!(error(Split::Train).contains("hint:"));
        let odd = r#"[["what color is the shape?", "mauve", 0]]"#;
        std::fs::write(dir.path().join("train/questions.json"), odd).expect("writable");
        assert!(error(Split::Train).contains("mauve"), "{}", error(Split::Train));
    }
}
