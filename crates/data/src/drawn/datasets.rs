//! The renderers as data sets. All but easy-VQA are endless.

use std::path::Path;

use sensorium_media::{Message, Part, Role};

use crate::drawn::conversation::{self, Conversation, Focus, Turn};
use crate::drawn::easy_vqa::EasyVqa;
use crate::drawn::facts::Facts;
use crate::drawn::icons::Icons;
use crate::drawn::pairs::{self, Mix, Pair};
use crate::drawn::text::{self, Document};
use crate::rng::{Rng, mix};
use crate::{At, Dataset, Example, Media, OpenOptions, Result};

/// Scenes and captions.
pub(crate) struct Scenes {
    pub options: OpenOptions,
    pub related: f32,
}

impl Dataset for Scenes {
    fn name(&self) -> &str {
        "scenes"
    }

    fn len(&self) -> Option<u64> {
        None
    }

    fn example(&self, at: At) -> Result<Example> {
        let OpenOptions { seed, split, picture_size: size, .. } = self.options;
        let mix = Mix { split, seed, size, icons: None, related: self.related };
        Ok(pairs::pair(&mix, at.index, at.progress).into())
    }
}

/// Icons and captions.
pub(crate) struct IconCaptions {
    pub options: OpenOptions,
    pub icons: Icons,
}

impl Dataset for IconCaptions {
    fn name(&self) -> &str {
        "icons"
    }

    fn len(&self) -> Option<u64> {
        None
    }

    fn example(&self, at: At) -> Result<Example> {
        let OpenOptions { seed, split, picture_size, .. } = self.options;
        Ok(self.icons.pair(split, seed, at.index, picture_size).into())
    }
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

/// Questions about scenes.
pub(crate) struct SceneConversations {
    pub options: OpenOptions,
    pub focus: Focus,
    pub isolated: f32,
}

impl Dataset for SceneConversations {
    fn name(&self) -> &str {
        "scene-conversations"
    }

    fn len(&self) -> Option<u64> {
        None
    }

    fn example(&self, At { index, progress, .. }: At) -> Result<Example> {
        let OpenOptions { seed, split, picture_size, .. } = self.options;
        let talk = conversation::about_scene(split, seed, index, progress, &self.focus);
        let rng = &mut Rng::new(seed, ISOLATED, index);
        rng.bits(); // Left out: earlier runs drew theirs from the second number.
        Ok(Example { isolated: rng.chance(self.isolated), ..about(talk, picture_size) })
    }
}

/// Everything there is in a scene, asked for and told.
pub(crate) struct SceneDescriptions {
    pub options: OpenOptions,
}

impl Dataset for SceneDescriptions {
    fn name(&self) -> &str {
        "scene-descriptions"
    }

    fn len(&self) -> Option<u64> {
        None
    }

    fn example(&self, At { index, progress, .. }: At) -> Result<Example> {
        let OpenOptions { seed, split, picture_size, .. } = self.options;
        // Other scenes than those that conversations are about.
        let talk = conversation::detail(split, seed ^ 0xCAFE, index, progress);
        Ok(Example { isolated: true, ..about(talk, picture_size) })
    }
}

/// easy-VQA: one conversation a picture.
pub(crate) struct EasyVqaConversations {
    pub data: EasyVqa,
    pub seed: u64,
    pub turns: usize,
    pub isolated: f32,
}

impl Dataset for EasyVqaConversations {
    fn name(&self) -> &str {
        "easy-vqa"
    }

    fn len(&self) -> Option<u64> {
        Some(self.data.pictures() as u64)
    }

    fn example(&self, At { epoch, index, .. }: At) -> Result<Example> {
        let rng = &mut Rng::new(self.seed ^ mix(epoch), ISOLATED, index);
        let isolated = rng.chance(self.isolated);
        let talk = self.data.conversation(index as usize, self.turns, rng);
        Ok(Example { isolated, ..about(talk, 0) })
    }
}

/// The stream of random numbers that say which conversations are of isolated questions.
const ISOLATED: u64 = 0x1A5C;

/// A conversation whose first question has the picture before it; scenes are drawn at `size` pixels.
fn about(talk: Conversation, size: u32) -> Example {
    let media = vec![Media::Image(talk.view.picture(size))];
    let mut messages: Vec<Message> = talk.turns.into_iter().flat_map(messages).collect();
    if let Some(first) = messages.first_mut() {
        first.parts.insert(0, Part::Image);
    }
    Example { media, messages, ..Example::default() }
}

fn messages([question, answer]: Turn) -> [Message; 2] {
    [Message::text(Role::User, question), Message::text(Role::Assistant, answer)]
}

/// Text alone.
pub(crate) struct Documents {
    pub options: OpenOptions,
    pub icons: Option<Icons>,
}

impl Documents {
    pub(crate) fn open(icons: Option<&Path>, options: OpenOptions) -> Result<Self> {
        Ok(Self { options, icons: icons.map(Icons::open).transpose()? })
    }
}

impl Dataset for Documents {
    fn name(&self) -> &str {
        "documents"
    }

    fn len(&self) -> Option<u64> {
        None
    }

    fn example(&self, at: At) -> Result<Example> {
        let OpenOptions { seed, split, .. } = self.options;
        Ok(match text::document(self.icons.as_ref(), split, seed, at.index) {
            Document::Plain(text) => Example { text: Some(text), ..Example::default() },
            Document::Chat(messages) => Example { messages, ..Example::default() },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DatasetConfig;
    use crate::drawn::caption::RELATED;
    use crate::drawn::conversation::about_scene;
    use crate::drawn::scene::Split;

    const OPTIONS: OpenOptions =
        OpenOptions { seed: 3, split: Split::Train, val_share: 0.0, picture_size: 16 };

    fn example(config: &str, index: u64) -> Example {
        let config: DatasetConfig = toml::from_str(config).expect("a config");
        let dataset = config.open(&OPTIONS).expect("opens");
        dataset.example(At { epoch: 0, index, progress: 0.7 }).expect("drawn")
    }

    #[test]
    fn scenes_are_the_pairs_with_their_facts() {
        for index in 0..50 {
            let mix = Mix { split: Split::Train, seed: 3, size: 16, icons: None, related: RELATED };
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
            assert_eq!(messages[0].parts[0], Part::Image);
            let pictures = messages.iter().flat_map(|m| &m.parts).filter(|p| **p == Part::Image);
            assert_eq!(pictures.count(), 1);
        }
        let talk = about_scene(Split::Train, 3, 5, 0.7, &Focus::default());
        let said: Vec<_> = talk.turns.into_iter().flatten().collect();
        let Example { messages, .. } = example("kind = 'scene-conversations'", 5);
        assert_eq!(messages.iter().map(Message::words).collect::<Vec<_>>(), said);
        let isolated = (0..200).filter(|i| example("kind = 'scene-conversations'", *i).isolated);
        assert!((140..180).contains(&isolated.count()));
    }

    #[test]
    fn documents_are_text_alone() {
        for index in 0..50 {
            let Example { media, text, messages, .. } = example("kind = 'documents'", index);
            assert!(media.is_empty() && text.is_some() == messages.is_empty());
        }
    }
}
