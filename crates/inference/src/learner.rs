//! Language models that read media among their tokens, as they are trained: the very prompts and features that they
//! answer with.

use sensorium_media::{Media, Message};
use sensorium_model::assistant::Assistant;
use sensorium_nn::prelude::Init;
use sensorium_pretrained::families::assistant::trainable;
use sensorium_pretrained::{Directory, Pretrained};

use crate::error::Result;
use crate::generate::Inputs;
use crate::{
    AudioLanguageModel, ChatModel, LanguageModel, Model, QwenVlModel, VisionLanguageModel,
};

/// A model that answers and goes on learning to.
pub trait Learner: ChatModel + Send {
    /// Puts these weights, which are of the model's shape, in the place of those that it has, and gives those back.
    fn put(&mut self, weights: Assistant) -> Assistant;

    /// A whole conversation as the backbone reads it, with its answers marked; what weights that learn made of its
    /// media passes gradients on to them.
    ///
    /// # Errors
    /// The template refuses the messages, the media take more tokens than the model reads, or are of no kind that
    /// it knows.
    fn lesson(&self, messages: &[Message], media: &[Media]) -> Result<Inputs>;
}

/// The model in a directory, with layers as `init` makes them.
///
/// # Errors
/// It is of none of [`families`](sensorium_pretrained::families::assistant::families), or damaged.
pub fn learner(directory: &Directory, init: &mut Init) -> Result<Box<dyn Learner>> {
    Ok(match trainable(directory, init)? {
        Pretrained::Llava(text, spliced) => Box::new(VisionLanguageModel::spliced(text, spliced)?),
        Pretrained::QwenVl(text, model) => Box::new(QwenVlModel::new(text, model)?),
        Pretrained::AudioLanguage(parts) => Box::new(AudioLanguageModel::new(parts)),
        Pretrained::Language(lm) => Box::new(LanguageModel { lm }),
        other => return Err(Model::from(other)?.cannot("learns to answer", "see docs/models.md")),
    })
}
