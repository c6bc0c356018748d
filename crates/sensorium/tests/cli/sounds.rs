//! `transcribe` on the goldens' tiny models, whose words are noise, and what it refuses.

use std::path::Path;

use serde_json::Value;

use crate::fixture::{dir, fails, file, run_with, succeeds, texts};

fn golden(path: &str) -> String {
    format!("{}/../../goldens/{path}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn sounds_are_written_down() {
    let (model, sound) = (golden("whisper"), golden("sound/stereo.flac"));
    let transcribe =
        |more: &[&str]| succeeds(&[&["transcribe", &sound, "--model", &model], more].concat());
    let found: Value = serde_json::from_str(&transcribe(&["--json", "--timestamps"])).unwrap();
    let found = &found["transcripts"][0];
    assert_eq!(found["file"], sound.as_str());
    assert!(["de", "en", "fr"].contains(&found["language"].as_str().unwrap()), "{found}");
    assert!((found["duration"].as_f64().unwrap() - 0.15).abs() < 1e-3, "{found}");
    for part in ["load", "read", "mel", "encode", "decode"] {
        assert!(found["seconds"][part].as_f64().unwrap() >= 0.0, "{part}");
    }
    let segments = found["segments"].as_array().unwrap();
    for segment in segments {
        assert!(segment["start"].as_f64() <= segment["end"].as_f64(), "{segment}");
        assert!(segment["text"].is_string() && segment["token_ids"].is_array(), "{segment}");
    }
    // The number of threads changes nothing, and neither does the way it is printed.
    let plain = |threads| transcribe(&["--threads", threads, "--language", "de"]);
    assert_eq!(plain("1"), plain("2"));
    assert!(transcribe(&["--format", "vtt"]).starts_with("WEBVTT\n\n"));
    assert!(transcribe(&["--format", "srt"]).starts_with("1\n00:00:0"));
    let two = succeeds(&["transcribe", &sound, &sound, "--model", &model, "--format", "json"]);
    let two: Value = serde_json::from_str(&two).unwrap();
    assert_eq!(two["transcripts"].as_array().unwrap().len(), 2);
}

/// 16-bit samples at 16 kHz of a tone, and where it is not quiet.
fn tone(samples: u32, loud: impl Fn(u32) -> bool) -> Vec<u8> {
    let sample = |i: u32| if loud(i) { ((i as f32 * 0.05).sin() * 9e3) as i16 } else { 0 };
    let mut wav = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\xff\xff\xff\xff".to_vec();
    wav.extend((0..samples).flat_map(|i| sample(i).to_le_bytes()));
    wav
}

/// A CTC model of random weights hears 2 s at once: longer sounds are cut where they are quiet.
#[test]
fn letters_are_written_down_with_the_times_of_their_words() {
    let dir = dir("letters");
    let quiet = |i: u32| (24_000..27_200).contains(&i);
    let sound = file(&dir, "pause.wav", &tone(48_000, |i| !quiet(i)));
    let model = golden("ctc");
    let transcribe =
        |more: &[&str]| succeeds(&[&["transcribe", &sound, "--model", &model], more].concat());
    let found: Value = serde_json::from_str(&transcribe(&["--json"])).unwrap();
    let found = &found["transcripts"][0];
    assert_eq!((&found["duration"], &found["language"]), (&3.0.into(), &"und".into()));
    let segments = found["segments"].as_array().unwrap();
    let text: Vec<&str> = segments.iter().map(|s| s["text"].as_str().unwrap()).collect();
    assert_eq!(found["text"], text.join(" "));
    assert_eq!(segments.len(), 2, "{found}");
    assert!(segments[0]["end"].as_f64().unwrap() <= 1.65, "{found}");
    assert!(segments[1]["start"].as_f64().unwrap() >= 1.5, "{found}");
    for segment in segments {
        let words = segment["words"].as_array().unwrap();
        let spelt: Vec<&str> = words.iter().map(|word| word["word"].as_str().unwrap()).collect();
        assert_eq!(segment["text"], spelt.join(" "));
        assert_eq!(segment["start"], words[0]["start"]);
        assert_eq!(segment["end"], words[words.len() - 1]["end"]);
        let times = words.iter().flat_map(|word| [&word["start"], &word["end"]]);
        assert!(times.map(|time| time.as_f64().unwrap()).is_sorted(), "{segment}");
        assert!(
            words.iter().all(|word| (0.0..=1.0).contains(&word["probability"].as_f64().unwrap()))
        );
        assert!(segment["avg_logprob"].as_f64().unwrap() < 0.0);
    }
    assert_eq!(transcribe(&[]).trim(), found["text"]);
    assert_eq!(transcribe(&["--threads", "1"]), transcribe(&["--threads", "2"]));
    assert!(transcribe(&["--format", "vtt"]).starts_with("WEBVTT\n\n"));
    assert!(transcribe(&["--format", "srt"]).starts_with("1\n00:00:0"));
    assert!(succeeds(&["info", "--model", &model]).contains("speech"));
    for option in [["--language", "en"], ["--task", "translate"], ["--temperature", "0.5"]] {
        let error = fails(1, &[&["transcribe", &sound, "--model", &model][..], &option].concat());
        assert!(error.contains(option[0]) && error.contains("CTC"), "{error}");
    }
}

/// Settings that make no sense are an error, and take no memory.
#[test]
fn damaged_ctc_settings_are_refused() {
    let whole = std::fs::read_to_string(golden("ctc/config.json")).unwrap();
    for (from, to, says) in [
        ("\"n_heads\": 2", "\"n_heads\": 0", "sizes above 0"),
        ("\"n_heads\": 2", "\"n_heads\": 9223372036854775808", "heads of an even width"),
        ("\"vocab_size\": 39", "\"vocab_size\": 40", "one for each character"),
        ("\"a\",", "", "one for each character"),
        ("\"hidden_size\": 12", "\"hidden_size\": 16", "conv1"),
    ] {
        let dir = dir("ctc-settings");
        assert!(whole.contains(from), "{from}");
        file(&dir, "config.json", whole.replace(from, to).as_bytes());
        std::fs::copy(golden("ctc/speech.safetensors"), dir.join("speech.safetensors")).unwrap();
        let model = dir.display().to_string();
        let error = fails(1, &["transcribe", &golden("sound/pcm_16.wav"), "--model", &model]);
        assert!(error.contains(says), "{to}: {error}");
    }
}

/// Windows are 0.6 s in this model: a sound of 2 s has several, and all of them are heard.
#[test]
fn long_sounds_are_heard_to_their_end() {
    let sound = file(&dir("long"), "long.wav", &tone(32_000, |_| true));
    let ids = |more: &[&str]| -> Vec<Value> {
        let args = ["transcribe", &sound, "--model", &golden("whisper_english"), "--json"];
        let once = ["--temperature-increment-on-fallback", "none"];
        let all = succeeds(&[&args[..], &once, more].concat());
        let found: Value = serde_json::from_str(&all).unwrap();
        let segments = found["transcripts"][0]["segments"].as_array().unwrap().clone();
        let starts: Vec<f64> = segments.iter().map(|s| s["start"].as_f64().unwrap()).collect();
        assert!(starts.is_sorted() && *starts.last().unwrap() > 1.2, "{starts:?}");
        segments.into_iter().map(|segment| segment["token_ids"].clone()).collect()
    };
    // The first window is told nothing, the second what the first said, or what a user says.
    let (told, alone) = (ids(&[]), ids(&["--condition-on-previous-text", "false"]));
    assert!(told[0] == alone[0] && told != alone, "{told:?} {alone:?}");
    assert_ne!(ids(&["--initial-prompt", "Names: Ann, Bob"])[0], told[0]);
}

/// A model of random weights guesses: it is heard at every temperature unless it is told not to be.
#[test]
fn guesses_are_heard_again_at_higher_temperatures() {
    let (model, sound) = (golden("whisper_english"), golden("sound/stereo.flac"));
    let segments = |more: &[&str]| -> Vec<Value> {
        let args = [&["transcribe", &sound, "--model", &model, "--json"], more].concat();
        let found: Value = serde_json::from_str(&succeeds(&args)).unwrap();
        found["transcripts"][0]["segments"].as_array().unwrap().clone()
    };
    let one = segments(&["--temperature-increment-on-fallback", "none"]);
    assert!(one[0]["avg_logprob"].as_f64().unwrap() < -1.0, "{one:?}");
    assert_eq!(one[0]["temperature"], 0.0);
    let last = ["--no-speech-threshold", "none"];
    let again = segments(&last);
    assert_eq!(again[0]["temperature"], 1.0, "{again:?}");
    assert_eq!(again, segments(&last), "the same seed");
    assert_ne!(again, segments(&[&last[..], &["--seed", "7"]].concat()), "another seed");
    let trusted =
        segments(&["--logprob-threshold", "-99", "--compression-ratio-threshold", "none"]);
    assert_eq!(trusted[0]["token_ids"], one[0]["token_ids"]);
    for (option, value) in [
        ("--temperature", "2"),
        ("--temperature-increment-on-fallback", "0"),
        ("--logprob-threshold", "NaN"),
        ("--condition-on-previous-text", "perhaps"),
    ] {
        fails(2, &["transcribe", &sound, "--model", &model, option, value]);
    }
}

#[test]
fn what_cannot_be_heard_is_refused() {
    let (model, sound) = (golden("whisper"), golden("sound/pcm_16.wav"));
    let dir = dir("sounds");
    let transcribe = |sound: &str, more: &[&str]| {
        fails(1, &[&["transcribe", sound, "--model", &model], more].concat())
    };
    let whole = std::fs::read(&sound).unwrap();
    assert!(transcribe("no/such.wav", &[]).contains("no such file"));
    assert!(transcribe(dir.to_str().unwrap(), &[]).contains("regular file"));
    let cases: [(&str, &[u8], &str); 3] = [
        ("empty.wav", b"", "0 bytes"),
        ("header.wav", &whole[..44], "0 samples"),
        ("text.wav", b"I am no sound, whatever my name says", "text"),
    ];
    for (name, bytes, words) in cases {
        let error = transcribe(&file(&dir, name, bytes), &[]);
        assert!(error.contains(words) && error.contains(name), "{words}: {error}");
    }
    assert!(transcribe(&sound, &["--language", "xx"]).contains("it knows de, en, fr"));
    let english = golden("whisper_english");
    let error = fails(1, &["transcribe", &sound, "--model", &english, "--task", "translate"]);
    assert!(error.contains("knows English only"), "{error}");
    let error = transcribe(&sound, &["--format", "srt", &sound]);
    assert!(error.contains("one FILE"), "{error}");
    assert!(fails(1, &["transcribe", &sound]).contains("--model DIR"));
    fails(2, &["transcribe"]);
    fails(2, &["transcribe", &sound, "--task", "sing"]);
}

/// What is there is written down, and what is missing is told; one broken file takes nothing from the
/// others.
#[test]
fn cut_and_broken_sounds_are_told_apart() {
    let (model, good) = (golden("whisper"), golden("sound/opus.webm"));
    let dir = dir("cut");
    let whole = std::fs::read(golden("sound/pcm_16.wav")).unwrap();
    let cut = file(&dir, "cut.wav", &whole[..whole.len() / 2]);
    let broken = file(&dir, "broken.wav", b"I am no sound");
    let run = |files: &[&str], more: &[&str]| {
        run_with(&[&["transcribe", "--model", &model][..], files, more].concat(), "")
    };
    let output = run(&[&cut], &["--language", "German"]);
    let (_, err) = texts(&output);
    assert!(output.status.success() && err.matches("warning: ").count() == 1, "{err}");
    assert!(err.contains("sound of 2400 samples") && err.contains("got 1189"), "{err}");

    let output = run(&[&good, &broken, &cut], &["--json"]);
    let (out, err) = texts(&output);
    assert!(!output.status.success() && err.contains("broken.wav"), "{err}");
    let found: Value = serde_json::from_str(&out).unwrap();
    let named = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|x| x["file"].as_str().unwrap().into()).collect()
    };
    assert_eq!(named(&found["transcripts"]), [good.clone(), cut.clone()]);
    assert_eq!(named(&found["errors"]), [broken.as_str()]);
    assert!(found["errors"][0]["error"].as_str().unwrap().contains("text"), "{found}");
    assert!(found["transcripts"][1]["warning"].is_string(), "{found}");
    let output = run(&[&broken, &good], &[]);
    let (out, err) = texts(&output);
    assert!(!output.status.success() && out.starts_with(&good), "{out}");
    assert!(err.contains("expected 2 sounds, got 1"), "{err}");
    // What is wrong with the question is said once.
    let output = run(&[&good, &cut], &["--language", "Klingon"]);
    let (_, err) = texts(&output);
    assert!(err.matches("error: ").count() == 1 && err.contains("it knows de"), "{err}");
}

