//! LLaVA: media as tokens in front of a language model.
//!
//! Liu et al. 2023, <https://arxiv.org/abs/2304.08485>; the MLP projector is that of LLaVA 1.5,
//! <https://arxiv.org/abs/2310.03744>
//!
//! ```text
//! media ──encode──▶ [M, N, E] ──project──▶ [M, Q, D] ─┐
//! ids [B, T] ──embed──▶ [B, T, D] ────────────splice──┴──▶ backbone ──▶ logits [B, T, V]
//! ```

use sensorium_backbone::{Backbone, BackboneConfig};
use sensorium_encoder::{Encoder, EncoderConfig};
use sensorium_flow::{
    Embeds, Encode, Features, Forward, Hidden, Input, Modality, Project, Sequence,
};
use sensorium_input_projector::{Projector, ProjectorConfig};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::prompt::Batch;
use crate::splice::{splice, unpadded};

/// Shape of a [`Llava`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlavaConfig {
    /// A tower for each kind of medium that is read.
    pub towers: Vec<TowerConfig>,
    /// The language model.
    pub backbone: BackboneConfig,
    /// A medium's tokens see each other both ways (a prefix language model).
    pub prefix: bool,
}

/// Shape of a [`Tower`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TowerConfig {
    /// The encoder.
    pub encoder: EncoderConfig,
    /// From its features to the backbone's tokens.
    pub projector: ProjectorConfig,
}

impl TowerConfig {
    /// Tokens that one medium takes.
    pub fn tokens(&self) -> usize {
        self.projector.tokens(self.encoder.positions())
    }
}

impl LlavaConfig {
    /// The tower of a kind of media, if there is one.
    pub fn tower(&self, modality: Modality) -> Option<&TowerConfig> {
        self.towers.iter().find(|tower| tower.encoder.modality() == modality)
    }

    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Llava::init(self, init))
    }
}

/// An encoder and what makes the backbone's tokens of its features.
#[derive(Module, Debug)]
pub struct Tower {
    /// The encoder.
    pub encoder: Encoder,
    /// From its features to the backbone's tokens.
    pub projector: Projector,
}

sensorium_nn::pack!(Tower: encoder, projector);

impl Tower {
    /// Seeded weights.
    pub fn init(config: &TowerConfig, init: &mut Init) -> Self {
        Self {
            encoder: Encoder::init(&config.encoder, init),
            projector: Projector::init(&config.projector, init),
        }
    }

    /// A batch of media to tokens: `[M, Q, D]`.
    pub fn embed(&self, input: Input) -> Embeds {
        self.projector.project(self.encoder.encode(input))
    }
}

/// What the encoder of a kind of media saw in several of them, `[M, N, E]`.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// What they are.
    pub modality: Modality,
    /// One vector for every position.
    pub features: Features,
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct Llava {
    /// A tower for each kind of medium.
    pub towers: Vec<Tower>,
    /// The language model.
    pub backbone: Backbone,
    #[module(skip)]
    prefix: bool,
}

sensorium_nn::pack!(Llava: towers, backbone);

impl Llava {
    /// Seeded weights.
    pub fn init(config: &LlavaConfig, init: &mut Init) -> Self {
        Self {
            towers: config.towers.iter().map(|tower| Tower::init(tower, init)).collect(),
            backbone: Backbone::init(&config.backbone, init),
            prefix: config.prefix,
        }
    }

    /// Of parts that are there, read from left to right; without towers, a language model alone.
    pub fn of(towers: Vec<Tower>, backbone: Backbone) -> Self {
        Self { towers, backbone, prefix: false }
    }

    /// The tower of a kind of media.
    ///
    /// # Panics
    /// When there is none.
    pub fn tower(&self, modality: Modality) -> &Tower {
        let tower = self.towers.iter().find(|tower| tower.encoder.modality() == modality);
        tower.unwrap_or_else(|| panic!("no tower for {modality}"))
    }

    /// Media to what their tower's projector reads, `[M, N, E]`.
    ///
    /// # Panics
    /// When there is no tower for them.
    pub fn encode(&self, media: Input) -> Encoded {
        let modality = media.modality();
        let features = self.tower(modality).encoder.encode(media);
        Encoded { modality, features }
    }

    /// The batch's prompts with the features of its media spliced in, through the backbone:
    /// `[B, T, D]`. Of each kind there is one set, of the batch's media in order.
    ///
    /// # Panics
    /// When there is no tower for them, or they do not fill the batch's slots.
    pub fn forward(&self, batch: &Batch, media: &[Encoded]) -> Hidden {
        let text = self.backbone.embed(&batch.ids, batch.shape);
        let embeds = media.iter().fold(text, |embeds, Encoded { modality, features }| {
            let tokens = self.tower(*modality).projector.project(features.clone());
            let slots = batch.slots.iter().filter(|slot| slot.modality == *modality);
            let slots: Vec<_> = slots.copied().collect();
            splice(embeds, unpadded(tokens, &slots), &slots)
        });
        let spans = match self.prefix {
            true => Some(batch.spans.clone()),
            // Without a prefix, only questions that stand apart differ from plain text.
            false => batch.positions.is_some().then(|| batch.spans.iter().map(causal).collect()),
        };
        let sequence =
            Sequence { spans, positions: batch.positions.clone(), ..Sequence::default() };
        self.backbone.forward(embeds, &sequence, None)
    }

    /// `[B, T, D] -> [B, T, V]`
    pub fn logits(&self, Hidden(hidden): Hidden) -> Tensor<3> {
        let [b, t, d] = hidden.dims();
        let logits = self.backbone.logits(hidden.reshape([b * t, d]));
        let v = logits.dims()[1];
        logits.reshape([b, t, v])
    }

    /// Loss of the answers' tokens, mean over the batch.
    pub fn loss(&self, batch: &Batch, media: &[Encoded], z_loss: f32) -> Tensor<1> {
        let logits = |hidden| self.backbone.logits(hidden);
        answers_loss(logits, self.forward(batch, media), &batch.labels, z_loss)
    }
}

/// A span of a model that reads media from left to right, as it reads text.
fn causal(span: &Span) -> Span {
    match span {
        Span::Shared(_) => Span::None,
        other => *other,
    }
}

/// Loss of the answers' tokens, mean over those of the batch whose `labels [B*T]` are not to be ignored. Only they
/// pass through the head.
pub fn answers_loss(
    logits: impl Fn(Tensor<2>) -> Tensor<2>,
    Hidden(hidden): Hidden,
    labels: &[i32],
    z_loss: f32,
) -> Tensor<1> {
    let [b, t, d] = hidden.dims();
    let learned: Vec<usize> = (0..b * t).filter(|&i| labels[i] != crate::prompt::IGNORED).collect();
    let rows = learned.iter().map(|&i| i as i32).collect();
    let labels = learned.iter().map(|&i| labels[i]).collect();
    let hidden = fused::embedding(hidden.reshape([b * t, d]), rows); // [learned, D]
    fused::cross_entropy(logits(hidden), labels, z_loss)
}
