//! The settings of what makes a sound's input, in either file that has them.

use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;

/// Settings of all that makes a model's inputs.
const OUTER: &str = "processor_config.json";
/// Of the feature extractor alone.
const OWN: &str = "preprocessor_config.json";

/// What `read` makes of a directory's feature extractor; the copy inside `processor_config.json` goes first. One
/// is told of what is set there and not done.
///
/// # Errors
/// There is none; those of `read`.
pub(crate) fn settings<T>(
    directory: &Directory,
    read: impl FnOnce(&Config<'_>) -> Result<T>,
) -> Result<T> {
    let outer = directory.json(OUTER)?.unwrap_or_default();
    let top = Config::new(OUTER, &outer);
    // Said by the text's part of a model.
    top.without_effect(&["audio_token", "audio_bos_token", "audio_eos_token"]);
    // Heeded where pictures are made ready.
    top.without_effect(&["image_processor", "video_processor", "image_token", "video_token"]);
    if let Some(inner) = top.find("feature_extractor")? {
        let made = read(&inner)?;
        directory.tell(&top)?;
        return Ok(made);
    }
    directory.tell(&top)?;
    let own = directory.json(OWN)?.ok_or_else(|| {
        directory.missing(OWN, "download it too: it says how sounds are made ready")
    })?;
    let config = Config::new(OWN, &own);
    let made = read(&config)?;
    directory.tell(&config)?;
    Ok(made)
}
