//! Pictures and videos to patches as Qwen2-VL and its successors read them, as transformers has it.
//!
//! ```text
//! picture ──both edges to multiples of a square, within so many pixels──▶ one step in time
//! video   ──the same, two frames a step, the last one again where there is none for it──▶ steps
//!
//! steps [t, frames, 3, h, w] ──square by square, patch by patch──▶ f32 [t, N, 3 · frames · patch²]
//! ```
//! Wang et al. 2024, <https://arxiv.org/abs/2409.12191>, section 2.1. A square is what becomes one token of the
//! language model, so that its patches stand side by side.

use std::collections::BTreeSet;

use serde_json::Value;

use super::settings::{MAX_PIXELS, MAX_SIZE, Settings, wrong};
use super::{Style, Values};
use crate::picture::Picture;
use crate::resample::{Filter, Window};
use crate::video::Video;
use crate::{Error, Result};

/// The longer edge in shorter ones, at most: the published code's.
const MAX_RATIO: f64 = 200.0;
/// Most patches of a step: the published models', of 12.8 and 16.8 million pixels.
const MAX_PATCHES: u64 = 1 << 16;
/// Most pixels of all frames of a video together, where they are counted together: Qwen3-VL's files have 25
/// million.
const MAX_VIDEO_PIXELS: u64 = 4 * MAX_PIXELS;

/// Whose patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchStyle {
    /// `Qwen2VLImageProcessor`, all three families' for pictures.
    Picture,
    /// `Qwen2VLVideoProcessor`: each frame within so many pixels.
    Frames,
    /// `Qwen3VLVideoProcessor`: all frames together within so many, values in -1..=1.
    Video,
}

impl PatchStyle {
    /// The key that names the class, and the stems of the classes that are read.
    fn classes(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Picture => ("image_processor_type", &["Qwen2VLImage", "Qwen2_5_VLImage"]),
            Self::Frames => ("video_processor_type", &["Qwen2VLVideo"]),
            Self::Video => ("video_processor_type", &["Qwen3VLVideo"]),
        }
    }

    /// The style whose values hold for what a file leaves out.
    fn values(self) -> Style {
        match self {
            Self::Picture | Self::Frames => Style::Clip,
            Self::Video => Style::Siglip,
        }
    }

    /// Least and most pixels, an edge of a patch, and tokens of a video that a frame has its share of.
    fn defaults(self) -> ([u64; 2], u32, u64) {
        match self {
            Self::Picture => ([56 * 56, 28 * 28 * 1280], 14, 0),
            Self::Frames => ([128 * 28 * 28, 28 * 28 * 768], 14, 128_000),
            Self::Video => ([128 * 32 * 32, 32 * 32 * 768], 16, 768),
        }
    }
}

/// What makes an encoder's input of pictures, or of videos.
#[derive(Clone, Debug, PartialEq)]
pub struct PatchProcessor {
    style: PatchStyle,
    filter: Filter,
    /// The plane's value of each of 256 levels, for each channel.
    levels: [Vec<f32>; 3],
    /// Least and most.
    pixels: [u64; 2],
    patch: u32,
    merge: u32,
    temporal: usize,
    max_frames: usize,
    /// Tokens that frames share, where that bounds their pixels.
    shared: Option<u64>,
}

/// Patches of a medium: steps in time, rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Steps in time.
    pub steps: usize,
    /// Rows of patches.
    pub rows: usize,
    /// Columns of patches.
    pub columns: usize,
}

impl Grid {
    /// Row and column of each patch of a step, square by square of `merge`² patches.
    pub fn places(self, merge: usize) -> impl Iterator<Item = [usize; 2]> {
        let squares = move |edge: usize| 0..edge / merge;
        let inside = move |row: usize, column: usize| {
            let place = move |i: usize| [row * merge + i / merge, column * merge + i % merge];
            (0..merge * merge).map(place)
        };
        let across = move |row| squares(self.columns).flat_map(move |column| inside(row, column));
        squares(self.rows).flat_map(across)
    }
}

