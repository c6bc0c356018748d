//! The keys of a `preprocessor_config.json`.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::Value;

use super::anyres::{self, Anyres};
use super::row::Row;
use super::{Frame, Geometry, Half, Resize, Style, Values};
use crate::error::quote;
use crate::resample::Filter;
use crate::{Error, Result};

/// Longest edge that a model reads, in pixels.
pub(super) const MAX_SIZE: u32 = 4096;
/// Tiles along an edge: the published models have 4 or 5, and a token for each place up to 6.
const MAX_TILES: u32 = 16;
/// Canvases to choose from: OneVision has 36.
const MAX_CANVASES: usize = 1024;
/// Most patches of a picture: attention over more than the square of it costs gigabytes. The paper
/// goes to 1024.
const MAX_PATCHES: u32 = 4096;
/// Most pixels of a picture that fills them.
pub(super) const MAX_PIXELS: u64 = 4096 * 4096;

impl Style {
    /// Whether pictures become the same kind of thing.
    fn lays_out_as(self, other: Self) -> bool {
        let kind = |style| match style {
            Self::Idefics3 => 1,
            Self::Siglip2 => 2,
            Self::LlavaNext | Self::LlavaOnevision => 3,
            Self::GotOcr2 => 4,
            Self::Dinov3 => 5,
            Self::Janus => 6,
            _ => 0,
        };
        kind(self) == kind(other)
    }

    /// Stems of the classes that are read in its place.
    fn expected(self) -> &'static str {
        match self {
            Self::Idefics3 => "Idefics3- or SmolVLMImageProcessor",
            Self::Siglip2 => "Siglip2ImageProcessor",
            Self::GotOcr2 => "GotOcr2ImageProcessor",
            Self::Dinov3 => "DINOv3ViTImageProcessor",
            Self::Janus => "JanusImageProcessor",
            Self::LlavaNext | Self::LlavaOnevision => "LlavaNext- or LlavaOnevisionImageProcessor",
            _ => "CLIP-, Bit-, Llava-, Siglip-, ViT-, Idefics-, Blip- or Gemma3ImageProcessor",
        }
    }
}

/// The settings, read key by key.
pub(super) struct Settings<'a> {
    value: &'a Value,
    /// The keys that were asked for.
    asked: RefCell<BTreeSet<String>>,
}

impl<'a> Settings<'a> {
    pub(super) fn of(settings: &'a Value) -> Result<Self> {
        match settings.is_object() {
            true => Ok(Self { value: settings, asked: RefCell::default() }),
            false => Err(wrong("the top", "an object", settings)),
        }
    }

    /// The keys that were read, or say nothing beside those.
    pub(super) fn asked(self) -> BTreeSet<String> {
        self.asked.into_inner()
    }

    /// Says that these change nothing beside what else is set.
    pub(super) fn without_effect(&self, keys: &[&str]) {
        self.asked.borrow_mut().extend(keys.iter().map(|key| (*key).to_owned()));
    }

    /// The class that the settings name, `default` where they name none. `CLIPFeatureExtractor` is its
    /// older name; `Fast` and `Pil` name other code for the same.
    pub(super) fn style(&self, default: Style) -> Result<Style> {
        const KEY: &str = "image_processor_type";
        let Some(value) = self.get(KEY).or_else(|| self.get("feature_extractor_type")) else {
            return Ok(default);
        };
        let name = value.as_str().unwrap_or_default();
        let name = plain_name(name);
        let stem = name.strip_suffix("ImageProcessor").or(name.strip_suffix("FeatureExtractor"));
        let style = match stem {
            Some("CLIP" | "Bit" | "Llava") => Some(Style::Clip),
            Some("Siglip") => Some(Style::Siglip),
            Some("ViT") => Some(Style::Vit),
            Some("Idefics") => Some(Style::Idefics),
            Some("Blip") => Some(Style::Blip),
            Some("Gemma3") => Some(Style::Gemma3),
            Some("Idefics3" | "SmolVLM") => Some(Style::Idefics3),
            Some("Siglip2") => Some(Style::Siglip2),
            Some("GotOcr2") => Some(Style::GotOcr2),
            Some("Janus") => Some(Style::Janus),
            Some("DINOv3ViT") => Some(Style::Dinov3),
            Some("LlavaNext") => Some(Style::LlavaNext),
            Some("LlavaOnevision") => Some(Style::LlavaOnevision),
            _ => None,
        };
        let style = style.filter(|style| style.lays_out_as(default));
        style.ok_or_else(|| wrong(KEY, default.expected(), value))
    }

