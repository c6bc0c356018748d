//! Models from directories, as what they are, and questions to them.

use std::ops::ControlFlow;
use std::path::Path;

use sensorium_inference::{
    ChatModel, GenerateOptions, IdeficsModel, Model, Options, Reply, Result, VisionLanguageModel,
};
use sensorium_media::{Media, Message, Picture};
use sensorium_nn::device::from_env;
use sensorium_nn::prelude::{Device, pack};
use sensorium_pretrained::{Directory, Pretrained};

/// The CPU, or what `SENSORIUM_DEVICE` names.
pub fn device() -> Device {
    from_env().unwrap_or_else(|error| panic!("{error}"))
}

pub fn pretrained(path: &Path) -> sensorium_pretrained::Result<Pretrained> {
    Pretrained::load(&Directory::open(path)?.strict(true), &device())
}

pub fn model(path: &Path, format: Option<pack::Format>) -> Result<Model> {
    Model::open(path, &Options { format, strict: true, ..Options::on(&device()) })
}

pub fn vision_language(path: &Path, format: Option<pack::Format>) -> Result<VisionLanguageModel> {
    match model(path, format)? {
        Model::VisionLanguage(model) => Ok(model),
        _ => panic!("{} is no vision-language model", path.display()),
    }
}

pub fn idefics(path: &Path) -> Result<IdeficsModel> {
    match model(path, None)? {
        Model::Idefics(model) => Ok(model),
        _ => panic!("{} is no Idefics", path.display()),
    }
}

/// At most so many tokens, the likeliest.
pub fn answer(
    model: &dyn ChatModel,
    messages: &[Message],
    pictures: &[Picture],
    max_new_tokens: usize,
) -> Result<Reply> {
    let options = GenerateOptions { max_new_tokens, ..GenerateOptions::default() };
    let media: Vec<Media> = pictures.iter().cloned().map(Media::Image).collect();
    model.answer(messages, &media, &options, &mut |_| ControlFlow::Continue(()))
}
