//! Sounds with captions and questions: one of 24 kinds once, twice or three times, or two kinds one
//! after the other, over a background of noise.

mod kinds;
mod waves;

use sensorium_media::{Media, Sound, mel};

use crate::drawn::conversation::Turn;
use crate::drawn::question::yes_no;
use crate::drawn::scene::Split;
use crate::drawn::words::with_article;
use crate::{Example, OpenOptions};
use sensorium_kernels::rng::{Rng, hash};
use waves::{add, count, low_pass, noise, normalized, shaped};

pub use kinds::{KINDS, Kind};

/// What makes a noise.
#[derive(Clone, Copy, Debug)]
pub struct Voice {
    /// Which of [`KINDS`].
    pub kind: usize,
    /// Whether it is the high one, of a kind that may be low or high.
    pub high: bool,
}

/// What is heard.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// What sounds first.
    pub first: Voice,
    /// How often, 1 to 3.
    pub times: usize,
    /// What sounds after it, of another kind; the first one then sounds once.
    pub second: Option<Voice>,
}

/// How often something sounds, as answers have it.
const TIMES: [&str; 3] = ["once", "twice", "three times"];

/// Frames around what is heard.
const FRAMES: [&str; 8] = [
    "{o}",
    "{o}",
    "the sound of {o}",
    "a recording of {o}",
    "i hear {o}",
    "you can hear {o}",
    "there is {o}",
    "this is {o}",
];

/// Whether training never hears these two kinds together, whichever comes first: one pair in twelve,
/// and each kind in two of them.
pub fn held_out(one: usize, other: usize) -> bool {
    let apart = (one + KINDS.len() - other) % KINDS.len();
    [7, KINDS.len() - 7].contains(&apart)
}

/// Sound `index` with its caption.
pub(crate) fn captioned(options: &OpenOptions, index: u64) -> Example {
    let rng = &mut options.split.rng(12, options.seed, index);
    let heard = Heard::random(options.split, rng);
    let frame = rng.pick(&FRAMES);
    let told = |heard: Heard| frame.replace("{o}", &heard.words());
    Example {
        text: Some(told(heard)),
        negatives: heard.falsified(rng).map(told).to_vec(),
        group: hash(&heard.words()),
        media: vec![Media::Audio(heard.sound(rng))],
        ..Example::default()
    }
}

/// Sound `index` of those that are talked about, with questions.
pub(crate) fn talk(options: &OpenOptions, index: u64) -> (Vec<Media>, Vec<Turn>) {
    let rng = &mut options.split.rng(13, options.seed, index);
    let heard = Heard::random(options.split, rng);
    let turns = heard.turns(rng);
    (vec![Media::Audio(heard.sound(rng))], turns)
}

impl Voice {
    fn random(rng: &mut Rng) -> Self {
        Self { kind: rng.below(KINDS.len()), high: rng.chance(0.5) }
    }

    fn kind(self) -> &'static Kind {
        &KINDS[self.kind]
    }

    /// "a low bell".
    fn words(self) -> String {
        match (self.kind().is_pitched(), self.kind().name) {
            (true, name) => format!("a {} {name}", self.pitch()),
            (false, name) => some(name),
        }
    }

    fn pitch(self) -> &'static str {
        if self.high { "high" } else { "low" }
    }
}

/// "a bell", "rain".
fn some(name: &str) -> String {
    if ["rain", "wind"].contains(&name) { name.to_owned() } else { with_article(name) }
}

impl Heard {
    /// Something random: in [`Split::HeldOut`] a held-out pair, otherwise never one.
    pub fn random(split: Split, rng: &mut Rng) -> Self {
        let first = Voice::random(rng);
        if split != Split::HeldOut && rng.chance(0.5) {
            return Self { first, times: rng.range(1, TIMES.len()), second: None };
        }
        let mut second = Voice::random(rng);
        while second.kind == first.kind
            || held_out(first.kind, second.kind) != (split == Split::HeldOut)
        {
            second = Voice::random(rng);
        }
        Self { first, times: 1, second: Some(second) }
    }

    /// "a low bell, twice", "a siren, then a drum".
    pub fn words(&self) -> String {
        let first = self.first.words();
        match (self.second, self.times) {
            (Some(second), _) => format!("{first}, then {}", second.words()),
            (None, 1) => first,
            (None, times) => format!("{first}, {}", TIMES[times - 1]),
        }
    }

    /// Two things that are not heard: the same in another order, or another number of times; and with
    /// another kind first, in a pair that training may hear.
    fn falsified(self, rng: &mut Rng) -> [Self; 2] {
        let wrong = match self.second {
            Some(second) => Self { first: second, second: Some(self.first), ..self },
            // A caption without a number is not false of what sounds twice.
            None => Self { times: if self.times == 2 { 3 } else { 2 }, ..self },
        };
        let mut other = Self { first: Voice::random(rng), ..self };
        let fits = |voice: Voice| {
            voice.kind != self.first.kind
                && self.second.is_none_or(|s| s.kind != voice.kind && !held_out(s.kind, voice.kind))
        };
        while !fits(other.first) {
            other.first = Voice::random(rng);
        }
        [wrong, other]
    }

