//! Pictures to planes as a `preprocessor_config.json` says, equal to transformers' own (its Pillow
//! backend) up to the rounding of one level.
//!
//! ```text
//! whole    picture ──resize──▶ ──centre crop or pad──▶ one picture
//! smooth   picture ──resize, without rounding──▶ one picture
//! tiles    picture ──longest edge──▶ ──edges up to multiples of a tile──▶ rows x columns, then the whole
//! anyres   picture ──best canvas──▶ ──ratio kept, on black──▶ the whole, then rows x columns
//! row      picture ──grid of nearest ratio──▶ ──ratio bent──▶ rows x columns, then the whole
//! patches  picture ──largest scale at which both edges, up to multiples of a patch, make few enough──▶
//!
//! u8 [h, w, 3] ──· rescale──▶ ──− mean, / std──▶ f32 [3, h, w]
//! ```
//! Tiles: Laurençon et al. 2024, <https://arxiv.org/abs/2408.12637>, section 3.1. Patches: Tschannen et
//! al. 2025, <https://arxiv.org/abs/2502.14786>, section 2.4.1 (NaFlex).
//!
//! Transparency is put on white, as transformers 5 has it.

mod anyres;
mod patches;
mod row;
mod settings;
mod tiles;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::Result;
use crate::picture::{Picture, crop_start};
use crate::resample::{self, Filter, Window};
use anyres::Anyres;
pub use patches::{Grid, PatchProcessor, PatchStyle};
use row::Row;
use settings::Settings;

/// The class in transformers whose defaults hold for what a checkpoint leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `CLIPImageProcessor`, LLaVA's, and DINOv2's `BitImageProcessor`: shorter edge to 224, middle of it.
    Clip,
    /// open_clip's, made of torchvision: as CLIP's, but for which pixel a half falls on.
    OpenClip,
    /// `SiglipImageProcessor`: both edges to 224, values in -1..=1.
    Siglip,
    /// `ViTImageProcessor`: as SigLIP, a lone number is both edges, bilinear.
    Vit,
    /// `IdeficsImageProcessor`: both edges to `image_size`, values as CLIP has them.
    Idefics,
    /// `BlipImageProcessor`: both edges to 384, a lone number is both, values as CLIP has them.
    Blip,
    /// `Idefics3ImageProcessor` and `SmolVLMImageProcessor`: tiles, values in -1..=1.
    Idefics3,
    /// `Siglip2ImageProcessor`: as many patches as fit, values in -1..=1, bilinear.
    Siglip2,
    /// `Gemma3ImageProcessor`: as SigLIP's, a lone number is both edges, bilinear.
    Gemma3,
    /// `GotOcr2ImageProcessor` as InternVL has it: tiles of 384 pixels, values as CLIP has them.
    GotOcr2,
    /// `DINOv3ViTImageProcessor`: both edges to 224, bilinear; values are scaled before the picture is.
    Dinov3,
    /// `JanusImageProcessor`: the longer edge to 384, on a square of the mean's colour.
    Janus,
    /// `LlavaNextImageProcessor`: canvases of 336-pixel tiles, values as CLIP has them.
    LlavaNext,
    /// `LlavaOnevisionImageProcessor`: canvases of 384-pixel tiles, of several pictures each whole.
    LlavaOnevision,
}

/// What makes an encoder's input of pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageProcessor {
    geometry: Geometry,
    filter: Filter,
    values: Values,
    /// The plane's value of each of 256 levels, for each channel.
    levels: [Vec<f32>; 3],
}

