//! What makes patches of pictures and of videos: settings in a file of both, or in one of each, or in that of
//! pictures alone, as transformers looks for them.

use std::collections::BTreeSet;

use sensorium_media::{PatchProcessor, PatchStyle};
use serde_json::Value;

use super::omni::OF_SOUNDS;
use super::{QwenVlConfig, Timing};
use crate::config::Config;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::ignored::ignored;

const OUTER: &str = "processor_config.json";
const PICTURES: &str = "preprocessor_config.json";
const VIDEOS: &str = "video_preprocessor_config.json";

/// A file, and what of it one of the two is made by.
type Found = (&'static str, Value);

/// Pictures' and videos'.
pub fn processors(directory: &Directory, config: &QwenVlConfig) -> Result<[PatchProcessor; 2]> {
    let [pictures, mut videos] = found(directory)?;
    if config.hearing.is_some() && videos.0 == PICTURES {
        // Of pictures alone: transformers has sizes of its own for frames.
        for key in ["size", "min_pixels", "max_pixels"] {
            videos.1.as_object_mut().map(|settings| settings.remove(key));
        }
    }
    let style = match config.timing {
        Timing::Words => PatchStyle::Video,
        Timing::Steps | Timing::PerSecond(_) | Timing::Paced(_) => PatchStyle::Frames,
    };
    let (picture, mut asked) = read(directory, &pictures, PatchStyle::Picture)?;
    if config.hearing.is_some() {
        // Heeded where sounds are made ready.
        asked.extend(OF_SOUNDS.iter().map(|&key| key.to_owned()));
    }
    let (video, of_videos) = read(directory, &videos, style)?;
    // One is told once of what neither heeds.
    let shared = pictures == videos || [pictures.0, videos.0] == [PICTURES; 2];
    if shared {
        asked.extend(of_videos.iter().cloned());
    }
    directory.tell_ignored(pictures.0, &ignored(&pictures.1, &asked))?;
    if !shared {
        directory.tell_ignored(videos.0, &ignored(&videos.1, &of_videos))?;
    }
    for (processor, file) in [(&picture, pictures.0), (&video, videos.0)] {
        agrees(processor, file, config)?;
    }
    Ok([picture, video])
}

/// Where pictures' settings are, and videos'.
fn found(directory: &Directory) -> Result<[Found; 2]> {
    let outer = directory.json(OUTER)?.unwrap_or_default();
    let config = Config::new(OUTER, &outer);
    // Heeded where sounds are made ready.
    config.without_effect(&["image_token", "video_token", "feature_extractor"]);
    let nested = ["image_processor", "video_processor"].map(|key| config.get(key).cloned());
    directory.tell(&config)?;
    let [pictures, videos] = nested.map(|nested| nested.map(|settings| (OUTER, settings)));
    let own = |file| Ok::<_, Error>(directory.json(file)?.map(|settings| (file, settings)));
    let missing = || {
        directory
            .missing(PICTURES, "download it too: it says how pictures are scaled and normalised")
    };
    let pictures = pictures.map_or_else(|| own(PICTURES), |found| Ok(Some(found)))?;
    let videos = match videos {
        Some(found) => Some(found),
        None => own(VIDEOS)?.or(own(PICTURES)?),
    };
    let pictures = pictures.ok_or_else(missing)?;
    let videos = videos.ok_or_else(|| {
        directory.missing(VIDEOS, "download it too: it says how videos are scaled and normalised")
    })?;
    Ok([pictures, videos])
}

fn read(
    directory: &Directory,
    (file, settings): &Found,
    style: PatchStyle,
) -> Result<(PatchProcessor, BTreeSet<String>)> {
    PatchProcessor::read(settings, style)
        .map_err(|source| Error::Media { path: directory.path().join(file), source })
}

/// That patches are those of the model.
fn agrees(processor: &PatchProcessor, file: &str, config: &QwenVlConfig) -> Result<()> {
    let pairs = [
        ("patch_size", processor.patch(), config.patch),
        ("temporal_patch_size", processor.temporal(), config.temporal),
        ("merge_size", processor.merge(), config.tower.image.merge),
    ];
    match pairs.into_iter().find(|(_, got, want)| got != want) {
        None => Ok(()),
        Some((key, got, want)) => Err(Error::Setting {
            file: file.to_owned(),
            key: key.to_owned(),
            expected: format!("{want}, as config.json has it"),
            got: got.to_string(),
            hint: "the files may be of different models",
        }),
    }
}
