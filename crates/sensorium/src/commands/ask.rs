//! `ask`: a question about pictures, or about nothing but itself.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;
use sensorium_media::{Message, Role, parse_markers};
use serde::Serialize;

use crate::commands::Global;
use crate::commands::precision::Packing;
use crate::commands::sampling::Sampling;
use crate::{nano, print};

/// Ask a question, with pictures or without.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  sensorium ask \"what colour is the circle?\" --image scene.png\n  sensorium ask \"<image> is the first one. <image> what changed?\" --image a.png --image b.png"
)]
pub struct Ask {
    /// The question; `<image>` marks the place of each picture, else they come first.
    question: String,
    /// A picture: PNG, JPEG, GIF, WebP or BMP. May be repeated.
    #[arg(long, value_name = "FILE")]
    image: Vec<PathBuf>,
    #[command(flatten)]
    packing: Packing,
    #[command(flatten)]
    sampling: Sampling,
    /// Print JSON: answer, tokens, seconds.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Output {
    answer: String,
    tokens: usize,
    seconds: Seconds,
}

#[derive(Serialize)]
struct Seconds {
    load: f64,
    encode: f64,
    prefill: f64,
    decode: f64,
}

impl Ask {
    pub fn run(&self, global: &Global) -> Result<()> {
        if self.question.trim().is_empty() {
            return Err(anyhow!(
                "expected a question, got an empty text\nhint: sensorium ask \"what is in the picture?\" --image FILE"
            ));
        }
        let parts = parse_markers(&self.question, self.image.len())?;
        let pictures = nano::pictures(&self.image)?;
        let (nano, load) = nano::open(&global.model, self.packing.precision)?;
        let messages = [Message { role: Role::User, parts }];
        let answer = nano.answer(&messages, &pictures, self.sampling.options(global), |_| ())?;
        if !self.json {
            return print::line(answer.text);
        }
        let (encode, prefill, decode) = (answer.encode, answer.prefill, answer.decode);
        let seconds = Seconds { load, encode, prefill, decode };
        print::json(&Output { answer: answer.text, tokens: answer.tokens, seconds })
    }
}
