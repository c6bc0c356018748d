//! A byte-level BPE between the two spellings in which it is published: `tokenizer.json` and the
//! metadata of a GGUF file.
//!
//! ```text
//! tokenizer.json ──from_json──▶ Vocabulary { pre, tokens, merges, kinds } ──to_json──▶ tokenizer.json
//! ```
//! A file that prepares texts in a way that GGUF has no name for is refused, and one that is made is
//! tried on a text of every kind beside the one that it is made from.

use serde_json::Value;
use tokenizers::PostProcessorWrapper;

use super::files::template;
use super::gguf::{CONTROL, NORMAL, UNUSED, USER_DEFINED};
use super::steps::Steps;
use super::{Published, Tokenizer, byte_chars, wrong};
use crate::Result;
use crate::error::quote;

/// Letters of several alphabets, digits, marks, spaces, line ends, contractions.
const SAMPLE: &str = "Hello  world, it's 1234567.89\u{20ac}! I'LL say\tso\n\n  \r\n x_y = {'a': [0]}; \
    Stra\u{df}e na\u{ef}ve e\u{301}t\u{e9} \u{41f}\u{440}\u{438}\u{432}\u{435}\u{442} \u{3b1}\u{3b2} \u{4f60}\u{597d}\u{ff0c}\u{3053}\u{3093} \u{1f600}\u{1f44d}\u{1f3fd} \
    \u{e44}\u{e17}\u{e22} \u{661}\u{662}\u{663} \u{bd} https://a.b/c?d=e#f ...---=== \n";

/// A tokenizer as GGUF spells it; [`Published`] borrows one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    /// Name of the pre-tokeniser.
    pub pre: &'static str,
    /// Tokens by id.
    pub tokens: Vec<String>,
    /// `left right`, best first.
    pub merges: Vec<String>,
    /// What each token is: 1 normal, 3 control, 4 user-defined, 5 unused.
    pub kinds: Vec<i32>,
}

impl Vocabulary {
    /// That of a `tokenizer.json`, for a model with `rows` rows in its token table. Rows that no token
    /// has are called `[PAD7]` and unused, as converters do.
    ///
    /// # Errors
    /// [`crate::Error::Tokenizer`] if it is damaged, no byte-level BPE, prepares texts in a way that GGUF has
    /// no name for, or has more tokens than the table has rows.
    pub fn from_json(bytes: &[u8], rows: usize) -> Result<Self> {
        let tokenizer = Tokenizer::from_bytes(bytes)?;
        let json: Value = serde_json::from_slice(bytes)
            .map_err(|error| wrong("file", "JSON", quote(&error.to_string())))?;
        if tokenizer.vocabulary() > rows {
            let expected = format!("at most {rows} tokens, the vocab_size of the model");
            return Err(wrong("model", expected, tokenizer.vocabulary()));
        }
        check_model(&json["model"], &tokenizer)?;
        check_added(&json["added_tokens"])?;
        let pre = pre(&json)?;
        let (mut tokens, mut kinds) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        let added = tokenizer.inner.get_added_vocabulary().get_added_tokens_decoder();
        for id in 0..rows as u32 {
            let token = tokenizer.token(id);
            kinds.push(match (&token, added.get(&id)) {
                (None, _) => UNUSED,
                (_, Some(added)) if added.special => CONTROL,
                (_, Some(_)) => USER_DEFINED,
                (_, None) => NORMAL,
            });
            tokens.push(token.unwrap_or_else(|| format!("[PAD{id}]")));
        }
        let merges = merges(&json["model"]["merges"])?;
        let vocabulary = Self { pre, tokens, merges, kinds };
        vocabulary.check(&tokenizer)?;
        Ok(vocabulary)
    }

