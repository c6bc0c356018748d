//! `ask`: a question about pictures, sounds, videos and tables, or about nothing but itself.

use anyhow::{Result, anyhow};
use clap::Args;
use sensorium_inference::{ChatModel, Error, GenerateOptions, Model, among};
use sensorium_media::{Media, Message, Modality, Role, arranged, parse_markers};
use serde::Serialize;
use serde_json::Value;

use crate::commands::Global;
use crate::commands::answer::{AnswerOptions, Medium, Told};
use crate::commands::generated::{Generated, OutputOptions};
use crate::commands::media::MediaFiles;
use crate::commands::precision::Packing;
use crate::commands::sampling::Sampling;
use crate::commands::schema::{self, SchemaOptions};
use crate::{open, print};

/// Ask a question, with pictures, sounds, videos and tables or without.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  sensorium ask \"what colour is the circle?\" --image scene.png\n  sensorium ask \"<image> is the first one. <image> what changed?\" --image a.png --image b.png\n  sensorium ask \"What is in the picture?\" --image photo.jpg --model SmolVLM-256M-Instruct\n  sensorium ask \"what do you hear?\" --audio bell.wav\n  sensorium ask \"what happens?\" --video clip.mp4 --num-frames 16 --model SmolVLM2-256M-Video-Instruct\n  sensorium ask \"what is said?\" --video clip.mp4 --use-audio-in-video --model Qwen2.5-Omni-7B --out answer.wav --voice Ethan\n  sensorium ask \"draw a red circle left of a blue star\" --out answer.png\n  sensorium ask \"is it ill?\" --image cell.png --table row.csv --choices yes,no\n  sensorium ask \"what is there?\" --image scene.png --columns \"name:text,count:integer\" --out things.csv\n\nOf published models it reads directories of LLaVA 1.5, Idefics, Idefics3, SmolVLM and BLIP-2, and, without pictures, all that `run` reads."
)]
pub struct Ask {
    /// The question; `<image>`, `<audio>`, `<video>` and `<table>` mark the place of each, else they come first.
    question: String,
    #[command(flatten)]
    media: MediaFiles,
    /// Hear the videos too: the sound of each one's file stands behind it, or, in Qwen2.5-Omni, among its frames.
    #[arg(long, requires = "video", conflicts_with = "choices")]
    use_audio_in_video: bool,
    /// What holds for the whole conversation, for models with a chat template.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Answers to choose from, separated by commas: prints how probable each is among them.
    #[arg(long, value_name = "A,B,...", value_delimiter = ',', conflicts_with_all = ["logprobs", "logits"])]
    choices: Vec<String>,
    #[command(flatten)]
    schema: SchemaOptions,
    #[command(flatten)]
    packing: Packing,
    #[command(flatten)]
    sampling: Sampling,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    answer: AnswerOptions,
}

#[derive(Serialize)]
struct Output {
    answer: String,
    /// The answer, where it is held to a schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<Value>,
    /// What the answer ends with, if it is not words alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    medium: Option<Medium>,
    tokens: usize,
    #[serde(flatten)]
    told: Generated,
}

/// Of `--choices`.
#[derive(Serialize)]
struct Choices {
    choices: Vec<Choice>,
}

#[derive(Serialize)]
struct Choice {
    answer: String,
    /// Among the choices.
    probability: f64,
    /// Natural logarithm of the probability of the answer's tokens.
    log_likelihood: f64,
}

