//! Comparisons of slices, with failures that say where to look.

use std::fmt;
use std::fs::File;
use std::io::Write;

use crate::Tensors;

/// A gradient tensor is judged by its own largest value, but never by less than this share of
/// the largest value of all: key biases have gradients of pure rounding noise.
const SMALLEST_SHARE: f32 = 1e-2;

/// The worst element of a comparison that failed.
pub(crate) struct Departure {
    name: String,
    shape: Vec<usize>,
    got: f32,
    want: f32,
    at: usize,
    allowed: f32,
    outside: usize,
    count: usize,
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {:?}: largest difference {:.3e} at {:?}: got {}, want {}, allowed {:.1e}; \
             {} of {} values differ by more",
            self.name,
            self.shape,
            (self.got - self.want).abs(),
            place(&self.shape, self.at),
            self.got,
            self.want,
            self.allowed,
            self.outside,
            self.count,
        )
    }
}

/// The multi-index of flat index `at`.
fn place(shape: &[usize], mut at: usize) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (slot, &size) in index.iter_mut().zip(shape).rev() {
        *slot = at % size.max(1);
        at /= size.max(1);
    }
    index
}

/// The worst departure of `got` from `want`, if any value is further off than `allowed(want)`.
/// Not-a-number is further off than anything. The slices are equally long.
pub(crate) fn departure(
    name: &str,
    shape: &[usize],
    got: &[f32],
    want: &[f32],
    allowed: impl Fn(f32) -> f32,
) -> Option<Departure> {
    // A not-a-number compares as infinitely far.
    let distance = |i: usize| {
        let difference = (got[i] - want[i]).abs();
        if difference.is_nan() { f32::INFINITY } else { difference }
    };
    note(name, (0..want.len()).map(distance).fold(0.0, f32::max), largest(want));
    let outside: Vec<usize> = (0..want.len()).filter(|&i| distance(i) > allowed(want[i])).collect();
    let at = outside.iter().copied().max_by(|&a, &b| distance(a).total_cmp(&distance(b)))?;
    Some(Departure {
        name: name.to_owned(),
        shape: shape.to_vec(),
        got: got[at],
        want: want[at],
        at,
        allowed: allowed(want[at]),
        outside: outside.len(),
        count: want.len(),
    })
}

/// With `SENSORIUM_DIFFERENCES=FILE` every comparison leaves a line there: its test, its name, how far off the worst value
/// is, and how large the wanted ones are.
fn note(name: &str, worst: f32, largest: f32) {
    let Some(path) = std::env::var_os("SENSORIUM_DIFFERENCES") else { return };
    let thread = std::thread::current();
    let line = format!("{}\t{name}\t{worst:e}\t{largest:e}\n", thread.name().unwrap_or_default());
    let written = File::options().append(true).create(true).open(&path);
    let written = written.and_then(|mut file| file.write_all(line.as_bytes()));
    assert!(written.is_ok(), "SENSORIUM_DIFFERENCES: cannot write {}", path.display());
}

/// `tolerance` is absolute up to 1 and relative above.
pub(crate) fn mixed(tolerance: f32) -> impl Fn(f32) -> f32 {
    move |want| tolerance * want.abs().max(1.0)
}

/// Fails unless `|got - want| <= tolerance * max(1, |want|)` everywhere.
///
/// # Panics
/// On a difference: names the tensor, the largest difference and its place.
#[track_caller]
pub fn assert_close(name: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{name}: number of values (left: got, right: want)");
    if let Some(departure) = departure(name, &[want.len()], got, want, mixed(tolerance)) {
        panic!("{departure}");
    }
}

/// As [`assert_close`] for a tensor of `shape`, which must be the wanted one.
///
/// # Panics
/// On another shape or a difference.
#[track_caller]
pub fn assert_tensor(
    name: &str,
    shape: &[usize],
    got: &[f32],
    want: &(Vec<usize>, Vec<f32>),
    tolerance: f32,
) {
    assert_eq!(shape, want.0, "{name}: shape (left: got, right: want)");
    assert_eq!(got.len(), want.1.len(), "{name}: number of values (left: got, right: want)");
    if let Some(departure) = departure(name, shape, got, &want.1, mixed(tolerance)) {
        panic!("{departure}");
    }
}

