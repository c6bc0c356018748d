//! What a LLaVA training begins with.

use sensorium_backbone::BackboneConfig;
use sensorium_checkpoint as checkpoint;
use sensorium_media::{ImageProcessor, Tokenizer};
use sensorium_model::llava::{Llava, LlavaConfig};
use sensorium_model::weights;
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::assistant::families;
use sensorium_pretrained::families::language;
use sensorium_pretrained::families::llava::parts::{BACKBONES, NewLlava, PLAIN, assemble};
use sensorium_pretrained::families::llava::{self, Spliced};
use sensorium_pretrained::families::sensorium::{self, SensoriumConfig, Trainable};
use sensorium_pretrained::{Directory, TextProcessor};

use super::{Home, LlavaRecipe, Own, Training, side};
use crate::chat::Chat;
use crate::error::{Result, TrainError};
use crate::model::{self, Files, Parts};
use crate::size::Size;
use crate::towers;

/// A new model of components that other recipes have trained.
pub(super) fn new(
    recipe: &LlavaRecipe,
    size: Size,
    tokenizer: Box<Tokenizer>,
) -> Result<(Llava, Training<'_>)> {
    let LlavaRecipe { image: Some(image), backbone: Some(backbone), projector, .. } = recipe else {
        let message = "expected image and backbone, files of trained components, got no such keys";
        return Err(model::config("image", message, "train them by the clip and text recipes"));
    };
    let shape = size.llava(tokenizer.vocabulary());
    let mut llava = Llava::init(
        &shape,
        &mut recipe.device.init(Some(recipe.seed), recipe.precision, recipe.recompute),
    );
    // One tower: that of pictures.
    let mut tower = llava.towers.remove(0);
    tower.encoder = weights::load(tower.encoder, &checkpoint::load(image)?)?;
    llava.backbone = weights::load(llava.backbone, &checkpoint::load(backbone)?)?;
    if let Some(file) = projector {
        tower.projector = weights::load(tower.projector, &checkpoint::load(file)?)?;
    }
    llava.towers.push(tower);
    let tokens = shape.towers[0].tokens();
    let chat = Chat::own(&tokenizer, tokens, shape.backbone.context())?.into();
    let processor = ImageProcessor::padded(side(&shape) as u32);
    let (settings, others) = (SensoriumConfig::default(), Vec::new());
    let home = Home::Own(Box::new(Own { tokenizer: *tokenizer, settings, others }));
    Ok((llava, Training { recipe, chat, processor, processors: [].into(), shape, home }))
}

/// A model that was trained here, with the towers that it is to have beside that of pictures.
fn own<'a>(
    recipe: &'a LlavaRecipe,
    directory: &Directory,
    init: &mut Init,
) -> Result<(Llava, Training<'a>)> {
    if recipe.lora.is_some() {
        let message = "expected a published model, got one that was trained here";
        return Err(model::config("lora", message, "leave [lora] out: all of it can be trained"));
    }
    let mut found = sensorium::trainable(directory, init)?;
    let seeded = &mut recipe.device.init(Some(recipe.seed), recipe.precision, recipe.recompute);
    towers::add(&recipe.media, &mut found, directory, seeded)?;
    let Trainable { settings, text, spliced, others, .. } = found;
    let Spliced { llava, config: shape, processor, processors, .. } = spliced;
    let limits = (shape.towers[0].tokens(), shape.backbone.context());
    let chat = Chat::own(&text.tokenizer, limits.0, limits.1)?.into();
    let home = Home::Own(Box::new(Own { tokenizer: text.tokenizer, settings, others }));
    Ok((llava, Training { recipe, chat, processor, processors: processors.into(), shape, home }))
}

/// The shape of a model that was trained here, with the towers that it is to have.
///
/// # Errors
/// It does not answer, or a tower cannot be added to it.
pub(super) fn own_shape(recipe: &LlavaRecipe, directory: &Directory) -> Result<LlavaConfig> {
    let settings = SensoriumConfig::read(directory)?;
    towers::shape(&recipe.media, &settings, || model::unknown_family(directory, &SEEING))
}

