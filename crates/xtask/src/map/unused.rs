//! Dependencies that a crate's `Cargo.toml` lists and its code does not name.

use super::code::{is_word_char, lines_with};
use super::sources::Source;
use super::violation::Violation;
use super::workspace::{Dependency, Package};

/// Every dependency that nothing names, and every one that only tests name and that is not theirs.
pub fn check(packages: &[Package], sources: &[Source]) -> Vec<Violation> {
    packages.iter().flat_map(|package| check_package(package, sources)).collect()
}

fn check_package(package: &Package, sources: &[Source]) -> Vec<Violation> {
    let inside = format!("{}/", package.folder);
    let own: Vec<&Source> =
        sources.iter().filter(|source| source.path.starts_with(&inside)).collect();
    let unused = package.dependencies.iter().filter(|dependency| !is_used(dependency, &own));
    unused
        .map(|dependency| Violation {
            place: format!("{}/Cargo.toml", package.folder),
            expected: match dependency.dev {
                true => "dependencies that the tests name".to_owned(),
                false => "dependencies that the crate names outside its tests".to_owned(),
            },
            got: format!("`{}`", dependency.name),
            hint: "remove the line, or move it to [dev-dependencies]",
        })
        .collect()
}

fn is_used(dependency: &Dependency, sources: &[&Source]) -> bool {
    sources.iter().any(|source| {
        let code = if dependency.dev { &source.code } else { &source.product };
        names(code, &dependency.identifier)
    })
}

/// Whether code names a crate: `image::open` or `use image`, but not `crate::image::open`.
fn names(code: &str, identifier: &str) -> bool {
    let path = format!("{identifier}::");
    let begins = |at: usize| !code[..at].ends_with(|c: char| c == ':' || is_word_char(c));
    code.match_indices(&path).any(|(at, _)| begins(at))
        || !lines_with(code, &format!("use {identifier}")).is_empty()
        || !lines_with(code, &format!("{identifier} as _")).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::sources::parse;

    fn unused(dev: bool, path: &str, text: &str) -> usize {
        let dependency = Dependency { name: "a-b".to_owned(), identifier: "a_b".to_owned(), dev };
        let package = Package {
            name: "sensorium-x".to_owned(),
            folder: "crates/x".to_owned(),
            dependencies: vec![dependency],
        };
        check(&[package], &[parse(path.to_owned(), text)]).len()
    }

    #[test]
    fn a_dependency_is_named_in_its_crate() {
        for text in ["use a_b::C;", "fn f() { a_b::g() }", "use {a_b as _, c};", "use a_b as d;"] {
            assert_eq!(unused(false, "crates/x/src/lib.rs", text), 0, "{text}");
        }
        for text in ["use crate::a_b::C;", "fn a_b() {}", "// a_b::C", "use na_b::C;"] {
            assert_eq!(unused(false, "crates/x/src/lib.rs", text), 1, "{text}");
        }
        assert_eq!(unused(false, "crates/y/src/lib.rs", "use a_b::C;"), 1);
    }

    #[test]
    fn what_only_tests_name_is_a_dependency_of_tests() {
        let text = "#[cfg(test)]\nmod tests { use a_b::C; }";
        assert_eq!(unused(false, "crates/x/src/lib.rs", text), 1);
        assert_eq!(unused(true, "crates/x/src/lib.rs", text), 0);
        assert_eq!(unused(false, "crates/x/tests/t.rs", "use a_b::C;"), 1);
    }
}
