//! LLaVA: pictures as tokens in front of a language model.
//!
//! Liu et al. 2023, <https://arxiv.org/abs/2304.08485>; the MLP projector is that of LLaVA 1.5,
//! <https://arxiv.org/abs/2310.03744>
//!
//! ```text
//! image ──encode──▶ [B, N, E] ──project──▶ [B, Q, D] ─┐
//! ids [B, T] ──embed──▶ [B, T, D] ────────────splice──┴──▶ backbone ──▶ logits [B, T, V]
//! ```

use std::ops::ControlFlow;

use sensorium_backbone::{Cache, Llama, LlamaConfig, Sampler, Sampling};
use sensorium_encoder::image::{Vit, VitConfig};
use sensorium_flow::{Embeds, Encode, Features, Forward, Hidden, Project, Sequence};
use sensorium_input_projector::{Projector, ProjectorConfig};
use sensorium_media::chat::Prompt;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::llm::Finish;
use crate::prompt::{Batch, span};
use crate::splice::splice;
use crate::weights::under;

/// Shape of a [`Llava`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlavaConfig {
    /// The image encoder.
    pub image: VitConfig,
    /// How many blocks before the end the encoder is read, its last norm left out, once for each
    /// number; none reads it after the last norm. LLaVA 1.5 reads CLIP at 1; several levels side by
    /// side are a Dense Connector (Yao et al. 2024, <https://arxiv.org/abs/2405.13800>, section 3.2).
    pub skips: Vec<usize>,
    /// Whether the encoder's class token is read too, in front of its patches.
    #[serde(default, skip_serializing_if = "is_false")]
    pub class: bool,
    /// The projector.
    pub projector: ProjectorConfig,
    /// The language model.
    pub backbone: LlamaConfig,
    /// A picture's tokens see each other both ways (a prefix language model).
    pub prefix: bool,
}

impl LlavaConfig {
    /// The embedded model: 9.9 M parameters, a picture is 16 tokens.
    pub fn nano() -> Self {
        Self {
            image: VitConfig::nano(),
            // As LLaVA reads CLIP, for the last block is the shared space's own; beside it what the
            // first block reads, where nothing of places, backgrounds and sizes is lost yet.
            skips: vec![1, 5],
            class: false,
            projector: ProjectorConfig::nano(),
            backbone: LlamaConfig::nano(),
            prefix: true,
        }
    }

    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let image = under("image", self.image.parameters());
        let projector = under("projector", self.projector.parameters());
        [image, projector, under("backbone", self.backbone.parameters())].concat()
    }

    /// Tokens that one picture takes.
    pub fn image_tokens(&self) -> usize {
        self.projector.tokens(self.image.patches() + usize::from(self.class))
    }
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct Llava {
    /// The image encoder.
    pub image: Vit,
    /// From its features to the backbone's tokens.
    pub projector: Projector,
    /// The language model.
    pub backbone: Llama,
    #[module(skip)]
    skips: Vec<usize>,
    #[module(skip)]
    class: bool,
    #[module(skip)]
    prefix: bool,
}

impl Llava {
    /// Seeded weights.
    pub fn init(config: &LlavaConfig, init: &mut Init) -> Self {
        Self {
            image: Vit::init(&config.image, init),
            projector: Projector::init(&config.projector, init),
            backbone: Llama::init(&config.backbone, init),
            skips: config.skips.clone(),
            class: config.class,
            prefix: config.prefix,
        }
    }

    /// A model from its loaded parts.
    pub fn new(config: &LlavaConfig, image: Vit, projector: Projector, backbone: Llama) -> Self {
        let LlavaConfig { skips, class, prefix, .. } = config;
        let (skips, class, prefix) = (skips.clone(), *class, *prefix);
        Self { image, projector, backbone, skips, class, prefix }
    }

    /// Pictures to what the projector reads: `[B, c, h, w] -> [B, N, E]`.
    pub fn encode(&self, images: Tensor<4>) -> Features {
        encode(&self.image, &self.skips, self.class, images)
    }

