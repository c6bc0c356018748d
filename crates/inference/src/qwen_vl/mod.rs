//! Qwen2-VL, Qwen2.5-VL and Qwen3-VL that run: questions about pictures and videos of any shape in, text out; and
//! Qwen2.5-Omni, which hears sounds beside them and speaks.
//!
//! ```text
//! medium ──grid──▶ places in the prompt, each medium's own number ──fits the context?──┐
//! messages ──template──▶ text, each medium spelt out ──encode──▶ ids [T] ──────────────┤
//! medium ──patches, a step in time by itself──▶ tower ──▶ [1 + L, Q, D] ──splice───────┼──▶ backbone ──▶ next token
//! sound  ──stretches──▶ spectrograms ──▶ tower ──▶ [1, Q, D] ──────────────────────────┘
//! ```

mod prompt;
mod voice;

use std::mem::replace;
use std::time::Instant;

use sensorium_encoder::image::Patches;
use sensorium_flow::{Embeds, Grid, Sequence};
use sensorium_media::{Frame, Media, Message, Modality, Part, PatchProcessor, Prompt, Role};
use sensorium_model::assistant::Assistant;
use sensorium_model::qwen_vl::{PatchTower, positions, spliced};
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::qwen_vl::{QwenVl, Timing};
use sensorium_pretrained::{CausalLm, Piece, TextProcessor};

use crate::error::Result;
use crate::generate::{Continuation, GenerateOptions, Inputs, OnStep, Reply};
use crate::language::{LanguageModel, has_template};
use crate::speech::Thoughts;
use crate::video::{marked, with_places};
use crate::vision_language::{FeatureCache, MediaTower, Tile};
use crate::{ChatModel, Learner};
pub use voice::Speaker;

/// A loaded model.
#[derive(Debug)]
pub struct QwenVlModel {
    /// The language model.
    pub llm: LanguageModel,
    /// What sees.
    pub tower: PatchTower,
    /// What hears, if anything does.
    pub hearing: Option<Hearing>,
    /// What speaks, if anything does.
    pub speaking: Option<Speaker>,
    /// Pictures to patches.
    pub pictures: PatchProcessor,
    /// Videos to patches.
    pub videos: PatchProcessor,
    timing: Timing,
    names: Names,
    device: Device,
    /// What was seen lately.
    seen: FeatureCache,
}

/// The tokens of a medium in a prompt, by their names.
#[derive(Debug)]
struct Names {
    image: String,
    video: String,
    start: String,
    end: String,
}

/// What hears, and the tokens of a sound in a prompt, by their names.
#[derive(Debug)]
pub struct Hearing {
    /// Stretches of sounds to tokens.
    pub tower: MediaTower,
    marker: String,
    start: String,
    end: String,
    /// Positions of a stretch of a video with its own sound.
    stretch: usize,
}

/// A medium, or a stretch of a sound, before anything is made of it: what its place in a prompt follows from.
#[derive(Debug)]
enum Placed<'m> {
    Seen(Seen<'m>),
    Heard(Piece),
    /// A video with its own sound.
    Both(Seen<'m>, Vec<Piece>),
}

/// A picture or a video before it is looked at.
#[derive(Debug)]
struct Seen<'m> {
    medium: &'m Media,
    /// The frames that are looked at, of a video.
    frames: Vec<&'m Frame>,
    /// Its patches.
    grid: Grid,
    /// Positions from one step in time to the next.
    step: f32,
}

/// What prompts may hold; the last of a model that hears.
const MODALITIES: [Modality; 4] =
    [Modality::Text, Modality::Image, Modality::Video, Modality::Audio];

