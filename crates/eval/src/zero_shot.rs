//! Composition: naming the colour and the shape of one object among all 90 pairs, nine of which no
//! training picture holds.

use rayon::prelude::*;
use sensorium_data::look::{Color, Look, Shape};
use sensorium_data::rng::Rng;
use sensorium_data::scene::{Scene, Split};
use sensorium_inference::{EmbeddingModel, embed_labels};

use crate::error::Result;
use crate::figure::Figure;
use crate::report::Report;
use crate::{Settings, label};

/// Pictures drawn and embedded at once: bounds memory whatever the number of items.
const CHUNK: usize = 64;

/// Stream of random numbers of the pictures of all pairs; no split draws from it.
const STREAM: u64 = 0x5A5;

/// Accuracy on pictures of held-out pairs and on pictures of all pairs, 2,000 each by default.
pub fn measure(model: &dyn EmbeddingModel, settings: &Settings<'_>) -> Result<Report> {
    let n = settings.samples_or(2000);
    let names: Vec<String> =
        pairs().map(|(color, shape)| format!("{} {}", color.name(), shape.name())).collect();
    let labels = embed_labels(model, &names, &model.templates())?;
    let chance = 1.0 / labels.len() as f64;

    let held_out = |i| Scene::random(Split::HeldOut, settings.seed, i, 1);
    let rows: [(&str, &(dyn Fn(u64) -> Scene + Sync)); 2] =
        [("held-out pairs", &held_out), ("all pairs", &|i| any_pair(settings.seed, i))];
    let mut figures = Vec::new();
    for (row, (task, scene)) in rows.into_iter().enumerate() {
        let done = |i| (settings.progress)(row * n + i, 2 * n);
        let shown = Shown { n, size: settings.size, scene };
        let right = count_right(model, &labels, &shown, &done)?;
        figures.push(Figure::new(task, "top-1 of 90", [right, n], chance));
    }
    Ok(Report {
        name: "zero-shot".to_owned(),
        data: "pictures of one drawn object".to_owned(),
        seed: settings.seed,
        figures,
        notes: vec![
            "colours and shapes of held-out pairs occur in training, but never together in a picture"
                .to_owned(),
        ],
    })
}

/// Pictures that are shown.
struct Shown<'a> {
    n: usize,
    size: u32,
    scene: &'a (dyn Fn(u64) -> Scene + Sync),
}

fn pairs() -> impl Iterator<Item = (Color, Shape)> {
    Color::ALL.into_iter().flat_map(|color| Shape::ALL.map(|shape| (color, shape)))
}

/// Picture `index` shows pair `index` modulo 90, so that all are equally frequent.
fn any_pair(seed: u64, index: u64) -> Scene {
    let rng = &mut Rng::at(seed, STREAM, index);
    let (color, shape) = pairs().nth((index % 90) as usize).unwrap_or((Color::Red, Shape::Circle));
    Scene::compose(&[Look { color, shape, ..Look::random(rng) }], rng)
}

fn count_right(
    model: &dyn EmbeddingModel,
    labels: &[Vec<f32>],
    &Shown { n, size, scene }: &Shown<'_>,
    done: &dyn Fn(usize),
) -> Result<usize> {
    let mut right = 0;
    for start in (0..n).step_by(CHUNK) {
        let scenes: Vec<Scene> =
            (start..n.min(start + CHUNK)).into_par_iter().map(|i| scene(i as u64)).collect();
        let pictures: Vec<_> = scenes.par_iter().map(|scene| scene.render(size)).collect();
        let embedded = model.embed_pictures(&pictures)?;
        right += embedded
            .iter()
            .zip(&scenes)
            .filter(|(picture, scene)| truth(scene) == Some(label::nearest(picture, labels)))
            .count();
        done(start + scenes.len());
    }
    Ok(right)
}

/// Position of the scene's pair in [`pairs`].
fn truth(scene: &Scene) -> Option<usize> {
    let object = scene.objects.first()?;
    pairs().position(|pair| pair == (object.color, object.shape))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pairs_are_equally_frequent() {
        let seen: Vec<_> = (0..180).map(|i| truth(&any_pair(1, i))).collect();
        assert!((0..180).all(|i| seen[i] == Some(i % 90)));
        assert_eq!(any_pair(1, 5), any_pair(1, 5));
    }

    #[test]
    fn held_out_pictures_show_one_held_out_pair() {
        for i in 0..50 {
            let scene = Scene::random(Split::HeldOut, 1, i, 1);
            assert!(scene.objects.len() == 1 && scene.objects[0].look().is_held_out());
        }
    }
}
