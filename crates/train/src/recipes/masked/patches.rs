//! Pictures and sounds to the patches that a step reads, some of them hidden.

use sensorium_data::rng::Rng;
use sensorium_data::{Example, Examples, Media};
use sensorium_encoder::image::{Conv, MaskedDecoderConfig, Pooling, VitConfig};
use sensorium_flow::Modality;
use sensorium_media::{ImageProcessor, Mel, Sound, Style, mel};
use sensorium_model::masked::{MaskedConfig, Patches, Target};
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::dinov2;
use serde::{Deserialize, Serialize};

use crate::batch::{draw, pictures};
use crate::error::Result;
use crate::model;

/// Sizes of a new encoder; its parts for one kind of media are those that are named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewEncoder {
    /// Width.
    pub hidden_size: usize,
    /// Blocks.
    pub n_layers: usize,
    /// Heads; a divisor of the width.
    pub n_heads: usize,
    /// Width inside the MLPs, as compared with the width.
    #[serde(default = "four")]
    pub mlp_ratio: usize,
    /// What is read of pictures.
    pub image: Option<Pixels>,
    /// What is read of sounds.
    pub audio: Option<Spectrogram>,
}

/// Squares of a square picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pixels {
    /// Side of the picture.
    pub size: usize,
    /// Side of a patch.
    pub patch: usize,
}

/// Squares of a log-mel spectrogram, a frame each 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spectrogram {
    /// Bands of frequency.
    pub bands: usize,
    /// Frames; of a longer sound, those from a random place on.
    pub frames: usize,
    /// Side of a patch.
    pub patch: usize,
}

impl Default for Spectrogram {
    /// Audio-MAE's: ten seconds.
    fn default() -> Self {
        Self { bands: 128, frames: 1024, patch: 16 }
    }
}

fn four() -> usize {
    4
}

impl NewEncoder {
    fn vit(&self, image: usize, frames: Option<usize>, patch: usize) -> Result<VitConfig> {
        let Self { hidden_size, n_layers, n_heads, mlp_ratio, .. } = *self;
        let sizes = [hidden_size, n_layers, n_heads, mlp_ratio, image, patch];
        let is_whole = |side: usize| side > 0 && side.is_multiple_of(patch);
        let fits = !sizes.contains(&0)
            && hidden_size.is_multiple_of(n_heads)
            && is_whole(image)
            && frames.is_none_or(is_whole);
        if !fits {
            let message = format!(
                "expected sizes above 0, heads that divide the width and patches that divide what is read, got {self:?}"
            );
            let hint = "as hidden_size = 192, n_layers = 12, n_heads = 3, image = { size = 64, patch = 8 }";
            return Err(model::config("encoder", &message, hint));
        }
        Ok(VitConfig {
            image,
            frames,
            stem: vec![Conv { channels: hidden_size, kernel: patch, stride: patch, padding: 0 }],
            stem_bias: true,
            registers: 0,
            rope_theta: None,
            hidden_size,
            n_layers,
            n_heads,
            intermediate_size: mlp_ratio * hidden_size,
            activation: Activation::Gelu,
            stem_norm: false,
            pre_norm: false,
            pooling: Pooling::Class,
            proj: false,
            embed: hidden_size,
            eps: 1e-6,
        })
    }
}

/// What makes a step's patches of examples.
#[derive(Clone)]
pub(super) struct Cutter {
    pub(super) config: MaskedConfig,
    processor: Option<ImageProcessor>,
    batch_size: usize,
    mask_ratio: f64,
    seed: u64,
}

/// The streams of random numbers that order the patches of pictures and of sounds, and that say where in
/// a sound its frames begin.
const STREAMS: [u64; 3] = [0x3A5C, 0x3A5D, 0x3A5E];

