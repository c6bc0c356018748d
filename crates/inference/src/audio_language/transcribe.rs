//! What was said in a sound, by a language model that is asked for it: Voxtral, whose prompt for it ends in a token of
//! its own.
//!
//! Liu et al. 2025, <https://arxiv.org/abs/2507.13264>, section 2.2

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use sensorium_media::mel::RATE;
use sensorium_media::{Media, MediaDecoder, Modality, Part, compression_ratio};
use sensorium_pretrained::families::audio_language::Style;

use super::AudioLanguageModel;
use crate::SpeechToText;
use crate::error::{Error, Result};
use crate::generate::{Continuation, Finish, GenerateOptions};
use crate::whisper::{Confidence, Segment, TranscribeOptions, Transcript, code};

/// Asks for what was said.
const TRANSCRIBE: &str = "[TRANSCRIBE]";

/// Most tokens that are said of a second of sound: fast speech in a language of many has a third of them.
const PER_SECOND: f64 = 30.0;

/// And of a sound of no length.
const LEAST: usize = 100;

/// In messages.
const FAMILY: &str = "Voxtral";
const DOES: &str = "writes down a whole sound at once";

impl AudioLanguageModel {
    /// Whether it was taught to write down what was said.
    pub(crate) fn transcribes(&self) -> bool {
        let known = self.llm.lm.text.tokenizer.id(TRANSCRIBE).is_some();
        self.style == Style::Voxtral && known
    }

    /// What is said in a sound, in at most so many tokens, in a language if one is told; the sum of the logarithms of
    /// their probabilities, and seconds of the spectrogram and of the encoder.
    fn said(
        &self,
        media: &[Media],
        language: Option<&str>,
        max_new_tokens: usize,
    ) -> Result<(Continuation, f64, [f64; 2])> {
        let told = language.map(|code| format!("lang:{code}")).unwrap_or_default();
        let parts = [
            Part::Text("[INST]".to_owned()),
            Part::Media(Modality::Audio),
            Part::Text(format!("[/INST]{told}{TRANSCRIBE}")),
        ];
        let options = GenerateOptions { max_new_tokens, ..GenerateOptions::default() };
        let inputs = self.inputs(media, &options, |pieces| self.raw(&parts, true, pieces))?;
        let mut logprob = 0.0;
        let said = self.llm.extend_inputs(&inputs, &mut |step| {
            logprob += step.log_probability()(step.id);
            ControlFlow::Continue(())
        })?;
        Ok((said, logprob, [inputs.process, inputs.encode]))
    }
}

impl SpeechToText for AudioLanguageModel {
    /// One segment: the model does not tell when something was said. A sound is read as a whole, as far as the
    /// context reaches.
    fn transcribe(
        &self,
        sound: &Path,
        decoder: &MediaDecoder,
        options: &TranscribeOptions,
        progress: &mut dyn FnMut(f64, f64),
    ) -> Result<Transcript> {
        options.refuse_windows(FAMILY, DOES)?;
        if options.timestamps {
            let hint = "leave --timestamps and subtitles out, or take Whisper";
            let expected = "tells when something was said";
            return Err(Error::Cannot { expected, family: FAMILY, does: DOES, hint });
        }
        let language = options.language.as_deref().map(two_letters).transpose()?;
        let begun = Instant::now();
        let sound = decoder.whole_sound(sound, RATE).map_err(sensorium_media::Error::from)?;
        let (duration, cut) = (sound.seconds(), sound.warning.clone());
        let read = begun.elapsed().as_secs_f64();
        let most = LEAST + (PER_SECOND * duration) as usize;
        let (said, logprob, [mel, encode]) =
            self.said(&[Media::Audio(sound)], language.as_deref(), most)?;
        let endless = (said.finish == Finish::Length)
            .then(|| format!("the transcript has no end after {} tokens", said.ids.len()));
        progress(duration, duration);
        let text = said.text.trim().to_owned();
        let segment = Segment {
            start: 0.0,
            end: duration,
            text: text.clone(),
            words: Vec::new(),
            confidence: Confidence {
                temperature: 0.0,
                avg_logprob: logprob / (said.ids.len() + 1) as f64,
                compression_ratio: compression_ratio(&text),
                no_speech_prob: 0.0,
            },
            tokens: said.ids,
        };
        Ok(Transcript {
            segments: if text.is_empty() { Vec::new() } else { vec![segment] },
            text,
            language: language.unwrap_or_else(|| "und".to_owned()),
            duration,
            warning: cut.or(endless),
            read,
            mel,
            encode,
            decode: said.prefill + said.decode,
        })
    }
}

/// The code of a language as the model was told it: two letters of ISO 639-1.
fn two_letters(name: &str) -> Result<String> {
    let code = match code(name).as_str() {
        // Whisper's, which ISO has given up.
        "jw" => "jv".to_owned(),
        code => code.to_owned(),
    };
    if code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return Ok(code);
    }
    let hint = "say --language as a code of two letters, such as en, or leave it out";
    let expected = "knows languages that have no code of two letters";
    Err(Error::Cannot { expected, family: FAMILY, does: DOES, hint })
}
