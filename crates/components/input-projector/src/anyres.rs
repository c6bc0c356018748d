//! From the tokens of a picture's tiles to those of the picture: the whole, then the tiles as one grid
//! without what pads it, a learned vector at the end of each row.
//!
//! LLaVA-NeXT (Liu et al. 2024, <https://llava-vl.github.io/blog/2024-01-30-llava-next/>); a grid that is too
//! fine is scaled down, and a video's frames have a quarter of their tokens, in LLaVA-OneVision (Li et al.
//! 2024, <https://arxiv.org/abs/2408.03326>, section 3.2).

use sensorium_flow::Embeds;
use sensorium_nn::prelude::*;

/// Shape of an [`Anyres`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnyresConfig {
    /// Width D of the tokens.
    pub width: usize,
    /// Tokens along an edge of a tile.
    pub grid: usize,
    /// Tiles whose tokens a grid may have, by a margin; of more it is scaled down.
    pub most: Option<usize>,
}

/// Tokens of a picture in tiles, put together as the rows of one.
#[derive(Module, Debug)]
pub struct Anyres {
    newline: Param<Tensor<1>>,
    #[module(skip)]
    grid: usize,
    #[module(skip)]
    most: Option<usize>,
}

/// What of a grid of tokens is the picture's.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Window {
    /// Rows and columns before it.
    skipped: [usize; 2],
    /// Rows and columns of it.
    size: [usize; 2],
    /// What it is scaled to.
    scaled: [usize; 2],
}

impl Anyres {
    /// The vector at the end of rows as wide as a token is long.
    pub fn init(config: &AnyresConfig, init: &mut Init) -> Self {
        let std = (config.width as f64).powf(-0.5);
        let newline = init.normal([config.width], std);
        Self { newline, grid: config.grid, most: config.most }
    }

    /// Tokens of a picture of `size` (height and width) in rows and columns of `tiles`.
    pub fn tokens(&self, tiles: [usize; 2], size: [usize; 2]) -> usize {
        let whole = self.grid * self.grid;
        match tiles {
            [0, _] | [_, 0] => whole + 1,
            _ => {
                let [rows, columns] = self.window(tiles, size).scaled;
                whole + rows * (columns + 1)
            }
        }
    }

    /// Tokens of a video of so many frames.
    pub fn tokens_of_frames(&self, frames: usize) -> usize {
        frames * self.grid.div_ceil(2).pow(2) + 1
    }

    /// The tokens of a picture's whole and of its tiles, `[1 + tiles, Q, D]`, as the picture's, `[1, Q', D]`.
    pub fn join(&self, Embeds(x): Embeds, tiles: [usize; 2], size: [usize; 2]) -> Embeds {
        let [n, _, d] = x.dims();
        let whole = x.clone().narrow(0, 0, 1);
        if n == 1 {
            return Embeds(Tensor::cat(vec![whole, self.newline.val().reshape([1, 1, d])], 1));
        }
        let ([rows, columns], g) = (tiles, self.grid);
        let grid = x.narrow(0, 1, n - 1).reshape([rows, columns, g, g, d]);
        let grid = grid.swap_dims(1, 2).reshape([rows * g, columns * g, d]);
        let Window { skipped, size, scaled } = self.window(tiles, size);
        let [rows, columns] = scaled;
        if rows == 0 {
            return Embeds(whole);
        }
        let ends = self.newline.val().reshape([1, 1, d]).expand([rows, 1, d]);
        let lines = match columns {
            0 => ends,
            _ => {
                let seen = grid.narrow(0, skipped[0], size[0]).narrow(1, skipped[1], size[1]);
                Tensor::cat(vec![bilinear(seen, scaled), ends], 1)
            }
        }; // [rows, columns + 1, D]
        Embeds(Tensor::cat(vec![whole, lines.reshape([1, rows * (columns + 1), d])], 1))
    }

    /// The tokens of a video's frames, `[frames, Q, D]`, as the video's, `[1, Q', D]`.
    pub fn join_frames(&self, Embeds(x): Embeds) -> Embeds {
        let ([n, _, d], half) = (x.dims(), self.grid.div_ceil(2));
        let frame = |i| {
            let grid = x.clone().narrow(0, i, 1).reshape([self.grid, self.grid, d]);
            bilinear(grid, [half; 2]).reshape([1, half * half, d])
        };
        let mut parts: Vec<Tensor<3>> = (0..n).map(frame).collect();
        parts.push(self.newline.val().reshape([1, 1, d]));
        Embeds(Tensor::cat(parts, 1))
    }

