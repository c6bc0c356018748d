//! What Prometheus reads of the server.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper ends of the intervals of durations, in seconds.
const BUCKETS: [f64; 10] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// A histogram of durations.
#[derive(Clone, Copy, Debug, Default)]
struct Histogram {
    counts: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn add(&mut self, seconds: f64) {
        for (count, end) in self.counts.iter_mut().zip(BUCKETS) {
            *count += u64::from(seconds <= end);
        }
        self.count += 1;
        self.sum += seconds;
    }

    fn write(&self, out: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        // Writing to a string does not fail.
        for (end, count) in BUCKETS.iter().zip(self.counts) {
            let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{end}\"}} {count}");
        }
        let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {}", self.count);
        let _ = writeln!(out, "{name}_sum{{{labels}}} {}", self.sum);
        let _ = writeln!(out, "{name}_count{{{labels}}} {}", self.count);
    }
}

#[derive(Debug, Default)]
struct Counts {
    /// By method, route and status.
    requests: BTreeMap<(String, String, u16), u64>,
    /// By route.
    durations: BTreeMap<String, Histogram>,
    /// By code.
    refusals: BTreeMap<&'static str, u64>,
    prompt_tokens: u64,
    completion_tokens: u64,
    first_token: Histogram,
}

/// Counts of what was asked for and answered.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<Counts>);

impl Metrics {
    fn with(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A request of this method and route was answered, or its answer begun.
    pub fn request(&self, method: &str, route: &str, status: u16, took: Duration) {
        self.with(|counts| {
            *counts.requests.entry((method.to_owned(), route.to_owned(), status)).or_default() += 1;
            counts.durations.entry(route.to_owned()).or_default().add(took.as_secs_f64());
        });
    }

    /// A request was refused.
    pub fn refusal(&self, code: &'static str) {
        self.with(|counts| *counts.refusals.entry(code).or_default() += 1);
    }

    /// A text was said.
    pub fn tokens(&self, prompt: usize, completion: usize) {
        self.with(|counts| {
            counts.prompt_tokens += prompt as u64;
            counts.completion_tokens += completion as u64;
        });
    }

    /// A text began so long after it was asked for.
    pub fn first_token(&self, took: Duration) {
        self.with(|counts| counts.first_token.add(took.as_secs_f64()));
    }

    /// In Prometheus's text format; `depth` requests are being answered or wait, and so many tokens were `said`.
    pub fn render(&self, depth: usize, said: u64) -> String {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = writeln!(out, "# TYPE http_requests_total counter");
        for ((method, route, status), n) in &counts.requests {
            let labels = format!("method=\"{method}\",route=\"{route}\",status=\"{status}\"");
            let _ = writeln!(out, "http_requests_total{{{labels}}} {n}");
        }
        let _ = writeln!(out, "# TYPE http_request_duration_seconds histogram");
        for (route, histogram) in &counts.durations {
            let labels = format!("route=\"{route}\"");
            histogram.write(&mut out, "http_request_duration_seconds", &labels);
        }
        let _ = writeln!(out, "# TYPE sensorium_refusals_total counter");
        for (code, n) in &counts.refusals {
            let _ = writeln!(out, "sensorium_refusals_total{{code=\"{code}\"}} {n}");
        }
        let _ = writeln!(out, "# TYPE sensorium_tokens_total counter");
        let kinds = [("prompt", counts.prompt_tokens), ("completion", counts.completion_tokens)];
        for (kind, n) in kinds {
            let _ = writeln!(out, "sensorium_tokens_total{{kind=\"{kind}\"}} {n}");
        }
        let _ = writeln!(out, "# TYPE sensorium_time_to_first_token_seconds histogram");
        counts.first_token.write(&mut out, "sensorium_time_to_first_token_seconds", "");
        let _ = writeln!(out, "# TYPE sensorium_generated_tokens_total counter");
        let _ = writeln!(out, "sensorium_generated_tokens_total {said}");
        let _ = writeln!(out, "# TYPE sensorium_requests_in_flight gauge");
        let _ = writeln!(out, "sensorium_requests_in_flight {depth}");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_one_that_prometheus_reads() {
        let metrics = Metrics::default();
        metrics.request("POST", "/v1/chat/completions", 200, Duration::from_millis(30));
        metrics.refusal("queue_full");
        metrics.tokens(3, 4);
        let text = metrics.render(2, 9);
        for line in [
            "http_requests_total{method=\"POST\",route=\"/v1/chat/completions\",status=\"200\"} 1",
            "http_request_duration_seconds_bucket{route=\"/v1/chat/completions\",le=\"0.05\"} 1",
            "http_request_duration_seconds_bucket{route=\"/v1/chat/completions\",le=\"0.01\"} 0",
            "sensorium_refusals_total{code=\"queue_full\"} 1",
            "sensorium_tokens_total{kind=\"completion\"} 4",
            "sensorium_generated_tokens_total 9",
            "sensorium_requests_in_flight 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
