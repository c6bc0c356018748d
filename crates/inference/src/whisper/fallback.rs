//! When a window's text is not believed, and what is done then (Radford et al. 2022, section 4.5): it
//! is heard again at a higher temperature, which leads out of loops.

/// How sure the model was of what it heard in a window. The names are those of Whisper's own output.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Confidence {
    /// At which the tokens were drawn; 0: the likeliest.
    pub temperature: f32,
    /// Mean logarithm of the tokens' probabilities, the end's among them.
    pub avg_logprob: f64,
    /// See [`compression_ratio`](sensorium_media::compression_ratio).
    pub compression_ratio: f64,
    /// Probability that nobody speaks.
    pub no_speech_prob: f64,
}

/// When a window is heard again, and at which temperatures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fallback {
    /// Of the first attempt; 0 takes the likeliest tokens.
    pub temperature: f32,
    /// Added before each further attempt, up to 1; there is none without it.
    pub increment: Option<f32>,
    /// More than this is a text that repeats itself.
    pub compression_ratio: Option<f64>,
    /// Less than this mean logarithm of the tokens' probabilities is a guess.
    pub logprob: Option<f64>,
    /// A guess at a window that is silent with more than this probability is no text at all.
    pub no_speech: Option<f64>,
}

impl Default for Fallback {
    /// As Whisper's own command.
    fn default() -> Self {
        Self {
            temperature: 0.0,
            increment: Some(0.2),
            compression_ratio: Some(2.4),
            logprob: Some(-1.0),
            no_speech: Some(0.6),
        }
    }
}

impl Fallback {
    /// One attempt, whatever it gives.
    pub fn none() -> Self {
        Self { increment: None, ..Self::default() }
    }

    /// Temperatures of the further attempts.
    pub(super) fn higher(&self) -> impl Iterator<Item = f32> {
        // Sums of tenths may end a little above 1.
        const MOST: f32 = 1.0 + 1e-6;
        let (from, step) = (self.temperature, self.increment.filter(|step| *step > 0.0));
        let all = (1..).map_while(move |i: u16| step.map(|step| from + f32::from(i) * step));
        all.take_while(|temperature| *temperature <= MOST).map(|temperature| temperature.min(1.0))
    }

    /// Whether the window is to be heard again.
    pub(super) fn is_doubtful(&self, said: &Confidence) -> bool {
        let repeats = self.compression_ratio.is_some_and(|most| said.compression_ratio > most);
        // Silence is no better at another temperature.
        let silent = self.is_guess(said) && self.no_speech.is_some_and(|p| said.no_speech_prob > p);
        (repeats || self.is_guess(said)) && !silent
    }

    /// Whether nothing was said in the window.
    pub(super) fn is_silent(&self, said: &Confidence) -> bool {
        let silent = self.no_speech.is_some_and(|p| said.no_speech_prob > p);
        silent && (self.logprob.is_none() || self.is_guess(said))
    }

    fn is_guess(&self, said: &Confidence) -> bool {
        self.logprob.is_some_and(|least| said.avg_logprob < least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperatures_rise_to_one() {
        let all = |temperature, increment| -> Vec<f32> {
            Fallback { temperature, increment, ..Fallback::default() }.higher().collect()
        };
        let tenths =
            |all: Vec<f32>| all.iter().map(|t| (t * 10.0).round() as u8).collect::<Vec<_>>();
        assert_eq!(tenths(all(0.0, Some(0.2))), [2, 4, 6, 8, 10]);
        assert_eq!(tenths(all(0.5, Some(0.3))), [8]);
        assert!(all(0.0, None).is_empty() && all(1.0, Some(0.2)).is_empty());
        assert!(all(0.0, Some(0.0)).is_empty() && all(0.0, Some(-1.0)).is_empty());
    }

    #[test]
    fn loops_and_guesses_are_doubtful_and_silence_is_not() {
        let said = |avg_logprob, compression_ratio, no_speech_prob| Confidence {
            temperature: 0.0,
            avg_logprob,
            compression_ratio,
            no_speech_prob,
        };
        let usual = Fallback::default();
        for (said, doubtful, silent) in [
            (said(-0.3, 1.5, 0.1), false, false),
            (said(-1.2, 1.5, 0.1), true, false),
            (said(-0.3, 2.5, 0.1), true, false),
            (said(-0.3, 2.5, 0.9), true, false),
            (said(-1.2, 1.5, 0.9), false, true),
            (said(-1.2, 2.5, 0.9), false, true),
            (said(-0.3, 1.5, 0.9), false, false),
        ] {
            assert_eq!(
                (usual.is_doubtful(&said), usual.is_silent(&said)),
                (doubtful, silent),
                "{said:?}"
            );
        }
        let deaf = Fallback { logprob: None, ..usual };
        assert!(deaf.is_silent(&said(-0.1, 1.0, 0.7)));
        let trusting =
            Fallback { no_speech: None, compression_ratio: None, logprob: None, ..usual };
        assert!(!trusting.is_doubtful(&said(-9.0, 9.0, 1.0)));
        assert!(!trusting.is_silent(&said(-9.0, 9.0, 1.0)));
    }
}
