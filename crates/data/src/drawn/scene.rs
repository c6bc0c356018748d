//! Scenes: a background and one to six objects, with exact boxes.
//!
//! Coordinates are fractions of the picture's side, `x` to the right and `y` down.

use sensorium_media::Picture;

use crate::drawn::draw;
use crate::drawn::look::{Color, Fill, HELD_OUT, Look, Shape, Size, blend};
use sensorium_kernels::rng::{Rng, mix};

/// The most objects a scene holds.
pub const MOST_OBJECTS: usize = 6;

/// Which part of the data a sample belongs to. Each has its own stream of random numbers, so no
/// sample of one occurs in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// For training: never a held-out pair of colour and shape.
    Train,
    /// For measuring, alike in distribution: never a held-out pair.
    Val,
    /// For measuring composition: each scene holds a held-out pair.
    HeldOut,
}

impl Split {
    /// The random numbers of sample `index` for one purpose.
    pub(crate) fn rng(self, purpose: u64, seed: u64, index: u64) -> Rng {
        let split = match self {
            Self::Train => 1,
            Self::Val => 2,
            Self::HeldOut => 3,
        };
        Rng::at(seed, purpose << 8 | split, index)
    }

    /// A random look that `keep` accepts and that training may see, or nothing when 100 tries
    /// found none.
    pub(crate) fn look(rng: &mut Rng, keep: impl Fn(&Look) -> bool) -> Option<Look> {
        (0..100).map(|_| Look::random(rng)).find(|look| !look.is_held_out() && keep(look))
    }

    /// The look a sample is about: a held-out pair in [`Split::HeldOut`], otherwise never one.
    pub(crate) fn target(self, rng: &mut Rng) -> Look {
        let mut look = Look::random(rng);
        match self {
            Self::HeldOut => (look.color, look.shape) = rng.pick(&HELD_OUT),
            // Redrawing the colour alone keeps every shape equally frequent.
            Self::Train | Self::Val => {
                while look.is_held_out() {
                    look.color = rng.pick(&Color::ALL);
                }
            }
        }
        look
    }
}

/// One object: how it looks and where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Its shape.
    pub shape: Shape,
    /// Its colour's name.
    pub color: Color,
    /// Its size's name.
    pub size: Size,
    /// How its inside is drawn.
    pub fill: Fill,
    /// Centre, fraction of the width.
    pub x: f32,
    /// Centre, fraction of the height.
    pub y: f32,
    /// Clockwise, degrees.
    pub rotation: f32,
    /// Fraction of the picture's side.
    pub radius: f32,
    /// Width over height; 1 except for rectangles.
    pub aspect: f32,
    /// The colour as drawn.
    pub rgb: [u8; 3],
}

impl Object {
    /// Its named attributes.
    pub fn look(&self) -> Look {
        Look { shape: self.shape, color: self.color, size: self.size, fill: self.fill }
    }

    /// Whether it may also be called a square.
    pub fn is_square(&self) -> bool {
        self.shape == Shape::Rectangle && self.aspect == 1.0
    }

    /// How far from its centre it may reach, as a fraction of the picture's side.
    pub(crate) fn reach(&self) -> f32 {
        self.radius * draw::REACH
    }
}

/// An exact box in fractions of the picture's side: left, top, right, bottom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Box2 {
    /// Left edge.
    pub left: f32,
    /// Top edge.
    pub top: f32,
    /// Right edge.
    pub right: f32,
    /// Bottom edge.
    pub bottom: f32,
}

/// Colours and shapes, whose [`Places`] may be known.
pub const NAMES: usize = Color::ALL.len() + Shape::ALL.len();

/// Which of the [`NAMES`] a colour and a shape are.
pub(crate) fn names(color: Color, shape: Shape) -> [usize; 2] {
    [color as usize, Color::ALL.len() + shape as usize]
}

/// Where the thing of each colour, then of each shape, lies and how large it is: x, y and size, each
/// from -1 to 1, where known.
pub type Places = [[Option<f32>; 3]; NAMES];

/// Nothing known.
pub const UNKNOWN: Places = [[None; 3]; NAMES];

