//! Pictures to planes as a published `preprocessor_config.json` says, equal to transformers' own
//! (its Pillow backend) up to the rounding of one level.
//!
//! ```text
//! picture ──resize──▶ ──centre crop──▶ u8 [h, w, 3] ──· rescale──▶ ──− mean, / std──▶ f32 [3, h, w]
//! ```
//! One difference remains: transparency is put on white, where transformers shows what lies under it.

use serde_json::Value;

use crate::picture::Picture;
use crate::resample::{Filter, Window};
use crate::tokenizer_json::quote;
use crate::{Error, Result};

/// Longest edge that a model reads, in pixels.
const MAX_SIZE: u64 = 4096;

/// What a checkpoint leaves out is as its class in transformers has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `CLIPImageProcessor`, LLaVA's, and DINOv2's `BitImageProcessor`: shorter edge to 224, middle of it.
    Clip,
    /// `SiglipImageProcessor`: both edges to 224, values in -1..=1.
    Siglip,
    /// `ViTImageProcessor`: as SigLIP, a lone number is both edges, bilinear.
    Vit,
    /// `IdeficsImageProcessor`: both edges to `image_size`, values as CLIP has them.
    Idefics,
    /// `BlipImageProcessor`: both edges to 384, a lone number is both, values as CLIP has them.
    Blip,
}

impl Style {
    fn filter(self) -> Filter {
        if self == Self::Vit { Filter::Bilinear } else { Filter::Bicubic }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Resize {
    /// Height and width, whatever the ratio.
    Exact([u32; 2]),
    /// The shorter edge, with the ratio kept.
    Shortest(u32),
}

/// A published image processor whose pictures all end at one size.
#[derive(Clone, Debug, PartialEq)]
pub struct HubProcessor {
    resize: Option<Resize>,
    filter: Filter,
    /// Height and width.
    crop: Option<[u32; 2]>,
    /// The plane's value of each of 256 levels, for each channel.
    levels: [Vec<f32>; 3],
    /// Height and width of what comes out.
    size: [u32; 2],
}

impl HubProcessor {
    /// Reads the settings. Their own class, where they name one, goes before `style`.
    ///
    /// # Errors
    /// [`Error::Processor`] for a setting that is damaged or asks for what is not done here, and for
    /// pictures that would not all end at one size.
    pub fn from_json(settings: &Value, style: Style) -> Result<Self> {
        let settings = Settings::of(settings)?;
        let style = settings.style()?.unwrap_or(style);
        if settings.flag("do_pad", false)? {
            return Err(wrong("do_pad", "false", &Value::Bool(true)));
        }
        let resize = match settings.flag("do_resize", true)? {
            true => Some(settings.resize(style)?),
            false => None,
        };
        let crop = match settings.flag("do_center_crop", style == Style::Clip)? {
            true => Some(settings.crop()?),
            false => None,
        };
        let size = match (crop, resize) {
            (Some(size), _) | (None, Some(Resize::Exact(size))) => size,
            (None, _) => {
                let got = settings.get("size").unwrap_or(&Value::Null);
                return Err(wrong("size", "height and width, or a crop to one size", got));
            }
        };
        let levels = settings.levels(style)?;
        Ok(Self { resize, filter: settings.filter(style.filter())?, crop, levels, size })
    }

    /// Height and width of every picture that comes out.
    pub fn size(&self) -> [u32; 2] {
        self.size
    }

    /// The picture at that size, before its values are scaled.
    pub fn fit(&self, picture: &Picture) -> Picture {
        let [height, width] = match self.resize {
            Some(Resize::Exact(size)) => size,
            Some(Resize::Shortest(n)) => {
                let (width, height) = picture.shortest_edge_size(n);
                [height, width]
            }
            None => [picture.height, picture.width],
        };
        let [to_height, to_width] = self.crop.unwrap_or([height, width]);
        // Only what is kept is ever made: a 1x16384 picture scaled whole would need gigabytes.
        let small =
            picture.resize_window(self.filter, middle(width, to_width), middle(height, to_height));
        if (small.width, small.height) == (to_width, to_height) {
            return small;
        }
        let (left, top) = (before(small.width, to_width), before(small.height, to_height));
        small.placed(to_width, to_height, left, top, [0; 3])
    }

    /// `[3, h, w]`: planes of red, green, blue.
    pub fn process(&self, picture: &Picture) -> Vec<f32> {
        self.planes(&self.fit(picture))
    }

    /// `[3, h, w]`: planes of red, green, blue of a picture that [fits](Self::fit).
    pub fn planes(&self, fitted: &Picture) -> Vec<f32> {
        planes(fitted, &self.levels)
    }
}

/// `[3, h, w]`: each channel's values for the levels of a picture of that size.
pub(crate) fn planes(picture: &Picture, levels: &[Vec<f32>; 3]) -> Vec<f32> {
    let planes = levels.iter().enumerate().flat_map(|(c, levels)| {
        let values = picture.pixels.iter().skip(c).step_by(3);
        values.map(|value| levels[usize::from(*value)])
    });
    planes.collect()
}

/// The middle `kept` pixels of `full`, all of them if there are fewer. Half the excess rounded down,
/// where torchvision rounds to even.
fn middle(full: u32, kept: u32) -> Window {
    let len = kept.min(full);
    Window { full, start: (full - len) / 2, len }
}

/// Black pixels before a picture that is smaller than its crop; the odd one stands before it.
fn before(have: u32, want: u32) -> u32 {
    (want - have).div_ceil(2)
}

/// The settings, read key by key.
pub(crate) struct Settings<'a>(pub(crate) &'a Value);

impl<'a> Settings<'a> {
    pub(crate) fn of(settings: &'a Value) -> Result<Self> {
        match settings.is_object() {
            true => Ok(Self(settings)),
            false => Err(wrong("the top", "an object", settings)),
        }
    }

