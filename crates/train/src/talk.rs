//! Examples to prompts, and what stands in them for media: what models that answer are trained on.

use std::sync::Arc;

use sensorium_data::{Example, Media};
use sensorium_input_projector::ProjectorConfig;
use sensorium_media::{ImageProcessor, Medium, Modality, Prompt};
use sensorium_model::llava::Llava;
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

/// The kinds of media in a batch: of what is seen, and of what the other towers read.
pub(crate) fn kinds(planes: &[f32], pieces: &[Piece]) -> Vec<Modality> {
    let seen = (!planes.is_empty()).then_some(Modality::Image);
    seen.into_iter().chain(pieces.iter().map(Piece::modality)).collect()
}

/// Whether the parameter `name` reads a batch with media of these `kinds`: all do that are of no tower.
pub(crate) fn reads(model: &Llava, name: &str, kinds: &[Modality]) -> bool {
    let number = name.strip_prefix("towers.").and_then(|rest| rest.split('.').next());
    let tower = number.and_then(|number| model.towers.get(number.parse::<usize>().ok()?));
    tower.is_none_or(|tower| kinds.contains(&tower.encoder.modality()))
}
