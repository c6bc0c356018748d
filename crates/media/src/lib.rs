//! Bytes to pixels and token ids, and back; knows no tensors. Every limit on
//! what may be decoded lives here.
//!
//! ```text
//! file bytes ──sniff, header, limits──▶ Picture ──resize, crop, pad──▶ CHW planes
//! published settings ──▶ HubProcessor, HubTokenizer
//! messages   ──byte-level BPE, markers by id──▶ Prompt { ids, answer, images, spans }
//! messages   ──published chat template──▶ text
//! ```

mod byte_bpe;
pub mod chat;
pub mod chat_template;
mod error;
mod header;
mod hub_processor;
mod hub_tokenizer;
pub mod picture;
mod processor;
mod resample;
mod special;
pub mod text;
mod tokenizer_json;

pub use byte_bpe::{ByteBpe, Published};
pub use chat::{Message, Part, Prompt, Role, parse_markers, render};
pub use chat_template::{ChatTemplate, Conversation};
pub use error::{Error, Result};
pub use hub_processor::{HubProcessor, Style};
pub use hub_tokenizer::HubTokenizer;
pub use picture::{Fit, ImageProcessor, Picture};
pub use resample::Filter;
pub use text::{Special, Tokenizer};
