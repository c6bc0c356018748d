//! The values that components hand to each other, and what each kind of component does with them.
//! Read this first.
//!
//! ```text
//!          encode            project           forward
//!   Input ────────▶ Features ────────▶ Embeds ──────────▶ Hidden
//!          [B,N,E]            [B,Q,D]          [B,T,D]
//!          encoder     input-projector        backbone
//! ```
//!
//! The types are the arrows: a component is one verb from one value to the next, and whatever needs
//! two verbs belongs in `sensorium-model`. Text enters and leaves through the backbone itself
//! (token embedding in, language-model head out).
//!
//! Axes: **B** batch, **T** tokens, **N** encoder positions, **Q** tokens a medium takes in the
//! backbone, **D** backbone width, **E** encoder width.

use std::sync::Arc;

use sensorium_nn::prelude::Tensor;

pub use sensorium_media::Modality;
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

/// Where the tokens of one call stand, and what they have to do with each other.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    /// Position of every token, `[B, T]`: where rotary angles and tables of positions are read.
    /// Without, tokens stand one after the other behind those in the cache.
    pub positions: Option<Arc<[u32]>>,
    /// Span of every token, `[B, T]`, which ends within the call. Without, all see those before them.
    pub spans: Option<Arc<[Span]>>,
    /// Media that layers cross-attend to, `[M, N, E]`, after those in the cache; of no use to a
    /// backbone that has no such layers.
    pub features: Option<Features>,
    /// Which of the media every token sees, `[B, T]`. Without, row `b` sees medium `b`, if there is one.
    pub cross_attention: Option<Arc<[Option<usize>]>>,
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
