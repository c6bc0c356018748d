//! `ask`: a question about pictures, sounds, videos and tables, or about nothing but itself.

use anyhow::{Result, anyhow};
use clap::Args;
use sensorium_inference::{Error, GenerateOptions, among};
use sensorium_media::{Message, Role, arranged, parse_markers};
use serde::Serialize;
use serde_json::Value;

use crate::commands::Global;
use crate::commands::generated::{Generated, OutputOptions};
use crate::commands::media::MediaFiles;
use crate::commands::precision::Packing;
use crate::commands::sampling::Sampling;
use crate::commands::schema::SchemaOptions;
use crate::{open, print};

/// Ask a question, with pictures, sounds, videos and tables or without.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  sensorium ask \"what colour is the circle?\" --image scene.png\n  sensorium ask \"<image> is the first one. <image> what changed?\" --image a.png --image b.png\n  sensorium ask \"What is in the picture?\" --image photo.jpg --model SmolVLM-256M-Instruct\n  sensorium ask \"what do you hear?\" --audio bell.wav\n  sensorium ask \"what happens?\" --video clip.mp4 --num-frames 16 --model SmolVLM2-256M-Video-Instruct\n  sensorium ask \"is it ill?\" --image cell.png --table row.csv --choices yes,no\n  sensorium ask \"what is there?\" --image scene.png --columns \"name:text,count:integer\" --out things.csv\n\nOf published models it reads directories of LLaVA 1.5, Idefics, Idefics3, SmolVLM and BLIP-2, and, without pictures, all that `run` reads."
)]
pub struct Ask {
    /// The question; `<image>`, `<audio>`, `<video>` and `<table>` mark the place of each, else they come first.
    question: String,
    #[command(flatten)]
    media: MediaFiles,
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
}

#[derive(Serialize)]
struct Output {
    answer: String,
    /// The answer, where it is held to a schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<Value>,
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
        let media = self.media.read(&open::decoder())?;
        let media = arranged(&parts, media);
        let (model, load) = open::open(global, self.packing.precision)?;
        let model = model.chat()?;
        if self.system.is_some() && !model.has_template()? {
            return Err(Error::from(sensorium_pretrained::Error::NoChat).into());
        }
        let system = self.system.iter().map(|text| Message::text(Role::System, text));
        let messages: Vec<Message> = system.chain([Message { role: Role::User, parts }]).collect();
        if !self.choices.is_empty() {
            return self.choose(&model.likelihoods(&messages, &media, &self.choices)?);
        }
        let is_held = grammar.is_some();
        let options = GenerateOptions { grammar, ..self.sampling.options(global) };
        if !self.output.json && !is_held {
            return open::say(model, &messages, &media, &options).map(drop);
        }
        let told = self.output.tell(
            load,
            |id| model.token(id),
            |on_step| Ok(model.answer(&messages, &media, &options, on_step)?),
        )?;
        let (answer, tokens) = told.answer();
        let object = is_held.then(|| serde_json::from_str(&answer)).transpose()?;
        match object {
            Some(object) if !self.output.json => self.schema.tell(&object),
            object => print::json(&Output { answer, object, tokens, told }),
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