/// How one object lies with respect to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names say it.
pub enum Relation {
    Left,
    Right,
    Above,
    Below,
}

impl Relation {
    /// All relations, in order.
    pub const ALL: [Self; 4] = [Self::Left, Self::Right, Self::Above, Self::Below];

    /// The plainest words for it, such that "a {name} b" is a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Left => "left of",
            Self::Right => "right of",
            Self::Above => "above",
            Self::Below => "below",
        }
    }

    /// The answer to which side it is.
    pub fn side(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
            Self::Above => "above",
            Self::Below => "below",
        }
    }

    /// Words for this relation or its opposite, such that "is a {either} b" is a question.
    pub fn either(self) -> &'static str {
        match self {
            Self::Left | Self::Right => "left or right of",
            Self::Above | Self::Below => "above or below",
        }
    }

    /// The relation seen from the other object.
    pub fn opposite(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
            Self::Above => Self::Below,
            Self::Below => Self::Above,
        }
    }

    /// How far `a` lies in this direction from `b`, as a fraction of the picture's side;
    /// negative when it lies on the other side.
    pub fn distance(self, a: &Object, b: &Object) -> f32 {
        match self {
            Self::Left => b.x - a.x,
            Self::Right => a.x - b.x,
            Self::Above => b.y - a.y,
            Self::Below => a.y - b.y,
        }
    }

    /// Whether `a` plainly lies in this direction from `b`: nobody would say otherwise.
    pub fn holds(self, a: &Object, b: &Object) -> bool {
        self.distance(a, b) >= PLAIN
    }

    /// The relation of `a` to `b` along the axis on which they are further apart.
    pub fn of(a: &Object, b: &Object) -> Self {
        let (dx, dy) = (a.x - b.x, a.y - b.y);
        match (dx.abs() >= dy.abs(), dx < 0.0, dy < 0.0) {
            (true, true, _) => Self::Left,
            (true, false, _) => Self::Right,
            (false, _, true) => Self::Above,
            (false, _, false) => Self::Below,
        }
    }
}

/// Centres must be this far apart along an axis before we speak of a relation.
pub const PLAIN: f32 = 0.12;

/// The eight kinds of background. All are light, so that each of the ten colours shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names say it.
pub enum Paper {
    White,
    Cream,
    Pink,
    Mint,
    Sky,
    Lavender,
    /// A random pale tint, as easy-VQA draws; it has no name.
    Tint,
    /// From one pale tint to another.
    Gradient,
}

impl Paper {
    /// All kinds, in order.
    pub const ALL: [Self; 8] = [
        Self::White,
        Self::Cream,
        Self::Pink,
        Self::Mint,
        Self::Sky,
        Self::Lavender,
        Self::Tint,
        Self::Gradient,
    ];

    /// The kinds that have one colour with a name.
    pub const NAMED: [Self; 6] =
        [Self::White, Self::Cream, Self::Pink, Self::Mint, Self::Sky, Self::Lavender];

    /// The name used in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::White => "white",
            Self::Cream => "cream",
            Self::Pink => "pink",
            Self::Mint => "mint green",
            Self::Sky => "sky blue",
            Self::Lavender => "lavender",
            Self::Tint => "pale",
            Self::Gradient => "gradient",
        }
    }
}

/// A background as drawn: from `top` to `bottom`, equal unless it is a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Background {
    /// Which kind it is.
    pub paper: Paper,
    /// RGB at the top edge.
    pub top: [u8; 3],
    /// RGB at the bottom edge.
    pub bottom: [u8; 3],
}

impl Background {
    /// A background of this kind.
    pub fn new(paper: Paper, rng: &mut Rng) -> Self {
        let mut tint = || -> [u8; 3] { std::array::from_fn(|_| rng.range(228, 255) as u8) };
        let top = match paper {
            Paper::White => [255; 3],
            Paper::Cream => [255, 245, 210],
            Paper::Pink => [255, 215, 225],
            Paper::Mint => [208, 245, 220],
            Paper::Sky => [205, 230, 252],
            Paper::Lavender => [228, 218, 250],
            Paper::Tint | Paper::Gradient => tint(),
        };
        let bottom = match paper {
            Paper::Gradient => blend(tint(), [150, 170, 200], 0.35),
            _ => top,
        };
        Self { paper, top, bottom }
    }

