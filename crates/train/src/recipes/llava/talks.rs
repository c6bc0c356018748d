//! Conversations about media to a step's batches.

use sensorium_data::Examples;
use sensorium_media::Prompt;
use sensorium_model::llava::Llava;
use sensorium_model::prompt::{self, Batch, packed};
use sensorium_pretrained::Piece;

use super::Stage;
use crate::batch::draw;
use crate::error::Result;
use crate::freeze::reached;
use crate::talk::{Reader, Talk, kinds, reads};

/// What makes a step's batches.
pub(super) struct Talks {
    pub(super) reader: Reader,
    pub(super) stage: Stage,
    /// Whether the model reads a medium's tokens both ways.
    pub(super) prefix: bool,
}

/// Part of a step.
pub(super) struct Micro {
    pub(super) batch: Batch,
    /// What is seen, `[M, 3, h, w]`.
    pub(super) planes: Vec<f32>,
    /// What the other towers read.
    pub(super) pieces: Vec<Piece>,
}

impl Talks {
    pub(super) fn make(&self, examples: &Examples, step: u64, progress: f32) -> Result<Vec<Micro>> {
        let Stage { batch_size: batch, accumulate, .. } = self.stage;
        let examples = draw(examples, step, batch, progress)?;
        let mut talks =
            examples.iter().map(|one| self.reader.talk(one)).collect::<Result<Vec<_>>>()?;
        if self.stage.group_by_length {
            talks.sort_by_key(|(prompt, ..)| prompt.ids.len());
        }
        let chunks = talks.chunks(batch.div_ceil(accumulate.max(1)));
        Ok(chunks.map(|talks| self.micro(talks)).collect())
    }

    fn micro(&self, talks: &[Talk]) -> Micro {
        let rows = self.rows(talks);
        let order = || rows.iter().flatten();
        let planes = order().flat_map(|&n| &talks[n].1).copied().collect();
        let pieces = order().flat_map(|&n| &talks[n].2).cloned().collect();
        let prompt = |row: &Vec<usize>| match row[..] {
            [only] => talks[only].0.clone(),
            _ => packed(row.iter().map(|&n| &talks[n].0)),
        };
        let prompts: Vec<Prompt> = rows.iter().map(prompt).collect();
        Micro { batch: Batch::new(&prompts, self.reader.chat.pad), planes, pieces }
    }

    /// Which talks share a row: those that can be read alone in one, up to the longest's length.
    fn rows(&self, talks: &[Talk]) -> Vec<Vec<usize>> {
        if !self.stage.packing {
            return (0..talks.len()).map(|n| vec![n]).collect();
        }
        let longest = talks.iter().map(|(prompt, ..)| prompt.ids.len()).max().unwrap_or(0);
        let alone = |span: &i32| *span < 0 || (*span > 0 && self.prefix);
        let length = |(prompt, ..): &Talk| match prompt.spans.iter().any(alone) {
            true => longest,
            false => prompt.ids.len(),
        };
        prompt::rows(&talks.iter().map(length).collect::<Vec<_>>(), longest)
    }
}

/// The model with only that trainable which a batch reaches: no tower without a medium of its kind.
pub(super) fn seen_by(model: &Llava, micro: &Micro) -> Llava {
    let kinds = kinds(&micro.planes, &micro.pieces);
    reached(model, |name| reads(model, name, &kinds))
}
