//! The renderers as data sets.

use sensorium_media::{Message, Part, Role};

use crate::drawn::conversation::{self, Conversation, Focus, Turn};
use crate::drawn::easy_vqa::EasyVqa;
use crate::drawn::facts::Facts;
use crate::drawn::icons::Icons;
use crate::drawn::pairs::{self, Mix, Pair};
use crate::drawn::text::{self, Document};
use crate::{At, Dataset, Example, Media, OpenOptions, Result};
use sensorium_kernels::rng::{Rng, mix};

/// A data set whose examples are made by `draw`, which never fails.
struct Drawn<F> {
    name: &'static str,
    len: Option<u64>,
    draw: F,
}

impl<F: Fn(At) -> Example + Send + Sync> Dataset for Drawn<F> {
    fn name(&self) -> &str {
        self.name
    }

    fn len(&self) -> Option<u64> {
        self.len
    }

    fn example(&self, at: At) -> Result<Example> {
        Ok((self.draw)(at))
    }
}

/// An endless data set.
fn endless(
    name: &'static str,
    draw: impl Fn(At) -> Example + Send + Sync + 'static,
) -> Box<dyn Dataset> {
    Box::new(Drawn { name, len: None, draw })
}

/// Scenes and captions.
pub(crate) fn scenes(
    options: OpenOptions,
    related: f32,
    objects: Option<usize>,
) -> Box<dyn Dataset> {
    let OpenOptions { seed, split, picture_size: size, .. } = options;
    let mix = Mix { split, seed, size, icons: None, related, objects };
    endless("scenes", move |at| pairs::pair(&mix, at.index, at.progress).into())
}

/// Icons and captions.
pub(crate) fn icons(options: OpenOptions, icons: Icons) -> Box<dyn Dataset> {
    let OpenOptions { seed, split, picture_size: size, .. } = options;
    endless("icons", move |at| icons.pair(split, seed, at.index, size).into())
}

impl From<Pair> for Example {
    fn from(pair: Pair) -> Self {
        let Pair { picture, caption, gist, turns, negatives, places, concept, scene } = pair;
        Self {
            media: vec![Media::Image(picture)],
            text: Some(caption),
            negatives,
            group: concept,
            facts: Some(Facts { gist, turns, places, scene }),
            ..Self::default()
        }
    }
}

/// The stream of random numbers that say which conversations are of isolated questions.
const ISOLATED: u64 = 0x1A5C;

/// Questions about scenes; a share of `isolated` conversations is of isolated ones.
pub(crate) fn scene_conversations(
    options: OpenOptions,
    focus: Focus,
    isolated: f32,
) -> Box<dyn Dataset> {
    let OpenOptions { seed, split, picture_size: size, .. } = options;
    endless("scene-conversations", move |At { index, progress, .. }| {
        let talk = conversation::about_scene(split, seed, index, progress, &focus);
        let rng = &mut Rng::at(seed, ISOLATED, index);
        rng.next_u64(); // Left out: earlier runs drew theirs from the second number.
        about(talk, size, rng.chance(isolated))
    })
}

/// Everything there is in a scene, asked for and told.
pub(crate) fn scene_descriptions(options: OpenOptions) -> Box<dyn Dataset> {
    let OpenOptions { seed, split, picture_size: size, .. } = options;
    endless("scene-descriptions", move |At { index, progress, .. }| {
        // Other scenes than those that conversations are about.
        about(conversation::detail(split, seed ^ 0xCAFE, index, progress), size, true)
    })
}

/// easy-VQA: a conversation of up to `turns` questions about each picture.
pub(crate) fn easy_vqa(seed: u64, data: EasyVqa, turns: usize, isolated: f32) -> Box<dyn Dataset> {
    let len = Some(data.pictures() as u64);
    let draw = move |At { epoch, index, .. }: At| {
        let rng = &mut Rng::at(seed ^ mix(epoch), ISOLATED, index);
        let isolated = rng.chance(isolated);
        about(data.conversation(index as usize, turns, rng), 0, isolated)
    };
    Box::new(Drawn { name: "easy-vqa", len, draw })
}

/// Captioned examples that `draw` makes.
pub(crate) fn captioned(
    name: &'static str,
    options: OpenOptions,
    draw: fn(&OpenOptions, u64) -> Example,
) -> Box<dyn Dataset> {
    endless(name, move |at| draw(&options, at.index))
}

/// Makes the media of an example and the questions about them.
pub(crate) type Talk = fn(&OpenOptions, u64) -> (Vec<Media>, Vec<Turn>);

/// Media and the questions about them that `draw` makes; a share of `isolated` conversations is of
/// isolated ones.
pub(crate) fn conversations(
    name: &'static str,
    options: OpenOptions,
    isolated: f32,
    draw: impl Fn(&OpenOptions, u64) -> (Vec<Media>, Vec<Turn>) + Send + Sync + 'static,
) -> Box<dyn Dataset> {
    endless(name, move |At { index, .. }| {
        let (media, turns) = draw(&options, index);
        talk(media, turns, Rng::at(options.seed, ISOLATED, index).chance(isolated))
    })
}

/// A conversation about a picture; scenes are drawn at `size` pixels.
fn about(talk: Conversation, size: u32, isolated: bool) -> Example {
    self::talk(vec![Media::Image(talk.view.picture(size))], talk.turns, isolated)
}

/// A conversation whose first question has the media before it.
fn talk(media: Vec<Media>, turns: Vec<Turn>, isolated: bool) -> Example {
    let mut messages: Vec<Message> = turns.into_iter().flat_map(messages).collect();
    if let Some(first) = messages.first_mut() {
        first.parts.splice(0..0, media.iter().map(|medium| Part::Media(medium.modality())));
    }
    Example { media, messages, isolated, ..Example::default() }
}

