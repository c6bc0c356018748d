//! Icons of about a thousand concepts in three styles, with their names.
//!
//! Styles: Noto (Apache-2.0) and Fluent 3D (MIT) to train on, OpenMoji (CC BY-SA 4.0) to measure on
//! and for nothing else. Names and tags: emojibase (MIT).

mod names;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use sensorium_media::Picture;
use tiny_skia::{FilterQuality, Pixmap, PixmapPaint, PremultipliedColorU8, Transform};

use crate::drawn::sample::Pair;
use crate::drawn::scene::{Background, Paper, Split, UNKNOWN};
use crate::{Error, Result};
use sensorium_kernels::rng::{Rng, hash, mix};

pub use names::{Concept, ZERO_SHOT};

/// Side of the squares in which icons are kept, in pixels.
const KEPT: u32 = 96;

/// How an icon is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Style {
    /// Google's flat icons; for training.
    Noto,
    /// Microsoft's icons with depth; for training.
    Fluent,
    /// Outlined icons; never trained on.
    OpenMoji,
}

impl Style {
    /// The styles that training sees.
    pub const TRAINED: [Self; 2] = [Self::Noto, Self::Fluent];

    /// Folder below `data/icons`, ending of its files.
    fn files(self) -> (&'static str, &'static str) {
        match self {
            Self::Noto => ("noto", "png"),
            Self::Fluent => ("fluent", "webp"),
            Self::OpenMoji => ("openmoji", "svg"),
        }
    }
}

/// The icons of some styles, decoded.
pub struct Icons {
    concepts: Vec<Concept>,
    pictures: HashMap<(usize, Style), Pixmap>,
    /// Concepts that training may see, by index; the others are held out.
    seen: Vec<usize>,
    unseen: Vec<usize>,
}

impl Icons {
    /// Reads the two training styles below `dir` (by default `data/icons`): `emojibase/data.json`,
    /// `noto/*.png`, `fluent/*.webp`. About 100 MB in memory.
    ///
    /// # Errors
    /// A missing or damaged file, by name; no concept drawn in every style.
    pub fn open(dir: &Path) -> Result<Self> {
        Self::open_styles(dir, &Style::TRAINED)
    }

    /// Reads the styles you name. A concept counts when each of them has it.
    ///
    /// # Errors
    /// As [`Icons::open`].
    pub fn open_styles(dir: &Path, styles: &[Style]) -> Result<Self> {
        let mut files = HashMap::new();
        for &style in styles {
            files.insert(style, listing(dir, style)?);
        }
        let mut concepts = names::read(&dir.join("emojibase").join("data.json"))?;
        concepts.retain(|c| files.values().all(|names| names.contains_key(&c.code)));
        if concepts.is_empty() {
            return Err(Error::Empty {
                what: "concepts drawn in every style",
                path: dir.to_owned(),
            });
        }
        let mut pictures = HashMap::new();
        for (style, names) in &files {
            for (n, concept) in concepts.iter().enumerate() {
                pictures.insert((n, *style), decode(&names[&concept.code], *style)?);
            }
        }
        let (unseen, seen) = (0..concepts.len()).partition(|&n| concepts[n].is_held_out());
        Ok(Self { concepts, pictures, seen, unseen })
    }

    /// Every concept, in emojibase's order.
    pub fn concepts(&self) -> &[Concept] {
        &self.concepts
    }

    /// An augmented picture of a random concept and style, `size` x `size` pixels, with a caption.
    /// [`Split::HeldOut`] shows the tenth of the concepts that the other splits never show.
    pub fn pair(&self, split: Split, seed: u64, index: u64, size: u32) -> Pair {
        let rng = &mut split.rng(5, seed, index);
        let pool = if split == Split::HeldOut { &self.unseen } else { &self.seen };
        let at = rng.choose(pool).or(self.seen.first()).or(self.unseen.first());
        let at = at.copied().unwrap_or(0);
        let style = rng.pick(&Style::TRAINED);
        let concept = &self.concepts[at];
        let picture = self.drawn(at, style, size, Some(rng));
        let concept_id = mix(hash(&concept.code));
        let caption = concept.caption(rng);
        let turns = vec![[String::new(), caption.clone()]];
        let gist = concept.label.clone();
        let negatives = Vec::new();
        let places = UNKNOWN;
        Pair { picture, caption, gist, turns, negatives, places, concept: concept_id, scene: None }
    }

