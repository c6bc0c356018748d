//! One golden: a tiny reference model on disk, `goldens/<name>/`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::Error;

/// Name to shape and values, row-major. Integer tensors (ids, labels, masks) become f32, which
/// holds them exactly: they are below 2²⁴.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

const OUTPUTS: &str = "outputs.safetensors";
const STATES: &str = "states.safetensors";

/// A reference model, its inputs and what it computed from them.
///
/// Files are read when they are asked for; one that is missing or broken fails the test with the
/// command that makes it.
#[derive(Debug, Clone)]
pub struct Golden {
    folder: PathBuf,
}

impl Golden {
    /// The golden `goldens/<name>/` of this repository.
    ///
    /// # Panics
    /// If it is not there.
    #[track_caller]
    pub fn open(name: &str) -> Self {
        Self::read(name).unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`Golden::open`], for callers that report errors themselves.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is no `goldens/<name>/`.
    pub fn read(name: &str) -> Result<Self, Error> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens").join(name);
        match std::fs::metadata(&folder) {
            Ok(_) => Ok(Self { folder }),
            Err(source) => Err(Error::Missing { path: folder, source }),
        }
    }

    /// Every parameter, under the name that published checkpoints use.
    #[track_caller]
    pub fn weights(&self) -> Tensors {
        self.must_have("weights.safetensors")
    }

    /// What the model was fed.
    #[track_caller]
    pub fn inputs(&self) -> Tensors {
        self.must_have("inputs.safetensors")
    }

    /// Named intermediates and outputs.
    #[track_caller]
    pub fn outputs(&self) -> Tensors {
        self.must_have(OUTPUTS)
    }

    /// Named hidden states: every layer of every stack (`reference/states.py`).
    #[track_caller]
    pub fn states(&self) -> Tensors {
        self.must_have(STATES)
    }

    /// The gradient of the loss with respect to every parameter.
    #[track_caller]
    pub fn gradients(&self) -> Tensors {
        self.must_have("gradients.safetensors")
    }

    /// Ten losses of AdamW with everything trained: `losses()[i]` is the loss before update i.
    #[track_caller]
    pub fn losses(&self) -> Vec<f64> {
        self.curve("losses")
    }

    /// The loss curve of this name, such as `stage1` of `llava`.
    #[track_caller]
    pub fn curve(&self, name: &str) -> Vec<f64> {
        self.try_curve(name).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The model's config, in the spelling of published checkpoints.
    #[track_caller]
    pub fn config(&self) -> Value {
        self.json("config.json")
    }

    /// Any other JSON file of this golden, such as `loss.json` of `siglip`.
    #[track_caller]
    pub fn json(&self, file: &str) -> Value {
        self.try_json(file).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The names of [`Golden::outputs`] in the order in which the model computes them.
    #[track_caller]
    pub fn order(&self) -> Vec<String> {
        self.try_order(OUTPUTS).unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`order`](Self::order), of [`Golden::states`].
    #[track_caller]
    pub fn states_order(&self) -> Vec<String> {
        self.try_order(STATES).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Where a file of this golden is, for loaders that are to read it themselves.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    #[track_caller]
    fn must_have(&self, file: &str) -> Tensors {
        self.try_tensors(file).unwrap_or_else(|error| panic!("{error}"))
    }

    fn try_tensors(&self, file: &str) -> Result<Tensors, Error> {
        let bytes = self.bytes(file)?;
        let stored = SafeTensors::deserialize(&bytes)
            .map_err(|error| self.content(file, "safetensors", &error))?;
        let mut tensors = Tensors::new();
        for (name, view) in stored.iter() {
            let values = floats(view.dtype(), view.data()).ok_or_else(|| {
                self.content(
                    file,
                    &format!("F32 or I64 for {name}"),
                    &format!("{:?}", view.dtype()),
                )
            })?;
            tensors.insert(name.to_owned(), (view.shape().to_vec(), values));
        }
        Ok(tensors)
    }

    fn try_json(&self, file: &str) -> Result<Value, Error> {
        serde_json::from_slice(&self.bytes(file)?)
            .map_err(|error| self.content(file, "JSON", &error))
    }

    fn try_curve(&self, name: &str) -> Result<Vec<f64>, Error> {
        let file = "losses.json";
        let losses = self.try_json(file)?;
        losses[name]
            .as_array()
            .and_then(|curve| curve.iter().map(Value::as_f64).collect())
            .ok_or_else(|| self.content(file, &format!("a curve {name}"), &losses))
    }

    fn try_order(&self, file: &str) -> Result<Vec<String>, Error> {
        let bytes = self.bytes(file)?;
        let (_, header) = SafeTensors::read_metadata(&bytes)
            .map_err(|error| self.content(file, "safetensors", &error))?;
        header
            .metadata()
            .as_ref()
            .and_then(|entries| serde_json::from_str(entries.get("order")?).ok())
            .ok_or_else(|| self.content(file, "a metadata key `order`", &"none"))
    }

    fn bytes(&self, file: &str) -> Result<Vec<u8>, Error> {
        let path = self.path(file);
        std::fs::read(&path).map_err(|source| Error::Missing { path, source })
    }

    fn content(&self, file: &str, expected: &str, got: &dyn std::fmt::Display) -> Error {
        Error::Content {
            path: self.path(file),
            expected: expected.to_owned(),
            got: got.to_string(),
        }
    }
}

/// Little-endian bytes as f32, or nothing for a type that no golden holds.
fn floats(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    match dtype {
        Dtype::F32 => Some(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        Dtype::I64 => {
            Some(bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f32).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODELS: [&str; 9] = [
        "clip",
        "clip_eos",
        "vit",
        "siglip",
        "llama",
        "llama_untied",
        "llama_qknorm",
        "llava",
        "nano_vit",
    ];

    #[test]
    fn every_model_is_complete() {
        for name in MODELS {
            let golden = Golden::open(name);
            let shapes = |tensors: Tensors| -> Vec<(String, Vec<usize>)> {
                tensors.into_iter().map(|(name, (shape, _))| (name, shape)).collect()
            };
            assert_eq!(shapes(golden.weights()), shapes(golden.gradients()), "{name}");
            assert_eq!(golden.losses().len(), 10, "{name}");
            assert!(golden.config().is_object(), "{name}");
            assert!(golden.inputs().len() >= 2, "{name}");

            let mut order = golden.order();
            assert!(order.contains(&"loss".to_owned()), "{name}");
            order.sort();
            assert!(order.iter().eq(golden.outputs().keys()), "{name}");
            let first = golden.outputs()["loss"].1[0];
            assert!((f64::from(first) - golden.losses()[0]).abs() < 1e-6, "{name}");
        }
    }

    #[test]
    fn shapes_fit_their_values_and_all_values_are_finite() {
        for name in MODELS.iter().chain(&["ops"]) {
            let golden = Golden::open(name);
            for tensors in [golden.inputs(), golden.outputs(), golden.gradients()] {
                for (tensor, (shape, values)) in tensors {
                    assert_eq!(shape.iter().product::<usize>(), values.len(), "{name} {tensor}");
                    assert!(values.iter().all(|value| value.is_finite()), "{name} {tensor}");
                }
            }
        }
    }

    #[test]
    fn stages_have_curves_of_their_own() {
        let golden = Golden::open("llava");
        assert_eq!(golden.curve("stage1").len(), 10);
        assert!(golden.curve("stage2")[9] < golden.curve("stage1")[9]);
    }

    #[test]
    fn labels_keep_their_sign() {
        let (_, labels) = &Golden::open("llama").inputs()["labels"];
        assert!(labels.contains(&-100.0));
    }

    #[test]
    #[should_panic(expected = "python reference/all.py")]
    fn a_missing_golden_fails_with_the_command_that_makes_it() {
        Golden::open("no_such_model");
    }

    #[test]
    #[should_panic(expected = "a curve stage9")]
    fn an_unknown_curve_is_named() {
        Golden::open("llava").curve("stage9");
    }
}
