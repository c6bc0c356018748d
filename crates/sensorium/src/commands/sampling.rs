//! Options of commands that write text.

use clap::Args;
use sensorium_inference::GenerateOptions;

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
}

impl Sampling {
    /// The options in the model's terms.
    pub fn options(&self, global: &Global) -> GenerateOptions {
        let mut options = GenerateOptions {
            max_new_tokens: self.max_tokens as usize,
            ..GenerateOptions::default()
        };
        options.sampling.temperature = self.temperature;
        options.sampling.top_k = self.top_k;
        options.sampling.top_p = self.top_p;
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

/// A number that is accepted.
pub fn number(text: &str, accepts: impl Fn(f32) -> bool) -> Option<f32> {
    text.parse().ok().filter(|&number| accepts(number))
}