    /// The icon of concept `at` centred on white, `size` x `size` pixels; nothing when there is no
    /// such concept or the style was not read.
    pub fn picture(&self, at: usize, style: Style, size: u32) -> Option<Picture> {
        self.pictures.contains_key(&(at, style)).then(|| self.drawn(at, style, size, None))
    }

    /// The well-known concepts of [`ZERO_SHOT`] in one style: index into that list, picture on
    /// white. Classify each among the names of the list.
    pub fn zero_shot(&self, style: Style, size: u32) -> Vec<(usize, Picture)> {
        let find = |label: &str| self.concepts.iter().position(|c| c.label == label);
        ZERO_SHOT
            .iter()
            .enumerate()
            .filter_map(|(n, label)| Some((n, self.picture(find(label)?, style, size)?)))
            .collect()
    }

    /// Draws an icon; with random numbers, at a random scale, angle, place and background.
    fn drawn(&self, at: usize, style: Style, size: u32, rng: Option<&mut Rng>) -> Picture {
        let size = size.clamp(1, 4096);
        let side = size as f32;
        let white = ([255; 3], [255; 3]);
        let (scale, angle, x, y, (top, bottom)) = match rng {
            None => (0.9, 0.0, 0.5, 0.5, white),
            Some(rng) => {
                let (scale, angle) = (rng.between(0.6, 1.0), rng.between(-15.0, 15.0));
                let slack = (1.0 - scale) / 2.0;
                let (x, y) = (0.5 + rng.between(-slack, slack), 0.5 + rng.between(-slack, slack));
                let paper = if rng.chance(0.7) { Paper::White } else { rng.pick(&Paper::ALL) };
                let ground = Background::new(paper, rng);
                (scale, angle, x, y, (ground.top, ground.bottom))
            }
        };
        let mut canvas = Pixmap::new(size, size).expect("a size of 1 to 4096 is a valid pixmap");
        crate::drawn::draw::paper(&mut canvas, top, bottom);
        if let Some(icon) = self.pictures.get(&(at, style)) {
            let zoom = scale * side / KEPT as f32;
            let half = KEPT as f32 / 2.0;
            let place = Transform::from_translate(-half, -half)
                .post_concat(Transform::from_rotate(angle))
                .post_scale(zoom, zoom)
                .post_translate(x * side, y * side);
            let paint = PixmapPaint { quality: FilterQuality::Bilinear, ..PixmapPaint::default() };
            canvas.draw_pixmap(0, 0, icon.as_ref(), &paint, place, None);
        }
        crate::drawn::draw::picture(&canvas)
    }
}

/// File of each code point sequence, which is written without the variation selector fe0f.
fn listing(dir: &Path, style: Style) -> Result<HashMap<String, PathBuf>> {
    let (folder, ending) = style.files();
    let (path, what) = (dir.join(folder), "a folder of icons");
    let unreadable = |source| Error::Unreadable { what, path: path.clone(), source };
    let mut files = HashMap::new();
    for entry in std::fs::read_dir(&path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        if file.extension().is_some_and(|e| e == ending)
            && let Some(stem) = file.file_stem().and_then(|s| s.to_str())
        {
            files.insert(names::code(stem), file);
        }
    }
    Ok(files)
}

