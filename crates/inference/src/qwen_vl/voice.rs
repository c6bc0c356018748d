//! What Qwen2.5-Omni thought while it answered, as speech.
//!
//! ```text
//! prompt, answer ──language model──▶ thoughts [T, E] ──talker, a voice's token──▶ codes [N]
//! codes ──Dit, a voice, noise of a seed──▶ log-mel [1, F, bands] ──BigVgan──▶ samples
//! ```

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use sensorium_backbone::{Cache, Sampling};
use sensorium_flow::{Embeds, Forward, Hidden, Sequence};
use sensorium_generator::audio::token2wav::RATE;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_nn::rng::Rng;
use sensorium_pretrained::GenerationConfig;
use sensorium_pretrained::families::qwen_vl::{Speaking, SpeakingConfig};

use super::QwenVlModel;
use crate::TextToSpeech;
use crate::error::{Error, Result};
use crate::generate::{Continuation, Drawing, Inputs, room};
use crate::logits::{LogitsOptions, LogitsProcessor};
use crate::sentences::shown;
use crate::speech::{SpeakOptions, Spoken, Thoughts};

/// What speaks.
#[derive(Debug)]
pub struct Speaker {
    /// Talker, vocoder, voices.
    pub parts: Speaking,
    /// Their shape, and what stands for what.
    pub config: SpeakingConfig,
}

/// What the talker reads of thoughts.
#[derive(Clone, Debug)]
pub struct Script {
    /// Of the prompt, and behind it of a voice's token and of the answer's first, `[1, T + 2, E]`.
    pub prompt: Tensor<3>,
    /// Where these stand.
    pub sequence: Sequence,
    /// Of all that follows, beside the codes, `[1, N, E]`.
    pub rest: Tensor<3>,
}

/// How codes are drawn where nobody says otherwise, and the most of one answer: those of transformers.
const USUAL: Sampling = Sampling { temperature: 0.9, top_k: 40, top_p: 0.8, min_p: 0.0, seed: 0 };
const REPETITION_PENALTY: f32 = 1.05;
const MOST: usize = 4096;

impl Speaker {
    pub(super) fn pack(&mut self, format: pack::Format) {
        self.parts.talker.pack_as(format);
        self.parts.token2wav.pack_as(format);
    }

    /// What ends a sound.
    fn ends(&self) -> [u32; 2] {
        [self.config.codec_pad, self.config.codec_end]
    }

    /// The most codes of one answer.
    fn most(&self) -> usize {
        let dit = &self.config.token2wav.dit;
        MOST.min(dit.frames / dit.repeats)
    }

    /// What is done to logits, and the codes that stand for so many tokens of a prompt: drawn is only what has a
    /// sound, and what ends one.
    fn processed(&self, prompt: usize) -> (GenerationConfig, Vec<u32>) {
        let SpeakingConfig { token2wav, talker, codec_pad, codec_start, codec_mask, .. } =
            self.config.clone();
        let silent = token2wav.dit.codes as u32..talker.decoder.vocab_size as u32;
        let silent = silent.filter(|id| !self.ends().contains(id)).chain([codec_start]);
        let model = GenerationConfig {
            repetition_penalty: Some(REPETITION_PENALTY),
            suppress_tokens: silent.collect(),
            ..GenerationConfig::default()
        };
        let asked = std::iter::repeat_n(codec_mask, prompt.saturating_sub(2));
        (model, asked.chain([codec_pad, codec_start]).collect())
    }

    /// Samples of codes in a voice, from noise of a seed.
    ///
    /// # Errors
    /// The model computes no numbers.
    fn samples(&self, codes: &[u32], voice: usize, seed: u64) -> Result<Vec<f32>> {
        let mut rng = Rng::new(seed);
        let Speaking { token2wav, voices, .. } = &self.parts;
        let noise = (0..token2wav.dit.noise(codes.len())).map(|_| rng.normal() as f32).collect();
        let mel = token2wav.dit.sample(codes, &voices[voice].sound, noise);
        let is_finite = |values: &[f32]| values.iter().all(|x| x.is_finite());
        let finite = is_finite(&read(mel.clone())).then(|| token2wav.bigvgan.samples(mel));
        finite.filter(|samples| is_finite(samples)).ok_or(Error::NoSpectrogram)
    }
}

impl QwenVlModel {
    /// What was thought of each token of a prompt and of an answer to it: what stands for the token beside what became
    /// of it, of media's tokens that alone. All is read again at once.
    pub(super) fn thought(&self, inputs: &Inputs, said: &Continuation) -> Thoughts {
        let (backbone, mut cache) = (&self.llm.lm.backbone, Cache::default());
        let mut rows = read(inputs.embeds.0.clone());
        let [_, t, e] = inputs.embeds.0.dims();
        for slot in &inputs.slots {
            rows[slot.at * e..(slot.at + slot.len) * e].fill(0.0);
        }
        let asked = backbone.forward(inputs.embeds.clone(), &inputs.sequence, Some(&mut cache));
        rows.iter_mut().zip(read(asked.0)).for_each(|(row, thought)| *row += thought);
        // The last token of an answer that was cut off has not been read.
        let n = said.ids.len().saturating_sub(usize::from(said.eos.is_none()));
        if n > 0 {
            let embeds = self.llm.embed(&said.ids[..n]);
            let plain = Sequence::default();
            let Hidden(x) = backbone.forward(embeds.clone(), &plain, Some(&mut cache));
            rows.extend(read(x + embeds.0));
        }
        let plain = || (0..t as u32).map(|i| [i; 3]).collect();
        Thoughts { rows, positions: inputs.sequence.grid.clone().unwrap_or_else(plain) }
    }

