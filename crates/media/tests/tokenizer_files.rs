//! Directories without a `tokenizer.json`, against transformers (`reference/tokenizer_files.py`), and
//! damaged ones.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::collections::BTreeMap;
use std::path::Path;

use sensorium_media::{Files, Tokenizer, VocabularyFile};
use serde_json::Value;

/// The files of a case by their names.
struct Case(BTreeMap<String, Vec<u8>>);

impl Case {
    fn read(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/tokenizer_files");
        let files = std::fs::read_dir(folder.join(name)).unwrap().map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(path).unwrap())
        });
        Self(files.collect())
    }

    fn json(&self, name: &str) -> Value {
        self.0.get(name).map_or(Value::Null, |bytes| serde_json::from_slice(bytes).unwrap())
    }

    fn open(&self) -> sensorium_media::Result<Tokenizer> {
        let bytes = |name: &str| self.0.get(name).map(Vec::as_slice);
        let pieces = bytes("tokenizer.model").or(bytes("spiece.model"));
        let vocabulary = match (pieces, bytes("vocab.txt")) {
            (Some(pieces), _) => VocabularyFile::SentencePiece(pieces),
            (None, Some(words)) => VocabularyFile::WordPiece(words),
            (None, None) => VocabularyFile::Bpe {
                vocab: bytes("vocab.json").unwrap(),
                merges: bytes("merges.txt").unwrap(),
            },
        };
        let [config, special_tokens_map, added_tokens] =
            ["tokenizer_config", "special_tokens_map", "added_tokens"]
                .map(|name| self.json(&format!("{name}.json")));
        Tokenizer::from_files(&Files {
            vocabulary,
            config: &config,
            special_tokens_map: &special_tokens_map,
            added_tokens: &added_tokens,
            model_type: self.json("config.json")["model_type"].as_str().unwrap(),
        })
    }
}

const CASES: [&str; 13] = [
    "gpt2",
    "opt",
    "roberta",
    "clip",
    "whisper",
    "qwen2",
    "llama",
    "llama_legacy",
    "llama_bare",
    "unigram",
    "siglip",
    "bert",
    "bert_cased",
];

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn ids_and_texts_are_those_of_transformers() {
    for name in CASES {
        let case = Case::read(name);
        let (tokenizer, want) = (case.open().unwrap(), case.json("expected.json"));
        assert_eq!(tokenizer.vocabulary() as u64, want["vocabulary"].as_u64().unwrap(), "{name}");
        let mut control: Vec<u32> = tokenizer.control().iter().map(|(_, id)| *id).collect();
        control.sort_unstable();
        assert_eq!(control, ids(&want["special"]), "{name}");
        let texts = want["texts"].as_array().unwrap();
        assert!(texts.len() > 9);
        for (case, decoded) in texts.iter().zip(want["decoded"].as_array().unwrap()) {
            let (text, bare) = (case["text"].as_str().unwrap(), ids(&case["ids"]));
            assert_eq!(tokenizer.encode_rendered(text).unwrap(), bare, "{name}: {text:?}");
            let around = tokenizer.encode_within(text, true, usize::MAX).unwrap();
            assert_eq!(around, ids(&case["around"]), "{name}: {text:?}");
            // What these models read is never written: spaces at words' ends are as they come.
            if !["clip", "siglip"].contains(&name) {
                let said = tokenizer.decode(&bare).unwrap();
                assert_eq!(said, decoded.as_str().unwrap(), "{name}: {text:?}");
            }
        }
        for case in want["spelt"].as_array().unwrap() {
            let (text, want) = (case["text"].as_str().unwrap(), ids(&case["ids"]));
            assert_eq!(tokenizer.encode_rendered(text).unwrap(), want, "{name}: {text:?}");
        }
        // As a tokenizer.json it is the same.
        let saved = Tokenizer::from_bytes(&tokenizer.to_bytes().unwrap()).unwrap();
        for case in texts {
            let text = case["text"].as_str().unwrap();
            let around = saved.encode_within(text, true, usize::MAX).unwrap();
            assert_eq!(around, ids(&case["around"]), "{name}: {text:?}");
        }
    }
}

