//! What icons are called: emojibase's labels and tags, cleaned, and sentences made of them.

use std::path::Path;

use serde::Deserialize;

use crate::drawn::look::{HELD_OUT, Shape};
use crate::drawn::words::with_article;
use crate::{Error, Result};
use sensorium_kernels::rng::{Rng, mix};

/// Something an icon stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concept {
    /// Code points in lower-case hexadecimal joined by `-`, without fe0f.
    pub code: String,
    /// Its name: lower case, ASCII.
    pub label: String,
    /// Words that go with it: lower case, ASCII, none that repeats the label.
    pub tags: Vec<String>,
}

/// A hundred well-known concepts that all three styles draw, by label; all of them are trained on.
#[rustfmt::skip]
pub const ZERO_SHOT: [&str; 100] = [
    "red apple", "banana", "pineapple", "strawberry", "watermelon", "grapes", "lemon", "carrot",
    "cherries", "pear", "tomato", "broccoli", "bread", "cheese wedge", "hamburger", "french fries",
    "pizza", "popcorn", "doughnut", "cookie", "birthday cake", "wine glass", "beer mug",
    "soft ice cream", "dog face", "cat face", "pig face", "rabbit face", "bear", "panda", "lion",
    "cow face", "frog", "fox", "penguin", "owl", "duck", "butterfly", "snail", "lady beetle",
    "spider", "turtle", "snake", "octopus", "dolphin", "elephant", "crab", "koala", "cactus",
    "palm tree", "evergreen tree", "sunflower", "rose", "tulip", "mushroom", "four leaf clover",
    "automobile", "bus", "bicycle", "airplane", "rocket", "sailboat", "helicopter", "tractor",
    "fire engine", "house", "castle", "tent", "sun", "cloud", "rainbow", "snowman", "fire",
    "droplet", "soccer ball", "basketball", "guitar", "trumpet", "violin", "key", "hammer",
    "scissors", "light bulb", "candle", "alarm clock", "camera", "television", "pencil", "envelope",
    "wrapped gift", "balloon", "crown", "top hat", "glasses", "dress", "backpack", "gem stone",
    "bell", "trophy", "ghost",
];

impl Concept {
    /// Whether training never shows it: a tenth, none of them in [`ZERO_SHOT`].
    pub fn is_held_out(&self) -> bool {
        let lot = self.code.bytes().fold(7, |sum, b| mix(sum ^ u64::from(b)));
        // A ninth of the rest, since the hundred well-known ones are never held out.
        lot.is_multiple_of(9) && !ZERO_SHOT.contains(&self.label.as_str())
    }

    /// The label with an article, where it takes one.
    pub fn named(&self) -> String {
        let several = self.label.ends_with('s') && !self.label.ends_with("ss");
        let bare = several && !matches!(&*self.label, "bus" | "cactus" | "octopus");
        if bare || self.label.starts_with(|c: char| !c.is_ascii_alphabetic()) {
            self.label.clone()
        } else {
            with_article(&self.label)
        }
    }

    /// A sentence that names it, sometimes with a tag or two.
    pub(crate) fn caption(&self, rng: &mut Rng) -> String {
        const FRAMES: [&str; 16] = [
            "{x}",
            "{x}",
            "an icon of {x}",
            "a picture of {x}",
            "an image of {x}",
            "a drawing of {x}",
            "an emoji of {x}",
            "this is {x}",
            "an illustration of {x}",
            "the icon shows {x}",
            "a symbol of {x}",
            "we see {x}",
            "a small icon of {x}",
            "here is {x}",
            "the picture shows {x}",
            "a cartoon of {x}",
        ];
        let text = rng.pick(&FRAMES).replace("{x}", &self.named());
        let tags = self.some_tags(rng);
        match tags.as_slice() {
            [] => text,
            tags if rng.chance(0.25) => format!("{text}: {}", tags.join(", ")),
            _ => text,
        }
    }

    /// One to three tags in random order.
    pub(crate) fn some_tags(&self, rng: &mut Rng) -> Vec<String> {
        let mut tags = self.tags.clone();
        rng.shuffle(&mut tags);
        tags.truncate(rng.range(1, 3));
        tags
    }
}

