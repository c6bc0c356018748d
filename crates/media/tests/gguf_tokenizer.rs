//! A published vocabulary encodes as the tokenizer it was published with, and a crafted one is an error.

use sensorium_media::{Error, Published, Tokenizer};

/// A tokenizer trained here, as the lists that another format carries it in.
struct Lists {
    json: Vec<u8>,
    tokens: Vec<String>,
    merges: Vec<String>,
    kinds: Vec<i32>,
}

fn lists() -> Lists {
    let corpus = (0..500_u32).map(|i| {
        let word = ["circle", "square", "triangle", "don't", "they'll"][i as usize % 5];
        format!(
            "there are {i} {word}s; the {word} isn't\n\n  over 1{i} things, they've been! {word}?"
        )
    });
    let trained = Tokenizer::train(corpus, 700).expect("trains");
    let json = trained.to_bytes().expect("writes");
    let document: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    let model = &document["model"];
    let vocab = model["vocab"].as_object().expect("a vocabulary");
    let specials = document["added_tokens"].as_array().expect("added tokens");
    let mut tokens: Vec<(u64, String, i32)> =
        vocab.iter().map(|(token, id)| (id.as_u64().expect("an id"), token.clone(), 1)).collect();
    tokens.extend(specials.iter().map(|added| {
        let name = added["content"].as_str().expect("a name").to_owned();
        (added["id"].as_u64().expect("an id"), name, 3)
    }));
    tokens.sort();
    let merges = model["merges"].as_array().expect("merges").iter().map(|pair| {
        format!("{} {}", pair[0].as_str().expect("text"), pair[1].as_str().expect("text"))
    });
    Lists {
        json,
        merges: merges.collect(),
        kinds: tokens.iter().map(|(_, _, kind)| *kind).collect(),
        tokens: tokens.into_iter().map(|(_, token, _)| token).collect(),
    }
}

impl Lists {
    fn published<'a>(&'a self, pre: &'a str) -> Published<'a> {
        Published { pre, tokens: &self.tokens, merges: &self.merges, kinds: Some(&self.kinds) }
    }

    fn bpe(&self, pre: &str) -> Tokenizer {
        Tokenizer::from_gguf(&self.published(pre)).expect("a sound vocabulary")
    }
}

fn encoded(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text).expect("unknown bytes are left out")
}

fn decoded(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    tokenizer.decode(ids).expect("bytes can be spelt")
}

const TEXTS: [&str; 14] = [
    "",
    "there are 12 circles",
    "the square isn't a triangle, don't they'll",
    "  two  spaces   and\ttabs\n\n\nlines \r\n end ",
    "3.14159 x 2024 = 6,367",
    "Upper CASE Letters Don'T WE'LL",
    "日本語 and ελληνικά, naïve café e\u{301}",
    "🙂🎉 emoji \u{200d} joined",
    "<|end|> <|user|>hello<|image|>",
    "\0\u{1}\u{7f} control",
    "a_b-c/d\\e @f #g $h %i ^j &k *l (m) [n] {o}",
    "½ ⅷ ٣ ४ 42nd 1st",
    "!?!?...---===",
    "word\u{a0}nbsp\u{3000}wide",
];

#[test]
fn smollm_is_the_tokenizer_json_it_came_from() {
    let lists = lists();
    let ours = Tokenizer::from_bytes(&lists.json).expect("ours");
    let theirs = tokenizers::Tokenizer::from_bytes(&lists.json).expect("theirs");
    let bpe = lists.bpe("smollm");
    assert_eq!(bpe.vocabulary(), ours.vocabulary());
    for text in TEXTS.map(str::to_lowercase) {
        let ids = encoded(&bpe, &text);
        assert_eq!(ids, encoded(&ours, &text), "{text:?}");
        assert_eq!(decoded(&bpe, &ids), text);
        // The library takes the names of special tokens for the tokens.
        if !text.contains("<|") {
            assert_eq!(theirs.encode(text.as_str(), false).expect("encodes").get_ids(), ids);
        }
    }
}

#[test]
fn every_pre_tokeniser_gives_the_text_back() {
    let lists = lists();
    for pre in ["gpt-2", "smollm", "llama-bpe", "llama3", "qwen2"] {
        let bpe = lists.bpe(pre);
        for text in TEXTS {
            // Qwen2's composes characters first.
            let want =
                if pre == "qwen2" { text.replace("e\u{301}", "é") } else { text.to_owned() };
            assert_eq!(decoded(&bpe, &encoded(&bpe, text)), want, "{pre}");
        }
        let spaces = " ".repeat(100_000) + "x";
        assert_eq!(decoded(&bpe, &encoded(&bpe, &spaces)), spaces, "{pre}");
    }
}

