//! One builder per kind: choose question and answer, then a scene that makes it true.

use super::{Asked, Kind, templates};
use crate::drawn::caption::{Phrasing, frame, place, relation_words};
use crate::drawn::look::{Color, Fill, Look, Shape, Size, held_out};
use crate::drawn::scene::{Background, Object, Paper, Relation, Scene, Split};
use crate::drawn::words::{NUMBERS, with_article};
use sensorium_kernels::rng::Rng;

/// What all builders need.
pub(super) struct Ask {
    pub split: Split,
    pub phrasing: Phrasing,
    pub most: usize,
}

/// What a question names: a colour, a shape, or both.
#[derive(Clone, Copy)]
pub(super) enum Name {
    Color(Color),
    Shape(Shape),
    Both(Color, Shape),
}

impl Name {
    /// A name for this look; both words half of the time.
    pub(super) fn of(look: &Look, rng: &mut Rng) -> Self {
        match rng.below(4) {
            0 => Self::Color(look.color),
            1 => Self::Shape(look.shape),
            _ => Self::Both(look.color, look.shape),
        }
    }

    pub(super) fn fits(self, look: &Look) -> bool {
        match self {
            Self::Color(color) => look.color == color,
            Self::Shape(shape) => look.shape == shape,
            Self::Both(color, shape) => look.color == color && look.shape == shape,
        }
    }

    pub(super) fn words(self) -> String {
        match self {
            Self::Color(color) => format!("{} shape", color.name()),
            Self::Shape(shape) => shape.name().to_owned(),
            Self::Both(color, shape) => format!("{} {}", color.name(), shape.name()),
        }
    }

    pub(super) fn plural(self) -> String {
        match self {
            Self::Color(color) => format!("{} shapes", color.name()),
            Self::Shape(shape) => shape.plural().to_owned(),
            Self::Both(color, shape) => format!("{} {}", color.name(), shape.plural()),
        }
    }
}

pub(crate) fn yes_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

