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
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Index of the first.
    pub at: usize,
    /// Steps, rows and columns of tokens.
    pub grid: Grid,
    /// Positions from one step to the next; what of them is no whole number is cut off.
    pub step: f32,
    /// Of a video whose own sound stands among its tokens: how many of its tokens, and how many of the sound's behind
    /// them, follow each other in each stretch of time.
    pub stretches: Vec<[usize; 2]>,
}

impl Standing {
    /// The places of its tokens, from the first one's on.
    fn places(&self) -> impl Iterator<Item = [u32; 3]> {
        let (Grid { steps, rows, columns }, step) = (self.grid, self.step);
        (0..steps).flat_map(move |time| {
            let time = (time as f32 * step) as u32;
            let places =
                (0..rows).flat_map(move |row| (0..columns).map(move |column| [row, column]));
            places.map(move |[row, column]| [time, row as u32, column as u32])
        })
    }
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
    for standing in media {
        if !standing.stretches.is_empty() {
            text(&mut all, &mut next, standing.at.saturating_sub(1));
            next = among_sounds(&mut all, standing, next.saturating_sub(1));
            continue;
        }
        text(&mut all, &mut next, standing.at);
        let Grid { steps, rows, columns } = standing.grid;
        let last = (steps.saturating_sub(1) as f32 * standing.step) as u32;
        let behind = rows.max(columns) as u32;
        all.extend(standing.places().map(|place| place.map(|axis| next + axis)));
        next += if lasts { behind.max(last + 1) } else { behind };
    }
    text(&mut all, &mut next, tokens);
    all.into()
}

/// The places of a video and of its own sound, which begin at the same time, from the second of the two tokens on that
/// open them, of which the first stands at `opened`; the next position. The two that open them stand at one, and so do
/// those that close them: behind what comes last, as transformers has it.
fn among_sounds(all: &mut Vec<[u32; 3]>, standing: &Standing, opened: u32) -> u32 {
    let first = opened + 1;
    all.push([opened; 3]);
    let (mut seen, mut heard) = (standing.places(), first..);
    let mut last = opened;
    for &[tokens, sounds] in &standing.stretches {
        let begun = all.len();
        all.extend(seen.by_ref().take(tokens).map(|place| place.map(|axis| first + axis)));
        let own = if sounds > 0 { all.len() } else { begun };
        all.extend(heard.by_ref().take(sounds).map(|at| [at; 3]));
        last = all[own..].iter().flatten().copied().max().unwrap_or(last);
    }
    all.extend([[last + 1; 3]; 2]);
    last + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two words, a video of two steps of 1 x 2 tokens half a second apart at 4 positions a second, a word.
    #[test]
    fn media_stand_on_three_axes() {
        let grid = Grid { steps: 2, rows: 1, columns: 2 };
        let stretches = Vec::new();
        let standing = [Standing { at: 2, grid, step: 2.0, stretches }];
        let want = [[0; 3], [1; 3], [2, 2, 2], [2, 2, 3], [4, 2, 2], [4, 2, 3], [4; 3]];
        assert_eq!(positions(7, &standing, false)[..], want);
        assert_eq!(positions(7, &standing, true)[6], [5; 3]);
    }

    /// A word, two tokens that open, a step, two tokens of sound, a step, one of sound, two that close, a word.
    #[test]
    fn a_videos_own_sound_stands_among_its_tokens() {
        let grid = Grid { steps: 2, rows: 1, columns: 2 };
        let stretches = vec![[2, 2], [2, 1]];
        let standing = [Standing { at: 3, grid, step: 2.0, stretches }];
        let want = [
            [[0; 3], [1; 3], [1; 3]].as_slice(),
            &[[2, 2, 2], [2, 2, 3], [2; 3], [3; 3]],
            &[[4, 2, 2], [4, 2, 3], [4; 3]],
            &[[5; 3], [5; 3], [6; 3]],
        ];
        assert_eq!(positions(13, &standing, true)[..], want.concat());
    }
}
