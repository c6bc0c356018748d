//! The tokenizer of a directory that was published without a `tokenizer.json`, as transformers makes it.
//!
//! ```text
//! vocab.json, merges.txt        ──▶ byte-level BPE (GPT-2, OPT, Qwen2, RoBERTa, CLIP, Whisper) ─┐
//! tokenizer.model, spiece.model ──▶ SentencePiece's BPE or unigram (Llama, Gemma, T5, SigLIP)   ├▶ Tokenizer
//! vocab.txt                     ──▶ WordPiece (BERT)                                            ─┘
//! tokenizer_config.json, special_tokens_map.json, added_tokens.json ──▶ the tokens beside them
//! ```

use std::collections::{HashMap, HashSet};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::Precompiled;
use tokenizers::{
    AddedToken, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
};

use super::gguf::{self, Published, UNKNOWN};
use super::proto::{self, Proto};
use super::sentencepiece::{self, Pieces};
use super::steps::{Steps, byte_level, split};
use super::{MAX_ID, Tokenizer, guarded, wrong};
use crate::error::quote;
use crate::{Error, Result};

/// Where errors lie.
const CONFIG: &str = "tokenizer_config.json";
const ADDED: &str = "added_tokens.json";

/// What stands around and between a directory's tokens.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// The tokens.
    pub vocabulary: VocabularyFile<'a>,
    /// `tokenizer_config.json`; null without it, as the next two.
    pub config: &'a Value,
    /// `special_tokens_map.json`.
    pub special_tokens_map: &'a Value,
    /// `added_tokens.json`.
    pub added_tokens: &'a Value,
    /// `model_type` of `config.json`, which tells the kind where no `tokenizer_class` does.
    pub model_type: &'a str,
}

/// The bytes of the files that hold the tokens.
#[derive(Clone, Copy, Debug)]
pub enum VocabularyFile<'a> {
    /// A byte-level BPE.
    Bpe {
        /// `vocab.json`: ids by token.
        vocab: &'a [u8],
        /// `merges.txt`: a pair a line, best first.
        merges: &'a [u8],
    },
    /// `tokenizer.model` or `spiece.model`.
    SentencePiece(&'a [u8]),
    /// `vocab.txt`: a token a line.
    WordPiece(&'a [u8]),
}

/// What a `tokenizer_class` does to texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Gpt2,
    Qwen2,
    Roberta,
    Clip,
    Whisper,
    Llama,
    Gemma,
    T5,
    Siglip,
    Bert,
}

