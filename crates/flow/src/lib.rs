//! The values that components hand to each other, and what each kind of component does with them.
//! Read this first.
//!
//! ```text
//!          encode            project           forward          condition            generate
//!   Input ────────▶ Features ────────▶ Embeds ──────────▶ Hidden ──────────▶ Conditions ─────────▶ Output
//!          [B,N,E]            [B,Q,D]          [B,T,D]            [B,Q,C]
//!          encoder     input-projector        backbone     output-projector      generator
//! ```
//!
//! The types are the arrows: a component is one verb from one value to the next, and whatever needs
//! two verbs belongs in `sensorium-model`. Text enters and leaves through the backbone itself
//! (token embedding in, language-model head out).
//!
//! Axes: **B** batch, **T** tokens, **N** encoder positions, **Q** tokens a medium takes in the
//! backbone or a generator is told in, **D** backbone width, **E** encoder width, **C** condition width.

use std::sync::Arc;

use sensorium_nn::prelude::Tensor;

pub use sensorium_media::{Grid, Modality};
pub use sensorium_nn::prelude::Span;

/// A batch of media as an encoder of their kind reads them.
#[expect(clippy::large_enum_variant, reason = "there is one of them at a time")]
#[derive(Clone, Debug)]
pub enum Input {
    /// Pictures, `[B, c, h, w]`.
    Image(Tensor<4>),
    /// Spectrograms of sounds.
    Audio(Sounds),
    /// Frames of videos, `[B, frames, c, h, w]`.
    Video(Tensor<5>),
    /// Rows of tables.
    Table(Rows),
}

/// Log-mel spectrograms of sounds, padded to the longest.
#[derive(Clone, Debug)]
pub struct Sounds {
    /// `[B, bands, F]`.
    pub mel: Tensor<3>,
    /// Frames of each sound, `[B]`; what lies behind them counts for nothing, but to Whisper, which was
    /// trained to hear silence there.
    pub frames: Arc<[usize]>,
}

impl Sounds {
    /// Spectrograms of one length, `[B, bands, F]`.
    pub fn whole(mel: Tensor<3>) -> Self {
        let [b, _, frames] = mel.dims();
        Self { mel, frames: vec![frames; b].into() }
    }
}

/// Rows of tables as sets of columns. A row of fewer columns than N is padded behind.
#[derive(Clone, Debug)]
pub struct Rows {
    /// What the columns are called, as vectors of texts: `[B, N, W]`.
    pub names: Tensor<3>,
    /// Categories, as vectors of texts: `[B, N, W]`; finite where a cell is none, and of no account.
    pub categories: Tensor<3>,
    /// Numbers, on a scale on which columns that nobody has seen are of one size: `[B, N]`; finite where a
    /// cell is none, and of no account.
    pub numbers: Tensor<2>,
    /// What each cell is, row-major `[B, N]`.
    pub cells: Arc<[Cell]>,
    /// Columns of each row, `[B]`.
    pub columns: Arc<[usize]>,
}

/// What stands in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// A number.
    Number,
    /// A text.
    Category,
    /// Nothing.
    Missing,
}

impl Input {
    /// What the media are.
    pub fn modality(&self) -> Modality {
        match self {
            Self::Image(_) => Modality::Image,
            Self::Audio(_) => Modality::Audio,
            Self::Video(_) => Modality::Video,
            Self::Table(_) => Modality::Table,
        }
    }
}

/// What an encoder saw: `[B, N, E]`, one vector for every position of the medium.
#[derive(Clone, Debug)]
pub struct Features(pub Tensor<3>);

/// What a backbone reads: `[B, T, D]`, one vector for every token.
#[derive(Clone, Debug)]
pub struct Embeds(pub Tensor<3>);

/// What a backbone thought: `[B, T, D]`, after its last norm.
#[derive(Clone, Debug)]
pub struct Hidden(pub Tensor<3>);

/// What a generator is told: `[B, Q, C]`.
#[derive(Clone, Debug)]
pub struct Conditions(pub Tensor<3>);

/// A batch of media as a generator makes them.
#[derive(Clone, Debug)]
pub enum Output {
    /// Pictures, `[B, c, h, w]`, from -1 to 1.
    Image(Tensor<4>),
    /// Log-mel spectrograms, `[B, bands, F]`.
    Audio(Tensor<3>),
    /// Frames of videos, `[B, frames, c, h, w]`, from -1 to 1.
    Video(Tensor<5>),
}

/// How a generator goes from noise to a medium.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Seed of the first medium's noise; that of the n-th after it is n more, whatever the batch.
    pub seed: u64,
    /// Steps from noise to the medium, where it takes steps.
    pub steps: usize,
    /// How much further to go than conditions say, away from what would be made without any
    /// (classifier-free guidance, Ho and Salimans 2022, <https://arxiv.org/abs/2207.12598>); 1 goes as far.
    pub guidance: f32,
    /// How a step is taken.
    pub solver: Solver,
    /// By which steps a published diffusion model goes; its own without one.
    pub scheduler: Option<Scheduler>,
    /// Height and width of a picture, where a model can choose; its own without.
    pub size: Option<[usize; 2]>,
}