#[test]
fn broken_spellings_are_errors_that_name_the_file() {
    type Break<'a> = &'a dyn Fn(&mut BTreeMap<String, Vec<u8>>);
    let put = |files: &mut BTreeMap<String, Vec<u8>>, name: &str, text: &str| {
        drop(files.insert(name.to_owned(), text.as_bytes().to_vec()));
    };
    let cases: [(&str, &str, Break<'_>); 11] = [
        ("gpt2", "vocab.json", &|files| put(files, "vocab.json", "[]")),
        ("gpt2", "vocab.json", &|files| put(files, "vocab.json", r#"{"a": -1}"#)),
        ("gpt2", "merges.txt", &|files| put(files, "merges.txt", "a b c\n")),
        ("gpt2", "merges.txt", &|files| put(files, "merges.txt", "zzz yyy\n")),
        ("clip", "<|startoftext|>", &|files| {
            put(files, "vocab.json", r#"{"a": 0}"#);
            put(files, "merges.txt", "");
            put(files, "tokenizer_config.json", "{}");
        }),
        ("bert", "vocab.txt", &|files| put(files, "vocab.txt", "a\nb\n")),
        ("bert_cased", "tokenizer_class", &|files| {
            put(files, "tokenizer_config.json", r#"{"tokenizer_class": "MPNetTokenizer"}"#);
        }),
        ("llama", "protocol buffer", &|files| put(files, "tokenizer.model", "version https:")),
        ("llama", "SentencePiece file", &|files| put(files, "tokenizer.model", "")),
        ("llama", "legacy", &|files| put(files, "tokenizer_config.json", r#"{"legacy": 1}"#)),
        ("unigram", "added_tokens.json", &|files| put(files, "added_tokens.json", r#"{"x": 999}"#)),
    ];
    for (name, words, damage) in cases {
        let mut case = Case::read(name);
        damage(&mut case.0);
        let error = case.open().unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("\nhint: "), "{name}: {error}");
    }
}

/// Draws that depend on nothing but their number.
fn draw(n: u64) -> usize {
    let z = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 33) as usize
}

#[test]
fn files_with_changed_bytes_open_or_are_errors() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let (mut read, mut refused) = (0, 0);
    for (name, file) in [
        ("gpt2", "vocab.json"),
        ("clip", "merges.txt"),
        ("bert", "vocab.txt"),
        ("llama", "tokenizer.model"),
        ("unigram", "spiece.model"),
    ] {
        let mut case = Case::read(name);
        let whole = case.0[file].clone();
        for i in 0..300_u64 {
            let mut bytes = whole.clone();
            for k in 0..1 + i % 3 {
                let at = draw(10 * i + k) % bytes.len();
                match draw(77 + 31 * i + k) % 4 {
                    0 => bytes[at] ^= 1 << (i % 8),
                    1 => bytes.truncate(at.max(1)),
                    2 => bytes.insert(at, draw(i) as u8),
                    _ => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF][i as usize % 5],
                }
            }
            case.0.insert(file.to_owned(), bytes);
            match case.open() {
                Ok(tokenizer) => {
                    for text in ["", "a cat\u{1F600} ﬁne ½", "<s>b</s> \u{301}"] {
                        if let Ok(ids) = tokenizer.encode_within(text, true, 1 << 20) {
                            let _ = tokenizer.decode(&ids);
                        }
                    }
                    read += 1;
                }
                Err(error) => {
                    let error = error.to_string();
                    assert!(error.contains("hint: ") && error.len() < 2000, "{error}");
                    refused += 1;
                }
            }
        }
    }
    std::panic::set_hook(hook);
    assert!(read > 100 && refused > 300, "{read} {refused}");
}
