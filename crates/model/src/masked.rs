//! Masked pre-training: an encoder sees some patches of media, and a decoder tells from them what the
//! others are, or what a slower copy of the encoder, which sees all, makes of these.
//!
//! He et al. 2021 (MAE), <https://arxiv.org/abs/2111.06377>; Baevski et al. 2022 (data2vec),
//! <https://arxiv.org/abs/2202.03555>, whose student reads and tells as that of data2vec 2.0,
//! <https://arxiv.org/abs/2212.07525>.
//!
//! ```text
//! patches ─┬─ some ──encoder──▶ [B, 1+V, E] ──decoder──▶ told [B, H, P]
//!          ├─ the others, each normalised ─────────────▶ pixels [B, H, P]
//!          └─ all ────teacher, mean of its last blocks─▶ features [B, H, E]
//! ```

use sensorium_encoder::image::{MaskedDecoder, MaskedDecoderConfig, MaskedVit, Places, VitConfig};
use sensorium_flow::Modality;
use sensorium_nn::prelude::*;

/// Shape of a [`MaskedAutoencoder`].
#[derive(Clone, Debug, PartialEq)]
pub struct MaskedConfig {
    /// The encoder of pictures, if it is trained.
    pub image: Option<VitConfig>,
    /// The encoder of spectrograms, if it is trained; its blocks are those of `image`.
    pub audio: Option<VitConfig>,
    /// The decoder.
    pub decoder: MaskedDecoderConfig,
    /// What is told of hidden patches.
    pub target: Target,
}

/// What is told of hidden patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Their pixels.
    Pixels,
    /// What a teacher makes of them.
    Features,
}

/// Media of one kind in patches, in rows of `B`: of each row's `N` patches, which stand in random order,
/// the first ones are shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Patches {
    /// Their kind.
    pub modality: Modality,
    /// `[B, N, P]`: a patch channel by channel, each row by row.
    pub values: Vec<f32>,
    /// `[B, N]`: where in its grid each patch is.
    pub places: Vec<u32>,
    /// B, N and P.
    pub shape: [usize; 3],
    /// Patches of a row that are shown, at least one and not all.
    pub shown: usize,
}

impl Patches {
    /// Planes `[B, c, h, w]` cut into squares of `side`, each row's in the order of its `places [B, N]`,
    /// of which the first `shown` are shown.
    pub fn cut(
        modality: Modality,
        planes: &[f32],
        [c, h, w]: [usize; 3],
        side: usize,
        places: Vec<u32>,
        shown: usize,
    ) -> Self {
        let (columns, n, p) = (w / side, (h / side) * (w / side), c * side * side);
        let mut values = Vec::with_capacity(places.len() * p);
        for (planes, places) in planes.chunks(c * h * w).zip(places.chunks(n)) {
            for &place in places {
                let (row, column) = (place as usize / columns, place as usize % columns);
                for line in (0..c * side).map(|i| i / side * h + row * side + i % side) {
                    values.extend_from_slice(&planes[line * w + column * side..][..side]);
                }
            }
        }
        let shape = [places.len() / n, n, p];
        Self { modality, values, places, shape, shown }
    }

    /// `[B, N, P]`
    fn all(&self, device: &Device) -> Tensor<3> {
        let device = device.clone().without_autodiff();
        Tensor::from_data(TensorData::new(self.values.clone(), self.shape), &device)
    }

    /// The hidden ones of what is known of all: `[B, N, ·] -> [B, H, ·]`.
    fn hidden(&self, x: Tensor<3>) -> Tensor<3> {
        x.narrow(1, self.shown, self.shape[1] - self.shown)
    }

    fn shown_places(&self) -> Vec<u32> {
        let rows = self.places.chunks(self.shape[1].max(1));
        rows.flat_map(|row| &row[..self.shown]).copied().collect()
    }
}

/// An encoder and what makes it learn.
#[derive(Module, Debug)]
pub struct MaskedAutoencoder {
    /// What is left after training.
    pub encoder: MaskedVit,
    /// What is not.
    pub decoder: MaskedDecoder,
}

impl MaskedAutoencoder {
    /// Seeded weights.
    ///
    /// # Panics
    /// When there is no encoder in `config`.
    pub fn init(config: &MaskedConfig, init: &mut Init) -> Self {
        let (image, audio) = (config.image.as_ref(), config.audio.as_ref());
        let numbers = |vit: &VitConfig| match config.target {
            Target::Pixels => vit.channels() * vit.stem[0].kernel.pow(2),
            Target::Features => vit.hidden_size,
        };
        Self {
            encoder: MaskedVit::init(image, audio, init),
            decoder: MaskedDecoder::init(&config.decoder, image, audio, numbers, init),
        }
    }

    /// What the hidden patches of each kind of media are: `[B, H, P]`, or as wide as the encoder.
    pub fn tell(&self, media: &[Patches], device: &Device) -> Vec<Tensor<3>> {
        let shown = media.iter().map(|patches| {
            let values = patches.all(device).narrow(1, 0, patches.shown);
            self.encoder.embed(patches.modality, values, &patches.shown_places())
        });
        let seen = self.encoder.forward(Tensor::cat(shown.collect(), 1)); // [B, 1+V, E]
        let places = media.iter().map(|patches| Places {
            modality: patches.modality,
            places: &patches.places,
            shown: patches.shown,
        });
        self.decoder.forward(seen, &places.collect::<Vec<_>>())
    }
}

