//! A published language model that hears: questions about sounds in, text out.
//!
//! ```text
//! sound ──cut──▶ stretches [bands, F] ──hear──▶ [1, Q, D] ─┐
//! messages ──template──▶ text, each stretch spelt out      │
//! text ──encode──▶ ids [T] ──embed──▶ [1, T, D] ──splice───┴──▶ backbone ──▶ next token
//! ```

mod transcribe;

use std::mem::replace;
use std::time::Instant;

use sensorium_flow::Sequence;
use sensorium_media::chat::tokenize;
use sensorium_media::{Media, Medium, Message, Modality, Part, Prompt, Role};
use sensorium_model::assistant::Assistant;
use sensorium_model::splice::splice;
use sensorium_nn::prelude::Pack;
use sensorium_nn::prelude::pack;
use sensorium_pretrained::families::audio_language::{AudioLanguageParts, Style};
use sensorium_pretrained::{CausalLm, Piece};

use crate::error::Result;
use crate::generate::{GenerateOptions, Inputs, OnStep, Reply};
use crate::language::{LanguageModel, has_template};
use crate::video::{marked, with_places};
use crate::vision_language::MediaTower;
use crate::{ChatModel, Learner};

/// A loaded model.
#[derive(Debug)]
pub struct AudioLanguageModel {
    /// The language model.
    pub llm: LanguageModel,
    /// What hears.
    pub tower: MediaTower,
    /// The token whose places sounds take.
    marker: String,
    style: Style,
}

impl AudioLanguageModel {
    /// A loaded model as one that answers.
    pub(crate) fn new(parts: AudioLanguageParts) -> Self {
        let AudioLanguageParts { text, config, backbone, tower, processor, marker, style, device } =
            parts;
        let llm = LanguageModel { lm: CausalLm { text, config, backbone } };
        Self { llm, tower: MediaTower { tower, processor, device }, marker, style }
    }

    /// What stands around a sound's tokens in texts that no template has written, where the tokenizer knows it.
    fn around(&self) -> [&'static str; 2] {
        let names = match self.style {
            Style::Qwen2Audio => ["<|audio_bos|>", "<|audio_eos|>"],
            Style::Voxtral => ["[BEGIN_AUDIO]", ""],
        };
        let tokenizer = &self.llm.lm.text.tokenizer;
        names.map(|name| if tokenizer.id(name).is_some() { name } else { "" })
    }

