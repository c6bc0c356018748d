//! Videos: each frame through an image encoder, when it stands and what has changed since the one before,
//! and latents that ask all of it.
//!
//! The latents are a Perceiver resampler's over frames (Alayrac et al. 2022, section 2.1,
//! <https://arxiv.org/abs/2204.14198>).
//!
//! ```text
//! video [B, F, c, h, w] ──image encoder, means of squares──▶ [B, F, N, E] ──(+ frame, + change)──┐
//! latents [Q, E] ──layers────────────────────────────────────────────────────────────────────────┴──norm──▶ [B, Q, E]
//! ```

use sensorium_flow::{Encode, Features};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::image::{FeatureSelect, Pooling, Vit, VitConfig};

/// Shape of a [`VideoEncoder`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VideoEncoderConfig {
    /// What sees each frame.
    pub image: VitConfig,
    /// Most frames F.
    pub frames: usize,
    /// Side of the squares of positions whose mean is taken; 1 keeps all.
    pub pool: usize,
    /// Latents Q.
    pub latents: usize,
    /// Layers of the latents.
    pub n_layers: usize,
    /// Their heads.
    pub n_heads: usize,
    /// Width inside their MLPs.
    pub intermediate_size: usize,
}

impl VideoEncoderConfig {
    /// The embedded model's: 8 frames, 24 latents, 0.49 M parameters beside those of the image encoder.
    pub fn small() -> Self {
        Self {
            image: VitConfig { pooling: Pooling::Mean, proj: false, ..VitConfig::small() },
            frames: 8,
            pool: 2,
            latents: 24,
            n_layers: 1,
            n_heads: 6,
            intermediate_size: 768,
        }
    }
}

/// Epsilon of every norm: PyTorch's default.
const EPS: f64 = 1e-5;

/// See the [module](self).
#[derive(Module, Debug)]
pub struct VideoEncoder {
    /// What sees each frame.
    pub image: Vit,
    frame: Param<Tensor<2>>,
    change: Linear,
    latents: Param<Tensor<2>>,
    layers: Vec<PerceiverLayer>,
    norm: LayerNorm,
    #[module(skip)]
    pool: usize,
}

sensorium_nn::pack!(VideoEncoder: image, change, layers);

impl VideoEncoder {
    /// The image encoder by its own scheme; frames as sines and cosines, latents of 1, matrices of
    /// `fan_in^-0.5`.
    pub fn init(config: &VideoEncoderConfig, init: &mut Init) -> Self {
        let e = config.image.hidden_size;
        let layer = PerceiverLayerConfig {
            d: e,
            heads: config.n_heads,
            head_dim: e / config.n_heads,
            hidden: config.intermediate_size,
            qk_norm: false,
            activation: Activation::Gelu,
            eps: EPS,
        };
        let frames = || (0..config.frames).flat_map(|frame| waves(frame, e)).collect();
        let patches = FeatureSelect { class: false, ..FeatureSelect::default() };
        Self {
            image: Vit::init(&config.image, init).with_features(patches),
            frame: init.values(frames, [config.frames, e]),
            change: Linear::init(e, e, false, (e as f64).powf(-0.5), init),
            latents: init.normal([config.latents, e], 1.0),
            layers: (0..config.n_layers).map(|_| PerceiverLayer::init(&layer, init)).collect(),
            norm: LayerNorm::init(e, EPS, init),
            pool: config.pool,
        }
    }

    /// What the image encoder sees in each frame, `[B, F, c, h, w] -> [B, F, N, E]`. Of an encoder that does
    /// not learn, it can be kept.
    pub fn see(&self, video: Tensor<5>) -> Tensor<4> {
        let [b, f, c, h, w] = video.dims();
        let Features(x) = self.image.encode(video.reshape([b * f, c, h, w])); // [B·F, n, E]
        let [_, n, e] = x.dims();
        let side = n.isqrt();
        let x = average_pool2d(x.swap_dims(1, 2).reshape([b * f, e, side, side]), self.pool);
        let n = (side / self.pool).pow(2);
        x.reshape([b, f, e, n]).swap_dims(2, 3)
    }

