//! Where a template's text stands, and what is done to it before it is parsed.

use serde_json::{Map, Value};

use super::{NAMES, percent};
use crate::{Error, Result};

/// Longest template, in bytes; published ones have up to 30,000.
const LONGEST: usize = 64 << 10;

/// The templates of a checkpoint by name, the one for all conversations first.
pub fn find<'a>(
    jinja: Option<&'a [u8]>,
    json: Option<&'a Value>,
    tokenizer_config: Option<&'a Value>,
) -> Result<Option<Vec<(&'static str, &'a str)>>> {
    if let Some(bytes) = jinja {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| wrong("UTF-8", format!("another byte at {}", error.valid_up_to())))?;
        return Ok(Some(vec![(NAMES[0], text)]));
    }
    for file in [json, tokenizer_config].into_iter().flatten() {
        match file.get("chat_template") {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => return Ok(Some(vec![(NAMES[0], text)])),
            Some(Value::Array(list)) => return listed(list).map(Some),
            Some(_) => {
                return Err(wrong("a text, or a list of named texts", "something else".into()));
            }
        }
    }
    Ok(None)
}

/// `[{"name": ..., "template": ...}]`
fn listed(list: &[Value]) -> Result<Vec<(&'static str, &str)>> {
    let named = |wanted: &'static str| {
        let entry =
            list.iter().find(|entry| entry.get("name").is_some_and(|name| name == wanted))?;
        Some((wanted, entry.get("template")?.as_str()?))
    };
    let [all, with_tools] = NAMES.map(named);
    let all = all.ok_or_else(|| wrong("one named \"default\" in the list", "none".into()))?;
    Ok([all].into_iter().chain(with_tools).collect())
}

/// The text with its `generation` blocks as filters and its line ends as Jinja reads them.
pub fn prepare(text: &str) -> Result<String> {
    if text.len() > LONGEST {
        let got = format!("{} bytes", text.len());
        return Err(wrong("at most 65536 bytes", got));
    }
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    nesting(&text)?;
    Ok(percent::formatted(&mark_generation(&text)))
}

/// Refuses brackets nested deeper than any expression's: the engine's parser calls itself for each.
fn nesting(text: &str) -> Result<()> {
    const DEEPEST: usize = 500;
    let mut depth = 0_usize;
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return Err(wrong("brackets at most 500 deep", "more".into()));
        }
    }
    Ok(())
}

/// `{% generation %}` marks the assistant's text for a loss mask. Its block becomes one that hands its
/// text to the filter of that name and keeps its names to itself; spaces around the tags are trimmed
/// as before.
fn mark_generation(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let Some(end) = tag[2..].find("%}").map(|end| end + 2) else {
            rest = tag;
            break;
        };
        let inner = &tag[2..end];
        let word = inner.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        let with = match word {
            "generation" => Some("with %}{% filter generation"),
            "endgeneration" => Some("endfilter %}{% endwith"),
            _ => None,
        };
        out.push_str("{%");
        match with {
            Some(with) => out.push_str(&inner.replacen(word, with, 1)),
            None => out.push_str(inner),
        }
        out.push_str("%}");
        rest = &tag[end + 2..];
    }
    out.push_str(rest);
    out
}

/// The special tokens that templates name, from `tokenizer_config.json`: `bos_token`, `eos_token`
/// and others, each a text or an object with its `content`.
pub fn special_tokens(tokenizer_config: &Value) -> Map<String, Value> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        other => other.get("content").and_then(Value::as_str).map(str::to_owned),
    };
    let extra = tokenizer_config.get("extra_special_tokens").and_then(Value::as_object);
    let all = tokenizer_config.as_object().into_iter().flatten().chain(extra.into_iter().flatten());
    let named = all.filter(|(name, _)| name.ends_with("_token"));
    named.filter_map(|(name, value)| Some((name.clone(), text(value)?.into()))).collect()
}

fn wrong(expected: &str, got: String) -> Error {
    Error::Template { place: String::new(), expected: expected.into(), got }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_blocks_are_filters_and_nothing_else_is() {
        for (text, want) in [
            (
                "a{% generation %}b{% endgeneration %}c",
                "a{% with %}{% filter generation %}b{% endfilter %}{% endwith %}c",
            ),
            (
                "{%- generation -%}\n{%-endgeneration+%}",
                "{%- with %}{% filter generation -%}\n{%-endfilter %}{% endwith+%}",
            ),
            ("{% if generation %}x{% endif %}{{ 1 }}", "{% if generation %}x{% endif %}{{ 1 }}"),
            ("{% generation", "{% generation"),
            ("{%}%}{%", "{%}%}{%"),
        ] {
            assert_eq!(mark_generation(text), want);
        }
    }
}
