//! From sounds, videos and tables to the tokens that stand for them.

use sensorium_flow::Embeds;
use sensorium_media::{Media, Modality};
use sensorium_model::llava::Tower;
use sensorium_nn::prelude::*;
use sensorium_pretrained::{MediaProcessor, Piece};

use crate::error::Result;

/// A tower of media other than pictures, and what makes its input.
#[derive(Debug)]
pub struct MediaTower {
    pub(crate) tower: Tower,
    pub(crate) processor: MediaProcessor,
    pub(crate) device: Device,
}

impl MediaTower {
    /// What it reads.
    pub fn modality(&self) -> Modality {
        self.processor.modality()
    }

    /// What stands for a medium in a prompt, in order.
    ///
    /// # Errors
    /// A table of more columns than the encoder reads.
    pub fn pieces(&self, medium: &Media) -> Result<Vec<Piece>> {
        Ok(self.processor.pieces(medium)?)
    }

    /// Tokens of a piece.
    pub fn tokens(&self, piece: &Piece) -> usize {
        sensorium_flow::Project::tokens(&self.tower.projector, self.processor.positions(piece))
    }

    /// The tokens of all pieces in a row, `[1, Q, D]`; each is read alone, so that none depends on those
    /// beside it, and what lies behind its end is left out. Nothing without any.
    ///
    /// # Errors
    /// The tokenizer fails at a word of a table.
    pub fn encode(&self, pieces: &[&Piece]) -> Result<Option<Embeds>> {
        let embedded = pieces.iter().map(|piece| -> Result<_> {
            let input = self.processor.input([*piece], &self.device)?;
            Ok(input.map(|input| self.tower.embed(input).0.narrow(1, 0, self.tokens(piece))))
        });
        let embedded: Vec<Option<Tensor<3>>> = embedded.collect::<Result<_>>()?;
        let embedded: Vec<Tensor<3>> = embedded.into_iter().flatten().collect();
        Ok((!embedded.is_empty()).then(|| Embeds(Tensor::cat(embedded, 1))))
    }
}
