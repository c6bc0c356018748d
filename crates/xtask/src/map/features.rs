//! One set of features for the tensor framework, whichever crate is built.

use super::violation::Violation;
use super::workspace::Package;
use crate::cargo;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// The crate that names the framework.
const OWNER: &str = "sensorium-nn";

/// A package with its features, as `regex v1.13.2 default,std`.
type Lines = BTreeSet<String>;

/// What is built of the framework and below it.
pub struct Builds {
    all: Lines,
    /// Each crate built alone, with its tests.
    alone: Vec<(String, Lines)>,
}

/// Every crate that has a package of the framework built anew when it is tested alone.
pub fn check(builds: &Builds) -> Vec<Violation> {
    let broken = builds.alone.iter().filter_map(|(folder, lines)| {
        let anew: Vec<&str> = lines.difference(&builds.all).map(String::as_str).collect();
        (!anew.is_empty()).then(|| Violation {
            place: format!("{folder}/Cargo.toml"),
            expected: "the tensor framework built as for the whole workspace".to_owned(),
            got: format!("other features in {}", anew.join("; ")),
            hint: "list the features that are missing in crates/nn/Cargo.toml and src/features.rs",
        })
    });
    broken.collect()
}

/// Asks cargo for the features, of the workspace and of each crate that uses the framework.
///
/// # Errors
/// Cargo fails.
pub fn read(root: &Path, packages: &[Package]) -> Result<Builds> {
    let framework = tree(root, &["--package", OWNER, "--edges", "normal,build"])?;
    let framework: BTreeSet<&str> = framework.iter().map(|line| package(line)).collect();
    let ours = |line: &str| line.starts_with("sensorium") || line.starts_with("xtask");
    let below = |mut lines: Lines| {
        lines.retain(|line| !ours(line) && framework.contains(package(line)));
        lines
    };
    let edges = ["--edges", "normal,build,dev"];
    let mut alone = Vec::new();
    for Package { name, folder, .. } in packages {
        let lines = tree(root, &[&["--package", name], &edges[..]].concat())?;
        if lines.iter().any(|line| line.starts_with(&format!("{OWNER} "))) {
            alone.push((folder.clone(), below(lines)));
        }
    }
    Ok(Builds { all: below(tree(root, &[&["--workspace"], &edges[..]].concat())?), alone })
}

/// Name and version.
fn package(line: &str) -> &str {
    line.match_indices(' ').nth(1).map_or(line, |(end, _)| &line[..end])
}

fn tree(root: &Path, arguments: &[&str]) -> Result<Lines> {
    let output = Command::new(cargo())
        .args(["tree", "--prefix", "none", "--format", "{p} {f}"])
        .args(arguments)
        .current_dir(root)
        .output()
        .context("cannot start cargo tree")?;
    ensure!(
        output.status.success(),
        "cargo tree failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().map(|line| line.trim_end_matches(" (*)").trim_end().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_with_fewer_features_is_named() {
        let lines = |text: &str| text.split(';').map(str::to_owned).collect::<Lines>();
        let all = lines("burn-core v0.22.1 std;regex v1.13.2 default,std");
        let alone = vec![
            ("crates/nn".to_owned(), lines("regex v1.13.2 std")),
            ("crates/model".to_owned(), lines("regex v1.13.2 default,std")),
        ];
        let broken = check(&Builds { all, alone });
        assert_eq!(broken.len(), 1);
        assert_eq!(broken[0].place, "crates/nn/Cargo.toml");
        assert!(broken[0].got.contains("regex v1.13.2 std"), "{}", broken[0]);
    }

    #[test]
    fn a_package_is_its_name_and_version() {
        assert_eq!(package("regex v1.13.2 std"), "regex v1.13.2");
        assert_eq!(package("bytes v1.12.2"), "bytes v1.12.2");
    }
}
