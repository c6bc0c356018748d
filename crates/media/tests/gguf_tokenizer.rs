//! A published vocabulary encodes as the tokenizer it was published with, and a crafted one is an error.

use sensorium_media::{Error, Pieces, Published, Tokenizer};

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
        Published {
            pre,
            tokens: &self.tokens,
            merges: &self.merges,
            kinds: Some(&self.kinds),
            pieces: None,
        }
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

const PRE_TOKENISERS: [&str; 33] = [
    "default",
    "gpt-2",
    "smollm",
    "starcoder",
    "refact",
    "command-r",
    "falcon",
    "llama-bpe",
    "llama-v3",
    "llama3",
    "smaug-bpe",
    "dbrx",
    "chatglm-bpe",
    "tekken",
    "gpt-4o",
    "tiny_aya",
    "qwen2",
    "qwen35",
    "deepseek-r1-qwen",
    "deepseek-llm",
    "deepseek-coder",
    "deepseek-v3",
    "bloom",
    "viking",
    "bailingmoe",
    "seed-coder",
    "superbpe",
    "minicpm5",
    "chameleon",
    "exaone-moe",
    "laguna",
    "ufakzeka",
    "kimi-k2",
];

#[test]
fn every_pre_tokeniser_gives_the_text_back() {
    let lists = lists();
    for pre in PRE_TOKENISERS {
        assert_eq!(lists.published(pre).guessed(), None, "{pre}");
        let bpe = lists.bpe(pre);
        for text in TEXTS {
            // Qwen2's composes characters first.
            let want = if pre.starts_with("qwen") {
                text.replace("e\u{301}", "é")
            } else {
                text.to_owned()
            };
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
        let published = Published { pre, tokens: &tokens, merges: &merges, ..Published::default() };
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
    case("tokenizer.ggml.merges", "make a third", &|l| l.merges.push("<|end |>".into()));
    case("tokenizer.ggml.merges", "a space between", &|l| l.merges.push("ab".into()));
    case("tokenizer.ggml.merges", "a space between", &|l| l.merges.push(String::new()));
    case("tokenizer.ggml.tokens", "each token once", &|l| l.tokens[3] = l.tokens[4].clone());
    case("tokenizer.ggml.token_type", "one for each", &|l| l.kinds.truncate(3));
    case("tokenizer.ggml.tokens", "1 to 1048576", &|l| {
        (l.tokens, l.kinds, l.merges) = (vec![], vec![], vec![]);
    });
}

#[test]
fn a_pre_tokeniser_that_is_not_known_is_guessed() {
    let mut lists = lists();
    assert_eq!(lists.published("nobody's\n").guessed(), Some("default"));
    lists.tokens[3] = "<|begin_of_text|>".into();
    let published = lists.published("");
    assert_eq!((published.guessed(), published.opens()), (Some("llama-bpe"), true));
}

#[test]
fn what_a_model_has_no_use_for_is_no_error() {
    let mut lists = lists();
    let plain = lists.bpe("smollm");
    let n = lists.tokens.len() as u32;
    // Empty tokens, kinds of other tokenizers, and merges into what is no text.
    lists.tokens.extend(["", "", "tw", "ice"].map(str::to_owned));
    lists.kinds.extend([1, 3, 3, 6]);
    lists.merges.extend(["t w", "i ce"].map(str::to_owned));
    lists.tokens.push("ce".into());
    lists.kinds.push(4);
    let bpe = lists.bpe("smollm");
    assert_eq!(bpe.vocabulary(), plain.vocabulary() + 5);
    assert_eq!(decoded(&bpe, &[n, n + 1]), "");
    let ids = encoded(&bpe, "twice");
    assert!(ids.contains(&(n + 4)) && !ids.contains(&(n + 2)), "{ids:?}");
    assert_eq!(decoded(&bpe, &ids), "twice");

    // More user-defined tokens than any model has.
    lists.tokens.extend((0..5000).map(|i| format!("<extra_{i}>")));
    lists.kinds.resize(lists.tokens.len(), 4);
    let bpe = lists.bpe("smollm");
    assert_eq!(encoded(&bpe, "<extra_4999>"), [n + 5 + 4999]);
}

/// Pieces with their scores and kinds, as Llama 2 has them.
fn sentencepiece(space_prefix: bool) -> Tokenizer {
    let mut all: Vec<(String, f32, i32)> = [("<unk>", 2), ("<s>", 3), ("</s>", 3)]
        .map(|(token, kind)| (token.to_owned(), 0.0, kind))
        .to_vec();
    all.extend((0..=255).map(|byte| (format!("<0x{byte:02X}>"), 0.0, 6)));
    let pieces = [
        "\u{2581}a",
        "bc",
        "ab",
        "\u{2581}abc",
        "abc",
        "\u{2581}\u{2581}",
        "\u{2581}",
        "a",
        "b",
        "c",
        "é",
    ];
    all.extend(pieces.iter().zip(0..).map(|(piece, rank)| ((*piece).to_owned(), -rank as f32, 1)));
    all.push(("<mark>".into(), 0.0, 4));
    let tokens: Vec<String> = all.iter().map(|(token, ..)| token.clone()).collect();
    let scores: Vec<f32> = all.iter().map(|(_, score, _)| *score).collect();
    let kinds: Vec<i32> = all.iter().map(|(.., kind)| *kind).collect();
    let pieces = Some(Pieces { scores: &scores, space_prefix });
    let published =
        Published { tokens: &tokens, kinds: Some(&kinds), pieces, ..Published::default() };
    assert_eq!((published.guessed(), published.opens()), (None, true));
    Tokenizer::from_gguf(&published).expect("sound")
}

#[test]
fn pieces_are_merged_by_their_scores() {
    let with = sentencepiece(true);
    let spelt = |tokenizer: &Tokenizer, text: &str| -> Vec<String> {
        let ids = encoded(tokenizer, text);
        assert_eq!(decoded(tokenizer, &ids), text);
        ids.iter().map(|id| tokenizer.token(*id).expect("a token")).collect()
    };
    // The best pair first, not the leftmost: "\u{2581}a" and "bc", not "ab".
    assert_eq!(spelt(&with, "abc"), ["\u{2581}abc"]);
    assert_eq!(spelt(&with, "ab a"), ["\u{2581}a", "b", "\u{2581}a"]);
    assert_eq!(spelt(&with, "b  c"), ["\u{2581}", "b", "\u{2581}\u{2581}", "c"]);
    // Bytes of what no piece spells.
    assert_eq!(spelt(&with, "cé\n\u{20ac}").len(), 3 + 1 + 3);
    // Control tokens are letters in a text; user-defined ones are found, and a new text begins.
    assert!(!spelt(&with, "a</s>").contains(&"</s>".to_owned()));
    assert_eq!(spelt(&with, "a<mark>").last().map(String::as_str), Some("<mark>"));
    let without = sentencepiece(false);
    assert_eq!(spelt(&without, "ab a"), ["ab", "\u{2581}a"]);
    assert_eq!(spelt(&without, " a"), ["\u{2581}a"]);
    assert!(encoded(&with, "").is_empty());
}

#[test]
fn a_vocabulary_without_all_bytes_leaves_them_out() {
    let tokens = ["a", "b", "ab"].map(str::to_owned);
    let merges = ["a b".to_owned()];
    let published =
        Published { pre: "gpt-2", tokens: &tokens, merges: &merges, ..Published::default() };
    let bpe = Tokenizer::from_gguf(&published).expect("sound");
    assert_eq!(encoded(&bpe, "abcab a"), [2, 2, 0]);
}

#[test]
fn a_control_token_that_letters_would_make_is_not_made() {
    // Found whole by Llama 3's tokenizer, or as the byte that every word begins with.
    let tokens = ["a", "b", "ab", "stop", "s"].map(str::to_owned);
    let kinds = [1, 1, 1, 3, 3];
    let published = Published {
        pre: "llama-bpe",
        tokens: &tokens,
        kinds: Some(&kinds),
        ..Published::default()
    };
    let tokenizer = Tokenizer::from_gguf(&published).expect("sound");
    assert_eq!(encoded(&tokenizer, "ab"), [2]);
    assert!(encoded(&tokenizer, "stop").is_empty());
    assert_eq!(tokenizer.encode_rendered("stop").expect("a token"), [3]);
}
