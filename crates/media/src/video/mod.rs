//! Pictures in time: of an animation or a film, the frames that are asked for and no others.
//!
//! ```text
//! bytes ──magic──▶ kind ──index──▶ when each frame begins ──Sampling──▶ which ──decoder──▶ Video
//! ```

mod animation;
mod boxes;
mod film;

use serde::{Deserialize, Serialize};

use crate::header::{Kind, describe};
use crate::picture::{self, MAX_PIXELS, Picture};
use crate::{Error, Result};

/// Most frames of a file: what lies between those that are asked for has to be decoded, too.
pub const MAX_FRAMES: usize = 10_000;
/// Most frames that are taken from a file.
pub const MAX_SAMPLED: usize = 64;

/// Frames in the order of time. Sound, where there is any, is read as any other sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Video {
    /// At least one.
    pub frames: Vec<Frame>,
    /// Seconds from the first frame's beginning to the last one's end.
    pub duration: f64,
}

/// One of a video's pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// What is seen.
    pub picture: Picture,
    /// Seconds from the beginning of the video.
    pub seconds: f64,
}

/// Which frames are taken: evenly from the first to the last.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub enum Sampling {
    /// So many, or all of a video that has fewer; 1 to [`MAX_SAMPLED`].
    Frames(usize),
    /// So many a second; at most [`MAX_SAMPLED`], which are then further apart.
    PerSecond(f64),
}

impl Default for Sampling {
    fn default() -> Self {
        Self::Frames(8)
    }
}

impl Sampling {
    /// The frames to take of so many, as numpy's `linspace(0, frames - 1, n, dtype=int)` has them.
    fn choose(self, frames: usize, duration: f64) -> Vec<usize> {
        let wanted = match self {
            Self::Frames(n) => n,
            Self::PerSecond(fps) => (fps * duration).round_ties_even() as usize,
        };
        let last = frames.saturating_sub(1);
        let n = wanted.clamp(1, MAX_SAMPLED).min(frames);
        let step = last as f64 / (n.max(2) - 1) as f64;
        let mut chosen: Vec<usize> = (0..n).map(|i| (i as f64 * step) as usize).collect();
        if let Some(end) = chosen.get_mut(1..).and_then(<[usize]>::last_mut) {
            *end = last;
        }
        chosen.dedup();
        chosen
    }
}

/// When each frame begins, in seconds, and when the last one ends.
#[derive(Debug, PartialEq)]
struct Times {
    begin: Vec<f64>,
    end: f64,
}

impl Times {
    /// Of frames that follow each other, each so many seconds long.
    fn of(lengths: impl IntoIterator<Item = f64>) -> Self {
        let mut end = 0.0;
        let mut begin = Vec::new();
        for length in lengths {
            begin.push(end);
            end += length;
        }
        Self { begin, end }
    }
}

impl Video {
    /// Decodes GIF, APNG and WebP, with transparency on white, and MP4, MOV and Matroska with H.264,
    /// by content.
    /// A still GIF, PNG or WebP is a video of one frame. `source` names the input in errors.
    ///
    /// # Errors
    /// Empty, foreign, truncated, damaged or too large input; sizes and the number of frames are checked
    /// before anything is decoded.
    pub fn decode(bytes: &[u8], source: &str, sampling: Sampling) -> Result<Video> {
        let mut video = match Kind::sniff(bytes) {
            Some(kind @ (Kind::Gif | Kind::Png | Kind::WebP)) => {
                picture::check(bytes, source)?;
                animation::decode(kind, bytes, source, sampling)
            }
            None if film::is_film(bytes) => film::decode(bytes, source, sampling),
            Some(kind) => Err(not_a_video(source, format!("a {} picture", kind.name()))),
            None => Err(not_a_video(source, describe(bytes))),
        }?;
        // Sums of fractions, written down by a child, are read one bit apart.
        let micro = |seconds: f64| (seconds * 1e6).round() / 1e6;
        video.duration = micro(video.duration);
        video.frames.iter_mut().for_each(|frame| frame.seconds = micro(frame.seconds));
        Ok(video)
    }

    /// How long each frame stays, in parts of a second.
    pub(crate) fn delays(&self, parts: u16) -> impl Iterator<Item = u16> {
        let begin = self.frames.iter().map(|frame| frame.seconds);
        let ends = begin.clone().skip(1).chain([self.duration]);
        // Of rounded times, so that errors do not add up.
        let at = move |seconds: f64| (seconds * f64::from(parts)).round();
        begin.zip(ends).map(move |(begin, end)| (at(end) - at(begin)) as u16)
    }

    /// The pictures, in order.
    pub fn pictures(&self) -> impl Iterator<Item = &Picture> {
        self.frames.iter().map(|frame| &frame.picture)
    }
}

fn not_a_video(source: &str, found: String) -> Error {
    Error::NotAVideo { origin: source.to_owned(), found }
}

/// The frames to take of a video with these `times`, or why there are too many or none.
fn chosen(times: &Times, sampling: Sampling, source: &str) -> Result<Vec<usize>> {
    let (origin, got) = (source.to_owned(), times.begin.len());
    match got {
        0 => Err(Error::Empty { origin, got: "no frames".into() }),
        _ if got > MAX_FRAMES => Err(Error::TooManyFrames { origin, limit: MAX_FRAMES, got }),
        _ => Ok(sampling.choose(got, times.end)),
    }
}

/// Refuses frames that are more than memory is given for.
fn within(frames: usize, [width, height]: [u32; 2], source: &str) -> Result<()> {
    let got = frames as u64 * u64::from(width) * u64::from(height);
    picture::within(got, MAX_PIXELS, "pixels of all frames together", source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_chosen_as_linspace_does() {
        let table: [(Sampling, usize, f64, &[usize]); 9] = [
            (Sampling::Frames(4), 10, 1.0, &[0, 3, 6, 9]),
            (Sampling::Frames(8), 30, 1.0, &[0, 4, 8, 12, 16, 20, 24, 29]),
            (Sampling::Frames(8), 3, 1.0, &[0, 1, 2]),
            (Sampling::Frames(1), 10, 1.0, &[0]),
            (Sampling::Frames(0), 10, 1.0, &[0]),
            (Sampling::PerSecond(1.0), 50, 5.0, &[0, 12, 24, 36, 49]),
            (Sampling::PerSecond(2.5), 5, 1.0, &[0, 4]),
            (Sampling::PerSecond(f64::NAN), 5, 1.0, &[0]),
            (Sampling::Frames(2), 1, 1.0, &[0]),
        ];
        for (sampling, frames, duration, expected) in table {
            assert_eq!(sampling.choose(frames, duration), expected, "{sampling:?} of {frames}");
        }
        assert_eq!(Sampling::PerSecond(1e9).choose(5000, 60.0).len(), MAX_SAMPLED);
    }

    #[test]
    fn what_is_no_video_is_named() {
        let jpeg = [0xFF, 0xD8, 0xFF, 0xE0];
        for (bytes, word) in [(&jpeg[..], "JPEG"), (b"%PDF-1.4", "PDF"), (b"hello", "text")] {
            let error = Video::decode(bytes, "a.mp4", Sampling::default()).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("a.mp4"), "{error}");
        }
    }
}
