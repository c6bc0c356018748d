//! Values to fewer bits: an error instead of an infinity.

use super::error::{Error, Result, short};
use half::{bf16, f16};

/// IEEE half precision, rounded to nearest even; `name` is the tensor's, for the error.
pub(super) fn to_f16(name: &str, value: f32) -> Result<f16> {
    let narrow = f16::from_f32(value);
    if narrow.is_infinite() && value.is_finite() {
        Err(too_large(name, value, f16::MAX.to_f32()))
    } else {
        Ok(narrow)
    }
}

/// bfloat16, rounded to nearest even; `name` is the tensor's, for the error.
pub(super) fn to_bf16(name: &str, value: f32) -> Result<bf16> {
    let narrow = bf16::from_f32(value);
    if narrow.is_infinite() && value.is_finite() {
        Err(too_large(name, value, bf16::MAX.to_f32()))
    } else {
        Ok(narrow)
    }
}

fn too_large(name: &str, value: f32, most: f32) -> Error {
    Error::Unwritable {
        what: format!("tensor {:?}", short(name)),
        expected: format!("values of at most {most}"),
        got: value.to_string(),
        hint: "store this tensor as F32; if it is a weight, look for a run that diverged",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finite_values_never_become_infinite() {
        assert_eq!(to_f16("w", 65504.0).unwrap().to_f32(), 65504.0);
        assert!(to_f16("w", 65520.0).is_err());
        assert!(to_f16("w", f32::INFINITY).unwrap().is_infinite());
        assert!(to_bf16("w", f32::MAX).is_err());
        assert_eq!(to_bf16("w", 1.0).unwrap().to_f32(), 1.0);
    }
}