    /// Settings of a processor that resizes and whose name, where there is one, begins with one of
    /// `names`.
    pub(crate) fn named(settings: &'a Value, names: &[&str], expected: &str) -> Result<Self> {
        const TYPE: &str = "image_processor_type";
        let settings = Self::of(settings)?;
        if let Some(value) = settings.get(TYPE) {
            let name = value.as_str().unwrap_or_default();
            if !names.iter().any(|known| name.starts_with(known)) {
                return Err(wrong(TYPE, expected, value));
            }
        }
        match settings.flag("do_resize", true)? {
            true => Ok(settings),
            false => Err(wrong("do_resize", "true", &Value::Bool(false))),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    pub(crate) fn flag(&self, key: &'static str, default: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| wrong(key, "true or false", value)),
        }
    }

    /// The class that the settings name. `CLIPFeatureExtractor` is its older name; `Fast` and `Pil`
    /// name other code for the same.
    fn style(&self) -> Result<Option<Style>> {
        const KEY: &str = "image_processor_type";
        let Some(value) = self.get(KEY).or_else(|| self.get("feature_extractor_type")) else {
            return Ok(None);
        };
        let name = value.as_str().unwrap_or_default();
        let name = name.strip_suffix("Fast").or_else(|| name.strip_suffix("Pil")).unwrap_or(name);
        let stem = name.strip_suffix("ImageProcessor").or(name.strip_suffix("FeatureExtractor"));
        match stem {
            Some("CLIP" | "Bit" | "Llava") => Ok(Some(Style::Clip)),
            Some("Siglip") => Ok(Some(Style::Siglip)),
            Some("ViT") => Ok(Some(Style::Vit)),
            Some("Idefics") => Ok(Some(Style::Idefics)),
            Some("Blip") => Ok(Some(Style::Blip)),
            _ => Err(wrong(
                KEY,
                "CLIP-, Bit-, Llava-, Siglip-, ViT-, Idefics- or BlipImageProcessor",
                value,
            )),
        }
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
                Style::Clip => Resize::Shortest(224),
                Style::Siglip | Style::Vit | Style::Idefics => Resize::Exact([224; 2]),
                Style::Blip => Resize::Exact([384; 2]),
            });
        };
        if let Some(n) = edge(Some(value)) {
            return Ok(match style {
                Style::Clip | Style::Siglip => Resize::Shortest(n),
                Style::Vit | Style::Idefics | Style::Blip => Resize::Exact([n; 2]),
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

    /// `default` where the settings name none.
    pub(crate) fn filter(&self, default: Filter) -> Result<Filter> {
        const KEY: &str = "resample";
        match self.get(KEY) {
            None => Ok(default),
            Some(value) => {
                let place = value.as_u64().and_then(|n| usize::try_from(n).ok());
                let filter = place.and_then(|place| Filter::ALL.get(place)).copied();
                filter.ok_or_else(|| wrong(KEY, "a filter of Pillow's, 0 to 5", value))
            }
        }
    }

    /// In `f32` after the first product, as NumPy computes it there.
    pub(crate) fn levels(&self, style: Style) -> Result<[Vec<f32>; 3]> {
        const FACTOR: &str = "rescale_factor";
        let factor = match self.get(FACTOR) {
            _ if !self.flag("do_rescale", true)? => 1.0,
            None => 1.0 / 255.0,
            Some(value) => {
                positive(value).ok_or_else(|| wrong(FACTOR, "a number above 0", value))?
            }
        };
        let (mut mean, mut std) = ([0.0; 3], [1.0; 3]);
        if self.flag("do_normalize", true)? {
            let clip = crate::ImageProcessor::clip(224);
            let (own_mean, own_std) = match style {
                Style::Clip | Style::Idefics | Style::Blip => (clip.mean, clip.std),
                Style::Siglip | Style::Vit => ([0.5; 3], [0.5; 3]),
            };
            mean = self.channels("image_mean", own_mean, |_| true)?;
            std = self.channels("image_std", own_std, |std| std > 0.0)?;
        }
        let level = |c: usize| {
            let scaled = (0..=255_u8).map(|value| (f64::from(value) * factor) as f32);
            scaled.map(|value| (value - mean[c]) / std[c]).collect()
        };
        Ok([level(0), level(1), level(2)])
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

pub(crate) fn edge(value: Option<&Value>) -> Option<u32> {
    value?.as_u64().filter(|n| (1..=MAX_SIZE).contains(n)).map(|n| n as u32)
}

/// Height and width, of an object or a list.
pub(crate) fn both(value: &Value) -> Option<[u32; 2]> {
    let (height, width) = match value {
        Value::Array(size) if size.len() == 2 => (size.first(), size.get(1)),
        _ => (value.get("height"), value.get("width")),
    };
    Some([edge(height)?, edge(width)?])
}

fn positive(value: &Value) -> Option<f64> {
    value.as_f64().filter(|x| x.is_finite() && *x > 0.0 && *x <= 1e6)
}

pub(crate) fn wrong(place: &'static str, expected: &str, got: &Value) -> Error {
    Error::Processor { place, expected: expected.into(), got: quote(&got.to_string()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(settings: Value) -> Result<HubProcessor> {
        HubProcessor::from_json(&settings, Style::Clip)
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
            let got = read(settings.clone()).unwrap_or_else(|error| panic!("{settings}: {error}"));
            assert_eq!((got.resize, got.size()), (resize, size), "{settings}");
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
            json!({"do_pad": true}),
            json!({"image_processor_type": "Siglip2ImageProcessor"}),
            json!({"image_processor_type": "IdeficsImageProcessor", "image_size": [20, 20]}),
            json!({"image_processor_type": 3}),
        ] {
            let text = read(settings.clone()).expect_err(&settings.to_string()).to_string();
            assert!(text.contains("\nhint: "), "{text}");
        }
    }

    #[test]
    fn thin_pictures_cost_no_memory() {
        let thin = Picture::filled(1, 16_384, [7; 3]);
        let fitted = read(json!({"size": 400, "crop_size": 300})).unwrap().fit(&thin);
        assert_eq!(fitted, Picture::filled(300, 300, [7; 3]));
    }
}