    /// White three times in ten, otherwise any kind.
    pub fn random(rng: &mut Rng) -> Self {
        let paper = if rng.chance(0.3) { Paper::White } else { rng.pick(&Paper::ALL) };
        Self::new(paper, rng)
    }
}

/// A background and objects, later ones drawn over earlier ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// What is behind everything.
    pub background: Background,
    /// One to six objects.
    pub objects: Vec<Object>,
}

impl Scene {
    /// Scene `index` of a split, with 1 to `most` objects (at most [`MOST_OBJECTS`]).
    pub fn random(split: Split, seed: u64, index: u64, most: usize) -> Self {
        let rng = &mut split.rng(1, seed, index);
        let count = rng.range(1, most.clamp(1, MOST_OBJECTS));
        Self::with_count(split, count, rng)
    }

    /// Scene `index` of a split with one object, large and solid.
    pub fn large(split: Split, seed: u64, index: u64) -> Self {
        let rng = &mut split.rng(9, seed, index);
        let look = Look { size: Size::Large, fill: Fill::Solid, ..split.target(rng) };
        Self::compose(&[look], rng)
    }

    /// A random scene of `count` objects.
    pub(crate) fn with_count(split: Split, count: usize, rng: &mut Rng) -> Self {
        let mut looks = vec![split.target(rng)];
        while looks.len() < count {
            looks.push(Split::Train.target(rng));
        }
        rng.shuffle(&mut looks);
        Self::compose(&looks, rng)
    }

    /// A scene of objects that look like `looks` (in this order, at most [`MOST_OBJECTS`]), at
    /// random places.
    pub fn compose(looks: &[Look], rng: &mut Rng) -> Self {
        let looks = &looks[..looks.len().min(MOST_OBJECTS)];
        let background = Background::random(rng);
        let mut objects: Vec<_> = looks.iter().map(|look| object(look, looks.len(), rng)).collect();
        place(&mut objects, rng);
        Self { background, objects }
    }

    /// The scene with the colours of two objects of different shapes swapped, if that makes another
    /// scene that training may show.
    pub fn twin(&self) -> Option<Self> {
        let n = self.objects.len();
        let pairs = (0..n).flat_map(|a| (0..a).map(move |b| (a, b)));
        pairs.into_iter().find_map(|(a, b)| {
            let mut twin = self.clone();
            let (one, two) = (&self.objects[a], &self.objects[b]);
            (twin.objects[a].color, twin.objects[a].rgb) = (two.color, two.rgb);
            (twin.objects[b].color, twin.objects[b].rgb) = (one.color, one.rgb);
            let differ = one.color != two.color && one.shape != two.shape;
            let held_out = twin.objects.iter().any(|object| object.look().is_held_out());
            (differ && !held_out && concept(self) != concept(&twin)).then_some(twin)
        })
    }

    /// Draws the scene, `size` x `size` pixels (1 to 4096), antialiased.
    pub fn render(&self, size: u32) -> Picture {
        draw::render(self, size)
    }

    /// The exact box of each object, in order.
    pub fn boxes(&self) -> Vec<Box2> {
        self.objects.iter().map(draw::bounds).collect()
    }

    /// Where the only object of each colour, then of each shape, has its centre, and its size; nothing
    /// where none or several are of it.
    pub fn places(&self) -> Places {
        let of = |name: usize| {
            let named = |o: &&Object| names(o.color, o.shape).contains(&name);
            let mut all = self.objects.iter().filter(named);
            match (all.next(), all.next()) {
                (Some(lone), None) => {
                    [2.0 * lone.x - 1.0, 2.0 * lone.y - 1.0, lone.size.number()].map(Some)
                }
                _ => [None; 3],
            }
        };
        std::array::from_fn(of)
    }