/// Fails unless `got` has exactly the tensors of `want`, each off by at most `tolerance` times
/// its own largest value (or 1 % of the largest value of all, if that is more).
///
/// # Panics
/// On a name that is missing or left over, another shape, or a difference; all are listed.
#[track_caller]
pub fn assert_gradients(got: &Tensors, want: &Tensors, tolerance: f32) {
    let floor =
        SMALLEST_SHARE * want.values().map(|(_, values)| largest(values)).fold(0.0, f32::max);
    let mut faults: Vec<String> = got
        .keys()
        .filter(|name| !want.contains_key(*name))
        .map(|name| format!("{name}: left over"))
        .collect();
    for (name, (shape, values)) in want {
        let allowed = tolerance * largest(values).max(floor);
        match got.get(name) {
            None => faults.push(format!("{name} {shape:?}: missing")),
            Some((other, _)) if other != shape => {
                faults.push(format!("{name}: got shape {other:?}, want {shape:?}"));
            }
            Some((_, own)) if own.len() != values.len() => {
                faults.push(format!("{name}: got {} values, want {}", own.len(), values.len()));
            }
            Some((_, own)) => {
                let found = departure(name, shape, own, values, |_| allowed);
                faults.extend(found.map(|departure| departure.to_string()));
            }
        }
    }
    assert!(faults.is_empty(), "{} gradients are wrong:\n{}", faults.len(), faults.join("\n"));
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, value| most.max(value.abs()))
}

/// Fails unless each loss is off by at most `relative` times the wanted one.
///
/// # Panics
/// On another length or the first step that departs; both curves are printed.
#[track_caller]
pub fn assert_losses(got: &[f64], want: &[f64], relative: f64) {
    assert_eq!(got.len(), want.len(), "steps of the loss curve (left: got, right: want)");
    let wrong = got.iter().zip(want).position(|(got, want)| {
        let difference = (got - want).abs();
        difference.is_nan() || difference > relative * want.abs()
    });
    if let Some(step) = wrong {
        panic!("the loss departs at step {step}:\n got {got:?}\nwant {want:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, values: &[f32]) -> Tensors {
        Tensors::from([(name.to_owned(), (vec![values.len()], values.to_vec()))])
    }

    #[test]
    fn close_is_absolute_below_one_and_relative_above() {
        assert_close("small", &[0.00001, 1000.01], &[0.0, 1000.0], 2e-5);
    }

    #[test]
    #[should_panic(expected = "x [2, 3]: largest difference 1.000e0 at [1, 2]")]
    fn a_failure_names_the_place() {
        let want = (vec![2, 3], vec![0.0; 6]);
        assert_tensor("x", &[2, 3], &[0.0, 0.5, 0.0, 0.0, 0.0, 1.0], &want, 1e-5);
    }

    #[test]
    #[should_panic(expected = "2 of 3 values differ by more")]
    fn a_failure_counts() {
        assert_close("x", &[1.0, 0.0, 2.0], &[0.0; 3], 1e-5);
    }

    #[test]
    #[should_panic(expected = "got NaN")]
    fn not_a_number_is_never_close() {
        assert_close("x", &[f32::NAN, 9.0], &[0.0, 0.0], f32::MAX);
    }

    #[test]
    #[should_panic(expected = "shape")]
    fn a_reshaped_tensor_is_not_the_same() {
        assert_tensor("x", &[3, 2], &[0.0; 6], &(vec![2, 3], vec![0.0; 6]), 1.0);
    }

    #[test]
    fn rounding_noise_of_a_zero_gradient_passes() {
        let mut want = one("k.bias", &[1e-9, -1e-9]);
        want.extend(one("q.weight", &[0.5, 1.0]));
        let mut got = want.clone();
        got.insert("k.bias".to_owned(), (vec![2], vec![-1e-9, 2e-9]));
        assert_gradients(&got, &want, 1e-4);
    }

    #[test]
    #[should_panic(expected = "b [1]: missing")]
    fn a_missing_gradient_fails() {
        assert_gradients(&one("a", &[1.0]), &one("b", &[1.0]), 1e-4);
    }

    #[test]
    #[should_panic(expected = "departs at step 1")]
    fn losses_are_relative() {
        assert_losses(&[100.01, 1.01], &[100.0, 1.0], 1e-3);
    }
}
