//! Published tokenizers: byte-level byte-pair encodings with the vocabulary of somebody else's model.
//!
//! Radford et al. 2019 (GPT-2). What differs between models is where a text may be cut before merging.
//!
//! ```text
//! text ──user-defined tokens cut out──▶ pieces ──pre-tokeniser──▶ words ──bytes──▶ merges ──▶ ids
//! control tokens: never made from text, only asked for by name
//! ```

use std::collections::HashMap;
use std::sync::LazyLock;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    Model, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer, SplitDelimiterBehavior,
};

use crate::tokenizer_json::{byte_chars, quote};
use crate::{Error, Result};

/// Most tokens; published vocabularies have up to 262,144.
const MAX_TOKENS: usize = 1 << 20;
/// Most user-defined tokens, each of which is sought in every text.
const MAX_USER_DEFINED: usize = 4096;

/// What a file says about a tokenizer, as GGUF spells it (`tokenizer.ggml.*`).
#[derive(Clone, Copy, Debug)]
pub struct Published<'a> {
    /// Name of the pre-tokeniser.
    pub pre: &'a str,
    /// Tokens by id, normal ones in the byte-level alphabet.
    pub tokens: &'a [String],
    /// `left right`, best first.
    pub merges: &'a [String],
    /// What each token is: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused. All normal if absent.
    pub kinds: Option<&'a [i32]>,
}

/// A byte-level BPE that was read, not trained here. Text is kept as it is: no lower case.
#[derive(Clone)]
pub struct ByteBpe {
    pre: Pre,
    bpe: BPE,
    ids: HashMap<String, u32>,
    /// User-defined tokens, longest first.
    whole: Vec<(String, u32)>,
    /// The bytes behind each token; none for those that are not text.
    bytes: Vec<Vec<u8>>,
    control: Vec<(String, u32)>,
}

impl std::fmt::Debug for ByteBpe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ByteBpe")
            .field("pre", &self.pre)
            .field("vocabulary", &self.vocabulary())
            .finish()
    }
}

impl ByteBpe {
    /// Checks and builds.
    ///
    /// # Errors
    /// [`Error::Vocabulary`] names the field: an unknown pre-tokeniser, a token twice, a merge of or
    /// into what is no token.
    pub fn new(published: &Published<'_>) -> Result<Self> {
        let pre = Pre::named(published.pre)?;
        let kinds = kinds(published)?;
        let ids = ids(published.tokens)?;
        let of_kind = |kind: Kind| {
            let tokens = published.tokens.iter().zip(0_u32..).zip(&kinds);
            tokens.filter(move |(_, k)| **k == kind).map(|((token, id), _)| (token.clone(), id))
        };
        let mut whole: Vec<(String, u32)> = of_kind(Kind::UserDefined).collect();
        if whole.len() > MAX_USER_DEFINED {
            let expected = format!("at most {MAX_USER_DEFINED} user-defined tokens");
            return Err(wrong("tokenizer.ggml.token_type", expected, whole.len().to_string()));
        }
        whole.sort_by_key(|(token, _)| std::cmp::Reverse(token.len()));
        let vocabulary: Vocab = of_kind(Kind::Normal).collect();
        let merges = merges(published.merges, &vocabulary)?;
        let bpe = BPE::builder()
            .vocab_and_merges(vocabulary, merges)
            .ignore_merges(pre == Pre::LlamaBpe)
            .build()
            .map_err(|error| {
                wrong("tokenizer.ggml.merges", "a consistent BPE", error.to_string())
            })?;
        let bytes = published.tokens.iter().zip(&kinds).map(|(token, kind)| match kind {
            Kind::Normal => spelt(token),
            Kind::UserDefined => token.as_bytes().to_vec(),
            Kind::Silent => Vec::new(),
        });
        let bytes = bytes.collect();
        let numbers = published.kinds.unwrap_or_default();
        let tokens = published.tokens.iter().zip(0_u32..).zip(numbers);
        let control =
            tokens.filter(|(_, kind)| **kind == 3).map(|((token, id), _)| (token.clone(), id));
        let control = control.collect();
        Ok(Self { pre, bpe, ids, whole, bytes, control })
    }

