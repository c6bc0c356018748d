//! `score`: how well texts fit pictures.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use sensorium_model::clip::Score as Pair;
use serde::Serialize;

use crate::commands::Global;
use crate::commands::precision::Packing;
use crate::pairs::Model;
use crate::{nano, print};

/// Tell how well each text fits each picture.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  sensorium score --image scene.png --text \"a red circle\" --text \"a blue star\""
)]
pub struct Score {
    /// A picture: PNG, JPEG, GIF, WebP or BMP. May be repeated.
    #[arg(long, value_name = "FILE", required = true)]
    image: Vec<PathBuf>,
    /// A text. May be repeated.
    #[arg(long, value_name = "TEXT", required = true)]
    text: Vec<String>,
    #[command(flatten)]
    packing: Packing,
    /// Print JSON: pairs with similarity (cosine), logit and probability: of the pair where the model
    /// has a bias (SigLIP, nano), else of the text among all texts (CLIP).
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
}

impl Score {
    pub fn run(&self, global: &Global) -> Result<()> {
        let pictures = nano::pictures(&self.image)?;
        let model = Model::open(&global.model, self.packing.precision)?;
        let comparison = model.comparison()?;
        let texts = model.embed_texts(&self.text)?;
        let rows = comparison.scores(&model.embed_pictures(&pictures)?, &texts);
        let images = self.image.iter().map(|path| path.display().to_string());
        let pairs = images.zip(rows).flat_map(|(image, row)| self.pairs(&image, row));
        let pairs: Vec<Scored> = pairs.collect();
        if self.json {
            return print::json(&Output { pairs });
        }
        print::line("similarity     logit  probability  text, picture")?;
        pairs.iter().try_for_each(|pair| {
            let Scored { image, text, similarity, logit, probability } = pair;
            let percent = 100.0 * probability;
            print::line(format!("{similarity:10.4} {logit:9.3} {percent:10.2} %  {text}, {image}"))
        })
    }

    fn pairs(&self, image: &str, row: Vec<Pair>) -> Vec<Scored> {
        let scored = |(text, pair): (&String, Pair)| Scored {
            image: image.to_owned(),
            text: text.clone(),
            similarity: pair.similarity,
            logit: pair.logit,
            probability: pair.probability,
        };
        self.text.iter().zip(row).map(scored).collect()
    }
}
