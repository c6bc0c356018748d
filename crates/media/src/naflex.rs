//! Pictures that keep their ratio and fill a number of patches, as SigLIP 2 reads them, equal to
//! transformers' own (its Pillow backend).
//!
//! Tschannen et al. 2025, <https://arxiv.org/abs/2502.14786>, section 2.4.1: NaFlex
//!
//! ```text
//! picture ──largest scale at which both edges, up to multiples of a patch, make few enough──▶ planes
//! ```

use serde_json::Value;

use crate::Result;
use crate::hub_processor::{Settings, Style, planes, wrong};
use crate::picture::Picture;
use crate::resample::{Filter, Window};

/// Most patches of a picture: attention over more than the square of it costs gigabytes. The paper
/// goes to 1024.
const MAX_PATCHES: u64 = 4096;
/// Most pixels of a picture that fills them.
const MAX_PIXELS: u64 = 4096 * 4096;

/// A published image processor whose pictures end at sizes of their own.
#[derive(Clone, Debug, PartialEq)]
pub struct NaflexProcessor {
    patch: u32,
    most: u32,
    filter: Filter,
    levels: [Vec<f32>; 3],
}

impl NaflexProcessor {
    /// Reads the settings; defaults are those of `Siglip2ImageProcessor`.
    ///
    /// # Errors
    /// [`Error::Processor`](crate::Error::Processor) for a setting that is damaged or asks for what is
    /// not done here.
    pub fn from_json(settings: &Value) -> Result<Self> {
        let settings =
            Settings::named(settings, &["Siglip2ImageProcessor"], "Siglip2ImageProcessor")?;
        let most = count(&settings, "max_num_patches", 256, MAX_PATCHES)?;
        let patch = count(&settings, "patch_size", 16, 4096)?;
        if u64::from(most) * u64::from(patch).pow(2) > MAX_PIXELS {
            let expected = format!("at most {MAX_PIXELS} pixels in {most} patches");
            return Err(wrong("patch_size", &expected, &Value::from(patch)));
        }
        let filter = settings.filter(Filter::Bilinear)?;
        Ok(Self { patch, most, filter, levels: settings.levels(Style::Siglip)? })
    }

    /// Edge of a patch in pixels.
    pub fn patch(&self) -> u32 {
        self.patch
    }

    /// Patches that a picture has at most.
    pub fn most(&self) -> u32 {
        self.most
    }

    /// The picture at its size, before its values are scaled: both edges are multiples of a patch.
    pub fn fit(&self, picture: &Picture) -> Picture {
        let [rows, columns] = self.grid(picture);
        let [height, width] = [rows, columns].map(|n| Window::whole(n * self.patch));
        picture.resize_window(self.filter, width, height)
    }

    /// `[3, h, w]`: planes of red, green, blue of a picture that [fits](Self::fit).
    pub fn planes(&self, fitted: &Picture) -> Vec<f32> {
        planes(fitted, &self.levels)
    }

    /// Rows and columns of patches: those of the largest scale, up to 100, that makes few enough, found
    /// by halving a range as the published code does.
    pub fn grid(&self, picture: &Picture) -> [u32; 2] {
        const STEP: f64 = 1e-5;
        let patches = |edge: u32, scale: f64| {
            (f64::from(edge) * scale / f64::from(self.patch)).ceil().max(1.0) as u64
        };
        let grid = |scale| [picture.height, picture.width].map(|edge| patches(edge, scale));
        let (mut low, mut high) = (STEP / 10.0, 100.0);
        while high - low >= STEP {
            let scale = (low + high) / 2.0;
            let [rows, columns] = grid(scale);
            if rows * columns <= u64::from(self.most) {
                low = scale;
            } else {
                high = scale;
            }
        }
        // Few enough at the lowest scale too, where a picture of any size that is read is one patch.
        grid(low).map(|n| n.min(u64::from(self.most)) as u32)
    }
}

/// A number of 1 to `most`.
fn count(settings: &Settings<'_>, key: &'static str, default: u32, most: u64) -> Result<u32> {
    let Some(value) = settings.get(key) else { return Ok(default) };
    let n = value.as_u64().filter(|n| (1..=most).contains(n));
    let n = n.and_then(|n| u32::try_from(n).ok());
    n.ok_or_else(|| wrong(key, &format!("a whole number of 1 to {most}"), value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grid(settings: Value, width: u32, height: u32) -> [u32; 2] {
        let processor = NaflexProcessor::from_json(&settings).unwrap();
        processor.grid(&Picture::filled(width, height, [0; 3]))
    }

    /// `get_image_size_for_max_num_patches` of transformers, over the patch.
    #[test]
    fn pictures_fill_their_patches_and_keep_their_ratio() {
        assert_eq!(grid(json!({}), 640, 480), [14, 18]);
        assert_eq!(grid(json!({}), 480, 640), [18, 14]);
        assert_eq!(grid(json!({}), 16, 16), [16, 16]);
        assert_eq!(grid(json!({}), 1, 1), [7, 7]);
        assert_eq!(grid(json!({}), 16_384, 1), [1, 256]);
        assert_eq!(grid(json!({"max_num_patches": 1}), 900, 30), [1, 1]);
        assert_eq!(grid(json!({"max_num_patches": 20, "patch_size": 5}), 61, 37), [4, 5]);
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for settings in [
            json!([]),
            json!({"max_num_patches": 0}),
            json!({"max_num_patches": 4097}),
            json!({"max_num_patches": "256"}),
            json!({"patch_size": [16, 16]}),
            json!({"patch_size": 4096}),
            json!({"patch_size": -1}),
            json!({"do_resize": false}),
            json!({"resample": 9}),
            json!({"image_std": 0}),
            json!({"image_processor_type": "SiglipImageProcessor"}),
        ] {
            let text = NaflexProcessor::from_json(&settings).expect_err(&settings.to_string());
            assert!(text.to_string().contains("\nhint: "), "{text}");
        }
    }
}
