//! The tree drawn in ARCHITECTURE.md, the paths named in the pages, and the folders that exist.

use super::violation::Violation;
use super::workspace::Package;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// The page that draws the tree.
pub const MAP: &str = "ARCHITECTURE.md";

/// A line of the drawn tree.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The line in the page, counted from 1.
    pub line: usize,
    /// Below the repository, folders without the closing `/`.
    pub path: String,
}

/// Compares the drawn tree with what exists: every entry exists, every required path is drawn.
pub fn check(
    drawn: &[Entry],
    required: &[String],
    exists: impl Fn(&str) -> bool,
) -> Vec<Violation> {
    let gone = drawn.iter().filter(|entry| !exists(&entry.path)).map(|entry| Violation {
        place: format!("{MAP}:{}", entry.line),
        expected: "a file or folder that exists".to_owned(),
        got: format!("`{}`", entry.path),
        hint: "the map shows what is there: remove the line, or add the file",
    });
    let drawn_path = |path: &str| drawn.iter().any(|entry| entry.path == path);
    let undrawn = required.iter().filter(|path| !drawn_path(path)).map(|path| Violation {
        place: MAP.to_owned(),
        expected: format!("a line for `{path}` in the tree"),
        got: "none".to_owned(),
        hint: "draw it with one sentence on what lives there",
    });
    gone.chain(undrawn).collect()
}

/// Paths that the text of a page names in backquotes and that do not exist.
pub fn check_names(page: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<Violation> {
    named_paths(text)
        .into_iter()
        .filter(|entry| !exists(&entry.path))
        .map(|entry| Violation {
            place: format!("{page}:{}", entry.line),
            expected: "a path that exists".to_owned(),
            got: format!("`{}`", entry.path),
            hint: "correct the page; write a placeholder as <name>",
        })
        .collect()
}

/// The tree drawn with branches (`├──`, `└──`) anywhere in the page.
pub fn parse(page: &str) -> Vec<Entry> {
    let mut parents: Vec<&str> = Vec::new();
    let mut entries = Vec::new();
    for (index, line) in page.lines().enumerate() {
        let Some((depth, name)) = branch(line) else {
            continue;
        };
        parents.truncate(depth - 1);
        parents.push(name.trim_end_matches('/'));
        entries.push(Entry { line: index + 1, path: parents.join("/") });
    }
    entries
}

/// The depth, from 1, and the name on a line such as `│   ├── nn/     layers`.
fn branch(line: &str) -> Option<(usize, &str)> {
    let at = line.find("── ")?;
    let (stem, rest) = line.split_at(at);
    let is_stem = stem.ends_with(['├', '└']) && stem.chars().all(|c| "│├└ ".contains(c));
    let name = rest.trim_start_matches("── ").split_whitespace().next()?;
    is_stem.then(|| (stem.chars().count().div_ceil(4), name))
}

/// Paths in backquotes below a folder of ours, outside of fenced blocks.
fn named_paths(text: &str) -> Vec<Entry> {
    let mut fenced = false;
    let mut entries = Vec::new();
    for (index, line) in text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        let spans = line.split('`').skip(1).step_by(2);
        entries.extend(
            spans
                .filter(|span| is_path(span))
                .map(|span| Entry { line: index + 1, path: span.trim_end_matches('/').to_owned() }),
        );
    }
    entries
}

fn is_path(span: &str) -> bool {
    const FOLDERS: &[&str] = &[
        ".ci/",
        "bench/",
        "crates/",
        "docs/",
        "examples/",
        "goldens/",
        "models/",
        "recipes/",
        "reference/",
        "tests/",
    ];
    let plain = !span.contains(|c: char| c.is_whitespace() || "<>{}*…".contains(c));
    plain && FOLDERS.iter().any(|folder| span.starts_with(folder))
}

/// What the tree must draw: every crate's folder, and all that stands in the repository's root
/// but hidden and ignored entries.
///
/// # Errors
/// The root or its ignore file does not read.
pub fn required(root: &Path, packages: &[Package]) -> Result<Vec<String>> {
    let ignore = fs::read_to_string(root.join(".gitignore")).context("cannot read .gitignore")?;
    let ignored = |name: &str| ignore.lines().any(|line| line.trim_matches('/') == name);
    let mut names: Vec<String> = packages.iter().map(|package| package.folder.clone()).collect();
    for entry in fs::read_dir(root).context("cannot list the repository")? {
        let name = entry.context("cannot list the repository")?.file_name();
        let name = name.to_string_lossy().into_owned();
        if !name.starts_with('.') && !ignored(&name) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# Map

```text
sensorium/
├── README.md          what it is ── and more
├── crates/
│   ├── components/
│   │   └── encoder/   Media → Features
│   └── nn/            layers
└── recipes/           one folder a recipe
```
";

    fn paths(page: &str) -> Vec<String> {
        parse(page).into_iter().map(|entry| entry.path).collect()
    }

    #[test]
    fn the_drawing_is_read_as_paths() {
        let expected = [
            "README.md",
            "crates",
            "crates/components",
            "crates/components/encoder",
            "crates/nn",
            "recipes",
        ];
        assert_eq!(paths(PAGE), expected);
        assert_eq!(parse(PAGE)[0].line, 5);
    }

    #[test]
    fn a_drawn_path_must_exist() {
        let broken = check(&parse(PAGE), &[], |path| path != "crates/nn");
        assert_eq!(broken.len(), 1);
        assert_eq!(broken[0].place, "ARCHITECTURE.md:9");
    }

    #[test]
    fn a_folder_that_exists_must_be_drawn() {
        let required = ["crates/nn".to_owned(), "crates/serve".to_owned()];
        let broken = check(&parse(PAGE), &required, |_| true);
        assert_eq!(broken.len(), 1);
        assert!(broken[0].expected.contains("crates/serve"), "{}", broken[0]);
    }

    #[test]
    fn paths_named_in_text_must_exist() {
        let text = "see `crates/nn/src/gone.rs`, `recipes/<name>/tiny.toml`, `a/b`\n\
                    ```sh\n`crates/fenced`\n```\n`recipes/clip/`";
        let broken = check_names("README.md", text, |path| path == "recipes/clip");
        assert_eq!(broken.len(), 1);
        assert_eq!(broken[0].got, "`crates/nn/src/gone.rs`");
        assert_eq!(broken[0].place, "README.md:1");
    }
}
