//! Which tokens may follow: what the released decoding allows (Radford et al. 2022, section 3.8 and
//! the code beside it).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::WhisperError;

/// What is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// What was said, in its language.
    #[default]
    Transcribe,
    /// What was said, in English.
    Translate,
}

/// Ids of the tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tasks {
    /// Of [`Task::Transcribe`].
    pub transcribe: u32,
    /// Of [`Task::Translate`].
    pub translate: u32,
}

/// Ids with a meaning, and ids that are kept out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Opens everything.
    pub start: u32,
    /// Ends everything. Ids above it are no text.
    pub end: u32,
    /// Says that no times follow; the id after it is the time 0.
    pub no_timestamps: u32,
    /// Languages by their code, such as `en`; none in a model of English.
    pub languages: BTreeMap<String, u32>,
    /// Tasks; none in a model of English.
    pub tasks: Option<Tasks>,
    /// Never said.
    pub suppressed: Vec<u32>,
    /// Never said first.
    pub suppressed_first: Vec<u32>,
    /// Latest time that may come first, in steps of 20 ms.
    pub latest_start: Option<u32>,
}

impl Rules {
    /// The id of the time 0.
    pub fn time_zero(&self) -> u32 {
        self.no_timestamps + 1
    }

    /// The token that stands for silence: it comes before `no_timestamps` in every vocabulary.
    pub fn no_speech(&self) -> u32 {
        self.no_timestamps - 1
    }

    /// Steps of 20 ms that a token stands for, if it is a time.
    pub fn time(&self, id: u32) -> Option<u32> {
        id.checked_sub(self.time_zero())
    }

    /// What is put before the first token.
    ///
    /// # Errors
    /// The model does not know the language or the task.
    pub fn prompt(
        &self,
        language: Option<u32>,
        task: Task,
        timestamps: bool,
    ) -> Result<Vec<u32>, WhisperError> {
        let mut prompt = vec![self.start];
        match (self.tasks, task) {
            (Some(tasks), _) => {
                prompt.extend(language);
                prompt.push(match task {
                    Task::Transcribe => tasks.transcribe,
                    Task::Translate => tasks.translate,
                });
            }
            (None, Task::Transcribe) => {}
            (None, Task::Translate) => return Err(WhisperError::Task),
        }
        if !timestamps {
            prompt.push(self.no_timestamps);
        }
        Ok(prompt)
    }

    /// Id of a language's code; nothing where the model is one of English and `en` is asked for.
    ///
    /// # Errors
    /// The model does not know it.
    pub fn language(&self, code: &str) -> Result<Option<u32>, WhisperError> {
        let code = code.to_lowercase();
        if self.languages.is_empty() && code == "en" {
            return Ok(None);
        }
        self.languages.get(&code).copied().map(Some).ok_or_else(|| {
            let codes: Vec<&str> = self.languages.keys().map(String::as_str).collect();
            let known = match codes[..] {
                [] => "this model knows English only: en".to_owned(),
                _ => format!("it knows {}", codes.join(", ")),
            };
            WhisperError::Language { got: code, known }
        })
    }

    /// The likeliest language of the logits after `start`.
    pub fn detected_language(&self, logits: &[f32]) -> Option<(&str, u32)> {
        let score = |id: u32| logits.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY);
        let best = self.languages.iter().max_by(|(_, a), (_, b)| {
            // Equal scores go to the lower id.
            score(**a).total_cmp(&score(**b)).then(b.cmp(a))
        });
        best.map(|(code, id)| (code.as_str(), *id))
    }

    /// Takes from `logits` what may not follow `said`.
    pub fn apply(&self, logits: &mut [f32], said: &[u32], timestamps: bool) {
        if said.is_empty() {
            forbid_all(logits, &self.suppressed_first);
        }
        forbid_all(logits, &self.suppressed);
        if timestamps {
            self.apply_times(logits, said);
        }
    }

    /// Times come in pairs, one ending a segment and one beginning the next, and never go back.
    fn apply_times(&self, logits: &mut [f32], said: &[u32]) {
        let zero = self.time_zero() as usize;
        forbid_all(logits, &[self.no_timestamps]);
        let is_time = |id: &u32| self.time(*id).is_some();
        let last = said.last().is_some_and(is_time);
        let before = said.len() < 2 || is_time(&said[said.len() - 2]);
        match (last, before) {
            (true, true) => forbid(logits, zero..usize::MAX),
            (true, false) => forbid(logits, 0..self.end as usize),
            (false, _) => {}
        }
        if let Some(&time) = said.iter().rfind(|id| is_time(id)) {
            // The same time once more only where it begins the next segment.
            let next = time as usize + usize::from(!last || before);
            forbid(logits, zero..next);
        }
        if said.is_empty() {
            forbid(logits, 0..zero);
            if let Some(latest) = self.latest_start {
                forbid(logits, (zero + latest as usize + 1)..usize::MAX);
            }
        }
        if self.times_outweigh(logits) {
            forbid(logits, 0..zero);
        }
    }

    /// Whether all times together are likelier than the likeliest other token.
    fn times_outweigh(&self, logits: &[f32]) -> bool {
        let (others, times) = logits.split_at(logits.len().min(self.time_zero() as usize));
        let most = |part: &[f32]| part.iter().fold(f32::NEG_INFINITY, |most, &x| most.max(x));
        let (other, time) = (most(others), most(times));
        if time == f32::NEG_INFINITY {
            return false;
        }
        let sum: f64 = times.iter().map(|&x| f64::from(x - time).exp()).sum();
        f64::from(time) + sum.ln() > f64::from(other)
    }
}