    /// What lies at each position of a `grid` x `grid` map, row by row: the object whose box holds
    /// the position's centre, the nearest of several, or whose own centre lies in it.
    pub fn regions(&self, grid: usize) -> Vec<Option<&Object>> {
        let boxes = self.boxes();
        let side = grid as f32;
        let at = |row: usize, column: usize| {
            let (x, y) = ((column as f32 + 0.5) / side, (row as f32 + 0.5) / side);
            let centred =
                |o: &Object| (o.x * side) as usize == column && (o.y * side) as usize == row;
            let holds = |b: &Box2| b.left <= x && x <= b.right && b.top <= y && y <= b.bottom;
            let near = |o: &Object| (o.x - x).powi(2) + (o.y - y).powi(2);
            let here = self.objects.iter().zip(&boxes).filter(|(o, b)| centred(o) || holds(b));
            here.map(|(object, _)| object).min_by(|a, b| near(a).total_cmp(&near(b)))
        };
        (0..grid * grid).map(|i| at(i / grid, i % grid)).collect()
    }

    /// How many objects satisfy a condition.
    pub fn count(&self, test: impl Fn(&Object) -> bool) -> usize {
        self.objects.iter().filter(|object| test(object)).count()
    }
}

/// The same number for scenes that hold the same colours and shapes equally often.
pub fn concept(scene: &Scene) -> u64 {
    let mut pairs: Vec<_> = scene.objects.iter().map(|o| (o.color, o.shape)).collect();
    pairs.sort_unstable();
    pairs.iter().fold(0, |sum, &(c, s)| mix(sum ^ (1 + c as u64 * 16 + s as u64)))
}

/// An object with this look, not yet placed.
fn object(look: &Look, objects: usize, rng: &mut Rng) -> Object {
    let Look { shape, color, size, fill } = *look;
    let tilt = rng.between(-15.0, 15.0);
    let (rotation, aspect) = match shape {
        Shape::Arrow => (tilt / 2.0 + 90.0 * rng.below(4) as f32, 1.0),
        Shape::Rectangle => (tilt / 2.0, aspect(rng)),
        // Tilted further, a diamond would be a rectangle and a cross an X.
        Shape::Diamond | Shape::Cross => (tilt / 2.0, 1.0),
        _ => (tilt, 1.0),
    };
    let rotation = if rng.chance(0.4) { (rotation / 90.0).round() * 90.0 } else { rotation };
    let (radius, rgb) = (size.radius(objects, rng), color.tone(rng));
    Object { shape, color, size, fill, x: 0.5, y: 0.5, rotation, radius, aspect, rgb }
}

/// A rectangle's width over height: a third are squares, the others plainly are not.
fn aspect(rng: &mut Rng) -> f32 {
    let long = rng.between(1.35, 2.4);
    rng.pick(&[1.0, long, 1.0 / long])
}

/// Gives every object a place. Circles around them overlap by a twentieth at most, so that less
/// than a tenth of any shape is ever hidden.
fn place(objects: &mut [Object], rng: &mut Rng) {
    for _ in 0..30 {
        if scatter(objects, rng) {
            return;
        }
    }
    // Too crowded for luck: one cell of a 3 x 2 grid each. A cell is 1/3 wide and the largest
    // reach among three or more objects is 0.165, so everything fits.
    let mut cells: Vec<usize> = (0..MOST_OBJECTS).collect();
    rng.shuffle(&mut cells);
    let upright = rng.chance(0.5);
    for (object, cell) in objects.iter_mut().zip(cells) {
        let long = ((cell % 3) as f32 + 0.5) / 3.0;
        let slack = 0.24 - object.reach();
        let short = 0.25 + (cell / 3) as f32 * 0.5 + rng.between(-slack, slack).clamp(-0.1, 0.1);
        (object.x, object.y) = if upright { (short, long) } else { (long, short) };
    }
}

