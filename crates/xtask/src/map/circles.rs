//! No import circles between folders: a folder can be read, and moved, after those it uses.

use super::code::paths_from_root;
use super::sources::Source;
use super::violation::Violation;
use super::workspace::Package;
use std::collections::{BTreeMap, BTreeSet};

/// Each file with the files of its crate that it uses.
type Graph<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Every circle of files that do not stand in one folder.
///
/// A crate's root is left out: it names what all of the crate shares, such as its error.
pub fn check(packages: &[Package], sources: &[Source]) -> Vec<Violation> {
    packages.iter().flat_map(|package| check_crate(&package.folder, sources)).collect()
}

fn check_crate(folder: &str, sources: &[Source]) -> Vec<Violation> {
    let graph = graph(&format!("{folder}/src/"), sources);
    let reach: Graph = graph.keys().map(|file| (*file, reached(file, &graph))).collect();
    let mut broken = Vec::new();
    let mut seen = BTreeSet::new();
    for (file, far) in &reach {
        let circle: BTreeSet<&str> =
            far.iter().filter(|other| reach[**other].contains(file)).copied().collect();
        let folders: BTreeSet<&str> = circle.iter().map(|file| parent(file)).collect();
        if folders.len() > 1 && seen.insert(circle.clone()) {
            broken.push(Violation {
                place: (*file).to_owned(),
                expected: "no import circle between folders".to_owned(),
                got: circle.into_iter().collect::<Vec<_>>().join(" <-> "),
                hint: "move what both need into a file that uses neither",
            });
        }
    }
    broken
}

fn graph<'a>(src: &str, sources: &'a [Source]) -> Graph<'a> {
    let modules: BTreeMap<String, &Source> =
        sources.iter().filter_map(|source| Some((module(src, &source.path)?, source))).collect();
    let uses = |from: &str, source: &'a Source| -> BTreeSet<&'a str> {
        let paths = paths_from_root(&source.product, from);
        let files = paths.iter().filter_map(|path| deepest(path, &modules));
        files.filter(|file| *file != source.path).collect()
    };
    modules.iter().map(|(from, source)| (source.path.as_str(), uses(from, source))).collect()
}

/// `vlm::prompt` for `src/vlm/prompt.rs`; none for the crate's root and for files outside of it.
fn module(src: &str, path: &str) -> Option<String> {
    let inside = path.strip_prefix(src)?.strip_suffix(".rs")?;
    let inside = inside.strip_suffix("/mod").unwrap_or(inside);
    (!matches!(inside, "lib" | "main")).then(|| inside.replace('/', "::"))
}

/// The file of the longest module that the path goes through.
fn deepest<'a>(path: &str, modules: &BTreeMap<String, &'a Source>) -> Option<&'a str> {
    let ends = path.match_indices("::").map(|(at, _)| at).chain([path.len()]);
    let found = ends.filter_map(|end| modules.get(&path[..end])).last();
    found.map(|source| source.path.as_str())
}

fn reached<'a>(file: &str, graph: &Graph<'a>) -> BTreeSet<&'a str> {
    let mut far = BTreeSet::new();
    let mut next: Vec<&str> = graph[file].iter().copied().collect();
    while let Some(file) = next.pop() {
        if far.insert(file) {
            next.extend(&graph[file]);
        }
    }
    far
}

fn parent(file: &str) -> &str {
    file.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::sources::parse;

    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<Source> =
            files.iter().map(|(path, text)| parse(format!("crates/x/src/{path}"), text)).collect();
        check_crate("crates/x", &sources).into_iter().map(|violation| violation.got).collect()
    }

    #[test]
    fn two_folders_do_not_use_each_other() {
        let a = ("a/mod.rs", "use crate::b::{C, d::D};");
        assert_eq!(circles(&[a, ("b/mod.rs", "use std::fmt;"), ("b/d.rs", "")]), [""; 0]);
        let got = circles(&[a, ("b/mod.rs", ""), ("b/d.rs", "fn f() { crate::a::g() }")]);
        assert_eq!(got, ["crates/x/src/a/mod.rs <-> crates/x/src/b/d.rs"]);
        let got = circles(&[("a.rs", "use super::b::d;"), ("b/d.rs", "use super::super::a;")]);
        assert_eq!(got.len(), 1);
    }

    #[test]
    fn one_folder_may_be_one_thought_and_the_root_is_everyones() {
        assert_eq!(circles(&[("b/mod.rs", "use d::D;"), ("b/d.rs", "use super::C;")]), [""; 0]);
        assert_eq!(circles(&[("lib.rs", "use b::c;"), ("b/c.rs", "use crate::Error;")]), [""; 0]);
        let test = "#[cfg(test)]\nmod tests { use crate::a; }";
        assert_eq!(circles(&[("a.rs", "use crate::b::c;"), ("b/c.rs", test)]), [""; 0]);
    }
}
