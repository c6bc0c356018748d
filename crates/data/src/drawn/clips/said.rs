//! What is said of clips, and what is asked.

use super::{Change, Clip, Event, Way, other_color};
use crate::drawn::conversation::Turn;
use crate::drawn::question::yes_no;
use crate::drawn::words::with_article;
use sensorium_kernels::rng::Rng;

/// Frames around what happens.
const FRAMES: [&str; 6] =
    ["{o}", "{o}", "{o}", "in this video {o}", "we see how {o}", "a video in which {o}"];

/// Wordings of a change: `a circle {words}`.
const WORDINGS: usize = 2;

/// What is asked of a clip.
#[derive(Clone, Copy, Debug)]
enum Question {
    Happens,
    Way,
    First,
    Last,
    ColorFirst,
    ColorLast,
    Which,
    Moves,
}

impl Question {
    const ALL: [Self; 8] = [
        Self::Happens,
        Self::Way,
        Self::First,
        Self::Last,
        Self::ColorFirst,
        Self::ColorLast,
        Self::Which,
        Self::Moves,
    ];
}

impl Change {
    /// "moves to the left", in one of the [`WORDINGS`].
    fn words(self, wording: usize) -> String {
        let plain = wording == 0;
        let words = match self {
            Self::Move(way @ (Way::Left | Way::Right)) if plain => {
                return format!("moves to the {}", way.name());
            }
            Self::Move(way) => {
                return format!("{} {}", if plain { "moves" } else { "goes" }, way.name());
            }
            Self::Turn(color, _) => {
                return format!("{} {}", if plain { "turns" } else { "becomes" }, color.name());
            }
            Self::Appear => ["appears", "shows up"],
            Self::Disappear => ["disappears", "vanishes"],
            Self::Grow => ["grows", "gets larger"],
            Self::Shrink => ["shrinks", "gets smaller"],
        };
        words[usize::from(!plain)].to_owned()
    }

    /// What it is, without where to or into what.
    fn verb(self) -> String {
        match self {
            Self::Move(_) => "moves".to_owned(),
            Self::Turn(..) => "changes colour".to_owned(),
            _ => self.words(0),
        }
    }
}

impl Clip {
    /// "a red circle"
    fn name(&self, object: usize) -> String {
        let object = &self.objects[object];
        with_article(&format!("{} {}", object.color.name(), object.shape.name()))
    }

