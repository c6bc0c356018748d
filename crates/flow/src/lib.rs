//! The values that components hand to each other. Read this first.
//!
//! ```text
//!            encode            project           forward
//!   Media ───────────▶ Features ──────▶ Embeds ──────────▶ Hidden
//!            [B,N,E]            [B,Q,D]          [B,T,D]
//!            encoder     input-projector        backbone
//! ```
//!
//! The types are the arrows: a component is one verb from one value to the next, and whatever needs
//! two verbs belongs in `sensorium-model`. Text enters and leaves through the backbone itself
//! (token embedding in, language-model head out).
//!
//! Axes: **B** batch, **T** tokens, **N** encoder positions, **Q** tokens a picture takes in the
//! backbone, **D** backbone width, **E** encoder width.

use sensorium_nn::prelude::Tensor;

/// What an encoder saw: `[B, N, E]`, one vector for every position of the medium.
#[derive(Clone, Debug)]
pub struct Features(pub Tensor<3>);

/// What a backbone reads: `[B, T, D]`, one vector for every token.
#[derive(Clone, Debug)]
pub struct Embeds(pub Tensor<3>);

/// What a backbone thought: `[B, T, D]`, after its last norm.
#[derive(Clone, Debug)]
pub struct Hidden(pub Tensor<3>);
