//! What an object can look like: 9 shapes x 10 colours x 3 sizes x 3 fills, and their names.

use sensorium_kernels::rng::Rng;

/// The nine shapes, chosen to be told apart at 15 pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// A disc.
    Circle,
    /// A rectangle, one in three a square.
    Rectangle,
    /// An equilateral triangle.
    Triangle,
    /// A star with five points.
    Star,
    /// A heart.
    Heart,
    /// A plus sign.
    Cross,
    /// A rhombus standing on its tip.
    Diamond,
    /// A block arrow, pointing left, right, up or down.
    Arrow,
    /// A crescent.
    Moon,
}

impl Shape {
    /// All shapes, in order.
    pub const ALL: [Self; 9] = [
        Self::Circle,
        Self::Rectangle,
        Self::Triangle,
        Self::Star,
        Self::Heart,
        Self::Cross,
        Self::Diamond,
        Self::Arrow,
        Self::Moon,
    ];

    /// The name used in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Circle => "circle",
            Self::Rectangle => "rectangle",
            Self::Triangle => "triangle",
            Self::Star => "star",
            Self::Heart => "heart",
            Self::Cross => "cross",
            Self::Diamond => "diamond",
            Self::Arrow => "arrow",
            Self::Moon => "moon",
        }
    }

    /// The name of several.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Circle => "circles",
            Self::Rectangle => "rectangles",
            Self::Triangle => "triangles",
            Self::Star => "stars",
            Self::Heart => "hearts",
            Self::Cross => "crosses",
            Self::Diamond => "diamonds",
            Self::Arrow => "arrows",
            Self::Moon => "moons",
        }
    }
}

/// The ten colours: the eight of easy-VQA, orange and purple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // The names say it.
pub enum Color {
    Red,
    Green,
    Blue,
    Yellow,
    Orange,
    Purple,
    Teal,
    Brown,
    Gray,
    Black,
}

impl Color {
    /// All colours, in order.
    pub const ALL: [Self; 10] = [
        Self::Red,
        Self::Green,
        Self::Blue,
        Self::Yellow,
        Self::Orange,
        Self::Purple,
        Self::Teal,
        Self::Brown,
        Self::Gray,
        Self::Black,
    ];

    /// The name used in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Green => "green",
            Self::Blue => "blue",
            Self::Yellow => "yellow",
            Self::Orange => "orange",
            Self::Purple => "purple",
            Self::Teal => "teal",
            Self::Brown => "brown",
            Self::Gray => "gray",
            Self::Black => "black",
        }
    }

    /// Two RGB ends; a drawn tone lies on the line between them. The second end is the pure
    /// colour that easy-VQA draws, so that one word covers both palettes.
    pub fn ends(self) -> [[u8; 3]; 2] {
        match self {
            Self::Red => [[215, 25, 30], [255, 0, 0]],
            Self::Green => [[35, 150, 55], [0, 255, 0]],
            Self::Blue => [[35, 85, 215], [0, 0, 255]],
            Self::Yellow => [[248, 208, 20], [255, 255, 0]],
            Self::Orange => [[240, 120, 15], [255, 150, 0]],
            Self::Purple => [[125, 45, 160], [165, 60, 210]],
            Self::Teal => [[10, 150, 150], [0, 128, 128]],
            Self::Brown => [[125, 75, 35], [165, 42, 42]],
            Self::Gray => [[145, 145, 145], [128, 128, 128]],
            Self::Black => [[30, 30, 30], [0, 0, 0]],
        }
    }

    /// A tone of this colour: three in four lie near the first end, the rest anywhere.
    pub fn tone(self, rng: &mut Rng) -> [u8; 3] {
        let at = if rng.chance(0.75) { rng.between(0.0, 0.35) } else { rng.between(0.35, 1.0) };
        let [from, to] = self.ends();
        blend(from, to, at)
    }
}

/// The three sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // The names say it.
pub enum Size {
    Small,
    Medium,
    Large,
}