/// The pixels of the hidden patches of each kind of media, each patch at mean 0 and variance 1, as the
/// paper's `norm_pix_loss`: `[B, H, P]`.
pub fn pixels(media: &[Patches], device: &Device) -> Vec<Tensor<3>> {
    let normalised = |patches: &Patches| {
        let x = patches.hidden(patches.all(device));
        let (mean, variance) = (x.clone().mean_dim(2), x.clone().var(2));
        (x - mean) / (variance + 1e-6).sqrt()
    };
    media.iter().map(normalised).collect()
}

/// What `teacher` makes of the hidden patches of each kind of media when it sees all: the mean of what
/// its last `layers` blocks give, each position normalised, `[B, H, E]`.
pub fn features(
    teacher: &MaskedVit,
    media: &[Patches],
    layers: usize,
    device: &Device,
) -> Vec<Tensor<3>> {
    let tokens = media
        .iter()
        .map(|patches| teacher.embed(patches.modality, patches.all(device), &patches.places));
    let levels = teacher.levels(Tensor::cat(tokens.collect(), 1));
    let last = &levels[levels.len().saturating_sub(layers.max(1))..];
    let normalised = last.iter().map(|x| normalised(x.clone()));
    let sum = normalised.reduce(|sum, x| sum + x).expect("an encoder has blocks");
    let mean = sum / last.len() as f64; // [B, 1+N, E]
    let mut start = 1;
    let of_each = media.iter().map(|patches| {
        let n = patches.shape[1];
        start += n;
        patches.hidden(mean.clone().narrow(1, start - n, n))
    });
    of_each.collect()
}

/// A LayerNorm without scale and shift.
fn normalised(x: Tensor<3>) -> Tensor<3> {
    let ([.., e], device) = (x.dims(), x.device());
    fused::layer_norm(x, Tensor::ones([e], &device), Tensor::zeros([e], &device), 1e-5)
}

/// The mean of the losses of each kind of media.
///
/// # Panics
/// When there are none.
pub fn mean(losses: impl Iterator<Item = Tensor<1>>) -> Tensor<1> {
    Tensor::cat(losses.collect(), 0).mean()
}

#[cfg(test)]
mod tests {
    use sensorium_encoder::image::{Conv, Pooling};
    use sensorium_nn::params::read;

    use super::*;

    fn config() -> MaskedConfig {
        let image = VitConfig {
            stem: vec![Conv { channels: 16, kernel: 4, stride: 4, padding: 0 }],
            stem_bias: true,
            n_heads: 2,
            pre_norm: false,
            pooling: Pooling::Class,
            proj: false,
            ..VitConfig::clip(8, 4, 16, 2, 16)
        };
        let audio = VitConfig { image: 8, frames: Some(12), ..image.clone() };
        let decoder =
            MaskedDecoderConfig { hidden_size: 8, n_layers: 1, n_heads: 2, intermediate_size: 16 };
        MaskedConfig { image: Some(image), audio: Some(audio), decoder, target: Target::Pixels }
    }

    /// What is left of one kind of media sees what the encoder of both sees when it is shown all of it.
    #[test]
    fn an_encoder_is_left_for_each_kind() {
        let (config, device) = (config(), Device::flex());
        let mut init = Init::new(1, &device);
        let model = MaskedAutoencoder::init(&config, &mut init);
        for (modality, vit) in [(Modality::Image, &config.image), (Modality::Audio, &config.audio)]
        {
            let vit = vit.as_ref().expect("both are there");
            let ([h, w], c, n) = (vit.size(), vit.channels(), vit.patches());
            let planes = init.normal([2, c, h, w], 1.0).val();
            // Backwards, so that places matter.
            let places: Vec<u32> = (0..2).flat_map(|_| (0..n as u32).rev()).collect();
            let patches =
                Patches::cut(modality, &read(planes.clone()), [c, h, w], 4, places, n - 1);
            let tokens = model.encoder.embed(modality, patches.all(&device), &patches.places);
            let ours = model.encoder.forward(tokens);
            let left = model.encoder.vit(modality, vit).positions(planes);
            for place in 0..=n {
                let at = if place == 0 { 0 } else { n + 1 - place };
                let [a, b] = [ours.clone().narrow(1, place, 1), left.clone().narrow(1, at, 1)];
                let off = read(a - b).into_iter().fold(0.0, |most: f32, x| most.max(x.abs()));
                assert!(off < 1e-5, "{modality}, place {place}: {off}");
            }
        }
    }

    /// Nothing of a hidden patch reaches what is told of it.
    #[test]
    fn what_is_hidden_is_not_seen() {
        let (config, device) = (config(), Device::flex());
        let model = MaskedAutoencoder::init(&config, &mut Init::new(1, &device));
        let planes: Vec<f32> = (0..192).map(|i| (i % 7) as f32).collect();
        let tell = |planes: &[f32]| {
            let patches = Patches::cut(Modality::Image, planes, [3, 8, 8], 4, vec![2, 0, 3, 1], 2);
            read(model.tell(&[patches], &device).remove(0))
        };
        let told = tell(&planes);
        let changed = |at: usize| {
            let mut planes = planes.clone();
            planes[at] += 1.0;
            tell(&planes)
        };
        // In the patch at the upper right, and in that at the lower left, which is shown.
        assert_eq!(told, changed(5));
        assert_ne!(told, changed(5 * 8));
    }
}