/// A kind, its class in transformers, and the `model_type`s that mean it.
type Row = (Kind, &'static str, &'static [&'static str]);

/// Kinds of byte-level BPE, the plainest first.
const BPE_KINDS: &[Row] = &[
    (Kind::Gpt2, "GPT2Tokenizer", &["gpt2", "opt", "blip-2"]),
    (Kind::Qwen2, "Qwen2Tokenizer", &["qwen2", "qwen3"]),
    (Kind::Roberta, "RobertaTokenizer", &["roberta"]),
    (Kind::Roberta, "BartTokenizer", &["bart"]),
    (Kind::Clip, "CLIPTokenizer", &["clip", "open_clip", "clip_text_model"]),
    (Kind::Whisper, "WhisperTokenizer", &["whisper"]),
];

/// Kinds of SentencePiece.
const SENTENCEPIECE_KINDS: &[Row] = &[
    (Kind::Llama, "LlamaTokenizer", &["llama", "mistral", "llava", "idefics", "phi3"]),
    (Kind::Gemma, "GemmaTokenizer", &["gemma", "siglip2"]),
    (Kind::T5, "T5Tokenizer", &["t5"]),
    (Kind::T5, "SpeechT5Tokenizer", &["speecht5"]),
    (Kind::Siglip, "SiglipTokenizer", &["siglip", "siglip_text_model"]),
];

/// The kind of WordPiece.
const WORDPIECE_KINDS: &[Row] = &[(Kind::Bert, "BertTokenizer", &["bert"])];

impl Kind {
    /// That of the class, or else of the model, or else the plainest of the vocabulary's file.
    fn of(files: &Files<'_>) -> Result<Self> {
        let known = match files.vocabulary {
            VocabularyFile::Bpe { .. } => BPE_KINDS,
            VocabularyFile::SentencePiece(_) => SENTENCEPIECE_KINDS,
            VocabularyFile::WordPiece(_) => WORDPIECE_KINDS,
        };
        let class = files.config["tokenizer_class"].as_str().map(|class| {
            // Names that say no more than that there is a tokenizer.json.
            class.strip_suffix("Fast").unwrap_or(class)
        });
        let class =
            class.filter(|class| !matches!(*class, "PreTrainedTokenizer" | "TokenizersBackend"));
        let found = match class {
            Some(name) => known.iter().find(|(_, class, _)| *class == name),
            None => {
                let is = |(_, _, models): &&Row| models.contains(&files.model_type);
                known.iter().find(is).or(known.first())
            }
        };
        found.map(|(kind, ..)| *kind).ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|(_, class, _)| *class).collect();
            let expected = format!("a tokenizer_class of {}", names.join(", "));
            wrong(CONFIG, expected, quote(class.unwrap_or_default()))
        })
    }

    /// Named tokens where no file names another.
    fn names(self) -> &'static [(&'static str, &'static str)] {
        const END: &str = "<|endoftext|>";
        match self {
            Self::Gpt2 | Self::Whisper => {
                &[("bos_token", END), ("eos_token", END), ("unk_token", END)]
            }
            Self::Qwen2 => &[("eos_token", END), ("pad_token", END)],
            Self::Clip => &[
                ("bos_token", "<|startoftext|>"),
                ("eos_token", END),
                ("unk_token", END),
                ("pad_token", END),
            ],
            Self::Roberta => &[
                ("bos_token", "<s>"),
                ("eos_token", "</s>"),
                ("cls_token", "<s>"),
                ("sep_token", "</s>"),
                ("unk_token", "<unk>"),
                ("pad_token", "<pad>"),
                ("mask_token", "<mask>"),
            ],
            Self::Llama => &[("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")],
            Self::Gemma => &[
                ("bos_token", "<bos>"),
                ("eos_token", "<eos>"),
                ("unk_token", "<unk>"),
                ("pad_token", "<pad>"),
            ],
            Self::T5 => &[("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", "<pad>")],
            Self::Siglip => &[("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", "</s>")],
            Self::Bert => &[
                ("unk_token", "[UNK]"),
                ("sep_token", "[SEP]"),
                ("pad_token", "[PAD]"),
                ("cls_token", "[CLS]"),
                ("mask_token", "[MASK]"),
            ],
        }
    }
}

impl Tokenizer {
    /// Makes the tokenizer that transformers makes of these files. Ids are those of the files.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] names the file that is damaged, or says what is not read here.
    pub fn from_files(files: &Files<'_>) -> Result<Self> {
        let kind = Kind::of(files)?;
        let beside = Beside::read(files, kind)?;
        let mut inner = match files.vocabulary {
            VocabularyFile::Bpe { vocab, merges } => bpe(vocab, merges, kind, files, &beside)?,
            VocabularyFile::SentencePiece(bytes) => pieces(bytes, kind, files, &beside)?,
            VocabularyFile::WordPiece(bytes) => word_piece(bytes, files, &beside)?,
        };
        let all: Vec<AddedToken> = beside.all(|token| inner.token_to_id(token).is_some());
        guarded(CONFIG, "tokens to add", || inner.add_tokens(all).map(drop))?;
        for (id, token) in &beside.added {
            let got = inner.token_to_id(&token.content);
            if got != Some(*id) {
                let expected =
                    format!("the id {} for {}", got.unwrap_or_default(), quote(&token.content));
                return Err(wrong(ADDED, expected, id));
            }
        }
        let around = around(&inner, &beside, kind, files)?;
        inner.with_post_processor(Some(around));
        let ids = guarded("vocabulary", "tokens", || Ok(inner.get_vocab(true)))?.into_values();
        match ids.max() {
            Some(id) if id < MAX_ID => Self::new(inner, id as usize + 1, files.hash()),
            id => Err(wrong("vocabulary", format!("ids below {MAX_ID}"), id.unwrap_or_default())),
        }
    }
}

