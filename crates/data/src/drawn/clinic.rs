//! Patients who are ill or not, of whom a picture and a row of numbers each tell a half.
//!
//! ```text
//! logit = 1.2 z_image + 1.2 z_table + 2.5 z_image z_table - 0.2
//! ```
//!
//! `z_image` is how large the nucleus of a cell is as compared with the cell, `z_table` what the column
//! `marker` holds; both are standard normal. Nobody who knows the true probabilities reaches more than an
//! AUC of .659 from either alone, or .866 from both: what one means depends on the other.

use sensorium_media::table::{Cell, Column, Kind, Table};
use sensorium_media::{Media, Picture};
use serde::{Deserialize, Serialize};

use crate::OpenOptions;
use crate::drawn::conversation::Turn;
use crate::drawn::look::{Color, Fill, Look, Shape, Size};
use crate::drawn::question::yes_no;
use crate::drawn::scene::{Background, Object, Scene};
use sensorium_kernels::rng::Rng;

/// What is left out of the examples, to measure what the rest alone tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Without {
    /// Only the table is there.
    Picture,
    /// Only the picture is there.
    Table,
}

/// What decides whether someone is ill.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patient {
    /// What only the picture tells.
    pub z_image: f64,
    /// What only the table tells.
    pub z_table: f64,
    /// Drawn with [`Patient::probability`].
    pub ill: bool,
}

impl Patient {
    fn random(rng: &mut Rng) -> Self {
        let mut patient = Self { z_image: rng.normal(), z_table: rng.normal(), ill: false };
        patient.ill = rng.uniform() < patient.probability();
        patient
    }

    /// How likely someone like this is ill.
    pub fn probability(&self) -> f64 {
        let Self { z_image, z_table, .. } = *self;
        let logit = 1.2 * z_image + 1.2 * z_table + 2.5 * z_image * z_table - 0.2;
        1.0 / (1.0 + (-logit).exp())
    }

    /// A cell on a plain background, its nucleus a darker disc: its radius is from a quarter to three
    /// quarters of the cell's, larger by an eleventh for each standard deviation.
    fn picture(&self, size: u32, rng: &mut Rng) -> Picture {
        let background = Background::random(rng);
        let color = rng.pick(&[Color::Purple, Color::Red, Color::Blue, Color::Teal]);
        let look = Look { shape: Shape::Circle, color, size: Size::Large, fill: Fill::Solid };
        let Some(disc) = Scene::compose(&[look], rng).objects.pop() else {
            return Picture::filled(size, size, background.top);
        };
        let radius = rng.between(0.3, 0.4);
        let cell = Object {
            x: rng.between(radius, 1.0 - radius),
            y: rng.between(radius, 1.0 - radius),
            radius,
            rgb: disc.rgb.map(|c| 255 - (255 - c) / 3),
            ..disc
        };
        let share = (0.5 + self.z_image as f32 / 11.0).clamp(0.25, 0.75);
        // It may lie anywhere within the cell.
        let (free, turn) = (0.9 * radius * (1.0 - share) * rng.f32(), rng.between(0.0, 6.3));
        let (x, y) = (cell.x + free * turn.cos(), cell.y + free * turn.sin());
        let nucleus = Object { x, y, radius: radius * share, rgb: disc.rgb, ..cell };
        Scene { background, objects: vec![cell, nucleus] }.render(size)
    }

    /// One row: the marker, and what tells nothing, in random order.
    fn table(&self, rng: &mut Rng) -> Table {
        let number = |x: f64| Cell::Number((10.0 * x).round() / 10.0);
        let word = |text: &str| Cell::Category(text.to_owned());
        let mut cells = [
            ("marker", Kind::Number, number(50.0 + 12.0 * self.z_table)),
            ("age", Kind::Number, Cell::Number(rng.range(18, 90) as f64)),
            ("weight", Kind::Number, number(72.0 + 12.0 * rng.normal())),
            ("sex", Kind::Category, word(rng.pick(&["female", "male"]))),
            ("site", Kind::Category, word(rng.pick(&["north", "south", "east", "west"]))),
        ];
        rng.shuffle(&mut cells);
        let column = |name: &str, kind| Column { name: name.into(), kind, unit: None, missing: 0 };
        let schema = cells.iter().map(|(name, kind, _)| column(name, *kind)).collect();
        Table { schema, rows: vec![cells.map(|(.., cell)| cell).to_vec()] }
    }
}

