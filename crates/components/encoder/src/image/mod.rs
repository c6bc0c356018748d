//! Image encoders.

mod masked;
mod naflex;
mod pool;
mod resnet;
mod vit;

pub use masked::{MaskedDecoder, MaskedDecoderConfig, MaskedVit, Places};
pub use naflex::Naflex;
pub use pool::AttentionPool;
pub use resnet::{Resnet, ResnetConfig};
pub use sensorium_nn::prelude::Activation as ActivationName;
pub use vit::{Conv, FeatureSelect, Pooling, Vit, VitConfig};

use sensorium_flow::{Encode, Features};
use sensorium_nn::prelude::*;

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