impl Ask {
    pub fn run(&self, global: &Global) -> Result<()> {
        if self.question.trim().is_empty() {
            return Err(anyhow!(
                "expected a question, got an empty text\nhint: sensorium ask \"what is in the picture?\" --image FILE"
            ));
        }
        let grammar = self.schema.grammar()?;
        let parts = parse_markers(&self.question, &self.media.modalities())?;
        let decoder = open::decoder();
        let media = arranged(&parts, self.media.read(&decoder)?);
        let (parts, media) = match self.use_audio_in_video {
            true => self.media.with_own_sounds(parts, media, &decoder)?,
            false => (parts, media),
        };
        self.answer.check(grammar.is_some())?;
        let (opened, load) = open::open(global, self.packing.precision)?;
        let model = opened.chat()?;
        if self.system.is_some() && !model.has_template()? {
            return Err(Error::from(sensorium_pretrained::Error::NoChat).into());
        }
        let system = self.system.iter().map(|text| Message::text(Role::System, text));
        let messages: Vec<Message> = system.chain([Message { role: Role::User, parts }]).collect();
        if !self.choices.is_empty() {
            return self.choose(&model.likelihoods(&messages, &media, &self.choices)?);
        }
        let mut options = self.sampling.options(global);
        options.use_audio_in_video = self.use_audio_in_video;
        if grammar.is_some() {
            options.grammar = grammar;
            options.modalities = Some(vec![Modality::Text]);
            return self.held(model, load, &messages, &media, &options);
        }
        // A voice of the model's own says what it answers in words.
        let is_spoken = self.answer.speaks()
            && !model.makes().contains(&Modality::Audio)
            && opened.voices().is_ok();
        if let [modality @ (Modality::Image | Modality::Audio | Modality::Video)] =
            self.answer.modalities[..]
            && !(is_spoken && modality == Modality::Audio)
        {
            let wanted = model.wants(&messages, &media, modality)?;
            let known = model.makes();
            let wanted = wanted.ok_or(Error::Makes { wanted: modality, known })?;
            let medium = self.answer.made(&self.told(&opened, global), &wanted)?;
            return match self.output.json {
                true => print::json(&medium),
                false => Ok(()),
            };
        }
        options.modalities =
            (!self.answer.modalities.is_empty()).then(|| self.answer.modalities.clone());
        options.spoken = self.answer.speaks();
        if !self.output.json {
            let reply = open::say(model, &messages, &media, &options)?;
            let said = reply.continuation.text.trim();
            let told = self.told(&opened, global);
            let (wanted, thoughts) = (reply.wanted.as_ref(), reply.thoughts);
            return self.answer.finished(&told, said, wanted, thoughts).map(drop);
        }
        let (mut wanted, mut thoughts) = (None, None);
        let told = self.output.tell(
            load,
            |id| model.token(id),
            |on_step| {
                let reply = model.answer(&messages, &media, &options, on_step)?;
                wanted.clone_from(&reply.wanted);
                thoughts.clone_from(&reply.thoughts);
                Ok(reply)
            },
        )?;
        let (answer, tokens) = told.answer();
        let made = self.told(&opened, global);
        let medium = self.answer.finished(&made, &answer, wanted.as_ref(), thoughts)?;
        print::json(&Output { answer, object: None, medium, tokens, told })
    }

    fn told<'a>(&'a self, model: &'a Model, global: &'a Global) -> Told<'a> {
        Told { model, prompt: &self.question, out: self.answer.out.as_deref(), global }
    }

    /// Tells an answer that follows a schema, all at once: half of it would be no JSON.
    fn held(
        &self,
        model: &dyn ChatModel,
        load: f64,
        messages: &[Message],
        media: &[Media],
        options: &GenerateOptions,
    ) -> Result<()> {
        let told = self.output.tell(
            load,
            |id| model.token(id),
            |on_step| Ok(model.answer(messages, media, options, on_step)?),
        )?;
        let (answer, tokens) = told.answer();
        let object: Value = serde_json::from_str(&answer)?;
        if let Some(path) = &self.answer.out {
            schema::write(path, &object)?;
        }
        match self.output.json {
            true => {
                print::json(&Output { answer, object: Some(object), medium: None, tokens, told })
            }
            false if self.answer.out.is_some() => Ok(()),
            false => self.schema.print(&object),
        }
    }

    /// Tells the choices, the most probable first.
    fn choose(&self, likelihoods: &[f64]) -> Result<()> {
        let told = self.choices.iter().zip(likelihoods).zip(among(likelihoods));
        let told = told.map(|((answer, &log_likelihood), probability)| Choice {
            answer: answer.clone(),
            probability,
            log_likelihood,
        });
        let mut choices: Vec<Choice> = told.collect();
        choices.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        if self.output.json {
            return print::json(&Choices { choices });
        }
        choices.iter().try_for_each(|choice| {
            print::line(format!("{:6.2} %  {}", 100.0 * choice.probability, choice.answer))
        })
    }
}
