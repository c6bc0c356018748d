//! Captions of scenes from a weighted grammar, and the same captions made false.
//!
//! A caption is planned first (what to say) and worded second, so that a hard negative differs
//! from its caption in two swapped words and in nothing else.

use crate::drawn::look::{Color, Fill, Shape, Size, held_out};
use crate::drawn::scene::{Object, Paper, Places, Relation, Scene, UNKNOWN, names};
use crate::drawn::words::{NUMBERS, listed, with_article};
use sensorium_kernels::rng::Rng;

/// Which templates to word a caption with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phrasing {
    /// The 85 % that training sees.
    Seen,
    /// The other 15 %, for measuring.
    HeldOut,
}

/// Frames around a list of objects: `{o}` the list, `{is}` its verb.
const LISTS: [&str; 47] = [
    "{o}",
    "there {is} {o}",
    "a picture of {o}",
    "an image of {o}",
    "a drawing of {o}",
    "a picture with {o}",
    "{o} in a picture",
    "this is {o}",
    "an image showing {o}",
    "a drawing that shows {o}",
    "here {is} {o}",
    "we see {o}",
    "i see {o}",
    "you can see {o}",
    "the picture shows {o}",
    "the image shows {o}",
    "the drawing shows {o}",
    "the image contains {o}",
    "the picture contains {o}",
    "{o} can be seen",
    "{o} on the page",
    "a simple drawing of {o}",
    "a simple picture with {o}",
    "a sketch of {o}",
    "this picture has {o}",
    "this image has {o}",
    "a scene with {o}",
    "a scene that holds {o}",
    "the scene has {o}",
    "in this picture there {is} {o}",
    "in the image there {is} {o}",
    "in this drawing we see {o}",
    "shown here: {o}",
    "pictured: {o}",
    "someone drew {o}",
    "an illustration of {o}",
    "an illustration with {o}",
    "a graphic of {o}",
    "a figure with {o}",
    "look at {o}",
    "{o} {is} drawn here",
    "{o} {is} shown",
    "{o} {is} visible",
    "all there is to see {is} {o}",
    "nothing but {o}",
    "a clean picture of {o}",
    "only {o}",
];

/// Frames around two objects `{a}` and `{b}` and their relation `{r}`.
const PAIRS: [&str; 14] = [
    "{a} {r} {b}",
    "{a} is {r} {b}",
    "there is {a} {r} {b}",
    "a picture of {a} {r} {b}",
    "the image shows {a} {r} {b}",
    "{a}, which is {r} {b}",
    "we see {a} {r} {b}",
    "{r} {b} there is {a}",
    "a drawing of {a} {r} {b}",
    "{a} drawn {r} {b}",
    "{a} can be seen {r} {b}",
    "{r} {b} we see {a}",
    "{a} lies {r} {b}",
    "{a} sits {r} {b}",
];

/// Frames that count first: `{n}` the number of objects with its noun.
const COUNTS: [&str; 14] = [
    "{n}: {o}",
    "{n}, namely {o}",
    "a picture of {n}: {o}",
    "there are {n}, {o}",
    "an image with {n}: {o}",
    "{n} in total: {o}",
    "a drawing of {n}: {o}",
    "we see {n}: {o}",
    "{n} are shown: {o}",
    "the picture has {n}: {o}",
    "{n} here: {o}",
    "{o}, {n} in all",
    "{o}, so {n} altogether",
    "{o} make {n}",
];

