//! Pictures cut into square tiles with the whole beside them, as Idefics3 and SmolVLM read them, equal
//! to transformers' own (its Pillow backend).
//!
//! Laurençon et al. 2024, <https://arxiv.org/abs/2408.12637>, section 3.1
//!
//! ```text
//! picture ──longest edge──▶ ──edges up to multiples of a tile──▶ rows x columns tiles, row by row
//!                                                            └──squeezed──▶ one tile: the whole
//! ```

use serde_json::Value;

use crate::Result;
use crate::hub_processor::{Settings, Style, both, edge, planes, wrong};
use crate::picture::Picture;
use crate::resample::{Filter, Window};

/// Longest edge of a picture before it is cut, whatever the settings say.
const MAX_EDGE: u32 = 4096;
/// Tiles along an edge: the published models have 4 or 5, and a token for each place up to 6.
const MAX_TILES: u32 = 16;

/// A published image processor that cuts pictures into tiles.
#[derive(Clone, Debug, PartialEq)]
pub struct TileProcessor {
    /// What a picture is first scaled to.
    size: Size,
    filter: Filter,
    /// Edge of a tile in pixels.
    tile: u32,
    /// Whether pictures are cut; else each is one tile.
    split: bool,
    levels: [Vec<f32>; 3],
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Size {
    /// The longer edge, with the ratio kept.
    Longest(u32),
    /// Height and width, whatever the ratio.
    Exact([u32; 2]),
}

/// What a picture becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct Tiles {
    /// Squares of one size: row by row, the whole picture last.
    pub tiles: Vec<Picture>,
    /// Rows of tiles; 0 if the picture was not cut.
    pub rows: u32,
    /// Columns of tiles; 0 if the picture was not cut.
    pub columns: u32,
}

impl TileProcessor {
    /// Reads the settings; defaults are those of `Idefics3ImageProcessor`.
    ///
    /// # Errors
    /// [`Error::Processor`](crate::Error::Processor) for a setting that is damaged or asks for what is
    /// not done here.
    pub fn from_json(settings: &Value) -> Result<Self> {
        const NAMES: [&str; 2] = ["Idefics3ImageProcessor", "SmolVLMImageProcessor"];
        let settings = Settings::named(settings, &NAMES, "Idefics3- or SmolVLMImageProcessor")?;
        let size = match settings.get("size") {
            None => Size::Longest(4 * 364),
            Some(value) => match (edge(value.get("longest_edge")), both(value)) {
                (Some(n), _) => Size::Longest(n),
                (None, Some(size)) => Size::Exact(size),
                _ => return Err(wrong("size", "{\"longest_edge\": n}", value)),
            },
        };
        let tile = match settings.get("max_image_size") {
            None => 364,
            Some(value) => edge(value.get("longest_edge"))
                .ok_or_else(|| wrong("max_image_size", "{\"longest_edge\": n}", value))?,
        };
        let longest = match size {
            Size::Longest(n) => n,
            Size::Exact([height, width]) => height.max(width),
        };
        if longest.div_ceil(tile) > MAX_TILES {
            let expected = format!("an edge of at most {MAX_TILES} tiles of {tile} pixels");
            return Err(wrong("size", &expected, &Value::from(longest)));
        }
        let split = settings.flag("do_image_splitting", true)?;
        let filter = settings.filter(Filter::Lanczos)?;
        Ok(Self { size, filter, tile, split, levels: settings.levels(Style::Siglip)? })
    }

    /// Edge of a tile in pixels.
    pub fn tile(&self) -> u32 {
        self.tile
    }

    /// Cuts a picture.
    pub fn cut(&self, picture: &Picture) -> Tiles {
        let (width, height) = match self.size {
            Size::Longest(n) => longest_edge(picture.width, picture.height, n),
            Size::Exact([height, width]) => (width, height),
        };
        let scaled = self.resize(picture, width, height);
        if !self.split {
            let tiles = vec![self.resize(&scaled, self.tile, self.tile)];
            return Tiles { tiles, rows: 0, columns: 0 };
        }
        let (width, height) = self.whole_tiles(width, height);
        let scaled = self.resize(&scaled, width, height);
        let (columns, rows) = (width / self.tile, height / self.tile);
        if columns <= 1 && rows <= 1 {
            return Tiles { tiles: vec![scaled], rows: 0, columns: 0 };
        }
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let mut tiles: Vec<Picture> =
            places.map(|(row, column)| self.tile_at(&scaled, row, column)).collect();
        tiles.push(self.resize(&scaled, self.tile, self.tile));
        Tiles { tiles, rows, columns }
    }