    /// That the class at `key`, where one is named, is one of these processors.
    pub(super) fn class(&self, key: &'static str, known: &[&str]) -> Result<()> {
        let Some(value) = self.get(key) else { return Ok(()) };
        let name = value.as_str().map(plain_name).and_then(|name| name.strip_suffix("Processor"));
        match name.is_some_and(|name| known.contains(&name)) {
            true => Ok(()),
            false => Err(wrong(key, &format!("{}Processor", known.join("- or ")), value)),
        }
    }

    pub(super) fn geometry(&self, style: Style) -> Result<Geometry> {
        let resizes = self.flag("do_resize", true)?;
        match style {
            Style::Idefics3 | Style::Siglip2 | Style::GotOcr2 | Style::Dinov3 | Style::Janus
                if !resizes =>
            {
                Err(wrong("do_resize", "true", &Value::Bool(false)))
            }
            Style::Idefics3 => self.tiles(),
            Style::Siglip2 => self.patches(),
            Style::LlavaNext | Style::LlavaOnevision => self.anyres(style),
            Style::GotOcr2 => self.row(),
            Style::Dinov3 => self.smooth(),
            Style::Janus => self.padded(),
            _ => self.whole(style, resizes),
        }
    }

    /// `default` where the settings name none.
    pub(super) fn filter(&self, style: Style) -> Result<Filter> {
        const KEY: &str = "resample";
        let Some(value) = self.get(KEY) else {
            return Ok(match style {
                Style::Vit | Style::Siglip2 | Style::Gemma3 | Style::Dinov3 => Filter::Bilinear,
                Style::Idefics3 => Filter::Lanczos,
                _ => Filter::Bicubic,
            });
        };
        let place = value.as_u64().and_then(|n| usize::try_from(n).ok());
        let filter = place.and_then(|place| Filter::ALL.get(place)).copied();
        filter.ok_or_else(|| wrong(KEY, "a filter of Pillow's, 0 to 5", value))
    }

