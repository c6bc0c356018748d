//! What a template finds around it: transformers' filters and functions, Python's methods of texts.

use std::time::SystemTime;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Rest, ValueOrKwargs, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;
use time::OffsetDateTime;
use time::format_description::parse_strftime_owned;

use super::{json, repr};

/// The template's own words, on their way out of the engine.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Raised(pub String);

/// An environment without templates and without limits on their work.
pub fn new() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    if let Ok(syntax) = syntax {
        environment.set_syntax(syntax);
    }
    environment.set_debug(false);
    environment.set_unknown_method_callback(method);
    environment.set_formatter(repr::format);
    environment.add_filter("string", repr::string);
    environment.add_filter("join", repr::join);
    environment.add_filter("tojson", json::tojson);
    environment.add_function("raise_exception", raise);
    environment.add_function("namespace", namespace);
    environment
}

/// What `strftime_now` takes for now.
pub fn set_now(environment: &mut Environment<'_>, now: SystemTime) {
    environment.add_function("strftime_now", move |format: &str| strftime(now, format));
}

/// What stands around the text of a `generation` block; nothing in a prompt that is to be answered.
pub fn set_marks(environment: &mut Environment<'_>, marks: Option<[char; 2]>) {
    environment.add_filter("generation", move |text: String| match marks {
        Some([begin, end]) => format!("{begin}{text}{end}"),
        None => text,
    });
}

fn raise(message: Value) -> Result<Value, Error> {
    let message = message.to_string();
    Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
}

fn strftime(now: SystemTime, format: &str) -> Result<String, Error> {
    let wrong = |error: &dyn std::fmt::Display| {
        Error::new(ErrorKind::InvalidOperation, format!("strftime_now({format:?}): {error}"))
    };
    let format = parse_strftime_owned(format).map_err(|error| wrong(&error))?;
    OffsetDateTime::from(now).format(&format).map_err(|error| wrong(&error))
}

/// The engine's, but for names that begin with an underscore.
fn namespace(defaults: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let defaults = defaults.0.into_iter().next();
    if let Some(values) = &defaults {
        for name in values.try_iter()? {
            if name.as_str().is_some_and(|name| name.starts_with('_')) {
                let message =
                    format!("a namespace cannot hold {name}: it begins with an underscore");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        }
    }
    minijinja::functions::namespace(defaults)
}

/// Python's methods. Those that change a list or a dict are missing on purpose.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    match (value.as_str(), name) {
        (Some(text), "removeprefix") => {
            let (prefix,): (&str,) = from_args(args)?;
            Ok(text.strip_prefix(prefix).unwrap_or(text).into())
        }
        (Some(text), "removesuffix") => {
            let (suffix,): (&str,) = from_args(args)?;
            Ok(text.strip_suffix(suffix).unwrap_or(text).into())
        }
        _ => unknown_method_callback(state, value, name, args),
    }
}
