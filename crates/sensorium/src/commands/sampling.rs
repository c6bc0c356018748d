//! Options of commands that write text.

use clap::Args;
use sensorium_inference::{GenerateOptions, LogitsOptions};

use crate::commands::Global;

/// How an answer is made.
#[derive(Args, Debug)]
pub struct Sampling {
    /// Most tokens of an answer.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: u32,
    /// Randomness: 0 always takes the best token.
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = temperature)]
    temperature: f32,
    /// Only the K best tokens; 0 keeps all.
    #[arg(long, value_name = "K", default_value_t = 0)]
    top_k: usize,
    /// Only the fewest best tokens whose probabilities reach P.
    #[arg(long, value_name = "P", default_value_t = 1.0, value_parser = share)]
    top_p: f32,
    /// Only tokens that are at least P times as likely as the likeliest; 0 keeps all.
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = up_to_one)]
    min_p: f32,
    /// Divide the logits of tokens that were read or said by X; 1 changes nothing [default: the model's].
    #[arg(long, value_name = "X", value_parser = penalty)]
    repetition_penalty: Option<f32>,
    /// Take X from a token's logit each time it was said.
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = within_two, allow_negative_numbers = true)]
    frequency_penalty: f32,
    /// Take X from the logit of what was said.
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = within_two, allow_negative_numbers = true)]
    presence_penalty: f32,
    /// Never say N tokens in a row twice; 0 allows it [default: the model's].
    #[arg(long, value_name = "N")]
    no_repeat_ngram_size: Option<usize>,
    /// Add X to a token's logit; -inf forbids it. May be repeated.
    #[arg(long, value_name = "ID=X", value_parser = bias, allow_hyphen_values = true)]
    logit_bias: Vec<(u32, f32)>,
    /// End before this text. May be repeated.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    stop: Vec<String>,
}

impl Sampling {
    /// The options in the model's terms.
    pub fn options(&self, global: &Global) -> GenerateOptions {
        let mut options = GenerateOptions {
            max_new_tokens: self.max_tokens as usize,
            logits: LogitsOptions {
                repetition_penalty: self.repetition_penalty,
                frequency_penalty: self.frequency_penalty,
                presence_penalty: self.presence_penalty,
                no_repeat_ngram_size: self.no_repeat_ngram_size,
                logit_bias: self.logit_bias.clone(),
                bad_words_ids: Vec::new(),
            },
            stop: self.stop.clone(),
            ..GenerateOptions::default()
        };
        options.sampling.temperature = self.temperature;
        options.sampling.top_k = self.top_k;
        options.sampling.top_p = self.top_p;
        options.sampling.min_p = self.min_p;
        options.sampling.seed = global.seed();
        options
    }
}

fn temperature(text: &str) -> Result<f32, String> {
    number(text, |t| (0.0..=100.0).contains(&t)).ok_or_else(|| "expected 0 to 100".to_owned())
}

fn share(text: &str) -> Result<f32, String> {
    number(text, |p| p > 0.0 && p <= 1.0).ok_or_else(|| "expected above 0, at most 1".to_owned())
}

fn up_to_one(text: &str) -> Result<f32, String> {
    number(text, |p| (0.0..=1.0).contains(&p)).ok_or_else(|| "expected 0 to 1".to_owned())
}

fn penalty(text: &str) -> Result<f32, String> {
    number(text, |x| x > 0.0 && x <= 100.0)
        .ok_or_else(|| "expected above 0, at most 100".to_owned())
}

fn within_two(text: &str) -> Result<f32, String> {
    number(text, |x| (-2.0..=2.0).contains(&x)).ok_or_else(|| "expected -2 to 2".to_owned())
}

fn bias(text: &str) -> Result<(u32, f32), String> {
    let wrong = || "expected ID=X, a token's id and a number or -inf".to_owned();
    let (id, bias) = text.split_once('=').ok_or_else(wrong)?;
    let bias: f32 = bias.parse().map_err(|_| wrong())?;
    let fits = bias < f32::INFINITY;
    fits.then_some((id.parse().map_err(|_| wrong())?, bias)).ok_or_else(wrong)
}

/// A number that is accepted.
pub fn number(text: &str, accepts: impl Fn(f32) -> bool) -> Option<f32> {
    text.parse().ok().filter(|&number| accepts(number))
}
