//! Decoding, scaling and cropping equal Pillow's; `reference/pillow.py` and
//! `reference/pictures.py` make the goldens.

use std::path::Path;

use sensorium_media::Picture;

#[derive(serde::Deserialize)]
struct Case {
    source: String,
    verb: String,
    width: u32,
    height: u32,
    expected: String,
    tolerance: u8,
}

fn done(goldens: &Path, case: &Case) -> Picture {
    let source = Picture::read(&goldens.join(&case.source)).unwrap_or_else(|e| panic!("{e}"));
    match case.verb.as_str() {
        "decode" => source,
        "resize" => source.resize(case.width, case.height),
        "clip" => source.shortest_edge(case.width).centre_crop(case.width, case.width),
        verb => panic!("unknown verb {verb}"),
    }
}

#[test]
fn pictures_equal_pillows() {
    compare("pillow");
}

#[test]
fn pictures_as_people_have_them_equal_pillows() {
    compare("pictures");
}

fn compare(folder: &str) {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens").join(folder);
    let text = std::fs::read(goldens.join("cases.json")).expect("goldens are committed");
    let cases: Vec<Case> = serde_json::from_slice(&text).expect("cases.json is valid");
    assert!(cases.len() > 50, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let got = done(&goldens, case);
        let expected = Picture::read(&goldens.join(&case.expected)).expect("goldens are valid");
        assert_eq!((got.width, got.height), (expected.width, expected.height), "{}", case.expected);
        let differences = got.pixels.iter().zip(&expected.pixels);
        let largest = differences.map(|(a, b)| a.abs_diff(*b)).max();
        if largest > Some(case.tolerance) {
            wrong.push(format!("{}: {largest:?}", case.expected));
        }
    }
    assert!(wrong.is_empty(), "largest differences: {wrong:#?}");
}
