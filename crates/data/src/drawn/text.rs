//! Text for the language stage: descriptions of scenes, questions about described scenes, icon
//! words, sums and lists, and honest refusals.

use sensorium_media::chat::{Message, Role};

use crate::drawn::caption;
use crate::drawn::icons::Icons;
use crate::drawn::look::{Color, Shape};
use crate::drawn::question::{self, Kind};
use crate::drawn::scene::{MOST_OBJECTS, Scene, Split};
use crate::drawn::words::listed;
use sensorium_kernels::rng::Rng;

/// A text to learn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// Plain text.
    Plain(String),
    /// A conversation that starts with the user; each turn is text only.
    Chat(Vec<Message>),
}

/// Document `index`: scene descriptions 45 %, dialogues about described scenes 25 %, icon words
/// 20 % (descriptions take their place without `icons`), sums and lists 5 %, refusals 5 %.
/// Held-out pairs of colour and shape do not occur.
pub fn document(icons: Option<&Icons>, split: Split, seed: u64, index: u64) -> Document {
    let rng = &mut split.rng(7, seed, index);
    // Text about held-out pairs would be a way to learn them.
    let split = if split == Split::HeldOut { Split::Val } else { split };
    match (rng.below(100), icons) {
        (0..25, _) => dialogue(split, rng),
        (25..30, _) => drill(rng),
        (30..35, _) => refusal(rng),
        (35..55, Some(icons)) => Document::Plain(words(icons, rng)),
        _ => Document::Plain(description(split, rng)),
    }
}

fn turns(question: impl Into<String>, answer: impl Into<String>) -> [Message; 2] {
    [Message::text(Role::User, question), Message::text(Role::Assistant, answer)]
}

/// Captions of one scene, or everything there is to know about it.
fn description(split: Split, rng: &mut Rng) -> String {
    let scene = Scene::with_count(split, rng.range(1, MOST_OBJECTS), rng);
    if rng.chance(0.3) {
        return caption::describe(&scene, rng);
    }
    let sentences: Vec<_> =
        (0..rng.range(1, 3)).map(|_| caption::caption(&scene, rng) + ".").collect();
    sentences.join(" ")
}

/// A described scene and one to four questions about what was said.
fn dialogue(split: Split, rng: &mut Rng) -> Document {
    // Descriptions tell ninths of the picture, which do not decide every relation.
    let told = |kind| !matches!(kind, Kind::Relation | Kind::Side | Kind::Neighbour);
    let drawn = (0..20).map(|_| question::sample(split, rng.next_u64(), 0, 1.0));
    let Some(sample) = drawn.into_iter().find(|s| told(s.kind)) else { return drill(rng) };
    let Some(scene) = sample.scene() else { return Document::Plain(sample.question) };
    let first = format!("{} {}", caption::describe(scene, rng), sample.question);
    let mut chat = turns(first, sample.answer.clone()).to_vec();
    for _ in 0..rng.below(8) {
        let kind = rng.pick(&Kind::DRAWN);
        let further = told(kind).then(|| question::follow_up(kind, scene, rng)).flatten();
        chat.extend(further.into_iter().flat_map(|(question, answer)| turns(question, answer)));
    }
    Document::Chat(chat)
}

/// What goes with an icon's name.
fn words(icons: &Icons, rng: &mut Rng) -> String {
    let Some(concept) = rng.choose(icons.concepts()) else { return String::new() };
    let tags = concept.some_tags(rng);
    let name = concept.named();
    match (rng.below(4), tags.as_slice()) {
        (_, []) => format!("this is {name}."),
        (0, tags) => format!("{name}: {}.", tags.join(", ")),
        (1, tags) => format!("what goes with {name}? {}.", listed(tags)),
        (2, tags) => format!("{name} makes one think of {}.", listed(tags)),
        (_, tags) => format!("{}? that may be {name}.", tags.join(", ")),
    }
}