#[test]
fn texts_are_cut_where_each_model_cuts_them() {
    // Merges only within words: how many tokens a run of one mark becomes shows where it is cut.
    let mut tokens: Vec<String> =
        ["1", "2", "11", "111", "22", "'", "T", "'T", "a", "Ġ", "ĊĊ", "Ċ"]
            .map(str::to_owned)
            .to_vec();
    tokens.push("Ġa".into());
    let merges = ["1 1", "11 1", "2 2", "' T", "Ċ Ċ", "Ġ a"].map(str::to_owned);
    let count = |pre: &str, text: &str| {
        let published = Published { pre, tokens: &tokens, merges: &merges, kinds: None };
        Tokenizer::from_gguf(&published).expect("sound").encode(text).expect("bytes").len()
    };
    let rows = [
        ("gpt-2", [2, 3, 3]),
        ("smollm", [4, 3, 3]),
        ("qwen2", [4, 2, 2]),
        ("llama-bpe", [2, 2, 2]),
    ];
    for (pre, [digits, contraction, lines]) in rows {
        assert_eq!(count(pre, "1111"), digits, "{pre}");
        assert_eq!(count(pre, "a'T"), contraction, "{pre}");
        assert_eq!(count(pre, "\n\na"), lines, "{pre}");
        assert_eq!(count(pre, "a a"), 2, "{pre}");
    }
}

#[test]
fn control_tokens_come_by_name_only_and_user_defined_ones_from_text() {
    let mut lists = lists();
    let control = lists.tokens.iter().position(|token| token == "<|end|>").expect("there");
    let bpe = lists.bpe("smollm");
    assert_eq!(bpe.id("<|end|>"), Some(control as u32));
    assert_eq!(bpe.id("no such token"), None);
    assert!(!encoded(&bpe, "a<|end|>b").contains(&(control as u32)));
    assert_eq!(decoded(&bpe, &[control as u32, u32::MAX]), "");
    lists.tokens.extend(["<think>", "<think>er"].map(str::to_owned));
    lists.kinds.extend([4, 4]);
    let bpe = lists.bpe("smollm");
    let ids = encoded(&bpe, "a<think>b<think>er<think>");
    let last = lists.tokens.len() as u32;
    let special: Vec<u32> = ids.iter().copied().filter(|id| *id >= last - 2).collect();
    assert_eq!(special, [last - 2, last - 1, last - 2]);
    assert_eq!(decoded(&bpe, &ids), "a<think>b<think>er<think>");
}

#[test]
fn crafted_vocabularies_are_errors_that_name_the_field() {
    let good = lists();
    let case = |field: &str, words: &str, change: &dyn Fn(&mut Lists)| {
        let mut lists = lists();
        change(&mut lists);
        let error = Tokenizer::from_gguf(&lists.published("smollm")).expect_err(words);
        assert!(matches!(error, Error::Vocabulary { .. }));
        let text = error.to_string();
        assert!(
            text.starts_with(field) && text.contains(words) && text.contains("hint:"),
            "{text}"
        );
    };
    let longest = good.tokens.iter().max_by_key(|token| token.len()).expect("some").clone();
    // This one makes the library write past its buffer.
    case("tokenizer.ggml.merges", "make a third", &|l| {
        l.merges.push(format!("{longest} {longest}"))
    });
    case("tokenizer.ggml.merges", "make a third", &|l| l.merges.push("a nothing".into()));
    case("tokenizer.ggml.merges", "make a third", &|l| l.merges.push("<|end| >".into()));
    case("tokenizer.ggml.merges", "a space between", &|l| l.merges.push("ab".into()));
    case("tokenizer.ggml.merges", "a space between", &|l| l.merges.push(String::new()));
    case("tokenizer.ggml.tokens", "each token once", &|l| l.tokens[3] = l.tokens[4].clone());
    case("tokenizer.ggml.tokens", "at least a byte", &|l| l.tokens[3] = String::new());
    case("tokenizer.ggml.token_type", "one for each", &|l| l.kinds.truncate(3));
    case("tokenizer.ggml.token_type", "1 to 5", &|l| l.kinds[3] = 6);
    case("tokenizer.ggml.tokens", "1 to 1048576", &|l| {
        (l.tokens, l.kinds, l.merges) = (vec![], vec![], vec![]);
    });
    let text =
        Tokenizer::from_gguf(&good.published("deepseek\n")).expect_err("unknown").to_string();
    assert!(text.starts_with("tokenizer.ggml.pre: expected one of gpt-2, smollm, qwen2"), "{text}");
}

#[test]
fn a_vocabulary_without_all_bytes_leaves_them_out() {
    let tokens = ["a", "b", "ab"].map(str::to_owned);
    let merges = ["a b".to_owned()];
    let published = Published { pre: "gpt-2", tokens: &tokens, merges: &merges, kinds: None };
    let bpe = Tokenizer::from_gguf(&published).expect("sound");
    assert_eq!(encoded(&bpe, "abcab a"), [2, 2, 0]);
}

#[test]
fn a_control_token_that_letters_would_make_is_not_made() {
    // Found whole by Llama 3's tokenizer, or as the byte that every word begins with.
    let tokens = ["a", "b", "ab", "stop", "s"].map(str::to_owned);
    let kinds = [1, 1, 1, 3, 3];
    let published =
        Published { pre: "llama-bpe", tokens: &tokens, merges: &[], kinds: Some(&kinds) };
    let tokenizer = Tokenizer::from_gguf(&published).expect("sound");
    assert_eq!(encoded(&tokenizer, "ab"), [2]);
    assert!(encoded(&tokenizer, "stop").is_empty());
    assert_eq!(tokenizer.encode_rendered("stop").expect("a token"), [3]);
}
