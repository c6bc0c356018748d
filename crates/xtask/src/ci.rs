//! `cargo xtask ci`: every check of the repository, cheapest first.

use crate::cargo;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// One check: a cargo command and the environment it needs.
struct Step {
    name: &'static str,
    cargo: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
}

/// Nearly everything runs in the release profile, the one that `cargo run --release` uses: the kernels
/// are fast enough to train in tests, and the tensor framework is built once and checked once. The
/// crates below the framework that index and count by hand are tested in the dev profile too, which
/// checks overflows and debug assertions.
const STEPS: &[Step] = &[
    Step { name: "fmt", cargo: &["fmt", "--all", "--check"], env: &[] },
    Step { name: "map", cargo: &["xtask", "map"], env: &[] },
    Step {
        name: "deny",
        cargo: &["deny", "--locked", "--features", GPUS, "check", "bans", "licenses", "sources"],
        env: &[],
    },
    Step {
        name: "clippy",
        cargo: &["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"],
        env: &[],
    },
    Step {
        name: "test",
        cargo: &["test", "--release", "--workspace", "--lib", "--bins", "--tests", "--examples"],
        env: &[],
    },
    Step {
        name: "test-dev",
        cargo: &["test", "-p", "sensorium-kernels", "-p", "sensorium-checkpoint"],
        env: &[],
    },
    Step { name: "doctest", cargo: &["test", "--release", "--workspace", "--doc"], env: &[] },
    Step {
        name: "doc",
        cargo: &["doc", "--release", "--workspace", "--no-deps"],
        env: &[("RUSTDOCFLAGS", "-D warnings")],
    },
    Step { name: GPU, cargo: GPU_TESTS, env: &[("SENSORIUM_DEVICE", "wgpu")] },
];

/// What programs for graphics processors are built with, and their licences.
const GPUS: &str = "sensorium/cuda,sensorium/wgpu";

/// Only done when it is asked for: the framework for graphics processors is long to build.
const GPU: &str = "gpu";

/// Operations, models and trainings against what they are on the CPU, on whatever Vulkan has: without a
/// graphics processor it is Mesa's, which computes on the CPU. One at a time, for it has few threads.
const GPU_TESTS: &[&str] = &[
    "test",
    "--release",
    "--package",
    "sensorium",
    "--package",
    "sensorium-nn",
    "--package",
    "sensorium-inference",
    "--package",
    "sensorium-train",
    "--features",
    "sensorium/wgpu",
    "--test",
    "engine",
    "--test",
    "parity",
    "--test",
    "published",
    "--test",
    "device",
];

/// Runs all steps but [`GPU`], or the one named `only`, in the folder `root`.
///
/// # Errors
/// An unknown name lists the known ones; a failing step names the command that repeats it.
pub fn run(root: &Path, only: Option<&str>) -> Result<()> {
    let steps = select(STEPS, only)?;
    let mut seconds = Vec::new();
    for step in steps {
        println!("\n== {}: {}", step.name, spell(step));
        let start = Instant::now();
        let passed = passes(step, root)?;
        seconds.push((step.name, start.elapsed().as_secs_f64()));
        if !passed {
            print!("{}", summary(&seconds, Some(step.name)));
            bail!(
                "step `{0}` failed\nhint: repeat it with `{1}` or `cargo xtask ci --only {0}`",
                step.name,
                spell(step)
            );
        }
    }
    print!("{}", summary(&seconds, None));
    Ok(())
}

fn select<'a>(steps: &'a [Step], only: Option<&str>) -> Result<Vec<&'a Step>> {
    let chosen: Vec<&Step> = steps
        .iter()
        .filter(|step| only.map_or(step.name != GPU, |name| name == step.name))
        .collect();
    if chosen.is_empty() {
        let known: Vec<&str> = steps.iter().map(|step| step.name).collect();
        bail!(
            "expected a step of ci, got `{}`\nhint: the steps are {}",
            only.unwrap_or_default(),
            known.join(", ")
        );
    }
    Ok(chosen)
}

fn passes(step: &Step, root: &Path) -> Result<bool> {
    let mut command = Command::new(cargo());
    match step.name {
        "deny" => drop(command.env("PATH", with_deny(root)?)),
        GPU => install_vulkan()?,
        _ => {}
    }
    let status = command
        .args(step.cargo)
        .envs(step.env.iter().copied())
        .current_dir(root)
        .status()
        .with_context(|| format!("cannot start `{}`", spell(step)))?;
    Ok(status.success())
}

