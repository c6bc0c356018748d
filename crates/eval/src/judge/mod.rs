//! What a drawn picture or clip shows, told by code that knows how they are drawn and no model: who judges what
//! models draw.
//!
//! ```text
//! Picture ──paper, masks──▶ pieces, each of a colour ──the likest of all shapes──▶ Seen ──Scene──▶ Fulfilled
//! Video ──pieces of each frame, their centres──▶ Way
//! ```

mod motion;
mod pieces;
mod shape;

use sensorium_data::look::{Color, Shape, Size};
use sensorium_data::scene::{Object, PLAIN, Relation, Scene};
use sensorium_media::Picture;

pub use motion::{kept, motion};
use pieces::pieces;

/// Longest side of a picture that is looked at, in pixels; larger ones are made smaller.
const SIDE: u32 = 128;

/// An object that a picture shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The colour that is nearest to its own.
    pub color: Color,
    /// The shape that it is likest to.
    pub shape: Shape,
    /// How much of it and of that shape is in both, 0 to 1.
    pub likeness: f32,
    /// Centre, fraction of the width.
    pub x: f32,
    /// Centre, fraction of the height.
    pub y: f32,
    /// As an [`Object`]'s: a fraction of the picture's longer side.
    pub radius: f32,
}

impl Seen {
    /// The name of its size.
    pub fn size(&self) -> Size {
        match self.radius {
            radius if radius < 0.09 => Size::Small,
            radius if radius < 0.1275 => Size::Medium,
            _ => Size::Large,
        }
    }
}

/// The objects of a picture of a drawn scene, the largest first.
pub fn scene(picture: &Picture) -> Vec<Seen> {
    let picture = at_most(picture, SIDE);
    let mut seen: Vec<Seen> =
        pieces(&picture).iter().map(|piece| shape::seen(piece, &picture)).collect();
    seen.sort_by(|a, b| b.radius.total_cmp(&a.radius));
    seen
}

/// The picture, scaled down to a longest side.
fn at_most(picture: &Picture, side: u32) -> Picture {
    let scale = f64::from(side) / f64::from(picture.width.max(picture.height));
    let scaled = |edge: u32| (f64::from(edge) * scale).round() as u32;
    match scale < 1.0 {
        true => picture.resize(scaled(picture.width), scaled(picture.height)),
        false => picture.clone(),
    }
}

/// Which of the facts of a scene that was asked for a picture shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fulfilled {
    /// The share of its objects that are there in their colour.
    pub color: f64,
    /// The share of its objects that are there in their shape.
    pub shape: f64,
    /// Whether the first of its objects lies where it is to lie from the second, along the axis on which they are
    /// further apart; nothing where that is not plain.
    pub relation: Option<bool>,
    /// Whether there are as many objects.
    pub count: bool,
}

/// Compares a scene with what a picture shows: each of its objects with one that is seen, such that most is right.
pub fn fulfilled(scene: &Scene, seen: &[Seen]) -> Fulfilled {
    let assigned = assign(&scene.objects, seen);
    let share = |is: fn(&Object, &Seen) -> bool| {
        let right = scene.objects.iter().zip(&assigned);
        let right = right.filter(|(object, seen)| seen.is_some_and(|seen| is(object, seen)));
        right.count() as f64 / scene.objects.len().max(1) as f64
    };
    let relation = match scene.objects.as_slice() {
        [a, b, ..] if Relation::of(a, b).holds(a, b) => {
            let there = assigned[0].zip(assigned[1]);
            Some(there.is_some_and(|(one, two)| lies(Relation::of(a, b), one, two)))
        }
        _ => None,
    };
    Fulfilled {
        color: share(|object, seen| object.color == seen.color),
        shape: share(|object, seen| object.shape == seen.shape),
        relation,
        count: scene.objects.len() == seen.len(),
    }
}

/// Whether one thing lies in this direction from another: half as far as is plain will do.
pub fn lies(relation: Relation, one: &Seen, other: &Seen) -> bool {
    let distance = match relation {
        Relation::Left => other.x - one.x,
        Relation::Right => one.x - other.x,
        Relation::Above => other.y - one.y,
        Relation::Below => one.y - other.y,
    };
    distance >= PLAIN / 2.0
}

/// For each object one of those that are seen, no one twice: most colours and shapes are right, and of equally good
/// ways, the objects are nearest to where they are asked for.
fn assign<'a>(objects: &[Object], seen: &'a [Seen]) -> Vec<Option<&'a Seen>> {
    fn best<'a>(objects: &[Object], seen: &[&'a Seen]) -> (f32, Vec<Option<&'a Seen>>) {
        let Some((object, rest)) = objects.split_first() else { return (0.0, Vec::new()) };
        let missing = best(rest, seen);
        let mut found = (missing.0, [vec![None], missing.1].concat());
        for at in 0..seen.len() {
            let mut others = seen.to_vec();
            let one = others.remove(at);
            let (score, assigned) = best(rest, &others);
            let right = u8::from(object.color == one.color) + u8::from(object.shape == one.shape);
            let far = (object.x - one.x).hypot(object.y - one.y);
            let score = score + f32::from(right) + 0.1 * (1.5 - far);
            if score > found.0 {
                found = (score, [vec![Some(one)], assigned].concat());
            }
        }
        found
    }
    // A noisy picture has no end of pieces: the largest are its objects.
    best(objects, &seen.iter().take(objects.len() + 2).collect::<Vec<_>>()).1
}
