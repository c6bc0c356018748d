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

/// The table's columns after the task.
const COLUMNS: [&str; 6] = ["metric", "value %", "95 % interval", "n", "chance %", "prior %"];

impl Report {
    /// A report that says why there are no figures: the first line of an error.
    pub fn not_measured(name: &str, seed: u64, error: &str) -> Self {
        let reason = error.lines().next().unwrap_or_default();
        let notes = vec![format!("not measured: {reason}")];
        Self { name: name.into(), data: "no data".into(), seed, figures: vec![], notes }
    }

    /// The rows of the table: task, metric, value, interval, n, chance, prior.
    pub fn rows(&self) -> Vec<[String; 7]> {
        self.figures.iter().map(row).collect()
    }

    /// The heads of [`rows`](Self::rows).
    pub fn heads(&self) -> [&str; 7] {
        let [a, b, c, d, e, f] = COLUMNS;
        [self.name.as_str(), a, b, c, d, e, f]
    }
}

fn row(figure: &Figure) -> [String; 7] {
    let percent = |share: f64| format!("{:.2}", 100.0 * share);
    [
        figure.task.clone(),
        figure.metric.clone(),
        percent(figure.value),
        format!("{} to {}", percent(figure.low), percent(figure.high)),
        figure.n.to_string(),
        percent(figure.chance),
        figure.prior.map_or("-".to_owned(), percent),
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
        for row in &rows {
            line(f, &row.each_ref().map(String::as_str), &widths)?;
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