#[derive(Clone, Debug, PartialEq)]
enum Geometry {
    /// Every picture ends at one height and width.
    Whole {
        /// First made a square of its longer edge, in this colour around it (LLaVA's `do_pad`).
        square: Option<[u8; 3]>,
        resize: Option<Resize>,
        frame: Option<Frame>,
        size: [u32; 2],
    },
    /// Every picture at this height and width, its values as they fall between levels.
    Smooth([u32; 2]),
    /// Squares of `tile` pixels; one for each picture where it is not `split`.
    Tiles {
        resize: Resize,
        /// Of a video's frame, which is not split.
        frame: Resize,
        tile: u32,
        split: bool,
    },
    /// At most `most` patches, each `patch` pixels an edge.
    Patches { patch: u32, most: u32 },
    /// The whole, and tiles of the best of several canvases.
    Anyres(Anyres),
    /// Tiles of the grid of the nearest ratio, and the whole.
    Row(Row),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Resize {
    /// Height and width, whatever the ratio.
    Exact([u32; 2]),
    /// The shorter edge, with the ratio kept.
    Shortest(u32),
    /// The longer edge, with the ratio kept.
    Longest(u32),
    /// The same, the shorter edge rounded as Python does and at least so long.
    LongestOrLeast(u32, u32),
}

/// What is made of the scaled picture.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Frame {
    /// Its middle, on black where it is smaller.
    Crop([u32; 2], Half),
    /// A square of its longer edge, in this colour around it.
    Pad([u8; 3]),
}

/// Where the middle begins when as many pixels are left before it as behind it, and one more.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Half {
    /// transformers.
    Down,
    /// torchvision: Python's `round`.
    Even,
}

/// What is done to the values.
#[derive(Clone, Debug, PartialEq)]
struct Values {
    factor: f64,
    mean: [f32; 3],
    std: [f32; 3],
}

/// What a picture becomes, before its values are scaled.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// What the encoder reads, one after the other.
    pub pictures: Vec<Picture>,
    /// How they are parts of the picture.
    pub layout: Layout,
}

/// How pictures for an encoder are parts of the one that they are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One picture is all of it.
    Whole,
    /// Squares row by row, then the whole; only the whole if there are no rows.
    Tiles {
        /// Rows of tiles.
        rows: u32,
        /// Columns of tiles.
        columns: u32,
    },
    /// One picture is all of it, at a size of its own.
    Patches {
        /// Rows of patches.
        rows: u32,
        /// Columns of patches.
        columns: u32,
    },
    /// The whole, then squares row by row of a picture that was padded to them; only the whole if there
    /// are no rows.
    Anyres {
        /// Rows of tiles.
        rows: u32,
        /// Columns of tiles.
        columns: u32,
        /// The picture's height and width, by which the padding is known.
        size: [u32; 2],
    },
    /// Squares row by row, then the whole if there are several, whose tokens stand in one row.
    Row {
        /// All of them.
        tiles: u32,
    },
    /// A video's frames, each of them whole.
    Frames,
}

impl ImageProcessor {
    /// Reads a `preprocessor_config.json`. The class that it names, where it does, goes before `style`.
    ///
    /// # Errors
    /// [`Error::Processor`](crate::Error::Processor) for a setting that is damaged or asks for what is
    /// not done here, for a class of another layout than `style`'s, and for whole pictures that would
    /// not all end at one size.
    pub fn from_json(settings: &Value, style: Style) -> Result<Self> {
        Ok(Self::read(settings, style)?.0)
    }

    /// As [`from_json`](Self::from_json), and the keys that were heeded: others are not.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json).
    pub fn read(settings: &Value, style: Style) -> Result<(Self, BTreeSet<String>)> {
        let settings = Settings::of(settings)?;
        let style = settings.style(style)?;
        let (geometry, filter) = (settings.geometry(style)?, settings.filter(style)?);
        let processor = Self::new(geometry, filter, settings.values(style)?);
        Ok((processor, settings.asked()))
    }

    fn new(geometry: Geometry, filter: Filter, values: Values) -> Self {
        let levels = [0, 1, 2].map(|channel| values.levels(channel));
        Self { geometry, filter, values, levels }
    }

