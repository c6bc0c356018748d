//! One answer: words, and the media that follow them.

use std::sync::Arc;
use std::time::Instant;

use sensorium_inference::speech::SpeakOptions;
use sensorium_inference::{Finish, GenerateOptions, Reply, Sampler, Wanted};
use sensorium_media::write::{self, Kind};
use sensorium_media::{Modality, Slot, Sound};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::worker::{Heard, Job, Prompt, TokenLogprob};
use super::{Engine, Loaded, Place};
use crate::error::{ApiError, Result};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Who asks.
    pub client: String,
    /// What is to be gone on with.
    pub prompt: Prompt,
    /// How.
    pub options: GenerateOptions,
    /// How many of the likeliest tokens are told beside each, if any are told.
    pub logprobs: Option<usize>,
    /// How media are made of noise.
    pub sampler: Sampler,
    /// How words are spoken, if they are.
    pub speech: Option<SpeakOptions>,
}

/// What becomes of it, in order.
#[derive(Clone, Debug)]
pub enum Event {
    /// The text has grown.
    Piece(String, Vec<TokenLogprob>),
    /// A medium was made.
    Medium(Media),
    /// What was said was spoken.
    Speech(Speech),
    /// All is said and made.
    Done(Outcome),
    /// It will not be.
    Failed(ApiError),
}

/// A medium as the bytes of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Media {
    /// What it is.
    pub modality: Modality,
    /// What the file is.
    pub kind: Kind,
    /// The file.
    pub bytes: Arc<[u8]>,
}

/// Speech as the bytes of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Speech {
    /// A WAV file.
    pub wav: Vec<u8>,
    /// What is said in it.
    pub transcript: String,
    /// Seconds.
    pub seconds: f64,
}

/// How an answer ended, and what it cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Why the text goes no further.
    pub finish: Option<Finish>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those that were not read again.
    pub cached_tokens: usize,
    /// Tokens of the answer.
    pub completion_tokens: usize,
    /// Where media stand in the prompt.
    pub slots: Vec<Slot>,
    /// Seconds from the prompt's ids to the first token.
    pub prefill: f64,
    /// Seconds of all other tokens.
    pub decode: f64,
}

impl From<&Reply> for Outcome {
    fn from(reply: &Reply) -> Self {
        let said = &reply.continuation;
        Self {
            finish: Some(said.finish),
            prompt_tokens: reply.prompt.len(),
            cached_tokens: said.cached_tokens,
            completion_tokens: said.ids.len(),
            slots: reply.slots.clone(),
            prefill: said.prefill,
            decode: said.decode,
        }
    }
}

type Events = UnboundedSender<Event>;

impl Engine {
    /// Answers, until the receiver is dropped. The place is given back when the answer is out.
    pub fn ask(
        self: &Arc<Self>,
        model: Arc<Loaded>,
        ask: Ask,
        place: Arc<Place>,
    ) -> UnboundedReceiver<Event> {
        let (events, answer) = unbounded_channel();
        let engine = self.clone();
        tokio::spawn(async move {
            let told = tokio::select! {
                told = engine.answer(&model, ask, &events, place.since) => told,
                () = events.closed() => return,
            };
            // Whoever has gone needs not be told.
            let _ = events.send(match told {
                Ok(outcome) => Event::Done(outcome),
                Err(error) => Event::Failed(error),
            });
            drop(place);
        });
        answer
    }

