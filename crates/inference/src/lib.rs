//! Models that run: one door for whoever asks, embeds, scores or transcribes.
//!
//! ```text
//! path ──Model::open──▶ Model ──chat──────▶ dyn ChatModel       messages, media → text
//!                             ──embedding─▶ dyn EmbeddingModel  media, texts → vectors
//!                             ──score─────▶ dyn ScoreModel      media × texts → how well they fit
//!                             ──speech────▶ dyn SpeechToText    sound → text
//!                             ──voices────▶ dyn TextToSpeech    text → speech
//!                             ──media─────▶ dyn TextToMedia     text → media
//! ```
//! Whoever runs a model sees these traits and no kind of model.

mod audio_language;
pub mod batch;
mod clap;
mod consistency;
mod cross;
mod ctc;
mod embed;
mod error;
mod flamingo;
pub mod generate;
mod generated;
mod grammar;
pub mod idefics;
pub mod janus;
mod kokoro;
pub mod language;
mod learner;
mod logits;
mod model;
mod prefix;
mod qwen_vl;
mod sentences;
mod spectrogram;
pub mod speech;
mod speecht5;
mod stable_diffusion;
pub mod t5;
pub mod video;
mod vision_language;
mod vits;
mod wav2vec2;
pub mod whisper;

use std::ops::ControlFlow;
use std::path::Path;

use sensorium_media::{Media, MediaDecoder, Message, Modality, Picture};

pub use audio_language::AudioLanguageModel;
pub use batch::Batch;
pub use ctc::CtcModel;
pub use embed::{Classified, Score, Space, embed_labels};
pub use error::{Error, Result};
pub use flamingo::FlamingoModel;
pub use generate::{Continuation, Finish, GenerateOptions, Inputs, OnStep, Reply, Step, Wanted};
pub use grammar::Grammar;
pub use idefics::IdeficsModel;
pub use janus::JanusModel;
pub use kokoro::KokoroModel;
pub use language::LanguageModel;
pub use learner::{Learner, learner};
pub use logits::LogitsOptions;
pub use model::{Model, Options};
pub use qwen_vl::QwenVlModel;
pub use sensorium_backbone::Sampling;
pub use sensorium_flow::{Sampler, SamplerOptions, Scheduler, Solver};
pub use sensorium_model::domain::Distance;
pub use sensorium_pretrained::{DataSource, Provenance};
pub use speecht5::SpeechT5Model;
pub use t5::T5Model;
pub use vision_language::VisionLanguageModel;
pub use vits::VitsModel;
pub use wav2vec2::Wav2Vec2Model;
pub use whisper::WhisperModel;

use sensorium_pretrained::TEMPLATES;
use speech::{SpeakOptions, Spoken, Thoughts};
use whisper::{TranscribeOptions, Transcript};

/// A model that answers.
pub trait ChatModel: Sync {
    /// What its prompts may hold.
    fn modalities(&self) -> &[Modality];

    /// That prompts may hold media of these kinds.
    ///
    /// # Errors
    /// The first kind that they may not hold, and those that they may.
    fn takes(&self, media: &[Media]) -> Result<()> {
        let known = self.modalities();
        match media.iter().map(Media::modality).find(|modality| !known.contains(modality)) {
            Some(got) => Err(Error::Modality { got, known: known.to_vec() }),
            None => Ok(()),
        }
    }

    /// Whether the model was made for more than one message; one that was not continues the last.
    ///
    /// # Errors
    /// Its chat template is broken.
    fn has_template(&self) -> Result<bool>;

    /// Continues a conversation whose messages hold `media` in order. `on_step` hears of every
    /// token.
    ///
    /// # Errors
    /// The template refuses the messages, the prompt leaves no room for an answer, the model does not
    /// know such media, or it computes no numbers.
    fn answer(
        &self,
        messages: &[Message],
        media: &[Media],
        options: &GenerateOptions,
        on_step: OnStep<'_>,
    ) -> Result<Reply>;

