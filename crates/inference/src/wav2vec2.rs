//! wav2vec 2.0 and HuBERT that run: the likeliest class of each position, spelt.
//!
//! ```text
//! samples ──cut where it is quiet──▶ pieces ──mean 0, variance 1──▶ logits [N, V] ──best path──▶ words
//! ```

use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use sensorium_media::{MediaDecoder, Sound};
use sensorium_pretrained::Error as Pretrained;
use sensorium_pretrained::families::wav2vec2::Wav2Vec2Parts;

use crate::SpeechToText;
use crate::ctc::{Alphabet, joined, quietest, refuse};
use crate::error::Result;
use crate::whisper::{TranscribeOptions, Transcript};

/// A loaded model and all that is needed to listen with it.
#[derive(Debug)]
pub struct Wav2Vec2Model {
    /// Shape, classes, model.
    pub parts: Wav2Vec2Parts,
}

/// Seconds that are heard at once. The models hear any length, at a cost that grows with its square; most of
/// what they learned from is shorter.
const MOST: usize = 20;

impl SpeechToText for Wav2Vec2Model {
    /// A segment for each piece in which something is said: a sound longer than 20 seconds is cut where it is
    /// quiet, and each piece is normalised by itself.
    fn transcribe(
        &self,
        sound: &Path,
        decoder: &MediaDecoder,
        options: &TranscribeOptions,
        progress: &mut dyn FnMut(f64, f64),
    ) -> Result<Transcript> {
        refuse(options)?;
        let begun = Instant::now();
        let (rate, least) =
            (self.parts.extractor.sampling_rate, self.parts.config.receptive_field());
        let sound = decoder.whole_sound(sound, rate).map_err(sensorium_media::Error::from)?;
        if sound.samples.len() < least {
            let got = sound.samples.len();
            return Err(Pretrained::ShortSound { least, got, rate }.into());
        }
        let mut transcript = Transcript {
            text: String::new(),
            segments: Vec::new(),
            language: "und".to_owned(),
            duration: sound.seconds(),
            read: begun.elapsed().as_secs_f64(),
            mel: 0.0,
            encode: 0.0,
            decode: 0.0,
            warning: sound.warning.clone(),
        };
        for piece in pieces(&sound, least) {
            let end = piece.end;
            self.hear(&sound, piece, &mut transcript)?;
            progress(end as f64 / f64::from(rate), sound.seconds());
        }
        transcript.text = joined(&transcript.segments);
        Ok(transcript)
    }
}

impl Wav2Vec2Model {
    /// Adds what is said in a piece of a sound.
    fn hear(&self, sound: &Sound, piece: Range<usize>, transcript: &mut Transcript) -> Result<()> {
        let seconds = |samples: usize| samples as f64 / f64::from(sound.rate);
        let begun = Instant::now();
        let logits = self.parts.logits(&sound.samples[piece.clone()]);
        transcript.encode += begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        let vocabulary = &self.parts.vocabulary;
        let alphabet = Alphabet {
            classes: &vocabulary.classes,
            blank: vocabulary.blank,
            position: seconds(self.parts.config.hop()),
        };
        let heard = alphabet.segment(&logits, [seconds(piece.start), seconds(piece.end)])?;
        transcript.segments.extend(heard);
        transcript.decode += begun.elapsed().as_secs_f64();
        Ok(())
    }
}

/// The pieces of a sound, each of `least` samples or more.
fn pieces(sound: &Sound, least: usize) -> Vec<Range<usize>> {
    let (rate, all) = (sound.rate as usize, sound.samples.len());
    let (most, frame) = ((MOST * rate).max(4 * least), rate.div_ceil(100));
    let (mut pieces, mut first) = (Vec::new(), 0);
    while all - first > most {
        // What is left is no less than a model can hear.
        let loud: Vec<f32> = sound.samples[first..first + most - least]
            .chunks(frame)
            .map(|frame| frame.iter().map(|x| x * x).sum())
            .collect();
        let end = (first + quietest(&loud) * frame).min(first + most - least);
        pieces.push(first..end);
        first = end;
    }
    pieces.push(first..all);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sounds_are_cut_where_they_are_quiet_into_pieces_that_can_be_heard() {
        let sound = |seconds: usize, quiet: Range<usize>| {
            let loud = |i: usize| if quiet.contains(&i) { 0.0 } else { (i as f32).sin() };
            let samples = (0..1000 * seconds).map(loud).collect();
            Sound { rate: 1000, samples, warning: None }
        };
        assert_eq!(pieces(&sound(20, 0..0), 25), std::slice::from_ref(&(0..20_000)));
        assert_eq!(pieces(&sound(21, 15_000..15_200), 25), [0..15_100, 15_100..21_000]);
        for (seconds, least) in [(41, 25), (90, 1), (90, 30_000), (100, 9_999)] {
            let all = pieces(&sound(seconds, 0..0), least);
            assert!(all.iter().all(|piece| piece.len() >= least), "{all:?}");
            assert!(all.windows(2).all(|pair| pair[0].end == pair[1].start), "{all:?}");
            assert_eq!((all[0].start, all[all.len() - 1].end), (0, 1000 * seconds));
        }
    }
}