impl Default for Sampler {
    fn default() -> Self {
        let (solver, scheduler, size) = (Solver::Euler, None, None);
        Self { seed: 0, steps: 24, guidance: 2.0, solver, scheduler, size }
    }
}

/// How a medium is to be made, as far as that is said.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SamplerOptions {
    /// Seed of the noise, 0 without one.
    pub seed: u64,
    /// Steps.
    pub steps: Option<usize>,
    /// Guidance.
    pub guidance: Option<f32>,
    /// How a step is taken.
    pub solver: Solver,
    /// By which steps a published diffusion model goes.
    pub scheduler: Option<Scheduler>,
    /// Height and width of a picture.
    pub size: Option<[usize; 2]>,
}

impl SamplerOptions {
    /// The rest as is usual for a model.
    pub fn or(self, usual: Sampler) -> Sampler {
        let Self { seed, steps, guidance, solver, scheduler, size } = self;
        let (steps, guidance) = (steps.unwrap_or(usual.steps), guidance.unwrap_or(usual.guidance));
        Sampler { seed, steps, guidance, solver, scheduler, size }
    }
}

/// By which steps a published diffusion model goes from noise to latents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    /// Along the slope at the start of each.
    Euler,
    /// To what the picture is thought to be, and back to less noise.
    Ddim,
    /// As DDIM, with what the last four slopes say of the next.
    Pndm,
}

impl Scheduler {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Euler, Self::Ddim, Self::Pndm];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Euler => "euler",
            Self::Ddim => "ddim",
            Self::Pndm => "pndm",
        }
    }
}

/// How a step along a velocity is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Solver {
    /// Along the velocity at its start.
    #[default]
    Euler,
    /// Along the mean of those at its start and its end: twice the work.
    Heun,
}

/// Where the tokens of one call stand, and what they have to do with each other.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    /// Position of every token, `[B, T]`: where rotary angles and tables of positions are read.
    /// Without, tokens stand one after the other behind those in the cache.
    pub positions: Option<Arc<[u32]>>,
    /// The same in time, height and width, where media have places and not only an order (M-RoPE), `[B, T]`;
    /// of use to a backbone that turns by three axes. Tokens of later calls follow the furthest of them.
    pub grid: Option<Arc<[[u32; 3]]>>,
    /// Span of every token, `[B, T]`, which ends within the call. Without, all see those before them.
    pub spans: Option<Arc<[Span]>>,
    /// Media that layers cross-attend to, `[M, N, E]`, after those in the cache; of no use to a
    /// backbone that has no such layers.
    pub features: Option<Features>,
    /// Which of the media every token sees, `[B, T]`. Without, row `b` sees medium `b`, if there is one.
    pub cross_attention: Option<Arc<[Option<usize>]>>,
    /// What is added behind each of the first layers, `[B, T, D]` (DeepStack, Meng et al. 2024,
    /// <https://arxiv.org/abs/2406.04334>); of use to a Llama.
    pub deepstack: Vec<Tensor<3>>,
}

impl Sequence {
    /// Whether its tokens just follow each other: what is read of them depends on nothing else.
    pub fn is_plain(&self) -> bool {
        let Self { positions, grid, spans, features, cross_attention, deepstack } = self;
        let stands = positions.is_none() && grid.is_none() && spans.is_none();
        stands && features.is_none() && cross_attention.is_none() && deepstack.is_empty()
    }
}

/// What an encoder does.
pub trait Encode {
    /// A batch of media: one tensor, or [`Input`] where the kind is known at run time only.
    type Input;

    /// Media to what a projector reads, `[B, N, E]`.
    fn encode(&self, input: Self::Input) -> Features;
}

/// What an input projector does.
pub trait Project {
    /// `[B, N, E] -> [B, Q, D]`
    fn project(&self, features: Features) -> Embeds;

    /// Tokens Q that `n` positions become.
    fn tokens(&self, n: usize) -> usize;
}

/// What a backbone does.
pub trait Forward {
    /// What is kept of tokens that were read, so that later ones see them.
    type Cache: Default;

    /// Token ids, row-major `[B, T]`, to `[B, T, D]`.
    fn embed(&self, ids: &[u32], shape: [usize; 2]) -> Embeds;

    /// `[B, T, D] -> [B, T, D]`; after the tokens in `cache`, where there is one, which grows by these.
    fn forward(
        &self,
        embeds: Embeds,
        sequence: &Sequence,
        cache: Option<&mut Self::Cache>,
    ) -> Hidden;

    /// `[rows, D] -> [rows, V]`
    fn logits(&self, hidden: Tensor<2>) -> Tensor<2>;
}

/// What an output projector does.
pub trait Condition {
    /// `[B, T, D] -> [B, Q, C]`; of row `b` the first `lengths[b]` tokens count, without lengths all.
    fn condition(&self, hidden: Hidden, lengths: Option<&Arc<[usize]>>) -> Conditions;
}

/// What a generator does.
pub trait Generate {
    /// A medium for each of the `[B, Q, C]`.
    fn generate(&self, conditions: Conditions, sampler: Sampler) -> Output;
}
