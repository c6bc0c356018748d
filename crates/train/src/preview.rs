//! What a recipe trains on, to look at: its first samples as the last steps have them, without training.

use std::path::{Path, PathBuf};

use sensorium_data::preview::{sound, strip, table};
use sensorium_data::{Config, Dataset, DatasetConfig, Example, Media};
use sensorium_media::{ImageProcessor, MediaDecoder, Message, Picture, Role};

use crate::config;
use crate::error::Result;
use crate::recipes::blip2::Blip2Recipe;
use crate::recipes::clip::ClipRecipe;
use crate::recipes::conditional_vae::ConditionalVaeRecipe;
use crate::recipes::ctc::CtcRecipe;
use crate::recipes::domain::DomainRecipe;
use crate::recipes::flamingo::FlamingoRecipe;
use crate::recipes::flow::FlowRecipe;
use crate::recipes::gan::GanRecipe;
use crate::recipes::gill::GillRecipe;
use crate::recipes::imagebind::ImageBindRecipe;
use crate::recipes::llava::LlavaRecipe;
use crate::recipes::masked::MaskedRecipe;
use crate::recipes::next_gpt::NextGptRecipe;
use crate::recipes::talker::TalkerRecipe;
use crate::recipes::text::TextRecipe;
use crate::recipes::tokenizer::TokenizerRecipe;
use crate::recipes::vae::VaeRecipe;
use crate::recipes::vocoder::VocoderRecipe;
use crate::recipes::wav2vec2::Wav2Vec2Recipe;
use crate::recipes::whisper::WhisperRecipe;
use crate::recipes::{self, Recipe, which};

/// The first `count` samples that the recipe at `path` draws, with its hardest scenes; of a recipe of
/// two stages, those of the second: their pictures side by side, of a video some frames, of a sound its wave and
/// spectrogram, of a table its rows. Samples without media give white strips above their texts.
///
/// # Errors
/// The recipe is not acceptable, or a data set that it names is missing or damaged.
pub fn preview(
    path: &Path,
    sets: &[String],
    count: usize,
    decoder: &MediaDecoder,
) -> Result<Vec<(Picture, String)>> {
    let (data, seed) = match which(path, sets)? {
        Recipe::Tokenizer => {
            let TokenizerRecipe { icons, seed, .. } = config::load(path, sets)?;
            (documents(icons), seed)
        }
        Recipe::Text => {
            let recipe: TextRecipe = recipes::load(path, sets)?;
            (recipe.data, recipe.seed)
        }
        Recipe::Clip => {
            let recipe: ClipRecipe = recipes::load(path, sets)?;
            (recipe.data, recipe.seed)
        }
        Recipe::Llava => {
            let recipe: LlavaRecipe = recipes::load(path, sets)?;
            (recipe.data(&recipe.instruct)?.clone(), recipe.seed)
        }
        Recipe::Flamingo => {
            let recipe: FlamingoRecipe = config::load(path, sets)?;
            (recipe.last_data()?.clone(), recipe.seed)
        }
        Recipe::Masked => {
            let recipe: MaskedRecipe = config::load(path, sets)?;
            (recipe.data, recipe.seed)
        }
        Recipe::Domain => {
            let recipe: DomainRecipe = config::load(path, sets)?;
            (recipe.data, recipe.seed)
        }
        Recipe::Imagebind => {
            let recipe: ImageBindRecipe = config::load(path, sets)?;
            (recipe.data, recipe.seed)
        }
        Recipe::Blip2 => {
            let recipe: Blip2Recipe = config::load(path, sets)?;
            (recipe.last_data()?.clone(), recipe.seed)
        }
        Recipe::Whisper => {
            let recipe: WhisperRecipe = config::load(path, sets)?;
            (recipe.data, recipe.seed)
        }
        Recipe::Ctc => {
            let recipe: CtcRecipe = config::load(path, sets)?;
            (recipe.data, recipe.seed)
        }
        Recipe::Wav2vec2 => {
            let recipe: Wav2Vec2Recipe = config::load(path, sets)?;
            (recipe.data, recipe.seed)
        }
        Recipe::Talker => {
            let recipe: TalkerRecipe = config::load(path, sets)?;
            (recipe.data, recipe.seed)
        }
        Recipe::Vocoder => {
            let recipe: VocoderRecipe = config::load(path, sets)?;
            (recipe.data, recipe.seed)
        }
        Recipe::Vae => {
            let recipe: VaeRecipe = config::load(path, sets)?;
            (recipe.data, recipe.seed)
        }
        Recipe::Flow => {
            let recipe: FlowRecipe = config::load(path, sets)?;
            (recipe.data, recipe.seed)
        }
        Recipe::Gill => {
            let recipe: GillRecipe = config::load(path, sets)?;
            (recipe.data, recipe.seed)
        }
        Recipe::NextGpt => {
            let recipe: NextGptRecipe = config::load(path, sets)?;
            (recipe.last_data()?.clone(), recipe.seed)
        }
        Recipe::Gan => {
            let recipe: GanRecipe = config::load(path, sets)?;
            (recipe.data, recipe.seed)
        }
        Recipe::ConditionalVae => {
            let recipe: ConditionalVaeRecipe = config::load(path, sets)?;
            (recipe.data, recipe.seed)
        }
    };
    let shown = ImageProcessor::small();
    let data = data.open_train(seed, SIDE, decoder)?;
    let one = |index| {
        let example = data.example(sensorium_data::At { epoch: 0, index, progress: 1.0 })?;
        // Pictures from elsewhere have sizes of their own.
        let fit = |picture: &Picture| shown.fit(picture).pictures.remove(0);
        let of = |medium: &Media| match medium {
            Media::Image(picture) => vec![fit(picture)],
            Media::Video(video) => {
                let step = video.frames.len().div_ceil(FRAMES).max(1);
                video.pictures().step_by(step).map(fit).collect()
            }
            Media::Audio(heard) => vec![sound(heard, 2 * SIDE)],
            Media::Table(rows) => vec![table(rows, 2 * SIDE)],
        };
        let parts: Vec<Picture> = example.media.iter().flat_map(of).take(FRAMES).collect();
        let picture = strip(&parts).unwrap_or_else(|| Picture::filled(160, 1, [255; 3]));
        Ok((picture, words(&example)))
    };
    (0..count as u64).map(one).collect()
}

