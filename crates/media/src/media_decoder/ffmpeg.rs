//! Videos that nothing here decodes, by the program `ffmpeg` where it is on the path: H.264 in Matroska out.
//!
//! It is given bytes and may open nothing (`-protocol_whitelist`), so a list of other files or addresses in place
//! of a video leads nowhere. `write` has it compress videos.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::child::{ended, head, on_path};
use crate::{Error, Result};

/// How long it may take.
const CLOCK: Duration = Duration::from_secs(120);

/// Bytes that are read of what it says.
const SAID: u64 = 4096;

/// What it is told: no sound, at most 1280 pixels wide, at most so many bytes.
const ARGUMENTS: [&str; 27] = [
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
    on_path("ffmpeg")
}

/// The video in `bytes` as a film that is read here.
///
/// # Errors
/// [`Error::Damaged`] with what the program says, or that it takes too long.
pub(super) fn transcode(program: PathBuf, bytes: Vec<u8>, origin: &str) -> Result<Vec<u8>> {
    let arguments = ARGUMENTS.map(str::to_owned);
    convert(program, &arguments, bytes).map_err(|reason| Error::Damaged {
        origin: origin.to_owned(),
        kind: "video, decoded by ffmpeg".into(),
        reason,
    })
}

/// What the program makes of the bytes that it is given by a pipe. It writes into a file, for an index stands
/// before what it tells of; it sees nothing of the environment.
///
/// # Errors
/// What the program says, or that it takes too long.
pub(crate) fn convert(
    program: PathBuf,
    arguments: &[String],
    bytes: Vec<u8>,
) -> std::result::Result<Vec<u8>, String> {
    let failed = |error: io::Error| error.to_string();
    let file = tempfile::NamedTempFile::new().map_err(failed)?;
    let mut child = Command::new(program)
        .args(["-nostdin", "-y", "-v", "error"])
        .args(arguments)
        .arg(file.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("TMPDIR", std::env::temp_dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let (input, said) = (child.stdin.take(), child.stderr.take());
    // It may end before it has read all.
    thread::spawn(move || input.map(|mut input| input.write_all(&bytes)));
    let says = thread::spawn(move || said.map(|said| head(said, SAID)).unwrap_or_default());
    let Some(status) = ended(&mut child, CLOCK) else {
        // Whatever it does, it ends with this call.
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!("more than {} s", CLOCK.as_secs()));
    };
    match std::fs::read(file.path()).map_err(failed)? {
        film if status.success() && !film.is_empty() => Ok(film),
        _ => {
            let said = says.join().unwrap_or_default();
            Err(said.trim().lines().last().unwrap_or("no picture").to_owned())
        }
    }
}
