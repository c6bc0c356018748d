//! A sound encoder with a CTC head that runs: the likeliest class of each position, spelt.
//!
//! Graves et al. 2006, section 3.2, <https://www.cs.toronto.edu/~graves/icml_2006.pdf>
//!
//! ```text
//! samples ──log-mel──▶ [bands, frames] ──cut where it is quiet──▶ pieces ──logits──▶ [N, V] ──best path──▶ words
//! ```

use std::path::Path;
use std::time::Instant;

use sensorium_encoder::audio::{Label, best_path};
use sensorium_media::mel::{HOP, RATE};
use sensorium_media::{MediaDecoder, compression_ratio};
use sensorium_nn::fused;
use sensorium_pretrained::families::ctc::CtcParts;

use crate::SpeechToText;
use crate::error::{Error, Result};
use crate::spectrogram::Spectrogram;
use crate::whisper::{Confidence, Segment, TranscribeOptions, Transcript, Word};

/// A loaded model and all that is needed to listen with it.
#[derive(Debug)]
pub struct CtcModel {
    /// Shape, classes, model.
    pub parts: CtcParts,
}

/// Frames of the spectrogram in a position.
const FRAMES: usize = 4;

impl SpeechToText for CtcModel {
    /// A segment for each piece in which something is said: a sound longer than the model hears at once is
    /// cut. Words begin with the first position of their first letter, and end behind the last one of their last.
    fn transcribe(
        &self,
        sound: &Path,
        decoder: &MediaDecoder,
        options: &TranscribeOptions,
        progress: &mut dyn FnMut(f64, f64),
    ) -> Result<Transcript> {
        refuse(options)?;
        let encoder = &self.parts.config.encoder;
        let mut spectrogram = Spectrogram::open(sound, decoder, encoder.bands)?;
        let (frames, most) =
            (spectrogram.samples.div_ceil(HOP), encoder.positions.saturating_mul(FRAMES));
        let (mut segments, mut encode, mut decode) = (Vec::new(), 0.0, 0.0);
        let mut first = 0;
        while first < frames {
            let mut count = most.min(frames - first);
            let mut mel = spectrogram.window(first, count)?;
            if first + count < frames {
                count = cut(&mel, count);
                mel = spectrogram.window(first, count)?;
            }
            let begun = Instant::now();
            let logits = self.parts.logits(mel);
            encode += begun.elapsed().as_secs_f64();
            let begun = Instant::now();
            segments.extend(self.segment(&logits, [first, first + count])?);
            decode += begun.elapsed().as_secs_f64();
            first += count;
            progress(seconds(first), seconds(frames));
        }
        let [read, mel] = spectrogram.seconds;
        Ok(Transcript {
            text: joined(&segments),
            segments,
            language: "und".to_owned(),
            duration: spectrogram.samples as f64 / f64::from(RATE),
            warning: spectrogram.warning.take(),
            read,
            mel,
            encode,
            decode,
        })
    }
}

impl CtcModel {
    /// What is said in the frames of a piece, if anything is.
    fn segment(&self, logits: &[f32], piece: [usize; 2]) -> Result<Option<Segment>> {
        let (classes, position) = (&self.parts.config.classes, seconds(FRAMES));
        Alphabet { classes, blank: fused::BLANK, position }.segment(logits, piece.map(seconds))
    }
}

/// What the classes of a head spell, and how long a position is.
pub(crate) struct Alphabet<'a> {
    /// By number.
    pub(crate) classes: &'a [String],
    /// The class that says nothing.
    pub(crate) blank: u32,
    /// Seconds of a position.
    pub(crate) position: f64,
}

impl Alphabet<'_> {
    /// What is said in the seconds of a piece, if anything is.
    pub(crate) fn segment(&self, logits: &[f32], piece: [f64; 2]) -> Result<Option<Segment>> {
        if !logits.iter().all(|logit| logit.is_finite()) {
            return Err(Error::NotFiniteAt { seconds: piece[0] });
        }
        let labels = self.merged(best_path(logits, self.classes.len(), self.blank));
        let words = self.words(&labels, piece);
        let ([begin, ..], [.., end]) = (&words[..], &words[..]) else { return Ok(None) };
        let texts: Vec<&str> = words.iter().map(|word| &*word.text).collect();
        let text = texts.join(" ");
        let sum: f64 = labels.iter().map(|label| label.log_prob).sum();
        let confidence = Confidence {
            temperature: 0.0,
            avg_logprob: sum / labels.len() as f64,
            compression_ratio: compression_ratio(&text),
            no_speech_prob: 0.0,
        };
        let tokens = labels.iter().map(|label| label.class).collect();
        let (start, end) = (begin.start, end.end);
        Ok(Some(Segment { start, end, text, words, tokens, confidence }))
    }

    /// One label of neighbours that are spelt alike: classes may share a token, the unknown one.
    fn merged(&self, mut labels: Vec<Label>) -> Vec<Label> {
        labels.dedup_by(|next, label| {
            let alike = self.spells(next) == self.spells(label);
            let touch = next.positions.start == label.positions.end;
            if alike && touch {
                label.positions.end = next.positions.end;
                label.log_prob = label.log_prob.max(next.log_prob);
            }
            alike && touch
        });
        labels
    }

    fn spells(&self, label: &Label) -> &str {
        self.classes.get(label.class as usize).map_or("", String::as_str)
    }

    /// The words of a piece of the seconds from `first` to `last`; the only one, where the alphabet has no space.
    fn words(&self, labels: &[Label], [first, last]: [f64; 2]) -> Vec<Word> {
        let at = |position: usize| (first + position as f64 * self.position).min(last);
        let word = |letters: &[Label]| {
            let ([begin, ..], [.., end]) = (letters, letters) else { return None };
            let sum: f64 = letters.iter().map(|letter| letter.log_prob.exp()).sum();
            Some(Word {
                start: at(begin.positions.start),
                end: at(end.positions.end),
                text: letters.iter().map(|label| self.spells(label)).collect(),
                probability: sum / letters.len() as f64,
            })
        };
        labels.split(|label| self.spells(label) == " ").filter_map(word).collect()
    }
}

