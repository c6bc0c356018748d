//! What the settings of all families share.

use sensorium_encoder::image::{ActivationName, Conv};
use sensorium_media::{ImageProcessor, Style, Tokenizer};
use serde_json::Value;

use super::config::Config;
use super::directory::Directory;
use super::error::{Error, Result};
use super::ignored::ignored;

/// More blocks than any published model has; a list of their names takes 1 MB.
pub const MAX_LAYERS: usize = 512;
/// Longest edge of a picture that is read, in pixels.
pub const MAX_IMAGE: usize = 4096;

const FOREIGN: &str = "the file may be damaged, or of a model that is not supported";

/// Blocks of a stack.
pub fn layers(config: &Config<'_>, key: &str, default: usize) -> Result<usize> {
    let n = config.size_or(key, default)?;
    if n > MAX_LAYERS {
        return Err(config.wrong(key, &format!("at most {MAX_LAYERS} layers"), FOREIGN));
    }
    Ok(n)
}

/// Heads that share `width` evenly.
pub fn heads(config: &Config<'_>, key: &str, default: usize, width: usize) -> Result<usize> {
    let n = config.size_or(key, default)?;
    if !width.is_multiple_of(n) {
        return Err(config.wrong(key, &format!("a divisor of the width {width}"), FOREIGN));
    }
    Ok(n)
}

/// Side of the picture and the one convolution that cuts it into patches of `width` channels.
pub fn patches(config: &Config<'_>, defaults: [usize; 2], width: usize) -> Result<(usize, Conv)> {
    config.only("num_channels", &Value::from(3))?;
    let image = config.size_or("image_size", defaults[0])?;
    if image > MAX_IMAGE {
        return Err(config.wrong("image_size", &format!("at most {MAX_IMAGE} pixels"), FOREIGN));
    }
    let patch = config.size_or("patch_size", defaults[1])?;
    if patch > image {
        return Err(config.wrong("patch_size", &format!("at most the image's {image}"), FOREIGN));
    }
    Ok((image, Conv { channels: width, kernel: patch, stride: patch, padding: 0 }))
}

/// As [`patches`], of a picture of so many patches an edge.
pub fn cut(config: &Config<'_>, grid: usize, width: usize) -> Result<(usize, Conv)> {
    config.only("num_channels", &Value::from(3))?;
    let patch = config.size_or("patch_size", 16)?;
    if patch > MAX_IMAGE / grid {
        let expected = format!("at most {MAX_IMAGE} pixels in {grid} patches");
        return Err(config.wrong("patch_size", &expected, FOREIGN));
    }
    Ok((grid * patch, Conv { channels: width, kernel: patch, stride: patch, padding: 0 }))
}

/// `hidden_act`, as transformers names it.
pub fn activation(config: &Config<'_>, default: &'static str) -> Result<ActivationName> {
    activation_at(config, "hidden_act", default)
}

/// As [`activation`], of another key.
pub fn activation_at(
    config: &Config<'_>,
    key: &str,
    default: &'static str,
) -> Result<ActivationName> {
    match config.text_or(key, default)? {
        "gelu" => Ok(ActivationName::Gelu),
        "quick_gelu" => Ok(ActivationName::QuickGelu),
        "gelu_pytorch_tanh" | "gelu_new" => Ok(ActivationName::GeluTanh),
        _ => Err(config.wrong(key, "gelu, quick_gelu, gelu_pytorch_tanh or gelu_new", FOREIGN)),
    }
}

/// The image processor; the copy inside `processor_config.json` goes first. One is told of what is set
/// there and not done.
pub fn processor(directory: &Directory, style: Style) -> Result<ImageProcessor> {
    const OUTER: &str = "processor_config.json";
    let outer = directory.json(OUTER)?.unwrap_or_default();
    let config = Config::new(OUTER, &outer);
    // Of counts of markers, which follow from the model, and of what is no picture.
    config.without_effect(&[
        "add_end_of_utterance_token",
        "feature_extractor",
        "image_token",
        "num_image_tokens",
        "num_query_tokens",
        "patch_size",
        "video_processor",
        "video_token",
        "vision_aspect_ratio",
        "vision_feature_select_strategy",
    ]);
    let nested = config.get("image_processor");
    directory.tell(&config)?;
    let (file, settings) = match nested {
        Some(nested) => (OUTER, Some(nested.clone())),
        None => ("preprocessor_config.json", directory.json("preprocessor_config.json")?),
    };
    let settings = settings.ok_or_else(|| {
        directory.missing(file, "download it too: it says how pictures are scaled and normalised")
    })?;
    let (processor, asked) = ImageProcessor::read(&settings, style)
        .map_err(|source| Error::Media { path: directory.path().join(file), source })?;
    directory.tell_ignored(file, &ignored(&settings, &asked))?;
    Ok(processor)
}

/// The image processor of a model that reads squares of `image` pixels.
pub fn square(directory: &Directory, style: Style, image: usize) -> Result<ImageProcessor> {
    let processor = processor(directory, style)?;
    let size = processor.size().map(|size| size.map(|n| n as usize));
    if size == Some([image; 2]) {
        return Ok(processor);
    }
    let [height, width] = size.unwrap_or_default();
    Err(Error::Setting {
        file: "preprocessor_config.json".into(),
        key: "size and crop_size".into(),
        expected: format!("{image}x{image} pixels, the image_size of config.json"),
        got: format!("{width}x{height}"),
        hint: "the files may be of different models",
    })
}

/// Ids of a text with what the tokenizer puts around it, at most `context`, for a table of `rows`.
///
/// # Errors
/// The tokenizer fails at the text, or gives an id that the table has no row for.
pub fn ids(tokenizer: &Tokenizer, text: &str, context: usize, rows: usize) -> Result<Vec<u32>> {
    let ids = tokenizer.encode_within(text, true, context)?;
    match ids.iter().find(|id| **id as usize >= rows) {
        Some(&id) => Err(Error::Token { id, rows }),
        None => Ok(ids),
    }
}