    /// The same conversation as a prompt that a [`Batch`] of the model's language model goes on with beside
    /// others; nothing for models that answer one at a time.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    fn prepare(
        &self,
        _messages: &[Message],
        _media: &[Media],
        _options: &GenerateOptions,
    ) -> Result<Option<Inputs>> {
        Ok(None)
    }

    /// The medium that an answer ends with which a batch has said, if it does.
    fn wanted(&self, _inputs: &Inputs, _said: &Continuation) -> Option<Wanted> {
        None
    }

    /// What the model's own voice reads of an answer that a batch has said, where it has one and the answer is to be
    /// spoken.
    fn thoughts(&self, _inputs: &Inputs, _said: &Continuation) -> Option<Thoughts> {
        None
    }

    /// Continues a text as it is, without a template; `<image>` in it marks the place of each of `media`.
    /// Names of special tokens become those tokens where they are to be parsed, else they are letters.
    ///
    /// # Errors
    /// There is not a mark for each medium; else as [`answer`](Self::answer).
    fn complete(
        &self,
        text: &str,
        parse_special: bool,
        media: &[Media],
        options: &GenerateOptions,
        on_step: OnStep<'_>,
    ) -> Result<Reply>;

    /// How likely each of `choices` is as what the assistant says next: the sum of the log-probabilities of its
    /// tokens, of which each choice has at least one.
    ///
    /// # Errors
    /// As [`answer`](Self::answer); a choice does not fit the model's context.
    fn likelihoods(
        &self,
        messages: &[Message],
        media: &[Media],
        choices: &[String],
    ) -> Result<Vec<f64>> {
        let likelihood = |choice: &String| {
            let forced = Some(choice.clone());
            let options = GenerateOptions {
                forced,
                max_new_tokens: usize::MAX,
                ..GenerateOptions::default()
            };
            let mut sum = 0.0;
            self.answer(messages, media, &options, &mut |step| {
                sum += step.log_probability()(step.id);
                ControlFlow::Continue(())
            })?;
            Ok(sum)
        };
        choices.iter().map(likelihood).collect()
    }

    /// What it may answer with, beside words.
    fn makes(&self) -> Vec<Modality> {
        Vec::new()
    }

    /// What a generator is told, where the answer is to be a medium of this kind, whatever the model would rather
    /// say; nothing where it makes none.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    fn wants(
        &self,
        _messages: &[Message],
        _media: &[Media],
        _modality: Modality,
    ) -> Result<Option<Wanted>> {
        Ok(None)
    }

    /// How far a picture lies from those of the training set, where the model knows that.
    fn distance(&self, _picture: &Picture) -> Option<Distance> {
        None
    }

    /// A token's text; none where it cannot be spelt alone.
    fn token(&self, id: u32) -> String;
}

/// How probable each of some choices is among them, of what [`ChatModel::likelihoods`] gives.
pub fn among(likelihoods: &[f64]) -> Vec<f64> {
    let most = likelihoods.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let odds: Vec<f64> = likelihoods.iter().map(|x| (x - most).exp()).collect();
    let sum: f64 = odds.iter().sum();
    odds.iter().map(|x| x / sum).collect()
}

/// A model that was taught to read pictures and texts in turn: conversations show it by exemplars what to
/// say of the last picture.
pub trait FewShot: ChatModel {
    /// What is asked for a caption; of no words where exemplars are captions alone.
    fn caption_request(&self) -> &'static str;

    /// A vector of unit length that is near those of pictures that look alike: the mean of what the model's
    /// own image encoder sees.
    fn look(&self, picture: &Picture) -> Vec<f32>;
}

/// A model that makes vectors.
pub trait EmbeddingModel: Sync {
    /// One vector of unit length for each picture.
    ///
    /// # Errors
    /// The model sees no pictures, or has no one vector for each.
    fn embed_pictures(&self, pictures: &[Picture]) -> Result<Vec<Vec<f32>>>;

    /// One vector of unit length for each medium: of a video that no encoder of its own reads, the mean of its
    /// frames' (CLIP4Clip's without parameters, Luo et al. 2021, <https://arxiv.org/abs/2104.08860>, section
    /// 3.3).
    ///
    /// # Errors
    /// The model knows no such media, or has no one vector for each.
    fn embed_media(&self, media: &[Media]) -> Result<Vec<Vec<f32>>> {
        embed::as_pictures(self, media)
    }

    /// What texts are found by: as [`embed_media`](Self::embed_media), but where a model has several
    /// vectors of a picture (BLIP-2's queries), all of them in a row, of which the nearest counts.
    ///
    /// # Errors
    /// The model knows no such media.
    fn embed_views(&self, media: &[Media]) -> Result<Vec<Vec<f32>>> {
        self.embed_media(media)
    }

    /// What a linear probe reads of each medium, a picture's or a sound's: the vector of a picture, unless a
    /// model that was trained without words has more to tell.
    ///
    /// # Errors
    /// The model knows no such media.
    fn features(&self, media: &[Media]) -> Result<Vec<Vec<f32>>> {
        self.embed_pictures(&embed::seen(media)?)
    }