fn forbid_all(logits: &mut [f32], ids: &[u32]) {
    for &id in ids {
        if let Some(logit) = logits.get_mut(id as usize) {
            *logit = f32::NEG_INFINITY;
        }
    }
}

fn forbid(logits: &mut [f32], ids: std::ops::Range<usize>) {
    let end = ids.end.min(logits.len());
    logits[ids.start.min(end)..end].fill(f32::NEG_INFINITY);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text 0 to 4, end 5, start 6, English 7, two tasks, silence 10, no times 11, times from 12.
    fn rules() -> Rules {
        Rules {
            start: 6,
            end: 5,
            no_timestamps: 11,
            languages: [("en".to_owned(), 7)].into(),
            tasks: Some(Tasks { transcribe: 8, translate: 9 }),
            suppressed: vec![3, 99],
            suppressed_first: vec![0, 5],
            latest_start: Some(1),
        }
    }

    /// Ids that may follow when no token is likelier than the other.
    fn allowed(said: &[u32], timestamps: bool) -> Vec<usize> {
        let mut logits = vec![0.0; 18];
        // One text token outweighs all times together.
        logits[1] = 9.0;
        rules().apply(&mut logits, said, timestamps);
        (0..18).filter(|&id| logits[id].is_finite()).collect()
    }

    #[test]
    fn times_come_in_pairs_and_never_go_back() {
        assert_eq!(allowed(&[], true), [12, 13]);
        assert_eq!(allowed(&[12], true), [0, 1, 2, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(allowed(&[12, 1], true), [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16, 17]);
        // After the time that ends a segment: the end, or a time that is not before it.
        assert_eq!(allowed(&[12, 1, 14], true), [14, 15, 16, 17]);
        assert_eq!(allowed(&[12, 1, 14, 14], true), [0, 1, 2, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(allowed(&[12, 1, 14, 14, 2], true).last(), Some(&17));
        assert!(!allowed(&[12, 1, 14, 14, 2], true).contains(&14));
    }

    #[test]
    fn without_times_only_lists_count() {
        assert!(!allowed(&[], false).contains(&0) && !allowed(&[], false).contains(&3));
        assert!(allowed(&[1], false).contains(&0) && allowed(&[1], false).contains(&11));
    }

    #[test]
    fn prompts_and_languages() {
        let rules = rules();
        assert_eq!(rules.prompt(Some(7), Task::Translate, true).unwrap(), [6, 7, 9]);
        assert_eq!(rules.prompt(Some(7), Task::Transcribe, false).unwrap(), [6, 7, 8, 11]);
        assert_eq!(rules.language("EN").unwrap(), Some(7));
        assert!(rules.language("xx").unwrap_err().to_string().contains("hint: it knows en"));
        let english = Rules { languages: BTreeMap::new(), tasks: None, ..rules };
        assert_eq!(english.prompt(None, Task::Transcribe, false).unwrap(), [6, 11]);
        assert_eq!(english.language("en").unwrap(), None);
        assert!(english.language("de").is_err());
        assert!(english.prompt(None, Task::Translate, false).is_err());
    }
}
