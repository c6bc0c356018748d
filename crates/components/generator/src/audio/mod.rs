//! Speech: phonemes to spectrograms, spectrograms to samples.

mod convnext;
pub mod hifigan;
pub mod kokoro;
mod relative;
pub mod speecht5;
pub mod stft;
pub mod talker;
pub mod token2wav;
pub mod vits;
pub mod vocoder;

pub use talker::{Speech, Talker, TalkerConfig};
pub use vocoder::{Vocoder, VocoderConfig};

use sensorium_nn::prelude::*;

/// A convolution of kernel 1: a linear map of each position.
fn pointwise([c_in, c_out]: [usize; 2], init: &mut Init) -> Conv1d {
    Conv1d::init(Conv1dConfig { c_in, c_out, kernel: 1, stride: 1, padding: 0 }, init)
}

/// A convolution that keeps the length; `kernel` is odd.
fn same([c_in, c_out]: [usize; 2], kernel: usize, dilation: usize, init: &mut Init) -> Conv1d {
    let padding = kernel / 2 * dilation;
    let config = Conv1dConfig { c_in, c_out, kernel, stride: 1, padding };
    Conv1d::init(config, init).dilated(dilation)
}
