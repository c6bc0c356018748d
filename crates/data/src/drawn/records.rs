//! Tables with captions and questions: a row for each object of a drawn scene, columns in any order;
//! sometimes a column is left out, or nothing stands in a cell.

use sensorium_media::Media;
use sensorium_media::table::{Cell, Column, Kind as Holds, Table};

use crate::drawn::caption::Phrasing;
use crate::drawn::conversation::{Focus, Turn, ask_on};
use crate::drawn::look::Shape;
use crate::drawn::question::{self, Kind};
use crate::drawn::scene::{Object, Scene, Split, concept};
use crate::drawn::words::{NUMBERS, listed, with_article};
use crate::{Example, OpenOptions};
use sensorium_kernels::rng::Rng;

/// The most rows of a table.
pub const MOST_ROWS: usize = 4;
/// Questions end when this many words have been said.
const WORDS: usize = 45;

/// The columns; those that come first are words.
const COLUMNS: [&str; 5] = ["colour", "shape", "size", "x", "y"];
const COLOR: usize = 0;
const SHAPE: usize = 1;
const SIZE: usize = 2;

/// The questions about scenes that a table answers.
const TOLD: [Kind; 16] = [
    Kind::Color,
    Kind::OnlyColor,
    Kind::Shape,
    Kind::OnlyShape,
    Kind::Count,
    Kind::CountAny,
    Kind::Exists,
    Kind::Negation,
    Kind::Both,
    Kind::Relation,
    Kind::Side,
    Kind::Size,
    Kind::Larger,
    Kind::More,
    Kind::Choose,
    Kind::Same,
];

/// Frames around the objects.
const FRAMES: [&str; 8] = [
    "{o}",
    "{o}",
    "a table of {o}",
    "a table with {o}",
    "the table lists {o}",
    "the table shows {o}",
    "listed: {o}",
    "we read of {o}",
];

/// What of a scene is not in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// All is there.
    Nothing,
    /// A column.
    Column(usize),
    /// A cell of a row and a column.
    Cell([usize; 2]),
}

impl Gap {
    fn random(rows: usize, rng: &mut Rng) -> Self {
        match rng.below(3) {
            0 => Self::Nothing,
            1 => Self::Column(rng.below(COLUMNS.len())),
            _ => Self::Cell([rng.below(rows), rng.below(COLUMNS.len())]),
        }
    }

    fn hides(self, row: usize, column: usize) -> bool {
        self == Self::Column(column) || self == Self::Cell([row, column])
    }
}

/// Table `index` with its caption.
pub(crate) fn captioned(options: &OpenOptions, index: u64) -> Example {
    let rng = &mut options.split.rng(16, options.seed, index);
    let scene = random_scene(options.split, rng);
    let gap = Gap::random(scene.objects.len(), rng);
    let (frame, sized) = (rng.pick(&FRAMES), rng.chance(0.4));
    let told = |scene: &Scene| frame.replace("{o}", &objects(scene, gap, sized));
    let text = told(&scene);
    let negative = scene.twin().map(|twin| told(&twin)).filter(|false_text| *false_text != text);
    Example {
        media: vec![Media::Table(table(&scene, gap, rng))],
        negatives: negative.into_iter().collect(),
        text: Some(text),
        group: concept(&scene),
        ..Example::default()
    }
}

/// Table `index` of those that are talked about: with the questions about scenes that it answers, or with
/// questions about its rows and columns.
pub(crate) fn talk(options: &OpenOptions, index: u64) -> (Vec<Media>, Vec<Turn>) {
    let rng = &mut options.split.rng(17, options.seed, index);
    let (scene, gap, turns) = if rng.chance(0.75) {
        let (scene, turns) = about_objects(options.split, rng);
        (scene, Gap::Nothing, turns)
    } else {
        let scene = random_scene(options.split, rng);
        let gap = Gap::random(scene.objects.len(), rng);
        let turns = about_columns(scene.objects.len(), gap, rng);
        (scene, gap, turns)
    };
    (vec![Media::Table(table(&scene, gap, rng))], turns)
}

fn random_scene(split: Split, rng: &mut Rng) -> Scene {
    Scene::with_count(split, rng.range(1, MOST_ROWS), rng)
}

