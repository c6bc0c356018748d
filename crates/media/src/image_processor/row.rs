//! A picture scaled onto the grid of tiles that is nearest to its ratio, then the whole again.
//!
//! InternVL 1.5 (Chen et al. 2024, <https://arxiv.org/abs/2404.16821>, section 3.3).
//!
//! ```text
//! picture ──nearest ratio──▶ rows x columns ──ratio bent──▶ tiles, then the whole if there are several
//! ```

use super::tiles::tile_at;
use super::{Fitted, ImageProcessor, Layout};
use crate::picture::Picture;

/// Grids to choose from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Row {
    /// Side of a tile.
    pub tile: u32,
    /// Fewest and most tiles.
    pub tiles: [u32; 2],
}

impl Row {
    /// Its tiles, then the whole.
    pub fn cut(self, by: &ImageProcessor, picture: &Picture) -> Fitted {
        let [rows, columns] = self.best([picture.height, picture.width]);
        if rows * columns == 1 {
            return self.whole(by, picture);
        }
        let scaled = by.resize(picture, columns * self.tile, rows * self.tile);
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let tiles = places.map(|(row, column)| tile_at(&scaled, self.tile, row, column));
        let whole = by.resize(picture, self.tile, self.tile);
        let pictures: Vec<Picture> = tiles.chain([whole]).collect();
        Fitted { layout: Layout::Row { tiles: pictures.len() as u32 }, pictures }
    }

    /// The whole alone.
    pub fn whole(self, by: &ImageProcessor, picture: &Picture) -> Fitted {
        let pictures = vec![by.resize(picture, self.tile, self.tile)];
        Fitted { pictures, layout: Layout::Row { tiles: 1 } }
    }

    /// Rows and columns nearest to the picture's ratio; of several as near, the last that it fills by half.
    fn best(self, [height, width]: [u32; 2]) -> [u32; 2] {
        let [least, most] = self.tiles;
        let ratio = f64::from(width) / f64::from(height);
        let area = f64::from(width) * f64::from(height);
        let all = (1..=most).flat_map(|columns| (1..=most).map(move |rows| [rows, columns]));
        let mut grids: Vec<[u32; 2]> =
            all.filter(|[rows, columns]| (least..=most).contains(&(rows * columns))).collect();
        grids.sort_by_key(|[rows, columns]| rows * columns);
        let (mut best, mut nearest) = ([1, 1], f64::INFINITY);
        for [rows, columns] in grids {
            let apart = (ratio - f64::from(columns) / f64::from(rows)).abs();
            let half = 0.5 * f64::from(self.tile).powi(2) * f64::from(rows * columns);
            if apart < nearest || apart == nearest && area > half {
                (best, nearest) = ([rows, columns], apart);
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `get_optimal_tiled_canvas` of transformers, turned.
    #[test]
    fn grids_are_transformers() {
        let row = Row { tile: 448, tiles: [1, 12] };
        for (size, grid) in [
            ([480, 640], [3, 4]),
            ([100, 100], [1, 1]),
            ([900, 900], [2, 2]),
            ([300, 900], [1, 3]),
            ([2000, 100], [12, 1]),
            ([1080, 1920], [2, 4]),
        ] {
            assert_eq!(row.best(size), grid, "{size:?}");
        }
        assert_eq!(Row { tiles: [3, 2], ..row }.best([9, 9]), [1, 1]);
    }
}