/// The objects of one colour and shape, and what is said of them.
#[derive(Clone, Debug)]
struct Mention {
    count: usize,
    color: Color,
    shape: Shape,
    noun: &'static str,
    size: Option<(Size, &'static str)>,
    fill: Option<Fill>,
}

/// What a caption says.
#[derive(Clone, Debug)]
struct Plan {
    frame: &'static str,
    mentions: Vec<Mention>,
    relation: Option<(Relation, &'static str)>,
    total: Option<usize>,
    gray: bool,
    tail: String,
}

/// How often a caption tells how two objects lie, where they can be told apart.
pub const RELATED: f32 = 0.45;

/// A true sentence about the scene: lower case, ASCII, with the templates of training.
pub fn caption(scene: &Scene, rng: &mut Rng) -> String {
    caption_in(scene, Phrasing::Seen, rng)
}

/// [`caption`] with the templates of your choice.
pub fn caption_in(scene: &Scene, phrasing: Phrasing, rng: &mut Rng) -> String {
    Plan::new(scene, phrasing, RELATED, rng).text()
}

/// What is said of a scene.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// A true sentence, as [`caption`] makes it.
    pub caption: String,
    /// The same in the plainest words and a fixed order, so that two captions that say the same
    /// have one gist.
    pub gist: String,
    /// The caption made false, up to three times: first with two attributes swapped, where that is
    /// possible, then with one replaced, then with another swap.
    pub negatives: Vec<String>,
    /// What the caption tells of where things lie, which is halfway to the side on which it says they
    /// are, and of their sizes.
    pub places: Places,
}

/// The caption that [`caption`] makes from the same `rng`, its gist and its negatives; `related` is
/// how often (0 to 1; [`RELATED`] in `caption`) it tells how two objects lie, where they can be told
/// apart.
pub fn said(scene: &Scene, related: f32, rng: &mut Rng) -> Said {
    let plan = Plan::new(scene, Phrasing::Seen, related, rng);
    let mut swapped = plan.swapped(scene);
    let first = rng.choose(&swapped).cloned().or_else(|| plan.replaced(scene, rng));
    let second = plan.replaced(scene, rng).filter(|text| Some(text) != first.as_ref());
    swapped.retain(|text| Some(text) != first.as_ref());
    let third = rng.choose(&swapped).cloned();
    let negatives = first.into_iter().chain(second).chain(third).collect();
    Said { caption: plan.text(), gist: plan.gist(), negatives, places: plan.places() }
}

/// Everything there is to know about the scene, one clause per object, row by row as one reads.
pub fn describe(scene: &Scene, rng: &mut Rng) -> String {
    let mut objects: Vec<&Object> = scene.objects.iter().collect();
    // Thirds, not exact heights: which of two objects in a row comes first must be plain to see.
    objects.sort_by(|a, b| third(a.y).cmp(&third(b.y)).then(a.x.total_cmp(&b.x)));
    let clauses: Vec<_> = objects
        .iter()
        .map(|object| {
            let fill = match object.fill {
                Fill::Solid if rng.chance(0.7) => String::new(),
                fill => format!("{} ", fill.name()),
            };
            let what = format!(
                "{} {fill}{} {}",
                object.size.name(),
                object.color.name(),
                object.shape.name()
            );
            format!("{} {}", with_article(&what), place_phrase(object))
        })
        .collect();
    let lead = match rng.below(3) {
        0 => "there is ".to_owned(),
        1 => "the picture shows ".to_owned(),
        _ => format!("{}: ", counted(scene.objects.len())),
    };
    let ground = match scene.background.paper {
        Paper::Gradient | Paper::Tint => String::new(),
        paper => format!(" the background is {}.", paper.name()),
    };
    format!("{lead}{}.{ground}", listed(&clauses))
}

/// What is there in the plainest words: colours, shapes, and how many of each; of two objects, how they lie.
pub fn request(scene: &Scene) -> String {
    let said = |group: &[&Object]| {
        let (first, count) = (group[0], group.len());
        let (color, shape) = (first.color.name(), first.shape);
        match count {
            1 => with_article(&format!("{color} {}", shape.name())),
            _ => format!("{} {color} {}", NUMBERS[count.min(6)], shape.plural()),
        }
    };
    if let [a, b] = &scene.objects[..] {
        let relation = Relation::of(a, b);
        if (a.color, a.shape) != (b.color, b.shape) && relation.holds(a, b) {
            return format!("{} {} {}", said(&[a]), relation.name(), said(&[b]));
        }
    }
    listed(&alike(scene).iter().map(|group| said(group)).collect::<Vec<_>>())
}

/// "one shape", "three shapes".
fn counted(n: usize) -> String {
    format!("{} shape{}", NUMBERS[n.min(6)], if n == 1 { "" } else { "s" })
}

impl Plan {
    fn new(scene: &Scene, phrasing: Phrasing, related: f32, rng: &mut Rng) -> Self {
        let mut mentions = mentions(scene, rng);
        let lone = mentions.iter().all(|m| m.count == 1);
        let (mut relation, mut total) = (None, None);
        let frame = if lone && mentions.len() >= 2 && rng.chance(related) {
            mentions.truncate(2);
            let find = |m: &Mention| scene.objects.iter().find(|o| is(o, m));
            if let (Some(a), Some(b)) = (find(&mentions[0]), find(&mentions[1])) {
                let holds = Relation::of(a, b);
                relation = Some((holds, relation_words(holds, rng)));
            }
            frame(&PAIRS, phrasing, rng)
        } else if scene.objects.len() > 1 && rng.chance(0.25) {
            total = Some(scene.objects.len());
            frame(&COUNTS, phrasing, rng)
        } else {
            frame(&LISTS, phrasing, rng)
        };
        let tail = tail(scene, &mentions, rng);
        Self { frame, mentions, relation, total, gray: rng.chance(0.7), tail }
    }

