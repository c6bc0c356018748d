//! How surprised a language model is by a text: the exponential of the mean of `-ln p`.
//!
//! The protocol of llama.cpp's `perplexity`, so that figures compare: the text's ids are cut into
//! windows of `context` tokens one after another, what is left over is not used; each window is read
//! alone; only its second half is scored, where each token has at least half a window before it:
//! `context - context/2 - 1` tokens of each. Where the file says that texts are opened with a token,
//! that token takes the place of each window's first.
//!
//! ```text
//! ids  |---- window ----|---- window ----|---- window ----|-- unused
//!              scored           scored           scored
//! ```

use sensorium_inference::LanguageModel;
use serde::Serialize;

use crate::{EvalError, Result};

/// A text's perplexity and how it was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Perplexity {
    /// `exp` of the mean of `-ln p` over the scored tokens; the vocabulary's size is what guessing
    /// gives.
    pub perplexity: f64,
    /// Its standard error, from the tokens as if they were independent.
    pub standard_error: f64,
    /// Mean of `-ln p`, in nats.
    pub nats_per_token: f64,
    /// Tokens of a window.
    pub context: usize,
    /// Windows read.
    pub windows: usize,
    /// Tokens scored.
    pub scored: usize,
    /// Tokens of the text.
    pub tokens: usize,
    /// What guessing would give.
    pub chance: usize,
}

/// Measures `text` in windows of `context` tokens; `progress` gets the windows done and all.
///
/// # Errors
/// The window does not fit the model, or the text does not fill one.
pub fn measure(
    llm: &LanguageModel,
    text: &str,
    context: usize,
    progress: &dyn Fn(usize, usize),
) -> Result<Perplexity> {
    let longest = llm.lm.config.context();
    if !(4..=longest).contains(&context) {
        return Err(EvalError::Window { longest, got: context });
    }
    let ids = llm.prompt(text)?;
    let windows = ids.len() / context;
    if windows == 0 {
        return Err(EvalError::ShortText { context, got: ids.len() });
    }
    let mut scores: Vec<f64> = Vec::new();
    for (done, window) in ids.chunks_exact(context).enumerate() {
        progress(done, windows);
        let mut window = window.to_vec();
        if let Some(opening) = llm.lm.text.bos_token_id {
            window[0] = opening;
        }
        scores.extend(llm.surprise(&window, context / 2).into_iter().map(f64::from));
    }
    progress(windows, windows);
    let (mean, error) = mean_and_error(&scores);
    Ok(Perplexity {
        perplexity: mean.exp(),
        standard_error: mean.exp() * error,
        nats_per_token: mean,
        context,
        windows,
        scored: scores.len(),
        tokens: ids.len(),
        chance: llm.lm.config.vocabulary(),
    })
}

/// Mean and standard error of the mean; of one number the error is 0.
fn mean_and_error(x: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let squares: f64 = x.iter().map(|x| (x - mean).powi(2)).sum();
    (mean, (squares / n / (n - 1.0).max(1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_error_of_known_numbers() {
        let (mean, error) = mean_and_error(&[1.0, 2.0, 3.0, 6.0]);
        // Variance 14/4 of the population, over n - 1 = 3.
        assert_eq!((mean, error), (3.0, (14.0_f64 / 12.0).sqrt()));
        assert_eq!(mean_and_error(&[2.0]), (2.0, 0.0));
    }
}
