//! `provenance.json`: where a model's weights come from. Nothing of the machine or of who ran it.

use std::path::PathBuf;

use sensorium_data::{Config, DatasetConfig};
use sensorium_pretrained::{DataSource, Provenance};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

/// What is known of a training before its first step: its recipe with a hash of all its settings, its
/// seed, what it starts from if not from seeded weights, and its data sets with their shares.
pub fn begin(
    recipe: &str,
    resolved: &str,
    seed: u64,
    start: &[PathBuf],
    data: &Config,
) -> Provenance {
    let whole: f32 = data.train.iter().map(DatasetConfig::share).sum();
    let source = |set: &DatasetConfig| DataSource {
        name: set.kind().to_owned(),
        licence: set.licence().map(Into::into),
        more: object(json!({"path": set.path(), "share": set.share() / whole})),
    };
    let more = object(json!({
        "recipe": recipe,
        "recipe_blake3": blake3::hash(resolved.as_bytes()).to_hex().as_str(),
        "seed": seed,
        "start": start,
    }));
    Provenance { data: data.train.iter().map(source).collect(), more, ..Provenance::default() }
}

/// With how it ended, today.
pub(crate) fn end(
    provenance: Provenance,
    steps: u64,
    [train_loss, val_loss]: [Option<f64>; 2],
) -> Provenance {
    let mut more = provenance.more;
    more.extend(object(json!({
        "steps": steps,
        "train_loss": train_loss,
        "val_loss": val_loss,
        "date": today(),
    })));
    Provenance { more, ..provenance }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// In UTC, as `2024-02-29`.
fn today() -> String {
    let today = OffsetDateTime::now_utc();
    format!("{}-{:02}-{:02}", today.year(), u8::from(today.month()), today.day())
}
