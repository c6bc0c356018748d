//! A sound encoder with a head for transcripts, in a directory of a model that was trained here.
//!
//! ```text
//! config.json: ctc = { encoder, classes }   speech.safetensors
//! ```

use sensorium_encoder::audio::{Conformer, ConformerConfig};
use sensorium_flow::Encode;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use super::sensorium::fit;
use crate::directory::Directory;
use crate::error::Result;

/// `ctc` in `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CtcConfig {
    /// Shape of the encoder and of its head.
    pub encoder: ConformerConfig,
    /// The character that each class of the head spells; the first, the blank, spells nothing.
    pub classes: Vec<String>,
}

impl CtcConfig {
    /// An encoder whose head spells the characters of `alphabet`, whatever head it had.
    pub fn new(encoder: ConformerConfig, alphabet: &str) -> Self {
        let classes = alphabet.chars().map(String::from);
        let classes: Vec<String> = std::iter::once(String::new()).chain(classes).collect();
        Self { encoder: ConformerConfig { vocab_size: Some(classes.len()), ..encoder }, classes }
    }

    /// What makes no sense: what was expected, and what it got.
    pub fn wrong(&self) -> Option<(&'static str, String)> {
        let Self { encoder, classes } = self;
        let ConformerConfig { bands, positions, hidden_size, n_layers, .. } = *encoder;
        let ConformerConfig { n_heads, intermediate_size, kernel, .. } = *encoder;
        let sizes =
            [bands, positions, hidden_size, n_layers, n_heads, intermediate_size, classes.len()];
        let is_even = |n: usize| n.is_multiple_of(2);
        let divides = || hidden_size.is_multiple_of(n_heads) && is_even(hidden_size / n_heads);
        if sizes.contains(&0) || !divides() || is_even(kernel) {
            let expected = "sizes above 0, an odd kernel, and heads of an even width";
            return Some((expected, format!("{encoder:?}")));
        }
        let one_each = |(i, class): (usize, &String)| {
            class.chars().count() == usize::from(i > 0) && !classes[..i].contains(class)
        };
        let all = encoder.vocab_size == Some(classes.len());
        if !all || classes.len() < 2 || !classes.iter().enumerate().all(one_each) {
            let expected = "an empty class, and one for each character of an alphabet, once";
            return Some((expected, format!("{classes:?} of {:?}", encoder.vocab_size)));
        }
        None
    }

    /// The classes of what is said: words with one space between them, without punctuation; a letter that
    /// the alphabet lacks in lower case.
    ///
    /// # Errors
    /// A letter or digit that no class spells.
    pub fn labels(&self, text: &str) -> std::result::Result<Vec<u32>, char> {
        labels(&self.classes, text)
    }
}

/// As [`CtcConfig::labels`], of classes that spell characters; a letter that they lack in its case is taken in the other.
pub(super) fn labels(classes: &[String], text: &str) -> std::result::Result<Vec<u32>, char> {
    let class = |c: char| class(classes, c);
    let is_dash = |c| matches!(c, '-' | '\u{2013}' | '\u{2014}') && class(c).is_none();
    let words = text.split(|c: char| c.is_whitespace() || is_dash(c));
    let words = words.map(|word| spelt(classes, word)).collect::<std::result::Result<Vec<_>, _>>();
    let words: Vec<_> = words?.into_iter().filter(|word| !word.is_empty()).collect();
    Ok(words.join(&class(' ').into_iter().collect::<Vec<_>>()[..]))
}

fn spelt(classes: &[String], word: &str) -> std::result::Result<Vec<u32>, char> {
    let mut labels = Vec::new();
    for c in word.chars() {
        let c = if c == '\u{2019}' { '\'' } else { c };
        let class = |c| class(classes, c);
        let lower = || c.to_lowercase().map(class).collect::<Option<Vec<_>>>();
        let upper = || c.to_uppercase().map(class).collect::<Option<Vec<_>>>();
        match class(c).map(|class| vec![class]).or_else(lower).or_else(upper) {
            Some(classes) => labels.extend(classes),
            None if c.is_alphanumeric() => return Err(c),
            None => {}
        }
    }
    Ok(labels)
}

/// The class that spells a character.
fn class(classes: &[String], c: char) -> Option<u32> {
    let spells = |class: &String| class.chars().eq([c]);
    classes.iter().position(spells).map(|class| class as u32)
}

/// A loaded model and all that is needed to listen with it.
#[derive(Debug)]
pub struct CtcParts {
    /// Shape and classes.
    pub config: CtcConfig,
    /// Encoder and head.
    pub model: Conformer,
    /// Where it lies.
    pub device: Device,
}

impl CtcParts {
    /// Of a directory with these settings.
    ///
    /// # Errors
    /// Its weights are missing, damaged, or not those of the settings.
    pub fn open(directory: &Directory, config: CtcConfig, device: &Device) -> Result<Self> {
        let model = load(directory, &config, &mut Init::empty(device))?;
        Ok(Self { config, model, device: device.clone() })
    }

    /// Logits `[N, V]` of one sound's spectrogram `[bands, frames]`, N being a quarter of the frames.
    pub fn logits(&self, mel: Vec<f32>) -> Vec<f32> {
        let bands = self.config.encoder.bands;
        let shape = [1, bands, mel.len() / bands];
        let mel = Tensor::from_data(TensorData::new(mel, shape), &self.device);
        self.model.logits(self.model.encode(mel)).map(read).unwrap_or_default()
    }
}

/// Encoder and head, whose parameters `init` makes.
///
/// # Errors
/// As [`CtcParts::open`].
pub fn load(directory: &Directory, config: &CtcConfig, init: &mut Init) -> Result<Conformer> {
    fit(Conformer::init(&config.encoder, init), directory, "speech")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_labels_of_any_alphabet() {
        for (alphabet, text, labels) in [
            (" abc'", "Cab  bA\u{2019}b!", Ok(vec![4, 2, 3, 1, 3, 2, 5, 3])),
            (" abc'", "a-b \u{2014} ...", Ok(vec![2, 1, 3])),
            ("abC-", "c\u{300}", Ok(vec![3])),
            ("abC-", "a-B C", Ok(vec![1, 4, 2, 3])),
            ("äöß ", "ÄÖ ß", Ok(vec![1, 2, 4, 3])),
            ("a", "a4", Err('4')),
            ("a", "", Ok(vec![])),
        ] {
            let config = CtcConfig::new(ConformerConfig::small(), alphabet);
            assert_eq!(config.labels(text), labels, "{text}");
        }
    }

    #[test]
    fn settings_that_make_no_sense_are_told() {
        let good = CtcConfig::new(ConformerConfig::small(), " ab");
        assert_eq!(good.wrong(), None);
        let encoder = |encoder| CtcConfig { encoder, ..good.clone() };
        let small = || good.encoder.clone();
        for bad in [
            encoder(ConformerConfig { n_heads: 0, ..small() }),
            encoder(ConformerConfig { n_heads: 64, ..small() }),
            encoder(ConformerConfig { kernel: 4, ..small() }),
            encoder(ConformerConfig { bands: 0, ..small() }),
            encoder(ConformerConfig { vocab_size: Some(9), ..small() }),
            CtcConfig::new(small(), ""),
            CtcConfig::new(small(), "aba"),
            CtcConfig { classes: ["", "a", "b", "cd"].map(String::from).to_vec(), ..good.clone() },
        ] {
            assert!(bad.wrong().is_some(), "{bad:?}");
        }
    }
}
