//! Texts that follow a JSON schema, whatever the model would rather say: before each token is drawn, the logits of
//! all that would leave the schema's grammar are made as low as can be.
//!
//! ```text
//! schema ──llguidance──▶ grammar ─┐
//! tokenizer ──bytes of each id────┴─▶ Guide ──which ids may follow──▶ logits ──draw──▶ id ──▶ Guide
//! ```

use std::borrow::Cow;
use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory, panic_utils};
use sensorium_media::Tokenizer;
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// A JSON schema that a text follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Grammar(Value);

impl Grammar {
    /// Of a schema as <https://json-schema.org> has it. Properties come in the schema's order, with one space behind
    /// commas and colons.
    ///
    /// # Errors
    /// [`Error::Schema`] if it is none, holds what is not supported, or nothing follows it.
    pub fn json_schema(schema: Value) -> Result<Self> {
        let got = schema.to_string();
        let Value::Object(mut schema) = schema else {
            return Err(Error::Schema { reason: format!("{got}, which is no object") });
        };
        let spaces = json!({
            "whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "
        });
        schema.entry("x-guidance").or_insert(spaces);
        let grammar = Self(schema.into());
        grammar.matcher(&ApproximateTokEnv::single_byte_env()).map(|_| grammar)
    }

    /// A list of one or more objects which have all of these properties, with their schemas.
    ///
    /// # Errors
    /// As [`json_schema`](Self::json_schema).
    pub fn rows(properties: Map<String, Value>) -> Result<Self> {
        let required: Vec<&String> = properties.keys().collect();
        let row = json!({
            "type": "object", "required": required, "properties": properties, "additionalProperties": false
        });
        Self::json_schema(json!({ "type": "array", "minItems": 1, "items": row }))
    }

    fn matcher(&self, tokens: &TokEnv) -> Result<Matcher> {
        let grammar = TopLevelGrammar::from_json_schema(self.0.clone());
        let parser = panic_utils::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut factory = ParserFactory::new_simple(tokens)?;
            factory.quiet().create_parser(grammar)
        }));
        parser.map(|parser| Matcher::new(Ok(parser))).map_err(schema)
    }
}

fn schema(reason: impl ToString) -> Error {
    Error::Schema { reason: reason.to_string().lines().next().unwrap_or_default().to_owned() }
}

/// A grammar at work on one text.
pub(crate) struct Guide<'a> {
    matcher: Matcher,
    eos_token_ids: &'a [u32],
    /// What the grammar takes for the text's end: an id behind all others.
    end: u32,
}

impl std::fmt::Debug for Guide<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guide").field("end", &self.end).finish_non_exhaustive()
    }
}

impl<'a> Guide<'a> {
    pub fn new(grammar: &Grammar, tokenizer: &Tokenizer, eos_token_ids: &'a [u32]) -> Result<Self> {
        let mut words = tokenizer.token_bytes()?;
        // The ends of a model are texts to some tokenizers.
        for &id in eos_token_ids {
            words.get_mut(id as usize).into_iter().for_each(Vec::clear);
        }
        let end = words.len() as u32;
        words.push(Vec::new());
        let trie = TokTrie::from(&TokRxInfo::new(end + 1, end), &words);
        let matcher = grammar.matcher(&(Arc::new(ApproximateTokEnv::new(trie)) as TokEnv))?;
        Ok(Self { matcher, eos_token_ids, end })
    }

    /// Which of so many ids may follow.
    ///
    /// # Errors
    /// None may: the tokenizer cannot spell what the schema asks for.
    pub fn allowed(&mut self, ids: usize) -> Result<Vec<bool>> {
        let unspeakable = || schema("a schema that the model's tokenizer has no words for");
        let mask = self.matcher.compute_mask_or_eos().map_err(|_| unspeakable())?;
        let ends = mask.is_allowed(self.end);
        let allowed = |id: u32| match self.eos_token_ids.contains(&id) {
            true => ends,
            false => id < self.end && mask.is_allowed(id),
        };
        let allowed: Vec<bool> = (0..ids as u32).map(allowed).collect();
        match allowed.contains(&true) {
            true => Ok(allowed),
            false => Err(unspeakable()),
        }
    }

    /// Goes on by a token of the text.
    pub fn read(&mut self, id: u32) -> Result<()> {
        self.matcher.consume_token(id).map_err(schema)
    }

    /// Whether nothing may follow.
    pub fn is_over(&self) -> bool {
        self.matcher.is_stopped()
    }

    /// Whether the text may end here.
    pub fn is_whole(&mut self) -> bool {
        self.matcher.is_stopped() || self.matcher.is_accepting().unwrap_or(false)
    }
}

/// Makes the logits of all that is not allowed as low as can be.
pub(crate) fn mask(logits: &mut Cow<'_, [f32]>, allowed: &[bool]) {
    for (logit, _) in logits.to_mut().iter_mut().zip(allowed).filter(|(_, allowed)| !**allowed) {
        *logit = f32::NEG_INFINITY;
    }
}