    /// The batch's prompts with its pictures' features spliced in, through the backbone:
    /// `[B, T, D]`. `features [M, N, E]` are those of the batch's pictures in order.
    pub fn forward(&self, batch: &Batch, features: Option<Features>) -> Hidden {
        let embeds = self.read(&batch.ids, batch.shape, &batch.images, features);
        let spans = self.prefix.then(|| batch.spans.clone());
        self.backbone.forward(embeds, &Sequence { spans, positions: None }, None)
    }

    /// `[B, T, D] -> [B, T, V]`
    pub fn logits(&self, Hidden(hidden): Hidden) -> Tensor<3> {
        let [b, t, d] = hidden.dims();
        let logits = self.backbone.logits(hidden.reshape([b * t, d]));
        let v = logits.dims()[1];
        logits.reshape([b, t, v])
    }

    /// Loss of the answers' tokens, mean over the batch.
    pub fn loss(&self, batch: &Batch, features: Option<Features>, z_loss: f32) -> Tensor<1> {
        answers_loss(&self.backbone, self.forward(batch, features), batch, z_loss)
    }

    /// Answers `prompt` token by token until `end` or a break, at most `max_tokens`. `on_draw` hears
    /// of every token drawn, the end too, and of the logits `[V]` from which it was drawn.
    pub fn generate(
        &self,
        prompt: &Prompt,
        features: Option<Features>,
        end: u32,
        max_tokens: usize,
        sampling: Sampling,
        mut on_draw: impl FnMut(u32, &[f32]) -> ControlFlow<()>,
    ) -> (Vec<u32>, Finish) {
        let mut cache = Cache::default();
        let mut sampler = Sampler::new(sampling);
        let shape = [1, prompt.ids.len()];
        let embeds = self.read(&prompt.ids, shape, &prompt.images, features);
        let spans = self.prefix.then(|| prompt.spans.iter().map(|&number| span(number)).collect());
        let sequence = Sequence { spans, positions: None };
        let mut hidden = self.backbone.forward(embeds, &sequence, Some(&mut cache));
        let mut answer = Vec::new();
        while answer.len() < max_tokens {
            let logits = self.last_logits(hidden);
            let token = sampler.pick(&logits);
            let flow = on_draw(token, &logits);
            if token == end {
                return (answer, Finish::Stop);
            }
            answer.push(token);
            if flow.is_break() {
                return (answer, Finish::Interrupted);
            }
            let embeds = self.backbone.embed(&[token], [1, 1]);
            hidden = self.backbone.forward(embeds, &Sequence::default(), Some(&mut cache));
        }
        (answer, Finish::Length)
    }

    fn last_logits(&self, Hidden(hidden): Hidden) -> Vec<f32> {
        let [_, t, d] = hidden.dims();
        read(self.backbone.logits(hidden.narrow(1, t - 1, 1).reshape([1, d])))
    }

    fn read(
        &self,
        ids: &[u32],
        shape: [usize; 2],
        images: &[usize],
        features: Option<Features>,
    ) -> Embeds {
        let text = self.backbone.embed(ids, shape);
        match features {
            Some(features) => splice(text, self.projector.project(features), images),
            None => text,
        }
    }
}

/// What the projector reads of an encoder: see [`LlavaConfig::skips`] and [`LlavaConfig::class`].
pub(crate) fn encode(image: &Vit, skips: &[usize], class: bool, images: Tensor<4>) -> Features {
    match (skips, class) {
        ([], false) => image.encode(images),
        ([], true) => Features(image.positions(images)),
        (skips, false) => image.encode_before(images, skips),
        (skips, true) => Features(image.levels(images, skips)),
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// Loss of the answers' tokens, mean over the batch. Only positions that are learned pass through
/// the head.
pub(crate) fn answers_loss(
    backbone: &Llama,
    Hidden(hidden): Hidden,
    batch: &Batch,
    z_loss: f32,
) -> Tensor<1> {
    let [b, t, d] = hidden.dims();
    let learned: Vec<usize> =
        (0..b * t).filter(|&i| batch.labels[i] != crate::prompt::IGNORED).collect();
    let rows = learned.iter().map(|&i| i as i32).collect();
    let labels = learned.iter().map(|&i| batch.labels[i]).collect();
    let hidden = fused::embedding(hidden.reshape([b * t, d]), rows); // [learned, D]
    fused::cross_entropy(backbone.logits(hidden), labels, z_loss)
}
