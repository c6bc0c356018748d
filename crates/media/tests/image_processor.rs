//! Image processors of many settings equal transformers'; `reference/published.py` makes the goldens.

use std::path::{Path, PathBuf};

use sensorium_media::{ImageProcessor, Picture, Style};
use serde_json::Value;

#[derive(serde::Deserialize)]
struct Case {
    style: String,
    settings: Value,
    picture: String,
    expected: String,
}

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/published_images")
}

fn picture(name: &str) -> Picture {
    Picture::read(&goldens().join(name)).expect("goldens are valid")
}

/// Of 255 levels; Pillow's own rounding is followed, so none is seen.
const TOLERANCE: u8 = 0;

#[test]
fn pictures_equal_those_of_transformers() {
    let text = std::fs::read(goldens().join("cases.json")).expect("the goldens are committed");
    let cases: Vec<Case> = serde_json::from_slice(&text).expect("cases.json is valid");
    assert!(cases.len() > 20, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let style = match case.style.as_str() {
            "clip" => Style::Clip,
            "siglip" => Style::Siglip,
            "vit" => Style::Vit,
            style => panic!("unknown style {style}"),
        };
        let processor = ImageProcessor::from_json(&case.settings, style).expect("valid settings");
        let fitted = processor.fit(&picture(&case.picture)).pictures;
        let (got, want) = (&fitted[0], picture(&case.expected));
        assert_eq!((got.width, got.height), (want.width, want.height), "{}", case.expected);
        assert_eq!(processor.size(), Some([want.height, want.width]), "{}", case.expected);
        let differences = got.pixels.iter().zip(&want.pixels).map(|(a, b)| a.abs_diff(*b));
        let largest = differences.max().unwrap_or_default();
        if largest > TOLERANCE {
            wrong.push(format!("{}: {largest}", case.expected));
        }
    }
    assert!(wrong.is_empty(), "largest differences: {wrong:#?}");
}