impl Files<'_> {
    /// A setting of `tokenizer_config.json` that is on or off.
    fn flag(&self, key: &str) -> Result<Option<bool>> {
        match &self.config[key] {
            Value::Null => Ok(None),
            Value::Bool(on) => Ok(Some(*on)),
            other => {
                Err(wrong(CONFIG, format!("true or false at {key}"), quote(&other.to_string())))
            }
        }
    }

    fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let settings =
            [self.config, self.special_tokens_map, self.added_tokens].map(Value::to_string);
        let vocabulary = match self.vocabulary {
            VocabularyFile::Bpe { vocab, merges } => [vocab, merges],
            VocabularyFile::SentencePiece(bytes) | VocabularyFile::WordPiece(bytes) => [bytes, &[]],
        };
        let settings = settings.iter().map(|text| text.as_bytes());
        for part in vocabulary.into_iter().chain(settings).chain([self.model_type.as_bytes()]) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// The tokens that stand beside a vocabulary, or have a meaning in it.
struct Beside {
    /// By what they are for: `bos_token` and others.
    named: Vec<(String, AddedToken)>,
    /// Whether a file names them, by place in `named`; else only the kind does.
    said: usize,
    extra: Vec<AddedToken>,
    /// With the ids that the files give them.
    added: Vec<(u32, AddedToken)>,
}

impl Beside {
    fn read(files: &Files<'_>, kind: Kind) -> Result<Self> {
        let decoder = &files.config["added_tokens_decoder"];
        // Files from before added_tokens_decoder say the same in two others, which go first.
        let older = decoder.is_null().then_some(files.special_tokens_map);
        let sources: Vec<&Value> = older.into_iter().chain([files.config]).collect();
        let (mut named, mut extra, mut taken) = (Vec::new(), Vec::new(), HashSet::new());
        for (key, value) in sources.iter().filter_map(|source| source.as_object()).flatten() {
            match key.as_str() {
                "additional_special_tokens" | "extra_special_tokens" => {
                    for value in value.as_array().into_iter().flatten() {
                        extra.push(token(value, true)?);
                    }
                }
                name if name.ends_with("_token") && !value.is_boolean() && !taken.contains(key) => {
                    taken.insert(key.clone());
                    if !value.is_null() {
                        named.push((name.to_owned(), token(value, true)?));
                    }
                }
                _ => {}
            }
        }
        let said = named.len();
        for (name, text) in kind.names().iter().filter(|(name, _)| !taken.contains(*name)) {
            named.push(((*name).to_owned(), AddedToken::from((*text).to_owned(), true)));
        }
        let mut beside = Self { named, said, extra, added: Vec::new() };
        beside.added = match decoder {
            Value::Null => beside.older(files.added_tokens)?,
            decoder => beside.decoder(decoder)?,
        };
        Ok(beside)
    }

    /// Of `added_tokens_decoder`: tokens by id.
    fn decoder(&self, decoder: &Value) -> Result<Vec<(u32, AddedToken)>> {
        let entries = decoder.as_object().into_iter().flatten();
        let entries = entries
            .map(|(id, value)| Ok((self::id(CONFIG, id.parse().ok(), id)?, token(value, false)?)));
        entries.collect()
    }