    /// `[3, tile, tile]`: planes of red, green, blue of one tile.
    pub fn planes(&self, tile: &Picture) -> Vec<f32> {
        planes(tile, &self.levels)
    }

    /// The longer edge up to whole tiles, the other as long as the ratio wants, then up too.
    fn whole_tiles(&self, width: u32, height: u32) -> (u32, u32) {
        let up = |n: u32| n.div_ceil(self.tile) * self.tile;
        let ratio = f64::from(width) / f64::from(height);
        if width >= height {
            let width = up(width);
            (width, up(((f64::from(width) / ratio) as u32).max(1)))
        } else {
            let height = up(height);
            (up(((f64::from(height) * ratio) as u32).max(1)), height)
        }
    }

    fn resize(&self, picture: &Picture, width: u32, height: u32) -> Picture {
        picture.resize_window(self.filter, Window::whole(width), Window::whole(height))
    }

    fn tile_at(&self, picture: &Picture, row: u32, column: u32) -> Picture {
        let (tile, row_bytes) = (self.tile as usize, picture.width as usize * 3);
        let start = row as usize * tile * row_bytes + column as usize * tile * 3;
        let lines = (0..tile).flat_map(|y| &picture.pixels[start + y * row_bytes..][..tile * 3]);
        Picture { width: self.tile, height: self.tile, pixels: lines.copied().collect() }
    }
}

/// Width and height with the longer edge at `n`; the shorter is made even, as the published code does.
fn longest_edge(width: u32, height: u32, n: u32) -> (u32, u32) {
    let ratio = f64::from(width) / f64::from(height);
    let even = |n: u32| (n + n % 2).max(1);
    let (width, height) = match width >= height {
        true => (n, even((f64::from(n) / ratio) as u32)),
        false => (even((f64::from(n) * ratio) as u32), n),
    };
    (width.min(MAX_EDGE), height.min(MAX_EDGE))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(settings: Value) -> Result<TileProcessor> {
        TileProcessor::from_json(&settings)
    }

    #[test]
    fn pictures_are_cut_into_rows_and_columns() {
        let settings = json!({"size": {"longest_edge": 32}, "max_image_size": {"longest_edge": 8}});
        let processor = read(settings).unwrap();
        for (width, height, rows, columns) in
            [(100, 100, 4, 4), (100, 30, 2, 4), (3, 90, 4, 1), (1, 1000, 4, 1)]
        {
            let tiles = processor.cut(&Picture::filled(width, height, [9; 3]));
            assert_eq!((tiles.rows, tiles.columns), (rows, columns), "{width}x{height}");
            assert_eq!(tiles.tiles.len() as u32, rows * columns + 1);
            assert!(tiles.tiles.iter().all(|t| *t == Picture::filled(8, 8, [9; 3])));
        }
        let settings = json!({"size": {"longest_edge": 8}, "max_image_size": {"longest_edge": 8}});
        let whole = read(settings).unwrap().cut(&Picture::filled(50, 20, [1; 3]));
        assert_eq!((whole.tiles.len(), whole.rows, whole.columns), (1, 0, 0));
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for settings in [
            json!(3),
            json!({"do_resize": false}),
            json!({"size": {"shortest_edge": 3}}),
            json!({"size": {"longest_edge": 4000}, "max_image_size": {"longest_edge": 8}}),
            json!({"max_image_size": {"longest_edge": 0}}),
            json!({"image_processor_type": "CLIPImageProcessor"}),
            json!({"resample": 9}),
        ] {
            let text = read(settings.clone()).expect_err(&settings.to_string()).to_string();
            assert!(text.contains("\nhint: "), "{text}");
        }
    }
}
