//! Towers of sounds, videos and tables that a recipe adds to a model that was trained here.

use std::path::PathBuf;

use sensorium_checkpoint as checkpoint;
use sensorium_encoder::image::{self, Vit, VitConfig};
use sensorium_encoder::{Encoder, EncoderConfig};
use sensorium_input_projector::Projector;
use sensorium_media::Modality;
use sensorium_model::llava::{LlavaConfig, Tower, TowerConfig};
use sensorium_model::weights;
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::llava::Spliced;
use sensorium_pretrained::families::sensorium::{self, SensoriumConfig, Trainable};
use sensorium_pretrained::{Directory, MediaProcessor};
use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};
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

/// Adds the towers that a model which was trained here is to have, and has not: their encoders are those that it
/// has already in its space of pictures and texts, or as [`NewTower`] says, their projectors as `init` makes them.
///
/// # Errors
/// One cannot be added to the model, or its file cannot be read.
pub fn add(
    media: &[NewTower],
    model: &mut Trainable,
    directory: &Directory,
    init: &mut Init,
) -> Result<()> {
    let Trainable { settings, spliced, words, .. } = model;
    let Spliced { llava, config: shape, processor, processors, .. } = spliced;
    for new in media {
        if shape.tower(new.kind).is_none() {
            let config = planned(new, shape, settings)?;
            let from = (directory, &*settings);
            llava.towers.push(tower(new, &config, from, &llava.towers[0], init)?);
            processors.push(MediaProcessor::new(&config.encoder, processor, words.as_ref())?);
            shape.towers.push(config);
        }
    }
    Ok(())
}

/// The shape of such a model with these towers; `silent` is the error for one that does not answer.
///
/// # Errors
/// It does not answer, or a tower cannot be added to it.
pub fn shape(
    media: &[NewTower],
    settings: &SensoriumConfig,
    silent: impl FnOnce() -> TrainError,
) -> Result<LlavaConfig> {
    let mut shape = settings.llava.clone().ok_or_else(silent)?;
    for new in media {
        if shape.tower(new.kind).is_none() {
            shape.towers.push(planned(new, &shape, settings)?);
        }
    }
    Ok(shape)
}

/// The shape of a tower to be made.
fn planned(new: &NewTower, shape: &LlavaConfig, settings: &SensoriumConfig) -> Result<TowerConfig> {
    let Some(EncoderConfig::Vit { vit, .. }) = shape.towers.first().map(|tower| &tower.encoder)
    else {
        return Err(no_vit());
    };
    let bound = settings.imagebind.as_ref().and_then(|bound| bound.encoder(new.kind));
    let words = settings.clip.as_ref().map_or(0, |clip| clip.text.embed);
    let encoder = bound.cloned().map_or_else(|| new.config(vit, words), Ok)?;
    let projector = new.size.projector(&encoder, shape.backbone.width());
    Ok(TowerConfig { encoder, projector })
}

/// A tower whose encoder the model has already, or of seeded weights, but for what is trained elsewhere.
fn tower(
    new: &NewTower,
    config: &TowerConfig,
    (directory, settings): (&Directory, &SensoriumConfig),
    pictures: &Tower,
    seeded: &mut Init,
) -> Result<Tower> {
    let [file, _] = sensorium::tower(new.kind);
    let encoder = match (settings.components().contains(&file), &pictures.encoder) {
        (true, _) => {
            let encoder = Encoder::init(&config.encoder, seeded);
            weights::load(encoder, &directory.component(file)?)?
        }
        (false, Encoder::Image(image)) => new.encoder(&config.encoder, vit(image)?, seeded)?,
        (false, _) => return Err(no_vit()),
    };
    Ok(Tower { encoder, projector: Projector::init(&config.projector, seeded) })
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