    pub(super) fn values(&self, style: Style) -> Result<Values> {
        const FACTOR: &str = "rescale_factor";
        /// Radford et al. 2021, `clip.py`.
        const CLIP: [[f32; 3]; 2] =
            [[0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_6, 0.275_777_1]];
        /// Of ImageNet's pictures, as torchvision has them.
        const IMAGENET: [[f32; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];
        let factor = match self.get(FACTOR) {
            _ if !self.flag("do_rescale", true)? => 1.0,
            None => 1.0 / 255.0,
            Some(value) => {
                positive(value).ok_or_else(|| wrong(FACTOR, "a number above 0", value))?
            }
        };
        if !self.flag("do_normalize", true)? {
            self.without_effect(&["image_mean", "image_std"]);
            return Ok(Values { factor, mean: [0.0; 3], std: [1.0; 3] });
        }
        let [mean, std] = match style {
            Style::Clip
            | Style::OpenClip
            | Style::Idefics
            | Style::Blip
            | Style::GotOcr2
            | Style::Janus
            | Style::LlavaNext
            | Style::LlavaOnevision => CLIP,
            Style::Siglip | Style::Vit | Style::Idefics3 | Style::Siglip2 | Style::Gemma3 => {
                [[0.5; 3]; 2]
            }
            Style::Dinov3 => IMAGENET,
        };
        let mean = self.channels("image_mean", mean, |_| true)?;
        let std = self.channels("image_std", std, |std| std > 0.0)?;
        Ok(Values { factor, mean, std })
    }

    fn whole(&self, style: Style, resizes: bool) -> Result<Geometry> {
        if style == Style::Gemma3 {
            self.pans()?;
        }
        // Read below where what they are for is done.
        self.without_effect(&["size", "crop_size", "do_center_crop", "default_to_square"]);
        let whole = self.flag("do_pad", false)?;
        // Ours is in a colour of its own, LLaVA's in that of `image_mean`, before the picture is scaled.
        let pads = whole && self.get("background_color").is_some();
        let square = (whole && !pads).then(|| self.mean_colour(style)).transpose()?;
        let resize = match (resizes, pads) {
            (true, true) => Some(self.longest()?),
            (true, false) => Some(self.resize(style)?),
            (false, _) => None,
        };
        let crops = matches!(style, Style::Clip | Style::OpenClip);
        let frame = match pads {
            true => Some(Frame::Pad(self.background()?)),
            false if self.flag("do_center_crop", crops)? => {
                let half = if style == Style::OpenClip { Half::Even } else { Half::Down };
                Some(Frame::Crop(self.crop()?, half))
            }
            false => None,
        };
        let size = match (frame, resize) {
            (Some(Frame::Crop(size, _)), _) | (None, Some(Resize::Exact(size))) => size,
            (Some(Frame::Pad(_)), Some(Resize::Longest(n))) => [n; 2],
            _ => {
                let got = self.get("size").unwrap_or(&Value::Null);
                return Err(wrong("size", "height and width, or a crop or a pad to one size", got));
            }
        };
        Ok(Geometry::Whole { square, resize, frame, size })
    }

    /// Defaults are those of `DINOv3ViTImageProcessor`.
    fn smooth(&self) -> Result<Geometry> {
        self.without_effect(&["crop_size", "default_to_square"]);
        for key in ["do_center_crop", "do_pad"] {
            if self.flag(key, false)? {
                return Err(wrong(key, "false", &Value::Bool(true)));
            }
        }
        let size = self.get("size").cloned().unwrap_or_else(|| Value::from(224));
        let square = edge(Some(&size)).map(|n| [n; 2]).or_else(|| both(&size));
        let square = square.ok_or_else(|| wrong("size", "a number, or height and width", &size))?;
        Ok(Geometry::Smooth(square))
    }

    /// Defaults are those of `JanusImageProcessor`, which pads with its mean's colour whatever is said of it.
    fn padded(&self) -> Result<Geometry> {
        const LEAST: &str = "min_size";
        self.without_effect(&[
            "background_color",
            "default_to_square",
            "do_center_crop",
            "crop_size",
        ]);
        if !self.flag("do_pad", true)? {
            return Err(wrong("do_pad", "true", &Value::Bool(false)));
        }
        if !self.flag("do_normalize", true)? {
            return Err(wrong("do_normalize", "true", &Value::Bool(false)));
        }
        let edge = match self.get("size") {
            None => 384,
            Some(value) => square(value).ok_or_else(|| wrong("size", "a square", value))?,
        };
        let least = self.count(LEAST, 14, MAX_SIZE)?;
        if least > edge {
            let expected = format!("at most {edge}, as size");
            return Err(wrong(LEAST, &expected, &Value::from(least)));
        }
        let frame = Some(Frame::Pad(self.mean_colour(Style::Janus)?));
        let resize = Some(Resize::LongestOrLeast(edge, least));
        Ok(Geometry::Whole { square: None, resize, frame, size: [edge; 2] })
    }

    /// That a picture is not looked at a second time in parts, as Gemma 3's never was by default.
    fn pans(&self) -> Result<()> {
        const KEY: &str = "do_pan_and_scan";
        self.without_effect(&[
            "image_seq_length",
            "pan_and_scan_max_num_crops",
            "pan_and_scan_min_crop_size",
            "pan_and_scan_min_ratio_to_activate",
        ]);
        match self.flag(KEY, false)? {
            true => Err(wrong(KEY, "false", &Value::Bool(true))),
            false => Ok(()),
        }
    }

    /// Defaults are those of `Idefics3ImageProcessor`.
    fn tiles(&self) -> Result<Geometry> {
        // Pads tiles for a batch, and hides that again; what a program gives back besides.
        self.without_effect(&["do_pad", "return_row_col_info"]);
        let resize = match self.get("size") {
            None => Resize::Longest(4 * 364),
            Some(value) => match (edge(value.get("longest_edge")), both(value)) {
                (Some(n), _) => Resize::Longest(n),
                (None, Some(size)) => Resize::Exact(size),
                _ => return Err(wrong("size", "{\"longest_edge\": n}", value)),
            },
        };
        let tile = match self.get("max_image_size") {
            None => 364,
            Some(value) => edge(value.get("longest_edge"))
                .ok_or_else(|| wrong("max_image_size", "{\"longest_edge\": n}", value))?,
        };
        let longest = match resize {
            Resize::Longest(n) | Resize::Shortest(n) | Resize::LongestOrLeast(n, _) => n,
            Resize::Exact([height, width]) => height.max(width),
        };
        if longest.div_ceil(tile) > MAX_TILES {
            let expected = format!("an edge of at most {MAX_TILES} tiles of {tile} pixels");
            return Err(wrong("size", &expected, &Value::from(longest)));
        }
        // How many frames are taken of a video is said by who asks.
        let frame = match self.get("video_sampling").and_then(|value| value.get("video_size")) {
            None => resize,
            Some(value) => {
                edge(value.get("longest_edge")).map(Resize::Longest).ok_or_else(|| {
                    wrong("video_sampling", "{\"longest_edge\": n} as video_size", value)
                })?
            }
        };
        let split = self.flag("do_image_splitting", true)?;
        Ok(Geometry::Tiles { resize, frame, tile, split })
    }

    /// Defaults are those of `Siglip2ImageProcessor`.
    fn patches(&self) -> Result<Geometry> {
        let most = self.count("max_num_patches", 256, MAX_PATCHES)?;
        let patch = self.count("patch_size", 16, MAX_SIZE)?;
        if u64::from(most) * u64::from(patch).pow(2) > MAX_PIXELS {
            let expected = format!("at most {MAX_PIXELS} pixels in {most} patches");
            return Err(wrong("patch_size", &expected, &Value::from(patch)));
        }
        Ok(Geometry::Patches { patch, most })
    }

    /// Defaults are those of `LlavaNextImageProcessor` and `LlavaOnevisionImageProcessor`.
    fn anyres(&self, style: Style) -> Result<Geometry> {
        const KEY: &str = "image_grid_pinpoints";
        // Tiles are of one size as they are cut; pads tiles for a batch, and hides that again; said again
        // by the canvases.
        self.without_effect(&["do_resize", "do_center_crop", "do_pad", "aspect_ratio_setting"]);
        let next = style == Style::LlavaNext;
        let tile = match self.get("size") {
            None if next => 224,
            None => 384,
            Some(value) => square(value)
                .ok_or_else(|| wrong("size", "{\"shortest_edge\": n} or a square", value))?,
        };
        match self.get("crop_size") {
            Some(value) if square(value) != Some(tile) => {
                return Err(wrong(
                    "crop_size",
                    &format!("a square of {tile} pixels, as size"),
                    value,
                ));
            }
            None if next && tile != 224 => {
                return Err(wrong("size", "224, the default of crop_size", &Value::from(tile)));
            }
            _ => {}
        }
        let usual = if next { anyres::next() } else { anyres::onevision() };
        let value = self.get(KEY).cloned().unwrap_or_else(|| serde_json::json!(usual));
        let pinpoints = pinpoints(&value, tile).ok_or_else(|| {
            let expected = format!("canvases of up to {MAX_TILES} tiles of {tile} pixels an edge");
            wrong(KEY, &expected, &value)
        })?;
        let among = (!next).then(|| self.mean_colour(style)).transpose()?;
        Ok(Geometry::Anyres(Anyres { pinpoints, tile, among }))
    }

    /// Defaults are those of `GotOcr2ImageProcessor`; InternVL's processor cuts whatever is said of it.
    fn row(&self) -> Result<Geometry> {
        self.without_effect(&["crop_to_patches"]);
        let tile = match self.get("size") {
            None => 384,
            Some(value) => square(value).ok_or_else(|| wrong("size", "a square", value))?,
        };
        let most = MAX_TILES * MAX_TILES;
        let tiles = [self.count("min_patches", 1, most)?, self.count("max_patches", 12, most)?];
        Ok(Geometry::Row(Row { tile, tiles }))
    }

    fn resize(&self, style: Style) -> Result<Resize> {
        const KEY: &str = "size";
        const SIDE: &str = "image_size";
        if let Some(value) = self.get(SIDE).filter(|_| style == Style::Idefics) {
            let side = edge(Some(value)).ok_or_else(|| wrong(SIDE, "a number", value))?;
            return Ok(Resize::Exact([side; 2]));
        }
        let expected = "a number, {\"shortest_edge\": n} or {\"height\": n, \"width\": n}";
        let Some(value) = self.get(KEY) else {
            return Ok(match style {
                Style::Clip | Style::OpenClip => Resize::Shortest(224),
                Style::Blip => Resize::Exact([384; 2]),
                _ => Resize::Exact([224; 2]),
            });
        };
        if let Some(n) = edge(Some(value)) {
            let square = !matches!(style, Style::Clip | Style::OpenClip | Style::Siglip);
            return Ok(match self.flag("default_to_square", square)? {
                true => Resize::Exact([n; 2]),
                false => Resize::Shortest(n),
            });
        }
        let longest = value.get("longest_edge").is_some_and(|value| !value.is_null());
        match (edge(value.get("shortest_edge")), both(value)) {
            (Some(n), _) if !longest => Ok(Resize::Shortest(n)),
            (None, Some(size)) => Ok(Resize::Exact(size)),
            _ => Err(wrong(KEY, expected, value)),
        }
    }

    fn crop(&self) -> Result<[u32; 2]> {
        const KEY: &str = "crop_size";
        let Some(value) = self.get(KEY) else { return Ok([224; 2]) };
        let size = edge(Some(value)).map(|n| [n; 2]).or_else(|| both(value));
        size.ok_or_else(|| wrong(KEY, "a number or {\"height\": n, \"width\": n}", value))
    }

    /// What is padded afterwards.
    fn longest(&self) -> Result<Resize> {
        let value = self.get("size").unwrap_or(&Value::Null);
        let longest = edge(value.get("longest_edge")).map(Resize::Longest);
        longest.ok_or_else(|| wrong("size", "{\"longest_edge\": n} where do_pad is true", value))
    }

    /// The mean as a colour, its fractions cut off.
    fn mean_colour(&self, style: Style) -> Result<[u8; 3]> {
        Ok(self.values(style)?.mean.map(|mean| (f64::from(mean) * 255.0) as u8))
    }

    fn background(&self) -> Result<[u8; 3]> {
        const KEY: &str = "background_color";
        let value = self.get(KEY).unwrap_or(&Value::Null);
        let colour = serde_json::from_value(value.clone());
        colour.map_err(|_| wrong(KEY, "three levels of 0 to 255 where do_pad is true", value))
    }

    /// A number of 1 to `most`.
    pub(super) fn count(&self, key: &'static str, default: u32, most: u32) -> Result<u32> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let n = value.as_u64().and_then(|n| u32::try_from(n).ok());
        let n = n.filter(|n| (1..=most).contains(n));
        n.ok_or_else(|| wrong(key, &format!("a whole number of 1 to {most}"), value))
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.without_effect(&[key]);
        self.value.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn flag(&self, key: &'static str, default: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| wrong(key, "true or false", value)),
        }
    }

    /// One number for each channel, or one for all.
    fn channels(
        &self,
        key: &'static str,
        default: [f32; 3],
        is_valid: impl Fn(f32) -> bool,
    ) -> Result<[f32; 3]> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let number = |value: &Value| {
            let number = value.as_f64()? as f32;
            (number.is_finite() && is_valid(number)).then_some(number)
        };
        let numbers = match value {
            Value::Array(values) => values.iter().map(number).collect::<Option<Vec<f32>>>(),
            one => number(one).map(|one| vec![one; 3]),
        };
        let three = numbers.and_then(|numbers| <[f32; 3]>::try_from(numbers).ok());
        three.ok_or_else(|| wrong(key, "three numbers, a deviation above 0", value))
    }
}