impl QwenVlModel {
    /// # Errors
    /// The tokenizer does not know the tokens that stand for media.
    pub(crate) fn new(text: TextProcessor, model: QwenVl) -> Result<Self> {
        let QwenVl { tower, hearing, speaking, backbone, config, pictures, videos, path, device } =
            model;
        let name = |id| text.tokenizer.token(id).ok_or_else(|| prompt::no_token(&path, id));
        let names = Names {
            image: name(config.image_token_id)?,
            video: name(config.video_token_id)?,
            start: name(config.vision_start_token_id)?,
            end: name(config.vision_end_token_id)?,
        };
        let hearing = match (hearing, &config.hearing) {
            (Some(hearing), Some(ids)) => {
                let (tower, processor) = (hearing.tower, hearing.processor);
                Some(Hearing {
                    tower: MediaTower { tower, processor, device: device.clone() },
                    marker: name(ids.audio_token_id)?,
                    start: name(ids.audio_start_token_id)?,
                    end: name(ids.audio_end_token_id)?,
                    stretch: ids.stretch,
                })
            }
            _ => None,
        };
        let speaking = speaking.zip(config.speaking);
        let speaking = speaking.map(|(parts, config)| Speaker { parts, config });
        let llm = LanguageModel { lm: CausalLm { text, config: config.language, backbone } };
        let (timing, seen) = (config.timing, FeatureCache::default());
        Ok(Self { llm, tower, hearing, speaking, pictures, videos, timing, names, device, seen })
    }

    /// Keeps what it sees, within so many bytes: a picture that is shown again is not looked at again.
    pub fn remember(&mut self, bytes: usize) {
        self.seen = FeatureCache::within(bytes);
    }

    pub(crate) fn pack(&mut self, format: pack::Format) {
        self.tower.pack_as(format);
        self.hearing.iter_mut().for_each(|hearing| hearing.tower.tower.pack_as(format));
        self.speaking.iter_mut().for_each(|speaking| speaking.pack(format));
        self.llm.pack(format);
    }

