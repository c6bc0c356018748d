//! Pictures and captions to what the CLIP recipe's steps read.

use sensorium_data::{Example, Examples, Facts};
use sensorium_encoder::text::Texts;
use sensorium_media::{ImageProcessor, Layout, Prompt};
use sensorium_model::prompt::{Batch, IGNORED};
use sensorium_pretrained::TextInput;

use crate::batch::{self, draw, pictures};
use crate::chat::{Chat, messages};
use crate::error::Result;

/// What makes a step's batch of examples.
pub(super) struct Pairs {
    pub(super) texts: TextInput,
    pub(super) processor: ImageProcessor,
    /// For what the captioner is to answer from the encoder's positions.
    pub(super) answers: Option<Chat>,
    /// For what it is to tell from a vector.
    pub(super) gists: Option<Chat>,
    pub(super) batch: usize,
    pub(super) pictures: bool,
    /// Whether false captions are read.
    pub(super) negatives: bool,
    /// The encoder's positions, if it is to name what lies there.
    pub(super) regions: Option<usize>,
    /// Whether it is to be told where things lie.
    pub(super) places: bool,
}

/// What a step reads.
pub(super) struct PairBatch {
    /// Planes of the pictures, `[B, 3, h, w]`; nothing where none is looked at.
    pub(super) planes: Vec<f32>,
    /// Captions, then false ones.
    pub(super) texts: Texts,
    /// Equal for captions that may hold for each other's pictures.
    pub(super) groups: Vec<u64>,
    /// Whose each false caption is.
    pub(super) owners: Vec<usize>,
    /// The class of each position, for each attribute.
    pub(super) regions: Vec<Vec<i32>>,
    /// Where things lie in each picture, and where each caption says so.
    pub(super) places: [Vec<Option<f32>>; 2],
    pub(super) answers: Option<Batch>,
    pub(super) gists: Option<Batch>,
}

impl Pairs {
    pub(super) fn make(&self, examples: &Examples, step: u64, progress: f32) -> Result<PairBatch> {
        let pairs = draw(examples, step, self.batch, progress)?;
        let facts = || pairs.iter().map(|pair| pair.facts.as_ref());
        let seen = pairs.iter().filter(|_| self.pictures).flat_map(pictures);
        let planes = seen.flat_map(|picture| self.processor.process(picture)).collect();
        let unknown = || vec![None; Facts::PLACES];
        let places = |of: fn(&Facts) -> Vec<Option<f32>>| -> Vec<Option<f32>> {
            if !self.places {
                return Vec::new();
            }
            facts().flat_map(|facts| facts.map_or_else(unknown, of)).collect()
        };
        let captions = pairs.iter().map(|pair| pair.text.as_deref().unwrap_or_default());
        let false_ones = || {
            let pairs = pairs.iter().enumerate().filter(|_| self.negatives);
            pairs.flat_map(|(i, pair)| pair.negatives.iter().map(move |text| (i, text.as_str())))
        };
        let texts: Vec<&str> = captions.chain(false_ones().map(|(_, text)| text)).collect();
        Ok(PairBatch {
            planes,
            texts: batch::texts(&self.texts, &texts)?,
            groups: pairs.iter().map(|pair| pair.group).collect(),
            owners: false_ones().map(|(i, _)| i).collect(),
            regions: self
                .regions
                .map(|positions| region_targets(facts(), positions))
                .unwrap_or_default(),
            places: [places(Facts::places_shown), places(Facts::places_told)],
            answers: self.answers.as_ref().map(|chat| answers(chat, &pairs)).transpose()?,
            gists: self.gists.as_ref().map(|chat| self.gists(chat, &pairs)).transpose()?,
        })
    }

    /// What the captioner is to write from a vector of each pair: of its picture, where it is looked at,
    /// and of its caption.
    fn gists(&self, chat: &Chat, pairs: &[Example]) -> Result<Batch> {
        let gist = |pair: &Example| {
            let gist = pair.facts.as_ref().map(|facts| facts.gist.clone()).unwrap_or_default();
            chat.conversation(
                &messages(&[[String::new(), gist]], 1),
                &[chat.picture(Layout::Whole)],
            )
        };
        let mut gists = pairs.iter().map(gist).collect::<Result<Vec<_>>>()?;
        if self.pictures {
            gists.extend_from_within(..);
        }
        Ok(Batch::new(&gists, chat.pad))
    }
}

/// What the captioner is to answer from each picture's positions.
fn answers(chat: &Chat, pairs: &[Example]) -> Result<Batch> {
    let answers = |pair: &Example| {
        let turns = pair.facts.as_ref().map(|facts| facts.turns.as_slice());
        chat.questions(&messages(turns.unwrap_or_default(), 1), &[chat.picture(Layout::Whole)])
    };
    let prompts: Vec<Prompt> = pairs.iter().map(answers).collect::<Result<_>>()?;
    Ok(Batch::new(&prompts, chat.pad))
}

/// The classes of what lies at each of `positions`, for each attribute; unknown where no facts say.
fn region_targets<'f>(
    facts: impl Iterator<Item = Option<&'f Facts>>,
    positions: usize,
) -> Vec<Vec<i32>> {
    let unknown = || vec![[IGNORED; 4]; positions];
    let of = |facts: Option<&Facts>| {
        facts.and_then(|facts| facts.regions(positions.isqrt())).unwrap_or_else(unknown)
    };
    let all: Vec<[i32; 4]> = facts.flat_map(of).collect();
    (0..4).map(|attribute| all.iter().map(|classes| classes[attribute]).collect()).collect()
}