/// Patient `index`: the picture, the table, what is left out aside, and whether they are ill.
pub(crate) fn talk(
    options: &OpenOptions,
    index: u64,
    without: Option<Without>,
) -> (Vec<Media>, Vec<Turn>) {
    let rng = &mut options.split.rng(18, options.seed, index);
    let patient = Patient::random(rng);
    let question = rng.pick(&["is it ill?", "is the patient ill?", "ill or not: is it ill?"]);
    let picture = Media::Image(patient.picture(options.picture_size, rng));
    let table = Media::Table(patient.table(rng));
    let media = match without {
        None => vec![picture, table],
        Some(Without::Picture) => vec![table],
        Some(Without::Table) => vec![picture],
    };
    (media, vec![[question.to_owned(), yes_no(patient.ill)]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drawn::scene::Split;
    use sensorium_media::Modality;

    const OPTIONS: OpenOptions =
        OpenOptions { seed: 5, split: Split::Train, val_share: 0.0, picture_size: 64 };

    fn patients(count: u64) -> Vec<Patient> {
        (0..count).map(|index| Patient::random(&mut Split::Val.rng(18, 5, index))).collect()
    }

    /// How often a random ill patient scores above a random other one (Mann and Whitney).
    fn auc(patients: &[Patient], score: impl Fn(&Patient) -> f64) -> f64 {
        let mut scored: Vec<_> = patients.iter().map(|p| (score(p), p.ill)).collect();
        scored.sort_by(|a, b| a.0.total_cmp(&b.0));
        let ill = scored.iter().filter(|(_, ill)| *ill).count() as f64;
        let ranks = (1..).zip(&scored).filter(|(_, (_, ill))| *ill).map(|(rank, _)| rank as f64);
        (ranks.sum::<f64>() - ill * (ill + 1.0) / 2.0) / (ill * (scored.len() as f64 - ill))
    }

    /// The probability where `z` of one half is known: the mean over the other's normal density.
    fn alone(z: f64) -> f64 {
        let points = (-40..=40).map(|n| f64::from(n) / 10.0);
        let weigh = |other: f64| (-other * other / 2.0).exp();
        let ill = |z_table: f64| Patient { z_image: z, z_table, ill: false }.probability();
        points.clone().map(|x| weigh(x) * ill(x)).sum::<f64>() / points.map(weigh).sum::<f64>()
    }

    #[test]
    fn either_alone_tells_little_and_both_tell_much() {
        let patients = patients(100_000);
        let cases = [
            ("joint", auc(&patients, Patient::probability), 0.866),
            ("image", auc(&patients, |p| alone(p.z_image)), 0.659),
            ("table", auc(&patients, |p| alone(p.z_table)), 0.659),
        ];
        for (name, got, expected) in cases {
            assert!((got - expected).abs() < 0.005, "{name}: {got}");
        }
        // The formula treats both halves alike, and nearly half are ill.
        let share = patients.iter().filter(|p| p.ill).count() as f64 / 100_000.0;
        assert!((0.46..0.54).contains(&share), "{share}");
    }

    /// The marker gives `z_table` back, the share of the cell that is dark `z_image`; nothing else does.
    #[test]
    fn each_half_is_read_from_its_own_medium() {
        let (mut dark, mut z) = (Vec::new(), Vec::new());
        for index in 0..400 {
            let (media, _) = talk(&OPTIONS, index, None);
            let patient = Patient::random(&mut Split::Train.rng(18, 5, index));
            let [Media::Image(picture), Media::Table(table)] = &media[..] else { panic!("two") };
            let at = table.schema.iter().position(|c| c.name == "marker").expect("a marker");
            let Cell::Number(marker) = table.rows[0][at] else { panic!("a number") };
            assert!((marker - 50.0 - 12.0 * patient.z_table).abs() < 0.06);
            let tint =
                |n: usize| picture.pixels[3 * n..3 * n + 3].iter().min().copied().unwrap_or(255);
            let tints: Vec<u8> = (0..64 * 64).map(tint).collect();
            // The nucleus is the darkest, what is around the cell the lightest.
            let darkest = tints.iter().min().copied().unwrap_or(0);
            let nucleus = tints.iter().filter(|t| **t <= darkest.saturating_add(20)).count() as f64;
            let cell = tints.iter().filter(|t| **t <= 200).count() as f64;
            dark.push((nucleus / cell).sqrt());
            z.push(patient.z_image);
        }
        let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
        let with = |a: &[f64], b: &[f64]| {
            let (ma, mb) = (mean(a), mean(b));
            a.iter().zip(b).map(|(a, b)| (a - ma) * (b - mb)).sum::<f64>()
        };
        let correlation = with(&dark, &z) / (with(&dark, &dark) * with(&z, &z)).sqrt();
        assert!(correlation > 0.9, "{correlation}");
    }

    #[test]
    fn a_half_may_be_left_out_of_the_same_patients() {
        let kinds = |without| {
            let (media, turns) = talk(&OPTIONS, 7, without);
            (media.iter().map(Media::modality).collect::<Vec<_>>(), turns)
        };
        let (both, turns) = kinds(None);
        assert_eq!(both, [Modality::Image, Modality::Table]);
        assert_eq!(kinds(Some(Without::Picture)), (vec![Modality::Table], turns.clone()));
        assert_eq!(kinds(Some(Without::Table)), (vec![Modality::Image], turns));
    }
}
