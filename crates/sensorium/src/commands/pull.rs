//! `pull`: a model from the hub into the cache.

use anyhow::Result;
use clap::Args;
use sensorium_hub::{Choice, Hub};
use serde::Serialize;

use crate::commands::Global;
use crate::{fetch, print};

/// Bring a model from the hub into the cache, or go on where that stopped.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  sensorium pull openai/clip-vit-base-patch32\n  sensorium pull org/name@v1.0 --file model-q4_1.gguf\n  sensorium pull org/name-GGUF:Q4_K_M\n\nThe cache is that of the hub's own tools (HF_HOME, HF_HUB_CACHE); HF_ENDPOINT names a mirror, HF_TOKEN\nwho asks, HF_HUB_OFFLINE=1 forbids downloads. Pickles (.bin, .pt) are never fetched."
)]
pub struct Pull {
    /// The model, at a branch, a tag or a commit; of one with several GGUF files, which (NAME:Q8_0).
    #[arg(value_name = "NAME[@REVISION]")]
    name: String,
    /// Only this file of it. May be repeated.
    #[arg(long, value_name = "FILE")]
    file: Vec<String>,
    /// Print JSON: name, commit, path, files.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Output {
    name: String,
    commit: String,
    path: String,
    files: Vec<String>,
}

impl Pull {
    pub fn run(&self, global: &Global) -> Result<()> {
        let choice = Choice::parse(&self.name)?;
        let hub = Hub::new(global.hub());
        let pulled = fetch::fetch(&hub, &hub.plan(&choice, &self.file)?)?;
        let path = pulled.path.display().to_string();
        if self.json {
            let (name, commit) = (choice.name.to_string(), pulled.commit);
            return print::json(&Output { name, commit, path, files: pulled.files });
        }
        print::line(path)
    }
}
