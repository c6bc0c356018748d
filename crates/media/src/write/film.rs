//! Films, compressed by the program `ffmpeg`, which is given raw frames.

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
    let rate = pictures.len() as f64 / video.duration;
    let rate = if rate.is_finite() { rate } else { RATE };
    let size = format!("{width}x{height}");
    let rate = rate.to_string();
    let input = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", &size, "-framerate", &rate];
    let even = ["-i", "pipe:0", "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"];
    let compression: &[&str] = match kind {
        Kind::Webm => &["-c:v", "libvpx-vp9", "-crf", "24", "-b:v", "0", "-f", "webm"],
        _ => &["-c:v", "libx264", "-crf", "18", "-movflags", "+faststart", "-f", "mp4"],
    };
    let plain = [&input, &even[..], compression].concat();
    let arguments: Vec<String> =
        plain.into_iter().map(str::to_owned).chain(metadata(notes)).collect();
    let frames = pictures.iter().flat_map(|picture| picture.pixels.iter().copied()).collect();
    let program = program(Path::new(&format!("a .{}", kind.extension())))?;
    ffmpeg::convert(program, &arguments, frames)
        .map_err(|reason| refused(kind, format!("ffmpeg: {reason}")))
}

fn metadata(notes: Notes<'_>) -> Vec<String> {
    let title = |note: &&(&str, String)| note.0 == "Title";
    let titles = notes.iter().filter(title).map(|(_, text)| format!("title={text}"));
    let comment = lines(notes.iter().filter(|note| !title(note)));
    let all = titles.chain((!comment.is_empty()).then(|| format!("comment={comment}")));
    all.flat_map(|entry| ["-metadata".to_owned(), entry]).collect()
}
