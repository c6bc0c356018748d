//! `score`: how well texts fit pictures, sounds, videos and tables.

use std::path::Path;

use anyhow::Result;
use clap::{ArgGroup, Args};
use sensorium_inference::Score;
use sensorium_media::Modality;
use serde::Serialize;

use crate::commands::Global;
use crate::commands::media::MediaFiles;
use crate::commands::precision::Packing;
use crate::{open, print};

/// Tell how well each text fits each picture, sound, video or table.
#[derive(Args, Debug)]
#[command(
    group(ArgGroup::new("media").required(true).multiple(true).args(["image", "video", "audio", "table"])),
    after_help = "Example:\n  sensorium score --image scene.png --text \"a red circle\" --text \"a blue star\""
)]
pub struct ScoreCommand {
    #[command(flatten)]
    media: MediaFiles,
    /// A text. May be repeated.
    #[arg(long, value_name = "TEXT", required = true)]
    text: Vec<String>,
    #[command(flatten)]
    packing: Packing,
    /// Print JSON: pairs with similarity (cosine), logit and probability: of the pair where the model
    /// has a bias (SigLIP, nano), else of the text among all texts (CLIP). BLIP-2 has the best query's
    /// cosine as similarity and logit, and beside it matching: the probability that the text belongs to
    /// the picture.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Output {
    pairs: Vec<Scored>,
}

/// A file under the name of its kind: `"image": "scene.png"`.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Named {
    Image(String),
    Video(String),
    Audio(String),
    Table(String),
}

impl Named {
    fn new((modality, path): (Modality, &Path)) -> Self {
        let path = path.display().to_string();
        match modality {
            Modality::Image | Modality::Text => Self::Image(path),
            Modality::Video => Self::Video(path),
            Modality::Audio => Self::Audio(path),
            Modality::Table => Self::Table(path),
        }
    }

    fn path(&self) -> &str {
        let (Self::Image(path) | Self::Video(path) | Self::Audio(path) | Self::Table(path)) = self;
        path
    }
}

#[derive(Serialize)]
struct Scored {
    /// What the file is.
    #[serde(flatten)]
    medium: Named,
    text: String,
    similarity: f32,
    logit: f32,
    probability: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    matching: Option<f32>,
}

impl ScoreCommand {
    pub fn run(&self, global: &Global) -> Result<()> {
        let media = self.media.read(&open::decoder())?;
        let (model, _) = open::open(global, self.packing.precision)?;
        let rows = model.score()?.score(&media, &self.text)?;
        let pairs = self.pairs(rows);
        if self.json {
            return print::json(&Output { pairs });
        }
        print::line("similarity     logit  probability  text, file")?;
        pairs.iter().try_for_each(|pair| {
            let Scored { medium, text, similarity, logit, probability, matching } = pair;
            let percent = 100.0 * probability;
            let matching = matching.map_or(String::new(), |p| format!(", matching {p:.4}"));
            print::line(format!(
                "{similarity:10.4} {logit:9.3} {percent:10.2} %  {text}, {}{matching}",
                medium.path()
            ))
        })
    }

    fn pairs(&self, rows: Vec<Vec<Score>>) -> Vec<Scored> {
        let scored = |file, text: &String, pair: Score| Scored {
            medium: Named::new(file),
            text: text.clone(),
            similarity: pair.similarity,
            logit: pair.logit,
            probability: pair.probability,
            matching: pair.matching,
        };
        let row = |(file, row): (_, Vec<Score>)| {
            self.text.iter().zip(row).map(move |(text, pair)| scored(file, text, pair))
        };
        self.media.files().zip(rows).flat_map(row).collect()
    }
}