impl Cutter {
    pub(super) fn new(
        encoder: &NewEncoder,
        decoder: &MaskedDecoderConfig,
        target: Target,
        mask_ratio: f64,
        batch_size: usize,
        seed: u64,
    ) -> Result<Self> {
        let image = encoder.image.map(|Pixels { size, patch }| encoder.vit(size, None, patch));
        let audio = encoder
            .audio
            .map(|Spectrogram { bands, frames, patch }| encoder.vit(bands, Some(frames), patch));
        let (image, audio) = (image.transpose()?, audio.transpose()?);
        let wrong = |key, message: &str, hint| Err(model::config(key, message, hint));
        if image.is_none() && audio.is_none() {
            let message = "expected image, audio or both, got neither";
            return wrong("encoder", message, "add image = { size = 224, patch = 16 }");
        }
        if !decoder.hidden_size.is_multiple_of(decoder.n_heads.max(1)) || decoder.n_layers == 0 {
            let message =
                format!("expected blocks, and heads that divide the width, got {decoder:?}");
            return wrong("decoder", &message, "leave [decoder] out for the paper's sizes");
        }
        let mut all = image.iter().chain(&audio);
        let hides = |vit: &VitConfig| (1..vit.patches()).contains(&shown(vit, mask_ratio));
        if !all.all(hides) {
            let message =
                format!("expected some of all patches, and not all of them, got {mask_ratio}");
            return wrong("mask_ratio", &message, "0.75 is usual");
        }
        let processor = image
            .as_ref()
            .map(|image| ImageProcessor::from_json(&dinov2::processor(image), Style::Clip));
        let processor = processor.transpose().map_err(sensorium_pretrained::Error::from)?;
        let config = MaskedConfig { image, audio, decoder: decoder.clone(), target };
        Ok(Self { config, processor, batch_size, mask_ratio, seed })
    }

    /// Side of the pictures that are read.
    pub(super) fn picture_size(&self) -> u32 {
        self.config.image.as_ref().map_or(1, |image| image.image as u32)
    }

    /// Patches of a row that are shown, and all, with the class token.
    pub(super) fn patches(&self) -> [usize; 2] {
        let all = || self.kinds().map(|(_, vit)| vit);
        let some = all().map(|vit| shown(vit, self.mask_ratio));
        [1 + some.sum::<usize>(), 1 + all().map(VitConfig::patches).sum::<usize>()]
    }

    fn kinds(&self) -> impl Iterator<Item = (Modality, &VitConfig)> {
        let MaskedConfig { image, audio, .. } = &self.config;
        let image = image.iter().map(|vit| (Modality::Image, vit));
        image.chain(audio.iter().map(|vit| (Modality::Audio, vit)))
    }

    /// What an example has not.
    pub(super) fn lacks(&self, example: &Example) -> Option<&'static str> {
        let sounds = example.media.iter().filter_map(Media::sound).count();
        match &self.config {
            MaskedConfig { image: Some(_), .. } if pictures(example).count() != 1 => {
                Some("one picture each")
            }
            MaskedConfig { audio: Some(_), .. } if sounds != 1 => Some("one sound each"),
            _ => None,
        }
    }

    pub(super) fn make(
        &self,
        examples: &Examples,
        step: u64,
        progress: f32,
    ) -> Result<Vec<Patches>> {
        let examples = draw(examples, step, self.batch_size, progress)?;
        let first = step * self.batch_size as u64;
        let rng =
            |stream: usize, row: usize| Rng::at(self.seed, STREAMS[stream], first + row as u64);
        let of_kind = |(modality, vit): (Modality, &VitConfig)| {
            let mut planes = Vec::new();
            for (row, example) in examples.iter().enumerate() {
                match (&self.processor, modality) {
                    (Some(processor), Modality::Image) => {
                        planes.extend(pictures(example).flat_map(|p| processor.process(p)));
                    }
                    _ => planes.extend(sound(example, vit, &mut rng(2, row))),
                }
            }
            let places = (0..examples.len()).flat_map(|row| {
                let mut places: Vec<u32> = (0..vit.patches() as u32).collect();
                rng(usize::from(modality == Modality::Audio), row).shuffle(&mut places);
                places
            });
            let ([h, w], side) = (vit.size(), vit.stem[0].kernel);
            let (places, shown) = (places.collect(), shown(vit, self.mask_ratio));
            Patches::cut(modality, &planes, [vit.channels(), h, w], side, places, shown)
        };
        Ok(self.kinds().map(of_kind).collect())
    }
}

/// How many patches are shown.
fn shown(vit: &VitConfig, mask_ratio: f64) -> usize {
    (vit.patches() as f64 * (1.0 - mask_ratio)) as usize
}

/// The spectrogram of an example's sound, `[bands, frames]`: of a longer one, from a random frame on;
/// silence follows a shorter one.
fn sound(example: &Example, vit: &VitConfig, rng: &mut Rng) -> Vec<f32> {
    let [bands, frames] = vit.size();
    let Some(Sound { samples, .. }) = example.media.iter().find_map(Media::sound) else {
        return vec![0.0; bands * frames];
    };
    let spare = (samples.len() / mel::HOP).saturating_sub(frames);
    Mel::new(samples, bands).window(rng.range(0, spare), frames)
}
