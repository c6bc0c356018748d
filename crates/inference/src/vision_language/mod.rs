//! A published language model that sees: questions about pictures in, text out.
//!
//! ```text
//! picture ──cut──▶ tiles [n, 3, h, w] ──look──▶ [n, Q, D] ─┐
//! messages ──template──▶ text, each picture spelt out      │
//! text ──encode──▶ ids [T] ──embed──▶ [1, T, D] ──splice───┴──▶ backbone ──▶ next token
//! ```

mod feature_cache;
mod media_tower;
mod prompt;
mod signal;
mod vision_tower;

use std::mem::replace;
use std::sync::Arc;
use std::time::Instant;

use sensorium_flow::{Embeds, Features, Sequence, Span};
use sensorium_media::{
    Fitted, Layout, Media, Message, Modality, Part, Picture, Prompt, Role, Slot,
};
use sensorium_nn::prelude::*;

use sensorium_pretrained::families::blip2::Writer;
use sensorium_pretrained::families::llava::{Bidirectional, Spliced, VideoMarker};
use sensorium_pretrained::{CausalLm, Piece, TextProcessor};

use crate::embed::pooled as mean_of;
use crate::error::Result;
use crate::generate::{Continuation, GenerateOptions, Inputs, OnStep, Reply, Wanted};
use crate::language::{LanguageModel, has_template};
use crate::video::{frames, marked, with_places};
use crate::{ChatModel, FewShot, Learner};
use sensorium_model::assistant::Assistant;
use sensorium_model::domain::{Distance, Domain, pooled};
use sensorium_model::prompt::span;
use sensorium_model::splice::splice;

pub(crate) use feature_cache::{FeatureCache, Tile};
pub use media_tower::MediaTower;
pub(crate) use signal::Signal;
pub use vision_tower::VisionTower;

/// A loaded model.
#[derive(Debug)]
pub struct VisionLanguageModel {
    /// The language model.
    pub llm: LanguageModel,
    /// What sees.
    pub vision_tower: VisionTower,
    /// What reads other media, if anything does.
    pub towers: Vec<MediaTower>,
    /// What prompts may hold.
    modalities: Vec<Modality>,
    place: Place,
    /// Which tokens of a prompt see each other both ways.
    bidirectional: Bidirectional,
    /// Prompts tell when a video's frames are shown.
    timed: bool,
    /// It was taught texts with several pictures among them.
    pub(crate) interleaved: bool,
    /// What its pictures are compared with.
    pub(crate) domain: Option<Domain>,
    /// How it asks for media.
    pub(crate) signals: Vec<Signal>,
    /// What was seen lately.
    seen: FeatureCache,
}

/// What stands at a place of a prompt.
enum Seen {
    /// A picture, or a frame of a video.
    Picture(Fitted),
    /// What a tower of other media reads.
    Piece(Piece),
}

/// What models that see read: of videos, the frames.
const SEEING: [Modality; 3] = [Modality::Text, Modality::Image, Modality::Video];

/// Where pictures stand in a prompt.
#[derive(Clone, Debug)]
enum Place {
    /// Where the text names a token.
    Marked {
        /// Its name.
        name: String,
        /// That of the token in whose places its features go.
        token: String,
        /// Stand in front of a picture's tokens and behind them.
        frame: [String; 2],
        /// How a video stands there, where it is more than its frames as pictures.
        video: Option<VideoPlace>,
    },
    /// One, in front of all else (BLIP-2).
    Front {
        /// Stands in the prompt's ids for each of its tokens.
        id: u32,
    },
}

/// How a video stands in a prompt.
#[derive(Clone, Debug)]
struct VideoPlace {
    /// The token that a text has for it.
    marker: String,
    /// Its frames are pictures with their numbers, not one medium.
    numbered: bool,
}

impl VisionLanguageModel {
    /// BLIP-2 of the second stage.
    pub(crate) fn blip2(text: TextProcessor, writer: Writer) -> Self {
        let Writer { eye, backbone, language: config } = writer;
        let id = eye.marker.or(text.bos_token_id).unwrap_or_default();
        let llm = LanguageModel { lm: CausalLm { text, config, backbone } };
        Self {
            llm,
            vision_tower: VisionTower::blip2(eye),
            towers: Vec::new(),
            modalities: SEEING.to_vec(),
            place: Place::Front { id },
            bidirectional: Bidirectional::Never,
            timed: false,
            interleaved: false,
            domain: None,
            signals: Vec::new(),
            seen: FeatureCache::default(),
        }
    }