    fn holds(&self, kind: usize) -> bool {
        self.first.kind == kind || self.second.is_some_and(|voice| voice.kind == kind)
    }

    /// 1 to 3 seconds at 16 kHz: how loud it is, when it begins and what is in the background is random.
    pub fn sound(&self, rng: &mut Rng) -> Sound {
        let longest = if self.second.is_some() { 1.1 } else { [1.4, 0.9, 0.65][self.times - 1] };
        let mut wave = |voice: Voice| {
            let seconds = longest * rng.between(0.8, 1.0);
            normalized(voice.kind().wave(voice.high, seconds, rng), 1.0)
        };
        let first = wave(self.first);
        let waves = match self.second {
            Some(second) => vec![first, wave(second)],
            None => vec![first; self.times],
        };
        let peak = rng.between(-14.0, -1.0);
        let mut samples = vec![0.0; count(rng.between(0.05, 0.2))];
        for wave in waves {
            let peak = decibels(peak + rng.between(-2.0, 1.0));
            samples.extend(shaped(wave, |_| peak));
            samples.extend(vec![0.0; count(rng.between(0.25, 0.32))]);
        }
        samples.resize(samples.len().max(mel::RATE as usize), 0.0);
        background(&mut samples, rng);
        Sound { rate: mel::RATE, samples, warning: None }
    }

    /// Everything that can be asked, in random order: which questions are left out would tell the kind.
    fn turns(&self, rng: &mut Rng) -> Vec<Turn> {
        let mut asked = Question::ALL;
        rng.shuffle(&mut asked);
        asked.iter().filter_map(|question| self.ask(*question, rng)).collect()
    }

    /// A question, where this can be asked of what is heard, and its answer.
    fn ask(&self, question: Question, rng: &mut Rng) -> Option<Turn> {
        let only = self.second.is_none().then_some(self.first);
        let (wordings, answer) = match question {
            Question::Heard => (["what do you hear?", "what can be heard?"], self.words()),
            Question::Kind => {
                (["which sound is it?", "what makes this sound?"], only?.kind().name.into())
            }
            Question::Times => {
                let _ = only?;
                let wordings = ["how many times does it sound?", "how often do you hear it?"];
                (wordings, TIMES[self.times - 1].into())
            }
            Question::Pitch => {
                let voice = only.filter(|voice| voice.kind().is_pitched())?;
                (["is it high or low?", "is the sound low or high?"], voice.pitch().into())
            }
            Question::First => {
                let _ = self.second?;
                let wordings = ["which sound comes first?", "what do you hear first?"];
                (wordings, self.first.kind().name.into())
            }
            Question::Last => {
                let wordings = ["which sound comes last?", "what do you hear last?"];
                (wordings, self.second?.kind().name.into())
            }
            Question::Exists => return Some(self.exists(rng)),
        };
        Some([rng.pick(&wordings).to_owned(), answer])
    }

    /// "is there a bell?", which is as often true as not.
    fn exists(&self, rng: &mut Rng) -> Turn {
        let yes = rng.chance(0.5);
        let mut kind = self.second.filter(|_| rng.chance(0.5)).unwrap_or(self.first).kind;
        while !yes && self.holds(kind) {
            kind = rng.below(KINDS.len());
        }
        let wording = rng.pick(&["is there {x}?", "do you hear {x}?", "can you hear {x}?"]);
        [wording.replace("{x}", &some(KINDS[kind].name)), yes_no(yes)]
    }
}

/// What is asked of a sound.
#[derive(Clone, Copy, Debug)]
enum Question {
    Heard,
    Kind,
    Times,
    Pitch,
    First,
    Last,
    Exists,
}

impl Question {
    const ALL: [Self; 7] =
        [Self::Heard, Self::Kind, Self::Times, Self::Pitch, Self::First, Self::Last, Self::Exists];
}

/// Full scale is 0.
fn decibels(level: f32) -> f32 {
    10.0_f32.powf(level / 20.0)
}

/// Adds noise between what nobody hears and 20 dB below the quietest peak, white or low.
fn background(samples: &mut [f32], rng: &mut Rng) {
    let seconds = samples.len() as f32 / mel::RATE as f32;
    let level = decibels(rng.between(-70.0, -36.0));
    let white = noise(seconds + 0.01, rng);
    let hum = if rng.chance(0.5) { low_pass(white, rng.between(500.0, 3000.0)) } else { white };
    add(samples, &normalized(hum, level), 0.0);
}

#[cfg(test)]
mod tests;