    /// The longer edge at `size` pixels, centred on a white square: nothing is lost or bent. Values in
    /// -1..=1.
    pub fn padded(size: u32) -> Self {
        let size = size.max(1);
        let (resize, frame) = (Some(Resize::Longest(size)), Some(Frame::Pad([255; 3])));
        let values = Values { factor: 1.0 / 255.0, mean: [0.5; 3], std: [0.5; 3] };
        let geometry = Geometry::Whole { square: None, resize, frame, size: [size; 2] };
        Self::new(geometry, Filter::Bicubic, values)
    }

    /// That of the small models that are trained here: 96 px on white.
    pub fn small() -> Self {
        Self::padded(96)
    }

    /// A `preprocessor_config.json` that says all of it.
    pub fn to_json(&self) -> Value {
        let Values { factor, mean, std } = self.values;
        let mut json = json!({
            "resample": self.filter as u8,
            "do_rescale": true,
            "rescale_factor": factor,
            "do_normalize": true,
            "image_mean": mean.map(shortest),
            "image_std": std.map(shortest),
        });
        let more = match &self.geometry {
            Geometry::Whole { resize: Some(Resize::LongestOrLeast(n, least)), .. } => json!({
                "image_processor_type": "JanusImageProcessor",
                "do_resize": true, "size": both([*n; 2]), "min_size": least,
            }),
            Geometry::Whole { square, resize, frame, .. } => {
                let (crop, pad) = match frame {
                    Some(Frame::Crop(size, _)) => (both(*size), Value::Null),
                    Some(Frame::Pad(colour)) => (Value::Null, json!(colour)),
                    None => (Value::Null, Value::Null),
                };
                json!({
                    "do_resize": resize.is_some(), "size": resize.map(Resize::to_json),
                    "do_center_crop": !crop.is_null(), "crop_size": crop,
                    "do_pad": square.is_some() || !pad.is_null(), "background_color": pad,
                })
            }
            Geometry::Smooth(size) => json!({
                "image_processor_type": "DINOv3ViTImageProcessor",
                "do_resize": true, "size": both(*size),
            }),
            Geometry::Tiles { resize, frame, tile, split } => json!({
                "image_processor_type": "Idefics3ImageProcessor",
                "do_resize": true, "size": resize.to_json(),
                "max_image_size": {"longest_edge": tile}, "do_image_splitting": split,
                "video_sampling": {"video_size": frame.to_json()},
            }),
            Geometry::Patches { patch, most } => json!({
                "image_processor_type": "Siglip2ImageProcessor",
                "do_resize": true, "patch_size": patch, "max_num_patches": most,
            }),
            Geometry::Anyres(Anyres { pinpoints, tile, among }) => json!({
                "image_processor_type":
                    format!("Llava{}ImageProcessor", if among.is_some() { "Onevision" } else { "Next" }),
                "do_resize": true, "size": both([*tile; 2]), "crop_size": both([*tile; 2]),
                "image_grid_pinpoints": pinpoints,
            }),
            Geometry::Row(Row { tile, tiles: [least, most] }) => json!({
                "image_processor_type": "GotOcr2ImageProcessor",
                "do_resize": true, "size": both([*tile; 2]),
                "min_patches": least, "max_patches": most,
            }),
        };
        if let (Some(json), Value::Object(more)) = (json.as_object_mut(), more) {
            json.extend(more.into_iter().filter(|(_, value)| !value.is_null()));
        }
        json
    }

    /// Height and width of every picture that the encoder reads, where they have one size.
    pub fn size(&self) -> Option<[u32; 2]> {
        match self.geometry {
            Geometry::Whole { size, .. } | Geometry::Smooth(size) => Some(size),
            Geometry::Tiles { tile, .. }
            | Geometry::Anyres(Anyres { tile, .. })
            | Geometry::Row(Row { tile, .. }) => Some([tile; 2]),
            Geometry::Patches { .. } => None,
        }
    }

    /// Height and width of what the encoder reads of a picture.
    pub fn size_of(&self, picture: &Picture) -> [u32; 2] {
        match self.geometry {
            Geometry::Patches { patch, most } => grid(picture, patch, most).map(|n| n * patch),
            _ => self.size().unwrap_or_default(),
        }
    }

