//! Perceiver resampler: learned latents ask a picture's positions, however many they are, and go on
//! in their place.
//!
//! Alayrac et al. 2022 (Flamingo), section 2.1, <https://arxiv.org/abs/2204.14198>, as Idefics has it
//! (Laurençon et al. 2023, <https://arxiv.org/abs/2306.16527>): ReLU, heads of their own width.
//!
//! ```text
//! features [B, N, E] ─────────┐ keys, values: both
//! latents [Q, E] ──layers─────┴──▶ [B, Q, E] ──norm──▶ features [B, Q, E]
//! ```
//! What comes out keeps the width E: for a backbone that asks it by cross-attention, or is as wide. Of a video
//! the positions of all frames are asked at once; a learned vector for each frame tells when it was
//! (open_flamingo's `frame_embs`, <https://arxiv.org/abs/2308.01390>).

use sensorium_flow::{Embeds, Features, Project};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

/// Shape of a [`Perceiver`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerceiverConfig {
    /// Latents Q.
    pub latents: usize,
    /// Width E.
    #[serde(alias = "width")]
    pub hidden_size: usize,
    /// Layers.
    pub n_layers: usize,
    /// Heads.
    pub n_heads: usize,
    /// Width K of a head; all of them need not be E together.
    #[serde(alias = "head_width")]
    pub head_dim: usize,
    /// Width inside the MLPs.
    #[serde(alias = "mlp")]
    pub intermediate_size: usize,
    /// LayerNorm over each head's queries and keys.
    pub qk_norm: bool,
    /// Activation of the MLPs: ReLU of Idefics, GELU of OpenFlamingo.
    #[serde(default = "relu")]
    pub activation: Activation,
    /// Frames of a video that have a learned vector each, F_max; of 0, their order is not seen.
    #[serde(default)]
    pub frames: usize,
}

fn relu() -> Activation {
    Activation::Relu
}

/// Epsilon of every norm: PyTorch's default, which no checkpoint states.
const EPS: f64 = 1e-5;

impl PerceiverConfig {
    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Perceiver::init(self, init))
    }
}

/// `[B, N, E] -> [B, Q, E]`
#[derive(Module, Debug)]
pub struct Perceiver {
    latents: Param<Tensor<2>>,
    layers: Vec<PerceiverLayer>,
    norm: LayerNorm,
    /// `[F_max, E]`
    frame_embs: Option<Param<Tensor<2>>>,
}

sensorium_nn::pack!(Perceiver: layers);

impl Perceiver {
    /// Latents and frames' vectors of 1, matrices of `fan_in^-0.5`.
    pub fn init(config: &PerceiverConfig, init: &mut Init) -> Self {
        let e = config.hidden_size;
        let layer = PerceiverLayerConfig {
            d: e,
            heads: config.n_heads,
            head_dim: config.head_dim,
            hidden: config.intermediate_size,
            qk_norm: config.qk_norm,
            activation: config.activation,
            eps: EPS,
        };
        Self {
            latents: init.normal([config.latents, e], 1.0),
            layers: (0..config.n_layers).map(|_| PerceiverLayer::init(&layer, init)).collect(),
            norm: LayerNorm::init(e, EPS, init),
            frame_embs: (config.frames > 0).then(|| init.normal([config.frames, e], 1.0)),
        }
    }

    /// Pictures, which are videos of one frame: `[B, N, E] -> [B, Q, E]`.
    pub fn resample(&self, context: &Features) -> Features {
        self.resample_frames(context, &vec![1; context.0.dims()[0]])
    }

    /// Media of so many `frames` each, the frames of all one after the other:
    /// `[sum of F, N, E] -> [M, Q, E]`.
    ///
    /// # Panics
    /// When the frames are not those of `context`, or a medium has none.
    pub fn resample_frames(&self, Features(context): &Features, frames: &[usize]) -> Features {
        let [all, n, e] = context.dims();
        assert_eq!(frames.iter().sum::<usize>(), all, "frames of all media");
        let mut start = 0;
        // Neighbours of as many frames are one batch.
        let run = |run: &[usize]| {
            let (media, f) = (run.len(), run[0]);
            let x = context.clone().narrow(0, start, media * f).reshape([media, f, n, e]);
            start += media * f;
            let x = self.timed(x).reshape([media, f * n, e]);
            self.norm.forward(self.hidden(&Features(x), self.layers.len()))
        };
        Features(Tensor::cat(frames.chunk_by(|a, b| a == b).map(run).collect(), 0))
    }

    /// `[M, F, N, E]` with each frame's vector added. More frames than there are vectors lie evenly between
    /// the first and the last (Alayrac et al. 2022, appendix on video).
    fn timed(&self, x: Tensor<4>) -> Tensor<4> {
        let Some(vectors) = &self.frame_embs else { return x };
        let [_, f, _, e] = x.dims();
        let vectors = vectors.val();
        let shares = TensorData::new(shares(f, vectors.dims()[0]).concat(), [f, vectors.dims()[0]]);
        let shares = Tensor::<2>::from_data(shares, &vectors.device());
        x + shares.matmul(vectors).reshape([1, f, 1, e])
    }

