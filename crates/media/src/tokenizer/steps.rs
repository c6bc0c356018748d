//! Where texts are cut before merging, by the names that GGUF files give the models' ways.
//!
//! llama.cpp's `llama-vocab.cpp` is the list of these names; the expressions are those of the models'
//! own `tokenizer.json`.

use serde_json::{Value, json};
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper};

/// What a `tokenizer.json` does before the merges.
#[derive(PartialEq)]
pub(super) struct Steps {
    pub(super) normalizer: Value,
    pub(super) pre_tokenizers: Vec<Value>,
    /// A word that is a token is not merged.
    pub(super) ignore_merges: bool,
}

/// Contractions in any case, and letters with what is before them.
const LETTERS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+";
/// What follows the digits: other marks with the line ends behind them, line ends, spaces.
const MARKS: &str = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words that change case inside are cut there.
const CASED: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+CONTRACTIONS|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*CONTRACTIONS";
/// As [`MARKS`], with slashes.
const SLASHED: &str = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// DeepSeek's words and marks.
const DEEPSEEK: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
/// GPT-2's words with their leading space, runs of digits, of other marks, of spaces.
const WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

impl Steps {
    /// Those that are written: GPT-2's; SmolLM's with each digit alone; Qwen2's contractions in any case
    /// and line ends with what is before them; Llama 3's with digits in threes.
    pub(super) const WRITTEN: [&'static str; 5] =
        ["gpt-2", "smollm", "qwen2", "llama-bpe", "llama3"];

    /// By GGUF's name, if it is known.
    pub(super) fn named(name: &str) -> Option<Self> {
        let digits = || json!({"type": "Digits", "individual_digits": true});
        let plain =
            |pre_tokenizers| Self { normalizer: Value::Null, pre_tokenizers, ignore_merges: false };
        let splits = |patterns: &[&str]| {
            let splits = patterns.iter().map(|pattern| split(pattern));
            plain(splits.chain([byte_level(false)]).collect())
        };
        let modern = |digits: &str| splits(&[&format!("{LETTERS}|{digits}|{MARKS}")]);
        let cased = |contractions: &str, digits: &str| {
            let words = CASED.replace("CONTRACTIONS", contractions);
            splits(&[&format!("{words}|{digits}|{SLASHED}")])
        };
        Some(match name {
            "gpt-2" | "phi-2" | "mpt" | "olmo" | "jais" | "trillion" | "granite-docling"
            | "gigachat" | "a.x-4.0" | "mellum" | "modern-bert" | "exaone4" | "roberta-bpe"
            | "jina-es" | "jina-de" | "jina-v1-en" | "jina-v2-es" | "jina-v2-de"
            | "jina-v2-code" => plain(vec![byte_level(true)]),
            "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone"
            | "minerva-7b" | "mellum2" => plain(vec![digits(), byte_level(true)]),
            "qwen2" => Self { normalizer: json!({"type": "NFC"}), ..modern(r"\p{N}") },
            "deepseek-r1-qwen" | "megrez" | "stablelm2" | "hunyuan" | "solar-open" | "grok-2"
            | "kormo" | "f2llmv2" => modern(r"\p{N}"),
            "qwen35" => Self {
                normalizer: json!({"type": "NFC"}),
                ..splits(&[
                    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
                ])
            },
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "pixtral"
            | "midm-2.0" | "lfm2" | "jina-v5-nano" => {
                Self { ignore_merges: true, ..modern(r"\p{N}{1,3}") }
            }
            "dbrx" | "smaug-bpe" | "glm4" | "chatglm-bpe" => modern(r"\p{N}{1,3}"),
            "tekken" => Self { ignore_merges: true, ..cased("", r"\p{N}") },
            "gpt-4o" | "llama4" | "kanana2" | "minimax-m2" | "talkie" => {
                cased("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", r"\p{N}{1,3}")
            }
            "granite-embed-multi-97m" => Self {
                ignore_merges: true,
                ..cased("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", r"\p{N}{1,3}")
            },
            "tiny_aya" | "cohere2moe" => {
                let mut steps = cased("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", r"\p{N}{1,3}");
                steps.pre_tokenizers.insert(0, split(r"\d{1,3}(?=(?:\d{3})*\b)"));
                steps
            }
            "deepseek-v3" | "hunyuan-dense" | "joyai-llm" | "hy_v4" => {
                splits(&[r"\p{N}{1,3}", "[一-龥\u{3040}-ゟ゠-ヿ]+", DEEPSEEK])
            }
            "deepseek-coder" => splits(&[
                r"[\r\n]",
                r"\s?\p{L}+",
                r"\s?\p{P}+",
                "[一-龥\u{800}-一가-\u{d7ff}]+",
                r"\p{N}",
            ]),
            "deepseek-llm" => splits(&[
                r"[\r\n]",
                // Letters of alphabets that have cases.
                r"\s?[\p{Lu}\p{Ll}\p{Lt}]+",
                r"\s?[!-/:-~！-／：-～‘-‟\u{3000}-。]+",
                r"\s+$",
                "[一-龥\u{800}-一가-\u{d7ff}]+",
                r"\p{N}+",
            ]),
            "falcon" => splits(&[r"[\p{P}\$\+<=>\^~\|`]+", WORDS, "[0-9][0-9][0-9]"]),
            "default" => splits(&[r"[\p{P}\$\+<=>\^~\|]+", WORDS, r"\p{N}+", "[0-9][0-9][0-9]"]),
            "bloom" | "poro-chat" | "gpt3-finnish" => splits(&[" ?[^(\\s|.,!?…。，、।۔،)]+"]),
            "viking" => splits(&[" ?[^(\\s|.,!?…。，、।۔،)]+", r"\p{N}"]),
            "bailingmoe" | "bailingmoe2" | "llada-moe" => splits(&[
                r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
            ]),
            "seed-coder" => splits(&[&format!(
                r"{LETTERS}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
            )]),
            "superbpe" => splits(&[r"\p{N}+", r"(?=(\d{3})+(?!\d))"]),
            "minicpm5" => Self {
                ignore_merges: true,
                ..splits(&[r"\p{N}{1,3}", &format!(r"{LETTERS}|\p{{N}}+|{MARKS}")])
            },
            "chameleon" => splits(&[
                "<sentinel:[0-9]+>",
                "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
                "([\\t\\n]|    |  )",
                r"\p{N}",
                r"[\p{P}!-/:-@\[-`{-~]",
                WORDS,
            ]),
            "exaone-moe" => splits(&[
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
            ]),
            "laguna" => splits(&[r"[^\n]+|[\n]+", &format!(r"{LETTERS}|\p{{N}}|{MARKS}")]),
            "ufakzeka" => splits(&[&format!(r"[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{MARKS}")]),
            "kimi-k2" => splits(&[&format!(
                r"[\p{{Han}}]+|{}|\p{{N}}{{1,3}}|{MARKS}",
                CASED
                    .replace("CONTRACTIONS", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?")
                    .replace(r"\p{M}]", r"\p{M}&&[^\p{Han}]]")
            )]),
            _ => return None,
        })
    }

    /// For the library.
    pub(super) fn build(self) -> (Option<NormalizerWrapper>, PreTokenizerWrapper) {
        const CONSTANT: &str = "the steps are constants";
        let all = json!({"type": "Sequence", "pretokenizers": self.pre_tokenizers});
        let normalizer = serde_json::from_value(self.normalizer).expect(CONSTANT);
        (normalizer, serde_json::from_value(all).expect(CONSTANT))
    }
}

/// Whether models with these steps open every text, where a file does not say.
pub(super) fn opens(name: &str) -> bool {
    const OPENING: [&str; 11] = [
        "llama-bpe",
        "llama3",
        "llama-v3",
        "falcon3",
        "falcon-h1",
        "pixtral",
        "midm-2.0",
        "lfm2",
        "jina-v5-nano",
        "tekken",
        "chameleon",
    ];
    OPENING.contains(&name)
}

pub(super) fn split(pattern: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
}

pub(super) fn byte_level(use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
           "use_regex": use_regex})
}