    fn text(&self) -> String {
        let names: Vec<_> = self.mentions.iter().map(|m| m.text()).collect();
        let many = self.mentions.first().is_some_and(|m| m.count > 1);
        let mut text = self.frame.replace("{is}", if many { "are" } else { "is" });
        if let (Some((_, words)), [a, b]) = (self.relation, &names[..]) {
            text = text.replace("{a}", a).replace("{b}", b).replace("{r}", words);
        }
        if let Some(total) = self.total {
            text = text.replace("{n}", &format!("{} shapes", NUMBERS[total.min(6)]));
        }
        let text = text.replace("{o}", &listed(&names)) + &self.tail;
        if self.gray { text } else { text.replace("gray", "grey") }
    }

    /// What the caption claims of its objects, by colour and shape.
    fn gist(&self) -> String {
        let mut order: Vec<usize> = (0..self.mentions.len()).collect();
        order.sort_by_key(|&at| (self.mentions[at].color, self.mentions[at].shape));
        let names: Vec<_> = order.iter().map(|&at| self.mentions[at].gist()).collect();
        match (self.relation, &names[..]) {
            (Some((relation, _)), [a, b]) => {
                let relation = if order[0] == 0 { relation } else { relation.opposite() };
                format!("{a} {} {b}", relation.name())
            }
            _ => listed(&names),
        }
    }

    fn places(&self) -> Places {
        let mut places = UNKNOWN;
        for (at, mention) in self.mentions.iter().enumerate() {
            for name in names(mention.color, mention.shape) {
                let named = |m: &&Mention| names(m.color, m.shape).contains(&name);
                if self.mentions.iter().filter(named).count() == 1 {
                    places[name] = self.told(at);
                }
            }
        }
        places
    }

    /// x, y and size that mention `at` is said to have. Where a relation is told, two are mentioned.
    fn told(&self, at: usize) -> [Option<f32>; 3] {
        let of = |relation: Relation| if at == 0 { relation } else { relation.opposite() };
        let [x, y] = match self.relation.map(|(relation, _)| of(relation)) {
            None => [None; 2],
            Some(Relation::Left) => [Some(-0.5), None],
            Some(Relation::Right) => [Some(0.5), None],
            Some(Relation::Above) => [None, Some(-0.5)],
            Some(Relation::Below) => [None, Some(0.5)],
        };
        [x, y, self.mentions[at].size.map(|(size, _)| size.number())]
    }

    /// Every text that a swap makes false.
    fn swapped(&self, scene: &Scene) -> Vec<String> {
        let mentions = 0..self.mentions.len();
        let pairs = mentions.flat_map(|a| (0..a).map(move |b| (a, b)));
        pairs.flat_map(|(a, b)| self.swaps(a, b, scene)).map(|plan| plan.text()).collect()
    }

