//! Published models that draw, as makers of media.

use sensorium_flow::{Output, Sampler};
use sensorium_media::{Media, Modality, Picture};
use sensorium_nn::params::read;
use sensorium_pretrained::Drawer;
use sensorium_pretrained::families::stable_diffusion::Redrawn;

use crate::TextToMedia;
use crate::error::{Error, Result};
use crate::generated::media;

impl TextToMedia for Drawer {
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
        pictures(self.draw(texts, None, sampler, progress)?)
    }

    fn redraws(&self) -> bool {
        true
    }

    fn redraw(
        &self,
        picture: &Picture,
        strength: f64,
        texts: &[String],
        sampler: Sampler,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Media>> {
        let redrawn = Redrawn { picture, strength };
        pictures(self.draw(texts, Some(redrawn), sampler, progress)?)
    }
}

/// What was drawn, as media.
pub(crate) fn pictures(drawn: Vec<Output>) -> Result<Vec<Media>> {
    let mut made = Vec::new();
    for output in drawn {
        made.extend(media(finite(output)?)?);
    }
    Ok(made)
}

/// That a picture is one.
fn finite(output: Output) -> Result<Output> {
    match &output {
        Output::Image(x) if !read(x.clone()).iter().all(|x| x.is_finite()) => {
            Err(Error::NotFinitePicture)
        }
        _ => Ok(output),
    }
}