    /// The pieces of sounds, those together that stand in one row.
    fn rows<'p>(&self, pieces: &'p [Vec<Piece>]) -> Vec<&'p [Piece]> {
        match self.style {
            Style::Qwen2Audio => pieces.iter().flat_map(|sound| sound.chunks(1)).collect(),
            Style::Voxtral => pieces.iter().map(Vec::as_slice).collect(),
        }
    }

    /// Messages with a place for each row of their sounds.
    fn placed(&self, messages: &[Message], media: &[Media], pieces: &[Vec<Piece>]) -> Vec<Message> {
        with_places(messages, media, |_, i| {
            let rows = self.rows(&pieces[i..=i]).len();
            vec![Part::Media(Modality::Audio); rows]
        })
    }

    pub(crate) fn pack(&mut self, format: pack::Format) {
        self.tower.tower.pack_as(format);
        self.llm.pack(format);
    }

    /// A `prompt` with its sounds, which it has places for, as the backbone reads it.
    fn inputs(
        &self,
        media: &[Media],
        options: &GenerateOptions,
        prompt: impl FnOnce(&[Vec<Piece>]) -> Result<Prompt>,
    ) -> Result<Inputs> {
        self.takes(media)?;
        let start = Instant::now();
        let pieces: Vec<Vec<Piece>> =
            media.iter().map(|medium| self.tower.pieces(medium)).collect::<Result<_>>()?;
        let process = start.elapsed().as_secs_f64();
        let prompt = prompt(&pieces)?;
        self.llm.room(prompt.ids.len())?;

        let start = Instant::now();
        let mut embeds = self.llm.embed(&prompt.ids);
        if let Some(heard) = self.tower.encode(&pieces.iter().flatten().collect::<Vec<_>>())? {
            embeds = splice(embeds, heard, &prompt.slots);
        }
        let encode = start.elapsed().as_secs_f64();
        let Prompt { ids, answer, slots, .. } = prompt;
        let (distances, options) = (Vec::new(), options.clone());
        let sequence = Sequence::default();
        Ok(Inputs { ids, answer, embeds, sequence, slots, distances, process, encode, options })
    }

    /// A conversation that the assistant is to continue.
    fn conversation(
        &self,
        messages: &[Message],
        media: &[Media],
        options: &GenerateOptions,
    ) -> Result<Inputs> {
        self.inputs(media, options, |pieces| {
            let messages = self.placed(messages, media, pieces);
            self.llm.prompted(&messages, &self.media(pieces, ["", ""]), || {
                let last = messages.last().map_or(&[][..], |message| &message.parts);
                self.raw(last, false, pieces)
            })
        })
    }

    /// A text to be continued as it is, its sounds at their places.
    fn raw(&self, parts: &[Part], special: bool, pieces: &[Vec<Piece>]) -> Result<Prompt> {
        let tokenizer = &self.llm.lm.text.tokenizer;
        let text = self.llm.written(parts, special, |_| self.marker.clone());
        self.llm.opened(tokenize(tokenizer, &text, &self.media(pieces, self.around()))?)
    }

    /// What stands for each row.
    fn media(&self, pieces: &[Vec<Piece>], [before, after]: [&str; 2]) -> Vec<Medium> {
        let medium = |row: &[Piece]| {
            let len = row.iter().map(|piece| self.tower.tokens(piece)).sum();
            let text = format!("{before}{}{after}", self.marker.repeat(len));
            let marker = self.marker.clone();
            Medium { modality: Modality::Audio, token: marker.clone(), marker, text, len }
        };
        self.rows(pieces).into_iter().map(medium).collect()
    }
}

impl Learner for AudioLanguageModel {
    fn put(&mut self, new: Assistant) -> Assistant {
        let towers = new.towers.into_iter().map(|tower| replace(&mut self.tower.tower, tower));
        let (towers, backbone) =
            (towers.collect(), replace(&mut self.llm.lm.backbone, new.backbone));
        Assistant { towers, patches: None, anyres: None, backbone }
    }

    fn lesson(&self, messages: &[Message], media: &[Media]) -> Result<Inputs> {
        self.inputs(media, &GenerateOptions::default(), |pieces| {
            self.llm.taught(&self.placed(messages, media, pieces), &self.media(pieces, ["", ""]))
        })
    }
}

impl ChatModel for AudioLanguageModel {
    fn modalities(&self) -> &[Modality] {
        &[Modality::Text, Modality::Audio]
    }

    fn has_template(&self) -> Result<bool> {
        has_template(&self.llm.lm)
    }

    fn answer(
        &self,
        messages: &[Message],
        media: &[Media],
        options: &GenerateOptions,
        on_step: OnStep<'_>,
    ) -> Result<Reply> {
        self.llm.say(self.conversation(messages, media, options)?, on_step)
    }

    fn prepare(
        &self,
        messages: &[Message],
        media: &[Media],
        options: &GenerateOptions,
    ) -> Result<Option<Inputs>> {
        self.conversation(messages, media, options).map(Some)
    }

    fn complete(
        &self,
        text: &str,
        parse_special: bool,
        media: &[Media],
        options: &GenerateOptions,
        on_step: OnStep<'_>,
    ) -> Result<Reply> {
        let message = Message { role: Role::User, parts: marked(text, media)? };
        let inputs = self.inputs(media, options, |pieces| {
            let parts = self.placed(&[message], media, pieces).remove(0).parts;
            self.raw(&parts, parse_special, pieces)
        })?;
        self.llm.say(inputs, on_step)
    }

    fn token(&self, id: u32) -> String {
        self.llm.token(id)
    }
}
