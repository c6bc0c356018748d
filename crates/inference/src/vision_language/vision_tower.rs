//! From pictures to the tokens that stand for them.

use sensorium_backbone::Backbone;
use sensorium_flow::{Embeds, Encode, Features, Input, Project};
use sensorium_input_projector::Anyres;
use sensorium_media::{Fitted, ImageProcessor, Layout, Picture, Video};
use sensorium_model::clip::batch;
use sensorium_model::llava::Tower;
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::blip2::Eye;
use sensorium_pretrained::families::llava::Spliced;

use super::media_tower::MediaTower;

/// Tiles that are encoded at once: bounds memory whatever their number.
const CHUNK: usize = 4;

/// A tower, and what makes its input.
#[derive(Debug)]
pub struct VisionTower {
    pub(super) tower: Tower,
    processor: ImageProcessor,
    /// Tokens of a tile.
    tokens: usize,
    /// What makes a picture's tokens of its tiles', where they are not those of its tiles in a row.
    pub(super) anyres: Option<Anyres>,
    device: Device,
}

impl VisionTower {
    /// BLIP-2's.
    pub(crate) fn blip2(Eye { tower, config, processor, device, .. }: Eye) -> Self {
        Self { tower, processor, tokens: config.tokens(), anyres: None, device }
    }

    /// A model's parts: what sees, what reads other media, and what answers.
    pub(super) fn open(spliced: Spliced) -> (Self, Vec<MediaTower>, Backbone) {
        let Spliced { mut llava, config, processor, processors, anyres, device, .. } = spliced;
        let (tokens, tower) = (config.towers[0].tokens(), llava.towers.remove(0));
        let others = llava.towers.into_iter().zip(processors);
        let others = others.map(|(tower, processor)| {
            let device = device.clone();
            MediaTower { tower, processor, device }
        });
        let others = others.collect();
        (Self { tower, processor, tokens, anyres, device }, others, llava.backbone)
    }

    pub(crate) fn pack(&mut self, format: pack::Format) {
        self.tower.pack_as(format);
    }

    /// Tokens Q of a tile.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Tokens of one slot of what is laid out so: of a tile, or of all `tiles` where they become one.
    pub fn tokens_of(&self, layout: Layout, tiles: usize) -> usize {
        match (&self.anyres, layout) {
            (Some(anyres), Layout::Anyres { rows, columns, size }) => {
                anyres.tokens([rows, columns].map(|n| n as usize), size.map(|n| n as usize))
            }
            (Some(anyres), Layout::Frames) => anyres.tokens_of_frames(tiles),
            _ => self.tokens,
        }
    }

    /// The tokens of tiles, `[n, Q, D]`, as those of what they are parts of, `[1, Q', D]`.
    pub fn join(&self, tiles: Embeds, layout: Layout) -> Embeds {
        match (&self.anyres, layout) {
            (Some(anyres), Layout::Anyres { rows, columns, size }) => {
                anyres.join(tiles, [rows, columns].map(|n| n as usize), size.map(|n| n as usize))
            }
            (Some(anyres), Layout::Frames) => anyres.join_frames(tiles),
            _ => {
                let [n, q, d] = tiles.0.dims();
                Embeds(tiles.0.reshape([1, n * q, d]))
            }
        }
    }

    /// The squares that are looked at for a picture, which is `alone` in its conversation or not.
    pub fn fit(&self, picture: &Picture, alone: bool) -> Fitted {
        if alone { self.processor.fit(picture) } else { self.processor.fit_among(picture) }
    }

    /// Whether a video's frames become one row of tokens.
    pub fn joins_frames(&self) -> bool {
        self.anyres.is_some()
    }

    /// All frames of a video as one medium.
    pub fn fit_video(&self, video: &Video) -> Fitted {
        let frames = video.pictures().flat_map(|frame| self.fit_frame(frame).pictures);
        Fitted { pictures: frames.collect(), layout: Layout::Frames }
    }

    /// The square that is looked at for a video's frame.
    pub fn fit_frame(&self, frame: &Picture) -> Fitted {
        self.processor.fit_frame(frame)
    }

    /// Pixels as the encoder reads them, `[3, h, w]`.
    pub fn planes(&self, tile: &Picture) -> Vec<f32> {
        self.processor.planes(tile)
    }

    /// `n` tiles to what the encoder sees, `[n, N, E]`.
    pub fn features(&self, tiles: &[Picture]) -> Features {
        let chunks = tiles.chunks(CHUNK).map(|chunk| {
            let size = [chunk[0].height, chunk[0].width].map(|n| n as usize);
            let planes = chunk.iter().flat_map(|tile| self.planes(tile)).collect();
            self.tower.encoder.encode(Input::Image(batch(planes, size, &self.device))).0
        });
        Features(Tensor::cat(chunks.collect(), 0))
    }

    /// What the encoder saw to the language model's tokens, `[n, N, E] -> [n, Q, D]`.
    pub fn project(&self, features: Features) -> Embeds {
        self.tower.projector.project(features)
    }

    /// `n` tiles to `[n, Q, D]`.
    pub fn encode(&self, tiles: &[Picture]) -> Embeds {
        self.project(self.features(tiles))
    }
}