    /// Most patches of a picture and a patch's edge in pixels, where pictures are cut into patches.
    pub fn patches(&self) -> Option<[u32; 2]> {
        match self.geometry {
            Geometry::Patches { patch, most } => Some([most, patch]),
            _ => None,
        }
    }

    /// The canvases that pictures are put on, height and width of each, where there are several.
    pub fn pinpoints(&self) -> Option<&[[u32; 2]]> {
        match &self.geometry {
            Geometry::Anyres(anyres) => Some(&anyres.pinpoints),
            _ => None,
        }
    }

    /// What is taken off the values of each channel, and what they are divided by.
    pub fn mean_and_std(&self) -> [[f32; 3]; 2] {
        [self.values.mean, self.values.std]
    }

    /// Whether pixels are scaled to the same values as `other` scales them to, by the same filter.
    pub fn scales_as(&self, other: &Self) -> bool {
        self.filter == other.filter && self.values == other.values
    }

    /// A picture at the sizes that the encoder reads.
    pub fn fit(&self, picture: &Picture) -> Fitted {
        match &self.geometry {
            Geometry::Whole { square, resize, frame, .. } => {
                let whole = match square {
                    Some(colour) => self.whole(&self.squared(picture, *colour), *resize, *frame),
                    None => self.whole(picture, *resize, *frame),
                };
                Fitted { pictures: vec![whole], layout: Layout::Whole }
            }
            Geometry::Smooth([height, width]) => {
                let whole = self.resize(picture, *width, *height);
                Fitted { pictures: vec![whole], layout: Layout::Whole }
            }
            Geometry::Tiles { resize, tile, split, .. } => {
                self.cut(picture, *resize, *tile, *split)
            }
            Geometry::Patches { patch, most } => {
                let [rows, columns] = grid(picture, *patch, *most);
                let fitted = self.resize(picture, columns * patch, rows * patch);
                Fitted { pictures: vec![fitted], layout: Layout::Patches { rows, columns } }
            }
            Geometry::Anyres(anyres) => anyres.cut(self, picture),
            Geometry::Row(row) => row.cut(self, picture),
        }
    }

    /// One of several pictures of a conversation at the sizes that the encoder reads.
    pub fn fit_among(&self, picture: &Picture) -> Fitted {
        match &self.geometry {
            Geometry::Anyres(anyres) => anyres.among(self, picture),
            _ => self.fit(picture),
        }
    }

    /// A video's frame at the size that the encoder reads: a picture that is never cut.
    pub fn fit_frame(&self, picture: &Picture) -> Fitted {
        match &self.geometry {
            Geometry::Tiles { frame, tile, .. } => self.cut(picture, *frame, *tile, false),
            Geometry::Anyres(anyres) => anyres.whole(self, picture),
            Geometry::Row(row) => row.whole(self, picture),
            _ => self.fit(picture),
        }
    }

    /// `[3, h, w]`: planes of red, green, blue of a picture that [fits](Self::fit), whose values are levels:
    /// where they fall between those, [`process`](Self::process) gives them.
    pub fn planes(&self, fitted: &Picture) -> Vec<f32> {
        let planes = self.levels.iter().enumerate().flat_map(|(c, levels)| {
            let values = fitted.pixels.iter().skip(c).step_by(3);
            values.map(|value| levels[usize::from(*value)])
        });
        planes.collect()
    }

    /// `[n, 3, h, w]`: the planes of all that a picture becomes.
    pub fn process(&self, picture: &Picture) -> Vec<f32> {
        if let Geometry::Smooth([height, width]) = self.geometry {
            return self.smooth(picture, Window::whole(width), Window::whole(height));
        }
        self.fit(picture).pictures.iter().flat_map(|picture| self.planes(picture)).collect()
    }

