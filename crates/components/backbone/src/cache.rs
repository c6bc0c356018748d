//! Keys and values of the tokens a backbone has already read.

use std::sync::Arc;

use sensorium_nn::fused::KeyValues;
use sensorium_nn::prelude::Mask;

/// One entry a layer; grows as tokens are read.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    layers: Vec<KeyValues>,
    tokens: usize,
}

impl Cache {
    /// Tokens read so far.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// What `layer` has read.
    pub(crate) fn layer(&mut self, layer: usize) -> &mut KeyValues {
        if layer >= self.layers.len() {
            self.layers.resize_with(layer + 1, KeyValues::default);
        }
        &mut self.layers[layer]
    }

    pub(crate) fn advance(&mut self, tokens: usize) {
        self.tokens += tokens;
    }
}

/// What `t` tokens after `offset` others see: those before them, and all of their span.
pub(crate) fn mask(spans: Option<Arc<[i32]>>, offset: usize, t: usize) -> Mask {
    let Some(spans) = spans else { return Mask::Causal { offset } };
    // Spans are numbered over all keys; earlier calls' keys carry none.
    let rows = spans.chunks(t);
    let spans = rows.flat_map(|row| std::iter::repeat_n(0, offset).chain(row.iter().copied()));
    Mask::Prefix { offset, spans: spans.collect() }
}
