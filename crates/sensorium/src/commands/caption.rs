//! `caption`: a sentence about each picture, sound, video or table.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{ArgGroup, Args};
use sensorium_media::chat::caption_request;
use sensorium_media::{Message, Modality, Part, Role};
use serde::Serialize;

use crate::commands::Global;
use crate::commands::media::MediaFiles;
use crate::commands::precision::Packing;
use crate::commands::sampling::Sampling;
use crate::{open, print};
use sensorium_train::progress::Progress;

/// Describe pictures, sounds, videos and tables.
#[derive(Args, Debug)]
#[command(
    group(ArgGroup::new("input").required(true).multiple(true).args(["files", "image", "video", "audio", "table"])),

    after_help = "Examples:\n  sensorium caption scene.png other.jpg --json\n  sensorium caption --audio bell.wav"
)]
pub struct Caption {
    /// Pictures: PNG, JPEG, GIF, WebP or BMP.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    media: MediaFiles,
    /// What the model is asked; a published model without a chat template is asked nothing.
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    #[command(flatten)]
    packing: Packing,
    #[command(flatten)]
    sampling: Sampling,
    /// Print JSON: captions with their files.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Output {
    captions: Vec<Item>,
}

#[derive(Serialize)]
struct Item {
    file: String,
    caption: String,
}

impl Caption {
    pub fn run(&self, global: &Global) -> Result<()> {
        let (model, _) = open::open(global, self.packing.precision)?;
        let model = model.chat()?;
        let options = self.sampling.options(global);
        let files = self.files.iter().map(|path| (Modality::Image, path.as_path()));
        let files: Vec<(Modality, &Path)> = files.chain(self.media.files()).collect();
        let has_template = model.has_template()?;
        let (progress, decoder) = (Progress::items("caption"), open::decoder());
        let mut captions = Vec::new();
        for (done, &(modality, path)) in files.iter().enumerate() {
            let usual = if has_template { caption_request(modality) } else { "" };
            let words = self.prompt.as_deref().unwrap_or(usual);
            let mut parts = vec![Part::Media(modality)];
            parts.extend((!words.is_empty()).then(|| Part::Text(words.to_owned())));
            let request = [Message { role: Role::User, parts }];
            let medium = self.media.medium(modality, path, &decoder)?;
            let reply =
                model.answer(&request, &[medium], &options, &mut |_| ControlFlow::Continue(()))?;
            let caption = reply.continuation.text.trim().to_owned();
            captions.push(Item { file: path.display().to_string(), caption });
            progress.set(done + 1, files.len());
        }
        progress.finish();
        match (self.json, captions.as_slice()) {
            (true, _) => print::json(&Output { captions }),
            (false, [only]) => print::line(&only.caption),
            (false, several) => several
                .iter()
                .try_for_each(|item| print::line(format!("{}: {}", item.file, item.caption))),
        }
    }
}
