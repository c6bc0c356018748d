//! Draws contact sheets of what models are trained on.
//!
//! `cargo run --release -p sensorium-data --example sheet -- captions out.png`, where `captions` may
//! also be `questions`, `icons`, `zero-shot` or `easy-vqa` (these read `data/`).

use std::path::Path;

use sensorium_data::icons::{Icons, Style};
use sensorium_data::scene::Split;
use sensorium_data::{EasyVqa, pairs, preview, question};
use sensorium_media::MediaDecoder;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let what = words.next().unwrap_or_else(|| "captions".into());
    let out = words.next().unwrap_or_else(|| "sheet.png".into());
    let items = match what.as_str() {
        "icons" => icons()?,
        "zero-shot" => zero_shot()?,
        "easy-vqa" => easy_vqa()?,
        "questions" => (0..40).map(asked).collect(),
        _ => (0..40).map(captioned).collect(),
    };
    std::fs::write(out, preview::sheet(&items, 8).to_png())?;
    Ok(())
}

type Item = (sensorium_media::Picture, String);

fn captioned(index: u64) -> Item {
    let pair = pairs::scene_pair(Split::Train, 0, index, 1.0, 128);
    let not = pair.negatives.first().map(|text| format!(" - not: {text}"));
    (pair.picture, pair.caption + &not.unwrap_or_default())
}

fn asked(index: u64) -> Item {
    let sample = question::sample(Split::Val, 0, index, 1.0);
    (sample.picture(128), format!("{} {}", sample.question, sample.answer))
}

fn icons() -> sensorium_data::Result<Vec<Item>> {
    let icons = Icons::open(Path::new("data/icons"))?;
    let pairs = (0..48).map(|index| icons.pair(Split::Train, 0, index, 96));
    Ok(pairs.map(|pair| (pair.picture, pair.caption)).collect())
}

fn zero_shot() -> sensorium_data::Result<Vec<Item>> {
    let icons = Icons::open_styles(Path::new("data/icons"), &[Style::OpenMoji])?;
    let shown = icons.zero_shot(Style::OpenMoji, 72).into_iter();
    Ok(shown
        .map(|(n, picture)| (picture, sensorium_data::icons::ZERO_SHOT[n].to_owned()))
        .collect())
}

fn easy_vqa() -> sensorium_data::Result<Vec<Item>> {
    let data = EasyVqa::open(Path::new("data/easy-vqa"), Split::Val, &MediaDecoder::here())?;
    let samples = (0..40).map(|n| data.sample(n * 97));
    Ok(samples.map(|s| (s.picture(96), format!("{} {}", s.question, s.answer))).collect())
}
