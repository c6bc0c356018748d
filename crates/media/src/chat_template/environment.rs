//! What a template finds around it: transformers' filters and functions, Python's methods of texts.

use std::time::SystemTime;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, Value};
use minijinja_contrib::globals::cycler;
use time::OffsetDateTime;
use time::format_description::parse_strftime_owned;

use super::{json, methods, repr};

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
    environment.set_unknown_method_callback(methods::call);
    environment.set_formatter(repr::format);
    environment.add_filter("string", repr::string);
    environment.add_filter("join", repr::join);
    environment.add_filter("tojson", json::tojson);
    environment.add_function("raise_exception", raise);
    environment.add_function("namespace", namespace);
    environment.add_function("cycler", |items: Rest<Value>| cycler(items.0));
    environment.add_test("iterable", is_iterable);
    environment.add_test("sequence", is_sequence);
    environment
}

/// What Python's `iter` takes. The engine would go through none, too.
fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// What has a length and items: in Python texts and dicts, too.
fn is_sequence(value: &Value) -> bool {
    let has_items = matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map);
    value.is_undefined() || has_items
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