    /// The latents after so many layers and before the last norm, `[B, N, E] -> [B, Q, E]`: after none,
    /// as they are learned.
    pub fn hidden(&self, Features(context): &Features, layers: usize) -> Tensor<3> {
        let latents = self.latents.val().unsqueeze::<3>().repeat_dim(0, context.dims()[0]);
        let layers = self.layers.iter().take(layers);
        layers.fold(latents, |x, layer| layer.forward(x, context.clone()))
    }
}

/// How much each of `vectors` counts for each of so many frames.
fn shares(frames: usize, vectors: usize) -> Vec<Vec<f32>> {
    let step = match frames > vectors {
        true => (vectors - 1) as f32 / (frames - 1) as f32,
        false => 1.0,
    };
    let share =
        |frame: usize, vector: usize| (1.0 - (frame as f32 * step - vector as f32).abs()).max(0.0);
    (0..frames).map(|frame| (0..vectors).map(|vector| share(frame, vector)).collect()).collect()
}

impl Project for Perceiver {
    fn project(&self, features: Features) -> Embeds {
        Embeds(self.resample(&features).0)
    }

    fn tokens(&self, _: usize) -> usize {
        self.latents.dims()[0]
    }
}

#[cfg(test)]
mod tests {
    use sensorium_nn::params::read;

    use super::*;

    fn config(qk_norm: bool, frames: usize) -> PerceiverConfig {
        let (latents, width, n_layers, n_heads, head_width, mlp) = (3, 10, 2, 2, 6, 14);
        PerceiverConfig {
            latents,
            hidden_size: width,
            n_layers,
            n_heads,
            head_dim: head_width,
            intermediate_size: mlp,
            qk_norm,
            activation: Activation::Relu,
            frames,
        }
    }

    /// However many positions there are, and whatever else is resampled beside them.
    #[test]
    fn as_many_come_out_as_there_are_latents() {
        let init = &mut Init::new(5, &Device::flex());
        let perceiver = Perceiver::init(&config(true, 0), init);
        let long = init.normal([2, 9, 10], 1.0).val();
        let Features(out) = perceiver.resample(&Features(long.clone()));
        assert_eq!(out.dims(), [2, 3, 10]);
        let Features(one) = perceiver.resample(&Features(long.clone().narrow(0, 1, 1)));
        assert_eq!(read(out.narrow(0, 1, 1)), read(one));
        let Features(short) = perceiver.resample(&Features(long.narrow(1, 0, 4)));
        assert_eq!(short.dims(), [2, 3, 10]);
    }

    /// recipes, check E12: as many latents of 1, 2 and 8 frames, and of more than have a vector; the order of
    /// the frames is seen by their vectors alone.
    #[test]
    fn a_video_becomes_as_many_latents_and_its_order_is_told_by_frame_embs() {
        for (frames, sees_order) in [(0, false), (4, true)] {
            let init = &mut Init::new(5, &Device::flex());
            let config = PerceiverConfig { latents: 64, ..config(false, frames) };
            let perceiver = Perceiver::init(&config, init);
            for f in [1, 2, 8] {
                let video = init.normal([f, 5, 10], 1.0).val();
                let latents =
                    |video: Tensor<3>| perceiver.resample_frames(&Features(video), &[f]).0;
                let forth = latents(video.clone());
                assert_eq!(forth.dims(), [1, 64, 10], "{f} frames");
                let (forth, back) = (read(forth), read(latents(video.flip([0]))));
                let apart = forth.iter().zip(&back).map(|(a, b)| (a - b).abs());
                let apart = apart.fold(0.0, f32::max);
                let is_seen = sees_order && f > 1;
                assert!((apart > 1e-2) == is_seen, "{f} frames, {frames} vectors: {apart}");
                assert!(is_seen || apart < 1e-5, "{f} frames, {frames} vectors: {apart}");
            }
        }
    }

    /// Whatever else stands beside it, and however many frames that has.
    #[test]
    fn a_video_beside_pictures_is_as_it_is_alone() {
        let init = &mut Init::new(5, &Device::flex());
        let perceiver = Perceiver::init(&config(true, 3), init);
        let all = init.normal([1 + 3 + 2 + 2, 4, 10], 1.0).val();
        let frames = [1, 3, 2, 2];
        let Features(together) = perceiver.resample_frames(&Features(all.clone()), &frames);
        let mut start = 0;
        for (medium, f) in frames.into_iter().enumerate() {
            let alone = Features(all.clone().narrow(0, start, f));
            let Features(alone) = perceiver.resample_frames(&alone, &[f]);
            assert_eq!(read(together.clone().narrow(0, medium, 1)), read(alone), "medium {medium}");
            start += f;
        }
    }

    #[test]
    fn more_frames_than_vectors_lie_between_them() {
        assert_eq!(shares(2, 3), [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]);
        assert_eq!(shares(3, 2), [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]);
        assert_eq!(shares(2, 1), [[1.0], [1.0]]);
    }
}
