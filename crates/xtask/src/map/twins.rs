//! Twin names: one noun in every place where a recipe or a golden lives.

use super::sources::Source;
use super::violation::Violation;
use anyhow::{Context, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// The names found in each place, without endings.
#[derive(Debug, Default)]
pub struct Names {
    /// Folders in `recipes/`.
    pub recipes: Vec<String>,
    /// Files in `crates/train/src/recipes/`, but for `mod.rs`.
    pub recipe_sources: Vec<String>,
    /// Recipes that have a `tiny.toml`.
    pub tiny: Vec<String>,
    /// Folders in `goldens/`.
    pub goldens: Vec<String>,
    /// The text of all scripts in `reference/`.
    pub scripts: String,
    /// The code of all crates, with its strings.
    pub tests: String,
}

/// Every recipe or golden that lacks its twin.
pub fn check(names: &Names) -> Vec<Violation> {
    let mut broken = Vec::new();
    for name in &names.recipes {
        if !names.tiny.contains(name) {
            broken
                .push(missing(&format!("recipes/{name}"), &format!("`recipes/{name}/tiny.toml`")));
        }
        if !names.recipe_sources.contains(name) {
            let source = format!("`crates/train/src/recipes/{name}.rs`");
            broken.push(missing(&format!("recipes/{name}"), &source));
        }
    }
    for name in names.recipe_sources.iter().filter(|name| !names.recipes.contains(name)) {
        let source = format!("crates/train/src/recipes/{name}.rs");
        broken.push(missing(&source, &format!("`recipes/{name}/tiny.toml`")));
    }
    for name in &names.goldens {
        let golden = format!("goldens/{name}");
        if !names.scripts.contains(&format!("\"{name}\"")) {
            broken
                .push(missing(&golden, &format!("a script in reference/ that writes \"{name}\"")));
        }
        if !spells(&names.tests, name) {
            broken.push(missing(&golden, &format!("a test that reads \"{name}\"")));
        }
    }
    broken
}

/// Whether a string of the code is `name`, or a path that goes through it.
fn spells(code: &str, name: &str) -> bool {
    let bounded = |at: usize| {
        code[..at].ends_with(['"', '/']) && code[at + name.len()..].starts_with(['"', '/'])
    };
    code.match_indices(name).any(|(at, _)| bounded(at))
}

fn missing(place: &str, twin: &str) -> Violation {
    Violation {
        place: place.to_owned(),
        expected: format!("its twin {twin}"),
        got: "none".to_owned(),
        hint: "one noun in every place: add the twin, or give both the same name",
    }
}

/// Lists the names in the repository at `root`; a folder that is not there holds none.
///
/// # Errors
/// A folder does not list, or a script does not read.
pub fn read(root: &Path, sources: &[Source]) -> Result<Names> {
    let recipes = folders(&root.join("recipes"))?;
    let has_tiny = |name: &&String| root.join("recipes").join(name).join("tiny.toml").is_file();
    Ok(Names {
        tiny: recipes.iter().filter(has_tiny).cloned().collect(),
        recipes,
        recipe_sources: stems(&root.join("crates/train/src/recipes"), ".rs")?
            .into_iter()
            .filter(|name| name != "mod")
            .collect(),
        goldens: folders(&root.join("goldens"))?,
        scripts: scripts(&root.join("reference"))?,
        tests: sources.iter().map(|source| source.spelt.as_str()).collect(),
    })
}

fn scripts(parent: &Path) -> Result<String> {
    let names = stems(parent, ".py")?;
    let read = |name: &String| {
        let path = parent.join(name).with_extension("py");
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    names.iter().map(read).collect()
}

fn folders(parent: &Path) -> Result<Vec<String>> {
    list(parent, |name, is_folder| (is_folder && !name.starts_with(['.', '_'])).then_some(name))
}

fn stems(parent: &Path, ending: &str) -> Result<Vec<String>> {
    list(parent, |name, is_folder| if is_folder { None } else { name.strip_suffix(ending) })
}

fn list(parent: &Path, keep: impl Fn(&str, bool) -> Option<&str>) -> Result<Vec<String>> {
    let cannot = || format!("cannot list {}", parent.display());
    let entries = match fs::read_dir(parent) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(cannot)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.with_context(cannot)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_folder = entry.file_type().with_context(cannot)?.is_dir();
        names.extend(keep(&name, is_folder).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn places(names: &Names) -> Vec<String> {
        check(names).into_iter().map(|violation| violation.expected).collect()
    }

    #[test]
    fn a_recipe_needs_its_config_and_its_source() {
        let names = Names { recipes: words("clip"), ..Names::default() };
        assert_eq!(
            places(&names),
            ["its twin `recipes/clip/tiny.toml`", "its twin `crates/train/src/recipes/clip.rs`"]
        );
    }

    #[test]
    fn a_recipe_in_code_needs_its_folder() {
        let names = Names { recipe_sources: words("llava"), ..Names::default() };
        assert_eq!(places(&names), ["its twin `recipes/llava/tiny.toml`"]);
    }

    #[test]
    fn a_golden_needs_its_script_and_its_test() {
        let names = Names {
            goldens: words("clip clip_eos"),
            scripts: "golden(\"clip\")".to_owned(),
            tests: "f(\"clip\"); g(\"goldens/clip_eos/a\")".to_owned(),
            ..Names::default()
        };
        assert_eq!(places(&names), ["its twin a script in reference/ that writes \"clip_eos\""]);
        let names = Names { tests: "f(\"clip_eos\")".to_owned(), ..names };
        assert_eq!(places(&names)[0], "its twin a test that reads \"clip\"");
    }

    #[test]
    fn names_are_read_from_the_folders() {
        let root = tempfile::tempdir().unwrap();
        let sources = root.path().join("crates/train/src/recipes");
        fs::create_dir_all(&sources).unwrap();
        fs::create_dir_all(root.path().join("recipes/clip")).unwrap();
        fs::write(root.path().join("recipes/clip/tiny.toml"), "").unwrap();
        fs::write(sources.join("mod.rs"), "").unwrap();
        fs::write(sources.join("clip.rs"), "").unwrap();
        let names = read(root.path(), &[]).unwrap();
        assert_eq!(
            (names.recipe_sources.clone(), names.tiny.clone()),
            (words("clip"), words("clip"))
        );
        assert!(check(&names).is_empty());
    }
}
