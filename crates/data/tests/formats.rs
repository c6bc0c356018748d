//! Every format of users' data, each by its sample in `tests/samples`.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use sensorium_data::read::{folder, llava_json, messages};
use sensorium_data::scene::Split;
use sensorium_data::{At, Config, Dataset, DatasetConfig, Example, Media, OpenOptions};
use sensorium_media::{MediaDecoder, Message, Part};

const WHOLE: OpenOptions =
    OpenOptions { seed: 1, split: Split::Train, val_share: 0.0, picture_size: 8 };

/// Folder in `tests/samples`, config, and what each example is: the picture's first value, and text.
type Format = (&'static str, &'static str, &'static [(Option<u8>, &'static str)]);

const FORMATS: [Format; 23] = [
    (
        "folder-csv",
        "kind = 'folder'\npath = '@'",
        &[(Some(200), "a red square, nothing else"), (Some(20), "a blue square")],
    ),
    (
        "folder-jsonl",
        "kind = 'folder'\npath = '@'",
        &[(Some(200), "a red square"), (Some(20), "a blue square")],
    ),
    (
        "folder-classes",
        "kind = 'folder'\npath = '@'",
        &[(Some(20), "blue square"), (Some(200), "red square")],
    ),
    (
        "folder-videos",
        "kind = 'folder'\npath = '@'\nframes = 3",
        &[(Some(200), "red becomes blue"), (Some(20), "blue becomes red")],
    ),
    (
        "folder-sounds",
        "kind = 'folder'\npath = '@'",
        &[(None, "a tone that rises"), (None, "a low buzz")],
    ),
    (
        "folder-voices",
        "kind = 'folder'\npath = '@'",
        &[(None, "red circle."), (None, "two stars.")],
    ),
    (
        "llava-json",
        "kind = 'llava-json'\npath = '@/conversations.json'",
        &[
            (Some(200), "Answer briefly.|#What is this?|A red square.|Which colour?|Red."),
            (None, "What is a square?|Four equal sides."),
        ],
    ),
    (
        "messages",
        "kind = 'messages'\npath = '@/chats.jsonl'",
        &[
            (None, "Answer briefly.|What is a square?|Four equal sides.|And a cube?|Six squares."),
            (None, "Which colour has snow?|White."),
        ],
    ),
    (
        "csv",
        "kind = 'csv'\npath = '@/train.tsv'",
        &[(Some(200), "a red square, nothing else"), (Some(20), "a blue square")],
    ),
    (
        "captions-coco",
        "kind = 'captions'\npath = '@/captions.json'\nimages = '@/val'",
        &[(Some(200), "a red square"), (Some(200), "something red"), (Some(20), "a blue square")],
    ),
    (
        "captions-karpathy",
        "kind = 'captions'\npath = '@/dataset.json'",
        &[(Some(200), "a red square"), (Some(200), "something red"), (Some(20), "a blue square")],
    ),
    (
        "captions-lavis",
        "kind = 'captions'\npath = '@/karpathy_train.json'",
        &[(Some(200), "a red square"), (Some(20), "a blue square"), (Some(20), "something blue")],
    ),
    (
        "vqa",
        "kind = 'vqa'\npath = '@/questions.json'\nanswers = '@/annotations.json'\nimage = 'COCO_{:06}.png'",
        &[(Some(200), "#What colour is it?|red"), (Some(20), "#How many corners has it?|4")],
    ),
    (
        "text",
        "kind = 'text'\npath = '@'\nsample_by = 'paragraph'",
        &[
            (None, "A square has four equal sides.\nA cube has six squares."),
            (None, "Snow is white."),
            (None, "Grass is green."),
        ],
    ),
    (
        "webdataset",
        "kind = 'webdataset'\npath = '@/photos-{000..001}.tar'",
        &[(Some(200), "a red square"), (Some(20), "a blue square"), (Some(200), "red again")],
    ),
    (
        "folder-parquet",
        "kind = 'folder'\npath = '@'",
        &[(Some(200), "a red square"), (Some(20), "a blue square")],
    ),
    (
        "folder-img2dataset",
        "kind = 'folder'\npath = '@'",
        &[(Some(200), "a red square"), (Some(20), "a blue one")],
    ),
    (
        "parquet-pictures",
        "kind = 'parquet'\npath = '@'",
        &[(Some(200), "red square"), (Some(20), "blue square"), (Some(20), "blue square")],
    ),
    (
        "parquet-messages",
        "kind = 'parquet'\npath = '@/*.parquet'",
        &[
            (Some(200), "#What is this?|A red square."),
            (None, "What is a square?|Four equal sides."),
            (Some(20), "##Which is red?|The second."),
        ],
    ),
    (
        "parquet-captions",
        "kind = 'parquet'\npath = '@/{00000..00000}.parquet'",
        &[(Some(200), "a red square"), (Some(20), "a blue square")],
    ),
    (
        "parquet-documents",
        "kind = 'parquet'\npath = '@/documents.parquet'",
        &[(Some(200), "#A red square, and a blue one:#"), (None, "Text alone.")],
    ),
    (
        "interleaved-mmc4",
        "kind = 'interleaved'\npath = '@/docs.jsonl::@/000.tar'",
        &[
            (Some(200), "Two squares.#One is red.#The other is blue."),
            (Some(200), "#First a red one.#Then a blue one."),
        ],
    ),
    (
        "interleaved-obelics",
        "kind = 'interleaved'\npath = '@/docs.jsonl'",
        &[(Some(200), "#A red square.#A blue one.")],
    ),
];

