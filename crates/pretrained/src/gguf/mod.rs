//! Language models in a GGUF file: its metadata is their settings, tokenizer and template.

pub mod config;
pub mod inspect;
pub mod tokenizer;
pub mod weights;

use sensorium_backbone::{Backbone, BackboneConfig};
use sensorium_checkpoint::gguf::{Gguf, Info};
use sensorium_nn::device;
use sensorium_nn::prelude::*;

use crate::error::Result;
use crate::generation::GenerationConfig;
use crate::plan::tell_strays;
use crate::text::TextProcessor;
use crate::{CausalLm, ignored};

/// The model of a parsed file, its matrices in `format`; without one, multiplied as they are stored
/// where there is a kernel for that. Where it is not `strict`, one is told of what is not heeded.
///
/// # Errors
/// It is not of a supported model, or damaged, or holds what is not heeded and is `strict`.
pub fn open(
    gguf: &Gguf<'_>,
    format: Option<pack::Format>,
    strict: bool,
    device: &Device,
) -> Result<CausalLm> {
    let (config, family) = config::read(gguf)?;
    tell(gguf, strict)?;
    let tokenizer = tokenizer::read(&gguf.metadata)?;
    let special_ids = tokenizer::special_ids(&gguf.metadata, &tokenizer)?;
    let count = |info: &Info<'_>| info.shape().iter().map(|&n| n as u64).product();
    device::fits(device, gguf.tensors().iter().map(|info| (info.name(), count(info))))?;
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

/// Warns of metadata that is not heeded, of tensors that a language model has no place for, and of
/// bytes behind the last tensor.
///
/// # Errors
/// There are some, and the file is to be `strict`; it is not of a supported model.
pub fn tell(gguf: &Gguf<'_>, strict: bool) -> Result<()> {
    let family = config::family(&gguf.metadata)?;
    ignored::tell("", "metadata", &config::ignored(&gguf.metadata, family), strict)?;
    if gguf.behind() > 0 {
        let behind = format!("{} bytes behind the last", gguf.behind());
        ignored::tell("", "tensors", &[behind], strict)?;
    }
    let names = gguf.tensors().iter().map(Info::name);
    let strays: Vec<&str> = names.filter(|name| config::is_stray(name)).collect();
    if strict {
        let strays: Vec<String> = strays.into_iter().map(str::to_owned).collect();
        return ignored::tell("", "tensors", &strays, strict);
    }
    tell_strays("", &strays);
    Ok(())
}