    /// A picture's part of the grid: tiles hold it whole, with padding on both sides of its shorter edge.
    fn window(&self, tiles: [usize; 2], size: [usize; 2]) -> Window {
        let grid = tiles.map(|n| n * self.grid);
        let [[rows, columns], [height, width]] = [grid, size].map(|both| both.map(|n| n as f64));
        // What is as good as a whole number is one, as in the published code.
        let whole = |edge: f64| (edge + 5e-8) as usize;
        let mut skipped = [0, 0];
        if width / height > columns / rows {
            skipped[0] = grid[0].saturating_sub(whole(height * (columns / width))) / 2;
        } else {
            skipped[1] = grid[1].saturating_sub(whole(width * (rows / height))) / 2;
        }
        let size = [0, 1].map(|i| grid[i] - 2 * skipped[i]);
        Window { skipped, size, scaled: self.scaled(size) }
    }

    /// What a grid of this size is scaled to.
    fn scaled(&self, size: [usize; 2]) -> [usize; 2] {
        let Some(most) = self.most else { return size };
        let [cells, allowed] = [size[0] * size[1], most * self.grid * self.grid].map(|n| n as f64);
        let ratio = (cells / allowed).sqrt();
        // The margin of the published code.
        if ratio > 1.1 { size.map(|edge| ((edge as f64 / ratio) as usize).max(1)) } else { size }
    }
}

/// `[h, w, D] -> [to, to', D]` as PyTorch's `interpolate(mode="bilinear")` does.
fn bilinear(x: Tensor<3>, to: [usize; 2]) -> Tensor<3> {
    let [h, w, d] = x.dims();
    let ([rows, columns], device) = (to, x.device());
    if [h, w] == to {
        return x;
    }
    let down = taps(h, rows, &device).matmul(x.reshape([h, w * d])); // [rows, w·D]
    let across = taps(w, columns, &device).unsqueeze::<3>().expand([rows, columns, w]);
    across.matmul(down.reshape([rows, w, d]))
}

/// `[to, from]`: how much each of the places along an edge counts at each of the new ones.
fn taps(from: usize, to: usize, device: &Device) -> Tensor<2> {
    let mut weights = vec![0.0; to * from];
    let scale = from as f32 / to as f32;
    for (place, row) in weights.chunks_exact_mut(from.max(1)).enumerate() {
        let at = ((place as f32 + 0.5) * scale - 0.5).max(0.0);
        let first = (at as usize).min(from - 1);
        let share = at - first as f32;
        row[first] += 1.0 - share;
        row[(first + 1).min(from - 1)] += share;
    }
    Tensor::from_data(TensorData::new(weights, [to, from]), device)
}

#[cfg(test)]
mod tests {
    use sensorium_nn::params::read;

    use super::*;

    fn anyres(grid: usize, most: Option<usize>) -> Anyres {
        Anyres::init(&AnyresConfig { width: 3, grid, most }, &mut Init::new(1, &Device::flex()))
    }

    /// `_get_number_of_features` of transformers' processors.
    #[test]
    fn pictures_have_as_many_tokens_as_published() {
        let next = anyres(24, None);
        for (tiles, size, tokens) in [
            ([2, 2], [480, 640], 2340),
            ([1, 2], [100, 100], 1176),
            ([1, 3], [300, 900], 2328),
            ([3, 1], [2000, 100], 936),
            ([1, 2], [1, 5000], 576),
            ([1, 2], [5000, 1], 600),
        ] {
            assert_eq!(next.tokens(tiles, size), tokens, "{size:?}");
        }
        let onevision = anyres(27, Some(9));
        assert_eq!(onevision.tokens([2, 2], [480, 640]), 2929);
        assert_eq!(onevision.tokens([6, 6], [2300, 2304]), 7371);
        assert_eq!(onevision.tokens([0, 0], [480, 640]), 730);
        assert_eq!(onevision.tokens_of_frames(8), 8 * 196 + 1);
    }

    #[test]
    fn what_is_joined_has_as_many_tokens_as_are_told() {
        let mut init = Init::new(2, &Device::flex());
        for most in [None, Some(1)] {
            let anyres = anyres(4, most);
            for (tiles, size) in [
                ([1, 2], [30, 70]),
                ([2, 1], [90, 10]),
                ([3, 3], [50, 49]),
                ([1, 2], [1, 999]),
                ([2, 1], [999, 1]),
            ] {
                let n = 1 + tiles[0] * tiles[1];
                let x = Embeds(init.normal([n, 16, 3], 1.0).val());
                let joined = anyres.join(x, tiles, size).0;
                assert_eq!(joined.dims(), [1, anyres.tokens(tiles, size), 3], "{tiles:?} {size:?}");
            }
            let x = Embeds(init.normal([5, 16, 3], 1.0).val());
            assert_eq!(anyres.join_frames(x).0.dims(), [1, anyres.tokens_of_frames(5), 3]);
        }
    }

    /// `torch.nn.functional.interpolate` of 0..9 as 3x3 to 2x2.
    #[test]
    fn grids_are_scaled_as_pytorch_does() {
        let x = Tensor::<1>::from_floats([0., 1., 2., 3., 4., 5., 6., 7., 8.], &Device::flex());
        let got = read(bilinear(x.reshape([3, 3, 1]), [2, 2]));
        let want = [1.0, 2.5, 5.5, 7.0];
        assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?}");
    }
}