    /// Every way to swap something between two mentions that makes the caption false.
    fn swaps(&self, a: usize, b: usize, scene: &Scene) -> Vec<Self> {
        let mut plans = Vec::new();
        let exchange = |edit: fn(&mut Mention, &mut Mention)| {
            let mut plan = self.clone();
            let (low, high) = plan.mentions.split_at_mut(a);
            edit(&mut low[b], &mut high[0]);
            plan
        };
        let (one, two) = (&self.mentions[a], &self.mentions[b]);
        if one.color != two.color && one.shape != two.shape {
            plans.push(exchange(|a, b| std::mem::swap(&mut a.color, &mut b.color)));
        }
        if one.size.is_some()
            && two.size.is_some()
            && one.size.map(|s| s.0) != two.size.map(|s| s.0)
        {
            plans.push(exchange(|a, b| std::mem::swap(&mut a.size, &mut b.size)));
        }
        if one.fill.is_some() && two.fill.is_some() && one.fill != two.fill {
            plans.push(exchange(|a, b| std::mem::swap(&mut a.fill, &mut b.fill)));
        }
        if one.count != two.count {
            plans.push(exchange(|a, b| std::mem::swap(&mut a.count, &mut b.count)));
        }
        if self.relation.is_some() {
            plans.push(exchange(std::mem::swap));
        }
        plans.retain(|plan| plan.distinct() && plan.is_false(scene) && plan.may_be_said(scene));
        plans
    }

    /// The caption with one colour or shape replaced by one that the scene does not hold.
    fn replaced(&self, scene: &Scene, rng: &mut Rng) -> Option<String> {
        (0..20).find_map(|_| {
            let mut plan = self.clone();
            let at = rng.below(plan.mentions.len());
            let mention = plan.mentions.get_mut(at)?;
            // Shapes are harder to see than colours: they are asked for more often.
            if rng.chance(0.3) {
                mention.color = rng.pick(&Color::ALL);
            } else {
                mention.shape = rng.pick(&Shape::ALL);
                mention.noun = mention.shape.name();
            }
            (plan.distinct() && plan.is_false(scene) && plan.may_be_said(scene))
                .then(|| plan.text())
        })
    }

    /// Whether some claim does not hold. A claim about a relation counts only when both objects
    /// exist, which the other claims decide.
    fn is_false(&self, scene: &Scene) -> bool {
        let wrong = |m: &Mention| scene.count(|o| is(o, m)) != m.count;
        if self.mentions.iter().any(wrong) {
            return true;
        }
        let find = |m: &Mention| scene.objects.iter().find(|o| is(o, m));
        match (self.relation, &self.mentions[..]) {
            (Some((relation, _)), [a, b]) => match (find(a), find(b)) {
                (Some(a), Some(b)) => relation.distance(a, b) <= 0.0,
                _ => true,
            },
            _ => false,
        }
    }

    /// Whether no two mentions name the same: "a red star and a red star" may pass for true.
    fn distinct(&self) -> bool {
        let name = |m: &Mention| (m.color, m.shape);
        let same = |n: usize| self.mentions[..n].iter().any(|m| name(m) == name(&self.mentions[n]));
        !(0..self.mentions.len()).any(same)
    }

    /// Negatives about training scenes never name a held-out pair: a model must not learn that
    /// these words are always wrong.
    fn may_be_said(&self, scene: &Scene) -> bool {
        let measured = scene.count(|o| held_out(o.color, o.shape)) > 0;
        measured || self.mentions.iter().all(|m| !held_out(m.color, m.shape))
    }
}

impl Mention {
    /// The mention without synonyms.
    fn gist(&self) -> String {
        let size = self.size.map(|(size, _)| (size, size.name()));
        Self { noun: self.shape.name(), size, ..self.clone() }.text()
    }

