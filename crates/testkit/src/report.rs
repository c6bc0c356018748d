//! The first intermediate that departs from the reference.

use std::collections::{BTreeMap, BTreeSet};

use crate::close::{departure, mixed};
use crate::{Golden, Tensors};

/// Gathers a model's named intermediates and says which one is the first to be wrong: what comes
/// after it is wrong for that reason alone.
pub struct Report {
    order: Vec<String>,
    want: Tensors,
    tolerance: f32,
    faults: BTreeMap<usize, String>,
    checked: BTreeSet<usize>,
}

impl Report {
    /// A report against the outputs of `golden`; `tolerance` as in [`crate::assert_close`].
    #[track_caller]
    pub fn new(golden: &Golden, tolerance: f32) -> Self {
        Self::of(golden.order(), golden.outputs(), tolerance)
    }

    /// A report against every hidden state of `golden`, see [`Golden::states`].
    #[track_caller]
    pub fn states(golden: &Golden, tolerance: f32) -> Self {
        Self::of(golden.states_order(), golden.states(), tolerance)
    }

    fn of(order: Vec<String>, want: Tensors, tolerance: f32) -> Self {
        Self { order, want, tolerance, faults: BTreeMap::new(), checked: BTreeSet::new() }
    }

    /// Compares one intermediate. Order does not matter, and not every name need be checked.
    ///
    /// # Panics
    /// If the golden has no output of this name: it lists those it has.
    #[track_caller]
    pub fn check(&mut self, name: &str, shape: &[usize], got: &[f32]) {
        let (Some(turn), Some(want)) =
            (self.order.iter().position(|other| other == name), self.want.get(name))
        else {
            panic!("expected one of {:?}, got {name}", self.order);
        };
        self.checked.insert(turn);
        let fault = if shape != want.0 || got.len() != want.1.len() {
            Some(format!("{name}: got shape {shape:?}, want {:?}", want.0))
        } else {
            departure(name, shape, got, &want.1, mixed(self.tolerance)).map(|d| d.to_string())
        };
        if let Some(fault) = fault {
            self.faults.insert(turn, fault);
        }
    }

    /// As [`finish`](Self::finish), and fails if an intermediate of the golden was not checked.
    ///
    /// # Panics
    /// If one departed, or was not checked.
    #[track_caller]
    pub fn finish_all(self) {
        let left = self.order.iter().enumerate().filter(|(turn, _)| !self.checked.contains(turn));
        let left: Vec<&str> = left.map(|(_, name)| name.as_str()).collect();
        assert!(left.is_empty(), "expected every intermediate to be compared, left over: {left:?}");
        self.finish();
    }

    /// Fails if anything departed, the first departure on top.
    ///
    /// # Panics
    /// If an intermediate departed, or if none was checked.
    #[track_caller]
    pub fn finish(self) {
        assert!(!self.checked.is_empty(), "expected intermediates to compare, got none");
        let faults: Vec<String> = self.faults.into_values().collect();
        assert!(
            faults.is_empty(),
            "{} of {} intermediates depart, first:\n{}",
            faults.len(),
            self.checked.len(),
            faults.join("\n")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_agrees_with_itself() {
        let golden = Golden::open("vit");
        let mut report = Report::new(&golden, 0.0);
        for (name, (shape, values)) in golden.outputs() {
            report.check(&name, &shape, &values);
        }
        report.finish();
    }

    #[test]
    #[should_panic(expected = "2 of 2 intermediates depart, first:\nvision_model.encoder.layers.1")]
    fn the_first_departure_comes_first_whatever_the_order_of_checks() {
        let golden = Golden::open("vit");
        let outputs = golden.outputs();
        let mut report = Report::new(&golden, 1e-4);
        for name in ["pooler_output", "vision_model.encoder.layers.1"] {
            let (shape, values) = &outputs[name];
            let wrong: Vec<f32> = values.iter().map(|value| value + 1.0).collect();
            report.check(name, shape, &wrong);
        }
        report.finish();
    }

    #[test]
    #[should_panic(expected = "left over: [\"image.1\"")]
    fn a_state_that_was_not_compared_is_named() {
        let golden = Golden::open("idefics");
        let mut report = Report::states(&golden, 0.0);
        for (name, (shape, values)) in golden.states() {
            if !name.starts_with("image.1") {
                report.check(&name, &shape, &values);
            }
        }
        report.finish_all();
    }

    #[test]
    #[should_panic(expected = "got nonsense")]
    fn an_unknown_name_is_refused() {
        Report::new(&Golden::open("vit"), 1e-4).check("nonsense", &[], &[]);
    }
}
