//! What is done to logits before a token is drawn, in transformers' order: penalties, forbidden
//! sequences, forbidden tokens.

use std::borrow::Cow;

use sensorium_pretrained::GenerationConfig;

/// What who asks for a text wants done; what is not said is done as the model's makers say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogitsOptions {
    /// Logits of tokens that were read or said are divided by this, negative ones multiplied (Keskar et
    /// al. 2019, <https://arxiv.org/abs/1909.05858>); 1 changes nothing.
    pub repetition_penalty: Option<f32>,
    /// Taken from a token's logit for each time that it was said.
    pub frequency_penalty: f32,
    /// Taken from a token's logit if it was said.
    pub presence_penalty: f32,
    /// So many tokens in a row are never there twice; 0 allows all.
    pub no_repeat_ngram_size: Option<usize>,
    /// Tokens that never follow each other so.
    pub bad_words_ids: Vec<Vec<u32>>,
    /// Added to a token's logit.
    pub logit_bias: Vec<(u32, f32)>,
}

/// Changes the logits of one text.
#[derive(Clone, Debug)]
pub(crate) struct LogitsProcessor<'a> {
    /// The model's own.
    pub model: &'a GenerationConfig,
    /// Never drawn: what stands for media.
    pub suppress_tokens: &'a [u32],
    /// Ids of the prompt.
    pub prompt: Vec<u32>,
}

impl LogitsProcessor<'_> {
    /// The logits `[V]` of the token after those said so far, as `options` ask for them.
    pub fn process(&self, options: &LogitsOptions, logits: &mut Cow<'_, [f32]>, said: &[u32]) {
        let Self { model, suppress_tokens, prompt } = self;
        let penalty = options.repetition_penalty.or(model.repetition_penalty).unwrap_or(1.0);
        if penalty != 1.0 {
            let (logits, mut done) = (logits.to_mut(), std::collections::HashSet::new());
            for &id in prompt.iter().chain(said).filter(|id| done.insert(**id)) {
                change(logits, id, |x| if x < 0.0 { x * penalty } else { x / penalty });
            }
        }
        let (frequency, presence) = (options.frequency_penalty, options.presence_penalty);
        if frequency != 0.0 || presence != 0.0 {
            let (logits, mut done) = (logits.to_mut(), std::collections::HashSet::new());
            for &id in said {
                let first = if done.insert(id) { presence } else { 0.0 };
                change(logits, id, |x| x - frequency - first);
            }
        }
        for &(id, bias) in &options.logit_bias {
            change(logits.to_mut(), id, |x| x + bias);
        }
        let n = options.no_repeat_ngram_size.or(model.no_repeat_ngram_size).unwrap_or(0);
        if n > 0 {
            let all: Vec<u32> = prompt.iter().chain(said).copied().collect();
            suppress(logits, repeated(&all, n));
        }
        for words in [&model.bad_words_ids, &options.bad_words_ids] {
            let ends = words.iter().filter_map(|word| {
                let (last, before) = word.split_last()?;
                // A sequence may begin in the prompt.
                let all = prompt.iter().chain(said).rev();
                before.iter().rev().eq(all.take(before.len())).then_some(*last)
            });
            suppress(logits, ends);
        }
        suppress(logits, model.suppress_tokens.iter().chain(*suppress_tokens).copied());
        if said.is_empty() {
            suppress(logits, model.begin_suppress_tokens.iter().copied());
        }
    }
}

/// Tokens that would make `n` in a row that `ids` hold already.
fn repeated(ids: &[u32], n: usize) -> impl Iterator<Item = u32> {
    let last = &ids[(ids.len() + 1).saturating_sub(n)..];
    let whole = (ids.len() + 1 >= n).then_some(());
    let seen = whole.into_iter().flat_map(move |()| ids.windows(n));
    seen.filter(move |seen| seen[..n - 1] == *last).map(move |seen| seen[n - 1])
}

/// Makes the logits of some ids as low as can be.
fn suppress(logits: &mut Cow<'_, [f32]>, ids: impl Iterator<Item = u32>) {
    ids.for_each(|id| change(logits.to_mut(), id, |_| f32::NEG_INFINITY));
}

/// A file may name ids that the model has no logits for.
fn change(logits: &mut [f32], id: u32, change: impl FnOnce(f32) -> f32) {
    if let Some(logit) = logits.get_mut(id as usize) {
        *logit = change(*logit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [2.0, -2.0, 1.0, 0.0, 3.0];
    const NONE: f32 = f32::NEG_INFINITY;

    fn processed(model: &GenerationConfig, options: &LogitsOptions, said: &[u32]) -> Vec<f32> {
        let (suppress_tokens, prompt) = (&[][..], vec![0, 1]);
        let processor = LogitsProcessor { model, suppress_tokens, prompt };
        let mut logits = Cow::Borrowed(&LOGITS[..]);
        processor.process(options, &mut logits, said);
        logits.into_owned()
    }

    #[test]
    fn each_does_what_its_name_says() {
        let model = GenerationConfig::default();
        let with = |options: &LogitsOptions, said: &[u32]| processed(&model, options, said);
        let usual = LogitsOptions::default;
        assert_eq!(with(&usual(), &[2, 2]), LOGITS);
        let options = LogitsOptions { repetition_penalty: Some(2.0), ..usual() };
        assert_eq!(with(&options, &[2, 2]), [1.0, -4.0, 0.5, 0.0, 3.0]);
        let options = LogitsOptions { frequency_penalty: 0.5, presence_penalty: 0.25, ..usual() };
        assert_eq!(with(&options, &[2, 2]), [2.0, -2.0, -0.25, 0.0, 3.0]);
        let options = LogitsOptions { logit_bias: vec![(3, 5.0), (9, 1.0)], ..usual() };
        assert_eq!(with(&options, &[]), [2.0, -2.0, 1.0, 5.0, 3.0]);
        let options = LogitsOptions { no_repeat_ngram_size: Some(2), ..usual() };
        // 0 1 4 0: what came after the first 0 does not come again.
        assert_eq!(with(&options, &[4, 0]), [2.0, NONE, 1.0, 0.0, 3.0]);
        let options = LogitsOptions { no_repeat_ngram_size: Some(1), ..usual() };
        assert_eq!(with(&options, &[4]), [NONE, NONE, 1.0, 0.0, NONE]);
        let options = LogitsOptions { no_repeat_ngram_size: Some(9), ..usual() };
        assert_eq!(with(&options, &[4]), LOGITS);
        let options = LogitsOptions { bad_words_ids: vec![vec![1, 4], vec![2], vec![]], ..usual() };
        assert_eq!(with(&options, &[]), [2.0, -2.0, NONE, 0.0, NONE]);
        assert_eq!(with(&options, &[3]), [2.0, -2.0, NONE, 0.0, 3.0]);
    }

    #[test]
    fn the_models_own_hold_unless_another_is_asked_for() {
        let model = GenerationConfig {
            repetition_penalty: Some(2.0),
            suppress_tokens: vec![4, 99],
            begin_suppress_tokens: vec![3],
            ..GenerationConfig::default()
        };
        let usual = LogitsOptions::default();
        assert_eq!(processed(&model, &usual, &[]), [1.0, -4.0, 1.0, NONE, NONE]);
        assert_eq!(processed(&model, &usual, &[2]), [1.0, -4.0, 0.5, 0.0, NONE]);
        let options = LogitsOptions { repetition_penalty: Some(1.0), ..usual };
        assert_eq!(processed(&model, &options, &[2]), [2.0, -2.0, 1.0, 0.0, NONE]);
    }
}
