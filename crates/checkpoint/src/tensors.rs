//! Named tensors in memory, and the strict comparison of a file with a model.

use super::error::{Error, Result, short};
use std::collections::BTreeMap;
use std::fmt::Write;

/// One tensor: row-major values, outermost dimension first (PyTorch's order).
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Tensor {
    /// A tensor of `shape`; an error if `data` has another number of values.
    pub fn new(shape: Vec<usize>, data: Vec<f32>) -> Result<Self> {
        if count(&shape) == Some(data.len()) {
            return Ok(Self { shape, data });
        }
        Err(Error::Unwritable {
            what: "a tensor".into(),
            expected: format!("as many values as its shape {shape:?} has"),
            got: format!("{} values", data.len()),
            hint: "pass the shape with the outermost dimension first",
        })
    }

    /// Sizes, outermost first; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Values, row-major.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// Shape and values, without a copy.
    pub fn into_parts(self) -> (Vec<usize>, Vec<f32>) {
        (self.shape, self.data)
    }
}

/// Tensors by name, in the order of their names, with the file's free-form metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensors {
    /// The tensors.
    pub tensors: BTreeMap<String, Tensor>,
    /// What the file says about itself: base model, its hash, the step.
    pub metadata: BTreeMap<String, String>,
}

impl Tensors {
    /// The tensor called `name`; the error names the closest one that exists.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| no_tensor(name, self.tensors.keys()))
    }
}

/// The error for a name that is not among `names`.
pub(super) fn no_tensor<'a>(name: &str, names: impl Iterator<Item = &'a String>) -> Error {
    let closest = closest(name, names.map(String::as_str))
        .map_or(String::new(), |near| format!(", the closest is {:?}", short(near)));
    Error::NoTensor { name: short(name), closest }
}

/// Number of elements of `shape`, if it can be counted.
pub(super) fn count(shape: &[usize]) -> Option<usize> {
    // A product that overflows is refused even where another size is 0: who takes it apart would meet it.
    let sizes = shape.iter().filter(|&&n| n > 0).try_fold(1_usize, |all, &n| all.checked_mul(n))?;
    Some(if shape.contains(&0) { 0 } else { sizes })
}

/// Lines listed of each kind; a wrong file would otherwise print thousands.
const LISTED: usize = 20;

/// Checks that `found` has exactly the tensors `expected` (name, shape), no more and no fewer.
///
/// The error lists what is missing (with the closest left-over name), left over, and of another shape.
pub fn strict(expected: &[(String, Vec<usize>)], found: &Tensors) -> Result<()> {
    let found = found.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.shape()));
    strict_shapes(expected, &found.collect())
}

/// Where tensors are not those that a model has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences<'a> {
    /// Not found.
    pub missing: Vec<&'a str>,
    /// Found, and not of the model.
    pub unexpected: Vec<&'a str>,
    /// Found in another shape: expected, got.
    pub reshaped: Vec<(&'a str, &'a [usize], &'a [usize])>,
}

impl Differences<'_> {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.reshaped.is_empty()
    }
}

/// Compares what is `found` with the tensors `expected` (name, shape).
pub fn differences<'a>(
    expected: &'a [(String, Vec<usize>)],
    found: &BTreeMap<&'a str, &'a [usize]>,
) -> Differences<'a> {
    let wanted = shapes_by_name(expected);
    Differences {
        missing: wanted.keys().filter(|n| !found.contains_key(**n)).copied().collect(),
        unexpected: found.keys().filter(|n| !wanted.contains_key(**n)).copied().collect(),
        reshaped: wanted
            .iter()
            .filter_map(|(&name, &want)| Some((name, want, *found.get(name)?)))
            .filter(|(_, want, got)| want != got)
            .collect(),
    }
}

fn shapes_by_name(expected: &[(String, Vec<usize>)]) -> BTreeMap<&str, &[usize]> {
    expected.iter().map(|(n, s)| (n.as_str(), s.as_slice())).collect()
}

