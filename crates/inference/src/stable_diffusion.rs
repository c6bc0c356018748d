//! Published models that draw, as makers of media.

use sensorium_flow::{Output, Sampler};
use sensorium_media::{Media, Modality};
use sensorium_nn::params::read;
use sensorium_pretrained::Drawer;

use crate::TextToMedia;
use crate::error::{Error, Result};
use crate::generate::Wanted;
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
        let mut made = Vec::new();
        for output in self.draw(texts, sampler, progress)? {
            made.extend(media(finite(output)?)?);
        }
        Ok(made)
    }

    /// No language model has learned to tell it anything but texts.
    fn make(&self, wanted: &Wanted, _count: usize, _sampler: Sampler) -> Result<Vec<Media>> {
        Err(Error::Makes { wanted: wanted.modality, known: Vec::new() })
    }
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
