//! Published checkpoints, as they lie in a directory: what `config.json` names is what is built, and
//! every tensor must find its place.
//!
//! ```text
//! config.json ──Config──▶ family, shapes ──names──▶ model
//! *.safetensors ──Directory::tensors────────────────┘
//! ```

mod config;
mod directory;
mod error;
pub mod whisper;

pub use config::Config;
pub use directory::Directory;
pub use error::{Error, Result};
