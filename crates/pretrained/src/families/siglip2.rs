//! `Siglip2Model` of transformers: SigLIP 2 whose pictures keep their ratio (NaFlex); `model_type`
//! `siglip2`.
//!
//! Tschannen et al. 2025, <https://arxiv.org/abs/2502.14786>. As [SigLIP](super::siglip) but for its
//! pictures: each has as many patches as fit, with positions stretched to them. Published code pads all
//! to one number of patches and hides the padding; here each picture is read alone, without any.

use sensorium_encoder::image::{Encoder, EncoderConfig, Naflex, Pooling, VitConfig};
use sensorium_media::{ImageProcessor, Style};
use sensorium_nn::prelude::*;
use serde_json::Value;

use super::siglip;
use crate::config::Config;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::names;
use crate::plan::Plan;
use crate::towers::{Reading, Towers, tensors};
use crate::{text, vision};
use sensorium_checkpoint::{Tensor as Stored, Tensors};
use sensorium_model::clip::{Clip, ClipConfig};

/// The patches' matrix, whose columns are the values of a patch, channels last.
const PATCHES: &str = "vision_model.embeddings.patch_embedding.weight";

const FOREIGN: &str = "the file may be damaged, or of a model that is not supported";

/// What the weights must be.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn plan(directory: &Directory) -> Result<Plan> {
    let (image, config) = config(&directory.config())?;
    let mut plan = Plan::new("siglip2", "image", names::SIGLIP, config.parameters());
    for tensor in plan.tensors.iter_mut().filter(|tensor| tensor.name == PATCHES) {
        tensor.shape = vec![image.hidden_size, tensor.shape.iter().skip(1).product()];
    }
    Ok(plan)
}

/// The model in a directory.
///
/// # Errors
/// A file is missing, damaged, or not of a supported model; the weights are not those of the settings.
pub fn open(directory: &Directory, device: &Device) -> Result<Towers> {
    let (image, config) = config(&directory.config())?;
    let processor = processor(directory, &image)?;
    // Trained on lower case; the published tokenizer.json leaves that to who opens it.
    let tokenizer = text::tokenizer(directory)?.lowercased()?;
    text::tell_ignored(directory, &tokenizer, config.text.context)?;
    let section = directory.config().find_or_empty("text_config")?;
    let pad = siglip::pad(directory, &section, &tokenizer, config.text.vocab_size)?;
    let plan = plan(directory)?;
    let mut tensors = tensors(directory, &plan)?;
    channels_first(&mut tensors, &image)?;
    let clip = Clip::init(&config, &mut Init::empty(device));
    let mut clip = names::take(clip, tensors, &plan.layout)?;
    if let Encoder::Vit(vit) = clip.image {
        clip.image = Encoder::Naflex(Naflex::new(vit, &image));
    }
    let inputs = (processor, tokenizer, Reading::Last(pad));
    Ok(Towers::new(clip, config.text, inputs, device))
}

/// The image encoder's shape, and that of both. Defaults are those of `Siglip2Config`.
fn config(top: &Config<'_>) -> Result<(VitConfig, ClipConfig)> {
    let image = image(&top.find_or_empty("vision_config")?)?;
    let text = siglip::text_into(top, image.embed)?;
    let config = ClipConfig { image: EncoderConfig::Vit(image.clone()), text, bias: true };
    Ok((image, config))
}

/// The table of positions is a square's, whose side in pixels no file names.
fn image(vision: &Config<'_>) -> Result<VitConfig> {
    vision.only("vision_use_head", &Value::Bool(true))?;
    let places = vision.size_or("num_patches", 256)?;
    let side = places.isqrt();
    if side * side != places {
        return Err(vision.wrong("num_patches", "a square number", FOREIGN));
    }
    let width = vision.size_or("hidden_size", 768)?;
    let patches = vision::cut(vision, side, width)?;
    let tower = siglip::shape(vision, patches, 12)?;
    Ok(VitConfig { pooling: Pooling::AttentionMlp, ..tower })
}

/// The image processor, which must cut patches of the encoder's size.
fn processor(directory: &Directory, image: &VitConfig) -> Result<ImageProcessor> {
    let processor = vision::processor(directory, Style::Siglip2)?;
    let patch = image.stem.first().map_or(1, |conv| conv.kernel);
    let [_, cut] = processor.patches().unwrap_or_default();
    if cut as usize == patch {
        return Ok(processor);
    }
    Err(Error::Setting {
        file: "preprocessor_config.json".into(),
        key: "patch_size".into(),
        expected: format!("{patch}, the patch_size of config.json"),
        got: cut.to_string(),
        hint: "the files may be of different models",
    })
}

/// The patches' matrix as a convolution's: `[E, p · p · 3] -> [E, 3, p, p]`.
fn channels_first(tensors: &mut Tensors, image: &VitConfig) -> Result<()> {
    let patch = image.stem.first().map_or(1, |conv| conv.kernel);
    // It is there: the plan has been checked.
    let Some(matrix) = tensors.tensors.remove(PATCHES) else { return Ok(()) };
    let place = |i: usize| i % (patch * patch) * 3 + i / (patch * patch);
    let rows = matrix.data().chunks(3 * patch * patch);
    let turned = rows.flat_map(|row| (0..row.len()).map(|i| row[place(i)])).collect();
    let shape = vec![image.hidden_size, 3, patch, patch];
    tensors.tensors.insert(PATCHES.to_owned(), Stored::new(shape, turned)?);
    Ok(())
}
