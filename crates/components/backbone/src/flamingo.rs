//! Any decoder that is shown pictures: before some of its layers a gated block asks what they hold.
//!
//! Alayrac et al. 2022 (Flamingo), section 2.2, <https://arxiv.org/abs/2204.14198>, with the sizes of
//! OpenFlamingo (Awadalla et al. 2023, <https://arxiv.org/abs/2308.01390>).
//!
//! ```text
//! features [M, N, E] ──keys, values, once─────┐
//! embeds [B, T, P] ──▶ (layers ──▶ gated block)·· ──▶ hidden [B, T, P] ──head──▶ logits [.., V + 2]
//! ```
//! Two tokens are new, behind the V of the decoder: a picture's place, and the end of what is said of it.
//! Their rows alone are learned of the table, and are read by the head, too.

use sensorium_flow::{Embeds, Features, Forward, Hidden, Sequence};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::cross::KeysValues;
use crate::gated::{CrossAttention, CrossConfig, Run, cross_keys, gated, runs};
use crate::{Backbone, BackboneConfig, Cache, CrossCache};

/// Shape of a [`GatedBackbone`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatedBackboneConfig {
    /// The language model.
    pub backbone: BackboneConfig,
    /// Width E of a picture's features.
    pub features: usize,
    /// Every so manieth layer has a gated block before it.
    pub interval: usize,
    /// Heads of the gated blocks.
    pub n_heads: usize,
    /// Width of each.
    pub head_dim: usize,
}

impl GatedBackboneConfig {
    /// Gated blocks.
    pub fn n_gated(&self) -> usize {
        self.backbone.n_layers() / self.interval
    }

    /// Tokens, with the two new ones.
    pub fn vocabulary(&self) -> usize {
        self.backbone.vocabulary() + NEW
    }

    /// The token that stands for a picture.
    pub fn picture(&self) -> u32 {
        self.backbone.vocabulary() as u32
    }

    /// The token that ends what is said of a picture.
    pub fn end(&self) -> u32 {
        self.picture() + 1
    }
}

/// Tokens that the language model has not.
const NEW: usize = 2;

/// Epsilon of the blocks' norms: PyTorch's default.
const EPS: f64 = 1e-5;

/// A language model with gated layers that look at pictures, between its own: Alayrac et al. 2022, Flamingo,
/// <https://arxiv.org/abs/2204.14198>, section 2.2.
#[derive(Module, Debug)]
pub struct GatedBackbone {
    /// The language model.
    pub backbone: Backbone,
    /// Rows of the new tokens, `[2, P]`.
    rows: Param<Tensor<2>>,
    gated: Vec<GatedBlock>,
    #[module(skip)]
    interval: usize,
    #[module(skip)]
    vocabulary: usize,
}

impl GatedBackbone {
    /// Seeded weights and gates of 0: at first it is the language model inside.
    pub fn init(config: &GatedBackboneConfig, init: &mut Init) -> Self {
        Self {
            backbone: Backbone::init(&config.backbone, init),
            rows: init.normal([NEW, config.backbone.width()], 0.02),
            gated: (0..config.n_gated()).map(|_| GatedBlock::init(config, init)).collect(),
            interval: config.interval,
            vocabulary: config.backbone.vocabulary(),
        }
    }

    /// Gates of the attentions and of the MLPs, block by block: at 0 a block does nothing, whatever the
    /// sign.
    pub fn gates(&self) -> Vec<[f32; 2]> {
        let value = |gate: &Param<Tensor<1>>| params::read(gate.val())[0].tanh();
        self.gated.iter().map(|block| [&block.cross_gate, &block.mlp_gate].map(value)).collect()
    }

    /// What the gated blocks will ask of these media, `[M, N, E]`.
    pub fn cross_keys(&self, features: &Features) -> CrossCache {
        CrossCache { media: self.media(features), read: Cache::default() }
    }

    fn media(&self, Features(x): &Features) -> Vec<Vec<KeysValues>> {
        cross_keys(x, self.gated.iter().map(|block| &block.cross))
    }

    /// What layer `layer` reads: the stream after the gated block before it, where there is one.
    fn gate(
        &self,
        layer: usize,
        x: Tensor<3>,
        runs: &[Run],
        media: &[Vec<KeysValues>],
    ) -> Tensor<3> {
        if !(layer + 1).is_multiple_of(self.interval) {
            return x;
        }
        let block = (layer + 1) / self.interval - 1;
        let keys: Vec<_> = media.iter().map(|layers| &layers[block]).collect();
        self.gated[block].forward(x, runs, &keys)
    }
}

impl Forward for GatedBackbone {
    type Cache = CrossCache;

