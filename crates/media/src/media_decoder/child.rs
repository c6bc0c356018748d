//! The child's side: limits first, then what it was started for.

use std::fs::File;
use std::io::{self, Read, Write};

use super::wire::{self, Job, MAX_PIECE, Piece, Request, Size, Task};
use super::{Limits, SoundReader};
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

#[cfg(unix)]
mod system {
    use std::fs::File;
    use std::io::Result;
    use std::os::fd::AsFd;

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use rustix::time::{ClockId, clock_gettime};

    use super::Limits;

    /// A standard stream, without a buffer.
    pub(super) fn file(stream: impl AsFd) -> Result<File> {
        Ok(stream.as_fd().try_clone_to_owned()?.into())
    }

    /// Limits memory, and that files are opened or written, and processes started.
    pub(super) fn limit(limits: &Limits) -> Result<()> {
        // macOS has gigabytes of address space mapped from the start.
        if cfg!(not(target_vendor = "apple")) {
            set(Resource::As, limits.memory)?;
        }
        for nothing in [Resource::Nofile, Resource::Fsize, Resource::Core, Resource::Nproc] {
            set(nothing, 0)?;
        }
        Ok(())
    }

    fn set(resource: Resource, most: u64) -> Result<()> {
        let most = Some(getrlimit(resource).maximum.map_or(most, |maximum| most.min(maximum)));
        Ok(setrlimit(resource, Rlimit { current: most, maximum: most })?)
    }

    /// Limits processor time from now on: the system counts all that a process has had.
    pub(super) fn limit_time(limits: &Limits) -> Result<()> {
        let had = clock_gettime(ClockId::ProcessCPUTime).tv_sec as u64;
        let maximum = getrlimit(Resource::Cpu).maximum;
        // The second that has begun is its own.
        let most = had + 1 + limits.cpu;
        let current = Some(maximum.map_or(most, |maximum| most.min(maximum)));
        Ok(setrlimit(Resource::Cpu, Rlimit { current, maximum })?)
    }
}

/// Without limits: the parent's clock holds alone.
#[cfg(windows)]
mod system {
    use std::fs::File;
    use std::io::Result;
    use std::os::windows::io::AsHandle;

    use super::Limits;

    pub(super) fn file(stream: impl AsHandle) -> Result<File> {
        Ok(stream.as_handle().try_clone_to_owned()?.into())
    }

    pub(super) fn limit(_: &Limits) -> Result<()> {
        Ok(())
    }

    pub(super) fn limit_time(_: &Limits) -> Result<()> {
        Ok(())
    }
}
