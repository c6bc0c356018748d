//! A picture of any resolution on the canvas that wastes the least of it, cut into squares.
//!
//! LLaVA-NeXT (Liu et al. 2024, <https://llava-vl.github.io/blog/2024-01-30-llava-next/>); LLaVA-OneVision
//! (Li et al. 2024, <https://arxiv.org/abs/2408.03326>, section 3.2) cuts only a picture that is alone.
//!
//! ```text
//! picture ──best canvas──▶ ──ratio kept, on black──▶ the whole, then rows x columns
//! ```

use super::tiles::tile_at;
use super::{Fitted, ImageProcessor, Layout};
use crate::picture::Picture;

/// Canvases to choose from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Anyres {
    /// Height and width of each, whole tiles.
    pub pinpoints: Vec<[u32; 2]>,
    /// Side of a tile.
    pub tile: u32,
    /// What stands around one of several pictures, which is made a square and not cut.
    pub among: Option<[u8; 3]>,
}

impl Anyres {
    /// The whole, then its tiles.
    pub fn cut(&self, by: &ImageProcessor, picture: &Picture) -> Fitted {
        let canvas = best(&self.pinpoints, [picture.height, picture.width]);
        let [height, width] = within([picture.height, picture.width], canvas);
        let scaled = by.resize(picture, width, height);
        let (left, top) = ((canvas[1] - width) / 2, (canvas[0] - height) / 2);
        let canvas = scaled.placed(canvas[1], canvas[0], left, top, [0; 3]);
        let [rows, columns] = [canvas.height, canvas.width].map(|edge| edge / self.tile);
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let tiles = places.map(|(row, column)| tile_at(&canvas, self.tile, row, column));
        let whole = by.resize(picture, self.tile, self.tile);
        Fitted {
            pictures: std::iter::once(whole).chain(tiles).collect(),
            layout: Layout::Anyres { rows, columns, size: [picture.height, picture.width] },
        }
    }

    /// One of several pictures.
    pub fn among(&self, by: &ImageProcessor, picture: &Picture) -> Fitted {
        match self.among {
            Some(colour) => self.whole(by, &by.squared(picture, colour)),
            None => self.cut(by, picture),
        }
    }

    /// The whole alone, whatever its ratio.
    pub fn whole(&self, by: &ImageProcessor, picture: &Picture) -> Fitted {
        let layout = Layout::Anyres { rows: 0, columns: 0, size: [picture.height, picture.width] };
        Fitted { pictures: vec![by.resize(picture, self.tile, self.tile)], layout }
    }
}

/// Those of LLaVA-NeXT.
pub(super) fn next() -> Vec<[u32; 2]> {
    vec![[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
}

/// Those of OneVision: up to six tiles an edge.
pub(super) fn onevision() -> Vec<[u32; 2]> {
    let edges = || (1..=6).map(|tiles| tiles * 384);
    edges().flat_map(|height| edges().map(move |width| [height, width])).collect()
}

/// The canvas on which most of the picture's pixels are kept, of several the one with the fewest besides.
fn best(pinpoints: &[[u32; 2]], [height, width]: [u32; 2]) -> [u32; 2] {
    let pixels = u64::from(height) * u64::from(width);
    let kept = |canvas: [u32; 2]| {
        let [down, across] = [0, 1].map(|i| f64::from(canvas[i]) / f64::from([height, width][i]));
        let scale = down.min(across);
        let [height, width] = [height, width].map(|edge| (f64::from(edge) * scale) as u64);
        let kept = pixels.min(height * width);
        (kept, u64::from(canvas[0]) * u64::from(canvas[1]) - kept)
    };
    // The first of several that are alike.
    let better = |best: [u32; 2], canvas: [u32; 2]| {
        let ((kept, wasted), (most, least)) = (kept(canvas), kept(best));
        if kept > most || kept == most && wasted < least { canvas } else { best }
    };
    pinpoints.iter().copied().reduce(better).unwrap_or([1; 2])
}

/// Height and width at which a picture touches the edges of a canvas that is nearer in ratio.
fn within([height, width]: [u32; 2], canvas: [u32; 2]) -> [u32; 2] {
    let [down, across] =
        [f64::from(canvas[0]) / f64::from(height), f64::from(canvas[1]) / f64::from(width)];
    if across < down {
        [((f64::from(height) * across).ceil() as u32).clamp(1, canvas[0]), canvas[1]]
    } else {
        [canvas[0], ((f64::from(width) * down).ceil() as u32).clamp(1, canvas[1])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `select_best_resolution` and `get_patch_output_size` of transformers.
    #[test]
    fn canvases_and_sizes_are_transformers() {
        for (size, canvas, scaled) in [
            ([480, 640], [672, 672], [504, 672]),
            ([100, 100], [336, 672], [336, 336]),
            ([300, 900], [336, 1008], [336, 1008]),
            ([2000, 100], [1008, 336], [1008, 51]),
            ([1, 5000], [336, 672], [1, 672]),
        ] {
            assert_eq!(best(&next(), size), canvas, "{size:?}");
            assert_eq!(within(size, canvas), scaled, "{size:?}");
        }
    }
}
