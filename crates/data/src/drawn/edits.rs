//! Pictures that are to be changed: a scene, what is to be another in it, and the scene as it then is.

use sensorium_kernels::rng::Rng;
use sensorium_media::{Message, Modality, Part, Role};

use crate::drawn::caption::request;
use crate::drawn::facts::Facts;
use crate::drawn::look::{Color, Shape};
use crate::drawn::scene::{Object, Scene, UNKNOWN};
use crate::{Example, Media, OpenOptions};

/// The most objects of a scene.
const MOST: usize = 2;

/// What is asked of the one thing there is, or of the one of a name: `{}` stands for what it is to be.
const COLORS: [&str; 4] = ["make {o} {}", "colour {o} {}", "paint {o} {}", "change {o} to {}"];
const SHAPES: [&str; 3] = ["turn {o} into {}", "make {o} {}", "change {o} to {}"];

/// Edit `index`: a picture, a request to change it, and, as the answer, the changed one, whose text says what it
/// shows.
pub(crate) fn edit(options: &OpenOptions, index: u64) -> Example {
    let rng = &mut options.split.rng(15, options.seed, index);
    let count = rng.range(1, MOST);
    let before = Scene::with_count(options.split, count, rng);
    let (asked, after) = changed(&before, rng);
    let picture = |scene: &Scene| Media::Image(scene.render(options.picture_size));
    let medium = Part::Media(Modality::Image);
    let messages = vec![
        Message { role: Role::User, parts: vec![medium.clone(), Part::Text(asked)] },
        Message { role: Role::Assistant, parts: vec![medium] },
    ];
    let text = request(&after);
    Example {
        media: vec![picture(&before), picture(&after)],
        messages,
        text: Some(text.clone()),
        facts: Some(Facts { gist: text, turns: Vec::new(), places: UNKNOWN, scene: Some(after) }),
        ..Example::default()
    }
}

/// What is to be another in a scene, and the scene as it then is.
fn changed(scene: &Scene, rng: &mut Rng) -> (String, Scene) {
    let mut after = scene.clone();
    let at = rng.below(scene.objects.len());
    let named = name(scene, at, rng);
    let object = &mut after.objects[at];
    let (templates, to): (&[&str], String) = if rng.chance(0.6) {
        let others: Vec<Color> =
            Color::ALL.into_iter().filter(|color| *color != object.color).collect();
        let color = rng.choose(&others).copied().unwrap_or(object.color);
        (object.color, object.rgb) = (color, color.tone(rng));
        (&COLORS, color.name().to_owned())
    } else {
        let others: Vec<Shape> =
            Shape::ALL.into_iter().filter(|shape| *shape != object.shape).collect();
        object.shape = rng.choose(&others).copied().unwrap_or(object.shape);
        object.aspect = 1.0;
        (&SHAPES, crate::drawn::words::with_article(object.shape.name()))
    };
    let template = rng.choose(templates).copied().unwrap_or("make {o} {}");
    (template.replace("{o}", &named).replace("{}", &to), after)
}

/// What the object is called: "it" where it is alone, else by what only it has.
fn name(scene: &Scene, at: usize, rng: &mut Rng) -> String {
    let object = &scene.objects[at];
    let only = |same: fn(&Object, &Object) -> bool| {
        scene.objects.iter().filter(|other| same(object, other)).count() == 1
    };
    if scene.objects.len() == 1 && rng.chance(0.6) {
        return "it".to_owned();
    }
    let (color, shape) = (object.color.name(), object.shape.name());
    match (only(|a, b| a.shape == b.shape), only(|a, b| a.color == b.color)) {
        (true, _) if rng.chance(0.6) => format!("the {shape}"),
        (_, true) if rng.chance(0.3) => format!("the {color} one"),
        _ => format!("the {color} {shape}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drawn::scene::Split;

    #[test]
    fn one_thing_is_another_and_all_else_stays() {
        let options =
            OpenOptions { seed: 1, split: Split::Train, picture_size: 32, val_share: 0.0 };
        let mut kinds = [0, 0];
        for index in 0..200 {
            let rng = &mut options.split.rng(15, options.seed, index);
            let count = rng.range(1, MOST);
            let before = Scene::with_count(options.split, count, rng);
            let (asked, after) = changed(&before, rng);
            let differ = before.objects.iter().zip(&after.objects).filter(|(a, b)| a != b);
            let differ: Vec<_> = differ.collect();
            let [(a, b)] = differ[..] else { panic!("{asked}: {differ:?}") };
            let (color, shape) = (a.color != b.color, a.shape != b.shape);
            assert!(color != shape && (a.x, a.y, a.radius) == (b.x, b.y, b.radius), "{asked}");
            kinds[usize::from(shape)] += 1;
            let wanted = if color { b.color.name() } else { b.shape.name() };
            assert!(asked.ends_with(wanted), "{asked}");
        }
        assert!(kinds.iter().all(|&n| n > 50), "{kinds:?}");
        let example = edit(&options, 3);
        assert_eq!((example.media.len(), example.messages.len()), (2, 2));
        assert!(example.text.is_some_and(|text| !text.is_empty()));
    }
}
