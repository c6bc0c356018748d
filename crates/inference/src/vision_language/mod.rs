//! A published language model that sees: questions about pictures in, text out.
//!
//! ```text
//! picture ──cut──▶ tiles [n, 3, h, w] ──look──▶ [n, Q, D] ─┐
//! messages ──template──▶ text, each picture spelt out      │
//! text ──encode──▶ ids [T] ──embed──▶ [1, T, D] ──splice───┴──▶ backbone ──▶ next token
//! ```

mod prompt;
mod vision_tower;

use std::time::Instant;

use sensorium_flow::{Embeds, Features};
use sensorium_media::{Fitted, Media, Message, Modality, Picture, Prompt};
use sensorium_nn::prelude::*;

use sensorium_pretrained::families::blip2::Writer;
use sensorium_pretrained::families::llava::Spliced;
use sensorium_pretrained::{CausalLm, TextProcessor};

use crate::embed::pooled;
use crate::error::Result;
use crate::generate::{GenerateOptions, OnStep, Reply};
use crate::language::{LanguageModel, has_template};
use crate::video::{completed, with_frames};
use crate::{ChatModel, FewShot};
use sensorium_model::prompt::span;
use sensorium_model::splice::splice;

pub use vision_tower::VisionTower;

/// A loaded model.
#[derive(Debug)]
pub struct VisionLanguageModel {
    /// The language model.
    pub llm: LanguageModel,
    /// What sees.
    pub vision_tower: VisionTower,
    place: Place,
    /// A picture's tokens see each other both ways.
    prefix: bool,
    /// Prompts tell when a video's frames are shown.
    timed: bool,
    /// It was taught texts with several pictures among them.
    pub(crate) interleaved: bool,
}

/// Where pictures stand in a prompt.
#[derive(Clone, Debug)]
enum Place {
    /// Where the text names a token.
    Marked {
        /// Its name.
        name: String,
        /// Stand in front of a picture's tokens and behind them.
        frame: [String; 2],
    },
    /// One, in front of all else (BLIP-2).
    Front {
        /// Stands in the prompt's ids for each of its tokens.
        id: u32,
    },
}

impl VisionLanguageModel {
    /// BLIP-2 of the second stage.
    pub(crate) fn blip2(text: TextProcessor, writer: Writer) -> Self {
        let (config, marker) = (writer.language.clone(), writer.marker);
        let (vision_tower, backbone) = VisionTower::blip2(writer);
        let id = marker.or(text.bos_token_id).unwrap_or_default();
        let llm = LanguageModel { lm: CausalLm { text, config, backbone } };
        Self {
            llm,
            vision_tower,
            place: Place::Front { id },
            prefix: false,
            timed: false,
            interleaved: false,
        }
    }

    /// LLaVA, Idefics3, SmolVLM.
    ///
    /// # Errors
    /// The tokenizer does not know the token whose places pictures take.
    pub(crate) fn spliced(text: TextProcessor, spliced: Spliced) -> Result<Self> {
        let (config, id) = (spliced.config.backbone.clone(), spliced.marker);
        let (prefix, frame, timed) = (spliced.config.prefix, spliced.frame.clone(), spliced.timed);
        let interleaved = spliced.interleaved;
        let name = text.tokenizer.token(id).ok_or_else(|| prompt::no_marker(&spliced.path, id))?;
        let (vision_tower, backbone) = VisionTower::open(spliced);
        let llm = LanguageModel { lm: CausalLm { text, config, backbone } };
        Ok(Self {
            llm,
            vision_tower,
            place: Place::Marked { name, frame },
            prefix,
            timed,
            interleaved,
        })
    }

    pub(crate) fn pack(&mut self, format: pack::Format) {
        self.vision_tower.pack(format);
        self.llm.pack(format);
    }

    /// What the model adds to the `prompt` with these pictures.
    fn reply(
        &self,
        media: &[Media],
        options: &GenerateOptions,
        on_step: OnStep<'_>,
        prompt: impl FnOnce(&[Fitted]) -> Result<Prompt>,
    ) -> Result<Reply> {
        self.takes(media)?;
        let start = Instant::now();
        let fit = |medium: &Media| -> Vec<Fitted> {
            match medium {
                Media::Image(picture) => vec![self.vision_tower.fit(picture)],
                Media::Video(video) => {
                    video.pictures().map(|frame| self.vision_tower.fit_frame(frame)).collect()
                }
                // Refused above.
                Media::Audio(_) | Media::Table(_) => Vec::new(),
            }
        };
        let fitted: Vec<Fitted> = media.iter().flat_map(fit).collect();
        let process = start.elapsed().as_secs_f64();
        let prompt = prompt(&fitted)?;
        self.llm.room(prompt.ids.len())?;

        let start = Instant::now();
        let tiles: Vec<Picture> = fitted.into_iter().flat_map(|fitted| fitted.pictures).collect();
        let text = self.llm.embed(&prompt.ids);
        let embeds = match tiles.is_empty() {
            true => text,
            false => splice(text, self.vision_tower.encode(&tiles), &prompt.slots),
        };
        let encode = start.elapsed().as_secs_f64();
        let spans = prompt.spans.iter().map(|&number| span(number));
        let spans = self.prefix.then(|| spans.collect());
        let continuation = self.llm.extend_embeds(&prompt.ids, embeds, spans, options, on_step)?;
        Ok(Reply { prompt: prompt.ids, process, encode, continuation })
    }
}

impl ChatModel for VisionLanguageModel {
    fn modalities(&self) -> &[Modality] {
        &[Modality::Text, Modality::Image, Modality::Video]
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
        let messages = with_frames(messages, media, self.timed);
        self.reply(media, options, on_step, |fitted| self.prompt(&messages, fitted))
    }

    fn complete(
        &self,
        text: &str,
        parse_special: bool,
        media: &[Media],
        options: &GenerateOptions,
        on_step: OnStep<'_>,
    ) -> Result<Reply> {
        let parts = completed(text, media, self.timed)?;
        self.reply(media, options, on_step, |fitted| self.raw(&parts, parse_special, fitted))
    }

    fn token(&self, id: u32) -> String {
        self.llm.token(id)
    }
}

impl FewShot for VisionLanguageModel {
    fn caption_request(&self) -> &'static str {
        "describe the picture."
    }

    fn look(&self, picture: &Picture) -> Vec<f32> {
        let Embeds(seen) = self.vision_tower.encode(&self.vision_tower.fit(picture).pictures);
        pooled(Some(Features(seen)))
    }
}
