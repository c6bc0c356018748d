//! What generators make: numbers on a grid of time, height and width, and the tokens that they are cut into.

use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

/// The grid of one medium, and the boxes of it that are a token each.
///
/// A picture's is one frame of a [`Vae`](crate::Vae)'s latents, a clip's several, a sound's a spectrogram: a
/// frame for each of its columns, of one position with the bands as channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// Frames F, channels c, height and width.
    pub size: [usize; 4],
    /// Frames, height and width of a token.
    pub patch: [usize; 3],
}

impl Grid {
    /// Tokens N.
    pub fn tokens(&self) -> usize {
        let [f, _, h, w] = self.size;
        let [pf, ph, pw] = self.patch;
        (f / pf) * (h / ph) * (w / pw)
    }

    /// Numbers of a token.
    pub fn token_size(&self) -> usize {
        self.size[1] * self.patch.iter().product::<usize>()
    }

    /// What is wrong with the sizes: what is expected, and what there is.
    pub fn wrong(&self) -> Option<(&'static str, String)> {
        let [f, c, h, w] = self.size;
        let fits = |side: usize, patch: usize| patch > 0 && side > 0 && side.is_multiple_of(patch);
        let [pf, ph, pw] = self.patch;
        (!(fits(f, pf) && fits(h, ph) && fits(w, pw) && c > 0))
            .then(|| ("frames, height and width in whole patches", format!("{self:?}")))
    }

    /// `[B, F, c, h, w] -> [B, N, token_size]`
    pub fn cut(&self, x: Tensor<5>) -> Tensor<3> {
        let [f, c, h, w] = self.size;
        let [pf, ph, pw] = self.patch;
        let b = x.dims()[0];
        // A box of time and channels first, then of height and width: no tensor has more than 6 axes.
        let x = x.reshape([b * (f / pf), pf * c, h / ph, ph, w / pw, pw]);
        let x = x.permute([0, 2, 4, 1, 3, 5]);
        x.reshape([b, self.tokens(), self.token_size()])
    }

    /// `[B, N, token_size] -> [B, F, c, h, w]`
    pub fn join(&self, x: Tensor<3>) -> Tensor<5> {
        let [f, c, h, w] = self.size;
        let [pf, ph, pw] = self.patch;
        let b = x.dims()[0];
        let x = x.reshape([b * (f / pf), h / ph, w / pw, pf * c, ph, pw]);
        x.permute([0, 3, 1, 4, 2, 5]).reshape([b, f, c, h, w])
    }
}

#[cfg(test)]
mod tests {
    use sensorium_nn::params::read;

    use super::*;

    #[test]
    fn what_is_cut_is_joined() {
        let grid = Grid { size: [4, 3, 6, 2], patch: [2, 3, 1] };
        let x = Init::new(1, &Device::flex()).normal([2, 4, 3, 6, 2], 1.0).val();
        let tokens = grid.cut(x.clone());
        assert_eq!(tokens.dims(), [2, 8, 18]);
        assert_eq!(read(grid.join(tokens)), read(x));
    }

    #[test]
    fn a_token_is_a_box() {
        let grid = Grid { size: [1, 1, 4, 4], patch: [1, 2, 2] };
        let counted = (0..16).map(|i| i as f32).collect::<Vec<_>>();
        let x = TensorData::new(counted, [1, 1, 1, 4, 4]);
        let tokens = grid.cut(Tensor::from_data(x, &Device::flex()));
        assert_eq!(read(tokens)[..8], [0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0]);
    }
}