    fn shape(&self, object: usize) -> &'static str {
        self.objects[object].shape.name()
    }

    /// "a blue star turns green, then moves up", all of it in one of the [`WORDINGS`].
    pub(super) fn story(&self, wording: usize) -> String {
        let mut story = String::new();
        let mut last = None;
        for Event { object, change, .. } in &self.events {
            if last.is_some() {
                story += ", then ";
            }
            if last != Some(*object) {
                story += &format!("{} ", self.name(*object));
            }
            story += &change.words(wording);
            last = Some(*object);
        }
        story
    }

    /// A caption, and the same made false twice.
    pub(super) fn captions(&self, rng: &mut Rng) -> [String; 3] {
        let (frame, wording, all) = (rng.pick(&FRAMES), rng.below(WORDINGS), rng.chance(0.5));
        let told = |clip: &Self| {
            let still = (0..clip.objects.len())
                .find(|object| clip.events.iter().all(|event| event.object != *object));
            let still =
                still.filter(|_| all).map(|object| format!(", {} stays", clip.name(object)));
            frame.replace("{o}", &(clip.story(wording) + &still.unwrap_or_default()))
        };
        [told(self), told(&self.changed(rng)), told(&self.swapped(rng))]
    }

    /// With the opposite of something that happens.
    fn changed(&self, rng: &mut Rng) -> Self {
        let mut clip = self.clone();
        let at = rng.below(clip.events.len());
        let Event { object, change, .. } = &mut clip.events[at];
        *change = match *change {
            Change::Move(way) => Change::Move(way.opposite()),
            Change::Appear => Change::Disappear,
            Change::Disappear => Change::Appear,
            Change::Grow => Change::Shrink,
            Change::Shrink => Change::Grow,
            Change::Turn(color, rgb) => {
                let mut turned = self.objects[*object].clone();
                turned.color = color;
                Change::Turn(other_color([&turned, &self.objects[*object]], rng), rgb)
            }
        };
        clip
    }

    /// With the events in the other order; of one event, happening to the other object, or to one of another
    /// colour.
    fn swapped(&self, rng: &mut Rng) -> Self {
        let mut clip = self.clone();
        match (&mut clip.events[..], &mut clip.objects[..]) {
            ([event], [_, _]) => event.object = 1,
            ([_], [object]) => object.color = other_color([&*object, &*object], rng),
            (events, _) => events.reverse(),
        }
        clip
    }

    /// Everything that can be asked, in random order, with its answers.
    pub(super) fn turns(&self, rng: &mut Rng) -> Vec<Turn> {
        let mut asked = Question::ALL;
        rng.shuffle(&mut asked);
        asked.iter().filter_map(|question| self.ask(*question, rng)).collect()
    }

    /// A question about the first object, where this can be asked, and its answer.
    fn ask(&self, question: Question, rng: &mut Rng) -> Option<Turn> {
        let shape = self.shape(0);
        let (wordings, answer) = match question {
            Question::Happens => {
                let [event] = self.events.as_slice() else { return None };
                let wordings = ["what happens to the {x}?", "what does the {x} do?"];
                (wordings, format!("it {}", event.change.verb()))
            }
            Question::Way => (
                ["which way does the {x} move?", "where does the {x} go?"],
                self.way()?.name().into(),
            ),
            Question::First => (["what happens first?", "what comes first?"], self.event(0)?),
            Question::Last => (["what happens last?", "what comes last?"], self.event(1)?),
            Question::ColorFirst => {
                let color = self.color_at(0)?;
                let wordings =
                    ["what colour is the {x} at first?", "which colour did the {x} have at first?"];
                (wordings, color)
            }
            Question::ColorLast => {
                let color = self.color_at(super::FRAMES - 1)?;
                let wordings =
                    ["what colour is the {x} at the end?", "which colour has the {x} at the end?"];
                (wordings, color)
            }
            Question::Which => return self.which(rng),
            Question::Moves => return self.moves(rng),
        };
        Some([rng.pick(&wordings).replace("{x}", shape), answer])
    }

    /// Where the first object moves.
    fn way(&self) -> Option<Way> {
        self.events.iter().filter(|event| event.object == 0).find_map(|event| match event.change {
            Change::Move(way) => Some(way),
            _ => None,
        })
    }

    /// What the n-th of two events is.
    fn event(&self, n: usize) -> Option<String> {
        let [first, second] = self.events.as_slice() else { return None };
        let event = [first, second][n];
        let verb = event.change.verb();
        Some(match first.object == second.object {
            true => format!("it {verb}"),
            false => format!("the {} {verb}", self.shape(event.object)),
        })
    }

    /// The first object's colour in a frame, where it is seen.
    fn color_at(&self, frame: usize) -> Option<String> {
        let seen = self.seen(frame);
        let object = seen.iter().find(|object| object.shape == self.objects[0].shape)?;
        Some(object.color.name().to_owned())
    }

    /// Which of two objects it is that something happens to, named in either order.
    fn which(&self, rng: &mut Rng) -> Option<Turn> {
        let ([event], [_, _]) = (&self.events[..], &self.objects[..]) else { return None };
        let mut order = [0, 1];
        rng.shuffle(&mut order);
        let [one, other] = order.map(|object| self.shape(object));
        let question = format!("what {}, the {one} or the {other}?", event.change.verb());
        Some([question, format!("the {}", self.shape(0))])
    }

    /// "does the circle move to the left?", as often true as not; where it is not, the opposite
    /// is.
    fn moves(&self, rng: &mut Rng) -> Option<Turn> {
        let way = self.way()?;
        let yes = rng.chance(0.5);
        let asked = if yes { way } else { way.opposite() };
        Some([format!("does the {} move {}?", self.shape(0), asked.name()), yes_no(yes)])
    }
}
