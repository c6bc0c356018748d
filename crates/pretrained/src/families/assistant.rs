//! Published language models and what sees or hears for them, as they are trained further: opened with layers that
//! learn, and their tensors as their own files have them.
//!
//! ```text
//! directory ──trainable──▶ Pretrained ──steps──▶ Assistant ──Published──▶ the directory's tensors, with what was
//!                                                                         learned in the place of what it was
//! ```

use std::collections::BTreeSet;

use sensorium_checkpoint::{Tensor, Tensors};
use sensorium_model::assistant::{Assistant, AssistantConfig};
use sensorium_nn::prelude::*;

use super::language::{self, Place};
use super::spelling::{Spelling, Spellings};
use super::{audio_language, llava, qwen_vl};
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::names;
use crate::{CausalLm, Pretrained, TextProcessor};

/// Families that are trained alike.
struct Kind {
    model_types: &'static [&'static str],
    /// The model, with layers as `init` makes them.
    open: fn(&Directory, &mut Init) -> Result<Pretrained>,
    /// Its shape, and how its tensors are called.
    spelt: fn(&Directory) -> Result<(AssistantConfig, Spellings)>,
}

const KINDS: [Kind; 4] = [
    Kind {
        model_types: &["llava_next", "llava_onevision", "gemma3", "paligemma", "internvl"],
        open: |directory, init| {
            let text = TextProcessor::read(directory)?;
            Ok(Pretrained::Llava(text, llava::trainable(directory, init)?))
        },
        spelt: llava::spelt,
    },
    Kind {
        model_types: &["qwen2_vl", "qwen2_5_vl", "qwen3_vl"],
        open: |directory, init| {
            let text = TextProcessor::read(directory)?;
            Ok(Pretrained::QwenVl(text, qwen_vl::trainable(directory, init)?))
        },
        spelt: qwen_vl::spelt,
    },
    Kind {
        model_types: &["qwen2_audio"],
        open: |directory, init| {
            Ok(Pretrained::AudioLanguage(audio_language::trainable(directory, init)?))
        },
        spelt: audio_language::spelt,
    },
    Kind {
        model_types: &["gemma", "gemma2", "gemma3_text"],
        open: |directory, init| {
            let text = TextProcessor::read(directory)?;
            let (config, backbone) = language::trainable(directory, init)?;
            Ok(Pretrained::Language(CausalLm { text, config, backbone }))
        },
        spelt: |directory| {
            let backbone = language::config(&directory.config())?;
            let config =
                AssistantConfig { towers: Vec::new(), patches: None, anyres: None, backbone };
            let alone = Spelling { tower: names::GEMMA, part: "", place: Place::Whole("") };
            Ok((config, Spellings { files: alone, memory: alone }))
        },
    },
];

/// Every `model_type` that is trained so.
pub fn families() -> impl Iterator<Item = &'static str> {
    KINDS.iter().flat_map(|kind| kind.model_types).copied()
}

fn kind(directory: &Directory) -> Result<&'static Kind> {
    let family = directory.model_type().unwrap_or_default();
    KINDS.iter().find(|kind| kind.model_types.contains(&family)).ok_or_else(|| {
        let known: Vec<&str> = families().collect();
        let hint = "models of other families cannot be trained so";
        directory.config().wrong("model_type", &format!("one of {}", known.join(", ")), hint)
    })
}

/// The model in a directory, to be trained, with layers as `init` makes them.
///
/// # Errors
/// It is of another family; a file is missing or damaged; the weights are not those of the configuration.
pub fn trainable(directory: &Directory, init: &mut Init) -> Result<Pretrained> {
    (kind(directory)?.open)(directory, init)
}

impl Spelling {
    /// The name of what holds our parameter `name`, alone or with others.
    fn name(&self, config: &AssistantConfig, name: &str) -> String {
        match name.strip_prefix("backbone.") {
            Some(name) => {
                let name = language::published_name(&config.backbone, name);
                self.place.outer(&config.backbone, &name)
            }
            None => self.tower.file_name(name.strip_prefix(self.part).unwrap_or(name)),
        }
    }
}

