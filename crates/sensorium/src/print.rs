//! What the user reads: results on standard output, errors on standard error.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use anyhow::Result;
use serde::Serialize;

/// Prints a result and the end of its line.
pub fn line(text: impl Display) -> Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{text}")?)
}

/// Prints a piece of a line, at once.
pub fn piece(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Prints a result as JSON.
pub fn json(value: &impl Serialize) -> Result<()> {
    line(serde_json::to_string_pretty(value)?)
}

/// Prints an error with a hint: its own, or where to look.
pub fn error(message: &str) {
    eprintln!("error: {message}");
    if !message.contains("hint: ") {
        eprintln!("hint: `sensorium --help` lists the commands");
    }
}

/// Whether an error only says that the reader of our output has gone, as `head` does.
pub fn is_closed(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