    /// One vector for each text: of unit length, unless a sentence encoder is made otherwise.
    ///
    /// # Errors
    /// The model reads no texts, or its tokenizer fails at one.
    fn embed_texts(&self, texts: &[String]) -> Result<Vec<Vec<f32>>>;

    /// Sentences around a label, at `{}` or, with its article, at `{a}`, whose vectors are averaged.
    fn templates(&self) -> Vec<String> {
        TEMPLATES.map(str::to_owned).to_vec()
    }
}

/// A model that tells how well media and texts fit.
pub trait ScoreModel: Sync {
    /// Every medium beside every text, a row for each medium.
    ///
    /// # Errors
    /// The model knows no such media; the tokenizer fails at a text, or gives an id that the model has no
    /// row for.
    fn score(&self, media: &[Media], texts: &[String]) -> Result<Vec<Vec<Score>>>;

    /// The cosine of each medium to a text.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    fn similarities(&self, media: &[Media], text: &str) -> Result<Vec<f32>> {
        let scores = self.score(media, &[text.to_owned()])?;
        Ok(scores.iter().flatten().map(|score| score.similarity).collect())
    }

    /// The logit that each text belongs to the picture by a closer look at both, where the model was trained
    /// to tell that (BLIP-2's ITM).
    ///
    /// # Errors
    /// As [`score`](Self::score).
    fn matching(&self, _picture: &Picture, _texts: &[String]) -> Result<Option<Vec<f32>>> {
        Ok(None)
    }

    /// How well each label fits the medium; each stands in `template` at `{}`, in the model's own
    /// sentences without one.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    fn classify(
        &self,
        medium: &Media,
        labels: &[String],
        template: Option<&str>,
    ) -> Result<Vec<Classified>>;
}

/// A model that writes down what was said.
pub trait SpeechToText: Sync {
    /// Writes down a file of sound, which `decoder` decodes, whatever its length; `progress` sees how many of how many seconds
    /// are done.
    ///
    /// # Errors
    /// The model does not know the language or the task, or computes no numbers; the file is no sound.
    fn transcribe(
        &self,
        sound: &Path,
        decoder: &MediaDecoder,
        options: &TranscribeOptions,
        progress: &mut dyn FnMut(f64, f64),
    ) -> Result<Transcript>;
}

/// A model that speaks.
pub trait TextToSpeech: Sync {
    /// The names of its voices, the usual one first.
    fn voices(&self) -> &[String];

    /// Speaks a text, whatever its length; `progress` sees how many of how many sentences are done.
    ///
    /// # Errors
    /// A voice that the model has not, a speed beyond [`speech::SPEEDS`], a text without words or in a script that
    /// is not known; the model computes no numbers.
    fn speak(
        &self,
        text: &str,
        options: &SpeakOptions,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Spoken>;
}

/// A model that makes media of what a text says.
pub trait TextToMedia: Sync {
    /// What it makes.
    fn makes(&self) -> Vec<Modality>;

    /// How it makes them where nobody says otherwise.
    fn usual(&self) -> Sampler {
        Sampler::default()
    }

    /// Whether its pictures may be of a size that is asked for.
    fn resizes(&self) -> bool {
        false
    }

    /// A medium of this kind for each text; `progress` sees how many of how many steps are done, where they are
    /// counted. The same text and sampler make the same, whatever stands beside it.
    ///
    /// # Errors
    /// The model does not make such media, or not as the sampler asks for; the tokenizer fails at a text.
    fn generate(
        &self,
        modality: Modality,
        texts: &[String],
        sampler: Sampler,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Media>>;

    /// Whether it draws pictures that are there anew.
    fn redraws(&self) -> bool {
        false
    }

    /// A picture anew for each text: noise hides as much of it as `strength`, up to 1, says, and what is drawn there is
    /// what the text says. Without a size it keeps its own, but for what is no multiple of the model's.
    ///
    /// # Errors
    /// The model draws of texts alone; the strength leaves no step; else as [`generate`](Self::generate).
    fn redraw(
        &self,
        _picture: &Picture,
        _strength: f64,
        _texts: &[String],
        _sampler: Sampler,
        _progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Media>> {
        Err(Error::Redraws)
    }

    /// So many media that a language model wants. Without one that has learned to tell it anything but texts, none.
    ///
    /// # Errors
    /// The model does not make such media.
    fn make(&self, wanted: &Wanted, _count: usize, _sampler: Sampler) -> Result<Vec<Media>> {
        Err(Error::Makes { wanted: wanted.modality, known: Vec::new() })
    }
}
