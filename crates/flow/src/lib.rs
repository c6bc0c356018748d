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

use sensorium_nn::prelude::Tensor;

pub use sensorium_media::Modality;

/// A batch of media as an encoder of their kind reads them.
#[derive(Clone, Debug)]
pub enum Input {
    /// Pictures, `[B, c, h, w]`.
    Image(Tensor<4>),
    /// Log-mel spectrograms, `[B, bands, frames]`.
    Audio(Tensor<3>),
}

impl Input {
    /// What the media are.
    pub fn modality(&self) -> Modality {
        match self {
            Self::Image(_) => Modality::Image,
            Self::Audio(_) => Modality::Audio,
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
