//! A text that is decoded id by id is the text of all ids, whatever they are.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use sensorium_media::Tokenizer;
use serde_json::{Value, json};

fn file(model: Value, decoder: Value) -> Tokenizer {
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [
            {"id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
             "normalized": false, "special": true},
            {"id": 1, "content": "<tool>", "single_word": false, "lstrip": false, "rstrip": false,
             "normalized": false, "special": false}],
        "normalizer": null, "pre_tokenizer": null, "post_processor": null,
        "decoder": decoder, "model": model
    });
    Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap()
}

fn bpe(tokens: impl Iterator<Item = String>, decoder: Value) -> Tokenizer {
    let tokens = ["<s>", "<tool>"].map(String::from).into_iter().chain(tokens);
    let vocab: serde_json::Map<String, Value> =
        tokens.enumerate().map(|(id, token)| (token, id.into())).collect();
    let model = json!({"type": "BPE", "dropout": null, "unk_token": null,
        "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
        "byte_fallback": true, "vocab": vocab, "merges": []});
    file(model, decoder)
}

/// Every byte, and pieces of characters.
fn byte_level() -> Tokenizer {
    let trained = (0..50).map(|i| format!("né à 日本 \u{1F600} привет {i} ééé"));
    Tokenizer::train(trained, 560).unwrap()
}

/// Llama's: spaces as ▁, bytes where no character fits, the first space left out.
fn sentencepiece() -> Tokenizer {
    let bytes = (0..=255_u8).map(|byte| format!("<0x{byte:02X}>"));
    let words = ["▁", "▁a", "b", "▁▁", "é", "▁日", "\n", "▁▁x", "c▁", "<0xZZ>"].map(String::from);
    let decoder = json!({"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
    bpe(bytes.chain(words.clone()).chain(words.map(|word| word.repeat(2))), decoder)
}

fn metaspace() -> Tokenizer {
    let words = ["▁", "▁a", "b", "▁▁", "é", "▁日", "c▁", "."].map(String::from);
    let decoder = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always",
        "split": true});
    bpe(words.into_iter(), decoder)
}

/// CLIP's: a suffix where a word ends.
fn suffixed() -> Tokenizer {
    let words = ["a", "a</w>", "b", "bc</w>", "日</w>"].map(String::from);
    bpe(words.into_iter(), json!({"type": "BPEDecoder", "suffix": "</w>"}))
}

fn word_piece() -> Tokenizer {
    let words = ["[UNK]", "a", "##b", "##", "cd", "##é", ".", "'", "n't", "do not", "##,"];
    let vocab: serde_json::Map<String, Value> = ["<s>", "<tool>"]
        .into_iter()
        .chain(words)
        .enumerate()
        .map(|(i, w)| (w.into(), i.into()))
        .collect();
    let model = json!({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100, "vocab": vocab});
    file(model, json!({"type": "WordPiece", "prefix": "##", "cleanup": true}))
}

/// Words with spaces between.
fn plain() -> Tokenizer {
    bpe(["a", "b", "日"].map(String::from).into_iter(), Value::Null)
}

fn draw(n: u64) -> usize {
    let z = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 33) as usize
}

#[test]
fn pieces_make_the_whole_at_every_length() {
    for (name, tokenizer) in [
        ("byte level", byte_level()),
        ("sentencepiece", sentencepiece()),
        ("metaspace", metaspace()),
        ("suffixed", suffixed()),
        ("word piece", word_piece()),
        ("plain", plain()),
    ] {
        for seed in 0..400 {
            let n = 1 + draw(seed) % 24;
            // Ids that no token has, too.
            let reach = tokenizer.vocabulary() + 2;
            let ids: Vec<u32> =
                (0..n).map(|i| (draw(1000 + seed * 64 + i as u64) % reach) as u32).collect();
            let mut decoder = tokenizer.decoder();
            let mut text = String::new();
            for (i, id) in ids.iter().enumerate() {
                text += &decoder.push(*id).unwrap();
                let mut rest = tokenizer.decoder();
                let pieces = ids[..=i].iter().map(|id| rest.push(*id).unwrap()).collect::<String>();
                let whole = pieces.clone() + &rest.finish().unwrap();
                assert_eq!(whole, tokenizer.decode(&ids[..=i]).unwrap(), "{name} {:?}", &ids[..=i]);
                assert_eq!(pieces, text, "{name} {ids:?}");
            }
        }
    }
}

#[test]
fn a_character_waits_for_its_last_byte() {
    let tokenizer = byte_level();
    let ids = tokenizer.encode("\u{1F680}!").unwrap();
    assert!(ids.len() > 2);
    let mut decoder = tokenizer.decoder();
    let pieces: Vec<String> = ids.iter().map(|id| decoder.push(*id).unwrap()).collect();
    assert_eq!(pieces.concat(), "\u{1F680}!");
    assert!(pieces.iter().all(|piece| !piece.contains('\u{FFFD}')), "{pieces:?}");
}