/// A class's name without what names other code for the same.
fn plain_name(name: &str) -> &str {
    name.strip_suffix("Fast").or_else(|| name.strip_suffix("Pil")).unwrap_or(name)
}

fn edge(value: Option<&Value>) -> Option<u32> {
    let n = u32::try_from(value?.as_u64()?).ok()?;
    (1..=MAX_SIZE).contains(&n).then_some(n)
}

/// Height and width, of an object or a list.
fn both(value: &Value) -> Option<[u32; 2]> {
    let (height, width) = match value {
        Value::Array(size) if size.len() == 2 => (size.first(), size.get(1)),
        _ => (value.get("height"), value.get("width")),
    };
    Some([edge(height)?, edge(width)?])
}

/// The side of a square, in all spellings.
fn square(value: &Value) -> Option<u32> {
    let same = both(value).filter(|[height, width]| height == width).map(|[side, _]| side);
    edge(Some(value)).or_else(|| edge(value.get("shortest_edge"))).or(same)
}

/// Canvases of whole tiles.
fn pinpoints(value: &Value, tile: u32) -> Option<Vec<[u32; 2]>> {
    let whole = |edge: &u32| edge.is_multiple_of(tile) && edge / tile <= MAX_TILES;
    let canvas = |value: &Value| both(value).filter(|edges| edges.iter().all(whole));
    let all: Option<Vec<_>> = value.as_array()?.iter().map(canvas).collect();
    all.filter(|all| (1..=MAX_CANVASES).contains(&all.len()))
}