    /// Of `added_tokens.json`: ids by token.
    fn older(&self, added: &Value) -> Result<Vec<(u32, AddedToken)>> {
        let special = self.named.iter().map(|(_, token)| token).chain(&self.extra);
        let special: HashSet<&str> = special.map(|token| token.content.as_str()).collect();
        let entries = added.as_object().into_iter().flatten();
        let entries = entries.map(|(text, id)| {
            let id = self::id(ADDED, id.as_u64(), text)?;
            Ok((id, AddedToken::from(text.clone(), special.contains(text.as_str()))))
        });
        entries.collect()
    }

    /// The token that is for something.
    fn name(&self, name: &str) -> Option<&str> {
        let mut named = self.named.iter();
        named.find(|(of, _)| of == name).map(|(_, token)| token.content.as_str())
    }

    /// All of them, those with ids first; of those that no file names only what the vocabulary has.
    fn all(&self, has: impl Fn(&str) -> bool) -> Vec<AddedToken> {
        let mut added: Vec<_> = self.added.iter().collect();
        added.sort_by_key(|(id, _)| *id);
        let mut all: Vec<AddedToken> = added.into_iter().map(|(_, token)| token.clone()).collect();
        let named = self.named.iter().enumerate();
        let named = named.filter(|(i, (_, token))| *i < self.said || has(&token.content));
        let places = all.iter().enumerate().map(|(i, token)| (token.content.clone(), i));
        let mut places: HashMap<String, usize> = places.collect();
        for token in named.map(|(_, (_, token))| token).chain(&self.extra) {
            match places.get(&token.content) {
                Some(place) => all[*place].special = true,
                None => {
                    places.insert(token.content.clone(), all.len());
                    all.push(token.clone());
                }
            }
        }
        all
    }
}

/// A token, or an object that describes one.
fn token(value: &Value, special: bool) -> Result<AddedToken> {
    let flag = |key: &str, default: bool| value[key].as_bool().unwrap_or(default);
    let text = value.as_str().or_else(|| value["content"].as_str());
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Err(wrong(CONFIG, "a token's text", quote(&value.to_string())));
    };
    let special = special || flag("special", false);
    let token = AddedToken::from(text.to_owned(), special).single_word(flag("single_word", false));
    let token = token.lstrip(flag("lstrip", false)).rstrip(flag("rstrip", false));
    Ok(token.normalized(flag("normalized", !special)))
}

fn id(place: &'static str, id: Option<u64>, token: &str) -> Result<u32> {
    let id = id.and_then(|id| u32::try_from(id).ok()).filter(|id| *id < MAX_ID);
    id.ok_or_else(|| {
        wrong(place, format!("ids below {MAX_ID}"), format!("another at {}", quote(token)))
    })
}

/// A byte-level BPE and its kind's steps, without the tokens that are added.
fn bpe(
    vocab: &[u8],
    merges: &[u8],
    kind: Kind,
    files: &Files<'_>,
    beside: &Beside,
) -> Result<tokenizers::Tokenizer> {
    const VOCAB: &str = "vocab.json";
    const MERGES: &str = "merges.txt";
    let ids: HashMap<String, u32> = serde_json::from_slice(vocab).map_err(|error| {
        wrong(VOCAB, "an object of tokens and their ids", quote(&error.to_string()))
    })?;
    let merges = std::str::from_utf8(merges).map_err(|error| wrong(MERGES, "UTF-8", error))?;
    let lines = merges.lines().filter(|line| !line.is_empty() && !line.starts_with("#version"));
    let pair = |line: &str| match line.trim_end().split_once(' ') {
        Some((left, right)) if !right.contains(' ') => Ok((left.to_owned(), right.to_owned())),
        _ => Err(wrong(MERGES, "two tokens with a space between", quote(line))),
    };
    let merges = lines.map(pair).collect::<Result<Vec<_>>>()?;
    let mut builder = BPE::builder();
    if kind == Kind::Clip {
        builder = builder.end_of_word_suffix("</w>".into());
        if let Some(unknown) = beside.name("unk_token") {
            builder = builder.unk_token(unknown.to_owned());
        }
    }
    let vocab = beside.with_added(ids);
    let bpe = guarded(MERGES, "pairs that make a token of vocab.json", || {
        builder.vocab_and_merges(vocab, merges).build()
    })?;
    let prefix = files.flag("add_prefix_space")?.unwrap_or(false);
    let steps = match kind {
        Kind::Qwen2 => Steps::named("qwen2"),
        Kind::Clip => Some(clip()),
        _ => None,
    };
    let steps = steps.unwrap_or_else(|| {
        let mut step = byte_level(true);
        step["add_prefix_space"] = prefix.into();
        Steps { normalizer: Value::Null, pre_tokenizers: vec![step], ignore_merges: false }
    });
    let (normalizer, pre_tokenizer) = steps.build();
    assembled(bpe, normalizer, Some(pre_tokenizer), byte_level(true))
}

