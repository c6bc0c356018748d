//! How surprised a language model is by each text of the data.
//!
//! A text is read from its opening token in windows of the context one after another, each alone; every
//! token but a window's first is scored. The figure is `exp` of the mean of `-ln p` over all of them.

use sensorium_inference::LanguageModel;
use sensorium_media::{Message, Role};

use super::set::Set;
use super::{Measured, Metric, Own};
use crate::error::{EvalError, Result};
use crate::statistic::Aggregate;

/// The sum of `-ln p` and the number of tokens, or of the text's bytes.
const TOKENS: &str = "nats and tokens";
const BYTES: &str = "bits and bytes";

/// Perplexity by token, and bits by byte, which compare models of different vocabularies.
pub(super) fn measure(llm: &LanguageModel, set: &mut Set<'_>, own: &Own<'_>) -> Result<Measured> {
    let longest = llm.lm.config.context();
    let context = own.context.min(longest);
    if context < 2 {
        return Err(EvalError::Window { longest, got: context });
    }
    let examples = set.each(|set, item| {
        let text = match item.texts.first() {
            Some(text) => text.clone(),
            None => answers(&set.example(item)?.messages),
        };
        let ids = llm.prompt(&text).map_err(EvalError::from)?;
        if ids.len() < 2 {
            return Err(format!("expected a text of two tokens, got {text:?}").into());
        }
        let windows = ids.chunks(context).filter(|window| window.len() > 1);
        let losses: Vec<f32> = windows.flat_map(|window| llm.surprise(window, 0)).collect();
        let nats: f64 = losses.iter().map(|loss| f64::from(*loss)).sum();
        let mut scored = item.scored(text.clone(), String::new());
        scored.worth = -nats / losses.len() as f64;
        scored.numbers.insert(TOKENS.into(), vec![nats, losses.len() as f64]);
        let bits = nats / std::f64::consts::LN_2;
        scored.numbers.insert(BYTES.into(), vec![bits, text.len() as f64]);
        Ok(vec![scored])
    })?;
    let perplexity = Metric::new("texts", "perplexity", TOKENS, Aggregate::Perplexity);
    let chance = Some(llm.lm.config.vocabulary() as f64);
    let metrics = vec![
        Metric { chance, ..perplexity },
        Metric { percent: false, ..Metric::new("texts", "bits per byte", BYTES, Aggregate::Ratio) },
    ];
    let notes = vec![format!(
        "windows of {context} tokens, each read alone, all tokens but a window's first scored; lower is better"
    )];
    Ok(Measured { examples, metrics, notes })
}

/// What the assistant says.
fn answers(messages: &[Message]) -> String {
    let said = messages.iter().filter(|message| message.role == Role::Assistant);
    said.map(Message::words).collect::<Vec<_>>().join("\n")
}