/// How an assistant is published.
#[derive(Debug)]
pub struct Published {
    /// Its shape.
    pub config: AssistantConfig,
    directory: Directory,
    spellings: Spellings,
}

impl Published {
    /// That of a directory.
    ///
    /// # Errors
    /// It is of another family, or its settings are damaged.
    pub fn read(directory: &Directory) -> Result<Self> {
        let (config, spellings) = (kind(directory)?.spelt)(directory)?;
        Ok(Self { config, directory: directory.clone(), spellings })
    }

    /// The name that transformers has for our parameter `name`, however the files spell it.
    pub fn module(&self, name: &str) -> String {
        self.spellings.memory.name(&self.config, name)
    }

    /// That parameters of these names can be published once they have learned.
    ///
    /// # Errors
    /// The files hold one of them in another form than it is read in.
    pub fn holds(&self, names: impl IntoIterator<Item = String>) -> Result<()> {
        let stored = self.directory.shapes()?;
        let folded = self.directory.model_type() == Some(llava::INTERNVL);
        for name in names {
            let theirs = self.spellings.files.name(&self.config, &name);
            // Factors are multiplied into the matrices before them.
            let is_folded = folded && name.contains(".encoder.blocks.");
            if is_folded || !stored.contains_key(&theirs) {
                let expected = "parts that the files hold as they are read".to_owned();
                return Err(Error::Part { expected, got: name });
            }
        }
        Ok(())
    }

    /// The directory's tensors, with what of `model` is trainable in the place of what it was: all else bit for bit.
    ///
    /// # Errors
    /// The directory can no longer be read.
    pub fn tensors(&self, model: &Assistant) -> Result<Tensors> {
        let plan = (super::family(&self.directory)?.plan)(&self.directory)?;
        let mut tensors = self.directory.tensors_but(|name| plan.is_ignorable(name))?.tensors;
        let trained = params::list(model).into_iter().filter(|p| p.trainable);
        let name = |name: &str| self.spellings.files.name(&self.config, name);
        let trained: BTreeSet<String> = trained.map(|p| name(&p.name)).collect();
        let new = self.whole(model)?.tensors;
        for (name, tensor) in new.into_iter().filter(|(name, _)| trained.contains(name)) {
            // Sizes of 1, and convolutions that are read as matrices, stay as they are in the file.
            let shape = tensors.get(&name).map_or(tensor.shape(), Tensor::shape).to_vec();
            tensors.insert(name, Tensor::new(shape, tensor.into_parts().1)?);
        }
        if let Some(table) = tensors.get(&name("backbone.embedding.weight")).cloned() {
            let copies = plan.copies.iter().filter(|copy| tensors.contains_key(**copy));
            let copies: Vec<String> = copies.map(|copy| (*copy).to_owned()).collect();
            tensors.extend(copies.into_iter().map(|copy| (copy, table.clone())));
        }
        Ok(Tensors { tensors, ..Tensors::default() })
    }

    /// All that `model` has under the files' names, but for shapes.
    fn whole(&self, model: &Assistant) -> Result<Tensors> {
        let Spelling { tower: layout, part, place } = self.spellings.files;
        let mut tensors = place.publish(&model.backbone, &self.config.backbone)?;
        let prefix = if part.is_empty() { "towers.0" } else { "" };
        for tower in &model.towers {
            tensors.tensors.extend(names::save_part(tower, prefix, &layout)?.tensors);
        }
        if let Some(patches) = &model.patches {
            tensors.tensors.extend(names::save(patches, &layout)?.tensors);
        }
        if let Some(anyres) = &model.anyres {
            tensors.tensors.extend(names::save_part(anyres, "anyres", &layout)?.tensors);
        }
        llava::publish(&mut tensors, &layout, &self.config.towers)?;
        Ok(tensors)
    }
}
