//! Questions about scenes, with short answers, balanced per question string.
//!
//! What is asked and what the answer is are chosen first and independently; a scene that makes the
//! answer true is built second. So no wording of a question tells anything about its answer, and
//! a model that does not look at the picture stays at chance (Goyal et al. 2017,
//! <https://arxiv.org/abs/1612.00837>).

mod about;
mod follow_up;
mod templates;

pub(crate) use about::yes_no;
pub use follow_up::follow_up;

use sensorium_media::Picture;
use serde::{Deserialize, Serialize};

use crate::drawn::caption::Phrasing;
use crate::drawn::curriculum::most_objects;
use crate::drawn::scene::{Scene, Split};
use sensorium_kernels::rng::Rng;

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// "what colour is the circle?"; one circle, other shapes around it.
    Color,
    /// "what colour is the shape?"; one object.
    OnlyColor,
    /// "what is the blue shape?"
    Shape,
    /// "what shape is in the image?"; one object.
    OnlyShape,
    /// "how many circles are there?", up to four.
    Count,
    /// "how many red shapes are there?", up to six.
    CountAny,
    /// "is there a red circle?"
    Exists,
    /// "does the image not contain a blue shape?"
    Negation,
    /// "is there a red circle and a blue star?"; when not, the colours are often swapped.
    Both,
    /// "is the red circle left of the blue star?"
    Relation,
    /// "what is left of the blue star?"
    Neighbour,
    /// "what size is the circle?"
    Size,
    /// "is the circle solid, outlined or striped?"
    Fill,
    /// "is the circle larger than the star?"
    Larger,
    /// "are there more circles than stars?"
    More,
    /// "where is the red circle?"
    Where,
    /// "is the circle red or blue?"
    Choose,
    /// "do the two shapes have the same colour?"
    Same,
    /// "what colour is the background?"
    Background,
    /// A question of easy-VQA about a picture of easy-VQA.
    EasyVqa,
    /// "is the red circle left or right of the blue star?"
    Side,
}

impl Kind {
    /// All kinds that are drawn, in order.
    pub const DRAWN: [Self; 20] = [
        Self::Color,
        Self::OnlyColor,
        Self::Shape,
        Self::OnlyShape,
        Self::Count,
        Self::CountAny,
        Self::Exists,
        Self::Negation,
        Self::Both,
        Self::Relation,
        Self::Side,
        Self::Neighbour,
        Self::Size,
        Self::Fill,
        Self::Larger,
        Self::More,
        Self::Where,
        Self::Choose,
        Self::Same,
        Self::Background,
    ];

    /// The name used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Color => "colour",
            Self::OnlyColor => "colour, one object",
            Self::Shape => "shape",
            Self::OnlyShape => "shape, one object",
            Self::Count => "count to 4",
            Self::CountAny => "count to 6",
            Self::Exists => "exists",
            Self::Negation => "negation",
            Self::Both => "both",
            Self::Relation => "relation",
            Self::Side => "side",
            Self::Neighbour => "neighbour",
            Self::Size => "size",
            Self::Fill => "fill",
            Self::Larger => "larger",
            Self::More => "more",
            Self::Where => "where",
            Self::Choose => "choose",
            Self::Same => "same",
            Self::Background => "background",
            Self::EasyVqa => "easy-vqa",
        }
    }
}

/// What a question is asked of.
#[derive(Clone, Debug)]
pub enum View {
    /// A scene, drawn when it is needed.
    Scene(Box<Scene>),
    /// A picture from a file.
    Picture(Picture),
}

/// A question about a picture.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What is seen.
    pub view: View,
    /// Lower case, ASCII, with a question mark where the phrasing has one.
    pub question: String,
    /// One to three words.
    pub answer: String,
    /// What it is about.
    pub kind: Kind,
    /// How many answers were equally likely: chance is `1 / choices`.
    pub choices: usize,
}

impl View {
    /// A scene is drawn at `size` x `size` pixels, a file's picture is as it is.
    pub fn picture(&self, size: u32) -> Picture {
        match self {
            Self::Scene(scene) => scene.render(size),
            Self::Picture(picture) => picture.clone(),
        }
    }
}

impl Sample {
    /// The picture of its view.
    pub fn picture(&self, size: u32) -> Picture {
        self.view.picture(size)
    }

    /// The scene, when the picture is drawn by us.
    pub fn scene(&self) -> Option<&Scene> {
        match &self.view {
            View::Scene(scene) => Some(scene),
            View::Picture(_) => None,
        }
    }
}

