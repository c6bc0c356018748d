//! A model's files from the hub into the cache, as a person watches it.

use anyhow::Result;
use sensorium_hub::{Hub, Plan, Pulled};
use sensorium_train::progress::Progress;

/// Brings files into the cache, with a bar for each.
pub fn fetch(hub: &Hub, plan: &Plan) -> Result<Pulled> {
    let (mut bar, mut of) = (None, String::new());
    let pulled = hub.pull(plan, |now| {
        if of != now.file {
            of = now.file.to_owned();
            if let Some(done) = bar.replace(Progress::bytes(&of)) {
                done.finish();
            }
        }
        bar.iter().for_each(|bar| bar.set(now.done as usize, now.total as usize));
    })?;
    if let Some(bar) = bar {
        bar.finish();
    }
    Ok(pulled)
}