    /// What happens in frames that were [seen](Self::see), `[B, F, N, E] -> [B, Q, E]`.
    ///
    /// # Panics
    /// When there are more frames than the encoder knows.
    pub fn watch(&self, frames: Tensor<4>) -> Features {
        let [b, f, n, e] = frames.dims();
        assert!(f <= self.frame.dims()[0], "{f} frames of at most {}", self.frame.dims()[0]);
        // Before the first there is itself: nothing has changed.
        let before = Tensor::cat(vec![frames.clone().narrow(1, 0, 1), frames.clone()], 1);
        let change = self.change.forward(frames.clone() - before.narrow(1, 0, f));
        let when = self.frame.val().narrow(0, 0, f).reshape([1, f, 1, e]);
        let x = (frames + change + when).reshape([b, f * n, e]);
        let latents = self.latents.val().unsqueeze::<3>().repeat_dim(0, b);
        let layers = self.layers.iter();
        Features(self.norm.forward(layers.fold(latents, |y, layer| layer.forward(y, x.clone()))))
    }
}

impl Encode for VideoEncoder {
    type Input = Tensor<5>;

    /// `[B, F, c, h, w] -> [B, Q, E]`
    fn encode(&self, video: Tensor<5>) -> Features {
        self.watch(self.see(video))
    }
}

#[cfg(test)]
mod tests {
    use sensorium_nn::params::read;

    use super::*;

    fn tiny() -> (VideoEncoder, Tensor<5>) {
        let image = VitConfig {
            n_heads: 2,
            pooling: Pooling::Mean,
            proj: false,
            ..VitConfig::clip(16, 4, 8, 1, 8)
        };
        let config = VideoEncoderConfig {
            image,
            frames: 4,
            pool: 2,
            latents: 3,
            n_layers: 1,
            n_heads: 2,
            intermediate_size: 10,
        };
        let mut init = Init::new(4, &Device::flex());
        let video = VideoEncoder::init(&config, &mut init);
        (video, init.normal([2, 4, 3, 16, 16], 1.0).val())
    }

    fn off(a: Tensor<3>, b: Tensor<3>) -> f32 {
        read((a - b).abs().max())[0]
    }

    #[test]
    fn the_embedded_one_has_as_many_parameters_as_it_says() {
        let config = VideoEncoderConfig::small();
        let shapes = params::shapes(|init| VideoEncoder::init(&config, init));
        let own = shapes.iter().filter(|(name, _)| !name.starts_with("image."));
        let n: usize = own.map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!(n, 486_912);
    }

    #[test]
    fn as_many_come_out_as_there_are_latents_whatever_the_frames() {
        let (encoder, video) = tiny();
        assert_eq!(encoder.see(video.clone()).dims(), [2, 4, 4, 8]);
        for frames in 1..=4 {
            let Features(x) = encoder.encode(video.clone().narrow(1, 0, frames));
            assert_eq!(x.dims(), [2, 3, 8]);
        }
        let Features(both) = encoder.encode(video.clone());
        let Features(one) = encoder.encode(video.narrow(0, 1, 1));
        assert!(off(both.narrow(0, 1, 1), one) < 1e-5, "videos do not see each other");
    }

    #[test]
    fn the_order_of_frames_matters() {
        let (encoder, video) = tiny();
        let Features(there) = encoder.encode(video.clone());
        let Features(back) = encoder.encode(video.flip([1]));
        assert!(off(there, back) > 1e-2);
    }

    /// By what changes alone, too: frames without a time of their own, whose order a set would not tell.
    #[test]
    fn changes_alone_tell_the_order() {
        let (encoder, video) = tiny();
        let without = |encoder: VideoEncoder, part: &str| {
            params::update(encoder, |name, _, values| {
                values.fill(0.0);
                name == part
            })
        };
        let gap = |encoder: &VideoEncoder| {
            let there = encoder.encode(video.clone()).0;
            off(there, encoder.encode(video.clone().flip([1])).0)
        };
        let timeless = without(encoder, "frame");
        assert!(gap(&timeless) > 1e-3);
        let still = without(timeless, "change.weight");
        assert!(gap(&still) < 1e-5, "a set of frames has no order");
    }
}
