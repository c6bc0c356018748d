//! `precision = "f32"`, `"bf16"` or `"auto"` in a recipe.

use sensorium_nn::machine::Machine;
use sensorium_nn::prelude::Precision;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

/// `"auto"` becomes what this machine was measured to be fastest at, so that the resolved recipe names it
/// and a resumed run keeps it.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Precision, D::Error> {
    match String::deserialize(from)?.as_str() {
        "auto" => Ok(Machine::here().training()),
        "f32" => Ok(Precision::F32),
        "bf16" => Ok(Precision::Bf16),
        other => Err(Error::unknown_variant(other, &["auto", "f32", "bf16"])),
    }
}

pub fn serialize<S: Serializer>(precision: &Precision, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(precision.name())
}
