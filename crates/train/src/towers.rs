//! Towers of sounds, videos and tables that a recipe adds to a model that was trained here.

use std::path::PathBuf;

use sensorium_checkpoint as checkpoint;
use sensorium_encoder::image::{self, Vit, VitConfig};
use sensorium_encoder::{Encoder, EncoderConfig};
use sensorium_media::Modality;
use sensorium_model::weights;
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::model;
use crate::size::Size;

/// A tower to be made, unless the model has one of that kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTower {
    /// What it reads: `"audio"`, `"video"` or `"table"`.
    pub kind: Modality,
    /// Its size.
    #[serde(default = "small")]
    pub size: Size,
    /// A file of a trained encoder's weights; without it, seeded ones. A video's image encoder is always the
    /// model's own.
    pub encoder: Option<PathBuf>,
}

fn small() -> Size {
    Size::Small
}

impl NewTower {
    /// The shape of its encoder, in a model whose pictures are seen by `image` and whose text tower makes
    /// vectors of width `words`.
    ///
    /// # Errors
    /// It is of no kind that can be added, or its file cannot be read.
    pub fn config(&self, image: &VitConfig, words: usize) -> Result<EncoderConfig> {
        let Some(mut config) = self.size.encoder(self.kind, image, words) else {
            let message = format!("expected audio, video or table, got {}", self.kind);
            let hint = "pictures and texts are read already";
            return Err(model::config("media", &message, hint));
        };
        // A head for transcripts is kept where the file has one.
        if let (EncoderConfig::Conformer(conformer), Some(file)) = (&mut config, &self.encoder) {
            let tensors = checkpoint::load(file)?;
            let head = tensors.tensors.get("head.bias");
            conformer.vocab_size = head.and_then(|head| head.shape().first().copied());
        }
        Ok(config)
    }

    /// An encoder of that shape: of seeded weights, but for what is trained already.
    ///
    /// # Errors
    /// The file is damaged, or of another shape.
    pub fn encoder(&self, config: &EncoderConfig, image: &Vit, init: &mut Init) -> Result<Encoder> {
        let mut encoder = Encoder::init(config, init);
        if let Some(file) = &self.encoder {
            encoder = weights::load(encoder, &checkpoint::load(file)?)?;
        }
        if let Encoder::Video(video) = &mut encoder {
            video.image = weights::load_known(video.image.clone(), &weights::tensors(image)?)?;
        }
        Ok(encoder)
    }
}

/// The Vision Transformer of an encoder of pictures.
///
/// # Errors
/// It is another kind of encoder.
pub fn vit(encoder: &image::Encoder) -> Result<&Vit> {
    match encoder {
        image::Encoder::Vit(vit) => Ok(vit),
        image::Encoder::Resnet(_) | image::Encoder::Naflex(_) => Err(no_vit()),
    }
}

/// The error for a model whose pictures something else sees.
pub fn no_vit() -> crate::TrainError {
    let message = "expected a model with a Vision Transformer, got none";
    model::config(
        "media",
        message,
        "recipe = \"clip\" makes one unless image_encoder says otherwise",
    )
}
