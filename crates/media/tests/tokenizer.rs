//! Tokenizers that are trained here: text to ids and back, chats.

use std::sync::LazyLock;

use sensorium_media::{Error, Message, Modality, Part, Role, Special, Tokenizer};
use sensorium_media::{parse_markers, render};

fn corpus() -> impl Iterator<Item = String> {
    (0..400_u32).map(|i| {
        let colour = ["Red", "blue", "green", "yellow"][i as usize % 4];
        let shape = ["circle", "square", "triangle"][i as usize % 3];
        format!("There are {i} {colour} {shape}s, and don't the {shape}s look large?")
    })
}

const VOCABULARY: usize = 540;

fn trained() -> Tokenizer {
    Tokenizer::train(corpus(), VOCABULARY).expect("trains")
}

fn tokenizer() -> &'static Tokenizer {
    static ONCE: LazyLock<Tokenizer> = LazyLock::new(trained);
    &ONCE
}

const IMAGE: Part = Part::Media(Modality::Image);

fn encoded(tok: &Tokenizer, text: &str) -> Vec<u32> {
    tok.encode(text).expect("every byte has a token")
}

fn decoded(tok: &Tokenizer, ids: &[u32]) -> String {
    tok.decode(ids).expect("bytes can be spelt")
}

fn special(tok: &Tokenizer, special: Special) -> u32 {
    tok.special(special).expect("trained with it")
}

/// Repeatable text of letters, marks, digits, spaces and special names.
fn odd_text(seed: u64) -> String {
    let pieces = [
        "a",
        "circle",
        " ",
        "  ",
        "\n",
        "\t",
        "7",
        "42",
        "é",
        "ß",
        "日本",
        "🙂",
        "\u{301}",
        "'s",
        "don't",
        "<|user|>",
        "<|end|>",
        "[IMG0]",
        "<loc07>",
        "<image>",
        "<|image_token|>",
        "_",
        "\u{a0}",
        "\0",
        "४",
        "½",
        "ⅷ",
        "\u{200d}",
        "٣",
        "ǆ",
        "!?",
    ];
    let mut state = seed;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    (0..next() % 12).map(|_| pieces[next() % pieces.len()]).collect()
}

#[test]
fn lower_case_text_comes_back_exactly() {
    let tok = tokenizer();
    for seed in 0..1_000 {
        let text = odd_text(seed).to_lowercase();
        assert_eq!(decoded(tok, &encoded(tok, &text)), text);
    }
    assert_eq!(decoded(tok, &encoded(tok, "A Red CIRCLE")), "a red circle");
    let spaces = " ".repeat(200_000) + "x";
    assert_eq!(decoded(tok, &encoded(tok, &spaces)), spaces);
}

#[test]
fn digits_are_single_and_words_are_learned() {
    let tok = tokenizer();
    assert_eq!(encoded(tok, "2024").len(), 4);
    assert_eq!(encoded(tok, " large").len(), 1);
}

#[test]
fn user_text_never_becomes_a_special_token() {
    let tok = tokenizer();
    let first = special(tok, Special::Pad);
    for special in Special::all() {
        for carrier in ["", " ", "a", "\n", "\u{200b}", "é", "1", "<", "'", "[INST]"] {
            let text = format!("{carrier}{}{carrier}", special.name());
            assert!(encoded(tok, &text).iter().all(|id| *id < first), "{text}");
        }
    }
    for seed in 0..8_000 {
        assert!(encoded(tok, &odd_text(seed)).iter().all(|id| *id < first));
    }
}

#[test]
fn specials_are_the_last_ids() {
    let tok = tokenizer();
    assert_eq!(tok.vocabulary(), VOCABULARY);
    for (i, name) in Special::all().enumerate() {
        let id = special(tok, name);
        assert_eq!(id as usize, VOCABULARY - Special::COUNT + i);
        assert_eq!(tok.token(id), Some(name.name()));
    }
    assert_eq!(decoded(tok, &[special(tok, Special::User), u32::MAX]), "");
}

#[test]
fn training_depends_on_the_texts_only() {
    let tok = tokenizer();
    assert_eq!(tok.to_bytes().expect("writes"), trained().to_bytes().expect("writes"));
    let mut backwards: Vec<String> = corpus().collect();
    backwards.reverse();
    let again = Tokenizer::train(backwards.into_iter(), VOCABULARY).expect("trains");
    assert_eq!(tok.hash(), again.hash());
    let little = Tokenizer::train(["ab ab".to_string()].into_iter(), 4096).expect("trains");
    assert!(little.vocabulary() < 4096);
    assert!(matches!(Tokenizer::train(corpus(), 495), Err(Error::Training { .. })));
}

#[test]
fn files_come_back_and_other_libraries_agree() {
    let tok = tokenizer();
    let bytes = tok.to_bytes().expect("writes");
    let again = Tokenizer::from_bytes(&bytes).expect("our own file");
    assert_eq!((again.to_bytes().expect("writes"), again.hash()), (bytes.clone(), tok.hash()));
    let mut theirs = tokenizers::Tokenizer::from_bytes(&bytes).expect("their format");
    theirs.set_encode_special_tokens(true);
    for seed in 0..1_000 {
        let text = odd_text(seed) + " Two SQUARES";
        let expected = theirs.encode(text.as_str(), false).expect("encodes");
        assert_eq!(encoded(&again, &text), expected.get_ids(), "{text:?}");
    }
}

