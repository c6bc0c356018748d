//! `classify`: which of some labels fits a picture, a sound, a video or a table best.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;
use sensorium_inference::Classified;
use sensorium_media::{Media, Modality};
use serde::Serialize;

use crate::commands::Global;
use crate::commands::media::MediaFiles;
use crate::commands::precision::Packing;
use crate::{open, print};

/// Tell which label fits a picture, a sound, a video or a table best.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  sensorium classify scene.png --labels \"red circle,blue star,green square\""
)]
pub struct Classify {
    /// A picture: PNG, JPEG, GIF, WebP or BMP; or one of --audio, --video and --table.
    file: Option<PathBuf>,
    #[command(flatten)]
    media: MediaFiles,
    /// At least two labels, separated by commas.
    #[arg(long, value_name = "A,B,...")]
    labels: String,
    /// Sentence around a label, at {} [default: "This is a photo of {}."; of the embedded model, seven of its own].
    #[arg(long, value_name = "TEXT")]
    template: Option<String>,
    #[command(flatten)]
    packing: Packing,
    /// Print JSON: labels with probabilities, best first; of SigLIP also each label's own (sigmoid).
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Output {
    labels: Vec<Scored>,
}

#[derive(Serialize)]
struct Scored {
    label: String,
    probability: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    sigmoid: Option<f32>,
}

impl Classify {
    pub fn run(&self, global: &Global) -> Result<()> {
        let labels = split(&self.labels)?;
        let medium = self.medium()?;
        let template = self.template.as_deref();
        if template.is_some_and(|template| !template.contains("{}")) {
            return Err(anyhow!(
                "expected {{}} in the template, where the label goes, got {:?}\nhint: --template \"a photo of {{}}\"",
                template.unwrap_or_default()
            ));
        }
        let (model, _) = open::open(global, self.packing.precision)?;
        let found = model.score()?.classify(&medium, &labels, template)?;
        let mut scored: Vec<Scored> = labels
            .into_iter()
            .zip(found)
            .map(|(label, Classified { probability, sigmoid })| Scored {
                label,
                probability,
                sigmoid,
            })
            .collect();
        scored.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        if self.json {
            return print::json(&Output { labels: scored });
        }
        scored.iter().try_for_each(|item| {
            print::line(format!("{:6.2} %  {}", 100.0 * item.probability, item.label))
        })
    }
}

impl Classify {
    /// The one file to be named.
    fn medium(&self) -> Result<Media> {
        let decoder = open::decoder();
        let mut media = self.media.read(&decoder)?;
        if let Some(file) = &self.file {
            media.push(self.media.medium(Modality::Image, file, &decoder)?);
        }
        match (media.pop(), media.len()) {
            (Some(medium), 0) => Ok(medium),
            (last, others) => Err(anyhow!(
                "expected one file to classify, got {}\nhint: sensorium classify scene.png --labels \"red circle,blue star\"",
                others + usize::from(last.is_some())
            )),
        }
    }
}

fn split(list: &str) -> Result<Vec<String>> {
    let labels: Vec<String> = list.split(',').map(|label| label.trim().to_owned()).collect();
    if let Some(place) = labels.iter().position(String::is_empty) {
        return Err(anyhow!(
            "expected labels separated by commas, label {} of {list:?} is empty\nhint: --labels \"red circle,blue star\"",
            place + 1
        ));
    }
    if labels.len() < 2 {
        return Err(anyhow!(
            "expected at least two labels to choose from, got {list:?}\nhint: --labels \"red circle,blue star\""
        ));
    }
    let twice = labels.iter().enumerate().find(|(i, label)| labels[..*i].contains(label));
    match twice {
        Some((_, label)) => Err(anyhow!(
            "expected labels that differ, got {label:?} twice\nhint: remove one of them"
        )),
        None => Ok(labels),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_checked() {
        assert_eq!(split("a, b ,c d").unwrap(), ["a", "b", "c d"]);
        for wrong in ["", "a", "a,", ",", "a,,b", "a,b,a", " , "] {
            assert!(split(wrong).unwrap_err().to_string().contains("\nhint: "), "{wrong:?}");
        }
    }
}
