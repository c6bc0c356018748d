//! Films, compressed by the program `ffmpeg`: raw frames go in by a pipe, and a file comes out, for an MP4's
//! index is written last.

use std::path::{Path, PathBuf};

use super::{Kind, Notes, lines, refused, size};
use crate::media_decoder::ffmpeg;
use crate::{Error, Picture, Result, Video};

/// Frames a second of a video that says nothing of it.
const RATE: f64 = 4.0;

/// The program that makes what is written to `path`.
pub fn program(path: &Path) -> Result<PathBuf> {
    ffmpeg::program().ok_or_else(|| Error::NoFfmpeg { path: path.display().to_string() })
}

/// Frames that are equally long; edges of an odd length are one pixel longer.
pub fn encode(video: &Video, kind: Kind, notes: Notes<'_>) -> Result<Vec<u8>> {
    let pictures: Vec<&Picture> = video.pictures().collect();
    let [width, height] = size(kind, &pictures)?;
    let refused = |reason: String| refused(kind, format!("ffmpeg: {reason}"));
    let failed = |error: std::io::Error| refused(error.to_string());
    let rate = pictures.len() as f64 / video.duration;
    let rate = if rate.is_finite() { rate } else { RATE };
    let file = tempfile::NamedTempFile::new().map_err(failed)?;
    let program = program(Path::new(&format!("a .{}", kind.extension())))?;
    let mut child = ffmpeg::command(program)
        .args(["-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"])
        .args(["-video_size", &format!("{width}x{height}"), "-framerate", &rate.to_string()])
        .args(["-i", "pipe:0", "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"])
        .args(compression(kind))
        .args(metadata(notes))
        .args(["-f", kind.extension(), "-y"])
        .arg(file.path())
        .spawn()
        .map_err(failed)?;
    let frames = pictures.iter().flat_map(|picture| picture.pixels.iter().copied()).collect();
    let Some((_, said)) = ffmpeg::piped(&mut child, frames) else {
        let _ = child.kill();
        let _ = child.wait();
        return Err(refused(format!("more than {} s", ffmpeg::CLOCK.as_secs())));
    };
    match child.wait().map_err(failed)?.success() {
        true => std::fs::read(file.path()).map_err(failed),
        false => Err(refused(said.lines().last().unwrap_or("it failed").to_owned())),
    }
}

fn compression(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Webm => &["-c:v", "libvpx-vp9", "-crf", "24", "-b:v", "0"],
        _ => &["-c:v", "libx264", "-crf", "18", "-movflags", "+faststart"],
    }
}

fn metadata(notes: Notes<'_>) -> Vec<String> {
    let title = |note: &&(&str, String)| note.0 == "Title";
    let titles = notes.iter().filter(title).map(|(_, text)| format!("title={text}"));
    let comment = lines(notes.iter().filter(|note| !title(note)));
    let all = titles.chain((!comment.is_empty()).then(|| format!("comment={comment}")));
    all.flat_map(|entry| ["-metadata".to_owned(), entry]).collect()
}
