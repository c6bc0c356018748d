//! A light decoder that must tell what lies behind the masks, from what the encoder makes of the patches
//! that it has seen (He et al. 2021, section 3). It is thrown away after training.
//!
//! ```text
//! seen [B, 1+V, E] ──embed──▶ [B, 1+V, D] ┐
//! a mask token for each hidden patch ─────┴─positions, blocks, norm─▶ [B, H, D] ──head──▶ [B, H, P]
//! ```
//! Attention does not ask in which order patches stand, so the hidden ones stand behind the seen ones.

use sensorium_flow::Modality;
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use super::{VitConfig, places};

/// Shape of a [`MaskedDecoder`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaskedDecoderConfig {
    /// Width D.
    pub hidden_size: usize,
    /// Blocks.
    pub n_layers: usize,
    /// Heads; a divisor of the width.
    pub n_heads: usize,
    /// Width inside the MLPs.
    pub intermediate_size: usize,
}

impl Default for MaskedDecoderConfig {
    /// The paper's.
    fn default() -> Self {
        Self { hidden_size: 512, n_layers: 8, n_heads: 16, intermediate_size: 2048 }
    }
}

/// Tells what lies behind the masks from the patches that were seen (He et al. 2021, section 3).
#[derive(Module, Debug)]
pub struct MaskedDecoder {
    embed: Linear,
    mask: Param<Tensor<1>>,
    image: Option<Target>,
    audio: Option<Target>,
    blocks: Vec<Block>,
    norm: LayerNorm,
}

/// What one kind of media has for itself.
#[derive(Module, Debug)]
struct Target {
    position: Param<Tensor<2>>,
    /// Added to every patch, where there are patches of other kinds.
    modality: Option<Param<Tensor<1>>>,
    head: Linear,
}

/// Where the patches of one kind of media are: of each of `B` rows, the first `shown` of its `places
/// [B, N]` are shown.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// The kind.
    pub modality: Modality,
    /// `[B, N]`, row-major.
    pub places: &'a [u32],
    /// Patches of a row that are shown.
    pub shown: usize,
}

impl MaskedDecoder {
    /// Seeded weights for an encoder of these shapes; of a patch, `numbers` are told.
    pub fn init(
        config: &MaskedDecoderConfig,
        image: Option<&VitConfig>,
        audio: Option<&VitConfig>,
        numbers: impl Fn(&VitConfig) -> usize,
        init: &mut Init,
    ) -> Self {
        let (d, several) = (config.hidden_size, image.is_some() && audio.is_some());
        let std = (d as f64).powf(-0.5);
        let eps = image.or(audio).map_or(1e-6, |vit| vit.eps);
        let e = image.or(audio).map_or(d, |vit| vit.hidden_size);
        let block = BlockConfig {
            d,
            heads: config.n_heads,
            hidden: config.intermediate_size,
            activation: Activation::Gelu,
            eps,
            n_layers: config.n_layers,
        };
        let mut target = |vit: &VitConfig| Target {
            position: init.values(|| places(vit.grids(), 0, d), [vit.patches(), d]),
            modality: several.then(|| init.normal([d], 0.02)),
            head: Linear::init(d, numbers(vit), true, std, init),
        };
        let (image, audio) = (image.map(&mut target), audio.map(&mut target));
        Self {
            embed: Linear::init(e, d, true, (e as f64).powf(-0.5), init),
            mask: init.normal([d], 0.02),
            image,
            audio,
            blocks: (0..config.n_layers).map(|_| Block::init(&block, init)).collect(),
            norm: LayerNorm::init(d, eps, init),
        }
    }

    fn target(&self, modality: Modality) -> &Target {
        let target = if modality == Modality::Audio { &self.audio } else { &self.image };
        target.as_ref().expect("patches are of a kind that the decoder was made for")
    }

    /// What the hidden patches of each kind of media are, `[B, H, P]`, by what the encoder makes of
    /// the others: `seen [B, 1+V, E]`, class first, then those of each kind.
    pub fn forward(&self, seen: Tensor<3>, kinds: &[Places<'_>]) -> Vec<Tensor<3>> {
        let seen = self.embed.forward(seen); // [B, 1+V, D]
        let [b, _, d] = seen.dims();
        let (mut shown, mut hidden, mut start) = (vec![seen.clone().narrow(1, 0, 1)], vec![], 1);
        for kind in kinds {
            let at = self.positions(kind, [b, d]); // [B, N, D]
            let (n, v) = (at.dims()[1], kind.shown);
            shown.push(seen.clone().narrow(1, start, v) + at.clone().narrow(1, 0, v));
            hidden.push(at.narrow(1, v, n - v) + self.mask.val().unsqueeze());
            start += v;
        }
        let counts: Vec<usize> = hidden.iter().map(|hidden| hidden.dims()[1]).collect();
        let x = Tensor::cat(shown.into_iter().chain(hidden).collect(), 1);
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x, &Mask::Full, None));
        let told = kinds.iter().zip(counts).map(|(kind, count)| {
            let rows = x.clone().narrow(1, start, count);
            start += count;
            self.target(kind.modality).head.forward(self.norm.forward(rows))
        });
        told.collect()
    }

    /// `[B, N, D]`, in the order of the places.
    fn positions(&self, kind: &Places<'_>, [b, d]: [usize; 2]) -> Tensor<3> {
        let Target { position, modality, .. } = self.target(kind.modality);
        let at: Vec<i32> = kind.places.iter().map(|&place| place as i32).collect();
        let n = at.len() / b;
        let at = fused::embedding(position.val(), at).reshape([b, n, d]);
        modality.iter().fold(at, |at, modality| at + modality.val().unsqueeze())
    }
}
