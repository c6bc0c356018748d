//! Scores of captions and transcripts beside those of pycocoevalcap and jiwer; `reference/captions.py`
//! writes them.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use sensorium_eval::metrics::bleu;
use sensorium_eval::metrics::cider::Cider;
use sensorium_eval::metrics::rouge::rouge_l;
use sensorium_eval::metrics::speech::{character_errors, word_errors};
use sensorium_eval::metrics::tokens::words;
use sensorium_eval::statistic::Aggregate;
use serde_json::Value;

fn cases() -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/captions/cases.json");
    serde_json::from_slice(&std::fs::read(root).unwrap()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn words_are_those_of_the_reference() {
    for case in list(&cases()["words"]) {
        assert_eq!(words(text(&case[0])).join(" "), text(&case[1]), "{}", case[0]);
    }
}

#[test]
fn scores_are_those_of_the_reference() {
    let cases = cases();
    let pictures = list(&cases["pictures"]);
    let references: Vec<Vec<Vec<String>>> = pictures
        .iter()
        .map(|picture| list(&picture["references"]).iter().map(|t| words(text(t))).collect())
        .collect();
    let cider = Cider::new(&references);
    let close = |name: &str, got: f64, wanted: &Value| {
        let wanted = wanted.as_f64().unwrap();
        assert!((got - wanted).abs() < 1e-9, "{name}: {got}, wanted {wanted}");
    };
    let (mut counts, mut ciders, mut rouges) = (Vec::new(), Vec::new(), Vec::new());
    for (picture, references) in pictures.iter().zip(&references) {
        for (found, wanted) in references.iter().zip(list(&picture["words"])) {
            assert_eq!(found.join(" "), text(wanted));
        }
        let said = words(text(&picture["candidate"]));
        let (score, rouge) = (cider.score(&said, references), rouge_l(&said, references));
        close("CIDEr-D", score, &picture["cider"]);
        close("ROUGE-L", rouge, &picture["rouge"]);
        counts.push(bleu::counts(&said, references));
        ciders.push([score]);
        rouges.push([rouge]);
    }
    let corpus = &cases["corpus"];
    let rows: Vec<&[f64]> = counts.iter().map(<[f64; 10]>::as_slice).collect();
    for n in 1..=4 {
        close("BLEU", Aggregate::Bleu(n).of(&rows), &corpus["bleu"][n as usize - 1]);
    }
    for (name, numbers) in [("cider", &ciders), ("rouge", &rouges)] {
        let rows: Vec<&[f64]> = numbers.iter().map(<[f64; 1]>::as_slice).collect();
        close(name, Aggregate::Mean.of(&rows), &corpus[name][0]);
    }
}

#[test]
fn error_rates_are_those_of_the_reference() {
    for case in list(&cases()["speech"]) {
        let (got, wanted) = (text(&case[0]), text(&case[1]));
        let rate = |[errors, all]: [f64; 2]| errors / all;
        let found = [rate(word_errors(got, wanted)), rate(character_errors(got, wanted))];
        let expected = [&case[2], &case[3]].map(|rate| rate.as_f64().unwrap());
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{case} {found:?}");
    }
}
