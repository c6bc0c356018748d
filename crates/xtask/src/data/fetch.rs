//! Archives from the ordinary package clients, checked against their pins.

use super::catalogue::{Client, Package};
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The package's archive inside `folder`, fetched only if it is not there yet.
///
/// No code of the package runs: a wheel is not installed and npm's scripts are off.
///
/// # Errors
/// The client is missing or fails; the archive differs from its pin in size or SHA-256.
pub fn archive(package: &Package, folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join(package.archive);
    if !path.is_file() {
        download(package, folder)?;
    }
    verify(&path, package.bytes, package.sha256)?;
    Ok(path)
}

fn download(package: &Package, folder: &Path) -> Result<()> {
    let mut command = command(package);
    let status = command
        .current_dir(folder)
        .status()
        .with_context(|| format!("cannot start {command:?}\nhint: install pip or npm"))?;
    ensure!(status.success(), "{command:?} failed: {status}\nhint: is the network reachable?");
    Ok(())
}

/// The client's command line; it writes the archive into its working directory.
fn command(package: &Package) -> Command {
    match package.client {
        Client::Pip => {
            let mut command = Command::new("python3");
            command.args([
                "-m",
                "pip",
                "download",
                "--no-deps",
                "--only-binary",
                ":all:",
                "-d",
                ".",
            ]);
            command.arg(format!("{}=={}", package.name, package.version));
            command
        }
        Client::Npm => {
            let mut command = Command::new("npm");
            command.args(["pack", "--silent", "--ignore-scripts"]);
            command.arg(format!("{}@{}", package.name, package.version));
            command
        }
    }
}

/// Checks a file's size and SHA-256 (lower-case hexadecimal).
fn verify(path: &Path, bytes: u64, sha256: &str) -> Result<()> {
    let shown = path.display();
    let mut file = File::open(path).with_context(|| format!("cannot open {shown}"))?;
    let found = file.metadata().with_context(|| format!("cannot stat {shown}"))?.len();
    let mut hasher = Sha256::new();
    io::copy(&mut file, &mut hasher).with_context(|| format!("cannot read {shown}"))?;
    let digest = format!("{:x}", hasher.finalize());
    if found != bytes || digest != sha256 {
        bail!(
            "expected {bytes} bytes with sha256 {sha256}, got {found} bytes with {digest}, in \
             {shown}\nhint: delete the file and fetch again"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::catalogue::SETS;

    /// SHA-256 of `abc`, from FIPS 180-2.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_changed_archive_is_refused_with_both_sums() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tgz");
        fs::write(&path, "abc").unwrap();
        verify(&path, 3, ABC).unwrap();
        fs::write(&path, "abd").unwrap();
        let text = verify(&path, 3, ABC).unwrap_err().to_string();
        assert!(text.contains(ABC) && text.contains("hint:"), "{text}");
    }

    #[test]
    fn clients_are_told_to_run_nothing_and_to_take_one_version() {
        for package in SETS.iter().flat_map(|set| set.packages) {
            let line = format!("{:?}", command(package));
            match package.client {
                Client::Pip => assert!(line.contains(":all:") && line.contains("=="), "{line}"),
                Client::Npm => assert!(line.contains("--ignore-scripts"), "{line}"),
            }
        }
    }
}