    /// The patches of a medium, a step in time after the other: a picture is one.
    fn steps<'a>(&'a self, placed: &'a Seen<'_>) -> impl Iterator<Item = Patches> + 'a {
        let (processor, pictures) = match placed.medium {
            Media::Image(picture) => (&self.pictures, vec![picture]),
            _ => (&self.videos, placed.frames.iter().map(|frame| &frame.picture).collect()),
        };
        let (n, temporal) = (pictures.len(), processor.temporal());
        (0..n).step_by(temporal).map(move |first| {
            let step = &pictures[first..(first + temporal).min(n)];
            self.patches(processor.patches(step, placed.grid), placed.grid)
        })
    }

    /// The numbers of one step in time, for the tower.
    fn patches(&self, values: Vec<f32>, grid: Grid) -> Patches {
        let n = grid.rows * grid.columns;
        let shape = [1, n, values.len() / n.max(1)];
        let pixels = Tensor::from_data(TensorData::new(values, shape), &self.device);
        Patches { pixels, grid }
    }

    /// Where a medium will stand, by its size alone: a long sound stretch by stretch.
    fn place<'m>(&self, medium: &'m Media) -> Result<Vec<Placed<'m>>> {
        if let (Some(hearing), Media::Audio(_)) = (&self.hearing, medium) {
            let pieces = hearing.tower.pieces(medium)?;
            return Ok(pieces.into_iter().map(Placed::Heard).collect());
        }
        let size = medium.pictures().next().map_or([1; 2], |first| [first.height, first.width]);
        let Media::Video(video) = medium else {
            let grid = self.pictures.grid(size, 1)?;
            return Ok(vec![Placed::Seen(Seen { medium, frames: Vec::new(), grid, step: 1.0 })]);
        };
        let frames = self.videos.frames(video);
        let (grid, n) = (self.videos.grid(size, frames.len())?, frames.len().max(1));
        let step = self.pace(video.duration / n as f64);
        Ok(vec![Placed::Seen(Seen { medium, frames, grid, step })])
    }

    /// Where all of them will stand, one after the other.
    fn all_placed<'m>(
        &self,
        media: &'m [Media],
        options: &GenerateOptions,
    ) -> Result<Vec<Vec<Placed<'m>>>> {
        let mut all: Vec<Vec<Placed<'m>>> = Vec::with_capacity(media.len());
        for medium in media {
            let placed = self.place(medium)?;
            match all.last_mut().map(Vec::as_mut_slice) {
                Some([before @ Placed::Seen(Seen { medium: Media::Video(_), .. })])
                    if options.use_audio_in_video && medium.modality() == Modality::Audio =>
                {
                    join(before, placed);
                    all.push(Vec::new());
                }
                _ => all.push(placed),
            }
        }
        Ok(all)
    }

    /// Positions from one step in time to the next, where a frame stays so many `seconds`.
    fn pace(&self, seconds: f64) -> f32 {
        match self.timing {
            Timing::Steps | Timing::Words => 1.0,
            Timing::Paced(step) => step,
            Timing::PerSecond(positions) => {
                positions as f32 * (self.videos.temporal() as f64 * seconds) as f32
            }
        }
    }

    /// What stands for a medium in the prompt, and what is added behind the first layers: `[1 + L, Q, D]`.
    fn see(&self, seen: &Seen<'_>, salt: &str) -> Tensor<3> {
        // Each step is seen by itself, so that a long video takes no more memory than a short one.
        let look = || {
            let steps = self.steps(seen).map(|patches| self.tower.embed(patches));
            Tile { tokens: Tensor::cat(steps.collect(), 1), distance: None }
        };
        match seen.medium {
            Media::Image(picture) => self.seen.tile(salt, picture, look).tokens,
            _ => look().tokens,
        }
    }

    /// What stands for stretches of a sound, `[1, Q, D]`.
    fn hear(&self, pieces: &[&Piece]) -> Result<Option<Tensor<3>>> {
        let Some(hearing) = &self.hearing else { return Ok(None) };
        Ok(hearing.tower.encode(pieces)?.map(|Embeds(heard)| heard))
    }

    /// The tokens of a video and of its own sound in the order in which they stand.
    fn interleaved(
        &self,
        placed: &Placed<'_>,
        seen: Tensor<3>,
        heard: Option<Tensor<3>>,
    ) -> Vec<Tensor<3>> {
        let (mut at, mut tokens) = ([0, 0], Vec::new());
        for lens in self.stretches(placed) {
            for (i, of) in [Some(&seen), heard.as_ref()].into_iter().enumerate() {
                if let Some(of) = of.filter(|_| lens[i] > 0) {
                    tokens.push(of.clone().narrow(1, at[i], lens[i]));
                    at[i] += lens[i];
                }
            }
        }
        tokens
    }

    /// What stands for each of the media, one after the other; nothing without any.
    fn perceive(&self, placed: &[Placed<'_>], salt: &str) -> Result<Option<Tensor<3>>> {
        let mut tokens = Vec::with_capacity(placed.len());
        for placed in placed {
            match placed {
                Placed::Seen(seen) => tokens.push(self.see(seen, salt)),
                Placed::Heard(piece) => tokens.extend(self.hear(&[piece])?),
                Placed::Both(seen, pieces) => {
                    let (seen_tokens, pieces) =
                        (self.see(seen, salt), pieces.iter().collect::<Vec<_>>());
                    tokens.extend(self.interleaved(placed, seen_tokens, self.hear(&pieces)?));
                }
            }
        }
        Ok((!tokens.is_empty()).then(|| Tensor::cat(tokens, 1)))
    }

    /// A `prompt` with its media, which it has places for, as the backbone reads it.
    fn inputs(
        &self,
        media: &[Media],
        options: &GenerateOptions,
        prompt: impl FnOnce(&[Vec<Placed<'_>>]) -> Result<Prompt>,
    ) -> Result<Inputs> {
        self.takes(media)?;
        let begun = Instant::now();
        let placed = self.all_placed(media, options)?;
        let process = begun.elapsed().as_secs_f64();
        let Prompt { ids, answer, slots, .. } = prompt(&placed)?;
        self.llm.room(ids.len())?;
        let placed: Vec<Placed<'_>> = placed.into_iter().flatten().collect();
        let slots = self.joined(&placed, slots);
        let start = Instant::now();
        let text = self.llm.embed(&ids);
        let (embeds, sequence) = match self.perceive(&placed, &options.cache_salt)? {
            None => (text, Sequence::default()),
            Some(media) => {
                let (embeds, deepstack) = spliced(text, media, &slots);
                let lasts = matches!(self.timing, Timing::Paced(_));
                let standing = self.standing(&placed, &slots);
                let grid = Some(positions(ids.len(), &standing, lasts));
                (embeds, Sequence { grid, deepstack, ..Sequence::default() })
            }
        };
        let (distances, options) = (Vec::new(), options.clone());
        let encode = start.elapsed().as_secs_f64();
        Ok(Inputs { ids, answer, embeds, sequence, slots, distances, process, encode, options })
    }

    /// The answer to a prompt that is ready.
    fn say(&self, inputs: Inputs, on_step: OnStep<'_>) -> Result<Reply> {
        let continuation = self.llm.extend_inputs(&inputs, on_step)?;
        let thoughts = self.thoughts(&inputs, &continuation);
        Ok(Reply { thoughts, ..inputs.reply(continuation, None) })
    }

    /// Messages with a place for each stretch of a sound.
    fn stretched(
        messages: &[Message],
        media: &[Media],
        placed: &[Vec<Placed<'_>>],
    ) -> Vec<Message> {
        with_places(messages, media, |medium, i| {
            vec![Part::Media(medium.modality()); placed[i].len()]
        })
    }

    /// A conversation that the assistant is to continue.
    fn conversation(
        &self,
        messages: &[Message],
        media: &[Media],
        options: &GenerateOptions,
    ) -> Result<Inputs> {
        self.inputs(media, options, |placed| {
            self.prompt(&Self::stretched(messages, media, placed), placed)
        })
    }
}

/// Has a video heard with its own sound.
fn join<'m>(video: &mut Placed<'m>, sound: Vec<Placed<'m>>) {
    let heard = |placed| match placed {
        Placed::Heard(piece) => Some(piece),
        Placed::Seen(_) | Placed::Both(..) => None,
    };
    let pieces: Vec<Piece> = sound.into_iter().filter_map(heard).collect();
    if let Placed::Seen(Seen { medium, frames, grid, step }) = video {
        let seen = Seen { medium, frames: std::mem::take(frames), grid: *grid, step: *step };
        *video = Placed::Both(seen, pieces);
    }
}

impl Learner for QwenVlModel {
    fn put(&mut self, new: Assistant) -> Assistant {
        let patches = new.patches.map(|patches| replace(&mut self.tower, patches));
        let backbone = replace(&mut self.llm.lm.backbone, new.backbone);
        Assistant { towers: Vec::new(), patches, anyres: None, backbone }
    }

    fn lesson(&self, messages: &[Message], media: &[Media]) -> Result<Inputs> {
        self.inputs(media, &GenerateOptions::default(), |placed| {
            let messages = Self::stretched(messages, media, placed);
            self.llm.taught(&messages, &self.media(placed))
        })
    }
}

impl ChatModel for QwenVlModel {
    fn modalities(&self) -> &[Modality] {
        let hears = usize::from(self.hearing.is_some());
        &MODALITIES[..3 + hears]
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

    fn complete(
        &self,
        text: &str,
        parse_special: bool,
        media: &[Media],
        options: &GenerateOptions,
        on_step: OnStep<'_>,
    ) -> Result<Reply> {
        let message = Message { role: Role::User, parts: marked(text, media)? };
        let inputs = self.inputs(media, options, |placed| {
            let parts = Self::stretched(&[message], media, placed).remove(0).parts;
            self.raw(&parts, parse_special, placed)
        })?;
        self.say(inputs, on_step)
    }

    fn thoughts(&self, inputs: &Inputs, said: &Continuation) -> Option<Thoughts> {
        (inputs.options.spoken && self.speaking.is_some()).then(|| self.thought(inputs, said))
    }

    fn token(&self, id: u32) -> String {
        self.llm.token(id)
    }
}
