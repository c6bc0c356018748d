//! Seeds and files become samples: drawn scenes with captions and questions, icons with labels,
//! easy-VQA, and plain text. Knows no models and no tensors.
//!
//! Everything is a pure function of `(seed, index)`, so nothing is stored and any sample can be
//! made again, on any number of threads.
//!
//! ```
//! use sensorium_data::{question, scene::Split};
//!
//! let sample = question::sample(Split::Train, 7, 0, 1.0);
//! assert!(sample.question.is_ascii() && !sample.answer.is_empty());
//! ```

pub mod caption;
pub mod conversation;
mod draw;
pub mod easy_vqa;
mod error;
mod font;
pub mod icons;
pub mod look;
pub mod pairs;
pub mod preview;
pub mod question;
pub mod rng;
pub mod scene;
pub mod text;

pub use easy_vqa::EasyVqa;
pub use error::{Error, Result};
pub use icons::Icons;