    /// LLaVA and its kin, Idefics3, SmolVLM.
    ///
    /// # Errors
    /// The tokenizer does not know the token whose places pictures take.
    pub(crate) fn spliced(text: TextProcessor, spliced: Spliced) -> Result<Self> {
        let (config, id) = (spliced.config.backbone.clone(), spliced.marker);
        let (bidirectional, frame) = (spliced.bidirectional, spliced.frame.clone());
        let (timed, interleaved) = (spliced.timed, spliced.interleaved);
        let named =
            |id| text.tokenizer.token(id).ok_or_else(|| prompt::no_marker(&spliced.path, id));
        let token = named(id)?;
        let video = match &spliced.video {
            Some(VideoMarker::Whole(id)) => {
                Some(VideoPlace { marker: named(*id)?, numbered: false })
            }
            Some(VideoMarker::Numbered(name)) => {
                Some(VideoPlace { marker: name.clone(), numbered: true })
            }
            None => None,
        };
        let (name, frame) = match spliced.begin_and_end {
            Some(ids) => {
                let [begin, end] = [named(ids[0])?, named(ids[1])?];
                (begin.clone(), [format!("\n\n{begin}"), format!("{end}\n\n")])
            }
            None => (token.clone(), frame),
        };
        let (vision_tower, towers, backbone) = VisionTower::open(spliced);
        let llm = LanguageModel { lm: CausalLm { text, config, backbone } };
        let others = towers.iter().map(MediaTower::modality).filter(|m| !SEEING.contains(m));
        let modalities = SEEING.into_iter().chain(others).collect();
        Ok(Self {
            llm,
            vision_tower,
            towers,
            modalities,
            place: Place::Marked { name, token, frame, video },
            bidirectional,
            timed,
            interleaved,
            domain: None,
            signals: Vec::new(),
            seen: FeatureCache::default(),
        })
    }

    /// Keeps what it sees, within so many bytes: a picture that is shown again is not looked at again.
    pub fn remember(&mut self, bytes: usize) {
        self.seen = FeatureCache::within(bytes);
    }

    pub(crate) fn pack(&mut self, format: pack::Format) {
        self.vision_tower.pack(format);
        self.towers.iter_mut().for_each(|tower| tower.tower.pack_as(format));
        self.signals.iter_mut().for_each(|signal| signal.mapper.pack_as(format));
        self.llm.pack(format);
    }

    /// The answer to a prompt that is ready.
    fn say(&self, inputs: Inputs, on_step: OnStep<'_>) -> Result<Reply> {
        let continuation = self.llm.extend_inputs(&inputs, on_step)?;
        let wanted = self.wanted(&inputs, &continuation);
        Ok(inputs.reply(continuation, wanted))
    }

    /// A conversation that the assistant is to continue.
    fn conversation(
        &self,
        messages: &[Message],
        media: &[Media],
        options: &GenerateOptions,
    ) -> Result<Inputs> {
        self.inputs(media, options, |seen| {
            let messages = self.placed(messages, media, seen);
            self.prompt(&messages, &seen.iter().flatten().collect::<Vec<_>>())
        })
    }

    /// A `prompt` with its media, which it has places for, as the backbone reads it.
    fn inputs(
        &self,
        media: &[Media],
        options: &GenerateOptions,
        prompt: impl FnOnce(&[Vec<Seen>]) -> Result<Prompt>,
    ) -> Result<Inputs> {
        self.takes(media)?;
        let start = Instant::now();
        let pictures = media.iter().filter(|medium| medium.modality() == Modality::Image).count();
        let seen = media.iter().map(|medium| self.see(medium, pictures == 1));
        let seen = seen.collect::<Result<Vec<_>>>()?;
        let process = start.elapsed().as_secs_f64();
        let prompt = prompt(&seen)?;
        self.llm.room(prompt.ids.len())?;

        let start = Instant::now();
        let seen = seen.into_iter().flatten().collect();
        let (embeds, distances) = self.embeds(&prompt, seen, &options.cache_salt)?;
        let encode = start.elapsed().as_secs_f64();
        let sequence = Sequence { spans: self.spans(&prompt), ..Sequence::default() };
        let Prompt { ids, answer, slots, .. } = prompt;
        let options = self.in_words(options);
        Ok(Inputs { ids, answer, embeds, sequence, slots, distances, process, encode, options })
    }

