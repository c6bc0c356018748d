//! A `tokenizer.json` of any bytes loads or is a typed error; what loads also reads.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use sensorium_media::Tokenizer;
use serde_json::{Value, json};

/// Added tokens, a template around texts, and the model.
fn file(model: Value, pre: Value, decoder: Value) -> String {
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [
            {"id": 12, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
             "normalized": false, "special": true},
            {"id": 13, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": true,
             "normalized": true, "special": true}],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": "x+"}, "content": "x"}]},
        "pre_tokenizer": pre,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                       {"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [12], "tokens": ["<s>"]},
                               "</s>": {"id": "</s>", "ids": [13], "tokens": ["</s>"]}}},
        "decoder": decoder,
        "model": model
    })
    .to_string()
}

fn bpe() -> String {
    let model = json!({"type": "BPE", "dropout": null, "unk_token": null,
        "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
        "byte_fallback": false, "ignore_merges": false,
        "vocab": {"a": 0, "b": 1, "c": 2, "d": 3, "ab": 4, "abc": 5, "Ġ": 6, "Ġa": 7, "e": 8, "f": 9,
                  "Ã": 10, "©": 11},
        "merges": ["a b", "ab c", "Ġ a"]});
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
        "use_regex": true});
    file(model, byte_level.clone(), byte_level)
}

fn word_piece() -> String {
    let model = json!({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": {"[UNK]": 0, "a": 1, "##b": 2, "c": 3, "##c": 4, "ab": 5, "d": 6, "e": 7, "f": 8}});
    let decoder = json!({"type": "WordPiece", "prefix": "##", "cleanup": true});
    file(model, json!({"type": "BertPreTokenizer"}), decoder)
}

fn unigram() -> String {
    let model = json!({"type": "Unigram", "unk_id": 0, "byte_fallback": false,
        "vocab": [["<unk>", 0.0], ["▁", -2.0], ["a", -3.0], ["b", -3.5], ["ab", -2.5], ["▁a", -3.0],
                  ["c", -4.0]]});
    let space = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first",
        "split": true});
    file(model, space.clone(), space)
}

const TEXTS: [&str; 8] =
    ["", "a", "abc ab c", "é \u{1F600}", "<s>abc</s>", "xxxxx  \n\t", "\u{0}\u{FFFD}", "\u{301}e"];

/// Reads ids one by one; errors are as good as a text.
fn stream(tokenizer: &Tokenizer, ids: &[u32]) {
    let mut decoder = tokenizer.decoder();
    for id in ids {
        let _ = decoder.push(*id);
    }
    let _ = decoder.finish();
}

fn try_file(bytes: &[u8]) -> bool {
    match Tokenizer::from_bytes(bytes) {
        Ok(tokenizer) => {
            for text in TEXTS {
                for special in [true, false] {
                    if let Ok(ids) = tokenizer.encode_within(text, special, 1 << 20) {
                        let _ = tokenizer.decode(&ids);
                        stream(&tokenizer, &ids);
                    }
                }
                let _ = tokenizer.encode_rendered(&tokenizer.shield(text));
            }
            let _ = tokenizer.decode(&[0, 1, 1 << 30, u32::MAX]);
            true
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("hint: ") && text.len() < 2000, "{text}");
            false
        }
    }
}

/// Draws that depend on nothing but their number.
fn draw(n: u64) -> usize {
    let z = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 33) as usize
}

/// Quiet about the panics that the tests are about: they are caught and become errors.
fn quietly(run: impl FnOnce()) {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    std::panic::set_hook(hook);
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn the_files_themselves_load() {
    for file in [bpe(), word_piece(), unigram()] {
        assert!(try_file(file.as_bytes()), "{file}");
    }
}

#[test]
fn crafted_values_are_errors_or_read() {
    let values = [
        json!(null),
        json!(-1),
        json!(0),
        json!(1),
        json!(u32::MAX),
        json!(1_u64 << 40),
        json!(1e300),
        json!(""),
        json!("a"),
        json!([]),
        json!({}),
        json!([[]]),
        json!(true),
        json!("\u{FFFF}"),
    ];
    quietly(|| {
        let (mut read, mut refused) = (0, 0);
        for text in [bpe(), word_piece(), unigram()] {
            let whole: Value = serde_json::from_str(&text).unwrap();
            for place in places(&whole, String::new()) {
                for value in &values {
                    let mut changed = whole.clone();
                    *changed.pointer_mut(&place).unwrap() = value.clone();
                    match try_file(changed.to_string().as_bytes()) {
                        true => read += 1,
                        false => refused += 1,
                    }
                }
            }
        }
        assert!(read > 500 && refused > 1000, "{read} {refused}");
    });
}

/// JSON pointers to every value.
fn places(value: &Value, at: String) -> Vec<String> {
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    let inner: Vec<String> = match value {
        Value::Object(fields) => {
            let of =
                |(key, value): (&String, &Value)| places(value, format!("{at}/{}", escaped(key)));
            fields.iter().flat_map(of).collect()
        }
        Value::Array(items) => {
            let of = |(i, value)| places(value, format!("{at}/{i}"));
            items.iter().enumerate().flat_map(of).collect()
        }
        _ => Vec::new(),
    };
    std::iter::once(at).chain(inner).collect()
}

#[test]
fn files_with_changed_bytes_load_or_are_errors() {
    quietly(|| {
        let (mut read, mut refused) = (0, 0);
        for (seed, text) in [bpe(), word_piece(), unigram()].iter().enumerate() {
            for i in 0..800_u64 {
                let mut bytes = text.clone().into_bytes();
                for k in 0..1 + i % 3 {
                    let at = draw(10_000 * seed as u64 + 10 * i + k) % bytes.len();
                    match draw(77 + 31 * i + k) % 4 {
                        0 => bytes[at] ^= 1 << (i % 7),
                        1 => drop(bytes.drain(at..(at + 1 + i as usize % 9).min(bytes.len()))),
                        2 => bytes.insert(at, b"0123456789\"{}[],:-e"[i as usize % 19]),
                        _ => bytes[at] = b"0123456789abf"[i as usize % 13],
                    }
                }
                match try_file(&bytes) {
                    true => read += 1,
                    false => refused += 1,
                }
            }
        }
        assert!(read > 100 && refused > 300 && read + refused == 2400, "{read} {refused}");
    });
}
