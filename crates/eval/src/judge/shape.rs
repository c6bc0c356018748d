//! Which shape a piece is: all of them are drawn, each as large as it and where it is, and the likest is taken.

use std::sync::LazyLock;

use sensorium_data::look::{Color, Fill, Shape, Size};
use sensorium_data::scene::{Background, Object, Paper, Scene};
use sensorium_media::Picture;

use super::Seen;
use super::pieces::Piece;

/// A shape, turned and stretched as it may be drawn.
struct Candidate {
    object: Object,
    /// Pixels that it covers of a picture of one pixel, were it of radius 1.
    area: f32,
    /// From its centre to the mean of what it covers, in radii.
    mean: [f32; 2],
}

static CANDIDATES: LazyLock<Vec<Candidate>> = LazyLock::new(|| {
    let shapes = Shape::ALL.into_iter();
    shapes.flat_map(|shape| ways(shape).into_iter().map(move |way| candidate(shape, way))).collect()
});

/// Degrees and aspects at which a shape is drawn.
fn ways(shape: Shape) -> Vec<[f32; 2]> {
    let turned = |degrees: &[f32]| degrees.iter().map(|&degrees| [degrees, 1.0]).collect();
    let quarters = [0.0, 90.0, 180.0, 270.0];
    match shape {
        Shape::Circle => turned(&[0.0]),
        Shape::Rectangle => {
            let long = [1.0, 1.4, 1.65, 1.95, 2.3];
            let aspects = long.into_iter().chain(long[1..].iter().map(|long| 1.0 / long));
            aspects.flat_map(|aspect| [-6.0, 0.0, 6.0].map(|degrees| [degrees, aspect])).collect()
        }
        Shape::Diamond | Shape::Cross => turned(&[-6.0, 0.0, 6.0]),
        Shape::Arrow => turned(&quarters.map(|q| [q - 6.0, q, q + 6.0]).concat()),
        _ => turned(&[-14.0, -7.0, 0.0, 7.0, 14.0]),
    }
}

/// Pixels of a picture in which a candidate is measured, and its radius there.
const MEASURED: (u32, f32) = (256, 0.3);

fn candidate(shape: Shape, [rotation, aspect]: [f32; 2]) -> Candidate {
    let (side, radius) = MEASURED;
    let object = Object {
        shape,
        color: Color::Black,
        size: Size::Large,
        fill: Fill::Solid,
        x: 0.5,
        y: 0.5,
        rotation,
        radius,
        aspect,
        rgb: [0; 3],
    };
    let scale = side as f32 * radius;
    let [area, x, y] = moments(
        drawn(&object, side)
            .zip(0..)
            .map(|(covered, n)| [(n % side) as f32, (n / side) as f32, covered]),
    );
    let middle = |at: f32| (at + 0.5 - side as f32 / 2.0) / scale;
    Candidate { object, area: area / (scale * scale), mean: [middle(x), middle(y)] }
}

/// How much of each pixel an object covers, row by row.
fn drawn(object: &Object, side: u32) -> impl Iterator<Item = f32> {
    let background = Background { paper: Paper::White, top: [255; 3], bottom: [255; 3] };
    let picture = Scene { background, objects: vec![object.clone()] }.render(side);
    let covered = |pixel: &[u8]| 1.0 - f32::from(pixel[0]) / 255.0;
    picture.pixels.chunks_exact(3).map(covered).collect::<Vec<_>>().into_iter()
}

/// The sum of weights at places, and their mean place.
fn moments(places: impl Iterator<Item = [f32; 3]>) -> [f32; 3] {
    let add = |[sum, sx, sy]: [f32; 3], [x, y, w]: [f32; 3]| [sum + w, sx + w * x, sy + w * y];
    let [sum, sx, sy] = places.fold([0.0; 3], add);
    [sum, sx / sum.max(f32::EPSILON), sy / sum.max(f32::EPSILON)]
}

/// What a piece of a picture is.
pub fn seen(piece: &Piece, picture: &Picture) -> Seen {
    let [area, x, y] = moments(piece.pixels());
    let (left, top) = (x - piece.at[0] as f32 + 0.5, y - piece.at[1] as f32 + 0.5);
    let height = piece.coverage.len() / piece.width;
    let side = piece.width.max(height);
    let mut best: Option<(f32, &Candidate, [f32; 3])> = None;
    for candidate in CANDIDATES.iter() {
        let radius = (area / candidate.area).sqrt();
        let [x, y] = [left - candidate.mean[0] * radius, top - candidate.mean[1] * radius];
        let placed = [x, y, radius].map(|pixels| pixels / side as f32);
        let object =
            Object { x: placed[0], y: placed[1], radius: placed[2], ..candidate.object.clone() };
        let sharp: Vec<f32> = drawn(&object, side as u32).collect();
        let likeness =
            likeness(piece, &sharp, side).max(likeness(piece, &soft(&sharp, side), side));
        if best.is_none_or(|(most, ..)| likeness > most) {
            best = Some((likeness, candidate, [x, y, radius]));
        }
    }
    let (likeness, shape, [x, y, radius]) = match best {
        Some((likeness, candidate, placed)) => (likeness, candidate.object.shape, placed),
        None => (0.0, Shape::Circle, [left, top, 0.0]),
    };
    let (width, height) = (picture.width as f32, picture.height as f32);
    Seen {
        color: piece.color,
        shape,
        likeness,
        x: (x + piece.at[0] as f32) / width,
        y: (y + piece.at[1] as f32) / height,
        radius: radius / width.max(height),
    }
}

/// The same with soft edges: the mean of three by three pixels. What models draw is rarely sharp.
fn soft(drawn: &[f32], side: usize) -> Vec<f32> {
    let mean = |n: usize| {
        let (x, y) = (n % side, n / side);
        let rows = y.saturating_sub(1)..(y + 2).min(side);
        let columns = x.saturating_sub(1)..(x + 2).min(side);
        let sum: f32 = rows.map(|y| drawn[y * side..][columns.clone()].iter().sum::<f32>()).sum();
        sum / 9.0
    };
    (0..drawn.len()).map(mean).collect()
}

/// What both cover over what either does.
fn likeness(piece: &Piece, drawn: &[f32], side: usize) -> f32 {
    let (mut both, mut either) = (0.0, f32::EPSILON);
    for (n, &b) in drawn.iter().enumerate() {
        let (x, y) = (n % side, n / side);
        let inside = x < piece.width && y * piece.width < piece.coverage.len();
        let a = if inside { piece.coverage[y * piece.width + x] } else { 0.0 };
        both += a.min(b);
        either += a.max(b);
    }
    both / either
}
