//! The ResNet of CLIP, as open_clip's settings describe it.

use sensorium_encoder::image::ResnetConfig;
use serde_json::Value;

use super::open_clip;
use crate::config::Config;
use crate::error::Result;
use crate::vision::MAX_LAYERS;

/// Pixels of a side that become one position.
const STRIDE: usize = 32;
/// Longest edge of a picture, in pixels.
const MAX_SIDE: usize = 4096;
/// Sixteen times that of the largest published one has.
const MAX_WIDTH: usize = 2048;

/// The shape that `vision_cfg` describes.
///
/// # Errors
/// A setting is missing, out of range or not supported.
pub fn config(image: &Config<'_>, embed: usize) -> Result<ResnetConfig> {
    const HINT: &str = "RN50 has 3, 4, 6, 3";
    let counts = image.get("layers").and_then(Value::as_array);
    let count = |value: &Value| {
        let n = value.as_u64().filter(|n| (1..=MAX_LAYERS as u64).contains(n));
        n.map(|n| n as usize)
    };
    let layers: Option<Vec<usize>> = counts.and_then(|all| all.iter().map(count).collect());
    let layers = layers.and_then(|layers| <[usize; 4]>::try_from(layers).ok());
    let layers = layers.ok_or_else(|| {
        image.wrong("layers", &format!("four numbers of 1 to {MAX_LAYERS}"), HINT)
    })?;
    image.only_null("patch_size")?;
    image.only_null("mlp_ratio")?;
    let width = image.size_or("width", 64)?;
    if !width.is_multiple_of(2) || width > MAX_WIDTH {
        let expected = format!("an even number of at most {MAX_WIDTH}");
        return Err(image.wrong("width", &expected, "RN50 has 64"));
    }
    let side = image.size_or("image_size", 224)?;
    if !side.is_multiple_of(STRIDE) || side > MAX_SIDE {
        let expected = format!("a multiple of {STRIDE} of at most {MAX_SIDE}");
        return Err(image.wrong("image_size", &expected, "RN50 has 224"));
    }
    let shape = ResnetConfig { image: side, layers, hidden_size: width, n_heads: 1, embed };
    let n_heads = open_clip::heads(image, shape.channels())?;
    Ok(ResnetConfig { n_heads, ..shape })
}