    fn embed(&self, ids: &[u32], [b, t]: [usize; 2]) -> Embeds {
        let new = |id: u32| (id as usize).checked_sub(self.vocabulary);
        let known: Vec<u32> =
            ids.iter().map(|&id| if new(id).is_some() { 0 } else { id }).collect();
        let Embeds(text) = self.backbone.embed(&known, [b, t]);
        if known == ids {
            return Embeds(text);
        }
        let width = text.dims()[2];
        let table = Tensor::cat(vec![text.reshape([b * t, width]), self.rows.val()], 0);
        let row = |(i, &id): (usize, &u32)| new(id).map_or(i, |row| b * t + row) as i32;
        let rows = ids.iter().enumerate().map(row).collect();
        Embeds(fused::embedding(table, rows).reshape([b, t, width]))
    }

    /// # Panics
    /// When there is not a medium, or none, for each token, or one that was not shown.
    fn forward(
        &self,
        embeds: Embeds,
        sequence: &Sequence,
        cache: Option<&mut CrossCache>,
    ) -> Hidden {
        let shown = sequence.features.iter().flat_map(|features| self.media(features));
        CrossCache::call(cache, shown, |media, read| {
            let runs = runs(&embeds.0, sequence, media.len());
            self.backbone.read(embeds, sequence, read, &|i, x| self.gate(i, x, &runs, media))
        })
    }

    fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        let new = hidden.clone().matmul(self.rows.val().transpose());
        Tensor::cat(vec![self.backbone.logits(hidden), new], 1)
    }
}

sensorium_nn::pack!(GatedBackbone: backbone, gated);

/// `x + tanh(cross_gate)·cross(norm1(x), medium)`, then `x + tanh(mlp_gate)·mlp(norm2(x))`.
#[derive(Module, Debug)]
struct GatedBlock {
    norm1: LayerNorm,
    cross: CrossAttention,
    cross_gate: Param<Tensor<1>>,
    norm2: LayerNorm,
    mlp: Mlp,
    mlp_gate: Param<Tensor<1>>,
}

impl GatedBlock {
    fn init(config: &GatedBackboneConfig, init: &mut Init) -> Self {
        let d = config.backbone.hidden_size();
        let out_std = 0.02 * (2.0 * config.backbone.n_layers() as f64).powf(-0.5);
        let cross = CrossConfig {
            widths: [d, config.features],
            heads: [config.n_heads, config.head_dim],
            norm: None,
            out_std,
        };
        let mut mlp = Mlp::init([d, 4 * d, d], Activation::Gelu, [0.02, out_std], init);
        mlp.fc1.bias = None;
        mlp.fc2.bias = None;
        Self {
            norm1: LayerNorm::init(d, EPS, init),
            cross: CrossAttention::init(&cross, init),
            cross_gate: init.constant([1], 0.0),
            norm2: LayerNorm::init(d, EPS, init),
            mlp,
            mlp_gate: init.constant([1], 0.0),
        }
    }

    /// `[B, T, D] -> [B, T, D]`. A token that sees no medium passes the MLP alone.
    fn forward(&self, x: Tensor<3>, runs: &[Run], keys: &[&KeysValues]) -> Tensor<3> {
        let x = match runs.iter().any(|run| run.medium.is_some()) {
            true => {
                let y = self.cross.forward(self.norm1.forward(x.clone()), runs, keys);
                x + gated(y, &self.cross_gate)
            }
            false => x,
        };
        let y = self.mlp.forward(self.norm2.forward(x.clone()));
        x + gated(y, &self.mlp_gate)
    }
}

sensorium_nn::pack!(GatedBlock: cross, mlp);

#[cfg(test)]
mod tests {
    use sensorium_nn::params::{read, update};

    use super::*;
    use crate::{Gpt2Config, LlamaConfig, OptConfig};

    const V: usize = 19;
    /// Two pictures with a word before them, between and behind.
    const IDS: [u32; 7] = [1, V as u32, 3, V as u32 + 1, V as u32, 3, 18];
    const LOOKS: [Option<usize>; 7] = [None, Some(0), Some(0), Some(0), Some(1), Some(1), Some(1)];

    fn kinds() -> [BackboneConfig; 3] {
        let llama = LlamaConfig {
            vocab_size: V,
            hidden_size: 24,
            n_layers: 4,
            n_heads: 3,
            n_kv_heads: 1,
            head_dim: 8,
            intermediate_size: 20,
            ..LlamaConfig::small()
        };
        let opt = OptConfig {
            vocab_size: V,
            context: 16,
            embed: 12,
            hidden_size: 24,
            n_layers: 4,
            n_heads: 3,
            intermediate_size: 20,
            post_norm: false,
            final_norm: true,
            tied: true,
        };
        let gpt2 = Gpt2Config {
            vocab_size: V,
            context: 16,
            hidden_size: 24,
            n_layers: 4,
            n_heads: 3,
            intermediate_size: 20,
            eps: 1e-5,
            tied: true,
        };
        [BackboneConfig::Llama(llama), BackboneConfig::Opt(opt), BackboneConfig::Gpt2(gpt2)]
    }

