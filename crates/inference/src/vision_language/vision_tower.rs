//! From pictures to the tokens that stand for them.

use sensorium_backbone::Backbone;
use sensorium_flow::{Embeds, Input};
use sensorium_media::{Fitted, ImageProcessor, Picture};
use sensorium_model::clip::batch;
use sensorium_model::llava::Tower;
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::blip2::Writer;
use sensorium_pretrained::families::llava::Spliced;

use super::media_tower::MediaTower;

/// Tiles that are encoded at once: bounds memory whatever their number.
const CHUNK: usize = 4;

/// A tower, and what makes its input.
#[derive(Debug)]
pub struct VisionTower {
    tower: Tower,
    processor: ImageProcessor,
    /// Tokens of a tile.
    tokens: usize,
    device: Device,
}

impl VisionTower {
    /// BLIP-2's two halves.
    pub(super) fn blip2(writer: Writer) -> (Self, Backbone) {
        let Writer { tower, config, processor, backbone, device, .. } = writer;
        let (tokens, processor) = (config.tokens(), processor);
        (Self { tower, processor, tokens, device }, backbone)
    }

    /// A model's parts: what sees, what reads other media, and what answers.
    pub(super) fn open(spliced: Spliced) -> (Self, Vec<MediaTower>, Backbone) {
        let Spliced { mut llava, config, processor, processors, device, .. } = spliced;
        let (tokens, tower) = (config.towers[0].tokens(), llava.towers.remove(0));
        let others = llava.towers.into_iter().zip(processors);
        let others = others.map(|(tower, processor)| {
            let device = device.clone();
            MediaTower { tower, processor, device }
        });
        let others = others.collect();
        (Self { tower, processor, tokens, device }, others, llava.backbone)
    }

    pub(super) fn pack(&mut self, format: pack::Format) {
        self.tower.pack_as(format);
    }

    /// Tokens Q of a tile.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The squares that are looked at for a picture.
    pub fn fit(&self, picture: &Picture) -> Fitted {
        self.processor.fit(picture)
    }

    /// The square that is looked at for a video's frame.
    pub fn fit_frame(&self, frame: &Picture) -> Fitted {
        self.processor.fit_frame(frame)
    }

    /// Pixels as the encoder reads them, `[3, h, w]`.
    pub fn planes(&self, tile: &Picture) -> Vec<f32> {
        self.processor.planes(tile)
    }

    /// `n` tiles to `[n, Q, D]`.
    pub fn encode(&self, tiles: &[Picture]) -> Embeds {
        let chunks = tiles.chunks(CHUNK).map(|chunk| {
            let size = [chunk[0].height, chunk[0].width].map(|n| n as usize);
            let planes = chunk.iter().flat_map(|tile| self.planes(tile)).collect();
            self.tower.embed(Input::Image(batch(planes, size, &self.device))).0
        });
        Embeds(Tensor::cat(chunks.collect(), 0))
    }
}