/// The version that `deny.toml` is written for.
const DENY: &str = "cargo-deny@0.20.2";

/// Where programs are found, cargo-deny among them: beside the build's other outputs, if it is not
/// installed.
fn with_deny(root: &Path) -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let tools = root.join("target/tools");
    let path = std::env::join_paths(std::env::split_paths(&path).chain([tools.join("bin")]))?;
    let is_there = || {
        let asked = Command::new(cargo()).args(["deny", "--version"]).env("PATH", &path).output();
        asked.is_ok_and(|output| output.status.success())
    };
    if !is_there() {
        println!("cargo-deny is missing: building it once, in target/tools");
        let install = Command::new(cargo())
            .args(["install", "--locked", DENY, "--root"])
            .arg(&tools)
            .current_dir(root)
            .status();
        if !install.is_ok_and(|status| status.success()) {
            bail!("could not install {DENY}\nhint: repeat it with `cargo install --locked {DENY}`");
        }
    }
    Ok(path)
}

/// Where drivers of Vulkan are listed.
const DRIVERS: &str = "/usr/share/vulkan/icd.d";

/// Installs Mesa's drivers where Debian's packages can be had and there is none.
fn install_vulkan() -> Result<()> {
    let is_there = || std::fs::read_dir(DRIVERS).is_ok_and(|mut drivers| drivers.next().is_some());
    if is_there() || cfg!(not(target_os = "linux")) {
        return Ok(());
    }
    println!("no driver of Vulkan in {DRIVERS}: installing Mesa's");
    let install = "as_root() { if [ \"$(id -u)\" = 0 ]; then \"$@\"; else sudo \"$@\"; fi; }; \
                   as_root apt-get update -qq && \
                   as_root apt-get install -y -qq mesa-vulkan-drivers libvulkan1";
    let installed = Command::new("sh").args(["-c", install]).status();
    if !installed.is_ok_and(|status| status.success()) || !is_there() {
        bail!(
            "could not install a driver of Vulkan\nhint: apt-get install mesa-vulkan-drivers libvulkan1"
        );
    }
    Ok(())
}

/// The command as one would type it.
fn spell(step: &Step) -> String {
    let env = step.env.iter().map(|(key, value)| format!("{key}='{value}' "));
    format!("{}cargo {}", env.collect::<String>(), step.cargo.join(" "))
}

/// A table of seconds per step; `failed` is the step that stopped the run.
fn summary(seconds: &[(&str, f64)], failed: Option<&str>) -> String {
    let mut text = String::from("\nstep      seconds\n");
    for (name, spent) in seconds {
        let mark = if Some(*name) == failed { "FAILED" } else { "ok" };
        text += &format!("{name:<8}{spent:>9.1}  {mark}\n");
    }
    let total: f64 = seconds.iter().map(|(_, spent)| spent).sum();
    text + &format!("{:<8}{total:>9.1}\n", "total")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_step_can_be_chosen() {
        let chosen = select(STEPS, Some("doc")).unwrap();
        assert_eq!(chosen.len(), 1);
        assert_eq!(
            spell(chosen[0]),
            "RUSTDOCFLAGS='-D warnings' cargo doc --release --workspace --no-deps"
        );
    }

    #[test]
    fn what_is_long_to_build_is_asked_for() {
        assert!(select(STEPS, None).unwrap().iter().all(|step| step.name != GPU));
        assert_eq!(select(STEPS, Some(GPU)).unwrap().len(), 1);
    }

    #[test]
    fn an_unknown_step_lists_the_known_ones() {
        let text = select(STEPS, Some("lint")).err().unwrap().to_string();
        assert!(text.contains("`lint`") && text.contains("clippy"), "{text}");
    }

    #[test]
    fn the_help_names_every_step() {
        for step in STEPS {
            assert!(crate::HELP.contains(step.name), "{}", step.name);
        }
    }

    #[test]
    fn the_summary_marks_the_step_that_failed() {
        let text = summary(&[("fmt", 1.0), ("clippy", 2.5)], Some("clippy"));
        assert!(text.contains("fmt           1.0  ok"), "{text}");
        assert!(text.contains("clippy        2.5  FAILED"), "{text}");
        assert!(text.contains("total         3.5"), "{text}");
    }
}
