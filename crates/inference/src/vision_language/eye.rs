//! From pictures to the tokens that stand for them.

use sensorium_backbone::{Backbone, Llama};
use sensorium_encoder::image::Vit;
use sensorium_flow::{Embeds, Project};
use sensorium_input_projector::Projector;
use sensorium_media::{Picture, Tiles};
use sensorium_nn::prelude::*;

use sensorium_model::blip2::Blip2Eye;
use sensorium_model::clip::batch;
use sensorium_model::llava::{self, Llava};
use sensorium_pretrained::families::blip2::Writer;
use sensorium_pretrained::families::llava::{Processor, Spliced};

/// Tiles that are encoded at once: bounds memory whatever their number.
const CHUNK: usize = 4;

/// An image encoder, a projector, and what makes their input.
#[derive(Debug)]
pub struct Eye {
    sight: Sight,
    processor: Processor,
    /// Tokens of a tile.
    tokens: usize,
    /// Edge of a tile in pixels.
    side: usize,
    device: Device,
}

/// What makes embeddings of pixels.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a model has one")]
enum Sight {
    /// A projector reads one or several levels of an encoder.
    Levels { image: Vit, skips: Vec<usize>, class: bool, projector: Projector },
    /// A Q-Former asks an encoder's positions.
    Queries(Blip2Eye),
}

impl Eye {
    /// BLIP-2's two halves.
    pub(super) fn blip2(writer: Writer) -> (Self, Backbone) {
        let Writer { eye, config, processor, backbone, device, .. } = writer;
        let (tokens, side) = (config.qformer.queries, config.image.image);
        let (sight, processor) = (Sight::Queries(eye), Processor::Whole(processor));
        (Self { sight, processor, tokens, side, device }, backbone)
    }

    /// A model's two halves.
    pub(super) fn open(spliced: Spliced) -> (Self, Llama) {
        let Spliced { llava, config, processor, device, .. } = spliced;
        let (tokens, side) = (config.image_tokens(), config.image.image);
        let Llava { image, projector, backbone, .. } = llava;
        let sight = Sight::Levels { image, skips: config.skips, class: config.class, projector };
        (Self { sight, processor, tokens, side, device }, backbone)
    }

    pub(super) fn pack(&mut self, format: pack::Format) {
        match &mut self.sight {
            Sight::Levels { image, projector, .. } => {
                image.pack_as(format);
                projector.pack_as(format);
            }
            Sight::Queries(eye) => eye.pack(format),
        }
    }

    /// Tokens Q of a tile.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The squares that are looked at for a picture.
    pub fn cut(&self, picture: &Picture) -> Tiles {
        match &self.processor {
            Processor::Whole(processor) => {
                Tiles { tiles: vec![processor.fit(picture)], rows: 0, columns: 0 }
            }
            Processor::Tiles(processor) => processor.cut(picture),
        }
    }

    /// What stands in the prompt for a picture: its tokens, each a `marker`, and what tells where a
    /// tile is.
    pub(super) fn spell(&self, tiles: &Tiles, marker: &str) -> String {
        const AROUND: &str = "<fake_token_around_image>";
        let tokens = marker.repeat(self.tokens);
        if let Processor::Whole(_) = self.processor {
            return tokens;
        }
        let mut text = String::new();
        for row in 1..=tiles.rows {
            for column in 1..=tiles.columns {
                text += &format!("{AROUND}<row_{row}_col_{column}>{tokens}");
            }
            text.push('\n');
        }
        let gap = if tiles.rows > 0 { "\n" } else { "" };
        text + &format!("{gap}{AROUND}<global-img>{tokens}{AROUND}")
    }

    /// Pixels as the encoder reads them, `[3, h, w]`.
    pub fn planes(&self, tile: &Picture) -> Vec<f32> {
        match &self.processor {
            Processor::Whole(processor) => processor.planes(tile),
            Processor::Tiles(processor) => processor.planes(tile),
        }
    }

    /// `n` tiles to `[n, Q, D]`.
    pub fn look(&self, tiles: &[Picture]) -> Embeds {
        let chunks = tiles.chunks(CHUNK).map(|chunk| {
            let planes = chunk.iter().flat_map(|tile| self.planes(tile)).collect();
            let images = batch(planes, [self.side; 2], &self.device);
            match &self.sight {
                Sight::Levels { image, skips, class, projector } => {
                    projector.project(llava::encode(image, skips, *class, images)).0
                }
                Sight::Queries(eye) => eye.look(images).0,
            }
        });
        Embeds(Tensor::cat(chunks.collect(), 0))
    }
}