/// `@` stands for the folder.
fn config(toml: &str, dir: &Path) -> DatasetConfig {
    toml::from_str(&toml.replace('@', &dir.display().to_string())).expect("a config")
}

fn at(index: u64) -> At {
    At { epoch: 0, index, progress: 1.0 }
}

/// The turns of a conversation, with a `#` for each picture, or the caption.
fn said(example: &Example) -> String {
    let part = |part: &Part| match part {
        Part::Text(text) => text.clone(),
        Part::Media(_) => "#".into(),
    };
    let message = |message: &Message| message.parts.iter().map(part).collect::<String>();
    let turns: Vec<_> = example.messages.iter().map(message).collect();
    example.text.clone().unwrap_or(turns.join("|"))
}

#[test]
fn every_format_is_read() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    for (name, toml, expected) in FORMATS {
        let dataset =
            config(toml, &samples.join(name)).open(&WHOLE, &MediaDecoder::here()).expect(name);
        assert_eq!(dataset.len(), Some(expected.len() as u64), "{name}");
        for (index, (first, text)) in expected.iter().enumerate() {
            let example = dataset.example(at(index as u64)).expect(name);
            let value = example.media.iter().flat_map(Media::pictures).next();
            let value = value.map(|picture| picture.pixels[0]);
            assert_eq!((value, &*said(&example)), (*first, *text), "{name}");
        }
        assert!(dataset.example(at(99)).is_err(), "{name}");
    }
    let listed: BTreeSet<_> = FORMATS.iter().map(|format| format.0.to_owned()).collect();
    let entries = std::fs::read_dir(&samples).expect("samples").flatten();
    let there = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(listed, there, "a sample for each format, a format for each sample");
}

/// Pictures, sounds and films without a word: by a table without texts, or just lying there.
#[test]
fn media_need_no_texts() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let add = |from: &str, to: &str| {
        let to = dir.path().join(to);
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("writable");
        std::fs::copy(repository.join(from), to).expect("a sample");
    };
    let kinds = || {
        let dataset = config("kind = 'folder'\npath = '@'", dir.path());
        let dataset = dataset.open(&WHOLE, &MediaDecoder::here()).expect("a folder of media");
        let examples = (0..dataset.len().expect("an end")).map(|i| dataset.example(at(i)));
        let kinds = |example: Example| {
            let kinds = example.media.iter().map(|medium| medium.modality().to_string());
            (kinds.collect::<Vec<_>>().join("+"), example.text)
        };
        examples.map(|example| kinds(example.expect("readable"))).collect::<Vec<_>>()
    };
    let untold = |kinds: &str| (kinds.to_owned(), None);
    add("goldens/sound/mono.flac", "b.flac");
    add("goldens/video/reordered.mp4", "a.mp4");
    assert_eq!(kinds(), [untold("image+audio"), untold("audio")]);
    // Where there are pictures, they are what the folder is of.
    add("crates/data/tests/samples/csv/red.png", "c.png");
    assert_eq!(kinds(), [untold("image")]);
    let table = |text: &str| std::fs::write(dir.path().join("metadata.csv"), text);
    table("file_name,audio_file_name\nc.png,b.flac\n,b.flac\n").expect("writable");
    assert_eq!(kinds(), [untold("image+audio"), untold("audio")]);
    table("file_name,text\nb.flac,a tone\n").expect("writable");
    assert_eq!(kinds(), [("audio".to_owned(), Some("a tone".to_owned()))]);
    std::fs::remove_file(dir.path().join("metadata.csv")).expect("there");
    add("goldens/sound/mono.flac", "low_tone/1.flac");
    assert_eq!(kinds(), [("audio".to_owned(), Some("low tone".to_owned()))]);
}

