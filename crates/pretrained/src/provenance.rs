//! What weights were made of: `provenance.json` beside them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::directory::Directory;
use crate::error::{Error, Result};

const FILE: &str = "provenance.json";

/// `provenance.json`, as trainings write it and exports join it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// What the model is called.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What it is, in a sentence or two.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Of the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// What it was trained on.
    pub data: Vec<DataSource>,
    /// What it was measured on and never trained on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub measured: Vec<DataSource>,
    /// What it cannot do, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<String>,
    /// The trainings that made it: what each wrote.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<Value>,
    /// What else stands there: recipe, steps, seed, figures.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A data set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataSource {
    /// Its name.
    pub name: String,
    /// Its licence, where it is known.
    pub licence: Option<String>,
    /// What else stands there: path, share.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Provenance {
    /// That of a directory; nothing where there is none: the origin of its weights is not known.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn read(directory: &Directory) -> Result<Option<Self>> {
        let Some(value) = directory.json(FILE)? else { return Ok(None) };
        let parsed = serde_json::from_value(value);
        parsed.map(Some).map_err(|error| Error::Setting {
            file: FILE.into(),
            key: "the file".into(),
            expected: "data with names and licences".into(),
            got: error.to_string(),
            hint: "the file is damaged; take it from the run that made the weights",
        })
    }

    /// That of a model whose components come from several trainings: each set of data once, and what
    /// each training wrote.
    pub fn joined(all: &[Self]) -> Self {
        let mut joined = Self::default();
        for one in all {
            let new = one.data.iter().filter(|d| joined.data.iter().all(|known| known != *d));
            let new: Vec<DataSource> = new.cloned().collect();
            joined.data.extend(new);
            joined.runs.extend(serde_json::to_value(one));
        }
        joined
    }
}
