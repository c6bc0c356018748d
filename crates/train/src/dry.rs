//! What a recipe would train, told before anything is read that is large: counts by part, memory.

use std::fmt;

use sensorium_nn::params::is_statistic;

use crate::error::{Result, TrainError};
use crate::freeze::is_of;

/// A stage of a recipe.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Its name.
    pub name: String,
    /// The model's parts, and how many of each part's values there are and learn.
    pub parts: Vec<(String, [u64; 2])>,
    /// Steps.
    pub steps: u64,
    /// Samples a step.
    pub batch_size: usize,
}

impl Planned {
    /// Of a model with parameters of these names and shapes, of which the parts `trained` learn.
    ///
    /// # Errors
    /// A part matches no parameter.
    pub fn new(
        name: &str,
        shapes: Vec<(String, Vec<usize>)>,
        trained: &[impl AsRef<str>],
        steps: u64,
        batch_size: usize,
    ) -> Result<Self> {
        for part in trained.iter().map(AsRef::as_ref) {
            if !shapes.iter().any(|(name, _)| is_of(name, part)) {
                return Err(TrainError::Part { part: part.to_owned() });
            }
        }
        let mut parts: Vec<(String, [u64; 2])> = Vec::new();
        for (name, shape) in shapes.into_iter().filter(|(name, _)| !is_statistic(name)) {
            let count = shape.iter().product::<usize>() as u64;
            let learned =
                if trained.iter().any(|part| is_of(&name, part.as_ref())) { count } else { 0 };
            let part = part_of(&name);
            let at = parts.iter().position(|(known, _)| *known == part).unwrap_or(parts.len());
            if at == parts.len() {
                parts.push((part, [0; 2]));
            }
            parts[at].1[0] += count;
            parts[at].1[1] += learned;
        }
        Ok(Self { name: name.to_owned(), parts, steps, batch_size })
    }

    /// Values of the whole model.
    pub fn total(&self) -> u64 {
        self.parts.iter().map(|(_, [count, _])| count).sum()
    }

    /// Values that learn.
    pub fn trainable(&self) -> u64 {
        self.parts.iter().map(|(_, [_, learned])| learned).sum()
    }

    /// Bytes of the weights, of the gradients and of the optimiser's two moments, in f32: what stands in
    /// memory whatever the batch.
    pub fn bytes(&self) -> u64 {
        4 * self.total() + 12 * self.trainable()
    }
}

/// A parameter's part: its first two names, with a number between them.
fn part_of(name: &str) -> String {
    let (mut part, mut words) = (Vec::new(), 0);
    for field in name.split('.') {
        words += usize::from(field.parse::<u32>().is_err());
        part.push(field);
        if words == 2 {
            break;
        }
    }
    // The last name is that of a tensor.
    if part.len() > 1 && part.join(".") == name {
        part.pop();
    }
    part.join(".")
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, steps, batch_size, .. } = self;
        writeln!(f, "{name}: {steps} steps of {batch_size} samples")?;
        writeln!(f, "  {:<28} {:>16} {:>16}", "part", "parameters", "trained")?;
        for (part, [count, learned]) in &self.parts {
            writeln!(f, "  {part:<28} {count:>16} {learned:>16}")?;
        }
        writeln!(f, "  {:<28} {:>16} {:>16}", "all", self.total(), self.trainable())?;
        let gib = self.bytes() as f64 / f64::from(1 << 30);
        writeln!(
            f,
            "  memory for weights, gradients and moments: {gib:.2} GiB; activations come on top"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_and_what_matches_nothing_is_refused() {
        let shape = |name: &str, n: usize| (name.to_owned(), vec![n, 2]);
        let shapes = || {
            vec![
                shape("towers.0.encoder.norm.weight", 1),
                shape("towers.0.encoder.blocks.3.fc.weight", 2),
                shape("backbone.layers.0.x.weight", 4),
                shape("backbone.embedding.weight", 8),
                shape("scale", 16),
            ]
        };
        let planned = Planned::new("a", shapes(), &["towers.0.encoder.norm", "scale"], 1, 1);
        let planned = planned.unwrap();
        assert_eq!(planned.parts[0], ("towers.0.encoder".to_owned(), [6, 2]));
        assert_eq!((planned.total(), planned.trainable()), (62, 34));
        assert_eq!(planned.bytes(), 4 * 62 + 12 * 34);
        assert!(planned.to_string().contains("towers.0.encoder"));
        assert!(Planned::new("a", shapes(), &["towers.1"], 1, 1).is_err());
    }
}
