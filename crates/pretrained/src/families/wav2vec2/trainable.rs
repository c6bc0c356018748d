//! A published model that goes on learning, and its files afterwards.

use sensorium_checkpoint::Tensors;
use sensorium_encoder::audio::Wav2Vec2;
use sensorium_nn::prelude::*;

use super::{SampleExtractor, Vocabulary, Wav2Vec2Parts, config, plan};
use crate::directory::Directory;
use crate::error::Result;
use crate::feature_extractor;
use crate::names::{self, Layout};
use crate::weight_norm;

/// How a directory's files spell the model.
#[derive(Clone, Debug)]
pub struct Trainable {
    layout: Layout,
    /// Whether lengths and directions are called as PyTorch's newer way does.
    newer: bool,
    /// What is there for its training only, of which nothing learns here.
    kept: Tensors,
}

/// The model in a directory, with layers as `init` makes them: what tells positions is learned as the lengths and
/// directions that the files hold.
///
/// # Errors
/// As [`open`](super::open).
pub fn trainable(directory: &Directory, init: &mut Init) -> Result<(Wav2Vec2Parts, Trainable)> {
    let config = config(&directory.config())?;
    let extractor = feature_extractor::settings(directory, SampleExtractor::read)?;
    let vocabulary = Vocabulary::read(directory, config.vocab_size)?;
    let plan = plan(directory)?;
    let strays = plan.check(directory)?;
    let mut tensors = directory.tensors_but(|name| strays.contains(name))?;
    let mut kept = Tensors::default();
    let unread = |name: &&String| plan.is_ignorable(name);
    for name in tensors.tensors.keys().filter(unread).cloned().collect::<Vec<_>>() {
        kept.tensors.extend(tensors.tensors.remove_entry(&name));
    }
    let newer = weight_norm::respell(&mut tensors, false);
    let lengths = tensors.tensors.keys().any(|name| name.ends_with(".weight_g"));
    let layout = match (plan.family, lengths) {
        ("hubert", true) => names::HUBERT_TRAINING,
        (_, true) => names::WAV2VEC2_TRAINING,
        (_, false) => plan.layout,
    };
    let model = Wav2Vec2::init(&config, init);
    let model = if lengths { model.with_lengths(init) } else { model };
    let model = names::take(model, tensors, &layout)?;
    let device = init.device().clone();
    let parts = Wav2Vec2Parts { config, vocabulary, extractor, model, device };
    Ok((parts, Trainable { layout, newer, kept }))
}

impl Trainable {
    /// The tensors of the model as the files had them.
    ///
    /// # Errors
    /// Never in practice: a parameter's shape always fits its values.
    pub fn tensors(&self, model: &Wav2Vec2) -> Result<Tensors> {
        let mut tensors = names::save(model, &self.layout)?;
        if self.newer {
            weight_norm::respell(&mut tensors, true);
        }
        let kept = self.kept.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.clone()));
        tensors.tensors.extend(kept);
        Ok(tensors)
    }

    /// What transformers calls our parameter.
    pub fn module(&self, name: &str) -> String {
        self.layout.to_hf(name)
    }
}
