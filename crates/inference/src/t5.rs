//! T5: a text is read as a whole, in BLIP-2 behind a picture's tokens, and then answered.
//!
//! ```text
//! picture ──look──▶ [1, Q, D] ─┐
//! text ──encode──▶ ids [N] ──embed, splice──▶ encoder ──▶ features ─┐
//!                                    start ──▶ decoder ◀────────────┘ ──▶ next token
//! ```

use std::time::Instant;

use sensorium_flow::Forward;
use sensorium_media::{Media, Message, Modality, Part, Picture, Role, Slot};
use sensorium_model::splice::splice;
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::t5::T5Parts;

use crate::error::{Error, Result};
use crate::generate::{GenerateOptions, OnStep, Reply, Request, known, room};
use crate::logits::LogitsProcessor;
use crate::video::marked;
use crate::vision_language::VisionTower;
use crate::{ChatModel, cross};

/// Most tokens that are read, and that are answered: the model knows no longest text, but the scores of all its
/// tokens with each other would cost gigabytes.
const CONTEXT: usize = 2048;

/// A T5 as its users meet it.
#[derive(Debug)]
pub struct T5Model {
    /// Tokenizer, shape, model.
    pub parts: T5Parts,
    /// What sees, and what stands in the prompt's ids for each of a picture's tokens.
    vision: Option<(VisionTower, u32)>,
}

impl T5Model {
    /// A loaded model as one that answers.
    pub(crate) fn new(mut parts: T5Parts) -> Self {
        let vision = parts.eye.take().map(|eye| {
            let id = eye.marker.unwrap_or_default();
            (VisionTower::blip2(eye), id)
        });
        Self { parts, vision }
    }

    pub(crate) fn pack(&mut self, format: pack::Format) {
        self.parts.model.pack_as(format);
        self.vision.iter_mut().for_each(|(tower, _)| tower.pack(format));
    }

    /// Ids of a text with what its tokenizer puts around it; names of special tokens become those tokens if they
    /// are to be parsed.
    fn ids(&self, text: &str, parse_special: bool) -> Result<Vec<u32>> {
        let text_processor = &self.parts.text;
        let tokenizer = &text_processor.tokenizer;
        let ids = match parse_special {
            true => tokenizer.encode_rendered(text)?,
            false => tokenizer.encode(text)?,
        };
        let opening = text_processor.bos_token_id.iter().copied();
        let ids = opening.chain(ids).chain(text_processor.suffix.iter().copied());
        known(ids.collect(), self.parts.config.vocab_size)
    }

    /// The answer to a text of these ids behind its picture.
    fn say(
        &self,
        text: &[u32],
        media: &[Media],
        options: &GenerateOptions,
        on_step: OnStep<'_>,
    ) -> Result<Reply> {
        self.takes(media)?;
        let pictures: Vec<&Picture> = media.iter().flat_map(Media::pictures).collect();
        if pictures.len() > 1 {
            return Err(Error::OnePicture { got: pictures.len() });
        }
        let picture = pictures.first().copied().zip(self.vision.as_ref());
        let slot = picture.map(|(_, (tower, id))| {
            (Slot { at: 0, len: tower.tokens(), modality: Modality::Image }, *id)
        });
        let places = slot.iter().flat_map(|(slot, id)| std::iter::repeat_n(*id, slot.len));
        let ids: Vec<u32> = places.chain(text.iter().copied()).collect();
        room(CONTEXT, ids.len())?;

        let start = Instant::now();
        let fitted = picture.map(|(picture, (tower, _))| (tower, tower.fit(picture, true)));
        let process = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let seen = fitted.map(|(tower, fitted)| tower.encode(&fitted.pictures));
        let encode = start.elapsed().as_secs_f64();

        let model = &self.parts.model;
        let embeds = model.embed(&ids, [1, ids.len()]);
        let slots: Vec<Slot> = slot.into_iter().map(|(slot, _)| slot).collect();
        let embeds = match seen {
            Some(seen) => splice(embeds, seen, &slots),
            None => embeds,
        };
        let cache = model.cross_keys(&model.encode(embeds));
        let request = self.request(options)?;
        let mut continuation = cross::extend(model, &[Some(0)], cache, request, on_step)?;
        continuation.prompt_tokens = ids.len();
        let (prompt, distances, wanted) = (ids, Vec::new(), None);
        let thoughts = None;
        Ok(Reply { prompt, slots, distances, process, encode, continuation, wanted, thoughts })
    }

    /// An answer of which nothing is said.
    fn request(&self, options: &GenerateOptions) -> Result<Request<'_>> {
        let T5Parts { text, decoder_start_token_id, .. } = &self.parts;
        let prompt = vec![*decoder_start_token_id];
        let room = room(CONTEXT, prompt.len())?;
        let processor = LogitsProcessor { model: &text.generation, suppress_tokens: &[], prompt };
        let (tokenizer, eos_token_ids) = (&text.tokenizer, &*text.eos_token_ids);
        Ok(Request { tokenizer, eos_token_ids, processor, room, options: options.clone() })
    }
}

impl ChatModel for T5Model {
    fn modalities(&self) -> &[Modality] {
        const ALL: [Modality; 2] = [Modality::Text, Modality::Image];
        &ALL[..1 + usize::from(self.vision.is_some())]
    }

    fn has_template(&self) -> Result<bool> {
        Ok(false)
    }

    fn answer(
        &self,
        messages: &[Message],
        media: &[Media],
        options: &GenerateOptions,
        on_step: OnStep<'_>,
    ) -> Result<Reply> {
        let text = messages.last().map(Message::words).unwrap_or_default();
        self.say(&self.ids(&text, false)?, media, options, on_step)
    }

    fn complete(
        &self,
        text: &str,
        parse_special: bool,
        media: &[Media],
        options: &GenerateOptions,
        on_step: OnStep<'_>,
    ) -> Result<Reply> {
        let mut parts = marked(text, media)?;
        parts.retain(|part| matches!(part, Part::Text(_)));
        let text = Message { role: Role::User, parts }.words();
        self.say(&self.ids(&text, parse_special)?, media, options, on_step)
    }

    fn token(&self, id: u32) -> String {
        self.parts.text.tokenizer.decode(&[id]).unwrap_or_default()
    }
}
