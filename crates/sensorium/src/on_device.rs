//! Graphics processors: what their drivers and the framework panic with reaches the user as an error.

use std::panic::{self, AssertUnwindSafe};

use anyhow::{Result, anyhow};
use sensorium_nn::device::{Gpu, said};
use sensorium_nn::fused::last_asked;

/// Does `work`. A panic after a device was asked for something is an error that names what.
pub fn guarded(work: impl FnOnce() -> Result<()>) -> Result<()> {
    if !Gpu::ALL.iter().any(|gpu| gpu.is_built()) {
        return work();
    }
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if last_asked().is_empty() {
            before(panic);
        }
    }));
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| match last_asked() {
        "" => panic::resume_unwind(panic),
        asked => Err(failed(asked, &said(&*panic))),
    })
}

fn failed(asked: &str, message: &str) -> anyhow::Error {
    anyhow!(
        "the device failed when it was asked for {asked}: {message}\nhint: the operation may be one \
         that it lacks, its memory may be full, or it was lost: take --device cpu; a training goes on \
         from its last checkpoint there with --resume"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_what_was_asked_and_the_way_out() {
        let text = failed("Linear", "the device was lost").to_string();
        for part in ["Linear", "the device was lost", "--device cpu", "--resume"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