    /// What the tokens of a prompt have to do with each other, where any see later ones.
    fn spans(&self, prompt: &Prompt) -> Option<Arc<[Span]>> {
        match self.bidirectional {
            Bidirectional::Framed => {
                Some(prompt.spans.iter().map(|&number| span(number)).collect())
            }
            Bidirectional::Slots if !prompt.slots.is_empty() => {
                let mut spans = vec![Span::None; prompt.ids.len()];
                for (slot, n) in prompt.slots.iter().zip(1..) {
                    spans[slot.at..slot.at + slot.len].fill(Span::Shared(n));
                }
                Some(spans.into())
            }
            // What is answered is read from left to right.
            Bidirectional::Prompt => {
                let span = |&answer: &bool| if answer { Span::None } else { Span::Shared(1) };
                Some(prompt.answer.iter().map(span).collect())
            }
            Bidirectional::Never | Bidirectional::Slots => None,
        }
    }

    /// Options that keep the model from asking for media that are not to be made.
    fn in_words(&self, options: &GenerateOptions) -> GenerateOptions {
        let mut options = options.clone();
        let allowed = |modality| match &options.modalities {
            Some(modalities) => modalities.contains(&modality),
            None => true,
        };
        let silent = self.signals.iter().filter(|signal| !allowed(signal.modality));
        let silent: Vec<Vec<u32>> = silent.map(|signal| vec![signal.ids[0]]).collect();
        options.logits.bad_words_ids.extend(silent);
        options
    }

    /// What stands for a medium, in order: by its own tower, or as pictures; `alone` says that there is no
    /// second picture.
    fn see(&self, medium: &Media, alone: bool) -> Result<Vec<Seen>> {
        if let Some(tower) = self.towers.iter().find(|t| t.modality() == medium.modality()) {
            return Ok(tower.pieces(medium)?.into_iter().map(Seen::Piece).collect());
        }
        let fitted = match medium {
            Media::Image(picture) => vec![self.vision_tower.fit(picture, alone)],
            Media::Video(video) if self.joins_frames() => vec![self.vision_tower.fit_video(video)],
            medium => medium.pictures().map(|frame| self.vision_tower.fit_frame(frame)).collect(),
        };
        Ok(fitted.into_iter().map(Seen::Picture).collect())
    }

    /// Whether a text has one token for a video.
    fn joins_frames(&self) -> bool {
        matches!(self.place, Place::Marked { video: Some(_), .. })
    }

    /// A prompt's tokens with those of its media at their slots, `[1, T, D]`, and how far each picture lies
    /// from those of the training set, where that is known.
    fn embeds(
        &self,
        prompt: &Prompt,
        seen: Vec<Seen>,
        salt: &str,
    ) -> Result<(Embeds, Vec<Distance>)> {
        let slots = |modality: Modality| -> Vec<Slot> {
            let slots = prompt.slots.iter().filter(|slot| slot.modality == modality);
            slots.copied().collect()
        };
        let (mut tiles, mut parts, mut pieces) = (Vec::<Picture>::new(), Vec::new(), Vec::new());
        for seen in seen {
            match seen {
                Seen::Picture(Fitted { pictures, layout }) => {
                    parts.push((layout, pictures.len()));
                    tiles.extend(pictures);
                }
                Seen::Piece(piece) => pieces.push(piece),
            }
        }
        let mut embeds = self.llm.embed(&prompt.ids);
        let (pictures, distances) = self.see_tiles(tiles, parts, salt);
        for (modality, tokens) in pictures {
            embeds = splice(embeds, tokens, &slots(modality));
        }
        for tower in &self.towers {
            let own = pieces.iter().filter(|piece| piece.modality() == tower.modality());
            if let Some(tokens) = tower.encode(&own.collect::<Vec<_>>())? {
                embeds = splice(embeds, tokens, &slots(tower.modality()));
            }
        }
        Ok((embeds, distances))
    }

    /// The tokens of pictures and of videos' frames, which lie in `tiles` one after the other, so many of each.
    fn see_tiles(
        &self,
        tiles: Vec<Picture>,
        parts: Vec<(Layout, usize)>,
        salt: &str,
    ) -> (Vec<(Modality, Embeds)>, Vec<Distance>) {
        if tiles.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let tiles = self.seen.tiles(salt, tiles, |tiles| self.look_at(tiles));
        let distances = tiles.iter().filter_map(|tile| tile.distance).collect();
        let mut tiles = tiles.into_iter().map(|tile| tile.tokens);
        let joined = parts.into_iter().map(|(layout, n)| {
            let own = Tensor::cat(tiles.by_ref().take(n).collect(), 0);
            (layout, self.vision_tower.join(Embeds(own), layout).0)
        });
        // Numbered frames are pictures.
        let is_video =
            |layout: &Layout| *layout == Layout::Frames && self.vision_tower.joins_frames();
        let (videos, pictures): (Vec<_>, Vec<_>) = joined.partition(|(layout, _)| is_video(layout));
        let all = [(Modality::Image, pictures), (Modality::Video, videos)].into_iter();
        let all = all.filter(|(_, joined)| !joined.is_empty()).map(|(modality, joined)| {
            let joined = joined.into_iter().map(|(_, tokens)| tokens).collect();
            (modality, Embeds(Tensor::cat(joined, 1)))
        });
        (all.collect(), distances)
    }