/// As [`strict`], for tensors whose values were not read.
pub fn strict_shapes(
    expected: &[(String, Vec<usize>)],
    found: &BTreeMap<&str, &[usize]>,
) -> Result<()> {
    let wanted = shapes_by_name(expected);
    let all = differences(expected, found);
    if all.is_empty() {
        return Ok(());
    }
    let Differences { missing, unexpected, reshaped } = all;

    let mut text = format!(
        "the weights do not fit the model: {} missing, {} unexpected and {} of another shape, of {} expected",
        missing.len(),
        unexpected.len(),
        reshaped.len(),
        wanted.len()
    );
    list(&mut text, "missing", &missing, |name| {
        let shape = wanted.get(name).copied().unwrap_or_default();
        let near = closest(name, unexpected.iter().copied());
        let near =
            near.map_or(String::new(), |near| format!(" (closest unexpected: {})", short(near)));
        format!("{} {shape:?}{near}", short(name))
    });
    list(&mut text, "unexpected", &unexpected, |name| {
        let shape = found.get(*name).copied().unwrap_or_default();
        format!("{} {shape:?}", short(name))
    });
    list(&mut text, "shape", &reshaped, |(name, want, got)| {
        format!("{}: expected {want:?}, got {got:?}", short(name))
    });
    Err(Error::Mismatch(text))
}

/// Appends the first [`LISTED`] of `items`, one a line, and says how many more there are.
fn list<T>(text: &mut String, kind: &str, items: &[T], line: impl Fn(&T) -> String) {
    for item in items.iter().take(LISTED) {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {kind:<10}  {}", line(item));
    }
    if let Some(more) = items.len().checked_sub(LISTED).filter(|&more| more > 0) {
        let _ = write!(text, "\n  {kind:<10}  ... and {more} more");
    }
}

/// The name nearest to `name` by edit distance, if at most half of it differs.
fn closest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Bounds on work, for files with very many or very long names.
    const CANDIDATES: usize = 2_000;
    const LONGEST: usize = 200;
    if name.len() > LONGEST {
        return None;
    }
    names
        .filter(|other| other.len() <= LONGEST)
        .take(CANDIDATES)
        .map(|other| (strsim::levenshtein(name, other), other))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| distance.saturating_mul(2) <= name.len())
        .map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors(shapes: &[(&str, &[usize])]) -> Tensors {
        let tensor = |shape: &[usize]| {
            Tensor::new(shape.to_vec(), vec![0.0; count(shape).unwrap()]).unwrap()
        };
        let tensors =
            shapes.iter().map(|(name, shape)| ((*name).to_owned(), tensor(shape))).collect();
        Tensors { tensors, ..Tensors::default() }
    }

    fn expected(shapes: &[(&str, &[usize])]) -> Vec<(String, Vec<usize>)> {
        shapes.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect()
    }

    #[test]
    fn equal_names_and_shapes_pass() {
        let shapes: &[(&str, &[usize])] = &[("a", &[2, 3]), ("b", &[])];
        strict(&expected(shapes), &tensors(shapes)).unwrap();
    }

    #[test]
    fn every_difference_is_listed_with_the_closest_name() {
        let want =
            expected(&[("blocks.0.norm.weight", &[4]), ("head.weight", &[2, 3]), ("same", &[1])]);
        let have =
            tensors(&[("blocks.0.nrom.weight", &[4]), ("head.weight", &[3, 2]), ("same", &[1])]);
        let text = strict(&want, &have).unwrap_err().to_string();
        assert_eq!(
            text,
            "the weights do not fit the model: 1 missing, 1 unexpected and 1 of another shape, of 3 expected\n  \
             missing     blocks.0.norm.weight [4] (closest unexpected: blocks.0.nrom.weight)\n  \
             unexpected  blocks.0.nrom.weight [4]\n  \
             shape       head.weight: expected [2, 3], got [3, 2]\n\
             hint: the config and the weights must be of the same model; ignorable tensors are removed by name before the check"
        );
    }

    #[test]
    fn long_lists_are_cut() {
        let want: Vec<_> = (0..50).map(|i| (format!("t{i}"), vec![1])).collect();
        let text = strict(&want, &Tensors::default()).unwrap_err().to_string();
        assert!(text.contains("... and 30 more"), "{text}");
    }

    #[test]
    fn a_tensor_has_as_many_values_as_its_shape() {
        assert!(Tensor::new(vec![2, 2], vec![0.0; 3]).is_err());
        assert!(Tensor::new(vec![usize::MAX, 2], vec![]).is_err());
        assert!(Tensor::new(vec![], vec![1.0]).is_ok());
    }
}
