//! Conversations about one picture: several questions in a row, so that a picture is drawn and
//! encoded once for all of them (LLaVA 1.5, Liu et al. 2023, section 3.3, packs a picture's
//! questions into one conversation for the same reason).

use serde::{Deserialize, Serialize};

use crate::drawn::caption;
use crate::drawn::curriculum::most_objects;
use crate::drawn::question::{self, Kind, View};
use crate::drawn::scene::{Scene, Split};
use sensorium_kernels::rng::Rng;

pub use crate::drawn::sample::Turn;

/// A picture and what is said about it.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// What is seen.
    pub view: View,
    /// Questions with their answers, in order, at least one.
    pub turns: Vec<Turn>,
}

/// Requests for a sentence. The first is what the `caption` command asks.
const CAPTION: [&str; 6] = [
    "describe the picture.",
    "what do you see?",
    "describe this image.",
    "what is in the picture?",
    "write a caption.",
    "caption this picture.",
];

/// Requests for everything there is.
const DETAIL: [&str; 5] = [
    "describe the picture in detail.",
    "list everything.",
    "what is where?",
    "describe everything you see.",
    "describe all objects and where they are.",
];

/// Questions end when this many words have been said: conversations of one length fill a batch.
const WORDS: usize = 75;

/// What a conversation's questions are mostly about. In TOML: `{ kinds = ["where",
/// "side"], share = 0.9, told = 0.1 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Focus {
    /// Kinds that are asked about more often, each as often as it is listed.
    pub kinds: Vec<Kind>,
    /// Share (0 to 1) of the questions that are of these kinds; the others are of any.
    pub share: f32,
    /// Share (0 to 1) of the conversations that end with everything told.
    pub told: f32,
}

impl Default for Focus {
    /// What takes longest to learn is asked more often.
    fn default() -> Self {
        let kinds = vec![
            Kind::Count,
            Kind::Count,
            Kind::Relation,
            Kind::Side,
            Kind::Where,
            Kind::Neighbour,
            Kind::Larger,
        ];
        Self { kinds, share: 0.5, told: 0.5 }
    }
}

impl Focus {
    fn kind(&self, rng: &mut Rng) -> Kind {
        let listed = rng.chance(self.share).then(|| rng.choose(&self.kinds).copied()).flatten();
        listed.unwrap_or_else(|| rng.pick(&Kind::DRAWN))
    }
}

/// Conversation `index` about a scene of a split, after `progress` (0 to 1) of a run. What is asked
/// is as `focus` says. The first question is balanced as those of [`question::sample`] are: its
/// scene is drawn for it. Later ones are about what is there. One conversation in five begins with a
/// description instead.
pub fn about_scene(
    split: Split,
    seed: u64,
    index: u64,
    progress: f32,
    focus: &Focus,
) -> Conversation {
    let rng = &mut split.rng(10, seed, index);
    let most = most_objects(progress);
    let sample = question::sample_by(|rng| focus.kind(rng), split, seed, index, progress);
    let (scene, first) = match sample.view {
        View::Scene(scene) if !rng.chance(0.2) => (*scene, [sample.question, sample.answer]),
        _ => {
            let scene = Scene::random(split, rng.next_u64(), index, most);
            let first = match rng.chance(0.4) {
                true => in_detail(&scene, rng),
                false => [rng.pick(&CAPTION).to_owned(), caption::caption(&scene, rng)],
            };
            (scene, first)
        }
    };
    let mut turns = vec![first];
    ask_on(&mut turns, &scene, WORDS, focus, rng);
    if rng.chance(focus.told) {
        turns.push(in_detail(&scene, rng));
    }
    Conversation { view: View::Scene(Box::new(scene)), turns }
}

/// A request for everything there is in scene `index`, and the answer.
pub fn detail(split: Split, seed: u64, index: u64, progress: f32) -> Conversation {
    let scene = Scene::random(split, seed, index, most_objects(progress));
    let turns = vec![in_detail(&scene, &mut split.rng(11, seed, index))];
    Conversation { view: View::Scene(Box::new(scene)), turns }
}

/// Asks about `scene`, never the same twice, until `turns` hold `enough` words.
pub(crate) fn ask_on(
    turns: &mut Vec<Turn>,
    scene: &Scene,
    enough: usize,
    focus: &Focus,
    rng: &mut Rng,
) {
    for _ in 0..40 {
        if words(turns) >= enough {
            break;
        }
        let Some((question, answer)) = question::follow_up(focus.kind(rng), scene, rng) else {
            continue;
        };
        if turns.iter().all(|turn| turn[0] != question) {
            turns.push([question, answer]);
        }
    }
}

fn in_detail(scene: &Scene, rng: &mut Rng) -> Turn {
    [rng.pick(&DETAIL).to_owned(), caption::describe(scene, rng)]
}

fn words(turns: &[Turn]) -> usize {
    turns.iter().flatten().map(|text| text.split(' ').count()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversations_repeat_and_are_about_equally_long() {
        let mut lengths = Vec::new();
        for index in 0..500 {
            let talk = about_scene(Split::Train, 1, index, 1.0, &Focus::default());
            let again = about_scene(Split::Train, 1, index, 1.0, &Focus::default());
            assert_eq!(talk.turns, again.turns);
            assert!(talk.turns.iter().flatten().all(|text| !text.is_empty()));
            lengths.push(words(&talk.turns));
        }
        lengths.sort_unstable();
        assert!(lengths[50] >= 60 && lengths[450] <= 180, "{} {}", lengths[50], lengths[450]);
    }

    #[test]
    fn a_focus_is_kept_to() {
        let focus = Focus { kinds: vec![Kind::Side], share: 1.0, told: 0.0 };
        let mut asked = 0;
        for index in 0..200 {
            let talk = about_scene(Split::Train, 3, index, 1.0, &focus);
            for [question, answer] in &talk.turns[1..] {
                assert!(["left", "right", "above", "below"].contains(&&**answer), "{question}");
                asked += 1;
            }
        }
        assert!(asked > 400, "{asked}");
    }

    #[test]
    fn details_name_every_object() {
        for index in 0..200 {
            let Conversation { view, turns } = detail(Split::Train, 2, index, 1.0);
            let View::Scene(scene) = view else { panic!("drawn") };
            for object in &scene.objects {
                let name = format!("{} {}", object.color.name(), object.shape.name());
                assert!(turns[0][1].contains(&name), "{}: {name}", turns[0][1]);
            }
        }
    }
}