#[test]
fn damaged_checkpoints_are_refused() {
    let (sound, whole) = (golden("sound/pcm_16.wav"), golden("whisper"));
    let dir = dir("whisper");
    let names = ["config.json", "generation_config.json", "tokenizer.json", "model.safetensors"];
    let put = |name: &str, bytes: &[u8]| drop(file(&dir, name, bytes));
    let read = |name: &str| std::fs::read(Path::new(&whole).join(name)).unwrap();
    for name in names {
        put(name, &read(name));
    }
    let model = dir.to_str().unwrap();
    succeeds(&["transcribe", &sound, "--model", model]);
    for name in names {
        let bytes = read(name);
        put(name, &bytes[..bytes.len() / 2]);
        fails(1, &["transcribe", &sound, "--model", model]);
        std::fs::remove_file(dir.join(name)).unwrap();
        if name == "generation_config.json" {
            // The tokenizer's names tell the same.
            succeeds(&["transcribe", &sound, "--model", model]);
            put(name, &bytes);
            continue;
        }
        let error = fails(1, &["transcribe", &sound, "--model", model]);
        assert!(error.contains(name), "{name}: {error}");
        put(name, &bytes);
    }
    let text = String::from_utf8(read("generation_config.json")).unwrap();
    put(
        "generation_config.json",
        text.replace("\"eos_token_id\": 256", "\"eos_token_id\": 256000").as_bytes(),
    );
    let error = fails(1, &["transcribe", &sound, "--model", model]);
    assert!(error.contains("eos_token_id") && error.contains("below"), "{error}");
}
