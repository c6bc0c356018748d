//! A published language model that sees: questions about pictures in, text out.
//!
//! ```text
//! picture ──cut──▶ tiles [n, 3, h, w] ──look──▶ [n, Q, D] ─┐
//! messages ──template──▶ text, each picture spelt out      │
//! text ──encode──▶ ids [T] ──embed──▶ [1, T, D] ──splice───┴──▶ backbone ──▶ next token
//! ```

mod eye;
mod prompt;

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use sensorium_backbone::{Backbone, BackboneConfig};
use sensorium_media::{Message, Picture};
use sensorium_nn::prelude::*;

use crate::llm::directory::Words;
use crate::llm::{Llm, LlmError, Reply, Step};
use crate::nano::AskOptions;
use crate::published::{Directory, blip2, splicing};
use crate::splice::splice;

pub use eye::Eye;

type Result<T> = std::result::Result<T, LlmError>;

/// A loaded model.
#[derive(Debug)]
pub struct Vlm {
    /// The language model.
    pub llm: Llm,
    /// What sees.
    pub eye: Eye,
    place: Place,
}

/// Where pictures stand in a prompt.
#[derive(Clone, Debug)]
enum Place {
    /// Where the text names a token.
    Marked {
        /// Its name.
        name: String,
        /// Its id.
        id: u32,
    },
    /// One, in front of all else (BLIP-2).
    Front {
        /// Stands in the prompt's ids for each of its tokens.
        id: u32,
    },
}

impl Vlm {
    /// Whether a directory holds such a model.
    pub fn is(path: &Path) -> bool {
        Directory::open(path)
            .is_ok_and(|d| splicing::family(&d.config()).is_some() || blip2::writes(&d.config()))
    }

    /// The model in a directory, its matrices in `format`; in f32 without one.
    ///
    /// # Errors
    /// A file is missing, damaged or asks for what is not built here; a tensor is missing, left over
    /// or of another shape.
    pub fn open(path: &Path, format: Option<pack::Format>) -> Result<Self> {
        let directory = Directory::open(path)?;
        let format = format.unwrap_or(pack::Format::F32);
        match blip2::writes(&directory.config()) {
            true => Self::blip2(&directory, format),
            false => Self::spliced(&directory, format),
        }
    }

    fn blip2(directory: &Directory, format: pack::Format) -> Result<Self> {
        let words = Words::read(directory)?.ending_as(&directory.config().child("text_config")?)?;
        let writer = blip2::Writer::open(directory)?;
        let (config, marker) = (writer.language.clone(), writer.marker);
        let (mut eye, mut backbone) = Eye::blip2(writer);
        eye.pack(format);
        backbone.pack_as(format);
        let llm = words.with(config, backbone);
        let id = marker.or(llm.opening).unwrap_or_default();
        Ok(Self { llm, eye, place: Place::Front { id } })
    }

    fn spliced(directory: &Directory, format: pack::Format) -> Result<Self> {
        let words = Words::read(directory)?;
        let spliced = splicing::open(directory)?;
        let (config, id) = (spliced.config.backbone.clone(), spliced.marker);
        let (mut eye, llama) = Eye::open(spliced);
        let mut backbone = Backbone::Llama(llama);
        eye.pack(format);
        backbone.pack_as(format);
        let llm = words.with(BackboneConfig::Llama(config), backbone);
        let name = llm.tokenizer.name(id).ok_or_else(|| prompt::no_marker(directory, id))?;
        Ok(Self { llm, eye, place: Place::Marked { name, id } })
    }

    /// Continues a conversation whose messages hold `pictures` in order. `on_step` hears of every
    /// token.
    ///
    /// # Errors
    /// The template refuses the messages, the prompt leaves no room for an answer, or the model
    /// computes no numbers.
    pub fn answer(
        &self,
        messages: &[Message],
        pictures: &[Picture],
        options: AskOptions,
        on_step: impl FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Reply> {
        let start = Instant::now();
        let cut: Vec<_> = pictures.iter().map(|picture| self.eye.cut(picture)).collect();
        let process = start.elapsed().as_secs_f64();
        let prompt = self.prompt(messages, &cut)?;
        self.llm.room(prompt.len())?;

        let start = Instant::now();
        let tiles: Vec<Picture> = cut.into_iter().flat_map(|cut| cut.tiles).collect();
        let text = self.llm.embed(&prompt);
        let embeds = match tiles.is_empty() {
            true => text,
            false => splice(text, self.eye.look(&tiles), &self.places(&prompt)),
        };
        let encode = start.elapsed().as_secs_f64();
        let continuation = self.llm.extend_read(embeds, options, on_step)?;
        Ok(Reply { prompt, process, encode, continuation })
    }

    /// Where each tile's tokens begin.
    fn places(&self, prompt: &[u32]) -> Vec<usize> {
        let Place::Marked { id: marker, .. } = self.place else { return vec![0] };
        let marked = prompt.iter().enumerate().filter(|(_, id)| **id == marker);
        marked.map(|(at, _)| at).step_by(self.eye.tokens()).collect()
    }
}
