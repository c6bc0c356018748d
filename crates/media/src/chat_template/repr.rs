//! Values as texts, as Python's `str` has them. The engine's own way is not used for lists and dicts:
//! a value that holds another twice, and that a third twice, is short to make and endless to write.

use std::fmt::Write;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Output, State, Value};

use super::json::number;

/// Lists within lists.
const DEPTH: usize = 200;

/// `{{ value }}`
pub fn format(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    let text = text(state, value)?;
    out.write_str(&text).map_err(|error| Error::new(ErrorKind::WriteFailure, error.to_string()))
}

/// `value|string`
pub fn string(state: &State, value: &Value) -> Result<String, Error> {
    text(state, value)
}

/// `values|join(separator, attribute=None)`
pub fn join(
    state: &State,
    values: &Value,
    separator: Option<&str>,
    options: Kwargs,
) -> Result<String, Error> {
    let attribute: Option<&str> = options.get("attribute")?;
    let named: Option<&str> = options.get("d")?;
    options.assert_all_used()?;
    let separator = separator.or(named).unwrap_or_default();
    let mut out = String::new();
    for (i, value) in values.try_iter()?.enumerate() {
        if i > 0 {
            state.consume_fuel(1 + (separator.len() / 64) as u64)?;
            out.push_str(separator);
        }
        let value = match attribute {
            Some(attribute) => value.get_attr(attribute)?,
            None => value,
        };
        out.push_str(&text(state, &value)?);
    }
    Ok(out)
}

fn text(state: &State, value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => {
            let mut out = String::new();
            write(state, value, 0, &mut out)?;
            Ok(out)
        }
        ValueKind::Number if !value.is_integer() => number(value),
        _ => Ok(value.to_string()),
    }
}

fn write(state: &State, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
    state.consume_fuel(1)?;
    if depth > DEPTH {
        let message = format!("lists nested more than {DEPTH} deep");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            let [open, close] = if value.is_tuple() { ['(', ')'] } else { ['[', ']'] };
            out.push(open);
            let mut n = 0;
            for item in value.try_iter()? {
                if n > 0 {
                    out.push_str(", ");
                }
                write(state, &item, depth + 1, out)?;
                n += 1;
            }
            if n == 1 && value.is_tuple() {
                out.push(',');
            }
            out.push(close);
        }
        ValueKind::Map => {
            out.push('{');
            for (i, key) in value.try_iter()?.enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                write(state, &key, depth + 1, out)?;
                out.push_str(": ");
                write(state, &value.get_item(&key)?, depth + 1, out)?;
            }
            out.push('}');
        }
        ValueKind::Number if !value.is_integer() => out.push_str(&number(value)?),
        _ => {
            state.consume_fuel(value.as_str().map_or(0, |text| text.len() as u64 / 64))?;
            // Writing to a text cannot fail.
            let _ = write!(out, "{value:?}");
        }
    }
    Ok(())
}
