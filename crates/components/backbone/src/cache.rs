//! Keys and values of the tokens a backbone has already read.

use sensorium_flow::Embeds;
use sensorium_nn::fused::KeyValues;
use sensorium_nn::prelude::Tensor;

/// One entry a layer; grows as tokens are read.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    layers: Vec<KeyValues>,
    tokens: usize,
    /// How far the next token's position lies from their number: where media have places on three axes, the
    /// positions of many tokens are fewer.
    shift: isize,
}

impl Cache {
    /// Tokens read so far.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The position of the next token.
    pub(crate) fn position(&self) -> usize {
        self.tokens.saturating_add_signed(self.shift)
    }

    /// The first `n` of the tokens read.
    ///
    /// # Panics
    /// When there are fewer, or they do not just follow each other.
    pub fn first(&self, n: usize) -> Self {
        assert!(n <= self.tokens, "{n} of {} tokens", self.tokens);
        assert_eq!(self.shift, 0, "tokens that have places on three axes");
        let layers = self.layers.iter().map(|layer| layer.first(n, self.tokens));
        Self { layers: layers.collect(), tokens: n, shift: 0 }
    }

    /// Bytes of all that it keeps.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(KeyValues::numbers).sum::<usize>() * size_of::<f32>()
    }

    /// What `layer` has read.
    pub(crate) fn layer(&mut self, layer: usize) -> &mut KeyValues {
        if layer >= self.layers.len() {
            self.layers.resize_with(layer + 1, KeyValues::default);
        }
        &mut self.layers[layer]
    }

    /// Has `run` read `x [S, 1, D]`, one more token of each of several texts, with their positions and
    /// one cache that holds them all, a sample each: `[S, D]`.
    ///
    /// # Panics
    /// When there is not a token for each cache, or one of them holds several texts.
    pub(crate) fn step(
        caches: &mut [&mut Self],
        Embeds(x): Embeds,
        run: impl FnOnce(Tensor<3>, &[usize], &mut Self) -> Tensor<3>,
    ) -> Tensor<2> {
        assert_eq!(x.dims()[0], caches.len(), "one token for each cache");
        let positions: Vec<_> = caches.iter().map(|cache| cache.position()).collect();
        let n_layers = caches.iter().map(|cache| cache.layers.len()).max().unwrap_or(0);
        let join = |i| KeyValues::join(caches.iter_mut().map(|cache| cache.layer(i)));
        let mut all = Self { layers: (0..n_layers).map(join).collect(), ..Self::default() };
        let hidden = run(x, &positions, &mut all);
        for (i, kept) in all.layers.into_iter().enumerate() {
            for (cache, kept) in caches.iter_mut().zip(kept.split()) {
                *cache.layer(i) = kept;
            }
        }
        caches.iter_mut().for_each(|cache| cache.advance(1));
        hidden.squeeze_dim(1)
    }

    pub(crate) fn advance(&mut self, tokens: usize) {
        self.tokens += tokens;
    }

    /// The next token's position, whatever the number of those before it.
    pub(crate) fn go_on_at(&mut self, position: usize) {
        self.shift = position as isize - self.tokens as isize;
    }
}
