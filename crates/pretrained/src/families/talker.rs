//! What speaks, in a directory of a model that was trained here.
//!
//! ```text
//! config.json: talker = { shape, phonemes, voices, spectrogram }   talker.safetensors
//!              vocoder = { .. }                                    vocoder.safetensors
//! ```

use sensorium_generator::audio::stft::Stft;
use sensorium_generator::audio::{Talker, TalkerConfig, Vocoder, VocoderConfig};
use sensorium_media::phonemes::PHONEMES;
use sensorium_media::stft::{BANDS, HOP, N_FFT, RATE};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use super::sensorium::fit;
use crate::directory::Directory;
use crate::error::Result;

/// `talker` in `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoicesConfig {
    /// Its sizes.
    pub shape: TalkerConfig,
    /// The phonemes that it reads, by number.
    pub phonemes: Vec<String>,
    /// The voices that it has, by number; the first speaks where none is asked for.
    pub voices: Vec<String>,
    /// What its spectrograms are.
    pub spectrogram: SpectrogramConfig,
}

/// Which spectrograms, those of [`Stft`](sensorium_media::stft::Stft) alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpectrogramConfig {
    /// Samples a second.
    pub sampling_rate: u32,
    /// Samples of a window.
    pub n_fft: usize,
    /// Samples from frame to frame.
    pub hop_length: usize,
}

impl Default for SpectrogramConfig {
    fn default() -> Self {
        Self { sampling_rate: RATE, n_fft: N_FFT, hop_length: HOP }
    }
}

impl VoicesConfig {
    /// Of a shape and voices, with all phonemes that texts are made of.
    pub fn new(shape: TalkerConfig, voices: Vec<String>) -> Self {
        let phonemes = PHONEMES.map(str::to_owned).to_vec();
        Self { shape, phonemes, voices, spectrogram: SpectrogramConfig::default() }
    }

    /// What makes no sense: what was expected, and what it got.
    pub fn wrong(&self) -> Option<(&'static str, String)> {
        let Self { shape, phonemes, voices, spectrogram } = self;
        if *spectrogram != SpectrogramConfig::default() || shape.bands != BANDS {
            let expected = "spectrograms of 80 bands, 16000 Hz, n_fft 1024 and hop_length 256";
            return Some((expected, format!("{} bands, {spectrogram:?}", shape.bands)));
        }
        let once =
            |names: &[String]| names.iter().enumerate().all(|(i, x)| !names[..i].contains(x));
        if voices.is_empty() || !once(voices) || voices.contains(&String::new()) {
            return Some(("names of voices, each once", format!("{voices:?}")));
        }
        if !once(phonemes) || PHONEMES.iter().any(|known| self.phoneme(known).is_none()) {
            return Some(("every phoneme of texts, each once", format!("{phonemes:?}")));
        }
        shape.wrong()
    }

    /// The number of a voice.
    pub fn voice(&self, name: &str) -> Option<u32> {
        number(&self.voices, name)
    }

    /// The number of a phoneme.
    pub fn phoneme(&self, name: &str) -> Option<u32> {
        number(&self.phonemes, name)
    }

    /// A talker of this shape, whose parameters `init` makes.
    pub fn talker(&self, init: &mut Init) -> Talker {
        Talker::init(&self.shape, [self.phonemes.len(), self.voices.len()], init)
    }

    /// Name and shape of every parameter.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| self.talker(init))
    }
}

fn number(names: &[String], name: &str) -> Option<u32> {
    names.iter().position(|known| known == name).map(|at| at as u32)
}

/// A loaded talker.
#[derive(Debug)]
pub struct Voices {
    /// Shape, phonemes, voices.
    pub config: VoicesConfig,
    /// Phonemes to spectrograms.
    pub talker: Talker,
    /// Spectrograms to samples, where the model has learned that.
    pub vocoder: Option<(Vocoder, Stft)>,
    /// Where they lie.
    pub device: Device,
}

impl Voices {
    /// Of a directory with these settings.
    ///
    /// # Errors
    /// Its weights are missing, damaged, or not those of the settings.
    pub fn open(
        directory: &Directory,
        config: VoicesConfig,
        vocoder: Option<&VocoderConfig>,
        device: &Device,
    ) -> Result<Self> {
        let talker = load(directory, &config, &mut Init::empty(device))?;
        let vocoder = vocoder.map(|shape| -> Result<_> {
            let vocoder = load_vocoder(directory, shape, &mut Init::empty(device))?;
            Ok((vocoder, Stft::new(shape.n_fft, device)))
        });
        Ok(Self { config, talker, vocoder: vocoder.transpose()?, device: device.clone() })
    }

    /// Lays out every matrix for running.
    pub fn pack(&mut self, format: pack::Format) {
        self.talker.pack_as(format);
        self.vocoder.iter_mut().for_each(|(vocoder, _)| vocoder.pack_as(format));
    }
}

/// The talker, whose parameters `init` makes.
///
/// # Errors
/// As [`Voices::open`].
pub fn load(directory: &Directory, config: &VoicesConfig, init: &mut Init) -> Result<Talker> {
    fit(config.talker(init), directory, "talker")
}

/// The vocoder, whose parameters `init` makes.
///
/// # Errors
/// As [`Voices::open`].
pub fn load_vocoder(
    directory: &Directory,
    shape: &VocoderConfig,
    init: &mut Init,
) -> Result<Vocoder> {
    fit(Vocoder::init(shape, init), directory, "vocoder")
}

/// What makes no sense of a vocoder for such spectrograms: what was expected, and what it got.
pub fn wrong_vocoder(shape: &VocoderConfig) -> Option<(&'static str, String)> {
    let fits = shape.bands == BANDS && shape.n_fft == N_FFT;
    let other = || ("80 bands and n_fft 1024", format!("{shape:?}"));
    shape.wrong().or_else(|| (!fits).then(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_make_no_sense_are_told() {
        let voices = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let good = VoicesConfig::new(TalkerConfig::small(), voices(&["slt", "rms"]));
        assert_eq!((good.wrong(), good.voice("rms"), good.voice("x")), (None, Some(1), None));
        let shape = |shape| VoicesConfig { shape, ..good.clone() };
        let spectrogram = SpectrogramConfig { hop_length: 160, ..SpectrogramConfig::default() };
        for bad in [
            VoicesConfig { voices: Vec::new(), ..good.clone() },
            VoicesConfig { voices: voices(&["a", "a"]), ..good.clone() },
            VoicesConfig { phonemes: good.phonemes[1..].to_vec(), ..good.clone() },
            VoicesConfig { spectrogram, ..good.clone() },
            shape(TalkerConfig { bands: 40, ..TalkerConfig::small() }),
            shape(TalkerConfig { n_heads: 0, ..TalkerConfig::small() }),
            shape(TalkerConfig { kernel: 4, ..TalkerConfig::small() }),
        ] {
            assert!(bad.wrong().is_some(), "{bad:?}");
        }
    }
}
