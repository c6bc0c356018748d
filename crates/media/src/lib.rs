//! Bytes to pixels, samples and token ids, and back; knows no tensors. Every limit on
//! what may be decoded lives here.
//!
//! ```text
//! file bytes ──sniff, header, limits──▶ Picture ──resize, crop, pad──▶ CHW planes
//! published settings ──▶ HubProcessor, TileProcessor, NaflexProcessor, HubTokenizer
//! file bytes ──sniff, header, limits──▶ Sound ──rate, windows, bands──▶ Mel
//! messages   ──byte-level BPE, markers by id──▶ Prompt { ids, answer, images, spans }
//! messages   ──published chat template──▶ text
//! ```

mod byte_bpe;
pub mod chat;
pub mod chat_template;
mod compression;
mod error;
mod header;
mod hub_processor;
mod hub_tokenizer;
pub mod mel;
mod modality;
mod naflex;
pub mod picture;
mod processor;
mod resample;
pub mod sound;
mod special;
pub mod text;
mod tiles;
mod tokenizer_json;
mod vocabulary;

pub use byte_bpe::{ByteBpe, Published};
pub use chat::{Message, Part, Prompt, Role, parse_markers, render};
pub use chat_template::{ChatTemplate, Conversation};
pub use compression::compression_ratio;
pub use error::{Error, Result};
pub use hub_processor::{HubProcessor, Style};
pub use hub_tokenizer::HubTokenizer;
pub use mel::Mel;
pub use modality::Modality;
pub use naflex::NaflexProcessor;
pub use picture::{Fit, ImageProcessor, Picture};
pub use resample::Filter;
pub use sound::{Sound, SoundError};
pub use text::{Special, Tokenizer};
pub use tiles::{TileProcessor, Tiles};
pub use vocabulary::Vocabulary;