/// The error for an encoder with nothing behind it.
pub(super) fn around() -> TrainError {
    let message = "expected encoder, projector and backbone, got encoder, size and tokenizer";
    model::config("model", message, "recipe = \"clip\" trains a text tower beside an encoder")
}

/// Published models that are trained: with pictures, and without.
pub(super) const SEEING: [&str; 3] = ["llava", "idefics3", "smolvlm"];

/// A published model.
pub(super) fn published<'a>(
    recipe: &'a LlavaRecipe,
    directory: &Directory,
) -> Result<(Llava, Training<'a>)> {
    let init = &mut recipe.device.init(None, recipe.precision, recipe.recompute);
    let family = directory.model_type().unwrap_or_default();
    if family == sensorium::FAMILY {
        return own(recipe, directory, init);
    }
    if let Some(new) = recipe.media.first() {
        let message =
            format!("expected a model that was trained here, got {family} for {}", new.kind);
        return Err(model::config(
            "media",
            &message,
            "model.from = \"runs/llava/instruct/final\" takes them",
        ));
    }
    if BACKBONES.contains(&family) {
        return language_alone(recipe, directory, init);
    }
    if !SEEING.contains(&family) {
        return Err(unknown(directory));
    }
    let spliced = llava::trainable(directory, init)?;
    let text = TextProcessor::read(directory)?;
    seeing(recipe, spliced, text, model::beside(directory)?)
}

/// The error for a published model that is of no family that can be trained.
pub(super) fn unknown(directory: &Directory) -> TrainError {
    let known: Vec<&str> = SEEING.into_iter().chain(families()).chain(BACKBONES).collect();
    model::unknown_family(directory, &known)
}

/// A published language model, which sees nothing.
fn language_alone<'a>(
    recipe: &'a LlavaRecipe,
    directory: &Directory,
    init: &mut Init,
) -> Result<(Llava, Training<'a>)> {
    let (backbone, weights) = language::trainable(directory, init)?;
    if let (BackboneConfig::Gpt2(_), Some(_)) = (&backbone, &recipe.lora) {
        let message = "expected a model whose layers are as peft names them, got gpt2";
        return Err(model::config(
            "lora",
            message,
            "leave [lora] out: all of GPT-2 can be trained",
        ));
    }
    let mut beside = model::beside(directory)?;
    let mut text = TextProcessor::read(directory)?;
    if text.chat.text()?.is_none() {
        text.chat = text.chat.with_template(PLAIN.to_owned());
        beside.push(("chat_template.jinja".into(), PLAIN.into()));
    }
    let names: Vec<String> = directory.shapes()?.into_keys().collect();
    let shape = LlavaConfig { towers: Vec::new(), backbone, prefix: false };
    let chat = Chat::published(text, None, [0, shape.backbone.context()])?.into();
    let (processor, processors) = (ImageProcessor::padded(1), [].into());
    let home = Home::Language(beside, names);
    let llava = Llava::of(Vec::new(), weights);
    Ok((llava, Training { recipe, chat, processor, processors, shape, home }))
}

/// A new model of a published encoder, a new projector and a published language model.
pub(super) fn of_parts<'a>(
    recipe: &'a LlavaRecipe,
    parts: &Parts,
) -> Result<(Llava, Training<'a>)> {
    let [mut init, mut seeded] = [None, Some(recipe.seed)]
        .map(|seed| recipe.device.init(seed, recipe.precision, recipe.recompute));
    let Parts { encoder, projector, backbone } = parts;
    let NewLlava { spliced, text, files } =
        assemble(encoder, *projector, backbone, &mut init, &mut seeded)?;
    seeing(recipe, spliced, text, files)
}

/// A model in the hub's layout, with what stands beside its weights.
fn seeing(
    recipe: &LlavaRecipe,
    spliced: Spliced,
    text: TextProcessor,
    beside: Files,
) -> Result<(Llava, Training<'_>)> {
    let Spliced { llava, config: shape, processor, marker, published, .. } = spliced;
    let limits = [shape.towers[0].tokens(), shape.backbone.context()];
    let chat = Chat::published(text, Some(marker), limits)?.into();
    let home = Home::Published(beside, Box::new(published));
    Ok((llava, Training { recipe, chat, processor, processors: [].into(), shape, home }))
}
