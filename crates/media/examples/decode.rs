//! Decodes pictures in this process and in a child of it, and tells what each takes.
//!
//! `cargo run --release -p sensorium-media --example decode -- photo.jpg other.png`

use std::path::Path;
use std::time::Instant;

use sensorium_media::media_decoder::{self, Limits};
use sensorium_media::{MediaDecoder, Result};

/// How often each picture is decoded; the median counts.
const TIMES: usize = 20;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().collect();
    if let [_, command, job] = &words[..]
        && command == "decode"
    {
        return Ok(media_decoder::run(job)?);
    }
    let program = std::env::current_exe()?;
    let children = || MediaDecoder::children(&program, &["decode"], Limits::default());
    let kept = children();
    for path in words[1..].iter().map(Path::new) {
        let here = milliseconds(|| MediaDecoder::here().picture(path))?;
        let child = milliseconds(|| kept.picture(path))?;
        let started = milliseconds(|| children().picture(path))?;
        println!(
            "{}: {here:.2} ms here, {child:.2} in a child, {started:.2} with the child's start",
            path.display()
        );
    }
    Ok(())
}

fn milliseconds<T>(decode: impl Fn() -> Result<T>) -> Result<f64> {
    let once = |_| {
        let begun = Instant::now();
        decode()?;
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    };
    let mut all = (0..TIMES).map(once).collect::<Result<Vec<_>>>()?;
    all.sort_by(f64::total_cmp);
    Ok(all[TIMES / 2])
}