/// Sums to twenty, number and letter order, days, opposites, colours and shapes.
fn drill(rng: &mut Rng) -> Document {
    const DAYS: [&str; 7] =
        ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    const OPPOSITES: [(&str, &str); 10] = [
        ("left", "right"),
        ("above", "below"),
        ("large", "small"),
        ("top", "bottom"),
        ("yes", "no"),
        ("more", "fewer"),
        ("big", "little"),
        ("on", "off"),
        ("open", "closed"),
        ("light", "dark"),
    ];
    let [question, answer] = match rng.below(6) {
        0 => {
            let (a, b) = (rng.range(0, 10), rng.range(0, 10));
            [format!("what is {a} plus {b}?"), (a + b).to_string()]
        }
        1 => {
            let (a, b) = (rng.range(0, 10), rng.range(0, 10));
            [format!("what is {} minus {b}?", a + b), a.to_string()]
        }
        2 => {
            let day = rng.below(7);
            [format!("which day comes after {}?", DAYS[day]), DAYS[(day + 1) % 7].to_owned()]
        }
        3 => {
            let (a, b) = rng.pick(&OPPOSITES);
            let (a, b) = if rng.chance(0.5) { (a, b) } else { (b, a) };
            [format!("what is the opposite of {a}?"), b.to_owned()]
        }
        4 => {
            let letter = b'a' + rng.below(25) as u8;
            let [now, next] = [letter, letter + 1].map(|l| char::from(l).to_string());
            [format!("which letter comes after {now}?"), next]
        }
        _ => {
            let (color, shape) = (rng.pick(&Color::ALL).name(), rng.pick(&Shape::ALL).name());
            let (word, is) = if rng.chance(0.5) { (color, "a colour") } else { (shape, "a shape") };
            [format!("is {word} a colour or a shape?"), is.to_owned()]
        }
    };
    Document::Chat(turns(question, answer).to_vec())
}

/// What the model does not know, it says.
fn refusal(rng: &mut Rng) -> Document {
    const QUESTIONS: [&str; 16] = [
        "who is this person?",
        "what is the name of this man?",
        "who is the woman in the photo?",
        "which city is this?",
        "what will the weather be tomorrow?",
        "is this rash dangerous?",
        "what disease is this?",
        "who won the match?",
        "how much does this cost?",
        "what is the licence plate of this car?",
        "who painted this?",
        "what is she thinking?",
        "should i take this medicine?",
        "what is the password?",
        "how old is this person?",
        "what did the president say?",
    ];
    const ANSWERS: [&str; 6] = [
        "i do not know: i was trained on drawings.",
        "i cannot tell. i was trained on simple drawings.",
        "i do not know that. i only know simple pictures.",
        "i was trained on drawings; i do not know who or where this is.",
        "sorry, i cannot answer that. i know shapes and icons.",
        "that is beyond me: i only learned about simple drawings.",
    ];
    Document::Chat(turns(rng.pick(&QUESTIONS), rng.pick(&ANSWERS)).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensorium_media::Part;

    fn said(document: &Document) -> String {
        match document {
            Document::Plain(text) => text.clone(),
            Document::Chat(turns) => {
                let texts = turns.iter().flat_map(|t| &t.parts).map(|part| match part {
                    Part::Text(text) => text.as_str(),
                    _ => "",
                });
                texts.collect::<Vec<_>>().join(" ")
            }
        }
    }

    #[test]
    fn documents_are_plain_repeatable_and_mixed() {
        let (mut chats, mut kinds) = (0, std::collections::HashSet::new());
        for index in 0..3_000 {
            let document = document(None, Split::Train, 4, index);
            assert_eq!(document, super::document(None, Split::Train, 4, index));
            let text = said(&document);
            assert!(text.is_ascii() && !text.is_empty() && text == text.to_lowercase(), "{text}");
            if let Document::Chat(turns) = &document {
                chats += 1;
                assert!(turns.len().is_multiple_of(2) && turns[0].role == Role::User);
            }
            kinds.insert(text);
        }
        assert!((900..1_200).contains(&chats), "{chats}");
        assert!(kinds.len() > 2_600, "{}", kinds.len());
    }
}