/// CLIP's words, in lower case.
fn clip() -> Steps {
    const WORDS: &str = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
    let mut words = split(WORDS);
    (words["behavior"], words["invert"]) = ("Removed".into(), true.into());
    let normalizer = json!({"type": "Sequence", "normalizers": [
        {"type": "NFC"}, replace(r"\s+", " "), {"type": "Lowercase"}]});
    Steps { normalizer, pre_tokenizers: vec![words, byte_level(true)], ignore_merges: false }
}

/// BERT's words in pieces, without the tokens that are added.
fn word_piece(bytes: &[u8], files: &Files<'_>, beside: &Beside) -> Result<tokenizers::Tokenizer> {
    const FILE: &str = "vocab.txt";
    let text = std::str::from_utf8(bytes).map_err(|error| wrong(FILE, "UTF-8", error))?;
    let tokens = text.lines().map(str::trim_end).zip(0_u32..);
    let tokens = tokens.filter(|(token, _)| !token.is_empty());
    let ids = tokens.map(|(token, id)| (token.to_owned(), id)).collect();
    let unknown = beside.name("unk_token").unwrap_or_default().to_owned();
    let vocab = beside.with_added(ids);
    if !vocab.contains_key(&unknown) {
        return Err(wrong(FILE, format!("the unknown token {}", quote(&unknown)), "none"));
    }
    let model = guarded(FILE, "a token a line", || {
        WordPiece::builder().vocab(vocab).unk_token(unknown).build()
    })?;
    let normalizer = json!({
        "type": "BertNormalizer",
        "clean_text": true,
        "handle_chinese_chars": files.flag("tokenize_chinese_chars")?.unwrap_or(true),
        "strip_accents": files.flag("strip_accents")?,
        "lowercase": files.flag("do_lower_case")?.unwrap_or(true),
    });
    let decoder = json!({"type": "WordPiece", "prefix": "##", "cleanup": true});
    let pre_tokenizer = constant(json!({"type": "BertPreTokenizer"}));
    assembled(model, Some(constant(normalizer)), Some(pre_tokenizer), decoder)
}

impl Beside {
    /// A vocabulary with the added tokens at their own ids, which the library would choose itself.
    fn with_added(&self, ids: HashMap<String, u32>) -> Vocab {
        let mut vocabulary = Vocab::default();
        let missing = self.added.iter().filter(|(_, token)| !ids.contains_key(&token.content));
        vocabulary.extend(missing.map(|(id, token)| (token.content.clone(), *id)));
        vocabulary.extend(ids);
        vocabulary
    }
}

