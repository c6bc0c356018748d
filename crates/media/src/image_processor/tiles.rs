//! Tiles of Idefics3 and SmolVLM: squares row by row of a picture whose longer edge fills some, then the whole.

use super::{Fitted, ImageProcessor, Layout, Resize, settings};
use crate::picture::Picture;

impl ImageProcessor {
    pub(super) fn cut(&self, picture: &Picture, resize: Resize, tile: u32, split: bool) -> Fitted {
        let (width, height) = match resize {
            Resize::Exact([height, width]) => (width, height),
            Resize::Longest(n) | Resize::Shortest(n) | Resize::LongestOrLeast(n, _) => {
                longest_edge(picture.width, picture.height, n)
            }
        };
        let scaled = self.resize(picture, width, height);
        let alone =
            |whole| Fitted { pictures: vec![whole], layout: Layout::Tiles { rows: 0, columns: 0 } };
        if !split {
            return alone(self.resize(&scaled, tile, tile));
        }
        let (width, height) = whole_tiles(width, height, tile);
        let scaled = self.resize(&scaled, width, height);
        let (columns, rows) = (width / tile, height / tile);
        if columns <= 1 && rows <= 1 {
            return alone(scaled);
        }
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let mut pictures: Vec<Picture> =
            places.map(|(row, column)| tile_at(&scaled, tile, row, column)).collect();
        pictures.push(self.resize(&scaled, tile, tile));
        Fitted { pictures, layout: Layout::Tiles { rows, columns } }
    }
}

/// The longer edge up to whole tiles, the other as long as the ratio wants, then up too.
fn whole_tiles(width: u32, height: u32, tile: u32) -> (u32, u32) {
    let up = |n: u32| n.div_ceil(tile) * tile;
    let ratio = f64::from(width) / f64::from(height);
    if width >= height {
        let width = up(width);
        (width, up(((f64::from(width) / ratio) as u32).max(1)))
    } else {
        let height = up(height);
        (up(((f64::from(height) * ratio) as u32).max(1)), height)
    }
}

pub(super) fn tile_at(picture: &Picture, edge: u32, row: u32, column: u32) -> Picture {
    let (tile, row_bytes) = (edge as usize, picture.width as usize * 3);
    let start = row as usize * tile * row_bytes + column as usize * tile * 3;
    let lines = (0..tile).flat_map(|y| &picture.pixels[start + y * row_bytes..][..tile * 3]);
    Picture { width: edge, height: edge, pixels: lines.copied().collect() }
}

/// Width and height with the longer edge at `n`; the shorter is made even, as the published code does.
fn longest_edge(width: u32, height: u32, n: u32) -> (u32, u32) {
    let ratio = f64::from(width) / f64::from(height);
    let even = |n: u32| (n + n % 2).max(1);
    let (width, height) = match width >= height {
        true => (n, even((f64::from(n) / ratio) as u32)),
        false => (even((f64::from(n) * ratio) as u32), n),
    };
    (width.min(settings::MAX_SIZE), height.min(settings::MAX_SIZE))
}