    /// `[3, h, w]`
    fn smooth(&self, picture: &Picture, x: Window, y: Window) -> Vec<f32> {
        let size = (picture.width, picture.height);
        let values = resample::smooth(self.filter, &picture.pixels, size, x, y);
        let scaled = |c| {
            let channel = values.iter().skip(c).step_by(3);
            channel.map(move |value| self.values.scaled(f64::from(*value), c))
        };
        (0..3).flat_map(scaled).collect()
    }

    fn whole(&self, picture: &Picture, resize: Option<Resize>, frame: Option<Frame>) -> Picture {
        let [height, width] = match resize {
            Some(Resize::Exact(size)) => size,
            Some(Resize::Shortest(n)) => {
                let (width, height) = picture.shortest_edge_size(n);
                [height, width]
            }
            Some(Resize::LongestOrLeast(n, least)) => {
                let ratio = f64::from(n) / f64::from(picture.width.max(picture.height));
                let scaled = |edge: u32| (f64::from(edge) * ratio).round_ties_even() as u32;
                [picture.height, picture.width].map(|edge| scaled(edge).max(least))
            }
            Some(Resize::Longest(n)) => {
                let longest = picture.width.max(picture.height);
                [picture.height, picture.width].map(|edge| nearest(edge, n, longest))
            }
            None => [picture.height, picture.width],
        };
        match frame {
            None => self.resize(picture, width, height),
            Some(Frame::Pad(colour)) => on_square(&self.resize(picture, width, height), colour),
            Some(Frame::Crop([to_height, to_width], half)) => {
                // Only what is kept is ever made: a 1x16384 picture scaled whole would need gigabytes.
                let (x, y) = (middle(width, to_width, half), middle(height, to_height, half));
                let small = picture.resize_window(self.filter, x, y);
                if (small.width, small.height) == (to_width, to_height) {
                    return small;
                }
                let (left, top) = (before(small.width, to_width), before(small.height, to_height));
                small.placed(to_width, to_height, left, top, [0; 3])
            }
        }
    }

    /// A square of the longer edge with the picture in its middle. A square that would be larger than
    /// any picture that is read is made of a smaller copy.
    fn squared(&self, picture: &Picture, colour: [u8; 3]) -> Picture {
        const LONGEST: u32 = 8_000;
        let [width, height] = [picture.width, picture.height];
        let longest = width.max(height);
        if longest > LONGEST {
            let [width, height] = [width, height].map(|edge| nearest(edge, LONGEST, longest));
            return self.squared(&self.resize(picture, width, height), colour);
        }
        on_square(picture, colour)
    }

    fn resize(&self, picture: &Picture, width: u32, height: u32) -> Picture {
        if (picture.width, picture.height) == (width, height) {
            return picture.clone();
        }
        picture.resize_window(self.filter, Window::whole(width), Window::whole(height))
    }
}

impl Resize {
    fn to_json(self) -> Value {
        match self {
            Self::Exact(size) => both(size),
            Self::Shortest(n) => json!({"shortest_edge": n}),
            Self::Longest(n) => json!({"longest_edge": n}),
            Self::LongestOrLeast(n, _) => both([n; 2]),
        }
    }
}

impl Values {
    /// In `f32` after the first product, as NumPy computes it there.
    fn levels(&self, channel: usize) -> Vec<f32> {
        (0..=255_u8).map(|value| self.scaled(f64::from(value), channel)).collect()
    }

    fn scaled(&self, value: f64, channel: usize) -> f32 {
        ((value * self.factor) as f32 - self.mean[channel]) / self.std[channel]
    }
}

fn both([height, width]: [u32; 2]) -> Value {
    json!({"height": height, "width": width})
}

/// The shortest decimal that is read as this number.
fn shortest(x: f32) -> f64 {
    x.to_string().parse().unwrap_or_else(|_| f64::from(x))
}

/// `edge` where `longest` becomes `n`, rounded to nearest, at least one pixel.
fn nearest(edge: u32, n: u32, longest: u32) -> u32 {
    let longest = u64::from(longest);
    let scaled = (u64::from(edge) * u64::from(n) + longest / 2) / longest;
    (scaled as u32).max(1)
}