/// Places the objects one after the other; false when one found no room.
fn scatter(objects: &mut [Object], rng: &mut Rng) -> bool {
    for next in 0..objects.len() {
        let reach = objects[next].reach();
        let free = (0..12).any(|_| {
            let (x, y) = (rng.between(reach, 1.0 - reach), rng.between(reach, 1.0 - reach));
            let room = objects[..next]
                .iter()
                .all(|other| (x - other.x).hypot(y - other.y) >= 0.95 * (reach + other.reach()));
            if room {
                (objects[next].x, objects[next].y) = (x, y);
            }
            room
        });
        if !free {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drawn::look::held_out;

    #[test]
    fn same_index_same_scene() {
        for index in 0..200 {
            assert_eq!(
                Scene::random(Split::Val, 3, index, 6),
                Scene::random(Split::Val, 3, index, 6)
            );
        }
        assert_ne!(Scene::random(Split::Val, 3, 0, 6), Scene::random(Split::Train, 3, 0, 6));
    }

    #[test]
    fn held_out_pairs_never_in_training() {
        for index in 0..50_000 {
            let scene = Scene::random(Split::Train, 1, index, 6);
            assert!((1..=6).contains(&scene.objects.len()));
            assert_eq!(scene.count(|o| held_out(o.color, o.shape)), 0, "scene {index}");
        }
        for index in 0..2_000 {
            let scene = Scene::random(Split::HeldOut, 1, index, 6);
            assert_eq!(scene.count(|o| held_out(o.color, o.shape)), 1, "scene {index}");
        }
    }

    #[test]
    fn objects_are_inside_and_apart() {
        for index in 0..5_000 {
            let scene = Scene::random(Split::Train, 2, index, 6);
            for (n, a) in scene.objects.iter().enumerate() {
                let at = draw::bounds(a);
                assert!(at.left >= -0.01 && at.top >= -0.01, "{index}: {at:?}");
                assert!(at.right <= 1.01 && at.bottom <= 1.01, "{index}: {at:?}");
                for b in &scene.objects[..n] {
                    let apart = (a.x - b.x).hypot(a.y - b.y);
                    assert!(apart >= 0.94 * (a.reach() + b.reach()), "scene {index}");
                }
            }
        }
    }

    #[test]
    fn regions_hold_every_object_where_it_is() {
        for index in 0..200 {
            let scene = Scene::random(Split::Train, 7, index, 6);
            let regions = scene.regions(8);
            assert_eq!(regions.len(), 64);
            for object in &scene.objects {
                let at = (object.y * 8.0) as usize * 8 + (object.x * 8.0) as usize;
                assert!(regions[at].is_some());
                assert!(regions.iter().flatten().any(|here| *here == object));
            }
            assert!(regions.iter().filter(|here| here.is_none()).count() > 5);
            let classes = regions.iter().flatten().map(|object| object.look().classes());
            let known = |(class, all): (i32, usize)| class > 0 && (class as usize) < all;
            assert!(classes.flat_map(|c| c.into_iter().zip(Look::CLASSES)).all(known));
        }
    }

    #[test]
    fn places_are_of_things_that_stand_alone() {
        for index in 0..500 {
            let scene = Scene::random(Split::Train, 4, index, MOST_OBJECTS);
            let places = scene.places();
            for object in &scene.objects {
                let lone = scene.count(|o| o.color == object.color) == 1;
                let place = [2.0 * object.x - 1.0, 2.0 * object.y - 1.0, object.size.number()];
                assert_eq!(places[object.color as usize], place.map(|at| lone.then_some(at)));
                let lone = scene.count(|o| o.shape == object.shape) == 1;
                let shape = Color::ALL.len() + object.shape as usize;
                assert_eq!(places[shape], place.map(|at| lone.then_some(at)));
            }
            let known = places.iter().flatten().flatten();
            assert!(known.clone().count() <= 6 * scene.objects.len());
            assert!(known.into_iter().all(|at| at.abs() <= 1.0));
        }
    }

    #[test]
    fn relations_have_opposites() {
        let scene =
            (0..).map(|i| Scene::random(Split::Train, 4, i, 6)).find(|s| s.objects.len() > 1);
        let objects = scene.map(|s| s.objects).unwrap_or_default();
        let relation = Relation::of(&objects[0], &objects[1]);
        assert_eq!(Relation::of(&objects[1], &objects[0]), relation.opposite());
        assert!(relation.distance(&objects[0], &objects[1]) > 0.0);
    }
}
