//! GGUF, the format of packed models for running: typed metadata and tensors of several block types.
//!
//! ```text
//! "GGUF" | version | n tensors | n metadata | metadata | tensor infos | padding | tensor values, each padded
//! ```
//!
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Versions 2 and 3 are read, 3 is written. Shapes
//! here are row-major with the outermost dimension first, as everywhere in Sensorium; the file stores them
//! the other way round (ggml's `ne[0]` is the fastest).

mod read;
mod value;
mod write;

pub use read::{Gguf, Info};
pub use value::{Array, Metadata, Value};
pub use write::{Source, write};

use sensorium_kernels::quant::{Q8_0_BLOCK, Q8_0_BYTES};

/// First bytes of a file.
const MAGIC: [u8; 4] = *b"GGUF";
const FORMAT: &str = "GGUF";
/// Longest string or key, in bytes.
const MAX_STRING: u64 = 16 << 20;
/// Most elements of a metadata array.
const MAX_ARRAY: u64 = 4 << 20;
/// Deepest nesting of arrays in arrays.
const MAX_NESTING: u32 = 64;
/// Most metadata entries.
const MAX_METADATA: u64 = 65_536;
/// Most tensors.
const MAX_TENSORS: u64 = 262_144;
/// Most dimensions of a tensor.
const MAX_DIMS: u32 = 4;
/// Metadata key of the alignment of tensors, a `u32`.
const ALIGNMENT_KEY: &str = "general.alignment";
/// Alignment when the file does not say.
const DEFAULT_ALIGNMENT: u64 = 32;
/// Largest alignment.
const MAX_ALIGNMENT: u32 = 65_536;

/// How a tensor's values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// Blocks of 32 values: a half-precision scale and 32 signed bytes; 8.5 bits a value.
    Q8_0,
}

impl Kind {
    /// ggml's number for the type, if it is one of ours.
    fn from_code(code: u32) -> Option<Self> {
        [Self::F32, Self::F16, Self::Q8_0].into_iter().find(|kind| kind.code() == code)
    }

    fn code(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q8_0 => 8,
        }
    }

    /// Values of a block: the last dimension is a multiple of it.
    fn block(self) -> usize {
        if self == Self::Q8_0 { Q8_0_BLOCK } else { 1 }
    }

    /// Bytes of a block.
    fn block_bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::Q8_0 => Q8_0_BYTES as u64,
        }
    }

    /// Bytes of a tensor of `shape`, if it can be counted and its rows are whole blocks.
    fn bytes(self, shape: &[usize]) -> Option<u64> {
        let values = super::tensors::count(shape)?;
        let row = shape.last().copied().unwrap_or(1);
        let whole = row.checked_rem(self.block())? == 0;
        let blocks = values.checked_div(self.block()).filter(|_| whole)?;
        (blocks as u64).checked_mul(self.block_bytes())
    }
}

/// ggml's name of a tensor type, for errors.
fn type_name(code: u32) -> &'static str {
    match code {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        6 => "Q5_0",
        7 => "Q5_1",
        8 => "Q8_0",
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        12 => "Q4_K",
        13 => "Q5_K",
        14 => "Q6_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        30 => "BF16",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => "a type of no name",
    }
}