/// A square of the longer edge with the picture in its middle.
fn on_square(picture: &Picture, colour: [u8; 3]) -> Picture {
    let edge = picture.width.max(picture.height);
    let (left, top) = ((edge - picture.width) / 2, (edge - picture.height) / 2);
    picture.placed(edge, edge, left, top, colour)
}

/// The middle `kept` pixels of `full`, all of them if there are fewer.
fn middle(full: u32, kept: u32, half: Half) -> Window {
    let len = kept.min(full);
    let start = match half {
        Half::Down => (full - len) / 2,
        Half::Even => crop_start(full, len),
    };
    Window { full, start, len }
}

/// Black pixels before a picture that is smaller than its crop; the odd one stands before it.
fn before(have: u32, want: u32) -> u32 {
    (want - have).div_ceil(2)
}

/// Rows and columns of patches: those of the largest scale, up to 100, that makes few enough, found by
/// halving a range as the published code does.
fn grid(picture: &Picture, patch: u32, most: u32) -> [u32; 2] {
    const STEP: f64 = 1e-5;
    let patches =
        |edge: u32, scale: f64| (f64::from(edge) * scale / f64::from(patch)).ceil().max(1.0) as u64;
    let grid = |scale| [picture.height, picture.width].map(|edge| patches(edge, scale));
    let (mut low, mut high) = (STEP / 10.0, 100.0);
    while high - low >= STEP {
        let scale = (low + high) / 2.0;
        let [rows, columns] = grid(scale);
        if rows * columns <= u64::from(most) {
            low = scale;
        } else {
            high = scale;
        }
    }
    // Few enough at the lowest scale too, where a picture of any size that is read is one patch.
    grid(low).map(|n| n.min(u64::from(most)) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: Value, style: Style) -> ImageProcessor {
        ImageProcessor::from_json(&settings, style).unwrap_or_else(|e| panic!("{settings}: {e}"))
    }

    #[test]
    fn thin_pictures_cost_no_memory() {
        let thin = Picture::filled(1, 16_384, [7; 3]);
        let fitted = read(json!({"size": 400, "crop_size": 300}), Style::Clip).fit(&thin);
        assert_eq!(fitted.pictures, [Picture::filled(300, 300, [7; 3])]);
    }

    #[test]
    fn pictures_are_cut_into_rows_and_columns() {
        let settings = json!({"size": {"longest_edge": 32}, "max_image_size": {"longest_edge": 8}});
        let processor = read(settings, Style::Idefics3);
        for (width, height, rows, columns) in
            [(100, 100, 4, 4), (100, 30, 2, 4), (3, 90, 4, 1), (1, 1000, 4, 1)]
        {
            let Fitted { pictures, layout } =
                processor.fit(&Picture::filled(width, height, [9; 3]));
            assert_eq!(layout, Layout::Tiles { rows, columns }, "{width}x{height}");
            assert_eq!(pictures.len() as u32, rows * columns + 1);
            assert!(pictures.iter().all(|t| *t == Picture::filled(8, 8, [9; 3])));
        }
        let settings = json!({"size": {"longest_edge": 8}, "max_image_size": {"longest_edge": 8}});
        let whole = read(settings, Style::Idefics3).fit(&Picture::filled(50, 20, [1; 3]));
        assert_eq!(whole.pictures.len(), 1);
        assert_eq!(whole.layout, Layout::Tiles { rows: 0, columns: 0 });
    }

    /// `get_image_size_for_max_num_patches` of transformers, over the patch.
    #[test]
    fn pictures_fill_their_patches_and_keep_their_ratio() {
        let grid = |settings, width, height| {
            let fitted =
                read(settings, Style::Siglip2).fit(&Picture::filled(width, height, [0; 3]));
            match fitted.layout {
                Layout::Patches { rows, columns } => [rows, columns],
                layout => panic!("{layout:?}"),
            }
        };
        assert_eq!(grid(json!({}), 640, 480), [14, 18]);
        assert_eq!(grid(json!({}), 480, 640), [18, 14]);
        assert_eq!(grid(json!({}), 16, 16), [16, 16]);
        assert_eq!(grid(json!({}), 1, 1), [7, 7]);
        assert_eq!(grid(json!({}), 16_384, 1), [1, 256]);
        assert_eq!(grid(json!({"max_num_patches": 1}), 900, 30), [1, 1]);
        assert_eq!(grid(json!({"max_num_patches": 20, "patch_size": 5}), 61, 37), [4, 5]);
    }

    #[test]
    fn settings_that_are_written_are_read_again() {
        let tiles = json!({"size": {"longest_edge": 32}, "max_image_size": {"longest_edge": 8},
                           "do_image_splitting": false});
        for (processor, style) in [
            (ImageProcessor::small(), Style::Clip),
            (ImageProcessor::small(), Style::Siglip),
            (read(json!({"size": 30, "crop_size": 20}), Style::Clip), Style::Vit),
            (read(json!({"do_resize": false, "crop_size": 5}), Style::Clip), Style::Clip),
            (read(json!({"do_normalize": false}), Style::Siglip), Style::Clip),
            (read(json!({"do_rescale": false, "resample": 0}), Style::Vit), Style::Clip),
            (read(json!({}), Style::Blip), Style::Siglip),
            (read(tiles, Style::Idefics3), Style::Idefics3),
            (read(json!({"patch_size": 5}), Style::Siglip2), Style::Siglip2),
            (read(json!({"size": 336, "crop_size": 336}), Style::LlavaNext), Style::LlavaOnevision),
            (read(json!({"resample": 2}), Style::LlavaOnevision), Style::LlavaNext),
            (read(json!({"max_patches": 4}), Style::GotOcr2), Style::GotOcr2),
            (read(json!({"size": 32}), Style::Dinov3), Style::Dinov3),
            (read(json!({"size": {"height": 32, "width": 32}}), Style::Janus), Style::Janus),
        ] {
            let written = processor.to_json();
            assert_eq!(read(written.clone(), style), processor, "{written}");
        }
    }

    #[test]
    fn nano_is_a_preprocessor_config() {
        let text = include_str!("../../../models/nano/preprocessor_config.json");
        let settings: Value = serde_json::from_str(text).unwrap();
        assert_eq!(read(settings.clone(), Style::Clip), ImageProcessor::small());
        assert_eq!(settings, ImageProcessor::small().to_json());
    }

    /// Python's `round((full - kept) / 2)`.
    #[test]
    fn halves_fall_where_torchvision_rounds_them() {
        let starts = |half| [1, 2, 3, 4, 5, 6, 7].map(|d| middle(10 + d, 10, half).start);
        assert_eq!(starts(Half::Even), [0, 1, 2, 2, 2, 3, 4]);
        assert_eq!(starts(Half::Down), [0, 1, 1, 2, 2, 3, 3]);
    }

    /// transformers' `LlavaImageProcessor`: `pad_to_square`, then as CLIP.
    #[test]
    fn llava_pads_with_its_mean_before_it_scales() {
        let settings = json!({
            "do_pad": true, "size": {"shortest_edge": 4}, "crop_size": 4, "resample": 0,
            "do_normalize": true, "image_mean": [0.5, 0.25, 0.1], "image_std": [1.0, 1.0, 1.0],
        });
        let wide = Picture { width: 4, height: 2, pixels: vec![255; 4 * 2 * 3] };
        let fitted = read(settings, Style::Clip).fit(&wide).pictures.remove(0);
        let row = |pixel: [u8; 3]| pixel.repeat(4);
        let (mean, white) = (row([127, 63, 25]), row([255; 3]));
        assert_eq!(fitted.pixels, [&mean[..], &white, &white, &mean].concat());
    }
}
