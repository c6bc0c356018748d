//! Media to [`Features`]: encoders of pictures, sounds, videos, tables and texts.

pub mod audio;
pub mod head;
pub mod image;
pub mod table;
pub mod text;
pub mod video;

use sensorium_flow::{Encode, Features, Input, Modality};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use audio::{
    Conformer, ConformerConfig, OmniEncoder, OmniEncoderConfig, Qwen2AudioEncoder, WhisperEncoder,
    WhisperEncoderConfig,
};
use image::{FeatureSelect, Pooling, Resnet, ResnetConfig, Vit, VitConfig};
use table::{TableEncoder, TableEncoderConfig};
use video::{VideoEncoder, VideoEncoderConfig};

/// Which encoder, and its shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum EncoderConfig {
    /// A Vision Transformer, and what is read of it.
    Vit {
        /// Its shape.
        vit: VitConfig,
        /// Which positions, after which blocks.
        #[serde(default)]
        features: FeatureSelect,
    },
    /// CLIP's ResNet.
    Resnet(ResnetConfig),
    /// Whisper's encoder.
    Whisper(WhisperEncoderConfig),
    /// A Conformer.
    Conformer(ConformerConfig),
    /// Qwen2-Audio's encoder, by the shape of the one inside.
    Qwen2Audio(WhisperEncoderConfig),
    /// Qwen2.5-Omni's encoder of sounds.
    Omni(OmniEncoderConfig),
    /// Frames, and latents that ask them.
    Video(VideoEncoderConfig),
    /// Columns of tables' rows.
    Table(TableEncoderConfig),
}

impl EncoderConfig {
    /// What it encodes.
    pub fn modality(&self) -> Modality {
        match self {
            Self::Vit { .. } | Self::Resnet(_) => Modality::Image,
            Self::Whisper(_) | Self::Conformer(_) | Self::Qwen2Audio(_) | Self::Omni(_) => {
                Modality::Audio
            }
            Self::Video(_) => Modality::Video,
            Self::Table(_) => Modality::Table,
        }
    }

    /// Positions N of the features; of the longest medium, where media differ in length.
    pub fn positions(&self) -> usize {
        match self {
            Self::Vit { vit, features } => {
                let class = features.class && vit.pooling == Pooling::Class;
                vit.patches() + usize::from(class)
            }
            Self::Resnet(resnet) => resnet.places(),
            Self::Whisper(whisper) => whisper.positions,
            Self::Conformer(conformer) => conformer.positions,
            Self::Qwen2Audio(whisper) => whisper.positions / 2,
            Self::Omni(omni) => omni.frames / 4,
            Self::Video(video) => video.latents,
            Self::Table(table) => table.columns,
        }
    }

    /// Width E of the features.
    pub fn width(&self) -> usize {
        match self {
            Self::Vit { vit, features } => vit.hidden_size * features.layers.len().max(1),
            Self::Resnet(resnet) => resnet.channels(),
            Self::Whisper(whisper) | Self::Qwen2Audio(whisper) => whisper.hidden_size,
            Self::Omni(omni) => omni.whisper.hidden_size,
            Self::Conformer(conformer) => conformer.hidden_size,
            Self::Video(video) => video.image.hidden_size,
            Self::Table(table) => table.hidden_size,
        }
    }

    /// Floating-point operations of one medium's forward pass; an estimate for all but a ViT and a
    /// ResNet; of a video, its frames are counted alone.
    pub fn flops(&self) -> f64 {
        match self {
            Self::Vit { vit, .. } => vit.flops(),
            Self::Video(video) => video.frames as f64 * video.image.flops(),
            Self::Resnet(resnet) => resnet.flops(),
            Self::Whisper(_)
            | Self::Conformer(_)
            | Self::Qwen2Audio(_)
            | Self::Omni(_)
            | Self::Table(_) => {
                let count = |(_, shape): &(_, Vec<usize>)| shape.iter().product::<usize>();
                let parameters: usize = self.parameters().iter().map(count).sum();
                2.0 * parameters as f64 * self.positions() as f64
            }
        }
    }

    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Encoder::init(self, init))
    }
}

