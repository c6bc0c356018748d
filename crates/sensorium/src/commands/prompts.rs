//! `run --prompts`: many prompts from a file, several at once, a line of JSON for each.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use sensorium_inference::{Batch, Continuation, GenerateOptions, LanguageModel};
use serde::Deserialize;
use serde_json::json;

use crate::print;

/// Texts that are made at once: the weights are read once for all.
const AT_ONCE: usize = 8;

/// A line of the file.
#[derive(Deserialize)]
struct Line {
    prompt: String,
    /// Stays with the answer.
    id: Option<serde_json::Value>,
}

/// Continues every prompt of the file, in its order; a line that is none is named, and passed over.
///
/// # Errors
/// The file cannot be read, or some of its lines were passed over.
pub fn run(
    llm: &LanguageModel,
    path: &Path,
    options: &GenerateOptions,
    prompt: impl Fn(&str) -> Result<Vec<u32>>,
) -> Result<()> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut lines = BufReader::new(file).lines().enumerate();
    let (mut batch, mut places) = (Batch::new(llm), BTreeMap::new());
    let (mut done, mut printed, mut bad) = (BTreeMap::new(), 0, 0);
    let mut more = true;
    while more || !batch.is_empty() {
        while batch.len() < AT_ONCE {
            let Some((at, line)) = lines.next() else {
                more = false;
                break;
            };
            let read = line.map_err(Into::into).and_then(|line| parsed(&line));
            let joined = read.and_then(|line| match line {
                Some(line) => Ok(Some((batch.join(&prompt(&line.prompt)?, options)?, line.id))),
                None => Ok(None),
            });
            match joined {
                Ok(Some((key, id))) => drop(places.insert(key, (at, id))),
                Ok(None) => drop(done.insert(at, None)),
                Err(error) => {
                    bad += 1;
                    done.insert(at, Some(failed(at, &error)));
                }
            }
        }
        for (key, ended) in batch.step(&mut |_, _| ControlFlow::Continue(())) {
            let Some((at, id)) = places.remove(&key) else { continue };
            let line = ended.map(|ended| told(at, id, &ended)).unwrap_or_else(|error| {
                bad += 1;
                failed(at, &error.into())
            });
            done.insert(at, Some(line));
        }
        while let Some(line) = done.remove(&printed) {
            line.map_or(Ok(()), print::line)?;
            printed += 1;
        }
    }
    match bad {
        0 => Ok(()),
        bad => Err(anyhow!(
            "{bad} lines of {} were passed over\nhint: the lines that begin with {{\"line\" and have an \"error\" name them",
            path.display()
        )),
    }
}

/// Nothing of an empty line.
fn parsed(line: &str) -> Result<Option<Line>> {
    if line.trim().is_empty() {
        return Ok(None);
    }
    let wrong = |error| anyhow!("expected {{\"prompt\": \"...\"}}, got {error}");
    serde_json::from_str(line).map(Some).map_err(wrong)
}

fn told(at: usize, id: Option<serde_json::Value>, ended: &Continuation) -> serde_json::Value {
    json!({
        "line": at + 1,
        "id": id,
        "text": ended.text,
        "prompt_tokens": ended.prompt_tokens,
        "tokens": ended.ids.len(),
        "finish_reason": ended.finish,
    })
}

fn failed(at: usize, error: &anyhow::Error) -> serde_json::Value {
    let error = error.to_string();
    print::warning(&format!("line {}: {error}", at + 1));
    json!({"line": at + 1, "error": error.lines().next()})
}