    /// What the talker reads of thoughts in a voice; nothing where nothing of an answer has been read.
    pub fn script(&self, thoughts: &Thoughts, speaker: &Speaker, voice: usize) -> Option<Script> {
        let SpeakingConfig { text_end, text_pad, codec_pad, codec_start, .. } = speaker.config;
        let begin = speaker.parts.voices[voice].begin;
        let Embeds(words) = self.llm.embed(&[begin, text_end, text_pad]);
        let (t, e) = (thoughts.positions.len(), words.dims()[2]);
        let n = (thoughts.rows.len() / e).checked_sub(t + 1)?;
        let rows = TensorData::new(thoughts.rows.clone(), [1, t + 1 + n, e]);
        let rows = Tensor::<3>::from_data(rows, &words.device());
        let first =
            Tensor::cat(vec![words.clone().narrow(1, 0, 1), rows.clone().narrow(1, t, 1)], 1);
        let first = first + speaker.parts.talker.embed(&[codec_pad, codec_start]);
        let ends = words.narrow(1, 1, 2);
        let rest = match n {
            0 => ends,
            _ => Tensor::cat(vec![rows.clone().narrow(1, t + 1, n), ends], 1),
        };
        let prompt = Tensor::cat(vec![rows.narrow(1, 0, t), first], 1);
        let grid = Some(behind(&thoughts.positions));
        Some(Script { prompt, sequence: Sequence { grid, ..Sequence::default() }, rest })
    }

    /// Codes of speech of what was thought, in a voice; none where nothing of an answer has been read.
    ///
    /// # Errors
    /// The prompt leaves no room; the logits are not finite.
    pub fn codes(
        &self,
        thoughts: &Thoughts,
        speaker: &Speaker,
        voice: usize,
        sampling: Sampling,
    ) -> Result<Vec<u32>> {
        let Some(Script { prompt, sequence, rest }) = self.script(thoughts, speaker, voice) else {
            return Ok(Vec::new());
        };
        let talker = &speaker.parts.talker;
        let (read, most) = (prompt.dims()[1], rest.dims()[1] - 1);
        let room = room(speaker.config.talker.decoder.context, read)?.min(speaker.most());
        let (mut cache, mut said) = (Cache::default(), 0);
        let mut next = |code: Option<u32>| {
            let hidden = match code {
                None => talker.forward(prompt.clone(), &sequence, &mut cache),
                Some(code) => {
                    // The last of them stands for all that is left.
                    let row = rest.clone().narrow(1, most.min(said), 1);
                    said += 1;
                    talker.forward(talker.embed(&[code]) + row, &Sequence::default(), &mut cache)
                }
            };
            Ok(talker.logits(hidden))
        };
        let (model, prompt) = speaker.processed(read);
        let processor = LogitsProcessor { model: &model, suppress_tokens: &[], prompt };
        let process = |logits: &mut Cow<'_, [f32]>, said: &[u32]| {
            processor.process(&LogitsOptions::default(), logits, said);
        };
        let ends = speaker.ends();
        let mut drawing = Drawing::new(sampling, &ends, room);
        drawing.run(&mut next, &process, &mut |_, _| Ok(None))?;
        Ok(drawing.ids)
    }
}

/// Places, and two more behind the furthest of them.
fn behind(positions: &[[u32; 3]]) -> Arc<[[u32; 3]]> {
    let next = positions.iter().flatten().max().map_or(0, |furthest| furthest + 1);
    positions.iter().copied().chain([[next; 3], [next + 1; 3]]).collect()
}

impl TextToSpeech for QwenVlModel {
    fn voices(&self) -> &[String] {
        self.speaking.as_ref().map_or(&[], |speaker| &speaker.parts.names)
    }

    fn speak(
        &self,
        text: &str,
        options: &SpeakOptions,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Spoken> {
        let speed = options.checked_speed()?;
        if speed != 1.0 {
            return Err(Error::OwnSpeed { got: speed });
        }
        options.own_voices()?;
        if options.phonemes {
            return Err(Error::Phonemes);
        }
        let voice = options.voice_of(self.voices())?;
        let (Some(speaker), Some(thoughts)) = (&self.speaking, &options.thoughts) else {
            return Err(Error::OwnAnswers);
        };
        let begun = Instant::now();
        let sampling = Sampling { seed: options.seed, ..USUAL };
        let codes = self.codes(thoughts, speaker, voice, sampling)?;
        if codes.is_empty() {
            return Err(Error::Silent { text: shown(text) });
        }
        let mut spoken = Spoken::new(RATE, speaker.parts.names[voice].clone());
        spoken.talk = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        let samples = speaker.samples(&codes, voice, options.seed)?;
        spoken.vocode = begun.elapsed().as_secs_f64();
        spoken.add(text.to_owned(), Vec::new(), samples);
        progress(1, 1);
        Ok(spoken)
    }
}
