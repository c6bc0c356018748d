//! Fine-tunes CLIP on a folder of pictures with captions, and uses what it has become.
//!
//! ```text
//! cargo run --release --example finetune_clip -- DIR photos runs/photos
//! ```
//! DIR holds CLIP as the hub lays it out (`goldens/published_clip` runs too, with random weights);
//! `photos` holds pictures and a `metadata.csv` with the columns `file_name` and `text`. What is left in
//! `runs/photos/final` is a directory of the same kind.

use std::env;
use std::path::Path;

use anyhow::{Context, Result};
use sensorium::inference::{Model, Options};
use sensorium::nn::prelude::Device;
use sensorium::train::recipes::{self, clip};
use sensorium::train::run::RunOptions;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [model, photos, run] = &arguments[..] else {
        anyhow::bail!("usage: finetune_clip DIR PHOTOS RUN");
    };
    // What a recipe may say, docs/train.md tells.
    let recipe = format!(
        r#"
        recipe = "clip"
        seed = 1
        steps = 20
        batch_size = 8
        save_every = 10
        loss = "info_nce"
        schedule = {{ kind = "cosine", learning_rate = 1e-5, min = 1e-6, warmup_steps = 2 }}
        [model]
        from = {model:?}
        [[data.train]]
        kind = "folder"
        path = {photos:?}
        "#
    );
    let recipe = recipes::parse(&recipe, "recipe", &[])?;
    clip::train(&recipe, &RunOptions::new(run))?;

    let options = Options::on(&Device::flex());
    let tuned = Path::new(run).join("final");
    let model = Model::open(&tuned, &options).context("cannot open what was trained")?;
    let vectors = model.embedding()?.embed_texts(&["a dog".into(), "a cat".into()])?;
    let cosine: f32 = vectors[0].iter().zip(&vectors[1]).map(|(a, b)| a * b).sum();
    println!("{cosine:.4} between a dog and a cat, as {} sees it", tuned.display());
    Ok(())
}