/// The scene's objects as rows, in random order of the columns.
fn table(scene: &Scene, gap: Gap, rng: &mut Rng) -> Table {
    let mut columns: Vec<usize> = (0..COLUMNS.len()).collect();
    columns.retain(|column| gap != Gap::Column(*column));
    rng.shuffle(&mut columns);
    let row = |(row, object): (usize, &Object)| {
        let stands = |&column: &usize| match gap.hides(row, column) {
            true => Cell::Missing,
            false => cell(object, column),
        };
        columns.iter().map(stands).collect()
    };
    let rows: Vec<Vec<Cell>> = scene.objects.iter().enumerate().map(row).collect();
    let column = |&column: &usize| Column {
        name: COLUMNS[column].to_owned(),
        kind: if column <= SIZE { Holds::Category } else { Holds::Number },
        unit: None,
        missing: usize::from(matches!(gap, Gap::Cell([_, hidden]) if hidden == column)),
    };
    Table { schema: columns.iter().map(column).collect(), rows }
}

/// What a table says of an object; places in hundredths of the picture's side.
fn cell(object: &Object, column: usize) -> Cell {
    let hundredths = |at: f32| Cell::Number(f64::from((100.0 * at).round()));
    match column {
        COLOR => Cell::Category(object.color.name().to_owned()),
        SHAPE => Cell::Category(object.shape.name().to_owned()),
        SIZE => Cell::Category(object.size.name().to_owned()),
        3 => hundredths(object.x),
        _ => hundredths(object.y),
    }
}

/// "a large red circle and two stars": what the table tells of each object, alike ones together.
fn objects(scene: &Scene, gap: Gap, sized: bool) -> String {
    let mut groups: Vec<(String, Option<Shape>, usize)> = Vec::new();
    for (row, object) in scene.objects.iter().enumerate() {
        let size = (sized && !gap.hides(row, SIZE)).then(|| object.size.name());
        let color = (!gap.hides(row, COLOR)).then(|| object.color.name());
        let words: String =
            [size, color].into_iter().flatten().map(|word| format!("{word} ")).collect();
        let shape = (!gap.hides(row, SHAPE)).then_some(object.shape);
        match groups.iter_mut().find(|(seen, of, _)| (seen, *of) == (&words, shape)) {
            Some((.., count)) => *count += 1,
            None => groups.push((words, shape, 1)),
        }
    }
    let group = |(words, shape, count): &(String, Option<Shape>, usize)| match count {
        1 => with_article(&format!("{words}{}", shape.map_or("shape", Shape::name))),
        _ => format!("{} {words}{}", NUMBERS[*count], shape.map_or("shapes", Shape::plural)),
    };
    listed(&groups.iter().map(group).collect::<Vec<_>>())
}

/// A scene that makes the answer to a first question true, and more questions, worded for tables.
fn about_objects(split: Split, rng: &mut Rng) -> (Scene, Vec<Turn>) {
    let (scene, first) = loop {
        let sample = question::make(rng.pick(&TOLD), split, Phrasing::Seen, MOST_ROWS, rng);
        if let Some(scene) = sample.scene() {
            break (scene.clone(), [sample.question, sample.answer]);
        }
    };
    let mut turns = vec![first];
    let focus = Focus { kinds: TOLD.to_vec(), share: 1.0, told: 0.0 };
    ask_on(&mut turns, &scene, WORDS, &focus, rng);
    let worded = |[question, answer]: Turn| {
        let of_tables = [("picture", "table"), ("image", "table"), ("square", "rectangle")];
        let words = of_tables.iter().fold(question, |text, (of, to)| text.replace(of, to));
        [words, answer]
    };
    (scene, turns.into_iter().map(worded).collect())
}

