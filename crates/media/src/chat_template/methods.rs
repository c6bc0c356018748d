//! Python's methods of texts and lists. Those that change a list or a dict are missing on purpose.

use minijinja::value::{ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

/// Widest text that is filled up: a template does not choose how much memory is taken.
const WIDEST: usize = 10_000;

/// Calls a method; the engine's own come first.
pub fn call(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    match value.as_str() {
        Some(text) => match of_text(text, name, args)? {
            Some(done) => Ok(done),
            None => unknown_method_callback(state, value, name, args),
        },
        None if name == "index" && value.kind() == ValueKind::Seq => {
            let (wanted,): (&Value,) = from_args(args)?;
            let place = value.try_iter()?.position(|item| item == *wanted);
            place.map(Value::from).ok_or_else(|| missing(wanted))
        }
        None => unknown_method_callback(state, value, name, args),
    }
}

fn of_text(text: &str, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let cut = |at: usize, len: usize| {
        let parts = [&text[..at], &text[at..at + len], &text[at + len..]];
        parts.into_iter().map(Value::from).collect::<Value>()
    };
    Ok(Some(match name {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            text.strip_prefix(prefix).unwrap_or(text).into()
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            text.strip_suffix(suffix).unwrap_or(text).into()
        }
        "index" | "rindex" => {
            let (wanted,): (&str,) = from_args(args)?;
            let at = if name == "index" { text.find(wanted) } else { text.rfind(wanted) };
            let at = at.ok_or_else(|| missing(&wanted.into()))?;
            text[..at].chars().count().into()
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            let first = name == "partition";
            let at = if first { text.find(separator) } else { text.rfind(separator) };
            match at {
                Some(at) => cut(at, separator.len()),
                None if first => cut(text.len(), 0),
                None => cut(0, 0),
            }
        }
        "center" | "ljust" | "rjust" => {
            let (width, fill): (usize, Option<&str>) = from_args(args)?;
            let missing = missing_to(width, text)?;
            let left = match name {
                "ljust" => 0,
                "rjust" => missing,
                // CPython puts the odd one on the left where the width is odd too.
                _ => missing / 2 + (missing & width & 1),
            };
            let fill = fill.unwrap_or(" ");
            format!("{}{text}{}", fill.repeat(left), fill.repeat(missing - left)).into()
        }
        "zfill" => {
            let (width,): (usize,) = from_args(args)?;
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            format!("{sign}{}{digits}", "0".repeat(missing_to(width, text)?)).into()
        }
        "swapcase" => text.chars().map(swapped).collect::<String>().into(),
        "casefold" => text.to_lowercase().into(),
        _ => return Ok(None),
    }))
}

/// Characters that `text` has fewer than `width`.
fn missing_to(width: usize, text: &str) -> Result<usize, Error> {
    if width > WIDEST {
        let message = format!("a text of {width} characters: at most {WIDEST} are made");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    Ok(width.saturating_sub(text.chars().count()))
}

fn swapped(c: char) -> String {
    if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() }
}

fn missing(wanted: &Value) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("index: {wanted} is not in it"))
}
