//! What the figures were measured on: the processor, its limits, the commit, the day.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What bounds a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    F32,
    Bf16,
    Int8,
    /// Reading memory.
    Read,
}

impl Limit {
    const ALL: [Self; 4] = [Self::F32, Self::Bf16, Self::Int8, Self::Read];

    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Read => "read",
        }
    }
}

/// G operations or GB a second by [`Limit`], as the example `probe` of kernels prints them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits(Value);

impl Limits {
    /// Measures them.
    ///
    /// # Errors
    /// The probe does not run.
    pub fn measure(probe: &Path) -> Result<Self> {
        let shown = probe.display();
        let output = Command::new(probe).output().with_context(|| format!("cannot run {shown}"))?;
        Self::parse(&String::from_utf8_lossy(&output.stdout))
            .with_context(|| format!("from {shown}, {}", output.status))
    }

    pub fn parse(line: &str) -> Result<Self> {
        let limits: Value = serde_json::from_str(line).unwrap_or_default();
        if limits["read"].is_number() {
            return Ok(Self(limits));
        }
        bail!("expected {{\"read\": GB a second, ...}}, got `{}`", line.trim())
    }

    /// None if the processor has no instruction for it.
    pub fn get(&self, limit: Limit) -> Option<f64> {
        self.0[limit.name()].as_f64()
    }

    /// The higher of two measurements: whatever disturbs a probe only slows it.
    pub fn best(&self, other: &Self) -> Self {
        let mut best = self.0.clone();
        for limit in Limit::ALL {
            if let (Some(a), Some(b)) = (self.get(limit), other.get(limit)) {
                best[limit.name()] = a.max(b).into();
            }
        }
        Self(best)
    }

    /// `f32 231, bf16 463 G operations/s; memory 27.1 GB/s`
    pub fn spell(&self) -> String {
        let arithmetic: Vec<String> = [Limit::F32, Limit::Bf16, Limit::Int8]
            .into_iter()
            .filter_map(|limit| Some(format!("{} {:.0}", limit.name(), self.get(limit)?)))
            .collect();
        let read = self.get(Limit::Read).unwrap_or_default();
        format!("{} G operations/s; memory {read:.1} GB/s", arithmetic.join(", "))
    }
}

/// Processor, cores, and those of its features that kernels ask for.
pub fn describe() -> String {
    // Linux tells; elsewhere only the number of cores is known.
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {cores} cores", processor(&text))
}

/// The class of the processor: the widest of its instructions that matter.
pub fn class() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        return "NEON";
    }
    class_of(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
}

fn class_of(text: &str) -> &'static str {
    let flags = field(text, "flags");
    let has = |name: &str| flags.split(' ').any(|flag| flag == name);
    let classes = [("amx_tile", "AMX"), ("avx512f", "AVX-512"), ("avx2", "AVX2")];
    classes.into_iter().find(|(flag, _)| has(flag)).map_or("other", |(_, class)| class)
}

/// What `/proc/cpuinfo` says of the first processor.
fn processor(text: &str) -> String {
    let known = ["avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile"];
    let flags: Vec<&str> =
        field(text, "flags").split(' ').filter(|flag| known.contains(flag)).collect();
    let (model, family, number) =
        (field(text, "model name"), field(text, "cpu family"), field(text, "model"));
    format!("{model} (family {family}, model {number}; {})", flags.join(" "))
}

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let mut values = lines.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim());
    values.next().unwrap_or("unknown")
}

/// `2026-11-25` in UTC.
///
/// # Errors
/// There is no command `date`.
pub fn today() -> Result<String> {
    first_line(Command::new("date").args(["-u", "+%F"]))
}

/// The commit, and whether the sources differ from it.
///
/// # Errors
/// There is no git, or the folder is none of its.
pub fn commit(root: &Path) -> Result<String> {
    let git = |words: &[&str]| first_line(Command::new("git").args(words).current_dir(root));
    let (commit, changes) = (
        git(&["rev-parse", "--short", "HEAD"])?,
        git(&["diff", "HEAD", "--name-only", "--", "crates"])?,
    );
    Ok(if changes.is_empty() { commit } else { format!("{commit}, changed") })
}

fn first_line(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_the_better_kept() {
        let a = Limits::parse(r#"{"f32":230.0,"bf16":440.0,"read":27.25,"threads":2}"#).unwrap();
        let b = Limits::parse(r#"{"f32":210.0,"bf16":463.0,"read":26.0,"threads":2}"#).unwrap();
        let best = a.best(&b);
        assert_eq!(best.get(Limit::Bf16), Some(463.0));
        assert_eq!(best.get(Limit::Int8), None);
        assert_eq!(best.spell(), "f32 230, bf16 463 G operations/s; memory 27.2 GB/s");
        let error = Limits::parse("killed\n").unwrap_err().to_string();
        assert!(error.contains("`killed`"), "{error}");
    }

    #[test]
    fn the_processor_is_described_by_what_matters() {
        let text = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\
                    flags\t\t: fpu sse avx2 avx512f\n\nprocessor\t: 1\nmodel name\t: other\n";
        assert_eq!(processor(text), "AMD EPYC (family 25, model 17; avx2 avx512f)");
        let classes = [("amx_tile avx512f", "AMX"), ("avx2 avx512f", "AVX-512"), ("avx2", "AVX2")];
        for (flags, class) in [&classes[..], &[("sse2", "other")]].concat() {
            assert_eq!(class_of(&format!("flags\t: fpu {flags}\n")), class);
        }
        assert_eq!(processor(""), "unknown (family unknown, model unknown; )");
    }
}
