//! What was measured on a user's data, example by example.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use sensorium_data::rng::{hash, mix};
use serde::{Deserialize, Serialize};

use super::set::Set;
use super::{Measured, Own, Task};
use crate::figure::Figure;
use crate::report::Report;
use crate::statistic::Aggregate;

/// The numbers, statistic by statistic, by name.
pub type Numbers = BTreeMap<String, Vec<f64>>;

/// One example: what was expected, what came, and what that is worth.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// Its name in the data.
    pub id: String,
    /// Its number there.
    pub index: u64,
    /// What groups it belongs to: its class, its type of question.
    pub groups: Vec<String>,
    /// What people said.
    pub expected: String,
    /// What the model said.
    pub got: String,
    /// By which failures are sorted: low is bad, 1 and above is good.
    pub worth: f64,
    /// Its part of each metric.
    pub numbers: Numbers,
}

/// An example that cannot be read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bad {
    /// Its number.
    pub index: u64,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "example {}: {}", self.index, self.reason)
    }
}

/// A metric: which of the examples' numbers it is made of, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// What was asked.
    pub task: String,
    /// The metric's name.
    pub name: String,
    /// The name of the numbers.
    pub numbers: String,
    /// How they become one.
    pub aggregate: Aggregate,
    /// What a guess gives.
    pub chance: Option<f64>,
    /// What the best answer without looking gives.
    pub prior: Option<f64>,
    /// Whether it is told in percent.
    pub percent: bool,
}

impl Metric {
    /// A metric without chance and prior.
    pub fn new(task: &str, name: &str, numbers: &str, aggregate: Aggregate) -> Self {
        let (task, name, numbers) = (task.to_owned(), name.to_owned(), numbers.to_owned());
        let percent = !matches!(aggregate, Aggregate::MedianRank | Aggregate::Perplexity);
        Self { task, name, numbers, aggregate, chance: None, prior: None, percent }
    }

    /// The examples' numbers.
    pub fn rows<'a>(&self, examples: impl IntoIterator<Item = &'a Scored>) -> Vec<&'a [f64]> {
        let numbers = |example: &'a Scored| example.numbers.get(&self.numbers).map(Vec::as_slice);
        examples.into_iter().filter_map(numbers).collect()
    }

    /// The figure of these examples.
    fn figure<'a>(
        &self,
        task: &str,
        examples: impl Iterator<Item = &'a Scored>,
        seed: u64,
    ) -> Figure {
        let (rows, aggregate) = (self.rows(examples), self.aggregate);
        let (low, high) = aggregate.interval(&rows, seed);
        Figure {
            task: task.to_owned(),
            metric: self.name.clone(),
            value: aggregate.of(&rows),
            low,
            high,
            right: aggregate.right(&rows),
            n: aggregate.n(&rows),
            chance: self.chance,
            prior: self.prior,
            percent: self.percent,
        }
    }
}

/// A report with what it takes to judge two models by it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OwnReport {
    /// The figures.
    #[serde(flatten)]
    pub report: Report,
    /// The model.
    pub model: String,
    /// Of the examples' names and of what was expected: equal for equal data.
    pub data_hash: String,
    /// How the figures come from the examples.
    pub metrics: Vec<Metric>,
    /// What could not be read.
    pub bad: Vec<Bad>,
    /// What was measured.
    pub examples: Vec<Scored>,
}

/// Broken examples that the notes name.
const NAMED: usize = 5;

/// The report of a task.
pub(super) fn report(task: Task, set: Set<'_>, measured: Measured, own: &Own<'_>) -> OwnReport {
    let Measured { examples, metrics, mut notes } = measured;
    let mut figures: Vec<Figure> = metrics
        .iter()
        .map(|metric| metric.figure(&metric.task, examples.iter(), own.seed))
        .collect();
    let groups: BTreeSet<&String> = examples.iter().flat_map(|example| &example.groups).collect();
    for group in groups {
        let of_group = || examples.iter().filter(|example| example.groups.contains(group));
        // The first of those that the group has numbers of.
        let first = metrics.iter().find(|metric| !metric.rows(of_group()).is_empty());
        let alone = first.map(|first| Metric { chance: None, prior: None, ..first.clone() });
        figures.extend(alone.map(|alone| alone.figure(group, of_group(), own.seed)));
    }
    let silent = examples.iter().filter(|example| example.got.is_empty()).count();
    if silent > 0 && task != Task::Perplexity {
        notes.push(format!("said nothing, or did not fit the model's context: {silent}"));
    }
    if !set.bad.is_empty() {
        let named: Vec<String> = set.bad.iter().take(NAMED).map(Bad::to_string).collect();
        notes.push(format!("broken: {} of {}: {}", set.bad.len(), set.len, named.join("; ")));
    }
    notes.push(
        "intervals of figures that are no shares of examples: from 1,000 bootstrap resamples"
            .into(),
    );
    let data = format!("{}, {} of {}", set.dataset.name(), set.len, set.all);
    let report = Report { name: task.name().into(), data, seed: own.seed, figures, notes };
    let data_hash = data_hash(&examples);
    OwnReport { report, model: own.model.to_owned(), data_hash, metrics, bad: set.bad, examples }
}

fn data_hash(examples: &[Scored]) -> String {
    let each =
        examples.iter().map(|example| hash(&format!("{}\n{}", example.id, example.expected)));
    format!("{:016x}", each.fold(0, |sum, number| mix(sum ^ number)))
}

impl OwnReport {
    /// The examples that came out worst, at most `n`, none that came out well.
    pub fn failures(&self, n: usize) -> Vec<&Scored> {
        let mut failed: Vec<&Scored> =
            self.examples.iter().filter(|example| example.worth < 1.0).collect();
        failed.sort_by(|a, b| a.worth.total_cmp(&b.worth));
        failed.truncate(n);
        failed
    }
}
