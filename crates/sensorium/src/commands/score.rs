//! `score`: how well texts fit pictures.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use sensorium_inference::Score;
use serde::Serialize;

use crate::commands::Global;
use crate::commands::precision::Packing;
use crate::{open, print};

/// Tell how well each text fits each picture.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  sensorium score --image scene.png --text \"a red circle\" --text \"a blue star\""
)]
pub struct ScoreCommand {
    /// A picture: PNG, JPEG, GIF, WebP or BMP. May be repeated.
    #[arg(long, value_name = "FILE", required = true)]
    image: Vec<PathBuf>,
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

#[derive(Serialize)]
struct Scored {
    image: String,
    text: String,
    similarity: f32,
    logit: f32,
    probability: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    matching: Option<f32>,
}

impl ScoreCommand {
    pub fn run(&self, global: &Global) -> Result<()> {
        let pictures = open::pictures(&self.image, &open::decoder())?;
        let (model, _) = open::open(global, self.packing.precision)?;
        let rows = model.score()?.score(&pictures, &self.text)?;
        let pairs = self.pairs(rows);
        if self.json {
            return print::json(&Output { pairs });
        }
        print::line("similarity     logit  probability  text, picture")?;
        pairs.iter().try_for_each(|pair| {
            let Scored { image, text, similarity, logit, probability, matching } = pair;
            let percent = 100.0 * probability;
            let matching = matching.map_or(String::new(), |p| format!(", matching {p:.4}"));
            print::line(format!(
                "{similarity:10.4} {logit:9.3} {percent:10.2} %  {text}, {image}{matching}"
            ))
        })
    }

    fn pairs(&self, rows: Vec<Vec<Score>>) -> Vec<Scored> {
        let scored = |image: &PathBuf, text: &String, pair: Score| Scored {
            image: image.display().to_string(),
            text: text.clone(),
            similarity: pair.similarity,
            logit: pair.logit,
            probability: pair.probability,
            matching: pair.matching,
        };
        let row = |(image, row): (_, Vec<Score>)| {
            self.text.iter().zip(row).map(move |(text, pair)| scored(image, text, pair))
        };
        self.image.iter().zip(rows).flat_map(row).collect()
    }
}
