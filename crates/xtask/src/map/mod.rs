//! `cargo xtask map`: the invariants of ARCHITECTURE.md, checked against `cargo metadata`, the
//! sources and the folders.
//!
//! Each rule is a pure function over parsed facts and returns every place that breaks it.

mod circles;
mod code;
mod dependencies;
mod features;
mod sources;
mod tree;
mod twins;
mod unused;
mod violation;
mod workspace;

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use violation::Violation;

/// The pages whose paths in backquotes must exist.
const PAGES: &[&str] = &[
    "README.md",
    tree::MAP,
    "CONTRIBUTING.md",
    "docs/data.md",
    "docs/models.md",
    "docs/nano.md",
    "docs/train.md",
];

/// Checks the repository at `root`.
///
/// # Errors
/// Every broken invariant with its place, or a fact that could not be read.
pub fn run(root: &Path) -> Result<()> {
    let packages = workspace::read(root)?;
    let sources = sources::read(root, &packages)?;
    let mut broken = dependencies::check(&packages);
    broken.extend(features::check(&features::read(root, &packages)?));
    broken.extend(unused::check(&packages, &sources));
    broken.extend(sources::check(&sources));
    broken.extend(circles::check(&packages, &sources));
    broken.extend(twins::check(&twins::read(root, &sources)?));
    broken.extend(check_pages(root, &tree::required(root, &packages)?)?);
    if broken.is_empty() {
        println!("the map holds: {} crates, {} files of Rust", packages.len(), sources.len());
        return Ok(());
    }
    for violation in &broken {
        eprintln!("{violation}");
    }
    bail!("{} invariants of {} are broken", broken.len(), tree::MAP)
}

fn check_pages(root: &Path, required: &[String]) -> Result<Vec<Violation>> {
    let exists = |path: &str| root.join(path).exists();
    let read = |page: &str| {
        fs::read_to_string(root.join(page)).with_context(|| format!("cannot read {page}"))
    };
    let mut broken = tree::check(&tree::parse(&read(tree::MAP)?), required, exists);
    for page in PAGES {
        broken.extend(tree::check_names(page, &read(page)?, exists));
    }
    Ok(broken)
}
