//! What users get wrong ends in one error with a hint, and never in a panic.

use std::path::Path;

use crate::fixture::{dir, fails, file, gguf, model, png};

const QUESTION: &str = "what is in the picture?";

#[test]
fn pictures_that_are_none() {
    let dir = dir("pictures");
    let whole = png();
    let mut bomb = whole.clone();
    // Width and height of the header: 100,000 x 100,000 pixels.
    bomb[16..24].copy_from_slice(&[0, 1, 0x86, 0xA0, 0, 1, 0x86, 0xA0]);
    let cases = [
        (dir.join("missing.png").to_str().unwrap().to_owned(), "no such file"),
        (file(&dir, "empty.png", b""), "0 bytes"),
        (file(&dir, "cut.png", &whole[..whole.len() / 2]), "end"),
        (file(&dir, "text.png", b"I am no picture at all, whatever my name says"), "PNG"),
        (file(&dir, "bomb.png", &bomb), "100000"),
        (dir.to_str().unwrap().to_owned(), "regular file"),
    ];
    for (path, words) in &cases {
        let commands: [&[&str]; 3] = [
            &["ask", QUESTION, "--image", path],
            &["classify", path, "--labels", "a,b"],
            &["embed", "--image", path],
        ];
        for args in commands {
            let error = fails(1, args);
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}

/// Of a table that is none, what is wrong; of one to a model that reads none, what the model reads.
#[test]
fn tables_that_cannot_be_asked_about() {
    let dir = dir("tables");
    let cases = [
        (file(&dir, "ragged.csv", b"a,b\n1,2\n3\n"), "row 2"),
        (file(&dir, "empty.csv", b""), "0 bytes"),
        (file(&dir, "whole.csv", b"a,b\n1,2\n"), "(text, image, video), got one of the kind table"),
    ];
    for (path, words) in &cases {
        let error = fails(1, &["ask", "who is the oldest?", "--table", path, "--model", model()]);
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn questions_that_do_not_fit() {
    let picture = file(&dir("questions"), "scene.png", &png());
    let error = fails(1, &["ask", "<image> and <image>", "--image", &picture]);
    assert!(error.contains("2 <image> markers but 1 image was given"), "{error}");
    fails(1, &["ask", "  "]);
    let long = "circle ".repeat(700);
    let error = fails(1, &["ask", &long, "--image", &picture, "--model", model()]);
    assert!(error.contains("at most 511 tokens"), "{error}");
}

#[test]
fn options_out_of_range() {
    let cases: [&[&str]; 10] = [
        &["ask"],
        &["run", "x.gguf"],
        &["ask", "x", "--temperature", "-1"],
        &["ask", "x", "--temperature", "NaN"],
        &["ask", "x", "--top-p", "0"],
        &["ask", "x", "--max-tokens", "0"],
        &["ask", "x", "--threads", "0"],
        &["embed"],
        &["eval", "everything"],
        &["no-such-command"],
    ];
    for args in cases {
        fails(2, args);
    }
}

#[test]
fn devices_that_are_not_there() {
    let unknown = fails(2, &["ask", "x", "--device", "gpu"]);
    assert!(unknown.contains("one of cpu, ") && unknown.contains("\"gpu\""), "{unknown}");
    for gpu in ["cuda", "wgpu"] {
        let error = fails(1, &["ask", "x", "--device", &format!("{gpu}:99")]);
        assert!(error.contains(gpu) && error.contains("the device cpu"), "{error}");
    }
}

#[test]
fn label_lists() {
    let picture = file(&dir("labels"), "scene.png", &png());
    for labels in ["", "circle", "a,,b", "a,b,a", ","] {
        fails(1, &["classify", &picture, "--labels", labels]);
    }
}

#[test]
fn recipes() {
    let dir = dir("recipes");
    let recipe =
        "recipe = \"tokenizer\"\nseed = 1\nvocabulary = 600\nsamples = 3\ntokenizer = \"t.json\"\n";
    let good = file(&dir, "good.toml", recipe.as_bytes());
    let bad = file(&dir, "bad.toml", format!("{recipe}vocabularry = 3\n").as_bytes());
    let foreign = file(&dir, "foreign.toml", b"recipe = \"alchemy\"\n");
    let out = dir.join("run");
    let out = out.to_str().unwrap();
    let error = fails(1, &["train", &bad, "--out", out]);
    assert!(error.contains("vocabularry") && error.contains("vocabulary"), "{error}");
    let error = fails(1, &["train", &good, "--set", "sampels=4", "--out", out]);
    assert!(error.contains("sampels") && error.contains("samples"), "{error}");
    fails(1, &["train", &foreign, "--out", out]);
    fails(1, &["train", "no/such/recipe.toml", "--out", out]);
    fails(1, &["data", "preview", &bad, "--out", out]);
    fails(1, &["plot", out]);
    fails(1, &["watch", out]);
    assert!(!Path::new(out).exists());
}

#[test]
fn weights_damaged_or_foreign() {
    let whole = Path::new(model());
    let copy = |name: &str| std::fs::read(whole.join(name)).unwrap();
    let dir = dir("weights");
    // The image encoder is read first: what stands behind it does not matter.
    for component in ["text", "clip", "projector", "backbone"] {
        file(&dir, &format!("{component}.safetensors"), b"");
    }
    let tokenizer = copy("tokenizer.json");
    file(&dir, "tokenizer.json", &tokenizer);
    for name in ["config.json", "preprocessor_config.json", "chat_template.jinja"] {
        file(&dir, name, &copy(name));
    }
    let choice = dir.to_str().unwrap();
    let image = copy("image.safetensors");
    let cases: [(&[u8], &str); 5] = [
        (b"", "safetensors"),
        (b"PK\x03\x04 a zip archive", "image"),
        (&image[..image.len() - 7], "safetensors"),
        (&copy("clip.safetensors"), "missing"),
        (&copy("projector.safetensors"), "missing"),
    ];
    for (bytes, words) in cases {
        file(&dir, "image.safetensors", bytes);
        let error = fails(1, &["ask", "hello", "--model", choice]);
        assert!(error.contains("image") && error.contains(words), "{words}: {error}");
    }
    file(&dir, "tokenizer.json", &tokenizer[..100]);
    assert!(fails(1, &["ask", "hello", "--model", choice]).contains("tokenizer"));
}

#[test]
fn models_that_are_not_there() {
    fails(1, &["ask", "hello", "--model", "no/such/model"]);
    let empty = dir("empty-model");
    fails(1, &["ask", "hello", "--model", empty.to_str().unwrap()]);
    let error = fails(1, &["export", empty.to_str().unwrap(), "--to", "never-written"]);
    assert!(error.contains("config.json"), "{error}");
    assert!(!Path::new("never-written").exists());
}

#[test]
fn data_sets_that_are_not_there() {
    let empty = dir("no-data");
    let data = empty.to_str().unwrap();
    let error = fails(1, &["eval", "easy-vqa", "--data", data, "--model", model()]);
    assert!(error.contains("cargo xtask data"), "{error}");
}

#[test]
fn language_models_that_are_none() {
    let dir = dir("language-models");
    let whole = std::fs::read(gguf()).unwrap();
    let mut damaged = whole.clone();
    // The last tensor's last block: its scale becomes NaN.
    let at = damaged.len() - 20;
    damaged[at..].fill(0xff);
    let cases = [
        (dir.join("missing.gguf").to_str().unwrap().to_owned(), "missing.gguf"),
        (dir.to_str().unwrap().to_owned(), "config.json"),
        (file(&dir, "empty.gguf", b""), "magic"),
        (file(&dir, "cut.gguf", &whole[..whole.len() / 2]), "bytes"),
        (file(&dir, "text.gguf", b"once upon a time"), "GGUF"),
        (file(&dir, "damaged.gguf", &damaged), "block"),
        // nano's backbone has a file of its own kind, without a tokenizer.
        (nano_backbone().to_owned(), "general.architecture"),
    ];
    for (path, words) in &cases {
        let error = fails(1, &["run", path, "--prompt", "x"]);
        assert!(error.contains(words) && error.contains(path), "{words}: {error}");
    }
    let long = "x".repeat(600);
    let error = fails(1, &["run", gguf(), "--prompt", &long]);
    assert!(error.contains("at most 511 tokens, got 600"), "{error}");
    assert!(fails(1, &["run", gguf(), "--prompt", ""]).contains("at least one token"));
    assert!(fails(1, &["run", gguf(), "--prompt", "x", "--chat"]).contains("chat template"));
}

fn nano_backbone() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/nano/backbone.gguf")
}

#[test]
fn texts_that_cannot_be_measured() {
    let dir = dir("texts");
    let short = file(&dir, "short.txt", b"short");
    let binary = file(&dir, "binary.txt", &[0xff, 0xfe, 0xfd]);
    let eval = |more: &[&str]| fails(1, &[&["eval", "perplexity"], more].concat());
    assert!(eval(&["--text", &short]).contains("--model FILE.gguf"));
    assert!(eval(&["--model", gguf()]).contains("--text FILE"));
    assert!(eval(&["--model", gguf(), "--text", &short]).contains("512 tokens, got 5"));
    assert!(eval(&["--model", gguf(), "--text", &binary]).contains("UTF-8"));
    let error = eval(&["--model", gguf(), "--text", &short, "--context", "513"]);
    assert!(error.contains("4 to 512 tokens, got 513"), "{error}");
    let error = eval(&["--model", gguf(), "--text", &short, "--samples", "3"]);
    assert!(error.contains("--samples"), "{error}");
}
