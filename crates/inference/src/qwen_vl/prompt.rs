//! From messages with media to the ids that the backbone reads, and where their tokens stand.

use std::path::Path;

use sensorium_flow::Grid;
use sensorium_media::chat::tokenize;
use sensorium_media::{Frame, Media, Medium, Message, Modality, Part, Prompt, Slot};
use sensorium_model::qwen_vl::Standing;
use sensorium_pretrained::families::qwen_vl::Timing;
use sensorium_pretrained::{Error as Pretrained, Piece};

use super::{Hearing, Placed, QwenVlModel, Seen};
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
            Placed::Heard(piece) => return whole(Modality::Audio, self.heard(piece)),
            Placed::Both(..) => {
                return Medium { text: self.interlaced(placed), ..whole(Modality::Video, 1) };
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

    /// Tokens of a stretch of a sound.
    fn heard(&self, piece: &Piece) -> usize {
        self.hearing.as_ref().map_or(0, |hearing| hearing.tower.tokens(piece))
    }

    /// Tokens of a video, and of its own sound behind them, in each stretch of time; nothing for other media.
    pub(super) fn stretches(&self, placed: &Placed<'_>) -> Vec<[usize; 2]> {
        let (Placed::Both(seen, pieces), Some(hearing)) = (placed, &self.hearing) else {
            return Vec::new();
        };
        let Grid { steps, rows, columns } = self.tokens(seen);
        let times = (0..steps).flat_map(|step| std::iter::repeat_n(step, rows * columns));
        let seen = cut(times.map(|step| step as f32 * seen.step), hearing.stretch);
        let sounds: usize = pieces.iter().map(|piece| self.heard(piece)).sum();
        let heard = cut((0..sounds).map(|at| at as f32), hearing.stretch);
        let len = |lens: &[usize], i| lens.get(i).copied().unwrap_or(0);
        (0..seen.len().max(heard.len())).map(|i| [len(&seen, i), len(&heard, i)]).collect()
    }

    /// What stands for a video with its own sound: the tokens of both between those of a sound.
    fn interlaced(&self, placed: &Placed<'_>) -> String {
        let [seen, heard] = [Modality::Video, Modality::Audio].map(|kind| self.marker(kind));
        let stretch = |[v, a]: [usize; 2]| format!("{}{}", seen.repeat(v), heard.repeat(a));
        let both: String = self.stretches(placed).into_iter().map(stretch).collect();
        match &self.hearing {
            Some(Hearing { start, end, .. }) => format!("{start}{both}{end}"),
            None => both,
        }
    }

    /// Slots of each run of tokens, where those of a video with its own sound are of single ones of its tokens.
    pub(super) fn joined(&self, placed: &[Placed<'_>], slots: Vec<Slot>) -> Vec<Slot> {
        let mut slots = slots.into_iter();
        let mut all = Vec::new();
        for placed in placed {
            let stretches = self.stretches(placed);
            if stretches.is_empty() {
                all.extend(slots.by_ref().take(self.slots(placed)));
                continue;
            }
            let own: usize = stretches.iter().map(|[seen, _]| seen).sum();
            let mut at = slots.by_ref().take(own).map(|slot| slot.at).min().unwrap_or_default();
            for (len, modality) in stretches
                .into_iter()
                .flat_map(|[seen, heard]| [(seen, Modality::Video), (heard, Modality::Audio)])
            {
                if len > 0 {
                    all.push(Slot { at, len, modality });
                }
                at += len;
            }
        }
        all
    }

    /// Runs of tokens that a medium has.
    fn slots(&self, placed: &Placed<'_>) -> usize {
        match placed {
            Placed::Seen(seen) if self.tells(seen) => self.tokens(seen).steps,
            Placed::Seen(_) | Placed::Heard(_) => 1,
            Placed::Both(..) => {
                self.stretches(placed).iter().flatten().filter(|&&len| len > 0).count()
            }
        }
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
        let mut slots = slots.iter();
        let mut all = Vec::new();
        for placed in placed {
            let own = slots.by_ref().take(self.slots(placed)).map(|slot| slot.at);
            let (Placed::Seen(seen) | Placed::Both(seen, _)) = placed else {
                own.for_each(drop);
                continue;
            };
            let (grid, step, stretches) = (self.tokens(seen), seen.step, self.stretches(placed));
            let grid = if self.tells(seen) { Grid { steps: 1, ..grid } } else { grid };
            let alone = |at| Standing { at, grid, step, stretches: Vec::new() };
            match (placed, own.collect::<Vec<_>>()) {
                (Placed::Both(..), own) => {
                    all.extend(own.first().map(|&at| Standing { stretches, ..alone(at) }));
                }
                (_, own) => all.extend(own.into_iter().map(alone)),
            }
        }
        all
    }
}

/// Lengths of the runs of times of which each begins so many positions behind the one before, as transformers cuts
/// them: a run for each time that is too late, however late it is.
fn cut(times: impl Iterator<Item = f32>, stretch: usize) -> Vec<usize> {
    let mut runs = vec![0];
    for time in times {
        if time >= (runs.len() * stretch) as f32 {
            runs.push(0);
        }
        runs.iter_mut().last().into_iter().for_each(|run| *run += 1);
    }
    runs
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