/// SentencePiece's model and steps, without the tokens that only the directory adds.
fn pieces(
    bytes: &[u8],
    kind: Kind,
    files: &Files<'_>,
    beside: &Beside,
) -> Result<tokenizers::Tokenizer> {
    let mut proto = Proto::read(bytes)?;
    if !proto.unigram {
        beside.extend(&mut proto)?;
    }
    let prefix = match kind {
        Kind::Siglip => true,
        _ => files.flag("add_prefix_space")?.unwrap_or(proto.add_dummy_prefix),
    };
    let legacy = kind != Kind::Llama || files.flag("legacy")?.unwrap_or(false);
    let scores = Pieces { scores: &proto.scores, space_prefix: prefix };
    let published =
        Published { tokens: &proto.pieces, kinds: Some(&proto.kinds), ..Published::default() };
    // Of the same checks as a GGUF file's, and another file.
    let here = |error| match error {
        Error::Vocabulary { expected, got, .. } => wrong(proto::FILE, expected, got),
        other => other,
    };
    gguf::check_tokens(&proto.pieces).map_err(here)?;
    let model: ModelWrapper = if proto.unigram {
        let vocab =
            proto.pieces.iter().cloned().zip(proto.scores.iter().map(|score| f64::from(*score)));
        let unknown = proto.kinds.iter().position(|kind| *kind == UNKNOWN);
        let build = || Unigram::from(vocab.collect(), unknown, proto.byte_fallback);
        guarded(proto::FILE, "a consistent unigram model", build)?.into()
    } else {
        sentencepiece::bpe(&published, &scores).map_err(here)?.into()
    };
    let (normalizers, pre_tokenizer) = around_pieces(&proto, kind, prefix, legacy)?;
    let normalizer = (!normalizers.is_empty())
        .then(|| tokenizers::normalizers::Sequence::new(normalizers).into());
    let decoder = sentencepiece::decoder(prefix);
    let mut inner = assembled(model, normalizer, Some(pre_tokenizer), decoder)?;
    let added = published.added();
    guarded(proto::FILE, "control pieces", || inner.add_tokens(added).map(drop))?;
    Ok(inner)
}

impl Beside {
    /// The added tokens at their ids behind the pieces.
    fn extend(&self, proto: &mut Proto<'_>) -> Result<()> {
        for (id, token) in &self.added {
            let id = *id as usize;
            if id < proto.pieces.len() {
                continue;
            }
            if id >= gguf::MAX_TOKENS {
                return Err(wrong(ADDED, format!("ids below {}", gguf::MAX_TOKENS), id));
            }
            proto.pieces.resize(id + 1, String::new());
            proto.scores.resize(id + 1, 0.0);
            proto.kinds.resize(id + 1, gguf::UNUSED);
            proto.pieces[id].clone_from(&token.content);
            proto.kinds[id] = if token.special { gguf::CONTROL } else { gguf::USER_DEFINED };
        }
        Ok(())
    }
}

/// What is done to a text before its pieces are sought.
fn around_pieces(
    proto: &Proto<'_>,
    kind: Kind,
    prefix: bool,
    legacy: bool,
) -> Result<(Vec<NormalizerWrapper>, PreTokenizerWrapper)> {
    let mut steps: Vec<NormalizerWrapper> = Vec::new();
    if kind == Kind::Siglip {
        let marks = r"[!-/:-@\[-`{-~]";
        let clean =
            [json!({"type": "Lowercase"}), replace(sentencepiece::SPACE, " "), replace(marks, "")];
        steps.extend(clean.map(constant::<NormalizerWrapper>));
    }
    if !proto.charsmap.is_empty() {
        let map = guarded(proto::FILE, "a charsmap", || Ok(Precompiled::from(proto.charsmap)?))?;
        steps.push(map.into());
    }
    let space = |scheme: &str, split: bool| {
        json!({"type": "Metaspace", "replacement": sentencepiece::SPACE, "prepend_scheme": scheme,
               "split": split})
    };
    // Words of their own, each with the space before it.
    if proto.remove_extra_whitespaces && prefix {
        let words = json!({"type": "Sequence",
            "pretokenizers": [{"type": "WhitespaceSplit"}, space("always", true)]});
        return Ok((steps, constant(words)));
    }
    if proto.remove_extra_whitespaces {
        let ends = json!({"type": "Strip", "strip_left": true, "strip_right": true});
        steps.extend([constant(replace(" {2,}", " ")), constant(ends)]);
    }
    let scheme = match (prefix, legacy) {
        (false, _) => "never",
        (true, true) => "always",
        (true, false) => "first",
    };
    Ok((steps, constant(space(scheme, false))))
}