fn messages([question, answer]: Turn) -> [Message; 2] {
    [Message::text(Role::User, question), Message::text(Role::Assistant, answer)]
}

/// Text alone; without `icons`, nothing is said of them.
pub(crate) fn documents(options: OpenOptions, icons: Option<Icons>) -> Box<dyn Dataset> {
    let OpenOptions { seed, split, .. } = options;
    endless("documents", move |at| match text::document(icons.as_ref(), split, seed, at.index) {
        Document::Plain(text) => Example { text: Some(text), ..Example::default() },
        Document::Chat(messages) => Example { messages, ..Example::default() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DatasetConfig;
    use crate::drawn::caption::RELATED;
    use crate::drawn::conversation::about_scene;
    use crate::drawn::scene::Split;
    use sensorium_media::Modality;

    const OPTIONS: OpenOptions =
        OpenOptions { seed: 3, split: Split::Train, val_share: 0.0, picture_size: 16 };

    fn example(config: &str, index: u64) -> Example {
        let config: DatasetConfig = toml::from_str(config).expect("a config");
        let dataset = config.open(&OPTIONS, &sensorium_media::MediaDecoder::here()).expect("opens");
        dataset.example(At { epoch: 0, index, progress: 0.7 }).expect("drawn")
    }

    #[test]
    fn scenes_are_the_pairs_with_their_facts() {
        for index in 0..50 {
            let mix = Mix {
                split: Split::Train,
                seed: 3,
                size: 16,
                icons: None,
                related: RELATED,
                objects: None,
            };
            let pair = pairs::pair(&mix, index, 0.7);
            let example = example("kind = 'scenes'", index);
            assert_eq!(example.media, [Media::Image(pair.picture)]);
            assert_eq!((example.text, example.group), (Some(pair.caption), pair.concept));
            assert_eq!(example.negatives, pair.negatives);
            let (facts, scene) = (example.facts.expect("drawn"), pair.scene.expect("drawn"));
            assert_eq!((facts.gist.clone(), facts.turns.clone()), (pair.gist, pair.turns));
            assert_eq!(facts.places_told(), pair.places.as_flattened());
            assert_eq!(facts.places_shown(), scene.places().as_flattened());
            assert_eq!(facts.places_told().len(), Facts::PLACES);
            let regions = facts.regions(4).expect("known");
            let things = scene.regions(4);
            let there = |here: &[i32; 4]| here.iter().all(|class| *class > 0);
            assert!(regions.iter().zip(things).all(|(r, thing)| there(r) == thing.is_some()));
        }
    }

    #[test]
    fn conversations_have_their_picture_first() {
        for (config, index) in
            [("kind = 'scene-conversations'", 5), ("kind = 'scene-descriptions'", 6)]
        {
            let Example { media, messages, .. } = example(config, index);
            assert_eq!(media.len(), 1);
            assert_eq!(messages[0].parts[0], Part::Media(Modality::Image));
            let pictures = messages
                .iter()
                .flat_map(|m| &m.parts)
                .filter(|p| **p == Part::Media(Modality::Image));
            assert_eq!(pictures.count(), 1);
        }
        let talk = about_scene(Split::Train, 3, 5, 0.7, &Focus::default());
        let said: Vec<_> = talk.turns.into_iter().flatten().collect();
        let Example { messages, .. } = example("kind = 'scene-conversations'", 5);
        assert_eq!(messages.iter().map(Message::words).collect::<Vec<_>>(), said);
        let isolated = (0..200).filter(|i| example("kind = 'scene-conversations'", *i).isolated);
        assert!((140..180).contains(&isolated.count()));
    }

    /// Captioned sets say one thing, conversations begin with the places of their media, in order.
    #[test]
    fn every_drawn_medium_has_its_place() {
        use Modality::{Audio, Image, Table, Video};
        let cases: [(&str, &[Modality], bool); 9] = [
            ("kind = 'sounds'", &[Audio], true),
            ("kind = 'sound-conversations'", &[Audio], false),
            ("kind = 'clips'", &[Video], true),
            ("kind = 'clip-conversations'\nisolated = 1.0", &[Video], false),
            ("kind = 'records'", &[Table], true),
            ("kind = 'record-conversations'", &[Table], false),
            ("kind = 'clinic'", &[Image, Table], false),
            ("kind = 'clinic'\nwithout = 'picture'", &[Table], false),
            ("kind = 'clinic'\nwithout = 'table'", &[Image], false),
        ];
        for (config, modalities, captioned) in cases {
            for index in 0..20 {
                let Example { media, messages, text, .. } = example(config, index);
                assert_eq!(media.iter().map(Media::modality).collect::<Vec<_>>(), modalities);
                assert_eq!((text.is_some(), messages.is_empty()), (captioned, captioned));
                let places = messages.iter().flat_map(|message| &message.parts);
                let places: Vec<_> =
                    places.take_while(|part| matches!(part, Part::Media(_))).cloned().collect();
                let expected = modalities.iter().filter(|_| !captioned).copied().map(Part::Media);
                assert_eq!(places, expected.collect::<Vec<_>>(), "{config}");
            }
        }
    }

    #[test]
    fn documents_are_text_alone() {
        for index in 0..50 {
            let Example { media, text, messages, .. } = example("kind = 'documents'", index);
            assert!(media.is_empty() && text.is_some() == messages.is_empty());
        }
    }
}
