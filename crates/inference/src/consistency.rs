//! Published consistency models, as makers of media.

use sensorium_flow::Sampler;
use sensorium_media::{Media, Modality};
use sensorium_pretrained::ConsistencyDrawer;

use crate::TextToMedia;
use crate::error::{Error, Result};
use crate::stable_diffusion::pictures;

impl TextToMedia for ConsistencyDrawer {
    fn makes(&self) -> Vec<Modality> {
        vec![Modality::Image]
    }

    fn usual(&self) -> Sampler {
        self.usual()
    }

    fn resizes(&self) -> bool {
        true
    }

    fn generate(
        &self,
        modality: Modality,
        texts: &[String],
        sampler: Sampler,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Media>> {
        if modality != Modality::Image {
            return Err(Error::Makes { wanted: modality, known: self.makes() });
        }
        pictures(self.draw(texts, sampler, progress)?)
    }
}
