//! Keys and values of the tokens a backbone has already read.

use sensorium_nn::prelude::*;

/// One entry a layer; grows as tokens are read.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    layers: Vec<(Tensor<4>, Tensor<4>)>,
    tokens: usize,
}

impl Cache {
    /// Tokens read so far.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Adds `keys, values [B, T, Hkv, K]` of `layer` and returns all of that layer's.
    pub(crate) fn extend(
        &mut self,
        layer: usize,
        keys: Tensor<4>,
        values: Tensor<4>,
    ) -> (Tensor<4>, Tensor<4>) {
        let all = match self.layers.get(layer) {
            Some((k, v)) => (
                Tensor::cat(vec![k.clone(), keys], 1), // [B, T', Hkv, K]
                Tensor::cat(vec![v.clone(), values], 1),
            ),
            None => (keys, values),
        };
        if layer < self.layers.len() {
            self.layers[layer] = all.clone();
        } else {
            self.layers.push(all.clone());
        }
        all
    }

    pub(crate) fn advance(&mut self, tokens: usize) {
        self.tokens += tokens;
    }
}
