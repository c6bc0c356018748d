//! `caption`: a sentence about each picture.

use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use sensorium_media::{Media, Message, Modality, Part, Role};
use serde::Serialize;

use crate::commands::Global;
use crate::commands::precision::Packing;
use crate::commands::sampling::Sampling;
use crate::{open, print};
use sensorium_train::progress::Progress;

/// The request that training uses most often.
const REQUEST: &str = "describe the picture.";

/// Describe pictures.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  sensorium caption scene.png other.jpg --json")]
pub struct Caption {
    /// Pictures: PNG, JPEG, GIF, WebP or BMP.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
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
        let usual = if model.has_template()? { REQUEST } else { "" };
        let words = self.prompt.as_deref().unwrap_or(usual);
        let mut parts = vec![Part::Media(Modality::Image)];
        parts.extend((!words.is_empty()).then(|| Part::Text(words.to_owned())));
        let request = [Message { role: Role::User, parts }];
        let (progress, decoder) = (Progress::items("caption"), open::decoder());
        let mut captions = Vec::new();
        for (done, path) in self.files.iter().enumerate() {
            let picture = Media::Image(decoder.picture(path)?);
            let reply =
                model.answer(&request, &[picture], &options, &mut |_| ControlFlow::Continue(()))?;
            let caption = reply.continuation.text.trim().to_owned();
            captions.push(Item { file: path.display().to_string(), caption });
            progress.set(done + 1, self.files.len());
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
