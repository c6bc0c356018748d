//! SentencePiece's byte-pair encoding (Kudo and Richardson 2018) from the scores that a file carries: of two neighbours those are merged first whose whole has the best score.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::{DecoderWrapper, NormalizerWrapper};

use super::gguf::{NORMAL, Published, UNKNOWN, UNUSED, USER_DEFINED, wrong};
use crate::Result;

/// Stands for a space.
pub(super) const SPACE: &str = "\u{2581}";
/// Longest piece that is put together from others, in bytes; published ones have up to 93.
const LONGEST: usize = 256;
/// Most pairs of pieces; published vocabularies have up to 600,000.
const MAX_MERGES: usize = 1 << 22;

/// What a file of such a vocabulary says besides its tokens.
#[derive(Clone, Copy, Debug)]
pub struct Pieces<'a> {
    /// Score of each token, the best first to be merged.
    pub scores: &'a [f32],
    /// Whether a text is read as if a space stood before it.
    pub space_prefix: bool,
}

/// The model and what stands around it.
pub(super) fn build(
    published: &Published<'_>,
    pieces: &Pieces<'_>,
) -> Result<(BPE, NormalizerWrapper, DecoderWrapper)> {
    const CONSTANT: &str = "the steps are constants";
    let normalizer = serde_json::from_value(normalizer(pieces.space_prefix)).expect(CONSTANT);
    let decoder = serde_json::from_value(decoder(pieces.space_prefix)).expect(CONSTANT);
    Ok((bpe(published, pieces)?, normalizer, decoder))
}

/// The model.
pub(super) fn bpe(published: &Published<'_>, pieces: &Pieces<'_>) -> Result<BPE> {
    let n = published.tokens.len();
    if pieces.scores.len() != n {
        let expected = format!("one for each of {n} tokens");
        return Err(wrong("scores", expected, pieces.scores.len().to_string()));
    }
    let known = published.of(|kind| kind != UNUSED);
    let vocab: Vocab = known.map(|(token, id)| (token.clone(), id)).collect();
    let unknown = published.of(|kind| kind == UNKNOWN).next().map(|(token, _)| token.clone());
    let texts = published.of(|kind| matches!(kind, NORMAL | USER_DEFINED));
    let mut bpe = BPE::builder()
        .vocab_and_merges(vocab, merges(&texts.collect::<Vec<_>>(), pieces.scores)?)
        .byte_fallback(true)
        .fuse_unk(true);
    if let Some(unknown) = unknown {
        bpe = bpe.unk_token(unknown);
    }
    bpe.build().map_err(|error| wrong("tokens", "a consistent BPE", error.to_string()))
}

/// All pairs of pieces that make a piece, best first.
fn merges(pieces: &[(&String, u32)], scores: &[f32]) -> Result<Vec<(String, String)>> {
    let ids: HashMap<&str, u32> = pieces.iter().map(|(piece, id)| (piece.as_str(), *id)).collect();
    let mut merges = Vec::new();
    for (piece, id) in pieces.iter().filter(|(piece, _)| piece.len() <= LONGEST) {
        for (at, _) in piece.char_indices().skip(1) {
            let (left, right) = piece.split_at(at);
            if ids.contains_key(left) && ids.contains_key(right) {
                merges.push((scores[*id as usize], left, right));
            }
        }
        if merges.len() > MAX_MERGES {
            let expected = format!("at most {MAX_MERGES} pairs of pieces that make a piece");
            return Err(wrong("tokens", expected, "more".into()));
        }
    }
    merges.sort_by(|(a, left, _), (b, other, _)| {
        b.total_cmp(a).then(Reverse(left.len()).cmp(&Reverse(other.len())))
    });
    Ok(merges.into_iter().map(|(_, left, right)| (left.to_owned(), right.to_owned())).collect())
}

fn normalizer(space_prefix: bool) -> Value {
    let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
    let prefix = json!({"type": "Prepend", "prepend": SPACE});
    let all = if space_prefix { vec![prefix, spaces] } else { vec![spaces] };
    json!({"type": "Sequence", "normalizers": all})
}

pub(super) fn decoder(space_prefix: bool) -> Value {
    let mut all = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if space_prefix {
        all.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": all})
}
