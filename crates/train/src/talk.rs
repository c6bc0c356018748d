//! Examples to prompts, and what stands in them for media: what models that answer are trained on.

use std::sync::Arc;

use sensorium_data::{Example, Media};
use sensorium_input_projector::ProjectorConfig;
use sensorium_media::{ImageProcessor, Medium, Prompt};
use sensorium_pretrained::{MediaProcessor, Piece};

use crate::chat::Chat;
use crate::error::Result;

/// What makes talks of examples.
#[derive(Clone, Debug)]
pub struct Reader {
    /// Messages to prompts.
    pub chat: Arc<Chat>,
    /// Pictures to planes.
    pub processor: ImageProcessor,
    /// What makes the input of each tower behind that of pictures.
    pub processors: Arc<[MediaProcessor]>,
    /// And what stands behind its encoder.
    pub projectors: Vec<ProjectorConfig>,
}

/// An example's prompt, what is seen, and what the other towers read.
pub type Talk = (Prompt, Vec<f32>, Vec<Piece>);

impl Reader {
    /// The talk of an example.
    ///
    /// # Errors
    /// As [`Chat::prompt`], or a medium that its tower cannot read.
    pub fn talk(&self, example: &Example) -> Result<Talk> {
        let (mut planes, mut pieces, mut media) = (Vec::new(), Vec::new(), Vec::new());
        for medium in &example.media {
            media.push(self.medium(medium, &mut planes, &mut pieces)?);
        }
        Ok((self.chat.prompt(example, &media)?, planes, pieces))
    }

    /// What stands for a medium: by its own tower, or as pictures.
    ///
    /// # Errors
    /// Its tower cannot read it.
    pub fn medium(
        &self,
        medium: &Media,
        planes: &mut Vec<f32>,
        pieces: &mut Vec<Piece>,
    ) -> Result<Vec<Medium>> {
        let own = |(processor, _): &(&MediaProcessor, _)| processor.modality() == medium.modality();
        let Some((processor, projector)) = self.processors.iter().zip(&self.projectors).find(own)
        else {
            let picture = |picture| {
                let fitted = self.processor.fit(picture);
                planes.extend(fitted.pictures.iter().flat_map(|part| self.processor.planes(part)));
                self.chat.picture(fitted.layout)
            };
            return Ok(medium.pictures().map(picture).collect());
        };
        let new = processor.pieces(medium)?;
        let stands =
            |piece| Medium::framed(medium.modality(), projector.tokens(processor.positions(piece)));
        let media = new.iter().map(stands).collect();
        pieces.extend(new);
        Ok(media)
    }
}
