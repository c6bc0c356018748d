//! Pictures with captions, for contrastive training and for captioning.

use crate::drawn::caption::{self, RELATED, Said};
use crate::drawn::conversation::{Focus, ask_on};
use crate::drawn::curriculum::{FIRST, most_objects};
use crate::drawn::icons::Icons;
use crate::drawn::scene::{Scene, Split, concept};

pub use crate::drawn::sample::Pair;

/// A pair's questions end when this many words have been said.
const WORDS: usize = 20;

/// Scene pair `index` of a split, drawn at `size` x `size` pixels.
pub fn scene_pair(split: Split, seed: u64, index: u64, progress: f32, size: u32) -> Pair {
    let mix = Mix { split, seed, size, icons: None, related: RELATED, objects: None };
    told(&scene(&mix, index, progress), &mix, index)
}

fn scene(mix: &Mix, index: u64, progress: f32) -> Scene {
    let Mix { split, seed, objects, .. } = *mix;
    if progress < FIRST {
        Scene::large(split, seed, index)
    } else {
        let most = most_objects(progress);
        Scene::random(split, seed, index, objects.map_or(most, |objects| objects.min(most)))
    }
}

/// A scene with what is said of it.
fn told(scene: &Scene, mix: &Mix, index: u64) -> Pair {
    let rng = &mut mix.split.rng(2, mix.seed, index);
    let Said { caption, gist, negatives, places } = caption::said(scene, mix.related, rng);
    let mut turns = Vec::new();
    ask_on(&mut turns, scene, WORDS, &Focus::default(), rng);
    turns.push([String::new(), caption::describe(scene, rng)]);
    let (picture, concept) = (scene.render(mix.size), concept(scene));
    let scene = Some(scene.clone());
    Pair { picture, caption, gist, turns, negatives, places, concept, scene }
}

/// Where pairs come from.
#[derive(Clone, Copy)]
pub struct Mix<'a> {
    /// Which part of the data.
    pub split: Split,
    /// Seed of the data, not of the model.
    pub seed: u64,
    /// Side of the pictures in pixels.
    pub size: u32,
    /// Icons and the share of pairs (0 to 1) that show one.
    pub icons: Option<(&'a Icons, f32)>,
    /// How often a caption tells how two objects lie: see [`caption::said`].
    pub related: f32,
    /// The most objects of a scene, where the curriculum alone does not say it.
    pub objects: Option<usize>,
}

/// Share of scenes that come twice, the second time with two colours swapped.
const TWINS: f32 = 0.8;

/// Pair `index` of a mix, after `progress` (0 to 1) of a run. Odd ones may show the scene before them
/// with two colours swapped, so that each picture's caption is false of the other: which colour
/// belongs to which shape is all that tells the two apart.
pub fn pair(mix: &Mix, index: u64, progress: f32) -> Pair {
    let Mix { split, seed, size, icons, .. } = *mix;
    match icons {
        Some((icons, share)) if split.rng(6, seed, index).chance(share) => {
            icons.pair(split, seed, index, size)
        }
        _ => {
            let other = index - index % 2;
            let twins = index != other && split.rng(8, seed, other).chance(TWINS);
            let twin = twins.then(|| scene(mix, other, progress).twin()).flatten();
            let scene = twin.unwrap_or_else(|| scene(mix, index, progress));
            told(&scene, mix, index)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drawn::look::Fill;

    #[test]
    fn pairs_repeat_and_grow() {
        let (a, b) =
            (scene_pair(Split::Train, 1, 5, 0.0, 32), scene_pair(Split::Train, 1, 5, 0.0, 32));
        assert_eq!(
            (a.picture.pixels, a.caption, a.concept),
            (b.picture.pixels, b.caption, b.concept)
        );
        let most = |progress| {
            let scenes =
                (0..200).map(|i| Scene::random(Split::Train, 1, i, most_objects(progress)));
            scenes.map(|s| s.objects.len()).max()
        };
        assert_eq!((most(0.1), most(0.9)), (Some(2), Some(6)));
        let first = Scene::large(Split::Train, 1, 5);
        assert_eq!(concept(&first), scene_pair(Split::Train, 1, 5, 0.0, 32).concept);
        assert_eq!((first.objects.len(), first.objects[0].fill), (1, Fill::Solid));
    }

    #[test]
    fn without_icons_every_pair_is_a_scene() {
        let mix = Mix {
            split: Split::Val,
            seed: 3,
            size: 24,
            icons: None,
            related: RELATED,
            objects: None,
        };
        let (a, b) = (pair(&mix, 8, 1.0), scene_pair(Split::Val, 3, 8, 1.0, 24));
        assert_eq!((a.caption, a.picture), (b.caption, b.picture));
    }

    #[test]
    fn twins_hold_the_same_words_and_other_pairs() {
        let mut twins = 0;
        for index in (0..400).step_by(2) {
            let scene = Scene::random(Split::Train, 1, index, 6);
            let Some(twin) = scene.twin() else { continue };
            twins += 1;
            let words = |scene: &Scene| {
                let mut colors: Vec<_> = scene.objects.iter().map(|o| o.color).collect();
                let mut shapes: Vec<_> = scene.objects.iter().map(|o| o.shape).collect();
                colors.sort_unstable();
                shapes.sort_unstable();
                (colors, shapes)
            };
            assert_eq!(words(&scene), words(&twin));
            assert_ne!(concept(&scene), concept(&twin));
            assert!(!twin.objects.iter().any(|o| o.look().is_held_out()));
        }
        assert!(twins > 120, "{twins}");
        let mix = Mix {
            split: Split::Train,
            seed: 1,
            size: 24,
            icons: None,
            related: RELATED,
            objects: None,
        };
        let shared = (0..200).filter(|i| {
            let (a, b) = (pair(&mix, 2 * i, 1.0), pair(&mix, 2 * i + 1, 1.0));
            let differing = a.picture.pixels.iter().zip(&b.picture.pixels).filter(|(a, b)| a != b);
            differing.count() < a.picture.pixels.len() / 4
        });
        assert!((30..140).contains(&shared.count()));
    }

    #[test]
    fn concept_ignores_order_and_place() {
        let mut scene =
            (0..).map(|i| Scene::random(Split::Train, 1, i, 6)).find(|s| s.objects.len() > 2);
        let before = scene.as_ref().map(concept);
        if let Some(scene) = &mut scene {
            scene.objects.reverse();
            scene.objects[0].x = 0.1;
        }
        assert_eq!(scene.as_ref().map(concept), before);
    }
}
