//! What layers that cross-attend keep of media, and which of them a token sees.

use sensorium_flow::Sequence;
use sensorium_nn::prelude::Tensor;

use crate::Cache;

/// Keys and values `[B, N, H, K]` that one layer makes of a medium.
pub(crate) type KeysValues = [Tensor<4>; 2];

/// What was shown and read: each cross-attending layer's keys and values of every medium, made once,
/// and those of the tokens read so far.
#[derive(Clone, Debug, Default)]
pub struct CrossCache {
    /// Of each medium, for each layer.
    pub(crate) media: Vec<Vec<KeysValues>>,
    pub(crate) read: Cache,
}

impl CrossCache {
    /// Tokens read so far.
    pub fn tokens(&self) -> usize {
        self.read.tokens()
    }

    /// Media shown so far.
    pub fn media(&self) -> usize {
        self.media.len()
    }

    /// Runs a call that shows these media: `run` is given all media, and the tokens read so far where
    /// there is a cache, which keeps both.
    pub(crate) fn call<T>(
        cache: Option<&mut Self>,
        shown: impl IntoIterator<Item = Vec<KeysValues>>,
        run: impl FnOnce(&[Vec<KeysValues>], Option<&mut Cache>) -> T,
    ) -> T {
        let mut alone = Self::default();
        let keeps = cache.is_some();
        let Self { media, read } = cache.unwrap_or(&mut alone);
        media.extend(shown);
        run(media, keeps.then_some(read))
    }
}

/// The medium that each of `[B, T]` tokens sees, of so many.
pub(crate) fn cross_attention(
    sequence: &Sequence,
    [b, t]: [usize; 2],
    media: usize,
) -> Vec<Option<usize>> {
    match &sequence.cross_attention {
        Some(seen) => seen.to_vec(),
        None => (0..b * t).map(|i| Some(i / t).filter(|medium| *medium < media)).collect(),
    }
}
