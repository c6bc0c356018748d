//! What a recipe trains on, to look at: the samples of its last steps, without training.

use std::path::{Path, PathBuf};

use sensorium_data::icons::Icons;
use sensorium_data::pairs;
use sensorium_data::scene::Split;
use sensorium_data::text::{self, Document};
use sensorium_media::{ImageProcessor, Part, Picture, Role};

use crate::batch::gather;
use crate::config;
use crate::error::Result;
use crate::recipes::clip::{self, ClipRecipe};
use crate::recipes::llava::{Corpus, LlavaRecipe, Sample};
use crate::recipes::text::TextRecipe;
use crate::recipes::tokenizer::TokenizerRecipe;
use crate::recipes::{Recipe, which};

/// The first `count` samples that the recipe at `path` draws, with its hardest scenes. Recipes
/// without pictures give white strips above their texts.
///
/// # Errors
/// The recipe is not acceptable, or a data set that it names is missing or damaged.
pub fn preview(path: &Path, sets: &[String], count: usize) -> Result<Vec<(Picture, String)>> {
    match which(path, sets)? {
        Recipe::Tokenizer => {
            let recipe: TokenizerRecipe = config::load(path, sets)?;
            documents(recipe.icons, recipe.seed, count)
        }
        Recipe::Text => {
            let recipe: TextRecipe = config::load(path, sets)?;
            documents(recipe.icons, recipe.seed, count)
        }
        Recipe::Clip => captions(&config::load(path, sets)?, count),
        Recipe::Llava => conversations(&config::load(path, sets)?, count),
    }
}

fn captions(recipe: &ClipRecipe, count: usize) -> Result<Vec<(Picture, String)>> {
    let icons = recipe.icons.as_deref().map(Icons::open).transpose()?;
    let mix = clip::mix(recipe, icons.as_ref());
    Ok(gather(count, |index| {
        let pair = pairs::pair(&mix, index, 1.0);
        let negatives: String =
            pair.negatives.iter().map(|text| format!(" - not: {text}")).collect();
        (pair.picture, pair.caption + &negatives)
    }))
}

/// Conversations of the instruct stage.
fn conversations(recipe: &LlavaRecipe, count: usize) -> Result<Vec<(Picture, String)>> {
    let corpus = Corpus::open(recipe)?;
    Ok(gather(count, |index| {
        let Sample { picture, turns, .. } = corpus.sample(index, 1.0);
        let said: Vec<_> = turns.iter().map(|[q, a]| format!("{q} - {a}")).collect();
        // easy-VQA's pictures have another size: all are shown as the model sees them.
        (ImageProcessor::nano().fit(&picture).pictures.remove(0), said.join(" / "))
    }))
}

fn documents(icons: Option<PathBuf>, seed: u64, count: usize) -> Result<Vec<(Picture, String)>> {
    let icons = icons.as_deref().map(Icons::open).transpose()?;
    Ok(gather(count, |index| {
        let document = text::document(icons.as_ref(), Split::Train, seed, index);
        (Picture::filled(160, 1, [255; 3]), words(document))
    }))
}

fn words(document: Document) -> String {
    let messages = match document {
        Document::Plain(text) => return text,
        Document::Chat(messages) => messages,
    };
    let mut turns = Vec::new();
    for message in messages {
        let speaker = if message.role == Role::User { ">" } else { "<" };
        for part in message.parts {
            if let Part::Text(text) = part {
                turns.push(format!("{speaker} {text}"));
            }
        }
    }
    turns.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_with_and_without_pictures_are_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recipe.toml");
        let tokenizer = "recipe = \"tokenizer\"\nseed = 1\nvocabulary = 600\nsamples = 5\ntokenizer = \"t.json\"";
        std::fs::write(&path, tokenizer).unwrap();
        let shown = preview(&path, &[], 3).unwrap();
        assert!(
            shown.len() == 3
                && shown.iter().all(|(picture, text)| picture.height == 1 && !text.is_empty())
        );
        std::fs::write(&path, "recipe = \"clip\"\nsteps = 1").unwrap();
        assert!(preview(&path, &[], 3).unwrap_err().to_string().contains("hint: "));
    }
}
