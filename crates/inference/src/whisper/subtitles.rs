//! Transcripts as players read them.

use std::fmt::Write;

/// When a text begins and ends, in seconds.
pub type Cue<'t> = (f64, f64, &'t str);

/// As SubRip has it.
pub fn srt<'t>(cues: impl Iterator<Item = Cue<'t>>) -> String {
    let mut all = String::new();
    for (i, (start, end, text)) in cues.enumerate() {
        let (start, end) = (clock(start, ','), clock(end, ','));
        // Writing to a string does not fail.
        let _ = writeln!(all, "{}\n{start} --> {end}\n{text}\n", i + 1);
    }
    all
}

/// As WebVTT has it.
pub fn vtt<'t>(cues: impl Iterator<Item = Cue<'t>>) -> String {
    let mut all = "WEBVTT\n\n".to_owned();
    for (start, end, text) in cues {
        let (start, end) = (clock(start, '.'), clock(end, '.'));
        // An arrow would end the cue's first line.
        let text = text.replace("-->", "->");
        let _ = writeln!(all, "{start} --> {end}\n{text}\n");
    }
    all
}

/// Hours, minutes, seconds and milliseconds.
pub fn clock(seconds: f64, point: char) -> String {
    let all = (seconds * 1000.0).round() as u64;
    let (hours, minutes) = (all / 3_600_000, all / 60_000 % 60);
    format!("{hours:02}:{minutes:02}:{:02}{point}{:03}", all / 1000 % 60, all % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subtitles_are_spelt_as_players_read_them() {
        let cues = [(0.0, 2.5, "Hello."), (3661.0015, 3662.0, "a --> b")];
        assert_eq!(
            srt(cues.into_iter()),
            "1\n00:00:00,000 --> 00:00:02,500\nHello.\n\n2\n01:01:01,002 --> 01:01:02,000\na --> b\n\n"
        );
        assert_eq!(
            vtt(cues.into_iter()),
            "WEBVTT\n\n00:00:00.000 --> 00:00:02.500\nHello.\n\n01:01:01.002 --> 01:01:02.000\na -> b\n\n"
        );
    }
}