fn positive(value: &Value) -> Option<f64> {
    value.as_f64().filter(|x| x.is_finite() && *x > 0.0 && *x <= 1e6)
}

pub(super) fn wrong(place: &str, expected: &str, got: &Value) -> Error {
    let (place, expected) = (place.into(), expected.into());
    Error::Processor { place, expected, got: quote(&got.to_string()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ImageProcessor;

    fn read(settings: &Value, style: Style) -> Result<ImageProcessor> {
        ImageProcessor::from_json(settings, style)
    }

    fn resize_of(processor: &ImageProcessor) -> Option<Resize> {
        match processor.geometry {
            Geometry::Whole { resize, .. } => resize,
            _ => panic!("{processor:?}"),
        }
    }

    #[test]
    fn sizes_in_all_spellings() {
        let cases = [
            (json!({}), Some(Resize::Shortest(224)), [224, 224]),
            (json!({"size": 30, "crop_size": 20}), Some(Resize::Shortest(30)), [20, 20]),
            (
                json!({"size": {"shortest_edge": 30}, "crop_size": {"height": 20, "width": 21}}),
                Some(Resize::Shortest(30)),
                [20, 21],
            ),
            (
                json!({"size": {"height": 9, "width": 8}, "do_center_crop": false}),
                Some(Resize::Exact([9, 8])),
                [9, 8],
            ),
            (json!({"size": [9, 8], "do_center_crop": false}), Some(Resize::Exact([9, 8])), [9, 8]),
            (json!({"do_resize": false, "crop_size": 5}), None, [5, 5]),
            (
                json!({"image_processor_type": "SiglipImageProcessorFast"}),
                Some(Resize::Exact([224; 2])),
                [224, 224],
            ),
            (
                json!({"feature_extractor_type": "ViTFeatureExtractor", "size": 16}),
                Some(Resize::Exact([16; 2])),
                [16, 16],
            ),
            (
                json!({"image_processor_type": "IdeficsImageProcessor", "image_size": 20, "size": 9}),
                Some(Resize::Exact([20; 2])),
                [20, 20],
            ),
        ];
        for (settings, resize, size) in cases {
            let got =
                read(&settings, Style::Clip).unwrap_or_else(|error| panic!("{settings}: {error}"));
            assert_eq!((resize_of(&got), got.size()), (resize, Some(size)), "{settings}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for settings in [
            json!([]),
            json!({"size": 0}),
            json!({"size": 1e9}),
            json!({"size": {"longest_edge": 30}}),
            json!({"size": {"shortest_edge": 30, "longest_edge": 40}}),
            json!({"size": "224"}),
            json!({"do_center_crop": false}),
            json!({"do_center_crop": "no"}),
            json!({"crop_size": {"height": 20}}),
            json!({"crop_size": 4097}),
            json!({"resample": 6}),
            json!({"resample": "bicubic"}),
            json!({"image_std": [0.5, 0.5, 0]}),
            json!({"image_mean": [0.5, 0.5]}),
            json!({"rescale_factor": -1}),
            json!({"image_processor_type": "Siglip2ImageProcessor"}),
            json!({"image_processor_type": "IdeficsImageProcessor", "image_size": [20, 20]}),
            json!({"image_processor_type": 3}),
        ] {
            let text = read(&settings, Style::Clip).expect_err(&settings.to_string()).to_string();
            assert!(text.contains("\nhint: "), "{text}");
        }
    }

    #[test]
    fn other_layouts_and_their_limits_are_refused() {
        for (style, settings) in [
            (Style::Idefics3, json!(3)),
            (Style::Idefics3, json!({"do_resize": false})),
            (Style::Idefics3, json!({"size": {"shortest_edge": 3}})),
            (
                Style::Idefics3,
                json!({"size": {"longest_edge": 4000}, "max_image_size": {"longest_edge": 8}}),
            ),
            (Style::Idefics3, json!({"max_image_size": {"longest_edge": 0}})),
            (Style::Idefics3, json!({"image_processor_type": "CLIPImageProcessor"})),
            (Style::Idefics3, json!({"resample": 9})),
            (Style::Gemma3, json!({"do_pan_and_scan": true})),
            (Style::GotOcr2, json!({"do_resize": false})),
            (Style::GotOcr2, json!({"max_patches": 0})),
            (Style::GotOcr2, json!({"size": {"height": 4, "width": 5}})),
            (Style::GotOcr2, json!({"image_processor_type": "CLIPImageProcessor"})),
            (Style::LlavaNext, json!({})),
            (Style::LlavaNext, json!({"size": 336})),
            (Style::LlavaNext, json!({"size": 336, "crop_size": 224})),
            (Style::LlavaNext, json!({"size": {"height": 336, "width": 300}, "crop_size": 336})),
            (Style::LlavaNext, json!({"image_processor_type": "LlavaImageProcessor"})),
            (Style::LlavaOnevision, json!({"image_grid_pinpoints": []})),
            (Style::LlavaOnevision, json!({"image_grid_pinpoints": [[384, 500]]})),
            (Style::LlavaOnevision, json!({"image_grid_pinpoints": [[384, 384, 384]]})),
            (
                Style::LlavaOnevision,
                json!({"size": {"height": 8, "width": 8}, "image_grid_pinpoints": [[1024, 8]]}),
            ),
            (Style::Siglip2, json!([])),
            (Style::Siglip2, json!({"max_num_patches": 0})),
            (Style::Siglip2, json!({"max_num_patches": 4097})),
            (Style::Siglip2, json!({"max_num_patches": "256"})),
            (Style::Siglip2, json!({"patch_size": [16, 16]})),
            (Style::Siglip2, json!({"patch_size": 4096})),
            (Style::Siglip2, json!({"patch_size": -1})),
            (Style::Siglip2, json!({"do_resize": false})),
            (Style::Siglip2, json!({"resample": 9})),
            (Style::Siglip2, json!({"image_std": 0})),
            (Style::Siglip2, json!({"image_processor_type": "SiglipImageProcessor"})),
        ] {
            let text = read(&settings, style).expect_err(&settings.to_string()).to_string();
            assert!(text.contains("\nhint: "), "{text}");
        }
    }

    #[test]
    fn a_pad_needs_a_square_and_a_colour() {
        let good =
            json!({"do_pad": true, "size": {"longest_edge": 9}, "background_color": [1, 2, 3]});
        assert_eq!(read(&good, Style::Clip).unwrap().size(), Some([9, 9]));
        for (key, value) in [
            ("size", json!(9)),
            ("background_color", Value::Null),
            ("background_color", json!([1, 2, 256])),
            ("do_resize", json!(false)),
        ] {
            let mut bad = good.clone();
            bad[key] = value;
            assert!(read(&bad, Style::Clip).is_err(), "{bad}");
        }
    }
}
