//! GGUF, the format of packed models for running: typed metadata and tensors of several block types.
//!
//! ```text
//! "GGUF" | version | n tensors | n metadata | metadata | tensor infos | padding | tensor values, each padded
//! ```
//!
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Versions 2 and 3 are read, 3 is written. Shapes
//! here are row-major with the outermost dimension first, as everywhere in Sensorium; the file stores them
//! the other way round (ggml's `ne[0]` is the fastest). What stands behind the last tensor is not read, and counted.

mod map;
mod read;
mod value;
mod write;

pub use map::Mapped;
pub use read::{Gguf, Info};
pub use value::{Array, Metadata, Value};
pub use write::{Form, Source, body, head, write};

pub use sensorium_kernels::quant::Kind;

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

/// ggml's number of a kind.
fn code(kind: Kind) -> u32 {
    match kind {
        Kind::F32 => 0,
        Kind::F16 => 1,
        Kind::Q4_0 => 2,
        Kind::Q4_1 => 3,
        Kind::Q5_0 => 6,
        Kind::Q5_1 => 7,
        Kind::Q8_0 => 8,
        Kind::Q2_K => 10,
        Kind::Q3_K => 11,
        Kind::Q4_K => 12,
        Kind::Q5_K => 13,
        Kind::Q6_K => 14,
        Kind::IQ4_NL => 20,
        Kind::IQ4_XS => 23,
        Kind::BF16 => 30,
    }
}

/// Bytes of a tensor of `shape`, if it can be counted and its rows are whole blocks.
fn bytes(kind: Kind, shape: &[usize]) -> Option<u64> {
    let values = super::tensors::count(shape)?;
    let row = shape.last().copied().unwrap_or(1);
    let whole = row.checked_rem(kind.block())? == 0;
    let blocks = values.checked_div(kind.block()).filter(|_| whole)?;
    (blocks as u64).checked_mul(kind.block_bytes() as u64)
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
