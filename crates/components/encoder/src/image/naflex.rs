//! SigLIP 2's encoder of pictures of any shape: one Vision Transformer whose positions are stretched to
//! the patches that a picture has.
//!
//! Tschannen et al. 2025, <https://arxiv.org/abs/2502.14786>, section 2.4.1 (NaFlex)
//!
//! ```text
//! table [n², E] ──stretch──▶ [rows · columns, E] ─┐
//! image [B, c, h, w] ──patches──▶ [B, N, E] ──────┴─ + ──blocks──▶ [B, N, E] ──pool──▶ [B, C]
//! ```

use sensorium_flow::{Encode, Features};
use sensorium_nn::prelude::*;

use super::{Vit, VitConfig};

/// A [`Vit`] that reads pictures of any number of patches.
#[derive(Module, Debug)]
pub struct Naflex {
    vit: Vit,
    /// Edge of a patch in pixels.
    #[module(skip)]
    patch: usize,
    /// Places along an edge of the table of positions.
    #[module(skip)]
    side: usize,
}

impl Naflex {
    /// `vit`, which is of this shape: its positions are a square's.
    pub fn new(vit: Vit, config: &VitConfig) -> Self {
        let patch = config.stem.first().map_or(1, |conv| conv.kernel);
        Self { vit, patch, side: config.grid() }
    }

    /// The encoder for pictures of so many rows and columns of patches.
    pub fn at(&self, [rows, columns]: [usize; 2]) -> Vit {
        let Some(table) = self.vit.position() else { return self.vit.clone() };
        let (n, e, device) = (self.side, table.dims()[1], table.device());
        let matrix = |to: usize| {
            let data = TensorData::new(stretch(n, to), [to, n]);
            Tensor::<2>::from_data(data, &device)
        };
        let down = matrix(rows).matmul(table.reshape([n, n * e])); // [rows, n · E]
        let across = matrix(columns).unsqueeze::<3>().repeat_dim(0, rows); // [rows, columns, n]
        let places = across.matmul(down.reshape([rows, n, e])); // [rows, columns, E]
        self.vit.placed(places.reshape([rows * columns, e]))
    }

    /// Pictures of one size, a multiple of a patch, to the shared space, not yet of unit length:
    /// `[B, 3, h, w] -> [B, C]`.
    pub fn embed(&self, image: Tensor<4>) -> Tensor<2> {
        self.fitting(&image).embed(image)
    }

    fn fitting(&self, image: &Tensor<4>) -> Vit {
        let [_, _, height, width] = image.dims();
        self.at([height, width].map(|edge| edge / self.patch))
    }
}

impl Encode for Naflex {
    type Input = Tensor<4>;

    /// Pictures of one size, a multiple of a patch: `[B, 3, h, w] -> [B, N, E]`.
    fn encode(&self, image: Tensor<4>) -> Features {
        self.fitting(&image).encode(image)
    }
}

sensorium_nn::pack!(Naflex: vit);

/// What each of `to` places takes from `from`, `[to, from]`: a triangle around its middle, as wide as
/// a place of the coarser of the two, as PyTorch's `interpolate(mode="bilinear", antialias=True,
/// align_corners=False)` has it.
fn stretch(from: usize, to: usize) -> Vec<f32> {
    let scale = from as f32 / to as f32;
    let reach = scale.max(1.0);
    let row = |place: usize| {
        let middle = scale * (place as f32 + 0.5);
        let first = ((middle - reach + 0.5) as isize).max(0) as usize;
        let end = ((middle + reach + 0.5) as usize).min(from);
        let weight = move |at: usize| (1.0 - ((at as f32 - middle + 0.5) / reach).abs()).max(0.0);
        let sum: f32 = (first..end).map(weight).sum();
        (0..from).map(move |at| if (first..end).contains(&at) { weight(at) / sum } else { 0.0 })
    };
    (0..to).flat_map(|place| row(place).collect::<Vec<f32>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_the_same_size_stays_the_same() {
        let same = stretch(3, 3);
        assert_eq!(same, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    }

    /// `interpolate` of the numbers 0 to 4, and of 0 to 2.
    #[test]
    fn numbers_are_pytorchs() {
        let of = |from: usize, to: usize| -> Vec<f32> {
            let rows = stretch(from, to);
            let sum = |row: &[f32]| row.iter().enumerate().map(|(i, w)| i as f32 * w).sum();
            rows.chunks(from).map(sum).collect()
        };
        let close = |got: Vec<f32>, want: &[f32]| {
            assert_eq!(got.len(), want.len());
            let near = got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6);
            assert!(near, "{got:?}, want {want:?}");
        };
        close(of(5, 2), &[1.0, 3.0]);
        close(of(3, 5), &[0.0, 0.4, 1.0, 1.6, 2.0]);
        close(of(4, 1), &[1.5]);
    }
}