/// An encoder of any kind of media.
#[expect(clippy::large_enum_variant, reason = "a model has one or two of them")]
#[derive(Module, Debug)]
pub enum Encoder {
    /// Of pictures.
    Image(image::Encoder),
    /// Of sounds.
    Audio(audio::Encoder),
    /// Of videos.
    Video(VideoEncoder),
    /// Of tables.
    Table(TableEncoder),
}

impl Encoder {
    /// Seeded weights.
    pub fn init(config: &EncoderConfig, init: &mut Init) -> Self {
        match config {
            EncoderConfig::Vit { vit, features } => {
                let vit = Vit::init(vit, init).with_features(features.clone());
                Self::Image(image::Encoder::Vit(vit))
            }
            EncoderConfig::Resnet(config) => {
                Self::Image(image::Encoder::Resnet(Resnet::init(config, init)))
            }
            EncoderConfig::Whisper(config) => {
                Self::Audio(audio::Encoder::Whisper(WhisperEncoder::init(config, init)))
            }
            EncoderConfig::Conformer(config) => {
                Self::Audio(audio::Encoder::Conformer(Conformer::init(config, init)))
            }
            EncoderConfig::Qwen2Audio(config) => {
                Self::Audio(audio::Encoder::Qwen2Audio(Qwen2AudioEncoder::init(config, init)))
            }
            EncoderConfig::Omni(config) => {
                Self::Audio(audio::Encoder::Omni(OmniEncoder::init(config, init)))
            }
            EncoderConfig::Video(config) => Self::Video(VideoEncoder::init(config, init)),
            EncoderConfig::Table(config) => Self::Table(TableEncoder::init(config, init)),
        }
    }

    /// What it encodes.
    pub fn modality(&self) -> Modality {
        match self {
            Self::Image(_) => Modality::Image,
            Self::Audio(_) => Modality::Audio,
            Self::Video(_) => Modality::Video,
            Self::Table(_) => Modality::Table,
        }
    }

    /// The Vision Transformer, if it is one.
    pub fn vit(&self) -> Option<&Vit> {
        match self {
            Self::Image(image::Encoder::Vit(vit)) => Some(vit),
            _ => None,
        }
    }
}

impl Encode for Encoder {
    type Input = Input;

    /// Media to `[B, N, E]`.
    ///
    /// # Panics
    /// When they are of another kind than its [`modality`](Encoder::modality).
    fn encode(&self, input: Input) -> Features {
        match (self, input) {
            (Self::Image(encoder), Input::Image(image)) => encoder.encode(image),
            (Self::Audio(encoder), Input::Audio(sounds)) => encoder.encode(sounds),
            (Self::Video(encoder), Input::Video(video)) => encoder.encode(video),
            (Self::Table(encoder), Input::Table(rows)) => encoder.encode(rows),
            (_, input) => panic!("an {} encoder got {}", self.modality(), input.modality()),
        }
    }
}

impl Pack for Encoder {
    fn matrices(&mut self, path: &str, visit: &mut pack::Visit<'_>) {
        match self {
            Self::Image(encoder) => encoder.matrices(path, visit),
            Self::Audio(encoder) => encoder.matrices(path, visit),
            Self::Video(encoder) => encoder.matrices(path, visit),
            Self::Table(encoder) => encoder.matrices(path, visit),
        }
    }
}

#[cfg(test)]
mod tests {
    use sensorium_flow::{Cell, Rows, Sounds};
    use sensorium_nn::params::read;

    use super::*;

    fn vit(pooling: Pooling) -> VitConfig {
        VitConfig { n_heads: 2, pooling, ..VitConfig::clip(12, 4, 8, 3, 6) }
    }

    fn features(layers: &[usize], class: bool) -> FeatureSelect {
        FeatureSelect { layers: layers.to_vec(), class }
    }

