//! Further questions about a scene that is already there.
//!
//! Yes and no are equally likely, and what is denied is near: the colour of one object on the shape
//! of another. Counts are as the scene has them, the larger ones preferred.

use super::about::{Name, find, noun, plainly_placed, yes_no};
use super::{Kind, templates, worded};
use crate::drawn::caption::{Phrasing, frame, place, relation_words};
use crate::drawn::look::{Color, held_out};
use crate::drawn::scene::{Object, PLAIN, Paper, Relation, Scene, Split};
use crate::drawn::words::{NUMBERS, with_article};
use sensorium_kernels::rng::Rng;

/// What a question is made of: its template, the template's parts, the answer.
type Parts = (&'static [&'static str], Vec<(&'static str, String)>, String);

/// A question of this kind about `scene`, with its answer, in the wordings of training; nothing
/// where the scene has no plain answer to one.
pub fn follow_up(kind: Kind, scene: &Scene, rng: &mut Rng) -> Option<(String, String)> {
    let (templates, parts, answer) = parts(kind, scene, rng)?;
    Some((worded(frame(templates, Phrasing::Seen, rng), &parts, rng), answer))
}

fn parts(kind: Kind, scene: &Scene, rng: &mut Rng) -> Option<Parts> {
    match kind {
        Kind::Color => color(scene, rng),
        Kind::OnlyColor | Kind::EasyVqa => only_color(scene, rng),
        Kind::Shape => shape(scene, rng),
        Kind::OnlyShape => only_shape(scene),
        Kind::Count | Kind::CountAny => count(scene, rng),
        Kind::Exists => exists(false, scene, rng),
        Kind::Negation => exists(true, scene, rng),
        Kind::Both => both(scene, rng),
        Kind::Relation => relation(scene, rng),
        Kind::Side => side(scene, rng),
        Kind::Neighbour => neighbour(scene, rng),
        Kind::Size => {
            let (object, name) = one(scene, rng)?;
            Some((templates::SIZE, vec![("{x}", name.words())], object.size.name().to_owned()))
        }
        Kind::Fill => {
            let (object, name) = one(scene, rng)?;
            Some((templates::FILL, vec![("{x}", name.words())], object.fill.name().to_owned()))
        }
        Kind::Larger => larger(scene, rng),
        Kind::More => more(scene, rng),
        Kind::Where => {
            let (object, name) = one(scene, rng)?;
            let answer = plainly_placed(object).then(|| place(object).to_owned())?;
            Some((templates::WHERE, vec![("{x}", name.words())], answer))
        }
        Kind::Choose => choose(scene, rng),
        Kind::Same => same(scene, rng),
        Kind::Background => {
            let paper = scene.background.paper;
            let named = Paper::NAMED.contains(&paper);
            named.then(|| (templates::BACKGROUND, Vec::new(), paper.name().to_owned()))
        }
    }
}

/// A random object and a name that no other object answers to.
fn one<'a>(scene: &'a Scene, rng: &mut Rng) -> Option<(&'a Object, Name)> {
    let object = rng.choose(&scene.objects)?;
    let name = Name::of(&object.look(), rng);
    (scene.count(|other| name.fits(&other.look())) == 1).then_some((object, name))
}

