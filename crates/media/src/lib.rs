//! Bytes to pixels, samples, rows and token ids, and back; knows no tensors. Every limit on
//! what may be decoded lives here.
//!
//! ```text
//! file bytes ──sniff, header, limits──▶ Picture ──ImageProcessor──▶ CHW planes
//! file bytes ──sniff, index, Sampling──▶ Video, Pictures at their times
//! file bytes ──sniff, header, limits──▶ Sound ──rate, windows, bands──▶ Mel
//! file bytes ──magic, limits────────▶ Table, rows of columns with kinds
//! text       ──words, lexicon──▶ phonemes     log-mel ──Griffin-Lim──▶ samples
//! text       ──Tokenizer──▶ ids ──Decoder──▶ text
//! messages   ──ChatTemplate──▶ text ──Tokenizer──▶ Prompt { ids, answer, slots, spans }
//! Media      ──write──▶ a file, whole or not there
//! ```

pub mod chat;
pub mod chat_template;
mod child;
pub mod clean;
mod compression;
pub mod decibels;
mod error;
mod header;
mod image_processor;
mod jpeg;
pub mod media_decoder;
pub mod mel;
mod modality;
mod orientation;
pub mod parquet;
pub mod phonemes;
pub mod picture;
mod resample;
pub mod sound;
pub mod stft;
pub mod table;
mod tokenizer;
pub mod video;
pub mod write;

pub use chat::{
    ChatFormat, Medium, Message, Part, Prompt, Role, Slot, arranged, parse_markers, render,
    split_markers,
};
pub use chat_template::{ChatTemplate, Conversation};
pub use compression::compression_ratio;
pub use error::{Error, Result};
pub use image_processor::{
    Fitted, Grid, ImageProcessor, Layout, PatchProcessor, PatchStyle, Style,
};
pub use media_decoder::MediaDecoder;
pub use mel::Mel;
pub use modality::{Media, Modality};
pub use picture::Picture;
pub use resample::Filter;
pub use sound::{Sound, SoundError, SoundReader};
pub use table::Table;
pub use tokenizer::{
    Decoder, Files, Pieces, Published, Special, Tokenizer, Vocabulary, VocabularyFile,
};
pub use video::{Frame, Sampling, Video};
