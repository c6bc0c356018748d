//! That a video's frames are made as pictures are.

use sensorium_media::{ImageProcessor, Style};
use serde_json::Value;

use crate::directory::Directory;
use crate::error::{Error, Result};

/// Checks the settings of videos, which stand beside those of pictures or in a file of their own.
///
/// # Errors
/// They are damaged, or make other pixels of a frame than of a picture that is not cut.
pub fn same(directory: &Directory, pictures: &ImageProcessor) -> Result<()> {
    const KEY: &str = "video_processor";
    let outer = directory.json("processor_config.json")?;
    let inner = outer.and_then(|outer| outer.get(KEY).cloned());
    let (file, settings) = match inner {
        Some(settings) => ("processor_config.json", Some(settings)),
        None => {
            let file = "video_preprocessor_config.json";
            (file, directory.json(file)?)
        }
    };
    let Some(mut settings) = settings.filter(Value::is_object) else { return Ok(()) };
    // The class of videos, in some files under this key too. Its defaults are those of BLIP's pictures.
    settings["image_processor_type"] = Value::Null;
    let frames = ImageProcessor::from_json(&settings, Style::Blip)
        .map_err(|source| Error::Media { path: directory.path().join(file), source })?;
    if frames.size() == pictures.size() && frames.scales_as(pictures) {
        return Ok(());
    }
    Err(Error::Setting {
        file: file.into(),
        key: KEY.into(),
        expected: "size, resample, image_mean and image_std as of pictures".into(),
        got: settings.to_string(),
        hint: "a video's frames are read as pictures are",
    })
}