impl PatchProcessor {
    /// Reads a `preprocessor_config.json` or a `video_preprocessor_config.json`, and tells which keys were
    /// heeded: others are not.
    ///
    /// # Errors
    /// [`Error::Processor`] for a setting that is damaged or asks for what is not done here, and for another
    /// class.
    pub fn read(settings: &Value, style: PatchStyle) -> Result<(Self, BTreeSet<String>)> {
        let settings = Settings::of(settings)?;
        let (key, known) = style.classes();
        settings.class(key, known)?;
        if !settings.flag("do_resize", true)? {
            return Err(wrong("do_resize", "true", &Value::Bool(false)));
        }
        let (_, edge, tokens) = style.defaults();
        let values: Values = settings.values(style.values())?;
        let processor = Self {
            style,
            filter: settings.filter(style.values())?,
            levels: [0, 1, 2].map(|channel| values.levels(channel)),
            pixels: pixels(&settings, style)?,
            patch: settings.count("patch_size", edge, MAX_SIZE)?,
            merge: settings.count("merge_size", 2, 16)?,
            temporal: settings.count("temporal_patch_size", 2, 16)? as usize,
            max_frames: settings.count("max_frames", 768, MAX_SIZE)? as usize,
            shared: shared(&settings, tokens)?,
        };
        if style != PatchStyle::Picture {
            // Which frames are taken is said by who asks; what a program gives back besides.
            let taken = ["do_sample_frames", "fps", "min_frames", "num_frames", "return_metadata"];
            settings.without_effect(&taken);
            // In files from before there were two, which are of pictures too.
            settings.without_effect(&["image_processor_type"]);
        }
        processor.check()?;
        Ok((processor, settings.asked()))
    }

    /// Bounds what a picture may become.
    fn check(&self) -> Result<()> {
        let [least, most] = self.pixels;
        let (limit, frames) = match self.style {
            PatchStyle::Video => (MAX_VIDEO_PIXELS, self.temporal as u64),
            _ => (MAX_PIXELS, 1),
        };
        if least > most || most > limit {
            let expected = format!("from shortest_edge {least} to {limit} pixels as longest_edge");
            return Err(wrong("size", &expected, &Value::from(most)));
        }
        let patch = u64::from(self.patch).pow(2) * frames;
        if most / patch > MAX_PATCHES || u64::from(self.square()).pow(2) > limit {
            let expected = format!("1 to {MAX_PATCHES} patches in {most} pixels");
            return Err(wrong("patch_size", &expected, &Value::from(self.patch)));
        }
        Ok(())
    }

    /// Edge of a patch in pixels.
    pub fn patch(&self) -> usize {
        self.patch as usize
    }

    /// Patches along an edge of the square that becomes one token.
    pub fn merge(&self) -> usize {
        self.merge as usize
    }

    /// Frames of a step in time.
    pub fn temporal(&self) -> usize {
        self.temporal
    }

    /// Edge in pixels of what becomes one token.
    fn square(&self) -> u32 {
        self.patch * self.merge
    }

    /// The frames of a video that are looked at: all, or as many as the files allow, evenly.
    pub fn frames<'v>(&self, video: &'v Video) -> Vec<&'v crate::Frame> {
        let (all, most) = (video.frames.len(), self.max_frames);
        let at = |i: usize| if all <= most { i } else { i * (all - 1) / (most - 1).max(1) };
        (0..all.min(most)).map(|i| &video.frames[at(i)]).collect()
    }

    /// The patches that so many frames of this height and width become; a picture is one.
    ///
    /// # Errors
    /// One edge is more than 200 times the other.
    pub fn grid(&self, [height, width]: [u32; 2], frames: usize) -> Result<Grid> {
        let [rows, columns] =
            self.scaled([height, width], frames)?.map(|n| (n / self.patch) as usize);
        Ok(Grid { steps: frames.div_ceil(self.temporal), rows, columns })
    }

    /// Height and width that are whole squares, near the ratio, with as many pixels as are allowed.
    fn scaled(&self, size: [u32; 2], frames: usize) -> Result<[u32; 2]> {
        let square = f64::from(self.square());
        let mut edges = size.map(f64::from);
        if self.style == PatchStyle::Video && edges.iter().any(|edge| *edge < square) {
            let scale = (square / edges[0]).max(square / edges[1]);
            edges = edges.map(|edge| (edge * scale).floor());
        }
        let [height, width] = edges;
        if height.max(width) / height.min(width) > MAX_RATIO {
            let [height, width] = size;
            return Err(Error::Ratio { limit: MAX_RATIO as u32, width, height });
        }
        let (counted, stands) = match self.style {
            PatchStyle::Video => {
                let step = self.temporal as f64;
                (frames as f64, (frames as f64 / step).round_ties_even() * step)
            }
            _ => (1.0, 1.0),
        };
        let [least, most] = self.bounds(frames).map(|n| n as f64);
        let near = edges.map(|edge| (edge / square).round_ties_even() * square);
        let pixels = stands * near[0] * near[1];
        let edges = if pixels > most {
            let shrink = (counted * height * width / most).sqrt();
            edges.map(|edge| ((edge / shrink / square).floor() * square).max(square))
        } else if pixels < least {
            let grow = (least / (counted * height * width)).sqrt();
            edges.map(|edge| (edge * grow / square).ceil() * square)
        } else {
            near
        };
        Ok(edges.map(|edge| edge as u32))
    }

    /// Least and most pixels, of a frame or of all together, where so many share the tokens of a video.
    fn bounds(&self, frames: usize) -> [u64; 2] {
        let [least, most] = self.pixels;
        let Some(tokens) = self.shared else { return [least, most] };
        let (square, frames) = (u64::from(self.square()).pow(2), frames.max(1) as u64);
        let floor = (least as f64 * 1.05) as u64;
        match self.style {
            PatchStyle::Video => [least, (tokens * square).min(most / frames).max(floor) * frames],
            _ => {
                let all = ((tokens * square) as f64 * 0.9) as u64;
                [least, most.min(all * self.temporal as u64 / frames).max(floor)]
            }
        }
    }

    /// The patches of one step in time, `[rows · columns, 3 · frames · patch²]`: square by square, and in a
    /// square row by row. Where there are fewer frames than a step has, the last one stays.
    pub fn patches(&self, frames: &[&Picture], grid: Grid) -> Vec<f32> {
        let [width, height] = [grid.columns, grid.rows].map(|n| n as u32 * self.patch);
        let scaled: Vec<Picture> =
            frames.iter().map(|frame| self.resized(frame, width, height)).collect();
        let last = scaled.len().saturating_sub(1);
        let frames: Vec<&Picture> = (0..self.temporal).map(|i| &scaled[i.min(last)]).collect();
        let mut patches = Vec::with_capacity(width as usize * height as usize * 3 * self.temporal);
        for [row, column] in grid.places(self.merge()) {
            for (channel, levels) in self.levels.iter().enumerate() {
                for frame in &frames {
                    let lines = row * self.patch()..(row + 1) * self.patch();
                    for line in lines {
                        let start = line * frame.width as usize + column * self.patch();
                        let pixels = &frame.pixels[3 * start..3 * (start + self.patch())];
                        let values = pixels.iter().skip(channel).step_by(3);
                        patches.extend(values.map(|value| levels[usize::from(*value)]));
                    }
                }
            }
        }
        patches
    }

    fn resized(&self, picture: &Picture, width: u32, height: u32) -> Picture {
        if (picture.width, picture.height) == (width, height) {
            return picture.clone();
        }
        picture.resize_window(self.filter, Window::whole(width), Window::whole(height))
    }
}

