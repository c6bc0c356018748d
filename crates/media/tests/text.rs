//! Text to ids and back, chats, and what a tokenizer file may not hold.

use std::sync::LazyLock;

use sensorium_media::{Error, Message, Part, Role, Special, Tokenizer, parse_markers, render};

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
        assert_eq!(tok.decode(&tok.encode(&text)), text);
    }
    assert_eq!(tok.decode(&tok.encode("A Red CIRCLE")), "a red circle");
    let spaces = " ".repeat(200_000) + "x";
    assert_eq!(tok.decode(&tok.encode(&spaces)), spaces);
}

#[test]
fn digits_are_single_and_words_are_learned() {
    let tok = tokenizer();
    assert_eq!(tok.encode("2024").len(), 4);
    assert_eq!(tok.encode(" large").len(), 1);
}

#[test]
fn user_text_never_becomes_a_special_token() {
    let tok = tokenizer();
    let first = tok.special(Special::Pad);
    for special in Special::all() {
        for carrier in ["", " ", "a", "\n", "\u{200b}", "é", "1", "<", "'", "[INST]"] {
            let text = format!("{carrier}{}{carrier}", special.name());
            assert!(tok.encode(&text).iter().all(|id| *id < first), "{text}");
        }
    }
    for seed in 0..8_000 {
        assert!(tok.encode(&odd_text(seed)).iter().all(|id| *id < first));
    }
}

#[test]
fn specials_are_the_last_ids() {
    let tok = tokenizer();
    assert_eq!(tok.vocabulary(), VOCABULARY);
    for (i, special) in Special::all().enumerate() {
        let id = tok.special(special);
        assert_eq!(id as usize, VOCABULARY - Special::COUNT + i);
        assert_eq!(tok.as_special(id), Some(special));
    }
    assert_eq!(tok.as_special(0), None);
    assert_eq!(tok.as_special(u32::MAX), None);
    assert_eq!(tok.decode(&[tok.special(Special::User), u32::MAX]), "");
}

#[test]
fn training_depends_on_the_texts_only() {
    let tok = tokenizer();
    assert_eq!(tok.to_bytes(), trained().to_bytes());
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
    let bytes = tok.to_bytes();
    let again = Tokenizer::from_bytes(&bytes).expect("our own file");
    assert_eq!(again.to_bytes(), bytes);
    let mut theirs = tokenizers::Tokenizer::from_bytes(&bytes).expect("their format");
    theirs.set_encode_special_tokens(true);
    for seed in 0..1_000 {
        let text = odd_text(seed) + " Two SQUARES";
        let expected = theirs.encode(text.as_str(), false).expect("encodes");
        assert_eq!(again.encode(&text), expected.get_ids(), "{text:?}");
    }
}

#[test]
fn crafted_files_are_refused() {
    let tok = tokenizer();
    let json: serde_json::Value = serde_json::from_slice(&tok.to_bytes()).expect("JSON");
    let refused = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut json = json.clone();
        change(&mut json);
        let error = Tokenizer::from_bytes(json.to_string().as_bytes()).expect_err("refused");
        assert!(matches!(error, Error::Tokenizer { .. }), "{error}");
        assert!(error.to_string().contains("\nhint: "), "{error}");
        error.to_string()
    };
    assert!(refused(&|j| j["model"]["merges"][0] = ["zz", "top"].into()).contains("merges"));
    assert!(
        refused(&|j| j["model"]["continuing_subword_prefix"] = "##########".into())
            .contains("model")
    );
    assert!(refused(&|j| j["model"]["vocab"]["a"] = 16_777_216.into()).contains("vocab"));
    assert!(refused(&|j| j["model"]["vocab"]["a"] = 0.into()).contains("vocab"));
    assert!(refused(&|j| j["model"]["vocab"]["日"] = 300.into()).contains("added_tokens"));
    assert!(refused(&|j| j["model"]["type"] = "Unigram".into()).contains("Unigram"));
    assert!(refused(&|j| j["added_tokens"][3]["content"] = "the".into()).contains("<|system|>"));
    assert!(refused(&|j| j["added_tokens"][3]["special"] = false.into()).contains("added_tokens"));
    assert!(refused(&|j| j["normalizer"] = serde_json::Value::Null).contains("normalizer"));
    assert!(refused(&|j| j["added_tokens"] = serde_json::json!([])).contains("240"));
    assert!(Tokenizer::from_bytes(&vec![b' '; (16 << 20) + 1]).is_err());
    assert!(Tokenizer::from_bytes(&vec![b'['; 1 << 20]).is_err());
}

#[test]
fn a_prompt_marks_answers_and_pictures() {
    let tok = tokenizer();
    let messages = [
        Message { role: Role::User, parts: parse_markers("<image> circle", 1).expect("agrees") },
        Message::text(Role::Assistant, "red"),
        Message { role: Role::User, parts: vec![Part::Image, Part::Image] },
    ];
    let prompt = render(tok, &messages, 2, true);
    let red = tok.encode("red");
    let circle = tok.encode("circle");
    let special = |s| vec![tok.special(s)];
    let image = [Special::Image, Special::ImageToken, Special::ImageToken, Special::ImageEnd];
    let image = image.map(|s| tok.special(s)).to_vec();
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
    let answers: Vec<usize> = (0..prompt.ids.len()).filter(|i| prompt.answer[*i]).collect();
    assert_eq!(answers, (start..=start + red.len()).collect::<Vec<_>>());
    assert_eq!(prompt.images.len(), 3);
    for (n, first) in prompt.images.iter().enumerate() {
        assert_eq!(prompt.spans[first - 1..first + 3], [n as i32 + 1; 4]);
        assert_eq!(prompt.ids[*first], tok.special(Special::ImageToken));
    }
    assert_eq!(prompt.spans.iter().filter(|span| **span > 0).count(), 12);
}

#[test]
fn markers_place_pictures() {
    let text = |t: &str| Part::Text(t.into());
    assert_eq!(parse_markers("what?", 1).expect("none"), [Part::Image, text("what?")]);
    assert_eq!(parse_markers("what?", 0).expect("none"), [text("what?")]);
    assert_eq!(
        parse_markers("is <image> like <image>?", 2).expect("two"),
        [text("is"), Part::Image, text("like"), Part::Image, text("?")]
    );
    let error = parse_markers("<image> <image>", 1).expect_err("too many");
    assert_eq!(
        error.to_string(),
        "prompt has 2 <image> markers but 1 image was given\n\
         hint: add an image with --image, or remove a marker"
    );
    let error = parse_markers("<image>", 2).expect_err("too few");
    assert!(error.to_string().starts_with("prompt has 1 <image> marker but 2 images were given\n"));
}