/// Decodes an icon and fits it into [`KEPT`] x [`KEPT`] pixels, premultiplied.
fn decode(path: &Path, style: Style) -> Result<Pixmap> {
    let bad = |reason: String| Error::Picture { path: path.to_owned(), reason };
    if style == Style::OpenMoji {
        return rasterise(path).map_err(bad);
    }
    let mut reader = image::ImageReader::open(path).map_err(|source| Error::Unreadable {
        what: "an icon",
        path: path.to_owned(),
        source,
    })?;
    let mut limits = image::Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(1024), Some(1024));
    reader.limits(limits);
    let rgba = reader.decode().map_err(|e| bad(e.to_string()))?.to_rgba8();
    let mut icon =
        Pixmap::new(rgba.width(), rgba.height()).ok_or_else(|| bad("no pixels".into()))?;
    for (to, from) in icon.pixels_mut().iter_mut().zip(rgba.pixels()) {
        let [r, g, b, a] = from.0;
        let scaled = |v: u8| (u16::from(v) * u16::from(a) / 255) as u8;
        *to = PremultipliedColorU8::from_rgba(scaled(r), scaled(g), scaled(b), a)
            .unwrap_or(PremultipliedColorU8::TRANSPARENT);
    }
    fit(&icon).ok_or_else(|| bad("no pixels".into()))
}

/// Averages boxes of pixels, so that shrinking 256 pixels to 96 does not alias; enlarging repeats
/// pixels only as far as boxes of less than a pixel do, which is what bilinear drawing smooths.
fn fit(icon: &Pixmap) -> Option<Pixmap> {
    let side = icon.width().max(icon.height());
    let mut whole = Pixmap::new(side, side)?;
    let (left, top) = ((side - icon.width()) / 2, (side - icon.height()) / 2);
    let (paint, place) = (PixmapPaint::default(), Transform::identity());
    whole.draw_pixmap(left as i32, top as i32, icon.as_ref(), &paint, place, None);
    let mut halved = whole;
    while halved.width() >= 2 * KEPT {
        halved = half(&halved)?;
    }
    let mut kept = Pixmap::new(KEPT, KEPT)?;
    let zoom = KEPT as f32 / halved.width() as f32;
    let paint = PixmapPaint { quality: FilterQuality::Bilinear, ..paint };
    kept.draw_pixmap(0, 0, halved.as_ref(), &paint, Transform::from_scale(zoom, zoom), None);
    Some(kept)
}

/// Half as wide and high: each pixel the mean of four.
fn half(from: &Pixmap) -> Option<Pixmap> {
    let (width, height) = (from.width() / 2, from.height() / 2);
    let mut to = Pixmap::new(width, height)?;
    let (wide, bytes) = (from.width() as usize * 4, from.data());
    for (n, value) in to.data_mut().iter_mut().enumerate() {
        let (pixel, channel) = (n / 4, n % 4);
        let (x, y) = (pixel % width as usize, pixel / width as usize);
        let at = 2 * y * wide + 8 * x + channel;
        let sum: u16 =
            [at, at + 4, at + wide, at + wide + 4].iter().map(|&i| u16::from(bytes[i])).sum();
        *value = (sum / 4) as u8;
    }
    Some(to)
}

