//! `eval perplexity`: a language model and a text.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use sensorium_eval::Perplexity;
use sensorium_eval::perplexity::measure;

use crate::commands::Global;
use crate::commands::precision::Precision;
use crate::global::EMBEDDED;
use crate::open;
use crate::print;
use sensorium_train::progress::Progress;

/// Measures `text` with the model in the file `model` and prints the result.
pub fn run(
    global: &Global,
    precision: Precision,
    text: Option<&Path>,
    context: usize,
    json: bool,
) -> Result<()> {
    let example = "sensorium eval perplexity --model FILE.gguf --text FILE";
    if global.model == EMBEDDED {
        return Err(anyhow!(
            "expected --model FILE.gguf, got the embedded model, which answers about pictures\nhint: {example}"
        ));
    }
    let text = text.ok_or_else(|| anyhow!("expected --text FILE, got none\nhint: {example}"))?;
    let (model, _) = open::open(global, precision)?;
    let llm = model.language()?;
    let words = std::fs::read_to_string(text).with_context(|| {
        format!("could not read {} as UTF-8 text\nhint: check the path", text.display())
    })?;
    let progress = Progress::items("perplexity");
    let measured = measure(llm, &words, context, &|done, all| progress.set(done, all));
    progress.finish();
    let found = measured?;
    if json { print::json(&found) } else { print::line(sentence(&found)) }
}

fn sentence(found: &Perplexity) -> String {
    let Perplexity { perplexity, standard_error, context, windows, scored, chance, .. } = found;
    format!(
        "perplexity {perplexity:.4} +/- {standard_error:.4} (chance {chance}): {scored} tokens, the second halves of \
         {windows} windows of {context}"
    )
}