impl Size {
    /// All sizes, in order.
    pub const ALL: [Self; 3] = [Self::Small, Self::Medium, Self::Large];

    /// The name used in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
        }
    }

    /// From -1, small, to 1, large.
    pub fn number(self) -> f32 {
        self as u8 as f32 - 1.0
    }

    /// A radius in fractions of the picture's side. Ranges do not meet, so a size can be read off
    /// a picture; large shapes grow only where there is room.
    pub(crate) fn radius(self, objects: usize, rng: &mut Rng) -> f32 {
        match self {
            Self::Small => rng.between(0.065, 0.08),
            Self::Medium => rng.between(0.1, 0.115),
            Self::Large if objects <= 2 => rng.between(0.145, 0.22),
            Self::Large => rng.between(0.14, 0.15),
        }
    }
}

/// How the inside of a shape is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fill {
    /// One flat colour.
    Solid,
    /// Only the border; the background shows through.
    Outline,
    /// Coloured and white stripes with a coloured border.
    Striped,
}

impl Fill {
    /// All fills, in order.
    pub const ALL: [Self; 3] = [Self::Solid, Self::Outline, Self::Striped];

    /// The adjective used in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Solid => "solid",
            Self::Outline => "outlined",
            Self::Striped => "striped",
        }
    }
}

/// The pairs of colour and shape that no training picture holds: each shape once, each colour at
/// most once. A model that names them has composed what it learned apart.
pub const HELD_OUT: [(Color, Shape); 9] = [
    (Color::Purple, Shape::Circle),
    (Color::Orange, Shape::Rectangle),
    (Color::Teal, Shape::Triangle),
    (Color::Green, Shape::Star),
    (Color::Blue, Shape::Heart),
    (Color::Brown, Shape::Cross),
    (Color::Yellow, Shape::Diamond),
    (Color::Black, Shape::Arrow),
    (Color::Gray, Shape::Moon),
];

/// Whether this pair is kept out of training pictures.
pub fn held_out(color: Color, shape: Shape) -> bool {
    HELD_OUT.contains(&(color, shape))
}

/// The named attributes of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Look {
    /// Its shape.
    pub shape: Shape,
    /// Its colour.
    pub color: Color,
    /// Its size.
    pub size: Size,
    /// Its fill.
    pub fill: Fill,
}

impl Look {
    /// How many classes colour, shape, size and fill have, "nothing is there" among them.
    pub const CLASSES: [usize; 4] =
        [Color::ALL.len() + 1, Shape::ALL.len() + 1, Size::ALL.len() + 1, Fill::ALL.len() + 1];

    /// The classes of colour, shape, size and fill, from 1; 0 is nothing.
    pub fn classes(&self) -> [i32; 4] {
        [self.color as i32, self.shape as i32, self.size as i32, self.fill as i32].map(|n| n + 1)
    }

    /// A uniformly random look, held-out pairs included. Five in six fills are solid, since
    /// that is what people draw.
    pub fn random(rng: &mut Rng) -> Self {
        Self {
            shape: rng.pick(&Shape::ALL),
            color: rng.pick(&Color::ALL),
            size: rng.pick(&Size::ALL),
            fill: if rng.chance(0.25) { rng.pick(&Fill::ALL) } else { Fill::Solid },
        }
    }

    /// Whether its pair of colour and shape is held out.
    pub fn is_held_out(&self) -> bool {
        held_out(self.color, self.shape)
    }
}

/// The point `at` (0..1) on the line from one colour to another.
pub(crate) fn blend(from: [u8; 3], to: [u8; 3], at: f32) -> [u8; 3] {
    std::array::from_fn(|c| (f32::from(from[c]) * (1.0 - at) + f32::from(to[c]) * at).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_out_pairs_cover_each_shape_once_and_no_colour_twice() {
        for shape in Shape::ALL {
            assert_eq!(HELD_OUT.iter().filter(|pair| pair.1 == shape).count(), 1);
        }
        for color in Color::ALL {
            assert!(HELD_OUT.iter().filter(|pair| pair.0 == color).count() <= 1);
        }
    }
}