/// The parts `{x}` and `{a x}`.
pub(super) fn noun(
    x: &'static str,
    with: &'static str,
    words: &str,
) -> [(&'static str, String); 2] {
    [(with, with_article(words)), (x, words.to_owned())]
}

impl Ask {
    /// A question of this kind, or nothing when the objects drawn for it did not fit.
    pub(super) fn about(&self, kind: Kind, rng: &mut Rng) -> Option<Asked> {
        match kind {
            Kind::Color => self.color(rng),
            Kind::OnlyColor | Kind::EasyVqa => Some(self.only_color(rng)),
            Kind::Shape => self.shape(rng),
            Kind::OnlyShape => Some(self.only_shape(rng)),
            Kind::Count => self.count(4, rng),
            Kind::CountAny => self.count(6, rng),
            Kind::Exists => self.exists(false, rng),
            Kind::Negation => self.exists(true, rng),
            Kind::Both => self.both(rng),
            Kind::Relation => self.relation(rng),
            Kind::Side => self.side(rng),
            Kind::Neighbour => self.neighbour(rng),
            Kind::Size => self.size(rng),
            Kind::Fill => self.fill(rng),
            Kind::Larger => self.larger(rng),
            Kind::More => self.more(rng),
            Kind::Where => self.whereabouts(rng),
            Kind::Choose => self.choose(rng),
            Kind::Same => self.same(rng),
            Kind::Background => Some(self.background(rng)),
        }
    }

    fn frame(&self, all: &[&'static str], rng: &mut Rng) -> &'static str {
        frame(all, self.phrasing, rng)
    }

    /// `looks` and up to `most` objects in all, the others accepted by `keep`, in random order.
    fn crowd(&self, looks: &[Look], rng: &mut Rng, keep: impl Fn(&Look) -> bool) -> Option<Scene> {
        let mut looks = looks.to_vec();
        let total = rng.range(looks.len().max(1), self.most.max(looks.len()));
        while looks.len() < total {
            looks.push(Split::look(rng, &keep)?);
        }
        rng.shuffle(&mut looks);
        Some(Scene::compose(&looks, rng))
    }

    fn color(&self, rng: &mut Rng) -> Option<Asked> {
        let look = self.split.target(rng);
        let scene = self.crowd(&[look], rng, |other| other.shape != look.shape)?;
        let parts = vec![("{x}", self.noun(&scene, look.shape, rng).to_owned())];
        let template = self.frame(templates::COLOR, rng);
        let answer = look.color.name().to_owned();
        Some(Asked { scene, template, parts, answer, choices: 9 })
    }

    /// "square" for half of the lone squares, so that people may say so.
    fn noun(&self, scene: &Scene, shape: Shape, rng: &mut Rng) -> &'static str {
        let object = scene.objects.iter().find(|o| o.shape == shape);
        match object {
            Some(object) if object.is_square() && rng.chance(0.5) => "square",
            _ => shape.name(),
        }
    }

    pub(super) fn only_color(&self, rng: &mut Rng) -> Asked {
        let look = self.split.target(rng);
        let word = rng.pick(&["shape", "shape", "object", "thing"]);
        let scene = Scene::compose(&[look], rng);
        let parts = vec![("{x}", word.to_owned())];
        let template = self.frame(templates::COLOR, rng);
        Asked { scene, template, parts, answer: look.color.name().to_owned(), choices: 10 }
    }

    fn shape(&self, rng: &mut Rng) -> Option<Asked> {
        let look = self.target_by_color(rng);
        let scene = self.crowd(&[look], rng, |other| other.color != look.color)?;
        let parts = vec![("{x}", look.color.name().to_owned())];
        let template = self.frame(templates::SHAPE, rng);
        let choices = Shape::ALL.iter().filter(|&&shape| !held_out(look.color, shape)).count();
        Some(Asked { scene, template, parts, answer: look.shape.name().to_owned(), choices })
    }

    /// A target whose colour, not shape, is drawn first: every colour asks for all its shapes.
    fn target_by_color(&self, rng: &mut Rng) -> Look {
        let mut look = self.split.target(rng);
        if self.split != Split::HeldOut {
            look.color = rng.pick(&Color::ALL);
            while look.is_held_out() {
                look.shape = rng.pick(&Shape::ALL);
            }
        }
        look
    }

    fn only_shape(&self, rng: &mut Rng) -> Asked {
        let look = self.split.target(rng);
        let scene = Scene::compose(&[look], rng);
        let template = self.frame(templates::ONLY_SHAPE, rng);
        let answer = look.shape.name().to_owned();
        Asked { scene, template, parts: Vec::new(), answer, choices: 9 }
    }

    fn count(&self, top: usize, rng: &mut Rng) -> Option<Asked> {
        let top = top.min(self.most);
        let look = self.split.target(rng);
        let any = rng.chance(0.15);
        let name = Name::of(&look, rng);
        let count = rng.range(usize::from(any), top);
        let mut looks = Vec::new();
        while looks.len() < count {
            let first = looks.is_empty() && self.split == Split::HeldOut;
            let fits = |other: &Look| any || name.fits(other);
            let other = Split::look(rng, fits);
            looks.push(if first { look } else { other.unwrap_or(look) });
        }
        rng.shuffle(&mut looks);
        let scene = if any {
            Scene::compose(&looks, rng)
        } else {
            self.crowd_of(&looks, rng, |other| !name.fits(other))?
        };
        let noun =
            if any { rng.pick(&["shapes", "objects", "things"]).to_owned() } else { name.plural() };
        let template = self.frame(templates::COUNT, rng);
        let answer = NUMBERS[count].to_owned();
        let choices = if any { top } else { top + 1 };
        Some(Asked { scene, template, parts: vec![("{s}", noun)], answer, choices })
    }

    /// [`Self::crowd`] with at least one object, however few looks there are.
    fn crowd_of(
        &self,
        looks: &[Look],
        rng: &mut Rng,
        keep: impl Fn(&Look) -> bool,
    ) -> Option<Scene> {
        if looks.is_empty() {
            let first = Split::look(rng, &keep)?;
            return self.crowd(&[first], rng, keep);
        }
        self.crowd(looks, rng, keep)
    }

    fn exists(&self, negated: bool, rng: &mut Rng) -> Option<Asked> {
        let look = self.split.target(rng);
        let name = Name::of(&look, rng);
        let there = rng.chance(0.5);
        let scene = match (there, name) {
            (true, _) => self.crowd(&[look], rng, |_| true)?,
            // The hard way to be absent: one object of the colour, another of the shape.
            (false, Name::Both(color, shape)) if self.most > 1 && rng.chance(0.6) => {
                let near = [
                    Split::look(rng, |o| o.color == color && o.shape != shape)?,
                    Split::look(rng, |o| o.color != color && o.shape == shape)?,
                ];
                self.crowd(&near, rng, |other| !name.fits(other))?
            }
            (false, _) => self.crowd_of(&[], rng, |other| !name.fits(other))?,
        };
        let all = if negated { templates::NEGATION } else { templates::EXISTS };
        let parts = noun("{x}", "{a x}", &name.words()).to_vec();
        let template = self.frame(all, rng);
        Some(Asked { scene, template, parts, answer: yes_no(there != negated), choices: 2 })
    }

    /// Two looks that differ in colour and in shape; both swapped pairs may be drawn in training.
    fn two(&self, rng: &mut Rng) -> Option<[Look; 2]> {
        let one = self.split.target(rng);
        let fits = |o: &Look| {
            let swapped = [Look { color: o.color, ..one }, Look { color: one.color, ..*o }];
            o.color != one.color && o.shape != one.shape && !swapped.iter().any(Look::is_held_out)
        };
        let two = Split::look(rng, fits)?;
        let mut looks = [one, two];
        rng.shuffle(&mut looks);
        Some(looks)
    }

    fn both(&self, rng: &mut Rng) -> Option<Asked> {
        let asked = self.two(rng)?;
        let [one, two] = asked;
        let yes = rng.chance(0.5);
        let mut shown = asked;
        if !yes {
            match rng.below(4) {
                0 => shown[0] = Split::look(rng, |o| o.color != one.color || o.shape != one.shape)?,
                1 => shown[1] = Split::look(rng, |o| o.color != two.color || o.shape != two.shape)?,
                _ => (shown[0].color, shown[1].color) = (two.color, one.color),
            }
        }
        let is = |a: &Look, b: &Look| a.color == b.color && a.shape == b.shape;
        // Others must not make up for what was taken away.
        let scene = self.crowd(&shown, rng, |o| yes || !(is(o, &one) || is(o, &two)))?;
        let name = |look: &Look| Name::Both(look.color, look.shape).words();
        let mut parts = noun("{x}", "{a x}", &name(&one)).to_vec();
        parts.extend(noun("{y}", "{a y}", &name(&two)));
        let template = self.frame(templates::BOTH, rng);
        Some(Asked { scene, template, parts, answer: yes_no(yes), choices: 2 })
    }

    fn relation(&self, rng: &mut Rng) -> Option<Asked> {
        let looks = self.two(rng)?;
        let relation = rng.pick(&Relation::ALL);
        let yes = rng.chance(0.5);
        let holds = if yes { relation } else { relation.opposite() };
        let [(a, x), (b, y)] = self.named(&looks, rng);
        let scene = self.related(&looks, [a, b], holds, rng)?;
        let parts = vec![("{x}", x), ("{y}", y), ("{r}", relation_words(relation, rng).to_owned())];
        let template = self.frame(templates::RELATION, rng);
        Some(Asked { scene, template, parts, answer: yes_no(yes), choices: 2 })
    }

    fn side(&self, rng: &mut Rng) -> Option<Asked> {
        let looks = self.two(rng)?;
        let holds = rng.pick(&Relation::ALL);
        let [(a, x), (b, y)] = self.named(&looks, rng);
        let scene = self.related(&looks, [a, b], holds, rng)?;
        let parts = vec![("{x}", x), ("{y}", y), ("{r}", holds.either().to_owned())];
        let template = self.frame(templates::SIDE, rng);
        Some(Asked { scene, template, parts, answer: holds.side().to_owned(), choices: 2 })
    }

    /// A crowd in which two looks, alone with their names, lie so.
    fn related(
        &self,
        looks: &[Look; 2],
        [a, b]: [Name; 2],
        holds: Relation,
        rng: &mut Rng,
    ) -> Option<Scene> {
        let keep = |o: &Look| !a.fits(o) && !b.fits(o);
        self.arranged(looks, rng, keep, |scene| {
            let [one, two] = find(scene, [a, b])?;
            Some(holds.holds(one, two))
        })
    }

    /// Names for two looks that differ in colour and shape, each by colour and shape or by shape.
    fn named(&self, looks: &[Look; 2], rng: &mut Rng) -> [(Name, String); 2] {
        let short = rng.chance(0.3);
        looks.map(|look| {
            let name =
                if short { Name::Shape(look.shape) } else { Name::Both(look.color, look.shape) };
            (name, name.words())
        })
    }

    /// A crowd around `looks` whose places `accept`; a handful of layouts are tried.
    fn arranged(
        &self,
        looks: &[Look],
        rng: &mut Rng,
        keep: impl Fn(&Look) -> bool,
        accept: impl Fn(&Scene) -> Option<bool>,
    ) -> Option<Scene> {
        (0..20)
            .find_map(|_| self.crowd(looks, rng, &keep).filter(|scene| accept(scene) == Some(true)))
    }

    fn neighbour(&self, rng: &mut Rng) -> Option<Asked> {
        let [one, two] = self.two(rng)?;
        let relation = rng.pick(&Relation::ALL);
        let (a, b) = (Name::Both(one.color, one.shape), Name::Both(two.color, two.shape));
        let keep = |o: &Look| !a.fits(o) && !b.fits(o);
        let scene = self.arranged(&[one, two], rng, keep, |scene| {
            let [answer, anchor] = find(scene, [a, b])?;
            // The answer plainly lies there and nothing else does, not even barely.
            let others = scene.count(|o| relation.distance(o, anchor) > 0.02);
            Some(relation.holds(answer, anchor) && others == 1)
        })?;
        let parts = vec![("{y}", b.words()), ("{r}", relation_words(relation, rng).to_owned())];
        let template = self.frame(templates::NEIGHBOUR, rng);
        let answer = with_article(&a.words());
        Some(Asked { scene, template, parts, answer, choices: 63 })
    }

    /// One object with a name that nothing else answers to.
    fn lone(&self, edit: impl Fn(&mut Look), rng: &mut Rng) -> Option<(Scene, String)> {
        let mut look = self.split.target(rng);
        edit(&mut look);
        let name = Name::of(&look, rng);
        let scene = self.crowd(&[look], rng, |other| !name.fits(other))?;
        Some((scene, name.words()))
    }

    fn size(&self, rng: &mut Rng) -> Option<Asked> {
        let size = rng.pick(&Size::ALL);
        let (scene, x) = self.lone(|look| look.size = size, rng)?;
        let template = self.frame(templates::SIZE, rng);
        let answer = size.name().to_owned();
        Some(Asked { scene, template, parts: vec![("{x}", x)], answer, choices: 3 })
    }

    fn fill(&self, rng: &mut Rng) -> Option<Asked> {
        let fill = rng.pick(&Fill::ALL);
        let (scene, x) = self.lone(|look| look.fill = fill, rng)?;
        let template = self.frame(templates::FILL, rng);
        let answer = fill.name().to_owned();
        Some(Asked { scene, template, parts: vec![("{x}", x)], answer, choices: 3 })
    }

    fn larger(&self, rng: &mut Rng) -> Option<Asked> {
        let mut looks = self.two(rng)?;
        let small = rng.below(2);
        let large = rng.range(small + 1, 2);
        let (yes, up) = (rng.chance(0.5), rng.chance(0.6));
        let first_is_larger = yes == up;
        looks[usize::from(first_is_larger)].size = Size::ALL[small];
        looks[usize::from(!first_is_larger)].size = Size::ALL[large];
        let [(a, x), (b, y)] = self.named(&looks, rng);
        let scene = self.crowd(&looks, rng, |o| !a.fits(o) && !b.fits(o))?;
        let (more, much) = if up {
            rng.pick(&[("larger", "large"), ("bigger", "big")])
        } else {
            ("smaller", "small")
        };
        let parts =
            vec![("{x}", x), ("{y}", y), ("{more}", more.to_owned()), ("{much}", much.to_owned())];
        let template = self.frame(templates::LARGER, rng);
        Some(Asked { scene, template, parts, answer: yes_no(yes), choices: 2 })
    }

    fn more(&self, rng: &mut Rng) -> Option<Asked> {
        let [one, two] = self.two(rng)?;
        let by_color = rng.chance(0.4);
        let name = |l: &Look| {
            if by_color { Name::Color(l.color) } else { Name::Shape(l.shape) }
        };
        let (s, t) = (name(&one), name(&two));
        let top = self.most.min(4);
        let large = rng.range(1, top);
        let small = rng.below((large).min(self.most - large + 1));
        let yes = rng.chance(0.5);
        // One "no" in five is a draw.
        let draw = !yes && large * 2 <= self.most && rng.chance(0.2);
        let counts = match (yes, draw) {
            (true, _) => [large, small],
            (false, true) => [large, large],
            (false, false) => [small, large],
        };
        let mut looks = Vec::new();
        for (name, count, first, other) in [(s, counts[0], one, t), (t, counts[1], two, s)] {
            for n in 0..count {
                let next = Split::look(rng, |o| name.fits(o) && !other.fits(o))?;
                looks.push(if n == 0 { first } else { next });
            }
        }
        let scene = self.crowd_of(&looks, rng, |o| !s.fits(o) && !t.fits(o))?;
        let parts = vec![("{s}", s.plural()), ("{t}", t.plural())];
        let template = self.frame(templates::MORE, rng);
        Some(Asked { scene, template, parts, answer: yes_no(yes), choices: 2 })
    }

    fn whereabouts(&self, rng: &mut Rng) -> Option<Asked> {
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
        let wanted = rng.pick(&PLACES);
        let look = self.split.target(rng);
        let name = Name::of(&look, rng);
        let keep = |o: &Look| !name.fits(o);
        let scene = (0..10).find_map(|_| {
            self.arranged(&[look], rng, keep, |scene| {
                let object = scene.objects.iter().find(|o| name.fits(&o.look()))?;
                Some(place(object) == wanted && plainly_placed(object))
            })
        })?;
        let parts = vec![("{x}", name.words())];
        let template = self.frame(templates::WHERE, rng);
        Some(Asked { scene, template, parts, answer: wanted.to_owned(), choices: 9 })
    }

    fn choose(&self, rng: &mut Rng) -> Option<Asked> {
        let look = self.split.target(rng);
        // Both colours must be possible for this shape, or the pair would give the answer away.
        let fits = |o: &Look| o.shape == look.shape && o.color != look.color;
        let other = Split::look(rng, fits)?.color;
        let mut colors = [look.color, other];
        rng.shuffle(&mut colors);
        let scene = self.crowd(&[look], rng, |o| o.shape != look.shape)?;
        let [c, d] = colors.map(|color| color.name().to_owned());
        let parts = vec![("{x}", look.shape.name().to_owned()), ("{c}", c), ("{d}", d)];
        let template = self.frame(templates::CHOOSE, rng);
        let answer = look.color.name().to_owned();
        Some(Asked { scene, template, parts, answer, choices: 2 })
    }

    fn same(&self, rng: &mut Rng) -> Option<Asked> {
        let one = self.split.target(rng);
        let key = rng.pick(&["colour", "shape", "size"]);
        let yes = rng.chance(0.5);
        let two = Split::look(rng, |o| {
            yes == match key {
                "colour" => o.color == one.color,
                "shape" => o.shape == one.shape,
                _ => o.size == one.size,
            }
        })?;
        let mut looks = [one, two];
        rng.shuffle(&mut looks);
        let scene = Scene::compose(&looks, rng);
        let parts = vec![("{k}", key.to_owned())];
        let template = self.frame(templates::SAME, rng);
        Some(Asked { scene, template, parts, answer: yes_no(yes), choices: 2 })
    }

    fn background(&self, rng: &mut Rng) -> Asked {
        let paper = rng.pick(&Paper::NAMED);
        let count = rng.range(1, self.most);
        let mut scene = Scene::with_count(self.split, count, rng);
        scene.background = Background::new(paper, rng);
        let template = self.frame(templates::BACKGROUND, rng);
        let answer = paper.name().to_owned();
        Asked { scene, template, parts: Vec::new(), answer, choices: 6 }
    }
}

/// The objects that two names mean.
pub(super) fn find(scene: &Scene, names: [Name; 2]) -> Option<[&Object; 2]> {
    let object = |name: Name| scene.objects.iter().find(|o| name.fits(&o.look()));
    Some([object(names[0])?, object(names[1])?])
}

/// Whether a centre lies well inside its ninth of the picture.
pub(super) fn plainly_placed(object: &Object) -> bool {
    let clear = |v: f32| (v - 1.0 / 3.0).abs() > 0.03 && (v - 2.0 / 3.0).abs() > 0.03;
    clear(object.x) && clear(object.y)
}
