//! Medians, ratios and shares, and how they are printed.

use super::machine::Limits;
use super::work::{Cost, Work};
use super::worker::Ready;

/// A piece of work, measured.
#[derive(Debug)]
pub struct Measured {
    pub work: Work,
    /// Bytes of its model file.
    pub bytes: u64,
    pub ours: Side,
    /// Nothing where the peer is not installed.
    pub peer: Option<Side>,
}

/// One side's times in order, in milliseconds.
#[derive(Debug)]
pub struct Side {
    pub ready: Ready,
    pub times: Vec<f64>,
}

/// Median, least and most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Of at least one number.
    pub fn of(numbers: &[f64]) -> Self {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (below, above) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Self { median: (below + above) / 2.0, min: sorted[0], max: sorted[sorted.len() - 1] }
    }
}

/// Ours to the peer's, pair by pair: what slows both at once cancels out.
pub fn ratios(ours: &[f64], peer: &[f64]) -> Vec<f64> {
    ours.iter().zip(peer).map(|(ours, peer)| ours / peer).collect()
}

/// The first two lines of a table.
pub const HEAD: [&str; 2] = [
    "| work | Sensorium ms | peer | peer ms | ratio, pair by pair | per second, Sensorium and peer | \
     share of the limit, Sensorium and peer |",
    "|---|---|---|---|---|---|---|",
];

/// The table in Markdown.
pub fn table(rows: &[Measured], limits: &Limits) -> String {
    let head = HEAD.join("\n") + "\n";
    rows.iter().fold(head, |text, row| text + &line(row, limits))
}

fn line(row: &Measured, limits: &Limits) -> String {
    let ours = Spread::of(&row.ours.times);
    let share = |ms| share(row, limits, ms);
    let rate = |ms: f64| round(row.work.amount / ms * 1e3);
    let limit = match limits.get(row.work.limit) {
        Some(_) => format!("of {}", row.work.limit.name()),
        None => String::new(),
    };
    let (name, unit) = (&row.work.name, row.work.unit);
    let ms = with_cosine(spell(ours), &row.ours);
    let Some(side) = &row.peer else {
        let (rate, share) = (rate(ours.median), share(ours.median));
        return format!("| {name} | {ms} | | | | {rate} {unit} | {share} {limit} |\n");
    };
    let peer = Spread::of(&side.times);
    let ratio = Spread::of(&ratios(&row.ours.times, &side.times));
    format!(
        "| {name} | {ms} | {} | {} | **{:.2}** ({:.2}-{:.2}) | {}, {} {unit} | {}, {} {limit} |\n",
        side.ready.name,
        with_cosine(spell(peer), side),
        ratio.median,
        ratio.min,
        ratio.max,
        rate(ours.median),
        rate(peer.median),
        share(ours.median),
        share(peer.median),
    )
}

/// Per cent of what the machine could do in these milliseconds.
fn share(row: &Measured, limits: &Limits, ms: f64) -> String {
    let cost = match row.work.cost {
        Cost::Operations(operations) => operations,
        Cost::Readings(times) => times * row.bytes as f64,
        Cost::Unknown => return "?".to_owned(),
    };
    match limits.get(row.work.limit) {
        Some(limit) => format!("{:.0} %", cost / (ms / 1e3) / (limit * 1e9) * 100.0),
        None => "?".to_owned(),
    }
}

fn spell(Spread { median, min, max }: Spread) -> String {
    format!("{} ({}-{})", round(median), round(min), round(max))
}

fn with_cosine(text: String, side: &Side) -> String {
    match side.ready.cosine {
        Some(cosine) => format!("{text}, cosine to f32 {cosine:.5}"),
        None => text,
    }
}

/// Three digits or all before the point.
fn round(number: f64) -> String {
    let decimals = if number < 10.0 { 2 } else { usize::from(number < 100.0) };
    format!("{number:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::work;

    fn side(name: &str, times: &[f64], cosine: Option<f64>) -> Side {
        Side { ready: Ready { name: name.to_owned(), cosine }, times: times.to_vec() }
    }

    fn limits() -> Limits {
        Limits::parse(r#"{"f32": 137.0, "int8": 1000.0, "read": 20.0}"#).unwrap()
    }

    fn measured(word: &str, ours: &[f64], peer: Option<&[f64]>) -> Measured {
        let work = work::select(&[word]).remove(0);
        let peer = peer.map(|times| side("other 1.0", times, None));
        Measured { work, bytes: 100_000_000, ours: side("Sensorium", ours, Some(0.99987)), peer }
    }

    #[test]
    fn medians_of_odd_and_even_counts() {
        let spread = |median, min, max| Spread { median, min, max };
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), spread(2.0, 1.0, 3.0));
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 3.0]), spread(2.5, 1.0, 4.0));
        assert_eq!(Spread::of(&[7.0]), spread(7.0, 7.0, 7.0));
    }

    #[test]
    fn the_ratio_is_taken_before_the_median() {
        // A machine that slows down by half does not change who is faster.
        let (ours, peer) = ([10.0, 10.0, 20.0], [20.0, 20.0, 40.0]);
        assert_eq!(Spread::of(&ratios(&ours, &peer)), Spread::of(&[0.5]));
        let text = table(&[measured("P7", &[1000.0, 1100.0], Some(&[2000.0, 1000.0]))], &limits());
        let row = text.lines().last().unwrap();
        assert!(row.contains("| 1050 (1000-1100), cosine to f32 0.99987 |"), "{row}");
        assert!(row.contains("| other 1.0 | 1500 (1000-2000) | **0.80** (0.50-1.10) |"), "{row}");
        // 137 G operations in 1.05 and 1.5 s, of 137 G a second.
        assert!(row.ends_with("| 0.95, 0.67 steps | 95 %, 67 % of f32 |"), "{row}");
    }

    #[test]
    fn decoding_is_measured_against_memory() {
        let text = table(&[measured("P6", &[1280.0], None)], &limits());
        let row = text.lines().last().unwrap();
        // 128 readings of 100 MB in 1.28 s: 10 of 20 GB a second.
        assert!(row.ends_with("| | | | 100 tokens | 50 % of read |"), "{row}");
    }

    #[test]
    fn a_limit_the_processor_lacks_is_no_share() {
        let text = table(&[measured("P8", &[500.0], None)], &limits());
        assert!(text.ends_with("| ?  |\n"), "{text}");
    }
}
