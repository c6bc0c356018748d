//! `embed`: pictures, videos and texts as points in one space.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use sensorium_inference::embed_video;
use sensorium_media::Video;
use serde::Serialize;

use crate::commands::Global;
use crate::commands::precision::Packing;
use crate::commands::video::Videos;
use crate::{open, print};

/// Turn pictures, videos and texts into vectors of unit length in one space.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  sensorium embed --image scene.png --text \"a red circle\" --json\n  sensorium embed --image scene.png --model clip-vit-base-patch32 --precision int8\n  sensorium embed --text \"a red circle\" --model all-MiniLM-L6-v2\n  sensorium embed --video clip.mp4 --fps 1 --text \"a dog runs\" --model clip-vit-base-patch32\n\nA video's vector is the mean of its frames'."
)]
pub struct Embed {
    /// A picture: PNG, JPEG, GIF, WebP or BMP. May be repeated.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["text", "video"])]
    image: Vec<PathBuf>,
    #[command(flatten)]
    videos: Videos,
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
        let decoder = open::decoder();
        let pictures = open::pictures(&self.image, &decoder)?;
        let videos = self.videos.read(&decoder)?;
        let (model, _) = open::open(global, self.packing.precision)?;
        let sources = self.image.iter().map(|path| path.display().to_string());
        let model = model.embedding()?;
        // A model without texts is none to complain about where there are none; nor is one without
        // pictures.
        let rows = if pictures.is_empty() { vec![] } else { model.embed_pictures(&pictures)? };
        let mut items = items("image", sources, rows);
        let frames = |video: &Video| embed_video(model, video);
        let vectors = videos.iter().map(frames).collect::<Result<_, _>>()?;
        let sources = self.videos.video.iter().map(|path| path.display().to_string());
        items.extend(self::items("video", sources, vectors));
        let texts = if self.text.is_empty() { vec![] } else { model.embed_texts(&self.text)? };
        items.extend(self::items("text", self.text.iter().cloned(), texts));
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

fn items(
    kind: &'static str,
    sources: impl Iterator<Item = String>,
    rows: Vec<Vec<f32>>,
) -> Vec<Item> {
    sources.zip(rows).map(|(source, embedding)| Item { kind, source, embedding }).collect()
}
