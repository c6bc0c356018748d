//! A published language model writes several texts at once, a token of each at a time.

use std::path::Path;
use std::sync::Arc;

use sensorium_backbone::{BackboneConfig, Cache, Llama};
use sensorium_model::checkpoint::gguf::Mapped;
use sensorium_model::llm::Llm;
use sensorium_model::names::GGUF;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_nn::running_device;
use serde_json::Map;

use crate::llm::PROMPT;
use crate::{Task, fail, timed};

/// `tokens` of each of so many texts, after a prompt.
pub fn decode(file: &str, texts: usize, tokens: usize) -> Task {
    let path = Path::new(file);
    let BackboneConfig::Llama(config) = Llm::open(path, None).unwrap_or_else(fail).config else {
        fail("expected a Llama")
    };
    let llama = open(path, &config);
    let vocabulary = config.vocabulary;
    let prompted: Vec<Cache> = (0..texts)
        .map(|text| {
            let ids: Vec<u32> =
                (0..PROMPT).map(|i| ((i + text) * 7919 % vocabulary) as u32).collect();
            let mut cache = Cache::default();
            llama.extend(llama.embed(&ids, [1, PROMPT]), None, &mut cache);
            cache
        })
        .collect();
    let run = Box::new(move || {
        let mut caches = prompted.clone();
        let mut ids: Vec<u32> = (0..texts as u32).collect();
        let (_, ms) = timed(|| {
            for _ in 0..tokens {
                let hidden = llama.step(&ids, &mut caches.iter_mut().collect::<Vec<_>>());
                ids = read(llama.logits(hidden)).chunks(vocabulary).map(best).collect();
            }
        });
        ms
    });
    Task { facts: Map::new(), run }
}

/// The file's matrices. Norms and token table are drawn, and the rows of queries and keys are in the
/// file's order: the work is the same.
fn open(path: &Path, config: &sensorium_backbone::LlamaConfig) -> Llama {
    let mapped = Mapped::open(path).unwrap_or_else(fail);
    let gguf = mapped.gguf().unwrap_or_else(fail);
    let mut llama = Llama::init(config, &mut Init::new(1, &running_device()));
    llama.pack("", &mut |layer, _| {
        let info = gguf.get(&GGUF.to_hf(&format!("{layer}.weight"))).unwrap_or_else(fail);
        let (out, in_) = (info.shape()[0], info.shape()[1]);
        let kind = info.kind().try_into();
        let kind = kind.unwrap_or_else(|kind| fail(format!("{layer} is {kind:?}")));
        Arc::new(Packed::from_blocks(kind, out, in_, info.bytes()))
    });
    llama
}

fn best(logits: &[f32]) -> u32 {
    let most = logits.iter().copied().fold(f32::MIN, f32::max);
    logits.iter().position(|&x| x == most).unwrap_or(0) as u32
}
