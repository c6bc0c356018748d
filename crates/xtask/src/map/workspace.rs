//! The crates of the workspace and what they depend on, from `cargo metadata`.

use crate::cargo;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// A crate of the workspace.
#[derive(Debug)]
pub struct Package {
    pub name: String,
    /// Below the repository, with `/` between the parts.
    pub folder: String,
    pub dependencies: Vec<Dependency>,
}

/// A line of a crate's `Cargo.toml`.
#[derive(Debug)]
pub struct Dependency {
    /// The package's name, also where it is renamed.
    pub name: String,
    /// What the code calls it.
    pub identifier: String,
    /// For tests, benches and examples only.
    pub dev: bool,
}

/// Asks cargo for the crates of the repository at `root`.
///
/// # Errors
/// Cargo fails, or its answer has another form than format version 1.
pub fn read(root: &Path) -> Result<Vec<Package>> {
    let output = Command::new(cargo())
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("cannot start cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata = serde_json::from_slice(&output.stdout).context("cargo metadata is no JSON")?;
    parse(&metadata).context("expected format version 1 of cargo metadata, got another form")
}

fn parse(metadata: &Value) -> Option<Vec<Package>> {
    let root = Path::new(metadata["workspace_root"].as_str()?);
    let packages = metadata["packages"].as_array()?;
    packages.iter().map(|package| parse_package(package, root)).collect()
}

fn parse_package(package: &Value, root: &Path) -> Option<Package> {
    let manifest = Path::new(package["manifest_path"].as_str()?);
    let folder = manifest.parent()?.strip_prefix(root).ok()?;
    let dependencies = package["dependencies"].as_array()?;
    Some(Package {
        name: package["name"].as_str()?.to_owned(),
        folder: folder.to_str()?.replace('\\', "/"),
        dependencies: dependencies.iter().map(parse_dependency).collect::<Option<_>>()?,
    })
}

fn parse_dependency(dependency: &Value) -> Option<Dependency> {
    let name = dependency["name"].as_str()?;
    let identifier = dependency["rename"].as_str().unwrap_or(name).replace('-', "_");
    Some(Dependency {
        name: name.to_owned(),
        identifier,
        dev: dependency["kind"].as_str() == Some("dev"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_the_metadata_that_matter_are_read() {
        let packages = parse(&serde_json::json!({
            "workspace_root": "/r",
            "packages": [{
                "name": "sensorium-nn",
                "manifest_path": "/r/crates/nn/Cargo.toml",
                "dependencies": [
                    { "name": "burn-core", "rename": "burn", "kind": null },
                    { "name": "proptest", "kind": "dev" },
                ],
            }],
        }))
        .unwrap();
        assert_eq!(packages[0].folder, "crates/nn");
        let [burn, proptest] = &packages[0].dependencies[..] else { panic!("two dependencies") };
        assert_eq!((burn.name.as_str(), burn.identifier.as_str()), ("burn-core", "burn"));
        assert!(!burn.dev && proptest.dev);
    }

    #[test]
    fn another_form_is_not_read() {
        assert!(parse(&serde_json::json!({ "packages": 3 })).is_none());
    }
}
