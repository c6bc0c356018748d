//! Scenes to pixels: one path per shape, so that boxes are exact.

use sensorium_media::Picture;
use tiny_skia::{
    Color as Ink, FillRule, GradientStop, LineJoin, LinearGradient, Paint, Path, PathBuilder,
    Pixmap, Point, Rect, Shader, SpreadMode, Stroke, Transform,
};

use crate::drawn::look::{Fill, Shape};
use crate::drawn::scene::{Box2, Object, Scene};

/// The furthest any shape reaches from its centre, in radii.
pub(crate) const REACH: f32 = 1.1;

/// The scene as `size` x `size` pixels.
pub(crate) fn render(scene: &Scene, size: u32) -> Picture {
    let size = size.clamp(1, 4096);
    let mut canvas = Pixmap::new(size, size).expect("a size of 1 to 4096 is a valid pixmap");
    paper(&mut canvas, scene.background.top, scene.background.bottom);
    for object in &scene.objects {
        draw(&mut canvas, object);
    }
    picture(&canvas)
}

/// An opaque canvas as a picture.
pub(crate) fn picture(canvas: &Pixmap) -> Picture {
    // Opaque everywhere, so dropping alpha loses nothing.
    let pixels = canvas.pixels().iter().flat_map(|p| [p.red(), p.green(), p.blue()]).collect();
    Picture::new(canvas.width(), canvas.height(), pixels)
        .expect("a pixmap holds exactly width x height pixels")
}

/// The exact box of an object. Joins are round, so a stroke adds half its width on every side.
pub(crate) fn bounds(object: &Object) -> Box2 {
    let half = stroke_width(object.fill) * object.radius / 2.0;
    let path = path(object, 1.0);
    let rect = path.compute_tight_bounds().unwrap_or(path.bounds());
    Box2 {
        left: rect.left() - half,
        top: rect.top() - half,
        right: rect.right() + half,
        bottom: rect.bottom() + half,
    }
}

fn ink([r, g, b]: [u8; 3]) -> Ink {
    Ink::from_rgba8(r, g, b, 255)
}

/// Paints the whole canvas, from one colour at the top to another at the bottom.
pub(crate) fn paper(canvas: &mut Pixmap, top: [u8; 3], bottom: [u8; 3]) {
    canvas.fill(ink(top));
    if top == bottom {
        return;
    }
    let side = canvas.width() as f32;
    let stops = vec![GradientStop::new(0.0, ink(top)), GradientStop::new(1.0, ink(bottom))];
    let (from, to) = (Point::from_xy(0.0, 0.0), Point::from_xy(0.0, side));
    let shader = LinearGradient::new(from, to, stops, SpreadMode::Pad, Transform::identity());
    if let (Some(shader), Some(all)) = (shader, Rect::from_xywh(0.0, 0.0, side, side)) {
        canvas.fill_rect(all, &Paint { shader, ..Paint::default() }, Transform::identity(), None);
    }
}

fn draw(canvas: &mut Pixmap, object: &Object) {
    let side = canvas.width() as f32;
    let path = path(object, side);
    let flat = Paint { shader: Shader::SolidColor(ink(object.rgb)), ..Paint::default() };
    let inside = match object.fill {
        Fill::Solid => Some(flat.clone()),
        Fill::Outline => None,
        Fill::Striped => stripes(object, side),
    };
    if let Some(paint) = inside {
        canvas.fill_path(&path, &paint, FillRule::Winding, Transform::identity(), None);
    }
    let width = stroke_width(object.fill) * object.radius * side;
    if width > 0.0 {
        let stroke = Stroke { width, line_join: LineJoin::Round, ..Stroke::default() };
        canvas.stroke_path(&path, &flat, &stroke, Transform::identity(), None);
    }
}

/// Width of the border in radii.
fn stroke_width(fill: Fill) -> f32 {
    match fill {
        Fill::Solid => 0.0,
        Fill::Outline => 0.24,
        Fill::Striped => 0.14,
    }
}

/// Diagonal stripes of the object's colour and white.
fn stripes(object: &Object, side: f32) -> Option<Paint<'static>> {
    let period = object.radius * side * 0.33;
    let (color, white) = (ink(object.rgb), Ink::WHITE);
    let stops = vec![
        GradientStop::new(0.0, color),
        GradientStop::new(0.46, color),
        GradientStop::new(0.54, white),
        GradientStop::new(0.92, white),
        GradientStop::new(1.0, color),
    ];
    let from = Point::from_xy(object.x * side, object.y * side);
    let to = Point::from_xy(from.x + period, from.y + period);
    let shader = LinearGradient::new(from, to, stops, SpreadMode::Repeat, Transform::identity())?;
    Some(Paint { shader, ..Paint::default() })
}

/// The object's outline in a picture of this side. It is drawn in by half the border, so that a
/// fill does not change how large a shape is.
fn path(object: &Object, side: f32) -> Path {
    let scale = object.radius * side * (1.0 - stroke_width(object.fill) / 2.0);
    let to_place = Transform::from_scale(scale, scale)
        .post_concat(Transform::from_rotate(object.rotation))
        .post_translate(object.x * side, object.y * side);
    unit(object.shape, object.aspect)
        .and_then(|path| path.transform(to_place))
        .expect("a shape with a finite place and size has a path")
}

