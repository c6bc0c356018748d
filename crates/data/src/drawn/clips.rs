//! Videos of eight frames with captions and questions: one or two of the scenes' objects, and what
//! happens to them.
//!
//! The picture's edges are joined: what leaves on one side comes in at the other. So each place is
//! equally likely in each frame, whatever the direction, and no single frame tells which way something
//! moves.

mod said;

use sensorium_media::video::Frame;
use sensorium_media::{Media, Video};

use crate::drawn::conversation::Turn;
use crate::drawn::look::{Color, held_out};
use crate::drawn::scene::{Background, Object, Scene, Split};
use crate::{Example, OpenOptions};
use sensorium_kernels::rng::{Rng, hash};

/// Frames of a clip.
pub const FRAMES: usize = 8;
/// Seconds from frame to frame.
const STEP: f64 = 0.25;
/// How many times larger what grows becomes.
const GROWTH: f32 = 1.44;

/// Where something moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The names say it.
pub enum Way {
    Left,
    Right,
    Up,
    Down,
}

impl Way {
    /// All ways, in order.
    pub const ALL: [Self; 4] = [Self::Left, Self::Right, Self::Up, Self::Down];

    fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
            Self::Up => "up",
            Self::Down => "down",
        }
    }

    fn opposite(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }

    fn step(self) -> [f32; 2] {
        match self {
            Self::Left => [-1.0, 0.0],
            Self::Right => [1.0, 0.0],
            Self::Up => [0.0, -1.0],
            Self::Down => [0.0, 1.0],
        }
    }
}

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// It moves by a third of the picture or more.
    Move(Way),
    /// It is not there before.
    Appear,
    /// It is not there afterwards.
    Disappear,
    /// It turns into another colour, drawn as these red, green and blue.
    Turn(Color, [u8; 3]),
    /// It becomes larger.
    Grow,
    /// It becomes smaller.
    Shrink,
}

impl Change {
    /// How many kinds there are.
    const KINDS: usize = 6;

    fn kind(self) -> usize {
        match self {
            Self::Move(_) => 0,
            Self::Appear => 1,
            Self::Disappear => 2,
            Self::Turn(..) => 3,
            Self::Grow => 4,
            Self::Shrink => 5,
        }
    }

    /// A change of any kind, all equally likely, that `fits`; `objects` have the one that it happens to first.
    fn random(objects: [&Object; 2], rng: &mut Rng, fits: impl Fn(Self) -> bool) -> Self {
        loop {
            let change = match rng.below(Self::KINDS) {
                0 => Self::Move(rng.pick(&Way::ALL)),
                1 => Self::Appear,
                2 => Self::Disappear,
                3 => {
                    let color = other_color(objects, rng);
                    Self::Turn(color, color.tone(rng))
                }
                4 => Self::Grow,
                _ => Self::Shrink,
            };
            if fits(change) {
                return change;
            }
        }
    }
}

/// A colour that neither object has and in which training may show the first one.
fn other_color([object, other]: [&Object; 2], rng: &mut Rng) -> Color {
    loop {
        let color = rng.pick(&Color::ALL);
        if ![object.color, other.color].contains(&color) && !held_out(color, object.shape) {
            return color;
        }
    }
}

/// A change of one object.
#[derive(Clone, Debug)]
pub struct Event {
    /// Which of the clip's objects.
    pub object: usize,
    /// What happens to it.
    pub change: Change,
    /// The last frame before it and the first one after it.
    during: [usize; 2],
    /// 0 to 1: how far it goes, or when in between it happens at once.
    amount: f32,
}

impl Event {
    fn new(object: usize, change: Change, during: [usize; 2], rng: &mut Rng) -> Self {
        Self { object, change, during, amount: rng.f32() }
    }

    /// How much of it lies behind, 0 to 1.
    fn progress(&self, frame: usize) -> f32 {
        let [from, to] = self.during;
        ((frame as f32 - from as f32) / (to - from) as f32).clamp(0.0, 1.0)
    }

    /// The object in a frame, changed; nothing where it is not seen.
    fn apply(&self, mut object: Object, frame: usize) -> Option<Object> {
        let progress = self.progress(frame);
        let happened = progress > self.amount;
        match self.change {
            Change::Move(way) => {
                let far = progress * (0.34 + 0.12 * self.amount);
                let [x, y] = way.step().map(|step| step * far);
                (object.x, object.y) = (object.x + x, object.y + y);
            }
            Change::Appear if !happened => return None,
            Change::Disappear if happened => return None,
            Change::Turn(color, rgb) if happened => (object.color, object.rgb) = (color, rgb),
            Change::Grow => object.radius *= GROWTH.powf(progress),
            Change::Shrink => object.radius /= GROWTH.powf(progress),
            Change::Appear | Change::Disappear | Change::Turn(..) => {}
        }
        Some(object)
    }
}

/// Objects and what happens.
#[derive(Clone, Debug)]
pub struct Clip {
    background: Background,
    /// One or two, of different shapes and colours, as they are at first.
    pub objects: Vec<Object>,
    /// One, or two one after the other; the first one is the first object's.
    pub events: Vec<Event>,
}