/// A scene, the question's parts and the answer: what `about` builds.
struct Asked {
    scene: Scene,
    template: &'static str,
    parts: Vec<(&'static str, String)>,
    answer: String,
    choices: usize,
}

/// Question `index` of a split, after `progress` (0 to 1) of a run: scenes hold at most two
/// objects before [`crate::drawn::curriculum::EASY`], and typos occur (3 %) in training only.
pub fn sample(split: Split, seed: u64, index: u64, progress: f32) -> Sample {
    sample_by(|rng| rng.pick(&Kind::DRAWN), split, seed, index, progress)
}

/// [`sample`] of the kind that `kind` draws.
pub(crate) fn sample_by(
    kind: impl Fn(&mut Rng) -> Kind,
    split: Split,
    seed: u64,
    index: u64,
    progress: f32,
) -> Sample {
    let rng = &mut split.rng(3, seed, index);
    make(kind(rng), split, Phrasing::Seen, most_objects(progress), rng)
}

/// Question `index` of one kind with the phrasing of your choice, up to six objects.
/// [`Kind::EasyVqa`] is not drawn: it counts as [`Kind::OnlyColor`].
pub fn sample_of(kind: Kind, phrasing: Phrasing, split: Split, seed: u64, index: u64) -> Sample {
    let rng = &mut split.rng(4 + ((kind as u64) << 8), seed, index);
    make(kind, split, phrasing, most_objects(1.0), rng)
}

/// A question of this kind about a scene of at most `most` objects.
pub(crate) fn make(
    kind: Kind,
    split: Split,
    phrasing: Phrasing,
    most: usize,
    rng: &mut Rng,
) -> Sample {
    let ask = about::Ask { split, phrasing, most };
    // A crowd can fail to fit what it must show; another draw then takes its place.
    let asked = (0..50).find_map(|_| ask.about(kind, rng));
    let (kind, asked) = match asked {
        Some(asked) => (kind, asked),
        None => (Kind::OnlyColor, ask.only_color(rng)),
    };
    let text = worded(asked.template, &asked.parts, rng);
    let question = if split == Split::Train && rng.chance(0.03) { typo(&text, rng) } else { text };
    let Asked { scene, answer, choices, .. } = asked;
    Sample { view: View::Scene(Box::new(scene)), question, answer, kind, choices }
}

/// The question in words: parts filled in, spelled the British or the American way.
fn worded(template: &str, parts: &[(&'static str, String)], rng: &mut Rng) -> String {
    let mut text = template.to_owned();
    for (name, part) in parts {
        text = text.replace(name, part);
    }
    if rng.chance(0.5) {
        text = text.replace("colour", "color");
    }
    if rng.chance(0.3) {
        text = text.replace("gray", "grey");
    }
    if rng.chance(0.1) {
        text = text.trim_end_matches('?').to_owned();
    }
    text
}

/// One letter left out or doubled, or two exchanged, in a word of five letters or more.
fn typo(text: &str, rng: &mut Rng) -> String {
    let mut words: Vec<_> = text.split(' ').map(str::to_owned).collect();
    let long: Vec<_> = (0..words.len())
        .filter(|&n| words[n].len() >= 5 && words[n].bytes().all(|b| b.is_ascii_lowercase()))
        .collect();
    if let Some(&n) = rng.choose(&long) {
        let mut letters: Vec<_> = words[n].chars().collect();
        let at = rng.range(1, letters.len() - 2);
        match rng.below(3) {
            0 => drop(letters.remove(at)),
            1 => letters.insert(at, letters[at]),
            _ => letters.swap(at, at + 1),
        }
        words[n] = letters.into_iter().collect();
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drawn::look::{Color, Shape};
    use std::collections::HashMap;

    /// How often each answer was given to each question string; spelling and typos set aside.
    fn tally(samples: impl Iterator<Item = Sample>) -> HashMap<String, HashMap<String, f32>> {
        let mut tally: HashMap<String, HashMap<String, f32>> = HashMap::new();
        for sample in samples {
            let question =
                sample.question.replace("colour", "color").replace("grey", "gray").replace('?', "");
            *tally.entry(question).or_default().entry(sample.answer).or_default() += 1.0;
        }
        tally
    }

    #[test]
    fn every_string_is_balanced() {
        let tally = tally((0..20_000).map(|i| sample(Split::Val, 1, i, 1.0)));
        let (mut yes, mut no, mut strings) = (0.0, 0.0, 0);
        for (question, answers) in &tally {
            let total: f32 = answers.values().sum();
            let most = answers.values().copied().fold(0.0, f32::max);
            if answers.contains_key("yes") || answers.contains_key("no") {
                let agree = answers.get("yes").copied().unwrap_or(0.0);
                (yes, no) = (yes + agree, no + total - agree);
                // Five standard deviations of a fair coin.
                assert!(
                    (agree - total / 2.0).abs() <= 2.5 * total.sqrt(),
                    "{question}: {answers:?}"
                );
                strings += usize::from(total >= 10.0);
            } else if total >= 30.0 {
                let even = total / answers.len() as f32;
                assert!(most <= even + 5.0 * even.sqrt(), "{question}: {answers:?}");
                strings += 1;
            }
        }
        assert!((yes / (yes + no) - 0.5f32).abs() < 0.02, "{yes} {no}");
        assert!(strings > 60, "{strings}");
    }

    #[test]
    fn a_blind_guesser_stays_near_chance() {
        // The best a model can do that sees only the question: the commonest answer per string.
        let known = tally((0..20_000).map(|i| sample(Split::Val, 1, i, 1.0)));
        let best = |question: &str| {
            let answers = known.get(
                &question.replace("colour", "color").replace("grey", "gray").replace('?', ""),
            )?;
            answers.iter().max_by(|a, b| a.1.total_cmp(b.1)).map(|a| a.0.clone())
        };
        let (mut right, mut chance, mut seen) = (0.0, 0.0, 0.0);
        for sample in (20_000..26_000).map(|i| sample(Split::Val, 1, i, 1.0)) {
            let Some(guess) = best(&sample.question) else {
                continue;
            };
            seen += 1.0;
            chance += 1.0 / sample.choices as f32;
            right += f32::from(u8::from(guess == sample.answer));
        }
        let (right, chance) = (right / seen, chance / seen);
        assert!((right - chance).abs() < 0.03, "right {right}, chance {chance}");
    }

    #[test]
    fn every_kind_is_asked_in_its_own_words() {
        for kind in Kind::DRAWN {
            for phrasing in [Phrasing::Seen, Phrasing::HeldOut] {
                for split in [Split::Train, Split::Val, Split::HeldOut] {
                    for index in 0..150 {
                        let sample = sample_of(kind, phrasing, split, 2, index);
                        assert_eq!(sample.kind, kind, "{index}");
                        let text = format!("{} {}", sample.question, sample.answer);
                        assert!(text.is_ascii() && text == text.to_lowercase(), "{text}");
                        assert!(!text.contains(['{', '}']), "{text}");
                        assert!(sample.choices >= 2 && !sample.answer.is_empty());
                    }
                }
            }
        }
    }

    #[test]
    fn held_out_pairs_are_kept_apart() {
        for index in 0..20_000 {
            let sample = sample(Split::Train, 5, index, 1.0);
            let held = |s: &Scene| s.count(|o| o.look().is_held_out());
            assert_eq!(sample.scene().map(held), Some(0), "{index}: {}", sample.question);
        }
        let asked = (0..2_000).map(|i| sample(Split::HeldOut, 5, i, 1.0));
        let kept =
            asked.filter(|s| s.scene().is_some_and(|s| s.count(|o| o.look().is_held_out()) > 0));
        assert!(kept.count() > 1_000);
    }

    #[test]
    fn answers_are_true() {
        for index in 0..3_000 {
            let sample = sample_of(Kind::Color, Phrasing::Seen, Split::Val, 6, index);
            let scene = sample.scene().expect("drawn");
            let Some(shape) = Shape::ALL.iter().find(|s| sample.question.contains(s.name())) else {
                continue;
            };
            assert_eq!(scene.count(|o| o.shape == *shape), 1, "{}", sample.question);
            let object = scene.objects.iter().find(|o| o.shape == *shape).expect("one");
            assert_eq!(object.color.name(), sample.answer);
        }
        for index in 0..3_000 {
            let sample = sample_of(Kind::Exists, Phrasing::Seen, Split::Val, 6, index);
            let scene = sample.scene().expect("drawn");
            let text = sample.question.replace("grey", "gray");
            let color = Color::ALL.iter().find(|c| text.contains(c.name()));
            let shape = Shape::ALL.iter().find(|s| text.contains(s.name()));
            let count = scene.count(|o| {
                color.is_none_or(|c| o.color == *c) && shape.is_none_or(|s| o.shape == *s)
            });
            assert_eq!(sample.answer == "yes", count > 0, "{text}: {scene:?}");
        }
        for index in 0..3_000 {
            let sample = sample_of(Kind::CountAny, Phrasing::Seen, Split::Val, 6, index);
            let scene = sample.scene().expect("drawn");
            let text = sample.question.replace("grey", "gray");
            let color = Color::ALL.iter().find(|c| text.contains(c.name()));
            let shape = Shape::ALL.iter().find(|s| text.contains(s.name()));
            let count = scene.count(|o| {
                color.is_none_or(|c| o.color == *c) && shape.is_none_or(|s| o.shape == *s)
            });
            assert_eq!(crate::drawn::words::NUMBERS[count], sample.answer, "{text}: {scene:?}");
        }
    }

    #[test]
    fn same_index_same_question() {
        for index in 0..300 {
            let (a, b) = (sample(Split::Train, 8, index, 0.1), sample(Split::Train, 8, index, 0.1));
            assert_eq!((&a.question, &a.answer, a.scene()), (&b.question, &b.answer, b.scene()));
        }
    }
}
