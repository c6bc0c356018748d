//! `eval` on one's own data: every task on a small set, two models, what is refused.

use serde_json::Value;

use crate::fixture::{dir, fails, file, gguf, model, png, succeeds};

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/tests/samples");

fn golden(name: &str) -> String {
    format!("{}/../../goldens/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&succeeds(args)).unwrap()
}

/// A set of `n` questions, whose answers are boxes.
fn boxes(name: &str, n: usize) -> String {
    let dir = dir(name);
    file(&dir, "a.png", &png());
    let line = |i: usize| {
        format!(
            "{{\"messages\": [{{\"role\": \"user\", \"content\": [{{\"type\": \"image\", \"image\": \
             \"a.png\"}}, {{\"type\": \"text\", \"text\": \"where is the circle?\"}}]}}, \
             {{\"role\": \"assistant\", \"content\": \"[0, 0, 0.5, 0.{i}]\"}}]}}\n"
        )
    };
    let lines: String = (1..=n).map(line).collect();
    file(&dir, "boxes.jsonl", lines.as_bytes())
}

#[test]
fn every_task_is_measured() {
    let sample = |name: &str| format!("{SAMPLES}/{name}");
    let answers = format!("answers={}", sample("vqa/annotations.json"));
    let (vqa, image) = (["--kind", "vqa", "--set", &answers], "image=COCO_{:06}.png");
    let vqa = [vqa.as_slice(), &["--set", image]].concat();
    let sounds = file(
        &dir("sounds-with-texts"),
        "sounds.csv",
        b"filepath,title\nstereo.flac,two tones\npcm_16.wav,one\n",
    );
    let images = format!("images={}", golden("sound"));
    let (whisper, ctc) = (golden("whisper"), golden("ctc"));
    let table = [
        ("zero-shot", sample("folder-classes"), ["--templates", "simple"].as_slice(), "top-1 of 2"),
        ("retrieval", sample("captions-lavis/karpathy_train.json"), &[], "recall@1"),
        ("caption", sample("folder-csv"), &["--max-tokens", "4"], "CIDEr-D"),
        ("vqa", sample("vqa/questions.json"), &vqa, "exact match"),
        ("grounding", boxes("boxes", 2), &[], "accuracy at IoU 0.5"),
        ("transcribe", sounds.clone(), &["--set", &images, "--model", &whisper], "WER"),
        ("transcribe", sounds, &["--set", &images, "--model", &ctc], "WER"),
        ("perplexity", sample("text/a.txt"), &["--limit", "2", "--model", gguf()], "perplexity"),
    ];
    for (task, data, more, metric) in table {
        let model = if more.contains(&"--model") { &[][..] } else { &["--model", model()] };
        let args = [&["eval", task, "--data", &data], model, more].concat();
        let report = json(&[args.as_slice(), &["--json"]].concat());
        let figure = &report["figures"][0];
        assert_eq!((&figure["metric"], &figure["n"]), (&metric.into(), &2.into()), "{report}");
        let (low, value) = (figure["low"].as_f64().unwrap(), figure["value"].as_f64().unwrap());
        assert!(low <= value && value <= figure["high"].as_f64().unwrap(), "{figure}");
        assert_eq!(report["examples"].as_array().unwrap().len(), 2);
        let told = succeeds(&args);
        assert!(told.contains(metric) && told.contains("95 % interval"), "{told}");
    }
}

#[test]
fn reports_are_compared_and_failures_shown() {
    let dir = dir("compared");
    let [a, b, other] =
        ["a.json", "b.json", "other.json"].map(|name| dir.join(name).display().to_string());
    let data = format!("{SAMPLES}/captions-lavis/karpathy_train.json");
    let eval = ["eval", "retrieval", "--model", model()];
    let measure = |more: &[&str]| succeeds(&[&eval, more].concat());
    measure(&["--data", &data, "--out", &a, "--failures", "2"]);
    measure(&["--data", &data, "--out", &b]);
    let page = std::fs::read_to_string(dir.join("a.html")).unwrap_or_default();
    let report: Value = serde_json::from_slice(&std::fs::read(&a).unwrap()).unwrap();
    let failed =
        report["examples"].as_array().unwrap().iter().filter(|e| e["worth"].as_f64() < Some(1.0));
    assert_eq!(page.matches("data:image/png;base64,iVBOR").count(), failed.count());

    let same = json(&["eval", "--compare", &a, &b, "--json"]);
    for difference in same["differences"].as_array().unwrap() {
        assert_eq!((&difference["difference"], &difference["p"]), (&0.0.into(), &1.0.into()));
    }
    let told = succeeds(&["eval", "retrieval", "--data", &data, "--compare", model(), model()]);
    assert!(told.contains("recall@10") && told.contains("B - A"), "{told}");

    let folder = format!("{SAMPLES}/folder-csv");
    measure(&["--data", &folder, "--out", &other]);
    let error = fails(1, &["eval", "--compare", &a, &other]);
    assert!(error.contains("same data") && error.contains("red.png"), "{error}");
    for (args, wanted) in [
        (["--compare", &a, "nothing.json"].as_slice(), "could not read nothing.json"),
        (&["caption"], "--data PATH"),
        (&["caption", "--data", &folder, "--compare", "gone/a", "gone/b"], "gone/a"),
    ] {
        let error = fails(1, &[&["eval"], args].concat());
        assert!(error.contains(wanted) && error.contains("hint: "), "{error}");
    }
}

#[test]
fn data_that_cannot_be_measured() {
    let broken = format!("{SAMPLES}/messages/pictures.jsonl");
    let classes = format!("{SAMPLES}/folder-classes");
    let texts = format!("{SAMPLES}/text/a.txt");
    let chats = boxes("no-boxes", 1);
    for (args, wanted) in [
        (["vqa", "--data", &broken].as_slice(), "at most 5 % of the examples broken"),
        (&["zero-shot", "--data", &classes, "--prompt", "a picture"], "expected {} in the prompt"),
        (
            &["zero-shot", "--data", &classes, "--limit", "1", "--kind", "nothing"],
            "unknown variant",
        ),
        (&["retrieval", "--data", &texts, "--kind", "text"], "media for retrieval"),
        (&["caption", "--data", &chats], "captions"),
        (&["grounding", "--data", &classes, "--kind", "folder", "--max-bad", "1"], "boxes"),
        (&["zero-shot", "--data", "gone"], "gone"),
    ] {
        let error = fails(1, &[&["eval", "--model", model()], args].concat());
        assert!(error.contains(wanted) && error.contains("hint: "), "{wanted}: {error}");
    }
    // What is broken is counted and named, and what is not is measured.
    let args = ["eval", "vqa", "--data", &broken, "--max-bad", "1", "--model", model(), "--json"];
    let report = json(&args);
    let (bad, n) = (report["bad"].as_array().unwrap().len(), &report["figures"][0]["n"]);
    assert!(bad > 0 && n.as_u64() == Some(7 - bad as u64), "{report}");
    let named = format!("broken: {bad} of 7: example");
    assert!(report["notes"].to_string().contains(&named), "{}", report["notes"]);
}