/// Clip `index` with its caption.
pub(crate) fn captioned(options: &OpenOptions, index: u64) -> Example {
    let rng = &mut options.split.rng(14, options.seed, index);
    let clip = Clip::random(options.split, rng);
    let [caption, negatives @ ..] = clip.captions(rng);
    Example {
        media: vec![Media::Video(clip.video(options.picture_size))],
        text: Some(caption),
        negatives: negatives.to_vec(),
        group: hash(&clip.story(0)),
        ..Example::default()
    }
}

/// Clip `index` of those that are talked about, with questions.
pub(crate) fn talk(options: &OpenOptions, index: u64) -> (Vec<Media>, Vec<Turn>) {
    let rng = &mut options.split.rng(15, options.seed, index);
    let clip = Clip::random(options.split, rng);
    let turns = clip.turns(rng);
    (vec![Media::Video(clip.video(options.picture_size))], turns)
}

impl Clip {
    /// A random clip whose first object is, in [`Split::HeldOut`], of a held-out pair of colour and shape;
    /// no other object is or becomes one.
    pub fn random(split: Split, rng: &mut Rng) -> Self {
        let mut looks = vec![split.target(rng)];
        if rng.chance(0.5) {
            let first = looks[0];
            let differs = |color, shape| color != first.color && shape != first.shape;
            looks.extend(Split::look(rng, |look| differs(look.color, look.shape)));
        }
        let Scene { background, objects } = Scene::compose(&looks, rng);
        let events = events(&objects, rng);
        let mut clip = Self { background, objects, events };
        for object in 0..clip.objects.len() {
            clip.objects[object].radius = clip.first_radius(object, rng);
        }
        // The objects are apart in every frame, if 100 tries find such places.
        for _ in 0..100 {
            for object in &mut clip.objects {
                (object.x, object.y) = (rng.f32(), rng.f32());
            }
            if (0..FRAMES).all(|frame| apart(&clip.seen(frame))) {
                break;
            }
        }
        clip
    }

    /// A radius at the beginning, such that what grows and what shrinks is of the same sizes on its way.
    fn first_radius(&self, object: usize, rng: &mut Rng) -> f32 {
        let middle = rng.between(0.085, 0.14);
        let of_size = |event: &&Event| {
            event.object == object && matches!(event.change, Change::Grow | Change::Shrink)
        };
        match self.events.iter().find(of_size).map(|event| event.change) {
            Some(Change::Grow) => middle / GROWTH.sqrt(),
            Some(_) => middle * GROWTH.sqrt(),
            None => middle,
        }
    }

    /// The objects that are seen in a frame (0 to 7).
    fn seen(&self, frame: usize) -> Vec<Object> {
        let seen = |(n, object): (usize, &Object)| {
            let mut events = self.events.iter().filter(|event| event.object == n);
            events.try_fold(object.clone(), |object, event| event.apply(object, frame))
        };
        self.objects.iter().enumerate().filter_map(seen).collect()
    }

    /// A frame (0 to 7), with each object wherever joined edges bring it into the picture.
    pub fn scene(&self, frame: usize) -> Scene {
        let mut objects = Vec::new();
        for object in self.seen(frame) {
            let (x, y) = (object.x.rem_euclid(1.0), object.y.rem_euclid(1.0));
            let edges = [-1.0, 0.0, 1.0];
            let places = edges.iter().flat_map(|dx| edges.map(|dy| [x + dx, y + dy]));
            let near = -object.reach()..1.0 + object.reach();
            let inside = places.filter(|[x, y]| near.contains(x) && near.contains(y));
            objects.extend(inside.map(|[x, y]| Object { x, y, ..object.clone() }));
        }
        Scene { background: self.background, objects }
    }

    /// All frames, `size` x `size` pixels.
    pub fn video(&self, size: u32) -> Video {
        let frame =
            |n: usize| Frame { picture: self.scene(n).render(size), seconds: n as f64 * STEP };
        Video { frames: (0..FRAMES).map(frame).collect(), duration: FRAMES as f64 * STEP }
    }
}

/// One event, or two: of the same object two different ones, of which what appears is not there before.
fn events(objects: &[Object], rng: &mut Rng) -> Vec<Event> {
    let last = objects.len() - 1;
    let [one, other] = [[&objects[0], &objects[last]], [&objects[last], &objects[0]]];
    if rng.chance(0.55) {
        let during = [rng.below(3), rng.range(5, 7)];
        return vec![Event::new(0, Change::random(one, rng, |_| true), during, rng)];
    }
    let second = if rng.chance(0.5) { 0 } else { last };
    let same = second == 0;
    let first = Change::random(one, rng, |change| !same || change != Change::Disappear);
    let of = if same { one } else { other };
    let next = Change::random(of, rng, |change| {
        !same || change.kind() != first.kind() && change != Change::Appear
    });
    let begin = [rng.below(2), 3];
    let end = [4, rng.range(6, 7)];
    vec![Event::new(0, first, begin, rng), Event::new(second, next, end, rng)]
}

/// Whether no object hides another one, across the joined edges too.
fn apart(objects: &[Object]) -> bool {
    let [a, b] = objects else { return true };
    let gap = |a: f32, b: f32| {
        let gap = (a - b).rem_euclid(1.0);
        gap.min(1.0 - gap)
    };
    gap(a.x, b.x).hypot(gap(a.y, b.y)) >= a.reach() + b.reach()
}

#[cfg(test)]
mod tests;