    /// What tiles become, all of them together.
    fn look_at(&self, tiles: &[Picture]) -> Vec<Tile> {
        let features = self.vision_tower.features(tiles);
        let far = |domain: &Domain| -> Vec<Distance> {
            pooled(features.clone()).iter().map(|seen| domain.distance(seen)).collect()
        };
        let distances = self.domain.as_ref().map(far);
        let Embeds(tokens) = self.vision_tower.project(features);
        let tile = |i: usize| Tile {
            tokens: tokens.clone().narrow(0, i, 1),
            distance: distances.as_ref().map(|all| all[i]),
        };
        (0..tiles.len()).map(tile).collect()
    }

    /// Messages with a place for each of what stands for their media.
    fn placed(&self, messages: &[Message], media: &[Media], seen: &[Vec<Seen>]) -> Vec<Message> {
        let own = |modality| self.towers.iter().any(|tower| tower.modality() == modality);
        with_places(messages, media, |medium, i| match medium {
            Media::Video(video) if !own(Modality::Video) && !self.joins_frames() => {
                frames(video, self.timed)
            }
            medium => vec![Part::Media(medium.modality()); seen[i].len()],
        })
    }
}

impl Learner for VisionLanguageModel {
    fn put(&mut self, new: Assistant) -> Assistant {
        let Self { vision_tower, towers, llm, .. } = self;
        let own = towers.iter_mut().map(|other| &mut other.tower);
        let own = std::iter::once(&mut vision_tower.tower).chain(own);
        Assistant {
            towers: own.zip(new.towers).map(|(own, new)| replace(own, new)).collect(),
            patches: None,
            anyres: replace(&mut vision_tower.anyres, new.anyres),
            backbone: replace(&mut llm.lm.backbone, new.backbone),
        }
    }

    fn lesson(&self, messages: &[Message], media: &[Media]) -> Result<Inputs> {
        self.inputs(media, &GenerateOptions::default(), |seen| {
            let messages = self.placed(messages, media, seen);
            let seen: Vec<&Seen> = seen.iter().flatten().collect();
            match self.bidirectional {
                Bidirectional::Prompt => self.answered_at_once(&messages, &seen),
                _ => self.llm.taught(&messages, &self.media(&seen)),
            }
        })
    }
}

impl ChatModel for VisionLanguageModel {
    fn modalities(&self) -> &[Modality] {
        &self.modalities
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
        self.say(self.conversation(messages, media, options)?, on_step)
    }

    fn prepare(
        &self,
        messages: &[Message],
        media: &[Media],
        options: &GenerateOptions,
    ) -> Result<Option<Inputs>> {
        self.conversation(messages, media, options).map(Some)
    }

    fn wanted(&self, inputs: &Inputs, said: &Continuation) -> Option<Wanted> {
        let signal = self.signals.iter().find(|signal| Some(signal.ids[0]) == said.eos)?;
        Some(signal.wanted(&self.llm, inputs, &said.ids))
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
        let inputs = self.inputs(media, options, |seen| {
            let parts = self.placed(&[message], media, seen).remove(0).parts;
            self.raw(&parts, parse_special, &seen.iter().flatten().collect::<Vec<_>>())
        })?;
        self.say(inputs, on_step)
    }

    fn makes(&self) -> Vec<Modality> {
        self.signals.iter().map(|signal| signal.modality).collect()
    }

    fn wants(
        &self,
        messages: &[Message],
        media: &[Media],
        modality: Modality,
    ) -> Result<Option<Wanted>> {
        let Some(signal) = self.signals.iter().find(|signal| signal.modality == modality) else {
            return Ok(None);
        };
        let inputs = self.conversation(messages, media, &GenerateOptions::default())?;
        Ok(Some(signal.wanted(&self.llm, &inputs, &[])))
    }

    fn distance(&self, picture: &Picture) -> Option<Distance> {
        let domain = self.domain.as_ref()?;
        let seen = self.vision_tower.features(&self.vision_tower.fit(picture, true).pictures);
        Some(domain.distance(pooled(seen).first()?))
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
        let Embeds(seen) = self.vision_tower.encode(&self.vision_tower.fit(picture, true).pictures);
        mean_of(Some(Features(seen)))
    }
}
