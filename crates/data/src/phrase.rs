//! Phrases that join two attributes of one object: "a red circle", "a star on the left".
//!
//! Whether a phrase holds of a picture is known for every phrase and every scene, so each picture
//! can be asked about all of them: a caption tells a bag of words from a scene only here and there.

use crate::caption::{place, place_phrase, with_article};
use crate::look::{Color, Fill, Shape, Size, held_out};
use crate::scene::{Object, Scene};

/// Attributes of one object; those that are given must all be its.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phrase {
    /// Its colour.
    pub color: Option<Color>,
    /// Its shape.
    pub shape: Option<Shape>,
    /// Its size.
    pub size: Option<Size>,
    /// Its fill.
    pub fill: Option<Fill>,
    /// The ninth of the picture it lies in, as [`place`] names it.
    pub place: Option<&'static str>,
}

const PLACES: [&str; 9] = [
    "top left",
    "top",
    "top right",
    "left",
    "middle",
    "right",
    "bottom left",
    "bottom",
    "bottom right",
];

impl Phrase {
    /// Every phrase of two attributes, one of them a colour or a shape, that training may say.
    pub fn all() -> Vec<Self> {
        let colors = Color::ALL.map(|c| Self { color: Some(c), ..Self::default() });
        let shapes = Shape::ALL.map(|s| Self { shape: Some(s), ..Self::default() });
        let mut all = Vec::new();
        for color in colors {
            all.extend(shapes.map(|shape| Self { shape: shape.shape, ..color }));
        }
        for one in colors.into_iter().chain(shapes) {
            all.extend(Size::ALL.map(|size| Self { size: Some(size), ..one }));
            all.extend(Fill::ALL.map(|fill| Self { fill: Some(fill), ..one }));
            all.extend(PLACES.map(|place| Self { place: Some(place), ..one }));
        }
        all.retain(|phrase| match (phrase.color, phrase.shape) {
            (Some(color), Some(shape)) => !held_out(color, shape),
            _ => true,
        });
        all
    }

    /// Whether some object of the scene has these attributes.
    pub fn holds(&self, scene: &Scene) -> bool {
        scene.count(|object| self.fits(object)) > 0
    }

    fn fits(&self, object: &Object) -> bool {
        self.color.is_none_or(|color| color == object.color)
            && self.shape.is_none_or(|shape| shape == object.shape)
            && self.size.is_none_or(|size| size == object.size)
            && self.fill.is_none_or(|fill| fill == object.fill)
            && self.place.is_none_or(|at| at == place(object))
    }

    /// In words, lower case, with an article.
    pub fn text(&self) -> String {
        let mut words = Vec::new();
        words.extend(self.size.map(Size::name));
        words.extend(self.fill.map(Fill::name));
        words.extend(self.color.map(Color::name));
        words.push(self.shape.map_or("shape", Shape::name));
        let what = with_article(&words.join(" "));
        match self.place {
            Some(place) => format!("{what} {}", place_phrase(place)),
            None => what,
        }
    }
}

/// The squares of a `grid` x `grid` picture, row by row, that lie well on an object, with its colour
/// and shape: that of its centre, and those whose centre is in the inner half of its box.
pub fn positions(scene: &Scene, grid: usize) -> Vec<(usize, Color, Shape)> {
    let side = grid as f32;
    let mut all = Vec::new();
    for (object, bounds) in scene.objects.iter().zip(scene.boxes()) {
        let at = |v: f32| ((v * side) as usize).min(grid - 1);
        let inside = |cell: usize, centre: f32, low: f32, high: f32| {
            ((cell as f32 + 0.5) / side - centre).abs() < (high - low) / 4.0
        };
        for (row, column) in (0..grid).flat_map(|row| (0..grid).map(move |column| (row, column))) {
            let centre = (row, column) == (at(object.y), at(object.x));
            let inner = inside(row, object.y, bounds.top, bounds.bottom)
                && inside(column, object.x, bounds.left, bounds.right);
            if centre || inner {
                all.push((row * grid + column, object.color, object.shape));
            }
        }
    }
    all
}

/// The colours and shapes that a caption joins, in order: "two red circles" is one pair.
pub fn named(text: &str) -> Vec<(Color, Shape)> {
    let words: Vec<_> = text.split([' ', ',', ':', '.']).collect();
    let color = |word: &str| {
        let word = if word == "grey" { "gray" } else { word };
        Color::ALL.into_iter().find(|color| color.name() == word)
    };
    words.windows(2).filter_map(|pair| Some((color(pair[0])?, shape(pair[1])?))).collect()
}

fn shape(word: &str) -> Option<Shape> {
    let known = match word {
        "disc" => "circle",
        "plus" => "cross",
        "rhombus" => "diamond",
        "crescent" => "moon",
        "square" => "rectangle",
        word => word,
    };
    Shape::ALL.into_iter().find(|shape| shape.name() == known || shape.plural() == known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caption;
    use crate::rng::Rng;
    use crate::scene::Split;

    #[test]
    fn phrases_differ_and_leave_held_out_pairs_unsaid() {
        let all = Phrase::all();
        let texts: std::collections::HashSet<_> = all.iter().map(Phrase::text).collect();
        assert_eq!((all.len(), texts.len()), (81 + 19 * 15, all.len()));
        let said = |text: &String| named(text).iter().any(|&(color, shape)| held_out(color, shape));
        assert!(!texts.iter().any(said));
    }

    #[test]
    fn each_object_makes_its_phrases_true() {
        let all = Phrase::all();
        for index in 0..100 {
            let scene = Scene::random(Split::Train, 1, index, 1);
            let held: Vec<_> = all.iter().filter(|phrase| phrase.holds(&scene)).collect();
            // Colour and shape; size, fill and place with either.
            assert_eq!(held.len(), 7, "{held:?}");
        }
    }

    #[test]
    fn every_object_has_a_position() {
        for index in 0..100 {
            let scene = Scene::random(Split::Train, 1, index, 6);
            let at = positions(&scene, 8);
            assert!(at.iter().all(|&(cell, ..)| cell < 64));
            for object in &scene.objects {
                let own = (object.y * 8.0) as usize * 8 + (object.x * 8.0) as usize;
                assert!(at.contains(&(own, object.color, object.shape)), "{object:?}");
            }
        }
    }

    #[test]
    fn captions_name_what_they_mention() {
        assert_eq!(
            named("two grey circles, a large red plus and a blue square"),
            [
                (Color::Gray, Shape::Circle),
                (Color::Red, Shape::Cross),
                (Color::Blue, Shape::Rectangle)
            ]
        );
        for index in 0..500 {
            let scene = Scene::random(Split::Train, 2, index, 6);
            let text = caption::caption(&scene, &mut Rng::new(2, 9, index));
            let pairs = named(&text);
            assert!(!pairs.is_empty(), "{text}");
            let there =
                |&(c, s): &(Color, Shape)| scene.count(|o| o.color == c && o.shape == s) > 0;
            assert!(pairs.iter().all(there), "{text}: {scene:?}");
        }
    }
}
