//! Writing down what was said: files of sound and their texts.

use sensorium_inference::SpeechToText;

use super::set::Set;
use super::{Measured, Metric, Own};
use crate::error::{EvalError, Result};
use crate::metrics::speech::{character_errors, word_errors};
use crate::statistic::Aggregate;

/// Error rates by words and by characters. A file that is no sound is broken.
pub(super) fn measure(
    model: &dyn SpeechToText,
    set: &mut Set<'_>,
    own: &Own<'_>,
) -> Result<Measured> {
    let examples = set.each(|_, item| {
        let (Some(file), Some(text)) = (&item.file, item.texts.first()) else {
            let lacks = "a file of sound and its text";
            return Err(EvalError::Lacks { task: "transcribe", lacks }.into());
        };
        let heard = model.transcribe(file, own.decoder, &own.speech, &mut |_, _| ());
        let heard = heard
            .map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())?;
        let got = heard.text.trim().to_owned();
        let [errors, words] = word_errors(&got, text);
        let mut scored = item.scored(text.clone(), got);
        scored.worth = 1.0 - errors / words.max(1.0);
        scored.numbers.insert("WER".into(), vec![errors, words]);
        scored.numbers.insert("CER".into(), character_errors(&scored.got, text).to_vec());
        Ok(vec![scored])
    })?;
    let metrics =
        ["WER", "CER"].map(|name| Metric::new("sounds", name, name, Aggregate::Ratio)).to_vec();
    let notes = vec![
        "lower is better; before, texts are made lower case, without punctuation, with one space between words"
            .into(),
    ];
    Ok(Measured { examples, metrics, notes })
}
