//! Qwen2-VL, Qwen2.5-VL and Qwen3-VL: pictures and videos of any shape among a language model's tokens, with
//! places in time, height and width.
//!
//! Wang et al. 2024, <https://arxiv.org/abs/2409.12191>; Bai et al. 2025, <https://arxiv.org/abs/2502.13923>;
//! Bai et al. 2025, <https://arxiv.org/abs/2511.21631>
//!
//! ```text
//! patches [B, N, 3·frames·p²] ──encode──▶ [B, N, E·(1+L)] ──merge──▶ [1, Q, D], and L more ─┐
//! ids [T] ──embed──▶ [1, T, D] ──────splice───▶ backbone ◀── behind its first L layers ─────┘
//! ```

use std::sync::Arc;

use sensorium_encoder::image::{Patches, QwenVit, QwenVitConfig};
use sensorium_flow::{Embeds, Encode, Grid};
use sensorium_input_projector::{Mergers, MergersConfig};
use sensorium_media::Slot;
use sensorium_nn::prelude::*;

use crate::splice::splice;

/// Shape of a [`PatchTower`].
#[derive(Clone, Debug, PartialEq)]
pub struct PatchTowerConfig {
    /// The encoder.
    pub image: QwenVitConfig,
    /// From its features to the backbone's tokens.
    pub projector: MergersConfig,
}

/// An encoder of patches, and what makes the backbone's tokens of each of its levels.
#[derive(Module, Debug)]
pub struct PatchTower {
    /// The encoder.
    pub image: QwenVit,
    /// From its features to the backbone's tokens.
    pub projector: Mergers,
}

sensorium_nn::pack!(PatchTower: image, projector);

impl PatchTower {
    /// Seeded weights.
    pub fn init(config: &PatchTowerConfig, init: &mut Init) -> Self {
        Self {
            image: QwenVit::init(&config.image, init),
            projector: Mergers::init(&config.projector, init),
        }
    }

    /// Steps in time of one medium to its tokens, `[1 + L, Q, D]`: those that are spliced in, and what is added
    /// behind each of the backbone's first L layers.
    pub fn embed(&self, patches: Patches) -> Tensor<3> {
        let levels = self.projector.project(self.image.encode(patches)).into_iter();
        let row = |Embeds(x): Embeds| {
            let [b, q, d] = x.dims();
            x.reshape([1, b * q, d])
        };
        Tensor::cat(levels.map(row).collect(), 0)
    }
}

/// The prompt's tokens `text [1, T, D]` with those of its media, `[1 + L, Q, D]`, at their slots, and what is added
/// behind each of the first L layers, `[1, T, D]`.
pub fn spliced(text: Embeds, media: Tensor<3>, slots: &[Slot]) -> (Embeds, Vec<Tensor<3>>) {
    let nothing = Embeds(text.0.zeros_like());
    let level = |i: usize| Embeds(media.clone().narrow(0, i, 1));
    let deepstack = (1..media.dims()[0]).map(|i| splice(nothing.clone(), level(i), slots).0);
    let deepstack = deepstack.collect();
    (splice(text, level(0), slots), deepstack)
}

/// Tokens of a medium, or of one of its steps in time, in a prompt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Index of the first.
    pub at: usize,
    /// Steps, rows and columns of tokens.
    pub grid: Grid,
    /// Positions from one step to the next; what of them is no whole number is cut off.
    pub step: f32,
}

/// Position of each of `tokens` in time, height and width (M-RoPE, section 2.1): a text's tokens follow each other
/// on all axes alike, a medium's stand on a grid from the next position on, and what comes after it goes on behind
/// its longer edge, and, where `lasts`, behind its last step too (TMRoPE, Xu et al. 2025,
/// <https://arxiv.org/abs/2503.20215>, section 2.2).
pub fn positions(tokens: usize, media: &[Standing], lasts: bool) -> Arc<[[u32; 3]]> {
    let mut all: Vec<[u32; 3]> = Vec::with_capacity(tokens);
    let mut next = 0;
    let text = |all: &mut Vec<[u32; 3]>, next: &mut u32, until: usize| {
        while all.len() < until {
            all.push([*next; 3]);
            *next += 1;
        }
    };
    for &Standing { at, grid, step } in media {
        text(&mut all, &mut next, at);
        let Grid { steps, rows, columns } = grid;
        let mut behind = rows.max(columns) as u32;
        for time in 0..steps {
            let time = (time as f32 * step) as u32;
            if lasts {
                behind = behind.max(time + 1);
            }
            let places = (0..rows).flat_map(|row| (0..columns).map(move |column| [row, column]));
            let place = |[row, column]: [usize; 2]| [time, row as u32, column as u32];
            all.extend(places.map(place).map(|place| place.map(|axis| next + axis)));
        }
        next += behind;
    }
    text(&mut all, &mut next, tokens);
    all.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two words, a video of two steps of 1 x 2 tokens half a second apart at 4 positions a second, a word.
    #[test]
    fn media_stand_on_three_axes() {
        let grid = Grid { steps: 2, rows: 1, columns: 2 };
        let standing = [Standing { at: 2, grid, step: 2.0 }];
        let want = [[0; 3], [1; 3], [2, 2, 2], [2, 2, 3], [4, 2, 2], [4, 2, 3], [4; 3]];
        assert_eq!(positions(7, &standing, false)[..], want);
        assert_eq!(positions(7, &standing, true)[6], [5; 3]);
    }
}
