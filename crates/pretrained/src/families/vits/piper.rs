//! The settings of a voice of Piper, as they lie beside its ONNX file: which phonemes it knows, and how it speaks.
//!
//! <https://github.com/OHF-Voice/piper1-gpl>; `reference/piper.py` makes a directory of a voice.

use std::collections::BTreeMap;

use sensorium_generator::audio::vits::{VitsConfig, VitsNoise};
use sensorium_media::sound::MAX_RATE;
use serde_json::{Value, json};

use super::letters::Letters;
use super::{FOREIGN, Manner, not_negative};
use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;
use crate::families::hifigan::at_most;

/// The settings, under the name that the script gives them.
pub(super) const FILE: &str = "voice.onnx.json";

/// Phonemes before and behind those of a text, and between any two.
const OPENING: char = '^';
const CLOSING: char = '$';
const PAD: char = '_';

/// What a model of this shape reads, and how it speaks.
///
/// # Errors
/// A setting is missing, out of range, of another model, or asks for what is not supported.
pub(super) fn read(
    directory: &Directory,
    settings: &Value,
    shape: &VitsConfig,
) -> Result<(Letters, Manner)> {
    let config = Config::new(FILE, settings);
    config.without_effect(&["language", "dataset", "piper_version"]);
    config.only("phoneme_type", &json!("espeak"))?;
    config.only("phoneme_map", &json!({}))?;
    config.only("num_symbols", &json!(shape.vocab_size))?;
    let audio = config.child("audio")?;
    audio.without_effect(&["quality"]);
    let inference = config.find_or_empty("inference")?;
    let noise = VitsNoise {
        scale: not_negative(&inference, "noise_scale", 0.667)?,
        duration_scale: not_negative(&inference, "noise_w", 0.8)?,
    };
    let manner = Manner {
        noise,
        speaking_rate: 1.0 / inference.positive_or("length_scale", 1.0)?,
        sampling_rate: at_most(&audio, "sample_rate", 22_050, MAX_RATE as usize)? as u32,
        voices: voices(&config, shape)?,
    };
    let letters = letters(&config, shape.vocab_size)?;
    directory.tell(&config)?;
    Ok((letters, manner))
}

fn letters(config: &Config<'_>, known: usize) -> Result<Letters> {
    let hint = "take the .onnx.json of the same voice: without its table nothing can be spoken";
    let table = config.get("phoneme_id_map").filter(|table| table.is_object());
    let table = table.ok_or_else(|| config.wrong("phoneme_id_map", "a table of phonemes", hint))?;
    let table = Config::new(FILE, table);
    let mut ids = BTreeMap::new();
    for name in table.keys() {
        let found = table.ids(name)?.unwrap_or_default();
        let mut chars = name.chars();
        let (Some(phoneme), None) = (chars.next(), chars.next()) else {
            return Err(table.wrong(name, "a phoneme of one letter", FOREIGN));
        };
        if found.is_empty() || found.iter().any(|&id| id as usize >= known) {
            let expected = format!("ids below {known}, the vocab_size of config.json");
            return Err(table.wrong(name, &expected, FOREIGN));
        }
        ids.insert(phoneme, found);
    }
    let mut special = |phoneme: char| {
        let missing = || table.wrong(&phoneme.to_string(), "its id", hint);
        ids.remove(&phoneme).ok_or_else(missing)
    };
    let (opening, closing, pad) = (special(OPENING)?, special(CLOSING)?, special(PAD)?);
    Ok(Letters {
        ids,
        around: [[opening, pad.clone()].concat(), pad, closing],
        normalize: false,
        decompose: true,
        language: None,
        phonemes: Some(espeak(config)?),
    })
}

/// The voice of espeak-ng, a name and no path.
fn espeak(config: &Config<'_>) -> Result<String> {
    let espeak = config.child("espeak")?;
    let voice = espeak.text_or("voice", "")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_+".contains(c);
    match !voice.is_empty() && !voice.starts_with('-') && voice.chars().all(plain) {
        true => Ok(voice.to_owned()),
        false => Err(espeak.wrong("voice", "a voice of espeak-ng, such as \"en-us\"", FOREIGN)),
    }
}

/// Names of voices, in the order of their numbers.
fn voices(config: &Config<'_>, shape: &VitsConfig) -> Result<Vec<String>> {
    let count = shape.speakers.map_or(1, |[count, _]| count);
    config.only("num_speakers", &json!(count))?;
    let mut voices: Vec<String> = (0..count).map(|voice| voice.to_string()).collect();
    let Some(names) = config.find("speaker_id_map")? else { return Ok(voices) };
    for name in names.keys() {
        let number = names.id_or(name, 0)? as usize;
        let expected = format!("a number below {count}");
        let place = voices.get_mut(number);
        *place.ok_or_else(|| names.wrong(name, &expected, FOREIGN))? = name.to_owned();
    }
    Ok(voices)
}