/// Of Karpathy's splits each has its part; a shard that is cut gives what is there.
#[test]
fn parts_of_files_are_told_apart() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let karpathy =
        config("kind = 'captions'\npath = '@/dataset.json'", &samples.join("captions-karpathy"));
    for (split, captions) in [(Split::Train, 3), (Split::Val, 1), (Split::HeldOut, 1)] {
        let dataset = karpathy.open(&OpenOptions { split, ..WHOLE }, &MediaDecoder::here());
        assert_eq!(dataset.expect("opens").len(), Some(captions), "{split:?}");
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let shard = std::fs::read(samples.join("webdataset/photos-000.tar")).expect("a shard");
    let toml = "kind = 'webdataset'\npath = '@/*.tar'";
    for (kept, good) in [(shard.len(), 2), (2 * 1024 + 100, 1), (300, 0)] {
        std::fs::write(dir.path().join("cut.tar"), &shard[..kept]).expect("writable");
        let dataset = config(toml, dir.path()).open(&WHOLE, &MediaDecoder::here()).expect("opens");
        let read: Vec<_> = (0..dataset.len().unwrap()).map(|i| dataset.example(at(i))).collect();
        let (fine, bad): (Vec<_>, Vec<_>) = read.iter().partition(|example| example.is_ok());
        assert_eq!((fine.len(), bad.is_empty()), (good, kept == shard.len()), "{kept}");
        for error in bad {
            assert!(error.as_ref().unwrap_err().to_string().contains("cut.tar"), "{kept}");
        }
    }
}

#[test]
fn texts_are_lines_paragraphs_or_documents() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/text");
    let count = |toml: &str, dir: &Path| {
        let dataset = config(toml, dir).open(&WHOLE, &MediaDecoder::here()).expect("opens");
        let all = dataset.len().unwrap();
        (all, (0..all).filter(|i| dataset.example(at(*i)).is_err()).count())
    };
    for (sample_by, examples) in [("line", 4), ("paragraph", 3), ("document", 2)] {
        let toml = format!("kind = 'text'\npath = '@'\nsample_by = '{sample_by}'");
        assert_eq!(count(&toml, &folder), (examples, 0), "{sample_by}");
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let write =
        |name: &str, text: &[u8]| std::fs::write(dir.path().join(name), text).expect("writable");
    write("a.jsonl", b"{\"text\": \"one\"}\n\n{\"text\": \" \"}\n{\"words\": 1}\n");
    assert_eq!(count("kind = 'text'\npath = '@/a.jsonl'", dir.path()), (3, 2));
    let opened =
        config("kind = 'text'\npath = '@'", dir.path()).open(&WHOLE, &MediaDecoder::here());
    assert!(opened.map(|_| ()).unwrap_err().to_string().contains(".txt or .md"));
    write("b.txt", b"one\n\xff");
    assert_eq!(count("kind = 'text'\npath = '@'", dir.path()), (1, 1));
}

