//! Keys and values of the tokens a backbone has already read.

use sensorium_nn::fused::KeyValues;

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
