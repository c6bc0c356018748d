//! Data sets as values: users' files and drawn scenes become [`Example`]s. Knows no models and no
//! tensors.
//!
//! ```text
//! files  ──read/──▶ ┐
//!                   ├ Dataset ──Mixture: shares, shuffle──▶ Example ──Loader: threads, order──▶ a step
//! seeds  ──drawn/─▶ ┘
//! ```
//!
//! Everything is a pure function of `(seed, epoch, index)`: nothing is remembered, so any example can
//! be made again, on any number of threads, and a run resumes from the number of its step alone.
//!
//! ```
//! use sensorium_data::{At, Dataset, DatasetConfig, OpenOptions, scene::Split};
//! use sensorium_media::MediaDecoder;
//!
//! let config = DatasetConfig::SceneDescriptions { share: 1.0 };
//! let options = OpenOptions { seed: 7, split: Split::Train, val_share: 0.0, picture_size: 32 };
//! let data = config.open(&options, &MediaDecoder::here())?;
//! let example = data.example(At { epoch: 0, index: 0, progress: 1.0 })?;
//! assert_eq!((example.media.len(), example.messages.len()), (1, 2));
//! # Ok::<(), sensorium_data::Error>(())
//! ```

mod augment;
pub mod check;
mod config;
pub mod drawn;
mod error;
mod font;
mod loader;
mod mixture;
pub mod preview;
pub mod read;
mod shuffle;

pub use augment::Augment;
pub use config::{Config, DatasetConfig, OpenOptions};
pub use drawn::easy_vqa::EasyVqa;
pub use drawn::facts::Facts;
pub use drawn::icons::Icons;
pub use drawn::{
    caption, conversation, easy_vqa, icons, look, pairs, question, scene, sounds, text,
};
pub use error::{Error, Result};
pub use loader::{BadSamples, Examples, Loader, Threads};
pub use mixture::Mixture;

use std::path::PathBuf;

use sensorium_media::Message;

pub use sensorium_kernels::rng;
pub use sensorium_media::Media;

/// What one step of training learns from, or one question of an evaluation is about.
#[derive(Clone, Debug, Default)]
pub struct Example {
    /// What is seen, in the order of the messages' parts that stand for it.
    pub media: Vec<Media>,
    /// A caption of the media or, without media, a whole document.
    pub text: Option<String>,
    /// The caption made false.
    pub negatives: Vec<String>,
    /// A conversation about the media or, without media, about anything.
    pub messages: Vec<Message>,
    /// Whether each question of the conversation is asked as if it were the first.
    pub isolated: bool,
    /// Equal for examples whose captions may hold for each other's media: leave those out of the
    /// negatives of a contrastive loss.
    pub group: u64,
    /// What a renderer knows of what it drew; nothing for pictures from elsewhere.
    pub facts: Option<Facts>,
    /// Who speaks in a recording, and when each phoneme ends; nothing where a data set does not tell.
    pub spoken: Option<Spoken>,
}

/// What is known of a recording of speech beside its words.
#[derive(Clone, Debug, PartialEq)]
pub struct Spoken {
    /// The speaker's name.
    pub voice: String,
    /// Phonemes in order, each with the second in which it ends.
    pub phonemes: Vec<(String, f32)>,
}

/// What is known of an example before its media are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outline {
    /// Its name: the same for all examples about one picture.
    pub name: String,
    /// Its caption.
    pub text: Option<String>,
    /// The file of its medium, where that has one of its own.
    pub file: Option<PathBuf>,
}

/// Which example.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct At {
    /// How often the whole set came before.
    pub epoch: u64,
    /// Which of the set's examples: below its length, where it has one.
    pub index: u64,
    /// How much of the run lies behind (0 to 1): drawn scenes grow with it.
    pub progress: f32,
}

/// Examples by number.
#[allow(clippy::len_without_is_empty)] // An empty set does not open.
pub trait Dataset: Send + Sync {
    /// The name used in messages.
    fn name(&self) -> &str;

    /// The number of examples, at least 1, or nothing where there is always another one.
    fn len(&self) -> Option<u64>;

    /// One example: the same for the same `at`.
    ///
    /// # Errors
    /// The example cannot be read. Others may still be.
    fn example(&self, at: At) -> Result<Example>;

    /// What is known of example `index` before its media are read: of drawn sets, its number.
    ///
    /// # Errors
    /// There is no such example, or it is broken, which reading it would show too.
    fn outline(&self, index: u64) -> Result<Outline> {
        Ok(Outline { name: index.to_string(), ..Outline::default() })
    }
}
