//! What the user reads: results on standard output, errors on standard error.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::ops::ControlFlow;

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

/// What of the text so far was not written yet. A character whose last bytes are still to come
/// decodes as U+FFFD: it waits.
fn fresh<'a>(so_far: &'a str, written: &mut usize) -> &'a str {
    let whole = so_far.trim_end_matches('\u{FFFD}');
    let fresh = whole.get(*written..).unwrap_or_default();
    *written = (*written).max(whole.len());
    fresh
}

/// Prints a text as it grows.
#[derive(Default)]
pub struct Stream {
    written: usize,
    failed: Option<anyhow::Error>,
}

impl Stream {
    /// The text so far; breaks off once nobody reads.
    pub fn step(&mut self, so_far: &str) -> ControlFlow<()> {
        match piece(fresh(so_far, &mut self.written)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    /// The whole text: what is left of it, a character that was never finished, and the line's end.
    pub fn finish(self, whole: &str) -> Result<()> {
        match self.failed {
            Some(error) => Err(error),
            None => line(whole.get(self.written..).unwrap_or_default()),
        }
    }
}

/// Prints a line of a log; a closed standard error must not end the program.
pub fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints a warning; a closed standard error must not end the program.
pub fn warning(text: &str) {
    let _ = writeln!(std::io::stderr(), "warning: {text}");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_hold_back_unfinished_characters() {
        let mut written = 0;
        assert_eq!(fresh(" a", &mut written), " a");
        assert_eq!(fresh(" a\u{FFFD}", &mut written), "");
        assert_eq!(fresh(" a\u{e9}b", &mut written), "\u{e9}b");
    }
}