/// Least and most pixels: in files from before transformers 5 outside `size`, or under its other names.
fn pixels(settings: &Settings<'_>, style: PatchStyle) -> Result<[u64; 2]> {
    let (defaults, ..) = style.defaults();
    let size = settings.get("size");
    let number = |value: &Value| value.as_u64().filter(|n| *n > 0);
    let read = |outer: &'static str, inner: &'static str, default| {
        if let Some(value) = settings.get(outer) {
            return number(value).ok_or_else(|| wrong(outer, "a number of pixels", value));
        }
        let Some(size) = size else { return Ok(default) };
        let value = size.get(inner).or_else(|| size.get(outer)).unwrap_or(&Value::Null);
        let expected = "{\"shortest_edge\": pixels, \"longest_edge\": pixels}";
        number(value).ok_or_else(|| wrong("size", expected, size))
    };
    let [least, most] = defaults;
    Ok([read("min_pixels", "shortest_edge", least)?, read("max_pixels", "longest_edge", most)?])
}

/// The tokens that all frames of a video share, where each frame's share bounds its pixels.
fn shared(settings: &Settings<'_>, default: u64) -> Result<Option<u64>> {
    const MOST: u32 = 1 << 24;
    if default == 0 {
        return Ok(None);
    }
    let tokens = settings.count("max_video_tokens", default as u32, MOST)?;
    Ok(settings.flag("cap_pixels_per_frame", false)?.then_some(u64::from(tokens)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(settings: Value, style: PatchStyle) -> PatchProcessor {
        PatchProcessor::read(&settings, style).unwrap_or_else(|e| panic!("{settings}: {e}")).0
    }

    /// What `smart_resize` of transformers gives.
    #[test]
    fn sizes_are_whole_squares_within_the_bounds() {
        let picture = read(json!({}), PatchStyle::Picture);
        let frames = read(json!({}), PatchStyle::Frames);
        let video = read(json!({}), PatchStyle::Video);
        let table: [(&PatchProcessor, [u32; 2], usize, [u32; 2]); 9] = [
            (&picture, [480, 640], 1, [476, 644]),
            (&picture, [10, 10], 1, [56, 56]),
            (&picture, [42, 70], 1, [56, 56]),
            (&picture, [3000, 4000], 1, [840, 1148]),
            (&picture, [4, 800], 1, [28, 812]),
            (&frames, [480, 640], 8, [476, 644]),
            (&frames, [1080, 1920], 8, [560, 1008]),
            (&video, [480, 640], 8, [256, 352]),
            (&video, [20, 20], 2, [256, 256]),
        ];
        for (processor, size, n, want) in table {
            assert_eq!(processor.scaled(size, n).unwrap(), want, "{size:?} of {n}");
        }
        let capped = json!({"cap_pixels_per_frame": true, "max_video_tokens": 1000});
        let capped = read(capped, PatchStyle::Frames);
        assert_eq!(capped.scaled([480, 640], 64).unwrap(), [280, 364]);
    }

    #[test]
    fn a_picture_like_a_thread_is_refused() {
        let error = read(json!({}), PatchStyle::Picture).grid([3, 601], 1).unwrap_err().to_string();
        assert!(
            error.contains("601x3") && error.contains("200") && error.contains("hint: "),
            "{error}"
        );
    }

    #[test]
    fn patches_stand_square_by_square() {
        let order: Vec<[usize; 2]> = Grid { steps: 1, rows: 2, columns: 4 }.places(2).collect();
        let want = [[0, 0], [0, 1], [1, 0], [1, 1], [0, 2], [0, 3], [1, 2], [1, 3]];
        assert_eq!(order, want);

        let settings = json!({"patch_size": 1, "merge_size": 2, "do_rescale": false,
            "do_normalize": false, "min_pixels": 4, "max_pixels": 100});
        let processor = read(settings, PatchStyle::Frames);
        let frame = |first: u8| {
            let pixels = (0..12).map(|i| first + i).collect();
            Picture::new(2, 2, pixels).unwrap()
        };
        let grid = processor.grid([2, 2], 3).unwrap();
        assert_eq!(grid, Grid { steps: 2, rows: 2, columns: 2 });
        let [a, b] = [frame(0), frame(100)];
        let patches = processor.patches(&[&a, &b], grid);
        assert_eq!(
            patches[..12],
            [0.0, 100.0, 1.0, 101.0, 2.0, 102.0, 3.0, 103.0, 4.0, 104.0, 5.0, 105.0]
        );
        // The last frame of an odd number stays.
        assert_eq!(processor.patches(&[&b], grid)[..4], [100.0, 100.0, 101.0, 101.0]);
    }

    #[test]
    fn pixels_in_all_spellings() {
        for settings in [
            json!({"min_pixels": 400, "max_pixels": 9000}),
            json!({"size": {"shortest_edge": 400, "longest_edge": 9000}}),
            json!({"size": {"min_pixels": 400, "max_pixels": 9000}}),
            json!({"size": {"shortest_edge": 1, "longest_edge": 9000}, "min_pixels": 400}),
        ] {
            assert_eq!(read(settings, PatchStyle::Picture).pixels, [400, 9000]);
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for (style, settings) in [
            (PatchStyle::Picture, json!([])),
            (PatchStyle::Picture, json!({"do_resize": false})),
            (PatchStyle::Picture, json!({"size": {"height": 3, "width": 3}})),
            (PatchStyle::Picture, json!({"size": 224})),
            (PatchStyle::Picture, json!({"min_pixels": 0})),
            (PatchStyle::Picture, json!({"min_pixels": 100, "max_pixels": 99})),
            (PatchStyle::Picture, json!({"max_pixels": 1u64 << 40})),
            (PatchStyle::Picture, json!({"patch_size": 2})),
            (PatchStyle::Picture, json!({"patch_size": 4096, "merge_size": 2})),
            (PatchStyle::Picture, json!({"merge_size": 0})),
            (PatchStyle::Picture, json!({"temporal_patch_size": 17})),
            (PatchStyle::Picture, json!({"image_processor_type": "CLIPImageProcessor"})),
            (PatchStyle::Frames, json!({"video_processor_type": "Qwen3VLVideoProcessor"})),
            (PatchStyle::Video, json!({"video_processor_type": 3})),
            (
                PatchStyle::Video,
                json!({"size": {"shortest_edge": 4096, "longest_edge": 1u64 << 30}}),
            ),
            (PatchStyle::Video, json!({"max_frames": 0})),
            (PatchStyle::Frames, json!({"cap_pixels_per_frame": "yes"})),
        ] {
            let text = PatchProcessor::read(&settings, style).expect_err(&settings.to_string());
            assert!(text.to_string().contains("\nhint: "), "{text}");
        }
    }

    #[test]
    fn no_more_frames_than_the_files_allow() {
        let frame = |i: usize| crate::Frame {
            picture: Picture::filled(1, 1, [i as u8; 3]),
            seconds: i as f64,
        };
        let video = Video { frames: (0..9).map(frame).collect(), duration: 9.0 };
        let taken = |most: usize| -> Vec<f64> {
            let processor = read(json!({"max_frames": most}), PatchStyle::Frames);
            processor.frames(&video).iter().map(|frame| frame.seconds).collect()
        };
        assert_eq!(taken(9).len(), 9);
        assert_eq!(taken(3), [0.0, 4.0, 8.0]);
        assert_eq!(taken(1), [0.0]);
    }
}
