//! Videos that nothing here decodes, by the program `ffmpeg` where it is on the path: H.264 in Matroska out.
//!
//! It is given bytes and may open nothing (`-protocol_whitelist`), so a list of other files or addresses in place
//! of a video leads nowhere. `write` has it compress videos.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::picture::MAX_FILE_BYTES;
use crate::{Error, Result};

/// How long it may take.
pub(crate) const CLOCK: Duration = Duration::from_secs(120);

/// What it is told: no sound, at most 1280 pixels wide, at most so many bytes.
const ARGUMENTS: [&str; 31] = [
    "-nostdin",
    "-v",
    "error",
    "-protocol_whitelist",
    "cache,pipe",
    "-i",
    "cache:pipe:0",
    "-map",
    "0:v:0",
    "-an",
    "-sn",
    "-dn",
    "-vf",
    "scale='min(1280,iw)':-2",
    "-c:v",
    "libx264",
    "-preset",
    "ultrafast",
    "-crf",
    "18",
    "-pix_fmt",
    "yuv420p",
    "-bf",
    "0",
    "-threads",
    "2",
    "-fs",
    "250000000",
    "-f",
    "matroska",
    "pipe:1",
];

/// Whether a video that cannot be decoded here may be one that it decodes.
pub(super) fn may_help(error: &Error) -> bool {
    match error {
        Error::VideoCodec { .. } => true,
        Error::NotAVideo { found, .. } => found.contains("video"),
        _ => false,
    }
}

/// The program, if there is one on the path.
pub(crate) fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let name = format!("ffmpeg{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(&path).map(|dir| dir.join(&name)).find(|file| file.is_file())
}

/// The video in `bytes` as a film that is read here.
///
/// # Errors
/// [`Error::Damaged`] with what the program says, or that it takes too long.
pub(super) fn transcode(program: PathBuf, bytes: Vec<u8>, origin: &str) -> Result<Vec<u8>> {
    let damaged = |reason: String| Error::Damaged {
        origin: origin.to_owned(),
        kind: "video, decoded by ffmpeg".into(),
        reason,
    };
    let child = command(program).args(ARGUMENTS).spawn();
    let mut child = child.map_err(|error| damaged(error.to_string()))?;
    let film = piped(&mut child, bytes);
    // Whatever it does, it ends with this call.
    let _ = child.kill();
    let _ = child.wait();
    match film {
        Some((film, _)) if !film.is_empty() => Ok(film),
        Some((_, said)) => Err(damaged(said.lines().last().unwrap_or("no picture").to_owned())),
        None => Err(damaged(format!("more than {} s", CLOCK.as_secs()))),
    }
}

/// The program, which sees nothing of the environment and is spoken with through pipes.
pub(crate) fn command(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("TMPDIR", std::env::temp_dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What it writes of `bytes` and what it says of them; nothing if it does not end in time.
pub(crate) fn piped(child: &mut Child, bytes: Vec<u8>) -> Option<(Vec<u8>, String)> {
    let (mut input, output, said) =
        (child.stdin.take()?, child.stdout.take()?, child.stderr.take()?);
    // It may end before it has read all.
    thread::spawn(move || drop(input.write_all(&bytes)));
    let (send, done) = mpsc::channel();
    let says = thread::spawn(move || limited(said, 4096));
    thread::spawn(move || drop(send.send(limited(output, MAX_FILE_BYTES))));
    let film = done.recv_timeout(CLOCK).ok()?;
    let said = says.join().unwrap_or_default();
    Some((film, String::from_utf8_lossy(&said).trim().to_owned()))
}

/// All that comes, at most `limit` bytes.
fn limited(from: impl Read, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What came before an error counts.
    let _ = from.take(limit).read_to_end(&mut bytes);
    bytes
}
