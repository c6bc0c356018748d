//! `models`: what the cache holds.

use std::path::Path;

use anyhow::Result;
use clap::Args;
use sensorium_hub::Settings;
use sensorium_pretrained::Directory;
use serde::Serialize;

use crate::print;

/// List the models that the cache holds.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  sensorium models --json")]
pub struct Models {
    /// Print JSON: cache, models with name, commit, family, bytes, path.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Output {
    cache: String,
    models: Vec<Model>,
}

#[derive(Serialize)]
struct Model {
    name: String,
    commit: String,
    /// `model_type` of its config.json, or `gguf`.
    family: Option<String>,
    bytes: u64,
    /// Whether a download of it was not finished.
    partial: bool,
    path: String,
}

impl Models {
    pub fn run(&self) -> Result<()> {
        let settings = Settings::from_env();
        let models = settings.cache().list().into_iter().map(|cached| Model {
            name: cached.name.to_string(),
            commit: cached.commit,
            family: family(&cached.path),
            bytes: cached.bytes,
            partial: cached.partial,
            path: cached.path.display().to_string(),
        });
        let (cache, models) = (settings.cache.display().to_string(), models.collect::<Vec<_>>());
        if self.json {
            return print::json(&Output { cache, models });
        }
        if models.is_empty() {
            return print::line(format!("no models in {cache}; `sensorium pull NAME` brings one"));
        }
        let width = models.iter().map(|model| model.name.len()).max().unwrap_or(0);
        models.iter().try_for_each(|Model { name, commit, family, bytes, partial, .. }| {
            let family = family.as_deref().unwrap_or("unknown");
            let partial = if *partial { "  (a download was not finished)" } else { "" };
            let (megabytes, commit) = (*bytes as f64 / 1e6, &commit[..7]);
            print::line(format!("{name:width$}  {commit}  {megabytes:9.1} MB  {family}{partial}"))
        })
    }
}

fn family(path: &Path) -> Option<String> {
    if let Ok(directory) = Directory::open(path) {
        return Some(directory.config().text_or("model_type", "unknown").ok()?.to_owned());
    }
    let mut files = std::fs::read_dir(path).ok()?.flatten().map(|entry| entry.path());
    files.any(|file| file.extension().is_some_and(|end| end == "gguf")).then(|| "gguf".into())
}
