//! The figures of one evaluation, for people and for programs.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::figure::Figure;

/// What an evaluation found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Name of the evaluation.
    pub name: String,
    /// What it was measured on.
    pub data: String,
    /// Seed of what is drawn.
    pub seed: u64,
    /// The figures.
    pub figures: Vec<Figure>,
    /// What a reader must know to judge them.
    pub notes: Vec<String>,
}

/// Rows that a table shows: a set may have a thousand classes.
const SHOWN: usize = 60;

/// The table's columns after the task, where all figures are told in percent, and where not.
const COLUMNS: [[&str; 6]; 2] = [
    ["metric", "value %", "95 % interval", "n", "chance %", "prior %"],
    ["metric", "value", "95 % interval", "n", "chance", "prior"],
];

impl Report {
    /// A report that says why there are no figures: the first line of an error.
    pub fn not_measured(name: &str, seed: u64, error: &str) -> Self {
        let reason = error.lines().next().unwrap_or_default();
        let notes = vec![format!("not measured: {reason}")];
        Self { name: name.into(), data: "no data".into(), seed, figures: vec![], notes }
    }

    /// The rows of the table: task, metric, value, interval, n, chance, prior.
    pub fn rows(&self) -> Vec<[String; 7]> {
        let in_percent = self.in_percent();
        self.figures.iter().map(|figure| row(figure, in_percent)).collect()
    }

    /// The heads of [`rows`](Self::rows).
    pub fn heads(&self) -> [&str; 7] {
        let [a, b, c, d, e, f] = COLUMNS[usize::from(!self.in_percent())];
        [self.name.as_str(), a, b, c, d, e, f]
    }

    fn in_percent(&self) -> bool {
        self.figures.iter().all(|figure| figure.percent)
    }
}

/// The sign stands at each number unless the head says that all are in percent.
fn row(figure: &Figure, all_in_percent: bool) -> [String; 7] {
    let number = |x: f64| match (figure.percent, all_in_percent) {
        (false, _) => format!("{x:.2}"),
        (true, true) => format!("{:.2}", 100.0 * x),
        (true, false) => format!("{:.2} %", 100.0 * x),
    };
    let or_none = |x: Option<f64>| x.map_or("-".to_owned(), number);
    [
        figure.task.clone(),
        figure.metric.clone(),
        number(figure.value),
        format!("{} to {}", number(figure.low), number(figure.high)),
        figure.n.to_string(),
        or_none(figure.chance),
        or_none(figure.prior),
    ]
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let heads = self.heads();
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([heads[column].len()]).max().unwrap_or(0)
        };
        let widths: [usize; 7] = std::array::from_fn(width);
        writeln!(f, "{} (seed {})", self.data, self.seed)?;
        line(f, &heads, &widths)?;
        writeln!(f, "{}", "─".repeat(widths.iter().sum::<usize>() + 2 * 6))?;
        for row in rows.iter().take(SHOWN) {
            line(f, &row.each_ref().map(String::as_str), &widths)?;
        }
        if rows.len() > SHOWN {
            writeln!(f, "  and {} more rows, all of which --json has", rows.len() - SHOWN)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "  {note}"))
    }
}

/// Words to the left, numbers to the right.
fn line(f: &mut fmt::Formatter<'_>, cells: &[&str; 7], widths: &[usize; 7]) -> fmt::Result {
    for (column, (cell, &width)) in cells.iter().zip(widths).enumerate() {
        match column {
            0 => write!(f, "{cell:width$}")?,
            1 => write!(f, "  {cell:width$}")?,
            _ => write!(f, "  {cell:>width$}")?,
        }
    }
    writeln!(f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up() {
        let figures = vec![
            Figure::new("short", "accuracy", [9, 10], 0.5).with_prior(0.6),
            Figure::new("a longer task", "recall@1", [500, 1000], 0.001),
        ];
        let (name, data) = ("test".to_owned(), "made up".to_owned());
        let report = Report { name, data, seed: 3, figures, notes: vec!["a note".into()] };
        let text = report.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "made up (seed 3)");
        assert_eq!(
            lines[3],
            "short          accuracy    90.00  59.58 to 98.21    10     50.00    60.00"
        );
        assert_eq!(lines[1].chars().count(), lines[4].chars().count());
        assert_eq!(lines[5], "  a note");
    }
}
