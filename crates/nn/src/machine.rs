//! What this machine is fast at: measured once, in some 30 ms, and kept in the user's cache directory.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{env, fs};

use sensorium_kernels::Precision;
use sensorium_kernels::machine::{Work, processor, threads};
pub use sensorium_kernels::machine::{class, features};
use serde::{Deserialize, Serialize};

/// How much faster bfloat16 has to be measured before a training gives up digits for it.
const WORTH: f64 = 1.05;

/// Speeds of one processor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Its name and features.
    pub processor: String,
    /// Threads that were measured.
    pub threads: usize,
    /// The program's version, whose kernels were measured.
    pub version: String,
    /// A dense layer's forward and both gradients.
    pub step: Speeds,
    /// A packed dense layer of many rows.
    pub prefill: Speeds,
    /// A packed dense layer of one row.
    pub decode: Speeds,
}

/// G operations a second by the numbers that are multiplied; a multiply-add is two.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Speeds {
    /// 24 bits of mantissa.
    pub f32: f64,
    /// bfloat16.
    pub bf16: f64,
}

impl Machine {
    /// This one, as the cache has it or as it is measured now.
    pub fn here() -> &'static Self {
        static HERE: OnceLock<Machine> = OnceLock::new();
        HERE.get_or_init(|| Self::kept_in(cache_directory().as_deref()))
    }

    /// What a training that leaves it open multiplies: bfloat16 where it was measured to be faster.
    pub fn training(&self) -> Precision {
        match self.step.bf16 > WORTH * self.step.f32 {
            true => Precision::Bf16,
            false => Precision::F32,
        }
    }

    /// As the file in `directory` has it; measured, and written there, where that one is missing,
    /// damaged, or of another processor, another number of threads or another version.
    fn kept_in(directory: Option<&Path>) -> Self {
        let path = directory.map(|directory| directory.join("machine.json"));
        let bytes = path.as_ref().and_then(|path| fs::read(path).ok()).unwrap_or_default();
        match serde_json::from_slice::<Self>(&bytes) {
            Ok(kept) if kept.is_here() => kept,
            _ => {
                let machine = Self::measured();
                if let Some(path) = path
                    && let Err(error) = machine.write(&path)
                {
                    log::debug!("measured again next time: {}: {error}", path.display());
                }
                machine
            }
        }
    }

    fn is_here(&self) -> bool {
        let speeds = [self.step, self.prefill, self.decode];
        let positive = |speed: f64| speed.is_finite() && speed > 0.0;
        self.processor == processor()
            && self.threads == threads()
            && self.version == env!("CARGO_PKG_VERSION")
            && speeds.iter().all(|speeds| positive(speeds.f32) && positive(speeds.bf16))
    }

    fn measured() -> Self {
        let rounded = |speed: f64| (speed * 1e3).round() / 1e3;
        let speeds = |work: Work| Speeds {
            f32: rounded(work.speed(Precision::F32)),
            bf16: rounded(work.speed(Precision::Bf16)),
        };
        Self {
            processor: processor(),
            threads: threads(),
            version: env!("CARGO_PKG_VERSION").into(),
            step: speeds(Work::Step),
            prefill: speeds(Work::Prefill),
            decode: speeds(Work::Decode),
        }
    }

    /// Another process may write at the same time: the file is one of theirs, whole.
    fn write(&self, path: &Path) -> std::io::Result<()> {
        let part = path.with_extension(format!("{}.part", std::process::id()));
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        fs::write(&part, serde_json::to_vec_pretty(self)?)?;
        fs::rename(&part, path)
    }
}

/// `$XDG_CACHE_HOME/sensorium`, or where else this system keeps what can be made again.
fn cache_directory() -> Option<PathBuf> {
    let path = |name| env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let home = || Some(path("HOME")?.join(".cache"));
    let parent = path("XDG_CACHE_HOME").or_else(|| path("LOCALAPPDATA")).or_else(home)?;
    Some(parent.join("sensorium"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_step(f32: f64, bf16: f64) -> Machine {
        Machine { step: Speeds { f32, bf16 }, ..Machine::measured() }
    }

    #[test]
    fn the_slower_way_is_never_chosen() {
        // Zen 4, and Sapphire Rapids, which lists the instruction too.
        for (f32, bf16, chosen) in [
            (200.0, 400.0, Precision::Bf16),
            (352.0, 176.0, Precision::F32),
            (100.0, 101.0, Precision::F32),
        ] {
            assert_eq!(with_step(f32, bf16).training(), chosen, "{f32} {bf16}");
        }
    }

    #[test]
    fn what_was_measured_is_kept_until_it_is_of_another_machine() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("machine.json");
        let kept = || Machine::kept_in(Some(folder.path()));
        let first = kept();
        assert_eq!(kept(), first);

        let odd = Machine { step: Speeds { f32: 1e-3, bf16: 1e-3 }, ..first.clone() };
        odd.write(&path).unwrap();
        assert_eq!(kept(), odd, "a file of this machine is believed");

        let moved = Machine { processor: "another".into(), ..odd.clone() };
        let fewer = Machine { threads: odd.threads + 1, ..odd.clone() };
        let older = Machine { version: "0.0.0".into(), ..odd.clone() };
        let broken = Machine { step: Speeds { f32: -1.0, bf16: 1.0 }, ..odd };
        for foreign in [moved, fewer, older, broken] {
            foreign.write(&path).unwrap();
            assert_eq!(kept().processor, first.processor);
            assert!(kept().step.f32 > 1e-2, "measured again");
        }
        fs::write(&path, b"{\"processor\": 3").unwrap();
        assert!(kept().is_here());
        assert!(Machine::kept_in(None).is_here());
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        assert!(Machine::kept_in(Some(&file)).is_here(), "a folder that cannot be made");
    }
}
