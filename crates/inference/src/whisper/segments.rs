//! From the tokens of one window to stretches of text, and to where the next window begins.

use sensorium_model::whisper::Rules;

use super::Confidence;

/// Seconds of a step of time.
const STEP: f64 = 0.02;

/// Frames of the spectrogram in a step of time.
const FRAMES: usize = 2;

/// Text and when it was said.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Seconds from the beginning of the sound.
    pub start: f64,
    /// Seconds from the beginning of the sound.
    pub end: f64,
    /// What was said, without space around it.
    pub text: String,
    /// Its words, where the model tells their times.
    pub words: Vec<Word>,
    /// Its tokens, times included.
    pub tokens: Vec<u32>,
    /// How sure the model was of the window that it is of.
    pub confidence: Confidence,
}

/// A word and when it was said.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// Seconds from the beginning of the sound.
    pub start: f64,
    /// Seconds from the beginning of the sound.
    pub end: f64,
    /// Without space around it.
    pub text: String,
    /// Mean probability (0 to 1) of its letters.
    pub probability: f64,
}

/// A stretch of tokens and its times in seconds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stretch {
    pub(super) start: f64,
    pub(super) end: f64,
    pub(super) tokens: Vec<u32>,
}

/// What was said in the `frames` after frame `first`, cut at pairs of times, and how many frames
/// further the next window begins: after the last finished segment, or after all frames.
pub(super) fn cut(
    rules: &Rules,
    tokens: &[u32],
    first: usize,
    frames: usize,
) -> (Vec<Stretch>, usize) {
    let seconds = |steps: u32| first as f64 / FRAMES as f64 * STEP + f64::from(steps) * STEP;
    let times: Vec<Option<u32>> = tokens.iter().map(|&id| rules.time(id)).collect();
    // A segment ends between two times.
    let pairs = (1..tokens.len()).filter(|&i| times[i - 1].is_some() && times[i].is_some());
    let mut ends: Vec<usize> = pairs.collect();
    let lone = matches!(times[..], [.., None, Some(_)]);
    if ends.is_empty() {
        let whole = (frames / FRAMES) as u32;
        let last = times.iter().rev().find_map(|time| *time).filter(|steps| *steps > 0);
        let (start, end) = (seconds(0), seconds(last.unwrap_or(whole)));
        return (vec![Stretch { start, end, tokens: tokens.to_vec() }], frames);
    }
    if lone {
        ends.push(tokens.len());
    }
    let mut from = 0;
    let mut stretches = Vec::new();
    for end in ends {
        let stretch = &tokens[from..end];
        let time = |id: Option<&u32>| id.and_then(|id| rules.time(*id)).unwrap_or_default();
        let (start, end_) = (seconds(time(stretch.first())), seconds(time(stretch.last())));
        stretches.push(Stretch { start, end: end_, tokens: stretch.to_vec() });
        from = end;
    }
    if lone {
        // Nothing was said after the last time.
        return (stretches, frames);
    }
    let last = times[from - 1].unwrap_or_default() as usize * FRAMES;
    // A window that ends where it began would be heard for ever.
    (stretches, if last == 0 { frames } else { last.min(frames) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            start: 11,
            end: 10,
            no_timestamps: 19,
            languages: Default::default(),
            tasks: None,
            suppressed: vec![],
            suppressed_first: vec![],
            latest_start: None,
        }
    }

    fn check(tokens: &[u32], want: &[(f64, f64, &[u32])], next: usize) {
        let (got, then) = cut(&rules(), tokens, 100, 60);
        assert_eq!(then, next, "{tokens:?}");
        assert_eq!(got.len(), want.len(), "{tokens:?}: {got:?}");
        for (got, (start, end, tokens)) in got.iter().zip(want) {
            assert!((got.start - start).abs() < 1e-9 && (got.end - end).abs() < 1e-9, "{got:?}");
            assert_eq!(&got.tokens, tokens);
        }
    }

    #[test]
    fn segments_end_between_two_times() {
        check(&[1, 2], &[(1.0, 1.6, &[1, 2])], 60);
        check(&[20, 1, 30], &[(1.0, 1.2, &[20, 1, 30])], 60);
        check(&[20, 1, 2], &[(1.0, 1.6, &[20, 1, 2])], 60);
        let two: [(f64, f64, &[u32]); 2] = [(1.0, 1.1, &[20, 1, 25]), (1.1, 1.3, &[25, 2, 35])];
        check(&[20, 1, 25, 25, 2, 35], &two, 60);
        // The last segment is not finished: it is heard again.
        check(&[20, 1, 25, 25, 2, 3], &two[..1], 10);
        check(&[20, 1, 25, 25], &two[..1], 10);
        check(&[20, 20, 1], &[(1.0, 1.0, &[20])], 60);
        check(&[], &[(1.0, 1.6, &[])], 60);
    }
}
