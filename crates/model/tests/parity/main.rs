//! Our models against PyTorch's: weights read under their published names, then outputs,
//! intermediates, the gradient of every parameter, ten steps of AdamW and greedy tokens.
//!
//! Tolerances, in f32: 1e-5 of a loss or a stack of layers, gradients 1e-3 of the
//! largest value of their tensor, losses of a curve 1e-3 of their size.

mod clip;
mod exact;
mod llama;
mod llava;
mod masks;
mod nano_vit;
mod siglip;
mod twin;
mod vit;