/// A file's or record's code points as concepts write them.
pub(super) fn code(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    name.split('-').filter(|part| *part != "fe0f").collect::<Vec<_>>().join("-")
}

#[derive(Deserialize)]
struct Record {
    label: String,
    hexcode: String,
    #[serde(default)]
    tags: Vec<String>,
    group: Option<u8>,
    gender: Option<serde_json::Value>,
}

/// emojibase's group of parts of emoji, which are no pictures of their own.
const COMPONENTS: u8 = 2;
/// emojibase's group of flags.
const FLAGS: u8 = 9;

/// The concepts of emojibase's `data.json`: no flags, no skin tones, no keys and families, of people
/// in three genders only the neutral one, and nothing that shows a held-out pair.
pub(super) fn read(path: &Path) -> Result<Vec<Concept>> {
    let (what, path_buf) = ("emojibase's names", || path.to_owned());
    let text = std::fs::read(path).map_err(|source| Error::Unreadable {
        what,
        path: path_buf(),
        source,
    })?;
    let records: Vec<Record> = serde_json::from_slice(&text).map_err(|source| Error::Json {
        what,
        path: path_buf(),
        source,
    })?;
    let kept = records.into_iter().filter(|r| {
        let pictured = r.group.is_some_and(|g| g != COMPONENTS && g != FLAGS);
        pictured && r.gender.is_none() && !r.label.contains([':', '\u{201c}'])
    });
    let gendered = ["man ", "woman ", "men ", "women "];
    let kept = kept.map(concept).filter(|concept| {
        !gendered.iter().any(|word| concept.label.starts_with(word)) && !names_held_out(concept)
    });
    Ok(kept.collect())
}

/// Whether the label is of a colour and shape that training must not show together, as in "blue
/// heart".
fn names_held_out(concept: &Concept) -> bool {
    let has = |word: &str| concept.label.split(' ').any(|w| w == word);
    let square = |shape| shape == Shape::Rectangle && has("square");
    HELD_OUT.iter().any(|&(color, shape)| has(color.name()) && (has(shape.name()) || square(shape)))
}

fn concept(record: Record) -> Concept {
    let label = plain(&record.label);
    let mut tags: Vec<_> = record.tags.iter().map(|tag| plain(tag)).collect();
    tags.retain(|tag| tag.len() > 2 && !label.contains(tag.as_str()));
    Concept { code: code(&record.hexcode), label, tags }
}

/// Lower case and ASCII; other characters are replaced by their nearest, or dropped.
fn plain(text: &str) -> String {
    let near = text.chars().filter_map(|c| match c {
        '\u{2019}' => Some('\''),
        '\u{e0}'..='\u{e5}' => Some('a'),
        '\u{e8}'..='\u{eb}' => Some('e'),
        '\u{ec}'..='\u{ef}' => Some('i'),
        '\u{f1}' => Some('n'),
        '\u{f2}'..='\u{f6}' => Some('o'),
        '\u{f9}'..='\u{fc}' => Some('u'),
        c => c.is_ascii().then(|| c.to_ascii_lowercase()),
    });
    near.collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_well() {
        let named = |label: &str| {
            Concept { code: String::new(), label: label.into(), tags: Vec::new() }.named()
        };
        assert_eq!(named("owl"), "an owl");
        assert_eq!(named("grapes"), "grapes");
        assert_eq!(named("bus"), "a bus");
        assert_eq!(plain("Pi\u{f1}ata \u{2122}"), "pinata");
        assert_eq!(code("1F336-FE0F"), "1f336");
    }

    #[test]
    fn held_out_pairs_are_no_icons() {
        let held = |label: &str| {
            names_held_out(&Concept { code: String::new(), label: label.into(), tags: Vec::new() })
        };
        assert!(held("blue heart") && held("orange square") && held("purple circle"));
        assert!(!held("red heart") && !held("blue circle") && !held("small orange diamond"));
    }

    #[test]
    fn well_known_concepts_differ() {
        for (n, label) in ZERO_SHOT.iter().enumerate() {
            assert!(!ZERO_SHOT[..n].contains(label), "{label}");
        }
    }
}
