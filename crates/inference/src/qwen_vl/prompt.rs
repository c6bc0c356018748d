//! From messages with media to the ids that the backbone reads, and where their tokens stand.

use std::path::Path;

use sensorium_flow::Grid;
use sensorium_media::chat::tokenize;
use sensorium_media::{Frame, Media, Medium, Message, Modality, Part, Prompt, Slot};
use sensorium_model::qwen_vl::Standing;
use sensorium_pretrained::Error as Pretrained;
use sensorium_pretrained::families::qwen_vl::Timing;

use super::{Placed, QwenVlModel, Seen};
use crate::error::{Error, Result};

impl QwenVlModel {
    /// A conversation that the assistant is to continue, with slots for each of its media. Without a chat template,
    /// what its last message says.
    ///
    /// # Errors
    /// The template is broken or refuses the messages, or leaves media out.
    pub(super) fn prompt(
        &self,
        messages: &[Message],
        placed: &[Vec<Placed<'_>>],
    ) -> Result<Prompt> {
        self.llm.prompted(messages, &self.media(placed), || {
            let last = messages.last().map_or(&[][..], |message| &message.parts);
            self.raw(last, false, placed)
        })
    }

    /// A text to be continued as it is, its media at their places.
    ///
    /// # Errors
    /// The tokenizer has no ids for it.
    pub(super) fn raw(
        &self,
        parts: &[Part],
        special: bool,
        placed: &[Vec<Placed<'_>>],
    ) -> Result<Prompt> {
        let tokenizer = &self.llm.lm.text.tokenizer;
        self.llm.opened(tokenize(tokenizer, &self.written(parts, special), &self.media(placed))?)
    }

    /// Texts and the places of media, each between the tokens that published templates put around it.
    fn written(&self, parts: &[Part], special: bool) -> String {
        self.llm.written(parts, special, |modality| {
            let (start, end) = match (&self.hearing, modality) {
                (Some(hearing), Modality::Audio) => (&hearing.start, &hearing.end),
                _ => (&self.names.start, &self.names.end),
            };
            format!("{start}{}{end}", self.marker(modality))
        })
    }

    /// The token that stands for each of a medium's.
    fn marker(&self, modality: Modality) -> &str {
        match (&self.hearing, modality) {
            (Some(hearing), Modality::Audio) => &hearing.marker,
            (_, Modality::Video) => &self.names.video,
            _ => &self.names.image,
        }
    }

    /// What stands for each of the media in a text that names a token for it.
    pub(super) fn media(&self, placed: &[Vec<Placed<'_>>]) -> Vec<Medium> {
        placed.iter().flatten().map(|placed| self.medium(placed)).collect()
    }

    fn medium(&self, placed: &Placed<'_>) -> Medium {
        let whole = |modality, len| {
            let marker = self.marker(modality).to_owned();
            Medium { modality, token: marker.clone(), text: marker.repeat(len), marker, len }
        };
        let seen = match placed {
            Placed::Seen(seen) => seen,
            Placed::Heard(piece) => {
                let len = self.hearing.as_ref().map_or(0, |hearing| hearing.tower.tokens(piece));
                return whole(Modality::Audio, len);
            }
        };
        let (modality, grid) = (seen.medium.modality(), self.tokens(seen));
        let step = grid.rows * grid.columns;
        if !self.tells(seen) {
            return whole(modality, grid.steps * step);
        }
        let marker = self.marker(modality).to_owned();
        let spelt = |frames: &[&Frame]| {
            let (at, places) = (middle(frames), marker.repeat(step));
            format!("<{at:.1} seconds>{}{places}{}", self.names.start, self.names.end)
        };
        let text = seen.frames.chunks(self.videos.temporal()).map(spelt).collect();
        Medium { modality, token: marker.clone(), marker, text, len: step }
    }

    /// Whether words stand between a medium's steps in time.
    fn tells(&self, seen: &Seen<'_>) -> bool {
        self.timing == Timing::Words && matches!(seen.medium, Media::Video(_))
    }

    /// The grid of a medium's tokens: a square of patches is one.
    fn tokens(&self, seen: &Seen<'_>) -> Grid {
        let (merge, Grid { steps, rows, columns }) = (self.pictures.merge(), seen.grid);
        Grid { steps, rows: rows / merge, columns: columns / merge }
    }

    /// Where the tokens of what is seen stand: of a video with words between its steps, those of each step. What is
    /// heard stands among words as these do.
    pub(super) fn standing(&self, placed: &[Placed<'_>], slots: &[Slot]) -> Vec<Standing> {
        let grids = placed.iter().flat_map(|placed| {
            let Placed::Seen(seen) = placed else { return vec![None] };
            let (grid, step) = (self.tokens(seen), seen.step);
            match self.tells(seen) {
                true => vec![Some((Grid { steps: 1, ..grid }, step)); grid.steps],
                false => vec![Some((grid, step))],
            }
        });
        let stands = |(slot, grid): (&Slot, Option<(Grid, f32)>)| {
            let (grid, step) = grid?;
            Some(Standing { at: slot.at, grid, step })
        };
        slots.iter().zip(grids).filter_map(stands).collect()
    }
}

/// Seconds between the first and the last frame of a step in time.
fn middle(frames: &[&Frame]) -> f64 {
    let [first, last] = [frames.first(), frames.last()].map(|f| f.map_or(0.0, |f| f.seconds));
    (first + last) / 2.0
}

/// The error for a medium's token that the tokenizer does not know.
pub(super) fn no_token(directory: &Path, id: u32) -> Error {
    Error::Pretrained(Pretrained::Missing {
        file: format!("token {id}, which stands for media,"),
        path: directory.join("tokenizer.json"),
        found: "none of that id".into(),
        hint: "config.json and tokenizer.json must be of the same model",
    })
}
