//! What parent and child tell each other: JSON behind its length, and the raw bytes that it announces.

use std::io::{Error, ErrorKind, Read, Result, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Limits;
use crate::video::Sampling;

/// Longest message but a table: an error holds a path, and what a decoder says.
const MAX_MESSAGE: u32 = 1 << 20;

/// Longest table: each byte of its texts in six, and some thirty for a number.
const MAX_TABLE: u32 = 1 << 29;

/// Most samples of a piece: four seconds at 16 kHz.
pub(super) const MAX_PIECE: usize = 1 << 16;

/// What a child is started for.
#[derive(Deserialize, Serialize)]
pub(super) struct Job {
    pub(super) limits: Limits,
    pub(super) task: Task,
}

#[derive(Deserialize, Serialize)]
pub(super) enum Task {
    /// As many as are asked for.
    Pictures,
    /// The one that is standard input.
    Sound { origin: String, rate: u32 },
}

/// A file, whose bytes follow.
#[derive(Deserialize, Serialize)]
pub(super) struct Request {
    pub(super) origin: String,
    pub(super) bytes: usize,
    pub(super) wanted: Wanted,
}

/// What a file is to be read as.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub(super) enum Wanted {
    Picture,
    Video(Sampling),
    Table,
}

/// What was seen, whose pixels follow, one picture's after the other's.
#[derive(Deserialize, Serialize)]
pub(super) struct Seen {
    pub(super) pictures: Vec<Size>,
    /// A video's seconds.
    pub(super) duration: f64,
}

/// A picture's.
#[derive(Deserialize, Serialize)]
pub(super) struct Size {
    pub(super) width: u32,
    pub(super) height: u32,
    /// When it is shown.
    pub(super) seconds: f64,
}

#[derive(Deserialize, Serialize)]
pub(super) enum Piece {
    /// So many samples, at most [`MAX_PIECE`], as little-endian floats.
    Samples(usize),
    /// That was all.
    End { warning: Option<String> },
}

pub(super) fn send(out: &mut impl Write, message: &impl Serialize) -> Result<()> {
    let json = serde_json::to_vec(message)?;
    out.write_all(&(json.len() as u32).to_le_bytes())?;
    out.write_all(&json)
}

pub(super) fn receive<T: DeserializeOwned>(input: &mut impl Read) -> Result<T> {
    at_most(MAX_MESSAGE, input)
}

pub(super) fn receive_table<T: DeserializeOwned>(input: &mut impl Read) -> Result<T> {
    at_most(MAX_TABLE, input)
}

fn at_most<T: DeserializeOwned>(limit: u32, input: &mut impl Read) -> Result<T> {
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > limit {
        return Err(garbage());
    }
    let mut json = vec![0; length as usize];
    input.read_exact(&mut json)?;
    serde_json::from_slice(&json).map_err(|_| garbage())
}

/// What is no answer.
pub(super) fn garbage() -> Error {
    ErrorKind::InvalidData.into()
}