    /// Ids of text. The text is data: a control token's name in it is encoded as letters. Bytes that
    /// the vocabulary has no token for are left out, as the published tokenizers do.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        self.cut(text, &self.whole, &mut ids);
        ids
    }

    /// Text of ids. Control and unknown ids are left out; bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let known = ids.iter().filter_map(|id| self.bytes.get(*id as usize));
        let bytes: Vec<u8> = known.flatten().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Id of the token of this name, control tokens included.
    pub fn id(&self, name: &str) -> Option<u32> {
        self.ids.get(name).copied()
    }

    /// Names and ids of the control tokens.
    pub fn control(&self) -> &[(String, u32)] {
        &self.control
    }

    /// Number of ids.
    pub fn vocabulary(&self) -> usize {
        self.bytes.len()
    }

    /// Encodes what stands between occurrences of the first of `whole`, which become its id.
    fn cut(&self, text: &str, whole: &[(String, u32)], ids: &mut Vec<u32>) {
        // A loop over those that do not occur: the depth is that of tokens found, not of all.
        let found = whole.iter().position(|(token, _)| text.contains(token.as_str()));
        let Some((token, id, shorter)) = found.map(|at| {
            let (token, id) = &whole[at];
            (token, *id, &whole[at + 1..])
        }) else {
            return self.merge(text, ids);
        };
        for (i, piece) in text.split(token.as_str()).enumerate() {
            if i > 0 {
                ids.push(id);
            }
            self.cut(piece, shorter, ids);
        }
    }

    fn merge(&self, text: &str, ids: &mut Vec<u32>) {
        for word in self.pre.words(text) {
            let tokens = self.bpe.tokenize(&word).expect("without an unknown token nothing fails");
            ids.extend(tokens.into_iter().map(|token| token.id));
        }
    }
}

/// Where a text is cut before merging: the expressions that the models' tokenizers publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pre {
    /// Words with their leading space, runs of digits, of other marks, of spaces.
    Gpt2,
    /// As GPT-2, each digit alone.
    Smollm,
    /// Contractions in any case, each digit alone, line ends with what is before them; NFC.
    Qwen2,
    /// As Qwen2 with digits in threes; a word that is a token is not merged.
    LlamaBpe,
}

/// What Qwen2's and Llama 3's expressions share before and after their digits.
pub(crate) const LETTERS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+";
pub(crate) const MARKS: &str = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

static QWEN2: LazyLock<Split> = LazyLock::new(|| split(r"\p{N}"));
static LLAMA_BPE: LazyLock<Split> = LazyLock::new(|| split(r"\p{N}{1,3}"));

impl Pre {
    /// By GGUF's names.
    pub(crate) const NAMES: [(&'static str, Self); 5] = [
        ("gpt-2", Self::Gpt2),
        ("smollm", Self::Smollm),
        ("qwen2", Self::Qwen2),
        ("llama-bpe", Self::LlamaBpe),
        ("llama3", Self::LlamaBpe),
    ];

    pub(crate) fn named(name: &str) -> Result<Self> {
        match Self::NAMES.iter().find(|(known, _)| *known == name) {
            Some((_, pre)) => Ok(*pre),
            None => {
                let known = Self::NAMES.map(|(known, _)| known).join(", ");
                Err(wrong("tokenizer.ggml.pre", format!("one of {known}"), quote(name)))
            }
        }
    }

    /// Words in the byte-level alphabet.
    fn words(self, text: &str) -> Vec<String> {
        let mut text = NormalizedString::from(text);
        if self == Self::Qwen2 {
            NFC.normalize(&mut text).expect("composing valid text cannot fail");
        }
        let mut pieces = PreTokenizedString::from(text);
        let split = match self {
            Self::Gpt2 => Ok(()),
            Self::Smollm => Digits::new(true).pre_tokenize(&mut pieces),
            Self::Qwen2 => QWEN2.pre_tokenize(&mut pieces),
            Self::LlamaBpe => LLAMA_BPE.pre_tokenize(&mut pieces),
        };
        let expression = matches!(self, Self::Gpt2 | Self::Smollm);
        split
            .and_then(|()| ByteLevel::new(false, false, expression).pre_tokenize(&mut pieces))
            .expect("splitting valid text cannot fail");
        let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::None);
        splits.into_iter().map(|(word, ..)| word.to_owned()).collect()
    }
}

