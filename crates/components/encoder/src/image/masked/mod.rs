//! One transformer for patches of several kinds of media, of which it is shown some: what masked
//! pre-training trains. For each kind there is a [`Vit`] in it.
//!
//! He et al. 2021 (MAE), <https://arxiv.org/abs/2111.06377>; Huang et al. 2022 (Audio-MAE),
//! <https://arxiv.org/abs/2207.06405>
//!
//! ```text
//! patches of pictures     [B, n, c·p·p] ──embed──▶ [B, n, E] ┐
//! patches of spectrograms [B, m, p·p] ────embed──▶ [B, m, E] ┴─class in front, blocks─▶ [B, 1+n+m, E]
//! ```

mod decoder;

use sensorium_flow::Modality;
use sensorium_nn::prelude::*;

pub use decoder::{MaskedDecoder, MaskedDecoderConfig, Places};

use super::vit::{Stem, places};
use super::{Vit, VitConfig};

/// One transformer for the visible patches of pictures, spectrograms or both (He et al. 2021; Huang et al. 2022).
#[derive(Module, Debug)]
pub struct MaskedVit {
    image: Option<PatchEmbedding>,
    audio: Option<PatchEmbedding>,
    class: Param<Tensor<1>>,
    blocks: Vec<Block>,
    norm: LayerNorm,
}

/// What one kind of media has for itself.
#[derive(Module, Debug)]
struct PatchEmbedding {
    stem: Stem,
    position: Param<Tensor<2>>,
    /// Added to every patch, where there are patches of other kinds.
    modality: Option<Param<Tensor<1>>>,
}

impl MaskedVit {
    /// Seeded weights for the kinds of media that have a config; all but what is read is the same in
    /// each of these, and their stem is one convolution that reads each pixel once.
    ///
    /// # Panics
    /// When there is no config.
    pub fn init(image: Option<&VitConfig>, audio: Option<&VitConfig>, init: &mut Init) -> Self {
        let shared = image.or(audio).expect("patches are of pictures or of sounds");
        let (e, several) = (shared.hidden_size, image.is_some() && audio.is_some());
        let mut embedding = |config: &VitConfig| PatchEmbedding {
            stem: Stem::init(config, init),
            position: init.values(|| places(config.grids(), 0, e), [config.patches(), e]),
            modality: several.then(|| init.normal([e], 0.02)),
        };
        let (image, audio) = (image.map(&mut embedding), audio.map(&mut embedding));
        Self {
            image,
            audio,
            class: init.normal([e], 0.02),
            blocks: (0..shared.n_layers).map(|_| Block::init(&shared.block(), init)).collect(),
            norm: LayerNorm::init(e, shared.eps, init),
        }
    }

    fn embedding(&self, modality: Modality) -> &PatchEmbedding {
        let embedding = if modality == Modality::Audio { &self.audio } else { &self.image };
        embedding.as_ref().expect("patches are of a kind that the encoder was made for")
    }

    /// Patches as tokens: `patches [B, n, c·p·p]`, each at its place of the grid, `places [B·n]`, to
    /// `[B, n, E]`.
    ///
    /// # Panics
    /// When the encoder was made for media of other kinds.
    pub fn embed(&self, modality: Modality, patches: Tensor<3>, places: &[u32]) -> Tensor<3> {
        let PatchEmbedding { stem, position, modality } = self.embedding(modality);
        let [b, n, _] = patches.dims();
        let e = self.class.dims()[0];
        let at = places.iter().map(|&place| place as i32).collect();
        let position = fused::embedding(position.val(), at).reshape([b, n, e]);
        let x = stem.convs[0].patches(patches) + position;
        modality.iter().fold(x, |x, modality| x + modality.val().unsqueeze())
    }

    /// Tokens through the blocks, `[B, n, E] -> [B, 1+n, E]` with the class token first: what each
    /// block gives, in order.
    pub fn levels(&self, tokens: Tensor<3>) -> Vec<Tensor<3>> {
        let [b, _, e] = tokens.dims();
        let class = self.class.val().reshape([1, 1, e]).repeat_dim(0, b);
        let mut x = Tensor::cat(vec![class, tokens], 1);
        let through = self.blocks.iter().map(|block| {
            x = block.forward(x.clone(), &Mask::Full, None);
            x.clone()
        });
        through.collect()
    }

    /// Tokens to features after the last norm, the class token's first: `[B, n, E] -> [B, 1+n, E]`.
    pub fn forward(&self, tokens: Tensor<3>) -> Tensor<3> {
        let last = self.levels(tokens).pop();
        self.norm.forward(last.expect("an encoder has blocks"))
    }

    /// The encoder of one kind of media, of the shape that it was made with.
    ///
    /// # Panics
    /// When the encoder was made for media of other kinds.
    pub fn vit(&self, modality: Modality, config: &VitConfig) -> Vit {
        let PatchEmbedding { stem, position, modality } = self.embedding(modality).clone();
        let table = position.val();
        let (device, e) = (table.device(), config.hidden_size);
        let table = modality.iter().fold(table, |table, kind| table + kind.val().unsqueeze());
        let table = Tensor::cat(vec![Tensor::zeros([1, e], &device), table], 0);
        let mut vit = Vit::init(config, &mut Init::empty(&device));
        (vit.stem, vit.class) = (stem, Some(self.class.clone()));
        vit.position = Some(Param::from_tensor(table.detach()));
        (vit.blocks, vit.norm) = (self.blocks.clone(), self.norm.clone());
        vit
    }
}