    /// As a GGUF file carries it.
    pub fn published(&self) -> Published<'_> {
        let Self { pre, tokens, merges, kinds } = self;
        Published { pre, tokens, merges, kinds: Some(kinds), pieces: None }
    }

    /// That it says of every kind of text what `published` says.
    fn check(&self, published: &Tokenizer) -> Result<()> {
        let ours = Tokenizer::from_gguf(&self.published())?;
        let added = self.tokens.iter().zip(&self.kinds).filter(|(_, kind)| **kind == USER_DEFINED);
        let added = added.map(|(token, _)| format!("a{token} b")).collect::<String>();
        for text in [SAMPLE, &added] {
            let (got, want) = (ours.encode(text)?, published.encode(text)?);
            if got != want {
                let at = got.iter().zip(&want).take_while(|(a, b)| a == b).count();
                let token = want.get(at).and_then(|id| published.token(*id)).unwrap_or_default();
                let expected = format!("a file that cuts texts as {} does", self.pre);
                let got = format!("one that makes {} at token {at} of a sample", quote(&token));
                return Err(wrong("pre_tokenizer", expected, got));
            }
        }
        Ok(())
    }
}

impl Published<'_> {
    /// The `tokenizer.json` of this vocabulary, which puts `opening` before texts.
    ///
    /// # Errors
    /// [`Error::Vocabulary`](crate::Error::Vocabulary) as [`Tokenizer::from_gguf`].
    pub fn to_json(&self, opening: Option<u32>) -> Result<Vec<u8>> {
        let mut tokenizer = Tokenizer::from_gguf(self)?;
        let post = opening.and_then(|id| self.opened(id));
        tokenizer.inner.with_post_processor(post);
        tokenizer.to_bytes()
    }

    fn opened(&self, id: u32) -> Option<PostProcessorWrapper> {
        let token = self.tokens.get(id as usize)?;
        Some(template(&[(token.clone(), id)], &[]))
    }
}

/// GGUF's name of what a file does before its merges.
fn pre(json: &Value) -> Result<&'static str> {
    let flat = |value: &Value, inner: &str| {
        let list = value.get(inner).and_then(Value::as_array).cloned();
        list.unwrap_or_else(|| Vec::from_iter((!value.is_null()).then(|| value.clone())))
    };
    // Offsets into the text are of no matter here.
    let plain = |mut step: Value| {
        if step["type"] == "ByteLevel" {
            step["trim_offsets"] = true.into();
        }
        step
    };
    let mut normalizers = flat(&json["normalizer"], "normalizers");
    let got = Steps {
        normalizer: if normalizers.len() > 1 {
            normalizers.into()
        } else {
            normalizers.pop().unwrap_or_default()
        },
        pre_tokenizers: flat(&json["pre_tokenizer"], "pretokenizers")
            .into_iter()
            .map(plain)
            .collect(),
        ignore_merges: json["model"]["ignore_merges"] == true,
    };
    let is = |name: &&str| Steps::named(name).is_some_and(|steps| steps == got);
    Steps::WRITTEN.into_iter().find(is).ok_or_else(|| {
        let known = Steps::WRITTEN.join(", ");
        let (normalizer, pre) = (&json["normalizer"], &json["pre_tokenizer"]);
        let got = format!("normalizer {normalizer}, pre_tokenizer {pre}");
        let got: String = got.chars().take(300).collect();
        wrong("pre_tokenizer", format!("the steps of one of {known}"), got)
    })
}

fn check_model(model: &Value, tokenizer: &Tokenizer) -> Result<()> {
    if model["type"] != "BPE" {
        return Err(wrong("model.type", "\"BPE\"", quote(&model["type"].to_string())));
    }
    let empty = |key: &str| model[key].as_str().unwrap_or_default().is_empty();
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if !empty(key) {
            return Err(wrong("model", format!("no {key}"), quote(&model[key].to_string())));
        }
    }
    for key in ["dropout", "byte_fallback"] {
        if !matches!(&model[key], Value::Null | Value::Bool(false)) {
            let expected = format!("a byte-level BPE without {key}");
            return Err(wrong("model", expected, quote(&model[key].to_string())));
        }
    }
    // With a token for every byte nothing is unknown.
    let missing = byte_chars().find(|byte| tokenizer.id(&byte.to_string()).is_none());
    match missing {
        Some(byte) if !model["unk_token"].is_null() => {
            Err(wrong("model.vocab", "a token for every byte", format!("none for {byte:?}")))
        }
        _ => Ok(()),
    }
}

/// Added tokens that take spaces or words into account have no place in a GGUF file.
fn check_added(added: &Value) -> Result<()> {
    for token in added.as_array().into_iter().flatten() {
        for key in ["single_word", "lstrip", "rstrip"] {
            if token[key] == true {
                let got = format!("{} with it", quote(&token["content"].to_string()));
                return Err(wrong("added_tokens", format!("tokens without {key}"), got));
            }
        }
    }
    Ok(())
}

