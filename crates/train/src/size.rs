//! The presets that recipes name: one word in a recipe, a whole configuration in a checkpoint.

use crate::heads::captioner::CaptionerConfig;
use sensorium_backbone::{BackboneConfig, LlamaConfig};
use sensorium_encoder::EncoderConfig;
use sensorium_encoder::audio::ConformerConfig;
use sensorium_encoder::image::{self, Conv, FeatureSelect, Pooling, ResnetConfig, VitConfig};
use sensorium_encoder::table::TableEncoderConfig;
use sensorium_encoder::text::TextConfig;
use sensorium_encoder::video::VideoEncoderConfig;
use sensorium_input_projector::ProjectorConfig;
use sensorium_media::Modality;
use sensorium_model::clip::ClipConfig;
use sensorium_model::llava::{LlavaConfig, TowerConfig};
use serde::{Deserialize, Serialize};

/// Size of the models that a recipe trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// For trials and tests: minutes.
    Tiny,
    /// That of the embedded model. Older recipes name it after that.
    #[serde(alias = "nano")]
    Small,
}

/// Which image encoder a new dual encoder has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageEncoder {
    /// A Vision Transformer.
    #[default]
    Vit,
    /// CLIP's ResNet.
    Resnet,
}

impl Size {
    /// Image encoder and text tower.
    pub fn clip(self, image: ImageEncoder, vocabulary: usize, bias: bool) -> ClipConfig {
        let text = TextConfig { vocab_size: vocabulary, ..self.text() };
        let image = match image {
            ImageEncoder::Vit => image::EncoderConfig::Vit(self.image()),
            ImageEncoder::Resnet => image::EncoderConfig::Resnet(self.resnet(text.embed)),
        };
        ClipConfig { image, text, bias }
    }

    /// Image encoder, projector and language model.
    pub fn llava(self, vocabulary: usize) -> LlavaConfig {
        let projector = match self {
            Self::Tiny => ProjectorConfig::Mlp {
                features: 128,
                shuffle: 2,
                norm: Some(64),
                hidden: 128,
                width: 96,
                places: Some(16),
                stack: 1,
                bias: true,
            },
            Self::Small => ProjectorConfig::small(),
        };
        // As LLaVA reads CLIP, for the last block is the shared space's own; beside it what the first
        // block reads, where nothing of places, backgrounds and sizes is lost yet.
        let layers = match self {
            Self::Tiny => vec![1, 2],
            Self::Small => vec![1, 5],
        };
        let features = FeatureSelect { layers, class: false };
        let encoder = EncoderConfig::Vit { vit: self.image(), features };
        LlavaConfig {
            towers: vec![TowerConfig { encoder, projector }],
            backbone: BackboneConfig::Llama(self.llama(vocabulary)),
            prefix: true,
        }
    }

    /// Encoder of sounds, videos or tables beside an image encoder, with a text tower of width `words`.
    pub fn encoder(
        self,
        modality: Modality,
        image: &VitConfig,
        words: usize,
    ) -> Option<EncoderConfig> {
        let tiny = self == Self::Tiny;
        Some(match modality {
            Modality::Audio => EncoderConfig::Conformer(ConformerConfig {
                n_layers: if tiny { 1 } else { 4 },
                vocab_size: None,
                ..ConformerConfig::small()
            }),
            Modality::Video => EncoderConfig::Video(VideoEncoderConfig {
                image: VitConfig { pooling: Pooling::Mean, proj: false, ..image.clone() },
                latents: if tiny { 4 } else { 24 },
                n_heads: image.n_heads,
                intermediate_size: image.intermediate_size,
                ..VideoEncoderConfig::small()
            }),
            Modality::Table => EncoderConfig::Table(TableEncoderConfig {
                embed: words,
                ..TableEncoderConfig::small()
            }),
            Modality::Text | Modality::Image => return None,
        })
    }

    /// What makes tokens of width `width` of such an encoder's features: of a sound, one of two positions.
    pub fn projector(self, encoder: &EncoderConfig, width: usize) -> ProjectorConfig {
        let features = encoder.width();
        match encoder.modality() {
            Modality::Audio => ProjectorConfig::Mlp {
                features,
                shuffle: 1,
                norm: Some(features),
                hidden: if self == Self::Tiny { 96 } else { 384 },
                width,
                places: None,
                stack: 2,
                bias: true,
            },
            _ => ProjectorConfig::Linear { features, shuffle: 1, bias: true, width },
        }
    }

    /// Projector and decoder of the captions that teach an image encoder.
    pub fn captioner(self, vocabulary: usize) -> CaptionerConfig {
        let (llama, vector) = (self.llama(vocabulary), self.text().embed);
        match self {
            Self::Tiny => CaptionerConfig {
                skip: 1,
                vector,
                projector: ProjectorConfig::Mlp {
                    features: 64,
                    shuffle: 2,
                    norm: Some(64),
                    hidden: 128,
                    width: 96,
                    places: None,
                    stack: 1,
                    bias: true,
                },
                decoder: llama,
            },
            Self::Small => CaptionerConfig {
                skip: 1,
                vector,
                projector: ProjectorConfig::Mlp {
                    features: 192,
                    shuffle: 2,
                    norm: Some(192),
                    hidden: 384,
                    width: 192,
                    places: None,
                    stack: 1,
                    bias: true,
                },
                decoder: LlamaConfig {
                    hidden_size: 192,
                    n_layers: 3,
                    n_heads: 6,
                    n_kv_heads: 3,
                    intermediate_size: 512,
                    ..llama
                },
            },
        }
    }

    /// The language model.
    pub fn llama(self, vocabulary: usize) -> LlamaConfig {
        let small = LlamaConfig { vocab_size: vocabulary, ..LlamaConfig::small() };
        match self {
            Self::Tiny => LlamaConfig {
                hidden_size: 96,
                n_layers: 2,
                n_heads: 3,
                n_kv_heads: 1,
                intermediate_size: 256,
                ..small
            },
            Self::Small => small,
        }
    }

    fn image(self) -> VitConfig {
        let conv = |channels, kernel, stride, padding| Conv { channels, kernel, stride, padding };
        match self {
            Self::Tiny => VitConfig {
                stem: vec![conv(16, 3, 2, 1), conv(32, 3, 2, 1), conv(64, 3, 3, 0)],
                hidden_size: 64,
                n_layers: 2,
                n_heads: 2,
                intermediate_size: 256,
                embed: 64,
                ..VitConfig::small()
            },
            Self::Small => VitConfig::small(),
        }
    }

    fn resnet(self, embed: usize) -> ResnetConfig {
        let of = |layers, hidden_size| ResnetConfig {
            image: 96,
            layers,
            hidden_size,
            n_heads: hidden_size / 2,
            embed,
        };
        match self {
            Self::Tiny => of([1, 1, 1, 1], 8),
            Self::Small => of([2, 2, 2, 2], 16),
        }
    }

    fn text(self) -> TextConfig {
        match self {
            Self::Tiny => TextConfig {
                hidden_size: 64,
                n_layers: 2,
                n_heads: 2,
                intermediate_size: 256,
                embed: 64,
                ..TextConfig::small()
            },
            Self::Small => TextConfig::small(),
        }
    }
}
