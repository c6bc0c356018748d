//! WAV: RIFF with 16-bit samples of one channel, and a list of notes behind them.

use super::{Kind, Notes, lines, refused};
use crate::{Result, Sound};

/// Notes that have a field of their own, and which.
const FIELDS: [(&str, &[u8; 4]); 2] = [("Title", b"INAM"), ("Software", b"ISFT")];

pub fn encode(sound: &Sound, notes: Notes<'_>) -> Result<Vec<u8>> {
    // Full scale is one step more than the largest number, which stands for it.
    let samples = sound.samples.iter().flat_map(|x| ((x * 32_768.0).round() as i16).to_le_bytes());
    let format = [
        [1, 0, 1, 0].to_vec(), // Integers, one channel.
        sound.rate.to_le_bytes().to_vec(),
        sound.rate.saturating_mul(2).to_le_bytes().to_vec(),
        [2, 0, 16, 0].to_vec(), // Bytes and bits of a sample.
    ];
    let mut body = b"WAVE".to_vec();
    chunk(&mut body, b"fmt ", &format.concat())?;
    chunk(&mut body, b"data", &samples.collect::<Vec<u8>>())?;
    if !notes.is_empty() {
        chunk(&mut body, b"LIST", &list(notes)?)?;
    }
    let mut bytes = Vec::with_capacity(body.len() + 8);
    chunk(&mut bytes, b"RIFF", &body)?;
    Ok(bytes)
}

fn list(notes: Notes<'_>) -> Result<Vec<u8>> {
    let mut list = b"INFO".to_vec();
    let field = |name: &str| FIELDS.iter().find(|field| field.0 == name).map(|field| field.1);
    for (name, text) in notes {
        if let Some(field) = field(name) {
            chunk(&mut list, field, format!("{text}\0").as_bytes())?;
        }
    }
    let comment = lines(notes.iter().filter(|(name, _)| field(name).is_none()));
    if !comment.is_empty() {
        chunk(&mut list, b"ICMT", format!("{comment}\0").as_bytes())?;
    }
    Ok(list)
}

/// Name, length and content, filled up to an even length.
fn chunk(to: &mut Vec<u8>, name: &[u8; 4], content: &[u8]) -> Result<()> {
    let length = u32::try_from(content.len());
    let length = length.map_err(|_| refused(Kind::Wav, "a sound of more than 4 GB"))?;
    to.extend(name);
    to.extend(length.to_le_bytes());
    to.extend(content);
    to.resize(to.len().next_multiple_of(2), 0);
    Ok(())
}
