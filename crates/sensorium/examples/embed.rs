//! Compares a picture with texts by their vectors.
//!
//! ```text
//! cargo run --release --example embed -- DIR picture.png "a photo of a cat" "a photo of a dog"
//! ```
//! DIR holds CLIP or SigLIP as the hub lays it out; `sensorium pull NAME` prints where it has put one.
//! `goldens/published_clip` runs too, but its weights are random: its numbers mean nothing.

use sensorium::nn::prelude::Device;
use std::env;
use std::path::Path;

use anyhow::{Context, Result};
use sensorium::inference::{Model, Options};
use sensorium::media::Picture;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [dir, picture, texts @ ..] = &arguments[..] else {
        anyhow::bail!("usage: embed DIR PICTURE TEXT ...");
    };
    let options = Options::on(&Device::flex());
    let model = Model::open(Path::new(dir), &options).context("cannot open the model")?;
    let model = model.embedding()?;

    let pictures = model.embed_pictures(&[Picture::read(Path::new(picture))?])?;
    for (text, vector) in texts.iter().zip(model.embed_texts(texts)?) {
        // Both have length 1, so that their product is the cosine.
        let cosine: f32 = pictures[0].iter().zip(&vector).map(|(a, b)| a * b).sum();
        println!("{cosine:.4}  {text}");
    }
    Ok(())
}
