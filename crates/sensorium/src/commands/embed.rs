//! `embed`: pictures and texts as points in one space.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::commands::Global;
use crate::commands::precision::Packing;
use crate::commands::sentences;
use crate::{nano, print};

/// Turn pictures and texts into vectors of unit length in one space.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  sensorium embed --image scene.png --text \"a red circle\" --json\n  sensorium embed --text \"a red circle\" --model all-MiniLM-L6-v2"
)]
pub struct Embed {
    /// A picture: PNG, JPEG, GIF, WebP or BMP. May be repeated.
    #[arg(long, value_name = "FILE", required_unless_present = "text")]
    image: Vec<PathBuf>,
    /// A text. May be repeated.
    #[arg(long, value_name = "TEXT")]
    text: Vec<String>,
    #[command(flatten)]
    packing: Packing,
    /// Print JSON: dim, items; without it a line for each item, tab-separated.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Output {
    dim: usize,
    items: Vec<Item>,
}

#[derive(Serialize)]
struct Item {
    kind: &'static str,
    source: String,
    embedding: Vec<f32>,
}

impl Embed {
    pub fn run(&self, global: &Global) -> Result<()> {
        let items = self.items(global)?;
        let dim = items.first().map_or(0, |item| item.embedding.len());
        if self.json {
            return print::json(&Output { dim, items });
        }
        items.iter().try_for_each(|item| {
            let numbers: Vec<String> = item.embedding.iter().map(f32::to_string).collect();
            print::line(format!("{}\t{}\t{}", item.kind, item.source, numbers.join(" ")))
        })
    }
}

impl Embed {
    fn items(&self, global: &Global) -> Result<Vec<Item>> {
        let texts = self.text.iter().cloned();
        if let Some(rows) = sentences::embed(&global.model, &self.text, self.packing.precision)? {
            ensure!(
                self.image.is_empty(),
                "expected texts alone, got --image\nhint: {} is a sentence encoder; leave the pictures out",
                global.model
            );
            return Ok(items("text", texts, rows));
        }
        let pictures = nano::pictures(&self.image)?;
        let (nano, _) = nano::open(&global.model, self.packing.precision)?;
        let sources = self.image.iter().map(|path| path.display().to_string());
        let mut all = items("image", sources, nano.embed_pictures(&pictures));
        all.extend(items("text", texts, nano.embed_texts(&self.text)));
        Ok(all)
    }
}

fn items(
    kind: &'static str,
    sources: impl Iterator<Item = String>,
    rows: Vec<Vec<f32>>,
) -> Vec<Item> {
    sources.zip(rows).map(|(source, embedding)| Item { kind, source, embedding }).collect()
}