/// The tokens around every text.
fn around(
    inner: &tokenizers::Tokenizer,
    beside: &Beside,
    kind: Kind,
    files: &Files<'_>,
) -> Result<PostProcessorWrapper> {
    let named = |names: &[&str]| -> Vec<String> {
        names.iter().filter_map(|name| beside.name(name)).map(str::to_owned).collect()
    };
    let (before, after) = match kind {
        Kind::Clip => (named(&["bos_token"]), named(&["eos_token"])),
        Kind::Roberta | Kind::Bert => (named(&["cls_token"]), named(&["sep_token"])),
        Kind::T5 | Kind::Siglip => (Vec::new(), named(&["eos_token"])),
        Kind::Whisper => {
            let before = ["<|startoftranscript|>", "<|notimestamps|>"].map(str::to_owned).to_vec();
            (before, named(&["eos_token"]))
        }
        Kind::Gpt2 | Kind::Qwen2 | Kind::Llama | Kind::Gemma => {
            let opens = files.flag("add_bos_token")?;
            let opens = opens.unwrap_or(matches!(kind, Kind::Llama | Kind::Gemma));
            let closes = files.flag("add_eos_token")?.unwrap_or(false);
            let (bos, eos) = (named(&["bos_token"]), named(&["eos_token"]));
            (if opens { bos } else { Vec::new() }, if closes { eos } else { Vec::new() })
        }
    };
    let with_ids = |names: Vec<String>| -> Result<Vec<(String, u32)>> {
        let with_id = |name: String| match inner.token_to_id(&name) {
            Some(id) => Ok((name, id)),
            None => Err(wrong("vocabulary", format!("the token {}", quote(&name)), "none")),
        };
        names.into_iter().map(with_id).collect()
    };
    Ok(template(&with_ids(before)?, &with_ids(after)?))
}

/// Tokens around every text, and around each of a pair.
pub(super) fn template(before: &[(String, u32)], after: &[(String, u32)]) -> PostProcessorWrapper {
    let special = |tokens: &[(String, u32)], kind: u32| -> Vec<Value> {
        let special =
            |(name, _): &(String, u32)| json!({"SpecialToken": {"id": name, "type_id": kind}});
        tokens.iter().map(special).collect()
    };
    let one = |name: &str, kind: u32| {
        let text = json!({"Sequence": {"id": name, "type_id": kind}});
        [special(before, kind), vec![text], special(after, kind)].concat()
    };
    let all = before
        .iter()
        .chain(after)
        .map(|(name, id)| (name.clone(), json!({"id": name, "ids": [id], "tokens": [name]})));
    let pair = [one("A", 0), one("B", 1)].concat();
    constant(json!({
        "type": "TemplateProcessing",
        "single": one("A", 0),
        "pair": pair,
        "special_tokens": all.collect::<serde_json::Map<_, _>>(),
    }))
}

fn replace(pattern: &str, content: &str) -> Value {
    json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": content})
}

fn assembled(
    model: impl Into<ModelWrapper>,
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<PreTokenizerWrapper>,
    decoder: Value,
) -> Result<tokenizers::Tokenizer> {
    let mut inner = tokenizers::Tokenizer::new(model);
    guarded("normalizer", "steps", || inner.with_normalizer(normalizer).map(drop))?;
    inner.with_pre_tokenizer(pre_tokenizer);
    inner.with_decoder(Some(constant::<tokenizers::DecoderWrapper>(decoder)));
    Ok(inner)
}

/// A step of the library that is spelt here.
pub(super) fn constant<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("the steps are constants")
}