    fn text(&self) -> String {
        let mut words = Vec::new();
        words.extend(self.size.map(|s| s.1));
        words.extend(self.fill.map(Fill::name));
        words.push(self.color.name());
        if self.count == 1 {
            words.push(self.noun);
            return with_article(&words.join(" "));
        }
        words.push(self.shape.plural());
        format!("{} {}", NUMBERS[self.count.min(6)], words.join(" "))
    }
}

/// Whether an object is one of those a mention speaks of.
fn is(object: &Object, mention: &Mention) -> bool {
    object.color == mention.color
        && object.shape == mention.shape
        && (mention.noun != "square" || object.is_square())
        && mention.size.is_none_or(|(size, _)| object.size == size)
        && mention.fill.is_none_or(|fill| object.fill == fill)
}

/// The objects of each colour and shape, in the order in which the first of them is drawn.
fn alike(scene: &Scene) -> Vec<Vec<&Object>> {
    let mut groups: Vec<Vec<&Object>> = Vec::new();
    for object in &scene.objects {
        match groups.iter_mut().find(|g| g[0].color == object.color && g[0].shape == object.shape) {
            Some(group) => group.push(object),
            None => groups.push(vec![object]),
        }
    }
    groups
}

/// One mention per colour and shape, in random order, at most four; size and fill are said only
/// where all objects of a mention share them, and seldom in crowds.
fn mentions(scene: &Scene, rng: &mut Rng) -> Vec<Mention> {
    let mut groups = alike(scene);
    rng.shuffle(&mut groups);
    groups.truncate(4);
    let detail = if groups.len() <= 2 { 0.4 } else { 0.15 };
    let (say_size, say_fill) = (rng.chance(detail), rng.chance(detail));
    let said = |group: &Vec<&Object>, rng: &mut Rng| mention(group, say_size, say_fill, rng);
    groups.iter().map(|group| said(group, rng)).collect()
}

fn mention(group: &[&Object], say_size: bool, say_fill: bool, rng: &mut Rng) -> Mention {
    let first = group[0];
    let size = (say_size && group.iter().all(|o| o.size == first.size))
        .then(|| (first.size, size_word(first.size, rng)));
    let fill = (say_fill && group.iter().all(|o| o.fill == first.fill)).then_some(first.fill);
    let noun = noun(first, group.len() == 1, rng);
    Mention { count: group.len(), color: first.color, shape: first.shape, noun, size, fill }
}

/// A word for the object's shape, usually its name. Lone squares are called squares half of the
/// time.
pub(crate) fn noun(object: &Object, alone: bool, rng: &mut Rng) -> &'static str {
    let other = match object.shape {
        _ if !alone => return object.shape.name(),
        Shape::Rectangle if object.is_square() && rng.chance(0.5) => return "square",
        Shape::Circle => "disc",
        Shape::Cross => "plus",
        Shape::Diamond => "rhombus",
        Shape::Moon => "crescent",
        shape => shape.name(),
    };
    if rng.chance(0.08) { other } else { object.shape.name() }
}

fn size_word(size: Size, rng: &mut Rng) -> &'static str {
    match size {
        Size::Small => rng.pick(&["small", "small", "little", "tiny"]),
        Size::Medium => rng.pick(&["medium", "medium", "medium-sized"]),
        Size::Large => rng.pick(&["large", "large", "big", "big"]),
    }
}

/// Words for a relation, such that "a {words} b" is a sentence.
pub(crate) fn relation_words(relation: Relation, rng: &mut Rng) -> &'static str {
    match relation {
        Relation::Left => rng.pick(&["left of", "to the left of", "on the left of"]),
        Relation::Right => rng.pick(&["right of", "to the right of", "on the right of"]),
        Relation::Above => rng.pick(&["above", "above", "over", "higher than"]),
        Relation::Below => rng.pick(&["below", "below", "under", "beneath"]),
    }
}

