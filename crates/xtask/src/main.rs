//! The project's own chores: `cargo xtask ci`, `cargo xtask map`, `cargo xtask data`, `cargo xtask bench`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bench;
mod ci;
mod data;
mod map;

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
Chores of the Sensorium repository.

usage: cargo xtask <command>

  ci [--only STEP]   run every check, stop at the first failure, print seconds per step
                     steps: fmt, map, deny, clippy, test, test-dev, doctest, doc; and gpu, which is done
                     only when asked for
  map                check the crates and ARCHITECTURE.md against the map's invariants
  data <SET>...      fetch, verify and unpack data sets and published models into data/
                     sets: easy-vqa, icons, smollm2
  bench [--pairs N] [WORD]...
                     measure Sensorium and its peers in turn, write bench/RESULTS.md
                     words: P1 to P8 (all by default), vit, prefill, decode, step, growth
  profile <WORD>...  where the time of Sensorium's side of such work goes, by operation
  help               print this text
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        ["ci"] => ci::run(&root()?, None),
        ["ci", "--only", step] => ci::run(&root()?, Some(step)),
        ["map"] => map::run(&root()?),
        ["data", sets @ ..] if !sets.is_empty() => data::run(&root()?, sets),
        ["bench", words @ ..] => bench::run(&root()?, words),
        ["profile", words @ ..] if !words.is_empty() => bench::profile(&root()?, words),
        _ => {
            bail!("expected a command of xtask, got `{}`\nhint: cargo xtask help", words.join(" "))
        }
    }
}

/// The repository: two folders above this crate.
///
/// Asked at run time, as cargo tells it: with a build folder shared by two checkouts, the path
/// known at compile time may be the other's.
fn root() -> Result<PathBuf> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .context("expected CARGO_MANIFEST_DIR, got none\nhint: run it as cargo xtask")?;
    let root = Path::new(&here).ancestors().nth(2);
    Ok(root.context("xtask is not in crates/")?.to_path_buf())
}

/// The `cargo` that runs this program, so that both use the same toolchain.
fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_command_is_named_with_a_hint() {
        let error = run(&["fly".to_owned(), "away".to_owned()]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`fly away`") && text.contains("hint:"), "{text}");
    }

    #[test]
    fn the_root_holds_the_workspace() {
        assert!(root().unwrap().join("Cargo.lock").is_file());
    }
}
