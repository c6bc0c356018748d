//! Draws contact sheets of what models are trained on.
//!
//! `cargo run --release -p sensorium-data --example sheet -- captions out.png`

use sensorium_data::scene::Split;
use sensorium_data::{pairs, preview, question};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let what = words.next().unwrap_or_else(|| "captions".into());
    let out = words.next().unwrap_or_else(|| "sheet.png".into());
    let items: Vec<_> = (0..40)
        .map(|index| match what.as_str() {
            "questions" => {
                let sample = question::sample(Split::Val, 0, index, 1.0);
                (
                    sample.picture(128),
                    format!("{} {}", sample.question, sample.answer),
                )
            }
            _ => {
                let pair = pairs::scene_pair(Split::Train, 0, index, 1.0, 128);
                let not = pair.negative.map(|text| format!(" - not: {text}"));
                (pair.picture, pair.caption + &not.unwrap_or_default())
            }
        })
        .collect();
    std::fs::write(out, preview::sheet(&items, 8).to_png())?;
    Ok(())
}