/// Picks among the templates of a phrasing: every seventh, counted from the end, is held out.
pub(crate) fn frame(all: &[&'static str], phrasing: Phrasing, rng: &mut Rng) -> &'static str {
    let held = |n: usize| (all.len() - n).is_multiple_of(7);
    // The plainest frame is the most frequent one.
    if phrasing == Phrasing::Seen && rng.chance(0.15) {
        return all.first().copied().unwrap_or("{o}");
    }
    let frames: Vec<_> = (0..all.len())
        .filter(|&n| held(n) == (phrasing == Phrasing::HeldOut))
        .map(|n| all[n])
        .collect();
    rng.choose(&frames).copied().unwrap_or("{o}")
}

/// An optional clause at the end: where a lone object is, or what is behind everything.
fn tail(scene: &Scene, mentions: &[Mention], rng: &mut Rng) -> String {
    let lone = scene.objects.len() == 1 && mentions.len() == 1;
    if lone && rng.chance(0.3) {
        return format!(" {}", place_phrase(&scene.objects[0]));
    }
    if mentions.len() > 3 || rng.chance(0.75) {
        return String::new();
    }
    match scene.background.paper {
        Paper::Gradient => " on a background that fades".into(),
        Paper::Tint => " on a pale background".into(),
        paper => {
            let name = paper.name();
            match rng.below(3) {
                0 => format!(" on a {name} background"),
                1 => format!(" against a {name} background"),
                _ => format!(" on {name}"),
            }
        }
    }
}

/// The ninth of the picture an object lies in, in words.
pub fn place(object: &Object) -> &'static str {
    const NAMES: [[&str; 3]; 3] = [
        ["top left", "top", "top right"],
        ["left", "middle", "right"],
        ["bottom left", "bottom", "bottom right"],
    ];
    NAMES[third(object.y)][third(object.x)]
}

fn third(v: f32) -> usize {
    ((v * 3.0) as usize).min(2)
}

fn place_phrase(object: &Object) -> String {
    match place(object) {
        "middle" => "in the middle".into(),
        corner if corner.contains(' ') => format!("in the {corner}"),
        "top" => "at the top".into(),
        "bottom" => "at the bottom".into(),
        side => format!("on the {side}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drawn::scene::Split;
    use std::collections::HashSet;

    #[test]
    fn captions_are_plain_and_many() {
        let mut seen = HashSet::new();
        for index in 0..3_000 {
            let scene = Scene::random(Split::Train, 1, index, 6);
            let text = caption(&scene, &mut Rng::at(1, 9, index));
            assert!(text.is_ascii() && text == text.to_lowercase(), "{text}");
            assert!(!text.contains(['{', '}']) && !text.contains("  "), "{text}");
            assert_eq!(text, caption(&scene, &mut Rng::at(1, 9, index)));
            seen.insert(text);
        }
        assert!(seen.len() > 2_800, "{}", seen.len());
    }

    #[test]
    fn swapped_captions_are_false() {
        let mut swaps = 0;
        for index in 0..4_000 {
            let scene = Scene::random(Split::Train, 2, index, 6);
            let plan = Plan::new(&scene, Phrasing::Seen, RELATED, &mut Rng::at(2, 9, index));
            assert!(!plan.is_false(&scene), "{} {scene:?}", plan.text());
            let all = plan.swapped(&scene);
            let Some(negative) = all.get(index as usize % all.len().max(1)) else {
                continue;
            };
            swaps += 1;
            let text = caption(&scene, &mut Rng::at(2, 9, index));
            assert_ne!(text, *negative);
            let words = |text: &str| {
                let mut words: Vec<_> = text.split([' ', ',']).map(str::to_owned).collect();
                words.retain(|w| w != "a" && w != "an" && w != "is" && w != "are");
                words.sort();
                words
            };
            if plan.mentions.iter().all(|m| m.count == 1) {
                assert_eq!(words(&text), words(negative), "same words, other order");
            }
            // Read back independently: some named pair is absent, or the caption told more.
            let pairs_hold = named_pairs(negative)
                .iter()
                .all(|&(c, s)| scene.count(|o| o.color.name() == c && o.shape.name() == s) > 0);
            let told_more = plan.relation.is_some()
                || plan
                    .mentions
                    .iter()
                    .any(|m| m.size.is_some() || m.fill.is_some() || m.count > 1);
            assert!(!pairs_hold || told_more, "{negative}: {scene:?}");
        }
        assert!(swaps > 2_000, "{swaps}");
    }

    /// Neighbouring words that are a colour and a shape.
    fn named_pairs(text: &str) -> Vec<(&str, &str)> {
        let known = |word| match word {
            "disc" => "circle",
            "plus" => "cross",
            "rhombus" => "diamond",
            "crescent" => "moon",
            "square" => "rectangle",
            "grey" => "gray",
            word => word,
        };
        let words: Vec<_> = text.split([' ', ',', ':']).map(known).collect();
        words
            .windows(2)
            .filter(|w| Color::ALL.iter().any(|c| c.name() == w[0]))
            .filter(|w| Shape::ALL.iter().any(|s| s.name() == w[1]))
            .map(|w| (w[0], w[1]))
            .collect()
    }

    #[test]
    fn captions_tell_how_objects_lie_as_often_as_is_asked() {
        let share = |related: f32| {
            let told = (0..2_000u64).filter(|index| {
                let scene = Scene::random(Split::Train, 5, *index, 6);
                let rng = &mut Rng::at(5, 9, *index);
                Plan::new(&scene, Phrasing::Seen, related, rng).relation.is_some()
            });
            told.count() as f32 / 2_000.0
        };
        let [never, usual, always] = [0.0, RELATED, 1.0].map(share);
        assert!(never == 0.0 && always > 0.5, "{never} {always}");
        assert!((usual / always - RELATED).abs() < 0.05, "{usual} {always}");
    }

    #[test]
    fn what_a_caption_tells_of_places_is_true() {
        let (mut told, mut sizes) = (0, 0);
        for index in 0..1_000 {
            let scene = Scene::random(Split::Train, 7, index, 6);
            let plan = Plan::new(&scene, Phrasing::Seen, 1.0, &mut Rng::at(7, 9, index));
            let (Some(_), [a, b]) = (plan.relation, &plan.mentions[..]) else {
                assert!(plan.places().iter().all(|known| known[..2] == [None; 2]));
                continue;
            };
            let find = |m: &Mention| scene.objects.iter().find(|o| is(o, m)).expect("is there");
            let (one, two) = (find(a), find(b));
            let places = plan.places();
            let [here, there] = [a, b].map(|m| places[m.color as usize]);
            for (m, told) in [a, b].into_iter().zip([here, there]) {
                if let Some(size) = told[2] {
                    assert!(a.color != b.color && find(m).size.number() == size, "{}", plan.text());
                    sizes += 1;
                }
            }
            for (axis, apart) in [one.x - two.x, one.y - two.y].into_iter().enumerate() {
                if let (Some(here), Some(there)) = (here[axis], there[axis]) {
                    assert!((here - there) * apart > 0.0, "{}: {scene:?}", plan.text());
                    told += 1;
                }
            }
        }
        assert!(told > 300 && sizes > 100, "{told} {sizes}");
    }

    #[test]
    fn false_captions_differ() {
        for index in 0..1_000 {
            let scene = Scene::random(Split::Train, 6, index, 6);
            let Said { caption, negatives, .. } = said(&scene, 1.0, &mut Rng::at(6, 9, index));
            let all: HashSet<&String> = negatives.iter().chain([&caption]).collect();
            assert_eq!(all.len(), negatives.len() + 1, "{caption}: {negatives:?}");
        }
    }

    #[test]
    fn training_never_says_held_out_pairs() {
        for index in 0..4_000 {
            let scene = Scene::random(Split::Train, 3, index, 6);
            let Said { caption, gist, negatives, .. } =
                said(&scene, RELATED, &mut Rng::at(3, 9, index));
            for text in negatives.into_iter().chain([caption, gist]) {
                let held = named_pairs(&text).iter().any(|&(c, s)| {
                    crate::drawn::look::HELD_OUT.iter().any(|h| h.0.name() == c && h.1.name() == s)
                });
                assert!(!held, "{text}");
            }
        }
    }

    #[test]
    fn gists_say_the_same_in_one_way() {
        let mut gists = HashSet::new();
        for index in 0..500 {
            let scene = Scene::random(Split::Train, 4, index % 5, 2);
            let said = said(&scene, RELATED, &mut Rng::at(4, 9, index));
            let pairs = |text: &str| {
                let mut pairs: Vec<_> = named_pairs(text)
                    .into_iter()
                    .map(|(color, shape)| (color.to_owned(), shape.to_owned()))
                    .collect();
                pairs.sort();
                pairs
            };
            let many = said.gist.contains("two");
            assert!(many || pairs(&said.caption).len() == pairs(&said.gist).len(), "{said:?}");
            gists.insert(said.gist);
        }
        assert!(gists.len() < 60, "{gists:?}");
    }

    #[test]
    fn held_out_templates_differ() {
        let seen: HashSet<_> =
            (0..4_000).map(|i| frame(&LISTS, Phrasing::Seen, &mut Rng::at(0, 0, i))).collect();
        let held: HashSet<_> =
            (0..4_000).map(|i| frame(&LISTS, Phrasing::HeldOut, &mut Rng::at(0, 0, i))).collect();
        assert_eq!(seen.len() + held.len(), LISTS.len());
        assert!(seen.is_disjoint(&held) && seen.len() >= 40, "{} {}", seen.len(), held.len());
    }
}