/// A shape around the origin, at most [`REACH`] from it.
fn unit(shape: Shape, aspect: f32) -> Option<Path> {
    match shape {
        Shape::Circle => PathBuilder::from_circle(0.0, 0.0, 1.0),
        Shape::Rectangle => {
            let diagonal = aspect.hypot(1.0);
            let (w, h) = (REACH * aspect / diagonal, REACH / diagonal);
            polygon(&[(-w, -h), (w, -h), (w, h), (-w, h)])
        }
        Shape::Triangle => polygon(&[(0.0, -1.1), (0.95, 0.55), (-0.95, 0.55)]),
        Shape::Star => {
            let corners: Vec<_> = (0..10)
                .map(|n| {
                    let reach = if n % 2 == 0 { REACH } else { 0.46 };
                    let (sin, cos) = (n as f32 * std::f32::consts::PI / 5.0).sin_cos();
                    (reach * sin, -reach * cos)
                })
                .collect();
            polygon(&corners)
        }
        Shape::Heart => heart(),
        Shape::Cross => {
            let (a, b) = (0.33, 1.0);
            polygon(&[
                (-a, -b),
                (a, -b),
                (a, -a),
                (b, -a),
                (b, a),
                (a, a),
                (a, b),
                (-a, b),
                (-a, a),
                (-b, a),
                (-b, -a),
                (-a, -a),
            ])
        }
        Shape::Diamond => polygon(&[(0.0, -1.1), (0.72, 0.0), (0.0, 1.1), (-0.72, 0.0)]),
        Shape::Arrow => polygon(&[
            (-1.05, -0.3),
            (0.1, -0.3),
            (0.1, -0.82),
            (1.1, 0.0),
            (0.1, 0.82),
            (0.1, 0.3),
            (-1.05, 0.3),
        ]),
        Shape::Moon => moon(),
    }
}

fn polygon(corners: &[(f32, f32)]) -> Option<Path> {
    let mut builder = PathBuilder::new();
    for (n, &(x, y)) in corners.iter().enumerate() {
        if n == 0 { builder.move_to(x, y) } else { builder.line_to(x, y) }
    }
    builder.close();
    builder.finish()
}

fn heart() -> Option<Path> {
    let mut builder = PathBuilder::new();
    builder.move_to(0.0, 1.0);
    builder.cubic_to(-1.9, -0.25, -0.9, -1.45, 0.0, -0.5);
    builder.cubic_to(0.9, -1.45, 1.9, -0.25, 0.0, 1.0);
    builder.close();
    builder.finish()
}

/// The unit disc less a disc of radius 0.8 around (0.45, 0): they cross at (0.625, +-0.781).
fn moon() -> Option<Path> {
    const STEPS: usize = 24;
    // Both arcs run the long way round, through the left side.
    let arc = |from: f32, centre: f32, radius: f32| {
        (0..=STEPS).map(move |n| {
            let along = n as f32 / STEPS as f32;
            let (sin, cos) = (from + (std::f32::consts::TAU - 2.0 * from) * along).sin_cos();
            (centre + radius * cos, radius * sin)
        })
    };
    let outer = arc(0.780_6_f32.atan2(0.625), 0.0, 1.0);
    let inner = arc(0.780_6_f32.atan2(0.175), 0.45, 0.8);
    let corners: Vec<_> = outer.chain(inner.collect::<Vec<_>>().into_iter().rev()).collect();
    polygon(&corners)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drawn::look::Look;
    use crate::drawn::scene::{Background, Paper, Split};
    use sensorium_kernels::rng::Rng;

    /// Boxes of lone objects: every changed pixel lies inside, and each side is touched.
    #[test]
    fn boxes_fit_the_drawn_pixels() {
        let side = 96;
        for index in 0..400 {
            let rng = &mut Rng::at(9, 0, index);
            let mut scene = Scene::compose(&[Look::random(rng)], rng);
            scene.background = Background::new(Paper::White, rng);
            let at = scene.boxes()[0];
            let picture = scene.render(side);
            let (mut low, mut high) = ([f32::MAX; 2], [0.0f32; 2]);
            for (n, rgb) in picture.pixels.chunks(3).enumerate() {
                if rgb.iter().any(|&v| v < 250) {
                    let place = [(n as u32 % side) as f32, (n as u32 / side) as f32];
                    low = [low[0].min(place[0]), low[1].min(place[1])];
                    high = [high[0].max(place[0] + 1.0), high[1].max(place[1] + 1.0)];
                }
            }
            let drawn = [low[0], low[1], high[0], high[1]];
            let exact = [at.left, at.top, at.right, at.bottom].map(|v| v * side as f32);
            for (drawn, exact) in drawn.iter().zip(exact) {
                assert!(
                    (drawn - exact).abs() <= 1.6,
                    "{index}: {drawn} {exact} {:?}",
                    scene.objects
                );
            }
        }
    }

    #[test]
    fn any_size_renders() {
        let scene = Scene::random(Split::Train, 0, 0, 6);
        assert_eq!(scene.render(0).width, 1);
        assert_eq!(scene.render(33).pixels.len(), 33 * 33 * 3);
    }
}
