//! The child's side: limits first, then what it was started for.

use std::fs::File;
use std::io::{self, Read, Write};

use super::wire::{self, Job, MAX_PIECE, Piece, Request, Size, Task};
use super::{Limits, SoundReader, system};
use crate::Picture;
use crate::sound::{SoundError, Source};

/// What a child does: decodes what its parent sends, until that has no more.
///
/// # Errors
/// `job` is not what a [`MediaDecoder`](super::MediaDecoder) starts children with, a limit cannot be
/// set, or the parent is gone.
pub fn run(job: &str) -> io::Result<()> {
    let Job { limits, task } = serde_json::from_str(job)?;
    let (input, output) = (system::file(io::stdin())?, system::file(io::stdout())?);
    system::limit(&limits)?;
    match task {
        Task::Pictures => pictures(input, output, &limits),
        Task::Sound { origin, rate } => sound(Source { origin }, input, rate, output, &limits),
    }
}

fn pictures(mut input: File, mut output: File, limits: &Limits) -> io::Result<()> {
    // Until the parent closes the pipe.
    while let Ok(Request { origin, bytes }) = wire::receive(&mut input) {
        system::limit_time(limits)?;
        let mut file = vec![0; bytes];
        input.read_exact(&mut file)?;
        let decoded = Picture::decode(&file, &origin);
        drop(file);
        let size = |picture: &Picture| Size { width: picture.width, height: picture.height };
        wire::send(&mut output, &decoded.as_ref().map(size))?;
        output.write_all(decoded.as_ref().map_or(&[], |picture| &picture.pixels))?;
    }
    Ok(())
}

fn sound(
    source: Source,
    file: File,
    rate: u32,
    mut output: File,
    limits: &Limits,
) -> io::Result<()> {
    system::limit_time(limits)?;
    let mut reader = match SoundReader::new(source, file, rate) {
        Ok(reader) => reader,
        Err(error) => return wire::send(&mut output, &Err::<Piece, _>(error)),
    };
    let mut samples = Vec::new();
    for piece in reader.by_ref() {
        match piece {
            Ok(piece) => samples.extend(piece),
            Err(error) => {
                send(&mut output, &samples)?;
                return wire::send(&mut output, &Err::<Piece, _>(error));
            }
        }
        if samples.len() >= MAX_PIECE {
            send(&mut output, &samples)?;
            samples.clear();
            system::limit_time(limits)?;
        }
    }
    send(&mut output, &samples)?;
    let end = Piece::End { warning: reader.warning() };
    wire::send(&mut output, &Ok::<_, SoundError>(end))
}

fn send(output: &mut File, samples: &[f32]) -> io::Result<()> {
    for piece in samples.chunks(MAX_PIECE) {
        wire::send(output, &Ok::<_, SoundError>(Piece::Samples(piece.len())))?;
        let bytes: Vec<u8> = piece.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        output.write_all(&bytes)?;
    }
    Ok(())
}