/// Draws an SVG into [`KEPT`] x [`KEPT`] pixels.
fn rasterise(path: &Path) -> std::result::Result<Pixmap, String> {
    let text = std::fs::read(path).map_err(|e| e.to_string())?;
    let tree = resvg::usvg::Tree::from_data(&text, &resvg::usvg::Options::default())
        .map_err(|e| e.to_string())?;
    let mut kept = Pixmap::new(KEPT, KEPT).ok_or("no pixels")?;
    let size = tree.size();
    let zoom = KEPT as f32 / size.width().max(size.height());
    resvg::render(&tree, Transform::from_scale(zoom, zoom), &mut kept.as_mut());
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drawn::caption::RELATED;
    use crate::drawn::pairs::{self, Mix};
    use crate::{At, Config, Dataset, DatasetConfig, Media};

    const DATA: &str = r#"[
        {"label": "red apple", "hexcode": "1F34E", "tags": ["fruit", "red"], "group": 4},
        {"label": "flag: France", "hexcode": "1F1EB-1F1F7", "tags": [], "group": 9},
        {"label": "grapes", "hexcode": "1F347", "tags": ["fruit"], "group": 4}]"#;

    fn fixture(dir: &Path) {
        for folder in ["emojibase", "noto", "fluent", "openmoji"] {
            std::fs::create_dir_all(dir.join(folder)).expect("writable");
        }
        std::fs::write(dir.join("emojibase/data.json"), DATA).expect("writable");
        let icon = image::RgbaImage::from_fn(64, 64, |x, _| {
            image::Rgba(if x < 32 { [200, 10, 10, 255] } else { [0, 0, 0, 0] })
        });
        for code in ["1f34e", "1f347"] {
            icon.save(dir.join(format!("noto/{code}.png"))).expect("writable");
            icon.save(dir.join(format!("fluent/{code}.webp"))).expect("writable");
            let svg = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 72">
                <rect width="72" height="72" fill="#00f"/></svg>"##;
            let name = format!("openmoji/{}.svg", code.to_uppercase());
            std::fs::write(dir.join(name), svg).expect("writable");
        }
    }

    #[test]
    fn icons_are_read_drawn_and_named() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fixture(dir.path());
        let icons = Icons::open(dir.path()).expect("opens");
        assert_eq!(icons.concepts().len(), 2, "flags are left out");
        let (a, b) = (icons.pair(Split::Train, 1, 2, 48), icons.pair(Split::Train, 1, 2, 48));
        assert_eq!((&a.picture, &a.caption, a.concept), (&b.picture, &b.caption, b.concept));
        let plain = icons.picture(0, Style::Noto, 48).expect("there");
        let at = |x: usize| &plain.pixels[(24 * 48 + x) * 3..][..3];
        assert_eq!((at(12), at(40), at(0)), (&[200, 10, 10][..], &[255; 3][..], &[255; 3][..]));
        assert!(icons.picture(0, Style::OpenMoji, 48).is_none());
        assert_eq!(icons.zero_shot(Style::Fluent, 16).len(), 2);
    }

    #[test]
    fn a_mixture_with_scenes_is_what_pairs_mix() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fixture(dir.path());
        let icons = Icons::open(dir.path()).expect("opens");
        let (split, seed, size) = (Split::Train, 5, 12);
        let mix =
            Mix { split, seed, size, icons: Some((&icons, 0.35)), related: RELATED, objects: None };
        let config = Config {
            train: vec![
                DatasetConfig::Icons { path: dir.path().to_owned(), share: 0.35 },
                DatasetConfig::Scenes { related: RELATED, objects: None, share: 0.65 },
            ],
            val: vec![],
            val_share: 0.0,
            max_bad: 0.0,
            augment: None,
            curriculum: [0.0, 1.0],
        };
        let mixture =
            config.open_train(seed, size, &sensorium_media::MediaDecoder::here()).expect("opens");
        for index in 0..300 {
            let pair = pairs::pair(&mix, index, 0.5);
            let example = mixture.example(At { epoch: 0, index, progress: 0.5 }).expect("drawn");
            assert_eq!((example.text, example.group), (Some(pair.caption), pair.concept));
            assert_eq!(example.media, [Media::Image(pair.picture)]);
        }
    }

    #[test]
    fn vectors_are_drawn() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fixture(dir.path());
        let icons = Icons::open_styles(dir.path(), &[Style::OpenMoji]).expect("opens");
        let picture = icons.picture(1, Style::OpenMoji, 20).expect("there");
        assert_eq!(picture.pixels[(10 * 20 + 10) * 3..][..3], [0, 0, 255]);
    }

    #[test]
    fn bad_files_are_named() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fixture(dir.path());
        std::fs::write(dir.path().join("noto/1f347.png"), b"no").expect("writable");
        let error = Icons::open(dir.path()).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("1f347.png") && error.contains("hint:"), "{error}");
        std::fs::remove_dir_all(dir.path().join("fluent")).expect("there");
        let error = Icons::open(dir.path()).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("fluent"), "{error}");
    }
}