    /// Of every kind of encoder, and every choice of what is read of it.
    #[test]
    fn features_have_the_shape_that_the_config_tells() {
        let select =
            [&[][..], &[1], &[1, 3]].map(|layers| [true, false].map(|c| features(layers, c)));
        let vits = select.into_iter().flatten().flat_map(|features| {
            [Pooling::Class, Pooling::Mean]
                .map(|pooling| EncoderConfig::Vit { vit: vit(pooling), features: features.clone() })
        });
        let resnet =
            ResnetConfig { image: 64, layers: [2, 1, 1, 1], hidden_size: 4, n_heads: 2, embed: 6 };
        let whisper = WhisperEncoderConfig {
            bands: 7,
            positions: 5,
            hidden_size: 12,
            n_layers: 2,
            n_heads: 3,
            intermediate_size: 20,
        };
        let conformer = ConformerConfig {
            bands: 7,
            positions: 3,
            hidden_size: 12,
            n_layers: 1,
            n_heads: 3,
            intermediate_size: 20,
            kernel: 5,
            vocab_size: None,
        };
        let others = [
            EncoderConfig::Resnet(resnet),
            EncoderConfig::Whisper(whisper.clone()),
            EncoderConfig::Qwen2Audio(whisper.clone()),
            EncoderConfig::Omni(OmniEncoderConfig { whisper, window: 3, frames: 10 }),
            EncoderConfig::Conformer(conformer),
            EncoderConfig::Video(VideoEncoderConfig {
                image: vit(Pooling::Mean),
                frames: 2,
                pool: 3,
                latents: 4,
                n_layers: 1,
                n_heads: 2,
                intermediate_size: 9,
            }),
            EncoderConfig::Table(TableEncoderConfig {
                embed: 5,
                columns: 3,
                ..TableEncoderConfig::small()
            }),
        ];
        let mut init = Init::new(1, &Device::flex());
        for config in vits.chain(others) {
            let side = if matches!(config, EncoderConfig::Resnet(_)) { 64 } else { 12 };
            let input = match config.modality() {
                Modality::Image => Input::Image(init.normal([2, 3, side, side], 1.0).val()),
                Modality::Video => Input::Video(init.normal([2, 2, 3, side, side], 1.0).val()),
                Modality::Table => Input::Table(Rows {
                    names: init.normal([2, 3, 5], 1.0).val(),
                    categories: init.normal([2, 3, 5], 1.0).val(),
                    numbers: init.normal([2, 3], 1.0).val(),
                    cells: [Cell::Number; 6].into(),
                    columns: [3; 2].into(),
                }),
                Modality::Audio | Modality::Text => {
                    Input::Audio(Sounds::whole(init.normal([2, 7, 10], 1.0).val()))
                }
            };
            let encoder = Encoder::init(&config, &mut init);
            assert_eq!(encoder.modality(), config.modality());
            let shape = encoder.encode(input).0.dims();
            assert_eq!(shape, [2, config.positions(), config.width()], "{config:?}");
            let json = serde_json::to_string(&config).expect("it has no maps");
            assert_eq!(serde_json::from_str::<EncoderConfig>(&json).expect("its own text"), config);
        }
    }

    #[test]
    fn levels_stand_side_by_side_and_the_class_in_front() {
        let vit = Vit::init(&vit(Pooling::Class), &mut Init::new(2, &Device::flex()));
        let image = Init::new(3, &Device::flex()).normal([1, 3, 12, 12], 1.0).val();
        let at = |layers: &[usize], class| {
            vit.clone().with_features(features(layers, class)).encode(image.clone()).0
        };
        let [both, deep, shallow] = [&[1, 3][..], &[1], &[3]].map(|layers| at(layers, true));
        assert_eq!(read(both), read(Tensor::cat(vec![deep.clone(), shallow], 2)));
        assert_eq!(read(at(&[1], false)), read(deep.narrow(1, 1, 9)));
        assert_eq!(read(at(&[], true)), read(vit.positions(image.clone())));
    }
}
