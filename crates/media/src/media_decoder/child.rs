//! The child's side: limits first, then what it was started for.

use std::fs::File;
use std::io::{self, Read, Write};

use super::wire::{self, Job, MAX_PIECE, Piece, Request, Seen, Size, Task, Wanted};
use super::{Limits, SoundReader, system};
use crate::sound::{SoundError, Source};
use crate::video::{Frame, Video};
use crate::{Picture, Result, Table};

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
    while let Ok(request) = wire::receive::<Request>(&mut input) {
        system::limit_time(limits)?;
        let mut file = vec![0; request.bytes];
        input.read_exact(&mut file)?;
        let Request { origin, wanted, .. } = &request;
        let seen = match *wanted {
            Wanted::Picture => see(&file, origin),
            Wanted::Video(sampling) => Video::decode(&file, origin, sampling),
            Wanted::Table => {
                let table = Table::decode(&file, origin);
                drop(file);
                wire::send(&mut output, &table)?;
                continue;
            }
        };
        drop(file);
        wire::send(&mut output, &seen.as_ref().map(told))?;
        for frame in seen.iter().flat_map(|video| &video.frames) {
            output.write_all(&frame.picture.pixels)?;
        }
    }
    Ok(())
}

/// A picture is a video of one frame.
fn see(file: &[u8], origin: &str) -> Result<Video> {
    let picture = Picture::decode(file, origin)?;
    Ok(Video { frames: vec![Frame { picture, seconds: 0.0 }], duration: 0.0 })
}

fn told(video: &Video) -> Seen {
    let size = |frame: &Frame| {
        let Picture { width, height, .. } = frame.picture;
        Size { width, height, seconds: frame.seconds }
    };
    Seen { pictures: video.frames.iter().map(size).collect(), duration: video.duration }
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