/// Questions about what the table itself is like, in random order.
fn about_columns(rows: usize, gap: Gap, rng: &mut Rng) -> Vec<Turn> {
    let (mut column, mut cell) = ("none", "none");
    match gap {
        Gap::Nothing => {}
        Gap::Column(missing) => column = COLUMNS[missing],
        Gap::Cell([_, empty]) => cell = COLUMNS[empty],
    }
    let asked = [
        (["how many rows are there?", "how many rows has the table?"], NUMBERS[rows]),
        (["which column is missing?", "what column is left out?"], column),
        (["in which column is a cell empty?", "which column has an empty cell?"], cell),
    ];
    let mut turns = asked.map(|(wordings, answer)| [rng.pick(&wordings).into(), answer.into()]);
    rng.shuffle(&mut turns);
    turns.to_vec()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::drawn::look::{Color, HELD_OUT};

    const TRAIN: OpenOptions =
        OpenOptions { seed: 5, split: Split::Train, val_share: 0.0, picture_size: 0 };

    fn shown(media: &[Media]) -> &Table {
        let Media::Table(table) = &media[0] else { panic!("a table") };
        table
    }

    /// What stands in a table's columns of this name.
    fn words<'a>(table: &'a Table, name: &str) -> Vec<&'a str> {
        let at = table.schema.iter().position(|column| column.name == name);
        let text = |row: &'a Vec<Cell>| match at.map(|at| &row[at]) {
            Some(Cell::Category(text)) => text.as_str(),
            _ => "",
        };
        table.rows.iter().map(text).collect()
    }

    #[test]
    fn tables_repeat_and_hold_what_their_schema_says() {
        for index in 0..500 {
            let (a, b) = (captioned(&TRAIN, index), captioned(&TRAIN, index));
            assert_eq!((&a.text, &a.media, &a.negatives), (&b.text, &b.media, &b.negatives));
            let table = shown(&a.media);
            assert!((1..=MOST_ROWS).contains(&table.rows.len()));
            for (n, column) in table.schema.iter().enumerate() {
                let cells = table.rows.iter().map(|row| &row[n]);
                assert_eq!(cells.clone().filter(|c| **c == Cell::Missing).count(), column.missing);
                let fits = |cell: &Cell| match cell {
                    Cell::Missing => true,
                    Cell::Number(_) => column.kind == Holds::Number,
                    _ => column.kind == Holds::Category,
                };
                assert!(table.rows.iter().all(|row| row.len() == table.schema.len()));
                assert!(cells.into_iter().all(fits), "{column:?}");
            }
        }
    }

    /// A caption names each colour as often as the table has it, and no other; negatives do not.
    #[test]
    fn captions_are_true_of_what_stands_there() {
        let mut negatives = 0;
        for index in 0..2_000 {
            let example = captioned(&TRAIN, index);
            let (table, text) = (shown(&example.media), example.text.expect("a caption"));
            let (colors, shapes) = (words(table, "colour"), words(table, "shape"));
            for color in Color::ALL {
                assert_eq!(text.contains(color.name()), colors.contains(&color.name()), "{text}");
            }
            for shape in Shape::ALL {
                assert_eq!(text.contains(shape.name()), shapes.contains(&shape.name()), "{text}");
            }
            assert!(example.negatives.iter().all(|negative| *negative != text));
            negatives += example.negatives.len();
        }
        assert!(negatives > 600, "{negatives}");
    }

    #[test]
    fn held_out_pairs_are_read_in_no_other_split() {
        let held = |split: Split| {
            let options = OpenOptions { split, ..TRAIN };
            (0..1_000).filter(move |index| {
                let tables = [captioned(&options, *index).media, talk(&options, *index).0];
                tables.iter().any(|media| {
                    let (colors, shapes) =
                        (words(shown(media), "colour"), words(shown(media), "shape"));
                    let pairs = colors.into_iter().zip(shapes);
                    let names = HELD_OUT.map(|(color, shape)| (color.name(), shape.name()));
                    pairs.into_iter().any(|pair| names.contains(&pair))
                })
            })
        };
        assert_eq!(held(Split::Train).count() + held(Split::Val).count(), 0);
        assert!(held(Split::HeldOut).count() > 850);
    }

    #[test]
    fn questions_are_worded_for_tables_and_balanced() {
        let mut tally: HashMap<&str, HashMap<String, f32>> = HashMap::new();
        for index in 0..12_000 {
            for (n, [question, answer]) in talk(&TRAIN, index).1.into_iter().enumerate() {
                assert!(!question.contains("picture") && !question.contains("image"), "{question}");
                let asked = match &*question {
                    "how many rows are there?" => "rows",
                    "which column is missing?" => "missing",
                    "which column has an empty cell?" => "empty",
                    _ if n == 0 && ["yes", "no"].contains(&&*answer) => "first, yes or no",
                    _ if ["yes", "no"].contains(&&*answer) => "later, yes or no",
                    _ if question.contains("what colour is the") => "colour",
                    _ => continue,
                };
                *tally.entry(asked).or_default().entry(answer).or_default() += 1.0;
            }
        }
        // The share of the most frequent answer: "none" is two thirds of what is missing or empty.
        let cases = [
            ("rows", 4, 0.25, 0.03),
            ("missing", 6, 0.667, 0.03),
            ("empty", 6, 0.667, 0.03),
            ("first, yes or no", 2, 0.5, 0.02),
            ("later, yes or no", 2, 0.5, 0.06),
            ("colour", 10, 0.1, 0.03),
        ];
        for (asked, choices, share, slack) in cases {
            let answers = &tally[asked];
            assert_eq!(answers.len(), choices, "{asked}: {answers:?}");
            let total: f32 = answers.values().sum();
            let most = answers.values().fold(0.0_f32, |most, n| most.max(*n)) / total;
            assert!((most - share).abs() < slack, "{asked}: {most} of {total}");
        }
    }
}
