//! `embed`: pictures, sounds, videos, tables and texts as points in one space.

use std::path::Path;

use anyhow::Result;
use clap::{ArgGroup, Args};
use sensorium_media::Modality;
use serde::Serialize;

use crate::commands::Global;
use crate::commands::media::MediaFiles;
use crate::commands::precision::Packing;
use crate::{open, print};

/// Turn pictures, sounds, videos, tables and texts into vectors of unit length in one space.
#[derive(Args, Debug)]
#[command(
    group(ArgGroup::new("input").required(true).multiple(true).args(["image", "video", "audio", "table", "text"])),
    after_help = "Examples:\n  sensorium embed --image scene.png --text \"a red circle\" --json\n  sensorium embed --image scene.png --model clip-vit-base-patch32 --precision int8\n  sensorium embed --text \"a red circle\" --model all-MiniLM-L6-v2\n  sensorium embed --video clip.mp4 --fps 1 --text \"a dog runs\" --model clip-vit-base-patch32\n\nWhere a model has no encoder of videos, a video's vector is the mean of its frames'."
)]
pub struct Embed {
    #[command(flatten)]
    media: MediaFiles,
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
    kind: Modality,
    source: String,
    embedding: Vec<f32>,
}

impl Embed {
    pub fn run(&self, global: &Global) -> Result<()> {
        let media = self.media.read(&open::decoder())?;
        let (model, _) = open::open(global, self.packing.precision)?;
        let model = model.embedding()?;
        // A model without texts is none to complain about where there are none; nor is one without
        // pictures.
        let rows = if media.is_empty() { vec![] } else { model.embed_media(&media)? };
        let item = |((kind, path), embedding): ((Modality, &Path), _)| Item {
            kind,
            source: path.display().to_string(),
            embedding,
        };
        let mut items: Vec<Item> = self.media.files().zip(rows).map(item).collect();
        let texts = if self.text.is_empty() { vec![] } else { model.embed_texts(&self.text)? };
        let text = |(source, embedding): (&String, _)| Item {
            kind: Modality::Text,
            source: source.clone(),
            embedding,
        };
        items.extend(self.text.iter().zip(texts).map(text));
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