/// Pairs, or lines of older files.
fn merges(merges: &Value) -> Result<Vec<String>> {
    let line = |merge: &Value| match merge {
        Value::String(line) => Some(line.clone()),
        Value::Array(pair) => {
            Some(format!("{} {}", pair.first()?.as_str()?, pair.get(1)?.as_str()?))
        }
        _ => None,
    };
    let lines: Option<Vec<String>> = merges.as_array().into_iter().flatten().map(line).collect();
    lines.ok_or_else(|| wrong("model.merges", "pairs of tokens", "something else"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What is done to a JSON file.
    type Change<'a> = &'a dyn Fn(&mut Value);

    /// Every byte, four merges, a control token inside the vocabulary and two behind it.
    fn vocabulary(pre: &'static str) -> Vocabulary {
        let mut tokens: Vec<String> = vec!["<|end|>".into()];
        tokens.extend(byte_chars().map(String::from));
        tokens.extend(
            ["he", "ll", "hell", "hello", "\u{120}hello", "<think>", "<|start|>"].map(String::from),
        );
        let merges = ["h e", "l l", "he ll", "hell o"].map(String::from).to_vec();
        let mut kinds = vec![NORMAL; tokens.len()];
        let n = tokens.len();
        (kinds[0], kinds[n - 2], kinds[n - 1]) = (CONTROL, USER_DEFINED, CONTROL);
        Vocabulary { pre, tokens, merges, kinds }
    }

    #[test]
    fn json_and_back_is_the_same() {
        for pre in Steps::WRITTEN {
            let mut all = vocabulary(pre);
            if pre == "llama-bpe" || pre == "llama3" {
                // Whole words are found without a merge.
                all.pre = "llama-bpe";
            }
            let json = all.published().to_json(Some(0)).unwrap();
            let read = Tokenizer::from_bytes(&json).unwrap();
            assert_eq!(read.encode_within("", true, 9).unwrap(), [0], "{pre}");
            let rows = all.tokens.len();
            assert_eq!(Vocabulary::from_json(&json, rows).unwrap(), all, "{pre}");
            // Rows beyond the tokens are unused.
            all.tokens.push(format!("[PAD{rows}]"));
            all.kinds.push(UNUSED);
            assert_eq!(Vocabulary::from_json(&json, rows + 1).unwrap(), all, "{pre}");
            assert_eq!(
                Vocabulary::from_json(&all.published().to_json(None).unwrap(), rows + 1).unwrap(),
                all
            );
            let error = Vocabulary::from_json(&json, rows - 1).unwrap_err().to_string();
            assert!(error.contains("vocab_size"), "{error}");
        }
    }

    #[test]
    fn what_has_no_name_is_refused() {
        let json = vocabulary("qwen2").published().to_json(None).unwrap();
        let changed = |change: Change<'_>| {
            let mut value: Value = serde_json::from_slice(&json).unwrap();
            change(&mut value);
            let bytes = serde_json::to_vec(&value).unwrap();
            Vocabulary::from_json(&bytes, 300)
        };
        assert!(changed(&|_| ()).is_ok());
        // A single step is as good as a sequence of one.
        assert!(
            changed(&|v| v["normalizer"] =
                json!({"type": "Sequence", "normalizers": [{"type": "NFC"}]}))
            .is_ok()
        );
        let cases: [(&str, Change<'_>); 6] = [
            ("pre_tokenizer", &|v| v["normalizer"] = Value::Null),
            ("pre_tokenizer", &|v| v["pre_tokenizer"] = json!({"type": "Whitespace"})),
            ("pre_tokenizer", &|v| v["model"]["ignore_merges"] = true.into()),
            ("byte_fallback", &|v| v["model"]["byte_fallback"] = true.into()),
            ("lstrip", &|v| v["added_tokens"][0]["lstrip"] = true.into()),
            ("model", &|v| {
                v["model"] = json!({"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"})
            }),
        ];
        for (i, (place, change)) in cases.into_iter().enumerate() {
            let error = changed(change).unwrap_err().to_string();
            assert!(error.contains(place) && error.contains("hint: "), "{i}: {error}");
        }
    }
}
