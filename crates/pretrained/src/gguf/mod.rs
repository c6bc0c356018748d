//! Language models in a GGUF file: its metadata is their settings, tokenizer and template.

pub mod config;
pub mod inspect;
pub mod tokenizer;
pub mod weights;

use sensorium_backbone::{Backbone, BackboneConfig};
use sensorium_checkpoint::gguf::Gguf;
use sensorium_nn::prelude::*;

use crate::CausalLm;
use crate::error::Result;
use crate::generation::GenerationConfig;
use crate::text::TextProcessor;

/// The model of a parsed file, its matrices in `format`; without one, multiplied as they are stored
/// where there is a kernel for that.
///
/// # Errors
/// It is not of a supported model, or damaged.
pub fn open(gguf: &Gguf<'_>, format: Option<pack::Format>, device: &Device) -> Result<CausalLm> {
    let (config, family) = config::read(gguf)?;
    let tokenizer = tokenizer::read(&gguf.metadata)?;
    let special_ids = tokenizer::special_ids(&gguf.metadata, &tokenizer)?;
    let backbone = Backbone::Llama(weights::load(gguf, &config, family, format, device)?);
    let text = TextProcessor {
        tokenizer,
        bos_token_id: special_ids.bos_token_id,
        suffix: Vec::new(),
        generation: GenerationConfig::default(),
        eos_token_ids: special_ids.eos_token_ids,
        chat: tokenizer::chat(&gguf.metadata),
    };
    Ok(CausalLm { text, config: BackboneConfig::Llama(config), backbone })
}
