//! The CPU's fast loops: slices in, slices out. Knows no tensors and no models.
//!
//! All matrices are row-major, contiguous `f32`. Every function checks the lengths of its slices
//! and panics when they disagree: a broken shape is a mistake in our own code.
//!
//! **Same bits on every machine width.** Work is cut into chunks whose boundaries depend on the
//! shape alone, sums run in a fixed order, and the versions of a loop for AVX-512, AVX2, NEON and
//! none of them are one source compiled several times with explicitly fused multiply-adds. So a
//! result depends neither on the number of threads nor, except for products of bfloat16, on the
//! instruction set.

// The only crate that may: vector instructions and disjoint writes to one matrix need it.
#![allow(unsafe_code)]
// Slices in, slices out: sizes and buffers are the whole vocabulary here.
#![allow(clippy::too_many_arguments)]

pub mod activation;
pub mod attention;
pub mod conv;
pub mod conv1d;
pub mod cross_entropy;
pub mod ctc;
pub mod elementwise;
pub mod embedding;
pub mod gemm;
pub mod group_norm;
pub mod linear;
pub mod machine;
pub mod memory;
pub mod norm;
pub mod optim;
pub mod packed;
pub mod patches;
pub mod quant;
pub mod rng;
pub mod rotary;

#[cfg(test)]
mod alone;
mod buffer;
mod lanes;
mod math;
mod parallel;
mod precision;
mod simd;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod twins;

pub use buffer::buffer;
pub use precision::Precision;