#[test]
fn bad_entries_of_tables_are_named() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let write =
        |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("writable");
    write("a.csv", "filepath,title\n,a\nb.png,\n");
    write("c.json", r#"{"images": [], "annotations": [{"image_id": 7, "caption": "a"}]}"#);
    write(
        "l.json",
        r#"[{"image": "a.png", "caption": null}, {"image": "../a.png", "caption": "a"}]"#,
    );
    write("q.json", r#"{"questions": [{"question_id": 1, "image_id": 7, "question": "?"}]}"#);
    write("n.json", r#"{"annotations": []}"#);
    for (toml, reasons) in [
        ("kind = 'csv'\npath = '@/a.csv'", &["row 2: no filepath", "row 3: no title"][..]),
        ("kind = 'captions'\npath = '@/c.json'", &["the id 7"]),
        ("kind = 'captions'\npath = '@/l.json'", &["no caption for a.png", "below"]),
        (
            "kind = 'vqa'\npath = '@/q.json'\nanswers = '@/n.json'\nimage = '{}'",
            &["question 1: no answer"],
        ),
    ] {
        let dataset = config(toml, dir.path()).open(&WHOLE, &MediaDecoder::here()).expect("opens");
        for (i, reason) in reasons.iter().enumerate() {
            let error = dataset.example(at(i as u64)).expect_err(reason).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
    for (toml, says) in [
        ("kind = 'csv'\npath = '@/a.csv'\nseparator = ';'", "filepath,title"),
        ("kind = 'csv'\npath = '@/a.csv'\nseparator = '→'", "separator"),
        ("kind = 'csv'\npath = '@/a.csv'\nimage_key = 'x'", "image_key"),
        ("kind = 'captions'\npath = '@/n.json'", "COCO"),
        ("kind = 'vqa'\npath = '@/n.json'\nanswers = '@/n.json'\nimage = '{}'", "questions"),
        ("kind = 'vqa'\npath = '@/q.json'\nanswers = '@/n.json'\nimage = 'a.png'", "{:012}"),
        ("kind = 'webdataset'\npath = '@/none-*.tar'", "no files"),
        ("kind = 'webdataset'\npath = '@/none-{0..1}.tar'", "none-0.tar"),
    ] {
        let opened = config(toml, dir.path()).open(&WHOLE, &MediaDecoder::here());
        let error = opened.map(|_| ()).expect_err(toml).to_string();
        assert!(error.contains(says) && error.contains("hint:"), "{toml}: {error}");
    }
}

#[test]
fn bad_entries_are_errors_of_their_own() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes);
    write("metadata.csv", b"\xef\xbb\xbffile_name,text\ngone.png,a\nbroken.png,b\n../up.png,c\n/etc/passwd,d\ne.png,\nf.png\n\xff.png,g\n").expect("writable");
    write("broken.png", b"no picture").expect("writable");
    let dataset = config("kind = 'folder'\npath = '@'", dir.path())
        .open(&WHOLE, &MediaDecoder::here())
        .expect("opens");
    assert_eq!(dataset.len(), Some(7));
    let errors = (0..7).map(|i| dataset.example(at(i)).expect_err("bad").to_string());
    let reasons = ["no such file", "broken.png", "below", "below", "no text", "no text", "UTF-8"];
    for (error, reason) in errors.zip(reasons) {
        assert!(error.contains(reason) && error.contains("hint:"), "{error}");
    }

    let turns = |turns: &str| format!(r#"{{"image": "a.png", "conversations": [{turns}]}}"#);
    let entries = [
        turns(r#"{"from": "human", "value": "<image> <image>"}, {"from": "gpt", "value": "a"}"#),
        turns(r#"{"from": "human", "value": "who?"}"#),
        turns(r#"{"from": "gpt", "value": "alone"}"#),
        turns(r#"{"from": "cat", "value": "meow"}"#),
        "7".into(),
        "{}".into(),
    ];
    write("list.json", format!("[{}]", entries.join(",")).as_bytes()).expect("writable");
    let entries = llava_json::read(&dir.path().join("list.json")).expect("a list");
    assert_eq!(entries.iter().filter(|entry| entry.is_err()).count(), 6);
}

/// Pictures in messages, and lines that are none.
#[test]
fn messages_show_pictures_and_bad_lines_are_named() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/messages");
    let toml = "kind = 'messages'\npath = '@/pictures.jsonl'";
    let dataset = config(toml, &samples).open(&WHOLE, &MediaDecoder::here()).expect("opens");
    let read: Vec<_> = (0..7).map(|i| dataset.example(at(i))).collect();
    let (good, bad): (Vec<_>, Vec<_>) = read.iter().partition(|example| example.is_ok());
    let texts = ["#What is this?|A red square.", "#Which colour?|Red.", "##|Two."];
    assert_eq!(good.iter().flat_map(|e| e.as_ref().map(said)).collect::<Vec<_>>(), texts);
    let reasons = ["line 3: no answer", "line 4: expected", "line 5", "below"];
    for (example, reason) in bad.iter().zip(reasons) {
        let error = example.as_ref().expect_err(reason).to_string();
        assert!(error.contains(reason), "{error}");
    }
    let toml = "kind = 'messages'\npath = '@/images.jsonl'";
    let dataset = config(toml, &samples).open(&WHOLE, &MediaDecoder::here()).expect("opens");
    let read: Vec<_> = (0..5).map(|i| dataset.example(at(i))).collect();
    let texts = ["#Is it red?|Yes.", "First this: #|Fine.", "##Is it?|Yes."];
    for (example, text) in read.iter().zip(texts) {
        assert_eq!(example.as_ref().map(said).expect("an example"), text);
    }
    for (example, reason) in read[3..].iter().zip(["more places", "1 pictures more"]) {
        let error = example.as_ref().expect_err(reason).to_string();
        assert!(error.contains(reason), "{error}");
    }
    let entries = std::fs::read_to_string(samples.join("chats.jsonl")).unwrap();
    let list = format!(
        "[{}]",
        entries.split_whitespace().collect::<Vec<_>>().join(" ").replace("} {\"p", "}, {\"p")
    );
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(dir.path().join("list.json"), list).expect("writable");
    let listed = messages::read(&dir.path().join("list.json")).expect("a list");
    assert_eq!(listed, messages::read(&samples.join("chats.jsonl")).expect("lines"));
}

#[test]
fn what_is_no_data_set_does_not_open() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let open = |toml: &str| match config(toml, dir.path()).open(&WHOLE, &MediaDecoder::here()) {
        Ok(dataset) => panic!("{} opened", dataset.name()),
        Err(error) => error.to_string(),
    };
    std::fs::write(dir.path().join("notes.txt"), "text").expect("writable");
    let error = open("kind = 'folder'\npath = '@'");
    assert!(error.contains("metadata.csv") && error.contains("1 files and 0 folders"), "{error}");
    std::fs::write(dir.path().join("metadata.csv"), "name,label\n1.png,a\n").expect("writable");
    let error = open("kind = 'folder'\npath = '@'");
    assert!(error.contains("file_name") && error.contains(r#"["name", "label"]"#), "{error}");
    std::fs::write(dir.path().join("metadata.csv"), "file_name,text\n").expect("writable");
    assert!(open("kind = 'folder'\npath = '@'").contains("at least one example"));
    assert!(open("kind = 'folder'\npath = '@/gone'").contains("gone"));
    std::fs::write(dir.path().join("a.json"), r#"{"a": 1}"#).expect("writable");
    assert!(open("kind = 'llava-json'\npath = '@/a.json'").contains("a list of conversations"));
    assert!(toml::from_str::<DatasetConfig>("kind = 'folder'\npath = '@/a'\nshares = 1").is_err());
    assert!(toml::from_str::<DatasetConfig>("kind = 'zip'\npath = '@/a'").is_err());
}

#[test]
fn what_is_set_apart_is_never_learned_from() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    // Two captions for each picture: both stay on one side.
    let row = |i: u32| format!("{}.png,caption {i}\n", i / 2);
    let table: String = (0..400).map(row).collect();
    std::fs::write(dir.path().join("metadata.csv"), format!("file_name,text\n{table}"))
        .expect("writable");
    let toml =
        format!("val_share = 0.2\n[[train]]\nkind = 'folder'\npath = '{}'", dir.path().display());
    let config: Config = toml::from_str(&toml).expect("a config");
    let pictures = |dataset: &dyn Dataset| -> BTreeSet<String> {
        let error = |i| dataset.example(at(i)).expect_err("no pictures").to_string();
        let name = |error: String| error.split(".png").next().unwrap_or_default().to_owned();
        let file = |text: String| text.rsplit('/').next().unwrap_or_default().to_owned();
        (0..dataset.len().unwrap_or(0)).map(error).map(name).map(file).collect()
    };
    let train = config.open_train(1, 8, &MediaDecoder::here()).expect("opens");
    let val =
        config.open_val(1, 8, &MediaDecoder::here()).expect("opens").expect("a part is set apart");
    assert_eq!(train.len().zip(val.len()).map(|(a, b)| a + b), Some(400));
    assert!(pictures(&train).is_disjoint(&pictures(&val)));
    assert!((20..60).contains(&pictures(&val).len()));

    let val_elsewhere = format!("{toml}\n[[val]]\nkind = 'scenes'");
    let config: Config = toml::from_str(&val_elsewhere).expect("a config");
    assert_eq!(config.open_train(1, 8, &MediaDecoder::here()).expect("opens").len(), Some(400));
    assert_eq!(
        config.open_val(1, 8, &MediaDecoder::here()).expect("opens").and_then(|val| val.len()),
        None
    );
}

/// Of a folder each part has its files; a file that is cut, or damaged anywhere, is an error or gives what is
/// there.
#[test]
fn parquet_files_are_parts_and_may_be_damaged() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let open = |toml: &str, dir: &Path, split| {
        config(toml, dir).open(&OpenOptions { split, ..WHOLE }, &MediaDecoder::here())
    };
    for (split, rows) in [(Split::Train, Some(3)), (Split::HeldOut, Some(1)), (Split::Val, None)] {
        let opened = open("kind = 'parquet'\npath = '@'", &samples.join("parquet-pictures"), split);
        assert_eq!(opened.ok().and_then(|dataset| dataset.len()), rows, "{split:?}");
    }
    let toml = "kind = 'parquet'\npath = '@/a.parquet'";
    let dir = tempfile::tempdir().expect("a temporary folder");
    for name in [
        "parquet-pictures/train-00000-of-00001",
        "parquet-messages/chats",
        "parquet-captions/00000",
    ] {
        let whole = std::fs::read(samples.join(format!("{name}.parquet"))).expect("a sample");
        for at_byte in (0..whole.len()).step_by(5) {
            for kind in 0..3 {
                let mut bytes = whole.clone();
                match kind {
                    0 => bytes.truncate(at_byte),
                    1 => bytes[at_byte] ^= 0xFF,
                    _ => bytes[at_byte] = bytes[at_byte].wrapping_add(1),
                }
                std::fs::write(dir.path().join("a.parquet"), &bytes).expect("writable");
                let Ok(dataset) = open(toml, dir.path(), Split::Train) else { continue };
                assert!(kind > 0, "{name} cut at {at_byte} opened");
                (0..dataset.len().unwrap_or_default().min(3))
                    .for_each(|i| drop(dataset.example(at(i))));
            }
        }
    }
    std::fs::write(dir.path().join("a.parquet"), "PAR1").expect("writable");
    let error = open(toml, dir.path(), Split::Train).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("PAR1") && error.contains("hint:"), "{error}");
    let wrong = "kind = 'parquet'\npath = '@/00000.parquet'\ncaption_key = 'title'";
    let opened = open(wrong, &samples.join("parquet-captions"), Split::Train);
    let error = opened.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("no column title among [\"caption\", \"status\", \"jpg\"]"), "{error}");
}

/// Documents that are none, and pictures that are addresses.
#[test]
fn bad_documents_are_named() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let lines = [
        r#"{"images": ["https://a/b.png", null], "texts": [null, "a"]}"#,
        r#"{"images": ["b.png"], "texts": [null, "a"]}"#,
        r#"{"images": ["b.png", null], "texts": [null, " "]}"#,
        r#"{"text_list": ["a"], "image_info": [{"image_name": "b.png", "matched_text_index": 1}]}"#,
        r#"{"text_list": ["a"], "image_info": [{"matched_text_index": 0}]}"#,
        r#"{"text_list": ["a"], "image_info": [{"image_base64": "~", "matched_text_index": 0}]}"#,
        r#"{"words": 1}"#,
        "no JSON",
    ];
    std::fs::write(dir.path().join("a.jsonl"), lines.join("\n")).expect("writable");
    let toml = "kind = 'interleaved'\npath = '@/a.jsonl'";
    let dataset = config(toml, dir.path()).open(&WHOLE, &MediaDecoder::here()).expect("opens");
    let reasons = [
        "line 1: expected a file, got https://a/b.png",
        "1 images for 2 texts",
        "no text",
        "matched_text_index 1 of 1",
        "without image_name",
        "picture 0: Invalid",
        "text_list",
        "line 8: expected",
    ];
    for (i, reason) in reasons.iter().enumerate() {
        let error = dataset.example(at(i as u64)).expect_err(reason).to_string();
        assert!(error.contains(reason), "{error}");
    }
}

proptest! {
    /// Any bytes as a table or a list are read or refused, and nothing panics.
    #[test]
    fn hostile_files_are_errors(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            "file_name,text\n([a-z\",\n\r\\.]{0,80})".prop_map(String::into_bytes),
            "(\\{\"file_name\": \"[a-z./]{0,9}\", \"text\": [\"0-9a-z\\[\\{]{0,9}\\}\n){0,5}".prop_map(String::into_bytes),
            "\\[(\\{\"image\": \"a\", \"conversations\": \\[\\{\"from\": \"(human|gpt)\", \"value\": \"(<image>|a){0,3}\"\\}\\]\\}){0,2}\\]".prop_map(String::into_bytes),
        ]
    ) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for name in ["metadata.csv", "metadata.jsonl", "list.json"] {
            let path = dir.path().join(name);
            std::fs::write(&path, &bytes).expect("writable");
            let _ = if name == "list.json" { llava_json::read(&path) } else { folder::read(dir.path()) };
            std::fs::remove_file(&path).expect("there");
        }
    }
}

#[test]
fn deep_json_is_an_error() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("deep.json");
    std::fs::write(&path, "[".repeat(200_000)).expect("writable");
    assert!(llava_json::read(&path).is_err());
}