fn split(digits: &str) -> Split {
    let expression = SplitPattern::Regex(format!("{LETTERS}|{digits}|{MARKS}"));
    Split::new(expression, SplitDelimiterBehavior::Isolated, false)
        .expect("the expressions are constants")
}

/// What a token is, as far as it matters between text and ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Normal,
    UserDefined,
    /// Control, unknown, unused: neither made from text nor turned into it.
    Silent,
}

fn kinds(published: &Published<'_>) -> Result<Vec<Kind>> {
    const FIELD: &str = "tokenizer.ggml.token_type";
    let n = published.tokens.len();
    let Some(numbers) = published.kinds else { return Ok(vec![Kind::Normal; n]) };
    if numbers.len() != n {
        return Err(wrong(FIELD, format!("one for each of {n} tokens"), numbers.len().to_string()));
    }
    let kind = |number: &i32| match number {
        1 => Ok(Kind::Normal),
        2 | 3 | 5 => Ok(Kind::Silent),
        4 => Ok(Kind::UserDefined),
        other => Err(wrong(FIELD, "1 to 5, as byte-level tokenizers have", other.to_string())),
    };
    numbers.iter().map(kind).collect()
}

fn ids(tokens: &[String]) -> Result<HashMap<String, u32>> {
    const FIELD: &str = "tokenizer.ggml.tokens";
    if tokens.is_empty() || tokens.len() > MAX_TOKENS {
        let got = tokens.len().to_string();
        return Err(wrong(FIELD, format!("1 to {MAX_TOKENS} tokens"), got));
    }
    let mut ids = HashMap::with_capacity(tokens.len());
    for (token, id) in tokens.iter().zip(0_u32..) {
        // An empty token would be found everywhere in a text.
        if token.is_empty() {
            return Err(wrong(FIELD, "tokens of at least a byte", format!("none for id {id}")));
        }
        if let Some(first) = ids.insert(token.clone(), id) {
            let got = format!("{} for ids {first} and {id}", quote(token));
            return Err(wrong(FIELD, "each token once", got));
        }
    }
    Ok(ids)
}

/// Pairs whose parts and whole are tokens: the library that merges them trusts that they are.
fn merges(lines: &[String], vocabulary: &Vocab) -> Result<Vec<(String, String)>> {
    let pair = |(i, line): (usize, &String)| {
        let wrong = |expected: &str| {
            let got = format!("{} at {i}", quote(line));
            Err(wrong("tokenizer.ggml.merges", expected, got))
        };
        let Some((left, right)) = line.split_once(' ') else {
            return wrong("two tokens with a space between");
        };
        let known = |token: &str| vocabulary.contains_key(token);
        if !(known(left) && known(right) && known(&format!("{left}{right}"))) {
            return wrong("two tokens that make a third");
        }
        Ok((left.to_owned(), right.to_owned()))
    };
    lines.iter().enumerate().map(pair).collect()
}

/// The bytes that a token in the byte-level alphabet stands for; one that is not in it stands for
/// itself.
fn spelt(token: &str) -> Vec<u8> {
    static BYTES: LazyLock<HashMap<char, u8>> =
        LazyLock::new(|| byte_chars().zip(0..=255).collect());
    let bytes: Option<Vec<u8>> = token.chars().map(|c| BYTES.get(&c).copied()).collect();
    bytes.unwrap_or_else(|| token.as_bytes().to_vec())
}

fn wrong(field: &'static str, expected: impl Into<String>, got: String) -> Error {
    Error::Vocabulary { field, expected: expected.into(), got }
}