    fn model(backbone: &BackboneConfig, interval: usize) -> GatedBackbone {
        let config = GatedBackboneConfig {
            backbone: backbone.clone(),
            features: 12,
            interval,
            n_heads: 2,
            head_dim: 5,
        };
        GatedBackbone::init(&config, &mut Init::new(3, &Device::flex()))
    }

    fn open(model: GatedBackbone) -> GatedBackbone {
        update(model, |name, _, data| {
            if name.ends_with("cross_gate") || name.ends_with("mlp_gate") {
                data.fill(1.0);
            }
            data.iter_mut().for_each(|x| *x *= if name.contains("norm") { 1.0 } else { 5.0 });
            true
        })
    }

    fn seeing(seeds: [u64; 2]) -> Sequence {
        let picture = |seed| Init::new(seed, &Device::flex()).normal([1, 5, 12], 1.0).val();
        let features = Some(Features(Tensor::cat(seeds.map(picture).to_vec(), 0)));
        Sequence { features, cross_attention: Some(LOOKS.into()), ..Sequence::default() }
    }

    fn hidden(model: &GatedBackbone, seeds: [u64; 2]) -> Vec<f32> {
        read(model.forward(model.embed(&IDS, [1, 7]), &seeing(seeds), None).0)
    }

    /// recipes, check E3: at first it is the language model inside, bit for bit.
    #[test]
    fn with_gates_at_zero_every_kind_says_what_it_said() {
        for kind in kinds() {
            for interval in [1, 2] {
                let model = model(&kind, interval);
                let (embeds, plain) = (model.embed(&IDS, [1, 7]), Sequence::default());
                let alone = model.backbone.forward(embeds, &plain, None).0;
                assert_eq!(hidden(&model, [1, 2]), read(alone.clone()), "{kind:?}");
                assert!(model.gates().iter().all(|gates| *gates == [0.0; 2]));
                let rows = alone.reshape([7, kind.width()]);
                let all = model.logits(rows.clone());
                assert_eq!(all.dims(), [7, V + 2]);
                let known = read(all.narrow(1, 0, V));
                assert_eq!(known, read(model.backbone.logits(rows)), "{kind:?}");
                let open = open(model);
                assert_ne!(hidden(&open, [1, 2]), hidden(&open, [1, 9]), "{kind:?}");
            }
        }
    }

    /// recipes, check E4, at one gated block only: self-attention carries what earlier tokens saw to later
    /// ones. Words before any picture ignore all of them.
    #[test]
    fn a_token_sees_the_latest_picture_before_it_alone() {
        for kind in kinds() {
            let model = open(model(&kind, 1));
            let x = Init::new(7, &Device::flex()).normal([1, 7, 24], 1.0).val();
            let block = |seeds: [u64; 2]| {
                let sequence = seeing(seeds);
                let media = sequence.features.iter().flat_map(|seen| model.media(seen));
                let media: Vec<_> = media.collect();
                read(model.gate(0, x.clone(), &runs(&x, &sequence, 2), &media))
            };
            let (both, first, second) = (block([1, 2]), block([9, 2]), block([1, 9]));
            let token = |all: &[f32], i: usize| all[i * 24..(i + 1) * 24].to_vec();
            for (i, look) in LOOKS.iter().enumerate() {
                let moved = [&first, &second].map(|other| token(other, i) != token(&both, i));
                assert_eq!(moved, [*look == Some(0), *look == Some(1)], "{kind:?}, token {i}");
            }
        }
    }

    /// The first picture's words stay as they are whatever the second one is; and token by token it reads
    /// the same.
    #[test]
    fn a_later_picture_moves_nothing_before_it() {
        for kind in kinds() {
            let (model, width) = (open(model(&kind, 2)), kind.width());
            let (one, other) = (hidden(&model, [1, 2]), hidden(&model, [1, 9]));
            assert_eq!(one[..4 * width], other[..4 * width], "{kind:?}");
            assert_ne!(one[4 * width..], other[4 * width..], "{kind:?}");
            let (mut cache, mut parts, mut shown) = (CrossCache::default(), Vec::new(), true);
            for (ids, looks) in IDS.chunks(2).zip(LOOKS.chunks(2)) {
                let features = seeing([1, 2]).features.filter(|_| std::mem::take(&mut shown));
                let cross_attention = Some(looks.into());
                let sequence = Sequence { features, cross_attention, ..Sequence::default() };
                let embeds = model.embed(ids, [1, ids.len()]);
                parts.extend(read(model.forward(embeds, &sequence, Some(&mut cache)).0));
            }
            for (a, b) in one.iter().zip(&parts) {
                assert!((a - b).abs() < 1e-4, "{kind:?}: {a} {b}");
            }
        }
    }
}