/// What the model cannot heed is an error, not passed over.
///
/// # Errors
/// An option that means nothing for letters one by one.
pub(crate) fn refuse(options: &TranscribeOptions) -> Result<()> {
    let (family, does) = ("a CTC model", "writes down the letters that it hears");
    if options.language.is_some() {
        let hint = "leave --language out, or take Whisper";
        return Err(Error::Cannot { expected: "knows languages", family, does, hint });
    }
    options.refuse_windows(family, does)
}

/// What all segments say.
pub(crate) fn joined(segments: &[Segment]) -> String {
    let texts: Vec<&str> = segments.iter().map(|segment| &*segment.text).collect();
    texts.join(" ")
}

fn seconds(frames: usize) -> f64 {
    (frames * HOP) as f64 / f64::from(RATE)
}

/// The frame before which a spectrogram `[bands, frames]` is cut; more than 0.
fn cut(mel: &[f32], frames: usize) -> usize {
    let loud = |frame: usize| mel.iter().skip(frame).step_by(frames).sum::<f32>();
    quietest(&(0..frames).map(loud).collect::<Vec<_>>())
}

/// Frames of 10 ms on either side of a cut that are to be quiet: a tenth of a second.
const AROUND: usize = 10;

/// The frame before which frames so loud are cut, the middle of the quietest place in their second half; more
/// than 0.
pub(crate) fn quietest(loud: &[f32]) -> usize {
    let frames = loud.len();
    let around = |at: usize| {
        let near = &loud[at.saturating_sub(AROUND)..(at + AROUND).min(frames)];
        near.iter().sum::<f32>() / near.len() as f32
    };
    let places = (frames / 2).max(1)..frames;
    places.min_by(|a, b| around(*a).total_cmp(&around(*b))).unwrap_or(frames)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::whisper::{Fallback, Task};

    #[test]
    fn words_stand_where_their_letters_do() {
        let classes = ["", " ", "a", "b"].map(String::from);
        let label = |class, positions| Label { class, positions, log_prob: 0.5f64.ln() };
        let all = [label(1, 0..1), label(2, 2..4), label(3, 5..6), label(1, 6..8), label(2, 8..9)];
        let alphabet =
            |classes| Alphabet { classes, blank: fused::BLANK, position: seconds(FRAMES) };
        let found = alphabet(&classes).words(&all, [1.0, 1.35]);
        let near = |seconds: f64| (seconds * 1e6).round() / 1e6;
        let plain: Vec<_> = found.iter().map(|w| (&*w.text, near(w.start), near(w.end))).collect();
        assert_eq!(plain, [("ab", 1.08, 1.24), ("a", 1.32, 1.35)]);
        assert!(found.iter().all(|word| (word.probability - 0.5).abs() < 1e-9));
        assert_eq!(alphabet(&classes).words(&all[..1], [0.0, 0.36]), []);
        let unspaced = ["", "x", "a", "b"].map(String::from);
        assert_eq!(alphabet(&unspaced).words(&all, [0.0, 0.36])[0].text, "xabxa");
    }

    #[test]
    fn sounds_are_cut_where_they_are_quiet() {
        let mel = |quiet: &[usize]| -> Vec<f32> {
            let row = |_| (0..200).map(|frame| if quiet.contains(&frame) { -1.0 } else { 1.0 });
            (0..3).flat_map(row).collect()
        };
        let around = |at: usize| (at - AROUND..at + AROUND).collect::<Vec<_>>();
        assert_eq!(cut(&mel(&around(150)), 200), 150);
        // A silence in the first half would give pieces that are too short.
        assert_eq!(cut(&mel(&[around(20), around(120)].concat()), 200), 120);
        for frames in 1..9 {
            assert!((1..=frames).contains(&cut(&vec![0.0; 3 * frames], frames)), "{frames}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let usual = TranscribeOptions::default;
        assert!(refuse(&usual()).is_ok());
        for (options, named) in [
            (TranscribeOptions { language: Some("en".into()), ..usual() }, "--language"),
            (TranscribeOptions { task: Task::Translate, ..usual() }, "--task"),
            (TranscribeOptions { initial_prompt: Some("a".into()), ..usual() }, "--initial-prompt"),
            (TranscribeOptions { fallback: Fallback::none(), ..usual() }, "--temperature"),
        ] {
            let error = refuse(&options).map_err(|error| error.to_string());
            assert!(error.is_err_and(|error| error.contains(named)), "{named}");
        }
    }
}