/// Side of the pictures of a sheet, in pixels.
const SIDE: u32 = 96;
/// Most pictures of a sample.
const FRAMES: usize = 4;

/// What a vocabulary is learned from, as a data set.
fn documents(icons: Option<PathBuf>) -> Config {
    let train = vec![DatasetConfig::Documents { icons, share: 1.0 }];
    Config { train, val: vec![], val_share: 0.0, max_bad: 0.0, augment: None, curriculum: [1.0; 2] }
}

/// What is said: a caption with those that are false, or a conversation.
fn words(example: &Example) -> String {
    let caption = example.text.iter().cloned();
    let negatives = example.negatives.iter().map(|text| format!("- not: {text}"));
    let turn = |message: &Message| {
        let speaker = if message.role == Role::User { ">" } else { "<" };
        format!("{speaker} {}", message.words())
    };
    caption.chain(negatives).chain(example.messages.iter().map(turn)).collect::<Vec<_>>().join(" ")
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
        let shown = preview(&path, &[], 3, &MediaDecoder::here()).unwrap();
        assert!(
            shown.len() == 3
                && shown.iter().all(|(picture, text)| picture.height == 1 && !text.is_empty())
        );
        for recipe in ["clip", "llava"] {
            let recipe = format!("{}/../../recipes/{recipe}/tiny.toml", env!("CARGO_MANIFEST_DIR"));
            let shown = preview(recipe.as_ref(), &[], 3, &MediaDecoder::here()).unwrap();
            assert!(shown.iter().all(|(picture, text)| picture.height > 1 && !text.is_empty()));
        }
        let clip = format!("{}/../../recipes/clip/tiny.toml", env!("CARGO_MANIFEST_DIR"));
        for kind in ["sounds", "clips", "records", "clinic"] {
            let sets = [format!("data.train=[{{ kind = \"{kind}\" }}]")];
            let shown = preview(clip.as_ref(), &sets, 2, &MediaDecoder::here()).unwrap();
            assert!(shown.iter().all(|(picture, text)| picture.height > 1 && !text.is_empty()));
        }
        std::fs::write(&path, "recipe = \"clip\"\nsteps = 1").unwrap();
        assert!(
            preview(&path, &[], 3, &MediaDecoder::here())
                .unwrap_err()
                .to_string()
                .contains("hint: ")
        );
    }
}
