//! A program that does one piece of work whenever it is told to.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A running program, warm.
#[derive(Debug)]
pub struct Worker {
    pub ready: Ready,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    command: String,
}

/// What it says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Ready {
    pub name: String,
    /// Smallest cosine of its outputs to those in f32, where that is asked.
    pub cosine: Option<f64>,
}

impl Worker {
    /// Starts it and waits until it has warmed up.
    ///
    /// # Errors
    /// It does not start, or ends before it is ready.
    pub fn start(command: &mut Command) -> Result<Self> {
        let shown = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {shown}"))?;
        let input = child.stdin.take().context("its input was piped")?;
        let output = BufReader::new(child.stdout.take().context("its output was piped")?);
        let ready = Ready { name: String::new(), cosine: None };
        let mut worker = Self { ready, child, input, output, command: shown };
        worker.ready = worker.line(ready_of)?;
        Ok(worker)
    }

    /// Does the work once; milliseconds.
    ///
    /// # Errors
    /// It has ended, or prints something else.
    pub fn run(&mut self) -> Result<f64> {
        writeln!(self.input).with_context(|| format!("{} has ended", self.command))?;
        self.line(milliseconds_of)
    }

    fn line<T>(&mut self, parse: impl FnOnce(&str) -> Result<T>) -> Result<T> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line);
        read.and(Ok(line))
            .map_err(anyhow::Error::from)
            .and_then(|line| parse(line.trim()))
            .with_context(|| format!("from {}", self.command))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It has nothing to lose; if it is gone already, so much the better.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ready_of(line: &str) -> Result<Ready> {
    let value: Value = serde_json::from_str(line).unwrap_or_default();
    match value["ready"].as_str() {
        Some(name) => Ok(Ready { name: name.to_owned(), cosine: value["cosine"].as_f64() }),
        None => bail!("expected {{\"ready\": name}}, got `{line}`\nhint: its own message is above"),
    }
}

fn milliseconds_of(line: &str) -> Result<f64> {
    let value: Value = serde_json::from_str(line).unwrap_or_default();
    match value["ms"].as_f64() {
        Some(ms) if ms > 0.0 => Ok(ms),
        _ => {
            bail!("expected {{\"ms\": milliseconds}}, got `{line}`\nhint: its own message is above")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_workers_are_read() {
        let ready = ready_of(r#"{"ready": "torch 2", "cosine": 0.5, "losses": [7.1]}"#).unwrap();
        assert_eq!(ready, Ready { name: "torch 2".to_owned(), cosine: Some(0.5) });
        assert_eq!(milliseconds_of(r#"{"ms": 12.5}"#).unwrap(), 12.5);
        for line in ["", "Traceback", r#"{"ms": 0}"#, r#"{"ms": "1"}"#, r#"{"ready": 1}"#] {
            assert!(ready_of(line).is_err() && milliseconds_of(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_worker_works_once_a_line() {
        let script = "echo '{\"ready\": \"shell\"}'; while read -r _; do echo '{\"ms\": 3}'; done";
        let mut worker = Worker::start(Command::new("sh").args(["-c", script])).unwrap();
        assert_eq!(worker.ready.name, "shell");
        assert_eq!([worker.run().unwrap(), worker.run().unwrap()], [3.0, 3.0]);
    }

    #[test]
    fn a_worker_that_fails_is_named() {
        let error = Worker::start(Command::new("sh").args(["-c", "echo broken"])).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("broken") && text.contains("\"sh\""), "{text}");
    }
}
