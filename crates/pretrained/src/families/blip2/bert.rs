//! A BERT that a new Q-Former begins with: Li et al. 2023, <https://arxiv.org/abs/2301.12597>, section 3.1.
//!
//! Its layers attend for queries and texts both, its MLPs stand twice, once for each; what asks the
//! picture has no weights there and stays seeded. Texts are all of BERT's first type, whose row is added
//! to its positions: the Q-Former alone with a text says what the BERT says of it.

use sensorium_checkpoint::{Tensor, Tensors};
use sensorium_encoder::text::bert::BertConfig;
use sensorium_media::Tokenizer;
use sensorium_model::blip2::Blip2Pretraining;
use sensorium_model::weights;
use sensorium_nn::prelude::{Activation, Device};

use super::new::{EPS, NewQFormer};
use crate::directory::Directory;
use crate::error::Result;
use crate::families::bert;
use crate::names::BLIP2_PRETRAINING;
use crate::text;

/// Where the parts of a BERT's layer go in the Q-Former's.
const PLACES: [(&str, &[&str]); 4] = [
    ("attention", &["own.attention"]),
    ("norm1", &["own.norm"]),
    ("mlp", &["query_mlp.mlp", "text_mlp.mlp"]),
    ("norm2", &["query_mlp.norm", "text_mlp.norm"]),
];

/// A BERT to begin with.
#[derive(Debug)]
pub struct Bert<'a> {
    directory: &'a Directory,
    config: BertConfig,
}

impl<'a> Bert<'a> {
    /// The BERT in `directory`, whose sizes are those of `new`.
    ///
    /// # Errors
    /// It is no BERT, or its sizes are others.
    pub fn open(directory: &'a Directory, new: &NewQFormer) -> Result<Self> {
        let settings = directory.config();
        let config = bert::config(&settings)?;
        let sizes = [
            ("hidden_size", new.hidden_size, config.hidden_size),
            ("num_hidden_layers", new.n_layers, config.n_layers),
            ("num_attention_heads", new.n_heads, config.n_heads),
            ("intermediate_size", new.intermediate_size, config.intermediate_size),
        ];
        const HINT: &str = "[qformer] holds the sizes of the BERT that it begins with";
        for (key, ours, theirs) in sizes {
            if ours != theirs {
                return Err(settings.wrong(key, &format!("{ours}, as [qformer] says"), HINT));
            }
        }
        if new.context > config.context {
            let expected = format!("at least {}, qformer.context", new.context);
            return Err(settings.wrong("max_position_embeddings", &expected, HINT));
        }
        if config.activation != Activation::Gelu {
            return Err(settings.wrong("hidden_act", "\"gelu\"", "a Q-Former has no other"));
        }
        if config.eps != EPS {
            return Err(settings.wrong("layer_norm_eps", "1e-12", "a Q-Former has no other"));
        }
        Ok(Self { directory, config })
    }

    /// What reads texts.
    ///
    /// # Errors
    /// A file is missing or damaged.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        text::tokenizer(self.directory)
    }

    /// `new`, whose token table has a row for each of the BERT's.
    pub fn sizes(&self, new: &NewQFormer) -> NewQFormer {
        let vocab_size = new.vocab_size.max(self.config.vocab_size);
        NewQFormer { vocab_size, ..new.clone() }
    }

    /// `model` with the BERT's weights wherever it has some.
    pub(super) fn begin(&self, model: Blip2Pretraining) -> Result<Blip2Pretraining> {
        let bert = bert::load(self.directory, &self.config, &Device::flex())?;
        let bert = weights::tensors(&bert)?;
        let mut all = weights::tensors(&model)?;
        for (name, tensor) in &bert.tensors {
            for place in places(name) {
                put(&mut all, &format!("matcher.projector.{place}"), tensor.data())?;
            }
        }
        let [position, types] = ["position", "types.weight"].map(|name| bert.get(name));
        let first = &types?.data()[..self.config.hidden_size];
        let rows = position?.data().chunks(first.len());
        let sums = rows.flat_map(|row| row.iter().zip(first).map(|(a, b)| a + b));
        put(&mut all, "matcher.projector.position", &sums.collect::<Vec<_>>())?;
        // What tells words, where the file has kept it from the pretraining.
        let telling = self.directory.tensors_but(|name| !name.starts_with("cls.predictions."))?;
        for (name, tensor) in &telling.tensors {
            if let Some(ours) = BLIP2_PRETRAINING.from_hf(name) {
                put(&mut all, &ours, tensor.data())?;
            }
        }
        Ok(weights::load(model, &all)?)
    }
}

/// Where a BERT's parameter goes.
fn places(name: &str) -> Vec<String> {
    if name.starts_with("embedding.") {
        return vec![name.to_owned()];
    }
    if name.starts_with("norm.") {
        return vec![format!("qformer.{name}")];
    }
    let layer = name.strip_prefix("blocks.").and_then(|name| name.split_once('.'));
    let Some((layer, name)) = layer else { return Vec::new() };
    let under = |part: &str| name.strip_prefix(part).filter(|rest| rest.starts_with('.'));
    let found = PLACES.iter().find_map(|(part, to)| Some((under(part)?, to)));
    found.map_or_else(Vec::new, |(rest, to)| {
        to.iter().map(|to| format!("qformer.layers.{layer}.{to}{rest}")).collect()
    })
}

/// The first numbers of a tensor are `data`, as many as there are: a table may have more rows than what
/// it begins with, or fewer.
fn put(all: &mut Tensors, name: &str, data: &[f32]) -> Result<()> {
    let (shape, mut values) = all.get(name)?.clone().into_parts();
    let n = values.len().min(data.len());
    values[..n].copy_from_slice(&data[..n]);
    all.tensors.insert(name.to_owned(), Tensor::new(shape, values)?);
    Ok(())
}
