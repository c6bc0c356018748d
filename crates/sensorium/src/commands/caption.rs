//! `caption`: a sentence about each picture.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use sensorium_media::{Message, Part, Picture, Role};
use serde::Serialize;

use crate::commands::Global;
use crate::commands::precision::Packing;
use crate::commands::sampling::Sampling;
use crate::progress::Progress;
use crate::{nano, print};

/// The request that training uses most often.
const REQUEST: &str = "describe the picture.";

/// Describe pictures.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  sensorium caption scene.png other.jpg --json")]
pub struct Caption {
    /// Pictures: PNG, JPEG, GIF, WebP or BMP.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
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
        let (nano, _) = nano::open(&global.model, self.packing.precision)?;
        let options = self.sampling.options(global);
        let request = [Message {
            role: Role::User,
            parts: vec![Part::Image, Part::Text(REQUEST.to_owned())],
        }];
        let progress = Progress::new("caption");
        let mut captions = Vec::new();
        for (done, path) in self.files.iter().enumerate() {
            let picture = Picture::read(path)?;
            let caption = nano.answer(&request, &[picture], options, |_| ())?.text;
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