/// Two objects with such names.
fn two<'a>(scene: &'a Scene, rng: &mut Rng) -> Option<[(&'a Object, Name); 2]> {
    let [a, b] = [one(scene, rng)?, one(scene, rng)?];
    (!std::ptr::eq(a.0, b.0)).then_some([a, b])
}

/// A name that no object answers to and that training may say.
fn absent(scene: &Scene, rng: &mut Rng) -> Option<Name> {
    (0..20).find_map(|_| {
        let (a, b) = (rng.choose(&scene.objects)?, rng.choose(&scene.objects)?);
        let name = match rng.chance(0.6) {
            true => Name::Both(a.color, b.shape),
            false => Name::of(&Split::Train.target(rng), rng),
        };
        let said = !matches!(name, Name::Both(color, shape) if held_out(color, shape));
        (said && scene.count(|o| name.fits(&o.look())) == 0).then_some(name)
    })
}

fn color(scene: &Scene, rng: &mut Rng) -> Option<Parts> {
    let object = rng.choose(&scene.objects)?;
    let name = Name::Shape(object.shape);
    let lone = scene.count(|o| o.shape == object.shape) == 1;
    lone.then(|| (templates::COLOR, vec![("{x}", name.words())], object.color.name().to_owned()))
}

fn only_color(scene: &Scene, rng: &mut Rng) -> Option<Parts> {
    let [object] = scene.objects.as_slice() else { return None };
    let word = rng.pick(&["shape", "object", "thing"]).to_owned();
    Some((templates::COLOR, vec![("{x}", word)], object.color.name().to_owned()))
}

fn shape(scene: &Scene, rng: &mut Rng) -> Option<Parts> {
    let object = rng.choose(&scene.objects)?;
    let lone = scene.count(|o| o.color == object.color) == 1;
    let parts = vec![("{x}", object.color.name().to_owned())];
    lone.then(|| (templates::SHAPE, parts, object.shape.name().to_owned()))
}

fn only_shape(scene: &Scene) -> Option<Parts> {
    let [object] = scene.objects.as_slice() else { return None };
    Some((templates::ONLY_SHAPE, Vec::new(), object.shape.name().to_owned()))
}

fn count(scene: &Scene, rng: &mut Rng) -> Option<Parts> {
    let answer = |n: usize| NUMBERS[n.min(6)].to_owned();
    if rng.chance(0.2) {
        let all = rng.pick(&["shapes", "objects", "things"]).to_owned();
        return Some((templates::COUNT, vec![("{s}", all)], answer(scene.objects.len())));
    }
    if rng.chance(0.2) {
        let name = absent(scene, rng)?;
        return Some((templates::COUNT, vec![("{s}", name.plural())], answer(0)));
    }
    // Most names fit one object: the best of three evens the answers out.
    let mut names = Vec::new();
    for _ in 0..3 {
        names.push(Name::of(&rng.choose(&scene.objects)?.look(), rng));
    }
    let fitting = |name: &Name| scene.count(|o| name.fits(&o.look()));
    let name = *names.iter().max_by_key(|name| fitting(name))?;
    Some((templates::COUNT, vec![("{s}", name.plural())], answer(fitting(&name))))
}

fn exists(negated: bool, scene: &Scene, rng: &mut Rng) -> Option<Parts> {
    let there = rng.chance(0.5);
    let name = match there {
        true => Name::of(&rng.choose(&scene.objects)?.look(), rng),
        false => absent(scene, rng)?,
    };
    let all = if negated { templates::NEGATION } else { templates::EXISTS };
    Some((all, noun("{x}", "{a x}", &name.words()).to_vec(), yes_no(there != negated)))
}

fn both(scene: &Scene, rng: &mut Rng) -> Option<Parts> {
    let (a, b) = (rng.choose(&scene.objects)?, rng.choose(&scene.objects)?);
    if a.color == b.color || a.shape == b.shape {
        return None;
    }
    let mut names = [Name::Both(a.color, a.shape), Name::Both(b.color, b.shape)];
    let yes = rng.chance(0.5);
    if !yes {
        let swapped = [Name::Both(b.color, a.shape), Name::Both(a.color, b.shape)];
        match rng.below(3) {
            0 => {
                names[rng.below(2)] = absent(scene, rng).filter(|n| matches!(n, Name::Both(..)))?
            }
            _ => names = swapped,
        }
    }
    let said = |n: &Name| !matches!(n, Name::Both(color, shape) if held_out(*color, *shape));
    let holds = names.iter().all(|name| scene.count(|o| name.fits(&o.look())) > 0);
    if holds != yes || !names.iter().all(said) {
        return None;
    }
    let [x, y] = names.map(Name::words);
    let mut parts = noun("{x}", "{a x}", &x).to_vec();
    parts.extend(noun("{y}", "{a y}", &y));
    Some((templates::BOTH, parts, yes_no(yes)))
}

fn relation(scene: &Scene, rng: &mut Rng) -> Option<Parts> {
    let [(a, x), (b, y)] = two(scene, rng)?;
    let relation = rng.pick(&Relation::ALL);
    let yes = relation.holds(a, b);
    if relation.distance(a, b).abs() < PLAIN {
        return None;
    }
    let words = relation_words(relation, rng).to_owned();
    let parts = vec![("{x}", x.words()), ("{y}", y.words()), ("{r}", words)];
    Some((templates::RELATION, parts, yes_no(yes)))
}

fn side(scene: &Scene, rng: &mut Rng) -> Option<Parts> {
    let [(a, x), (b, y)] = two(scene, rng)?;
    let relation = rng.pick(&Relation::ALL);
    let parts = vec![("{x}", x.words()), ("{y}", y.words()), ("{r}", relation.either().to_owned())];
    let answer = relation.side().to_owned();
    relation.holds(a, b).then_some((templates::SIDE, parts, answer))
}

fn neighbour(scene: &Scene, rng: &mut Rng) -> Option<Parts> {
    let (a, b) = (rng.choose(&scene.objects)?, rng.choose(&scene.objects)?);
    let (x, y) = (Name::Both(a.color, a.shape), Name::Both(b.color, b.shape));
    let lone = |name: Name| scene.count(|o| name.fits(&o.look())) == 1;
    let [answer, anchor] = find(scene, [x, y])?;
    let relation = Relation::of(answer, anchor);
    let others = scene.count(|o| relation.distance(o, anchor) > 0.02);
    if !lone(x) || !lone(y) || !relation.holds(answer, anchor) || others != 1 {
        return None;
    }
    let parts = vec![("{y}", y.words()), ("{r}", relation_words(relation, rng).to_owned())];
    Some((templates::NEIGHBOUR, parts, with_article(&x.words())))
}

fn larger(scene: &Scene, rng: &mut Rng) -> Option<Parts> {
    let [(a, x), (b, y)] = two(scene, rng)?;
    if a.size == b.size {
        return None;
    }
    let (more, much, yes) = match rng.below(3) {
        0 => ("larger", "large", a.size > b.size),
        1 => ("bigger", "big", a.size > b.size),
        _ => ("smaller", "small", a.size < b.size),
    };
    let [more, much] = [more, much].map(str::to_owned);
    let parts = vec![("{x}", x.words()), ("{y}", y.words()), ("{more}", more), ("{much}", much)];
    Some((templates::LARGER, parts, yes_no(yes)))
}

fn more(scene: &Scene, rng: &mut Rng) -> Option<Parts> {
    let (a, b) = (rng.choose(&scene.objects)?, rng.choose(&scene.objects)?);
    let by_color = rng.chance(0.4);
    let name = |o: &Object| if by_color { Name::Color(o.color) } else { Name::Shape(o.shape) };
    let counts = [name(a), name(b)].map(|name| scene.count(|o| name.fits(&o.look())));
    let same = if by_color { a.color == b.color } else { a.shape == b.shape };
    // Of draws, which would make "no" the better guess, one in four is asked about.
    if same || (counts[0] == counts[1] && rng.chance(0.75)) {
        return None;
    }
    let parts = vec![("{s}", name(a).plural()), ("{t}", name(b).plural())];
    Some((templates::MORE, parts, yes_no(counts[0] > counts[1])))
}

fn choose(scene: &Scene, rng: &mut Rng) -> Option<Parts> {
    let object = rng.choose(&scene.objects)?;
    let other = rng.pick(&Color::ALL);
    let lone = scene.count(|o| o.shape == object.shape) == 1;
    if !lone || other == object.color || held_out(other, object.shape) {
        return None;
    }
    let mut colors = [object.color, other];
    rng.shuffle(&mut colors);
    let [c, d] = colors.map(|color| color.name().to_owned());
    let parts = vec![("{x}", object.shape.name().to_owned()), ("{c}", c), ("{d}", d)];
    Some((templates::CHOOSE, parts, object.color.name().to_owned()))
}

fn same(scene: &Scene, rng: &mut Rng) -> Option<Parts> {
    let [a, b] = scene.objects.as_slice() else { return None };
    let key = rng.pick(&["colour", "shape", "size"]);
    let yes = match key {
        "colour" => a.color == b.color,
        "shape" => a.shape == b.shape,
        _ => a.size == b.size,
    };
    // Objects seldom agree: "no" would be the better guess.
    (yes || rng.chance(0.2)).then(|| (templates::SAME, vec![("{k}", key.to_owned())], yes_no(yes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drawn::look::Shape;

    #[test]
    fn every_kind_is_asked_and_answered_in_words() {
        for kind in Kind::DRAWN {
            let mut asked = 0;
            for index in 0..600 {
                let scene = Scene::random(Split::Train, 3, index, 6);
                let rng = &mut Rng::at(3, 20, index);
                let Some((question, answer)) = follow_up(kind, &scene, rng) else { continue };
                asked += 1;
                let text = format!("{question} {answer}");
                assert!(text.is_ascii() && !text.contains(['{', '}']), "{text}");
                assert!(!answer.is_empty() && answer == answer.to_lowercase());
            }
            assert!(asked > 10, "{}: {asked}", kind.name());
        }
    }

    #[test]
    fn yes_and_no_are_about_equally_likely() {
        for kind in [Kind::Exists, Kind::Negation, Kind::Both, Kind::Relation, Kind::Larger] {
            let (mut yes, mut all) = (0.0, 0.0);
            for index in 0..6_000 {
                let scene = Scene::random(Split::Train, 4, index, 6);
                let Some((_, answer)) = follow_up(kind, &scene, &mut Rng::at(4, 20, index)) else {
                    continue;
                };
                all += 1.0;
                yes += f32::from(u8::from(answer == "yes"));
            }
            assert!((yes / all - 0.5f32).abs() < 0.12, "{}: {}", kind.name(), yes / all);
        }
    }

    #[test]
    fn sides_are_true_and_even() {
        let mut sides = std::collections::BTreeMap::new();
        for index in 0..4_000 {
            let scene = Scene::random(Split::Train, 6, index, 2);
            let [a, b] = scene.objects.as_slice() else { continue };
            let asked = follow_up(Kind::Side, &scene, &mut Rng::at(6, 20, index));
            let Some((question, answer)) = asked else { continue };
            let relation = Relation::ALL.into_iter().find(|r| r.side() == answer).expect("a side");
            // Whichever of the two is named first, it lies there.
            assert!(relation.holds(a, b) || relation.holds(b, a), "{question} {answer}: {scene:?}");
            *sides.entry(answer).or_insert(0) += 1;
        }
        assert_eq!(sides.len(), 4);
        assert!(sides.values().all(|&n| n > 50), "{sides:?}");
    }

    #[test]
    fn existence_and_counts_are_true_and_held_out_pairs_unsaid() {
        for index in 0..3_000 {
            let scene = Scene::random(Split::Train, 5, index, 6);
            for kind in [Kind::Exists, Kind::Count] {
                let Some((question, answer)) = follow_up(kind, &scene, &mut Rng::at(5, 20, index))
                else {
                    continue;
                };
                let text = question.replace("grey", "gray").replace("squares", "rectangles");
                let color = Color::ALL.iter().find(|c| text.contains(c.name()));
                let shape = Shape::ALL.iter().find(|s| text.contains(s.name()));
                if let (Some(&color), Some(&shape)) = (color, shape) {
                    assert!(!held_out(color, shape), "{text}");
                }
                let n = scene.count(|o| {
                    color.is_none_or(|c| o.color == *c) && shape.is_none_or(|s| o.shape == *s)
                });
                match kind {
                    Kind::Exists => assert_eq!(answer == "yes", n > 0, "{text}: {scene:?}"),
                    _ => assert_eq!(answer, NUMBERS[n], "{text}: {scene:?}"),
                }
            }
        }
    }
}
