//! Asks a published model about a picture.
//!
//! ```text
//! cargo run --release --example ask -- DIR picture.png "What is in the picture?"
//! ```
//! DIR holds LLaVA, SmolVLM, Idefics or BLIP-2 as the hub lays it out; `sensorium pull NAME` prints where
//! it has put one. `goldens/seeing_smolvlm` runs too, but its weights are random: so is what it answers.

use sensorium::nn::prelude::Device;
use std::env;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, Result};
use sensorium::inference::{GenerateOptions, Model, Options};
use sensorium::media::{Media, Message, Modality, Picture, Role, parse_markers};

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [dir, picture, question] = &arguments[..] else {
        anyhow::bail!("usage: ask DIR PICTURE QUESTION");
    };
    let options = Options::on(&Device::flex());
    let model = Model::open(Path::new(dir), &options).context("cannot open the model")?;
    let picture = Picture::read(Path::new(picture))?;

    // Where the question has no `<image>`, the picture comes first.
    let message = Message { role: Role::User, parts: parse_markers(question, &[Modality::Image])? };
    let options = GenerateOptions { max_new_tokens: 64, ..GenerateOptions::default() };
    // Hears of every token as it is drawn; `Break` ends the answer.
    let on_step = &mut |_: sensorium::inference::Step<'_>| ControlFlow::Continue(());
    let reply = model.chat()?.answer(&[message], &[Media::Image(picture)], &options, on_step)?;

    println!("{}", reply.continuation.text.trim());
    eprintln!("{} tokens, {:?}", reply.continuation.ids.len(), reply.continuation.finish);
    Ok(())
}
