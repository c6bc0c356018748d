//! Two models on the same data: which is better, and how sure that is.
//!
//! The paired bootstrap (Efron and Tibshirani 1993; Koehn 2004, <https://aclanthology.org/W04-3250>): the
//! same examples are drawn anew for both, so that what is hard for both does not count as a difference.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use crate::error::{EvalError, Result};
use crate::own::{Metric, OwnReport};
use crate::statistic::{RESAMPLES, percentiles, resample};

/// Two reports beside each other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// What was measured.
    pub name: String,
    /// The data.
    pub data: String,
    /// The models, first and second.
    pub models: [String; 2],
    /// Examples of both.
    pub n: usize,
    /// Seed of the examples drawn anew.
    pub seed: u64,
    /// Times that they were drawn.
    pub resamples: usize,
    /// The metrics.
    pub differences: Vec<Difference>,
}

/// One metric of two models.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// What was asked.
    pub task: String,
    /// The metric's name.
    pub metric: String,
    /// Whether it is told in percent.
    pub percent: bool,
    /// The models' figures.
    pub values: [f64; 2],
    /// The second less the first.
    pub difference: f64,
    /// Lower end of the difference's 95 % interval.
    pub low: f64,
    /// Upper end of it.
    pub high: f64,
    /// How often a difference as far from 0 would be drawn if there were none, two-sided.
    pub p: f64,
}

/// The second model beside the first.
///
/// # Errors
/// The reports are of different tasks or data.
pub fn compare(a: &OwnReport, b: &OwnReport, seed: u64) -> Result<Comparison> {
    let differs = |what, a: &str, b: &str| EvalError::NotAlike { what, a: a.into(), b: b.into() };
    if a.report.name != b.report.name {
        return Err(differs("task", &a.report.name, &b.report.name));
    }
    if a.data_hash != b.data_hash {
        let told = |report: &OwnReport, other: &OwnReport| {
            let theirs: HashMap<&str, &str> =
                other.examples.iter().map(|e| (e.id.as_str(), e.expected.as_str())).collect();
            let is_alone =
                |e: &&crate::own::Scored| theirs.get(e.id.as_str()) != Some(&e.expected.as_str());
            let alone = report.examples.iter().find(is_alone).map_or("no other", |e| &e.id);
            format!("{} ({}, which alone has {alone:?})", report.report.data, report.data_hash)
        };
        return Err(differs("data", &told(a, b), &told(b, a)));
    }
    let differences = a
        .metrics
        .iter()
        .filter(|metric| b.metrics.iter().any(|other| is_same(metric, other)))
        .map(|metric| difference(metric, a, b, seed))
        .collect();
    Ok(Comparison {
        name: a.report.name.clone(),
        data: a.report.data.clone(),
        models: [a.model.clone(), b.model.clone()],
        n: a.examples.len(),
        seed,
        resamples: RESAMPLES,
        differences,
    })
}

fn is_same(a: &Metric, b: &Metric) -> bool {
    (&a.task, &a.name, &a.numbers, a.aggregate) == (&b.task, &b.name, &b.numbers, b.aggregate)
}

fn difference(metric: &Metric, a: &OwnReport, b: &OwnReport, seed: u64) -> Difference {
    let aggregate = metric.aggregate;
    let [ours, theirs] = [a, b].map(|report| metric.rows(&report.examples));
    let n = ours.len().min(theirs.len());
    let mut drawn: Vec<f64> = (0..RESAMPLES as u64)
        .map(|time| {
            let rows = |rows: &[&'_ [f64]]| -> f64 {
                let drawn: Vec<&[f64]> = resample(n, seed, time).map(|i| rows[i]).collect();
                aggregate.of(&drawn)
            };
            rows(&theirs) - rows(&ours)
        })
        .collect();
    let (low, high) = percentiles(&mut drawn);
    let beyond = |is_beyond: fn(&f64) -> bool| drawn.iter().filter(|x| is_beyond(x)).count();
    // Never 0: no thousand draws can tell that.
    let rarer = 1 + beyond(|x| *x <= 0.0).min(beyond(|x| *x >= 0.0));
    let p = (2.0 * rarer as f64 / (RESAMPLES + 1) as f64).min(1.0);
    let values = [aggregate.of(&ours), aggregate.of(&theirs)];
    Difference {
        task: metric.task.clone(),
        metric: metric.name.clone(),
        percent: metric.percent,
        difference: values[1] - values[0],
        values,
        low,
        high,
        p,
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, data, models, n, seed, resamples, .. } = self;
        writeln!(f, "{name}: {data}, {n} examples of both (seed {seed}, {resamples} resamples)")?;
        writeln!(f, "A: {}\nB: {}", models[0], models[1])?;
        let heads = ["", "", "A", "B", "B - A", "95 % interval", "p"].map(str::to_owned);
        let rows: Vec<[String; 7]> =
            std::iter::once(heads).chain(self.differences.iter().map(row)).collect();
        let width = |c: usize| rows.iter().map(|row| row[c].chars().count()).max().unwrap_or(0);
        let widths: [usize; 7] = std::array::from_fn(width);
        for row in &rows {
            let [task, metric, numbers @ ..] = row;
            write!(f, "{task:0$}  {metric:1$}", widths[0], widths[1])?;
            for (cell, width) in numbers.iter().zip(&widths[2..]) {
                write!(f, "  {cell:>width$}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn row(difference: &Difference) -> [String; 7] {
    let Difference { task, metric, percent, values, difference, low, high, p } = difference;
    let number = |x: f64| if *percent { format!("{:.2} %", 100.0 * x) } else { format!("{x:.2}") };
    let interval = format!("{} to {}", number(*low), number(*high));
    let [a, b] = values.map(number);
    [task.clone(), metric.clone(), a, b, number(*difference), interval, format!("{p:.3}")]
}
