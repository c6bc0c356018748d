//! Image encoders.

mod convnext;
mod masked;
mod naflex;
mod pool;
mod qwen;
mod resnet;
mod vit;

pub use convnext::{ConvNext, ConvNextConfig};
pub use masked::{MaskedDecoder, MaskedDecoderConfig, MaskedVit, Places};
pub use naflex::Naflex;
pub use pool::AttentionPool;
pub use qwen::{Patches, QwenBlockKind, QwenVit, QwenVitConfig, QwenWindow};
pub use resnet::{Resnet, ResnetConfig};
pub use sensorium_nn::prelude::Activation as ActivationName;
pub use vit::{Conv, FeatureSelect, Pooling, Vit, VitConfig};

use sensorium_flow::{Encode, Features};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which encoder, and its shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, try_from = "Value")]
pub enum EncoderConfig {
    /// A Vision Transformer.
    Vit(VitConfig),
    /// CLIP's ResNet.
    Resnet(ResnetConfig),
}

impl TryFrom<Value> for EncoderConfig {
    type Error = serde_json::Error;

    /// By what a ResNet alone has, so that an error is about the one that is meant.
    fn try_from(settings: Value) -> serde_json::Result<Self> {
        match settings.get("layers").is_some() {
            true => Ok(Self::Resnet(serde_json::from_value(settings)?)),
            false => Ok(Self::Vit(serde_json::from_value(settings)?)),
        }
    }
}

impl EncoderConfig {
    /// Side of the input picture in pixels.
    pub fn side(&self) -> usize {
        match self {
            Self::Vit(vit) => vit.image,
            Self::Resnet(resnet) => resnet.image,
        }
    }

    /// Positions N, without a class token.
    pub fn positions(&self) -> usize {
        match self {
            Self::Vit(vit) => vit.patches(),
            Self::Resnet(resnet) => resnet.places(),
        }
    }

    /// Width E of the positions.
    pub fn width(&self) -> usize {
        match self {
            Self::Vit(vit) => vit.hidden_size,
            Self::Resnet(resnet) => resnet.channels(),
        }
    }

    /// Floating-point operations of one picture's forward pass, two for each multiply-add.
    pub fn flops(&self) -> f64 {
        match self {
            Self::Vit(vit) => vit.flops(),
            Self::Resnet(resnet) => resnet.flops(),
        }
    }
}

/// One of the encoders.
#[derive(Module, Debug)]
pub enum Encoder {
    /// A Vision Transformer.
    Vit(Vit),
    /// CLIP's ResNet.
    Resnet(Resnet),
    /// SigLIP 2's, for pictures of any shape.
    Naflex(Naflex),
}

impl Encoder {
    /// Seeded weights.
    pub fn init(config: &EncoderConfig, init: &mut Init) -> Self {
        match config {
            EncoderConfig::Vit(config) => Self::Vit(Vit::init(config, init)),
            EncoderConfig::Resnet(config) => Self::Resnet(Resnet::init(config, init)),
        }
    }

    /// The same encoder for running: norms that are constants by then are multiplied into the layers
    /// before them.
    pub fn folded(self) -> Self {
        match self {
            Self::Resnet(resnet) => Self::Resnet(resnet.folded()),
            other => other,
        }
    }

    /// A ViT's positions so many blocks before the end, of another encoder the last ones, and the picture
    /// in the shared space, in one pass: `[B, 3, h, w] -> [B, N, E], [B, C]`.
    pub fn encode_and_embed(&self, image: Tensor<4>, skip: usize) -> (Features, Tensor<2>) {
        match self {
            Self::Vit(vit) => vit.encode_and_embed(image, skip),
            Self::Resnet(resnet) => {
                let places = resnet.encode(image);
                (places.clone(), resnet.pooled(places))
            }
            Self::Naflex(naflex) => (naflex.encode(image.clone()), naflex.embed(image)),
        }
    }

    /// Pictures to the shared space, not yet of unit length: `[B, 3, h, w] -> [B, C]`.
    pub fn embed(&self, image: Tensor<4>) -> Tensor<2> {
        match self {
            Self::Vit(vit) => vit.embed(image),
            Self::Resnet(resnet) => resnet.embed(image),
            Self::Naflex(naflex) => naflex.embed(image),
        }
    }
}

impl Encode for Encoder {
    type Input = Tensor<4>;

    /// `[B, 3, h, w] -> [B, N, E]`
    fn encode(&self, image: Tensor<4>) -> Features {
        match self {
            Self::Vit(vit) => vit.encode(image),
            Self::Resnet(resnet) => resnet.encode(image),
            Self::Naflex(naflex) => naflex.encode(image),
        }
    }
}

impl Pack for Encoder {
    fn matrices(&mut self, path: &str, visit: &mut pack::Visit<'_>) {
        match self {
            Self::Vit(vit) => vit.matrices(path, visit),
            Self::Resnet(resnet) => resnet.matrices(path, visit),
            Self::Naflex(naflex) => naflex.matrices(path, visit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_tell_which_encoder_it_is() {
        let vit = EncoderConfig::Vit(VitConfig::small());
        let resnet = EncoderConfig::Resnet(ResnetConfig::clip_rn50());
        for config in [vit, resnet] {
            let mut settings = serde_json::to_value(&config).unwrap();
            assert_eq!(serde_json::from_value::<EncoderConfig>(settings.clone()).unwrap(), config);
            settings["image"] = "large".into();
            let error = serde_json::from_value::<EncoderConfig>(settings).unwrap_err().to_string();
            assert!(error.contains("\"large\""), "{error}");
        }
    }
}