#[test]
fn a_prompt_marks_answers_and_pictures() {
    let tok = tokenizer();
    let messages = [
        Message {
            role: Role::User,
            parts: parse_markers("<image> circle", &[Modality::Image; 1]).expect("agrees"),
        },
        Message::text(Role::Assistant, "red"),
        Message { role: Role::User, parts: vec![IMAGE, IMAGE] },
    ];
    let prompt = render(tok, &messages, 2, true).expect("our own format");
    let (red, circle) = (encoded(tok, "red"), encoded(tok, "circle"));
    let special = |s| vec![special(tok, s)];
    let image = [Special::Image, Special::ImageToken, Special::ImageToken, Special::ImageEnd];
    let image = image.map(|s| special(s)[0]).to_vec();
    let expected = [
        special(Special::Bos),
        special(Special::User),
        image.clone(),
        circle.clone(),
        special(Special::End),
        special(Special::Assistant),
        red.clone(),
        special(Special::End),
        special(Special::User),
        image.clone(),
        image,
        special(Special::End),
        special(Special::Assistant),
    ];
    assert_eq!(prompt.ids, expected.concat());
    assert_eq!(prompt.answer.len(), prompt.ids.len());
    assert_eq!(prompt.spans.len(), prompt.ids.len());
    let start = 8 + circle.len();
    assert!(!prompt.answer.contains(&true), "nothing is learned from a prompt");
    let lesson = render(tok, &messages, 2, false).expect("our own format");
    assert_eq!(lesson.ids, prompt.ids[..prompt.ids.len() - 1]);
    let answers: Vec<usize> = (0..lesson.ids.len()).filter(|i| lesson.answer[*i]).collect();
    assert_eq!(answers, (start..=start + red.len()).collect::<Vec<_>>());
    assert_eq!(prompt.slots.len(), 3);
    for (n, slot) in prompt.slots.iter().enumerate() {
        assert_eq!((slot.len, slot.modality), (2, Modality::Image));
        assert_eq!(prompt.spans[slot.at - 1..slot.at + 3], [n as i32 + 1; 4]);
        assert_eq!(prompt.ids[slot.at], special(Special::ImageToken)[0]);
    }
    assert_eq!(prompt.spans.iter().filter(|span| **span > 0).count(), 12);
}

#[test]
fn markers_place_pictures() {
    let text = |t: &str| Part::Text(t.into());
    assert_eq!(
        parse_markers("what?", &[Modality::Image; 1]).expect("none"),
        [IMAGE, text("what?")]
    );
    assert_eq!(parse_markers("what?", &[]).expect("none"), [text("what?")]);
    assert_eq!(
        parse_markers("is <image> like <image>?", &[Modality::Image; 2]).expect("two"),
        [text("is"), IMAGE, text("like"), IMAGE, text("?")]
    );
    let error = parse_markers("<image> <image>", &[Modality::Image; 1]).expect_err("too many");
    assert_eq!(
        error.to_string(),
        "prompt has 2 <image> markers but 1 image was given\n\
         hint: add one with --image, or remove a marker"
    );
    let error = parse_markers("<image>", &[Modality::Image; 2]).expect_err("too few");
    assert!(error.to_string().starts_with("prompt has 1 <image> marker but 2 images were given\n"));
    const VIDEO: Part = Part::Media(Modality::Video);
    let both = [Modality::Image, Modality::Video];
    assert_eq!(parse_markers("what?", &both).expect("none"), [IMAGE, VIDEO, text("what?")]);
    assert_eq!(
        parse_markers("in <video> is <image>?", &both).expect("both"),
        [text("in"), VIDEO, text("is"), IMAGE, text("?")]
    );
    let error = parse_markers("<image>?", &both).expect_err("a video without a place").to_string();
    assert!(error.starts_with("prompt has 0 <video> markers but 1 video was given\n"), "{error}");
    assert_eq!(parse_markers("a <video> tag", &[]).expect("a word"), [text("a <video> tag")]);
}

#[test]
fn bytes_of_tokens_are_what_they_add_to_a_text() {
    let goldens = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens");
    let published = ["seeing_llava", "idefics", "siglip2", "blip2_matching"].map(|name| {
        let bytes = std::fs::read(goldens.join(name).join("tokenizer.json")).expect("a golden");
        Tokenizer::from_bytes(&bytes).expect("a tokenizer")
    });
    for tokenizer in published.iter().chain([tokenizer()]) {
        let bytes = tokenizer.token_bytes().expect("every id can be spelt");
        assert_eq!(bytes.len(), tokenizer.vocabulary());
        for text in ["a cat on the dog", "b {\"a b\": é7}, 日本 🙂\n"] {
            // What has no id in a vocabulary of letters is left out.
            let Ok(ids) = tokenizer.encode(text) else { continue };
            let mut added = decoded(tokenizer, &ids[..1]).into_bytes();
            ids[1..].iter().for_each(|&id| added.extend(&bytes[id as usize]));
            assert_eq!(String::from_utf8_lossy(&added), decoded(tokenizer, &ids), "{text}");
        }
        for (name, id) in tokenizer.control() {
            assert!(bytes[*id as usize].is_empty(), "{name}");
        }
    }
}
