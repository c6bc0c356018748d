//! The option `--precision` of commands that run models.

use clap::{Args, ValueEnum};
use sensorium_nn::pack::{Blocked, Format};

/// The option of commands that run nano, whose files' matrices are unpacked unless it says otherwise.
#[derive(Args, Clone, Copy, Debug)]
pub struct Packing {
    /// How matrices are kept and multiplied; auto: in f32.
    #[arg(long, value_enum, default_value_t)]
    pub precision: Precision,
}

/// How a model's matrices are kept and multiplied.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Precision {
    // As the file stores them, where there is a kernel for that; otherwise f32.
    #[default]
    Auto,
    F32,
    // bfloat16, activations too.
    Bf16,
    // 8-bit integers, one scale an output; activations one a row.
    Int8,
    // GGUF's 8-bit blocks of 32.
    #[value(name = "q8_0")]
    Q8_0,
    // GGUF's 4-bit blocks of 32.
    #[value(name = "q4_0")]
    Q4_0,
    // GGUF's 4-bit blocks of 32 with a least value.
    #[value(name = "q4_1")]
    Q4_1,
}

impl Precision {
    /// The format to pack to, if one was chosen.
    pub fn format(self) -> Option<Format> {
        match self {
            Self::Auto => None,
            Self::F32 => Some(Format::F32),
            Self::Bf16 => Some(Format::Bf16),
            Self::Int8 => Some(Format::Int8),
            Self::Q8_0 => Some(Format::Blocks(Blocked::Q8_0)),
            Self::Q4_0 => Some(Format::Blocks(Blocked::Q4_0)),
            Self::Q4_1 => Some(Format::Blocks(Blocked::Q4_1)),
        }
    }
}