    async fn answer(
        &self,
        model: &Arc<Loaded>,
        ask: Ask,
        events: &Events,
        since: Instant,
    ) -> Result<Outcome> {
        let Ask { client, prompt, mut options, logprobs, sampler, speech } = ask;
        // What one client has asked tells others nothing, not even by how soon it is answered.
        options.cache_salt = format!("{client} {}", options.cache_salt);
        if let (Prompt::Chat(messages, media), Some([modality])) =
            (&prompt, options.modalities.as_deref())
            && *modality != Modality::Text
        {
            let (modality, messages, media) = (*modality, messages.clone(), media.clone());
            let wanted = self.run(model, move |model| {
                let chat = model.chat()?;
                let known = chat.makes();
                let wanted = chat.wants(&messages, &media, modality)?;
                Ok(wanted.ok_or(sensorium_inference::Error::Makes { wanted: modality, known })?)
            });
            let wanted = wanted.await?;
            self.make(model, wanted, sampler, events).await?;
            let finish = Some(Finish::Stop);
            return Ok(Outcome { finish, ..Outcome::default() });
        }
        let Some(jobs) = &model.jobs else { return Err(model.cannot("chat")) };
        let (heard, mut said) = unbounded_channel();
        jobs.send(Job { client, prompt, options, logprobs, heard }).map_err(ApiError::internal)?;
        let mut text = String::new();
        while let Some(heard) = said.recv().await {
            match heard {
                Heard::Piece(piece, tokens) => {
                    if text.is_empty() {
                        self.metrics.first_token(since.elapsed());
                    }
                    text.push_str(&piece);
                    // Whoever has gone is noticed by the select around this.
                    let _ = events.send(Event::Piece(piece, tokens));
                }
                Heard::Failed(error) => return Err(error),
                Heard::Done(reply) => {
                    let outcome = Outcome::from(&*reply);
                    self.metrics.tokens(outcome.prompt_tokens, outcome.completion_tokens);
                    if let Some(wanted) = reply.wanted {
                        self.make(model, wanted, sampler, events).await?;
                    }
                    if let Some(mut speech) = speech.filter(|_| !text.trim().is_empty()) {
                        speech.thoughts = reply.thoughts;
                        let speech = self.speak(model, text, speech).await?;
                        let _ = events.send(Event::Speech(speech));
                    }
                    return Ok(outcome);
                }
            }
        }
        Err(ApiError::internal("the thread of the model ended"))
    }

    async fn make(
        &self,
        model: &Arc<Loaded>,
        wanted: Wanted,
        sampler: Sampler,
        events: &Events,
    ) -> Result<()> {
        let name = model.name.clone();
        let made = self.run(model, move |model| {
            encoded(model.media()?.make(&wanted, 1, sampler)?, &name, sampler)
        });
        for medium in made.await? {
            // Whoever has gone is noticed by the select around this.
            let _ = events.send(Event::Medium(medium));
        }
        Ok(())
    }

    /// A text as speech.
    ///
    /// # Errors
    /// The model has no voices, not this one, or does not know the script.
    pub async fn speak(
        &self,
        model: &Arc<Loaded>,
        text: String,
        options: SpeakOptions,
    ) -> Result<Speech> {
        self.run(model, move |model| {
            let spoken = model.voices()?.speak(&text, &options, &mut |_, _| ())?;
            let seconds = spoken.seconds();
            let notes = [
                ("Software", software()),
                ("Voice", format!("{}, synthetic speech", spoken.voice)),
            ];
            let samples = spoken.samples.into_iter().map(|x| x.clamp(-1.0, 1.0)).collect();
            let sound = Sound { rate: spoken.rate, samples, warning: None };
            let wav = write::encode(&sensorium_media::Media::Audio(sound), Kind::Wav, &notes);
            let wav = wav.map_err(ApiError::internal)?;
            Ok(Speech { wav, transcript: text, seconds })
        })
        .await
    }
}

/// Media as files, which say what they are.
pub(crate) fn encoded(
    media: Vec<sensorium_media::Media>,
    model: &str,
    sampler: Sampler,
) -> Result<Vec<Media>> {
    let how = format!(
        "synthetic: made by a model; seed {}, {} steps, guidance {}",
        sampler.seed, sampler.steps, sampler.guidance
    );
    let notes = [("Software", format!("{}, model {model}", software())), ("Comment", how)];
    let encoded = |medium: &sensorium_media::Media| {
        let modality = medium.modality();
        let kind = match modality {
            Modality::Audio => Kind::Wav,
            Modality::Video => Kind::Gif,
            Modality::Table => Kind::Csv,
            Modality::Image | Modality::Text => Kind::Png,
        };
        let bytes = write::encode(medium, kind, &notes).map_err(ApiError::internal)?;
        Ok(Media { modality, kind, bytes: bytes.into() })
    };
    media.iter().map(encoded).collect()
}

fn software() -> String {
    concat!("Sensorium ", env!("CARGO_PKG_VERSION")).to_owned()
}
