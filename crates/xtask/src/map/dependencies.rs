//! Which crate may depend on which: the arrows of ARCHITECTURE.md.

use super::violation::Violation;
use super::workspace::{Dependency, Package};

/// Each crate with the workspace's crates it uses, from left to right in the map: no more, no less.
/// `sensorium-` is left off.
///
/// No component appears in another component's row: they meet in `flow` and in `model`.
#[rustfmt::skip]
const ARROWS: &[(&str, &str)] = &[
    ("kernels", ""),
    ("media", ""),
    ("nn", "kernels"),
    ("flow", "media nn"),
    ("encoder", "nn flow"),
    ("input-projector", "nn flow"),
    ("backbone", "nn flow"),
    ("output-projector", "nn flow"),
    ("generator", "nn flow"),
    ("checkpoint", "kernels"),
    ("model", "media nn flow encoder input-projector backbone output-projector generator checkpoint"),
    ("pretrained", "media nn flow encoder input-projector backbone output-projector generator checkpoint model"),
    ("inference", "kernels media nn flow encoder input-projector backbone output-projector generator checkpoint model pretrained"),
    ("hub", ""),
    ("data", "kernels media"),
    ("train", "media nn flow encoder input-projector backbone output-projector generator checkpoint model pretrained inference hub data"),
    ("eval", "media inference data"),
    ("serve", "media inference hub"),
    ("testkit", "checkpoint"),
    ("sensorium", "media nn flow encoder checkpoint model pretrained inference hub data train eval serve"),
    ("xtask", ""),
];

/// Every other crate's tests may use it; no product may.
const TESTKIT: &str = "sensorium-testkit";

/// The only crate that names the tensor framework.
const FRAMEWORK_OWNER: &str = "sensorium-nn";

/// Crates that speak HTTP or open connections. The list cannot be complete; it holds what one
/// would reach for.
const NETWORK: &[&str] = &[
    "actix-web",
    "attohttpc",
    "axum",
    "curl",
    "h2",
    "hf-hub",
    "hyper",
    "hyper-util",
    "isahc",
    "minreq",
    "poem",
    "reqwest",
    "rocket",
    "tiny_http",
    "tonic",
    "tower-http",
    "tungstenite",
    "ureq",
    "warp",
];

/// The only crate that may open connections, and the only one that may take them: who opens none names no client.
const NETWORK_OWNERS: [(&str, &[&str]); 2] =
    [("sensorium-hub", &["ureq"]), ("sensorium-serve", &["axum", "hyper", "hyper-util"])];

/// Whoever runs a model goes through `inference`: these do not know one model from another.
const RUNNERS: &[&str] = &["sensorium-eval", "sensorium"];

/// The crate whose types are the models.
const MODELS: &str = "sensorium-model";

/// Every dependency that the map does not allow, and every row or arrow of it that nothing uses.
pub fn check(packages: &[Package]) -> Vec<Violation> {
    let mut broken: Vec<Violation> =
        packages.iter().flat_map(|package| check_package(package, packages)).collect();
    broken.extend(ARROWS.iter().flat_map(|(name, allowed)| check_row(name, allowed, packages)));
    broken
}

/// A row is of a crate that exists, and each of its arrows is in that crate's `Cargo.toml`.
fn check_row(name: &str, allowed: &str, packages: &[Package]) -> Vec<Violation> {
    let stale = |got: String| Violation {
        place: "crates/xtask/src/map/dependencies.rs".to_owned(),
        expected: "a table of what is there".to_owned(),
        got,
        hint: "the table allows what is used and nothing else: remove the entry",
    };
    let Some(package) = packages.iter().find(|package| short(&package.name) == name) else {
        return vec![stale(format!("a row for `{name}`, which is no crate"))];
    };
    let used = |to: &str| package.dependencies.iter().any(|used| short(&used.name) == to);
    let unused = allowed.split_whitespace().filter(|to| !used(to));
    unused.map(|to| stale(format!("`{name}` -> `{to}`, which no Cargo.toml has"))).collect()
}

fn check_package(package: &Package, packages: &[Package]) -> Vec<Violation> {
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == short(&package.name)) else {
        return vec![Violation {
            place: manifest(package),
            expected: "a crate with a row in the table of arrows".to_owned(),
            got: format!("`{}`", package.name),
            hint: "add the row in crates/xtask/src/map/dependencies.rs and in ARCHITECTURE.md",
        }];
    };
    let ours = |name: &str| packages.iter().any(|other| other.name == name);
    package
        .dependencies
        .iter()
        .filter_map(|dependency| {
            if ours(&dependency.name) {
                check_arrow(package, dependency, allowed)
            } else {
                check_outside(package, dependency)
            }
        })
        .collect()
}

fn check_arrow(package: &Package, to: &Dependency, allowed: &str) -> Option<Violation> {
    // Tests make models of every kind, to run them.
    if to.dev && RUNNERS.contains(&package.name.as_str()) {
        return None;
    }
    if to.name == MODELS && RUNNERS.contains(&package.name.as_str()) {
        return Some(Violation {
            place: manifest(package),
            expected: format!(
                "`{}` to run models through `sensorium-inference` only",
                package.name
            ),
            got: format!("`{}`", to.name),
            hint: "ask the traits of inference; add what they lack there",
        });
    }
    let for_tests = to.dev && to.name == TESTKIT;
    if for_tests || allowed.split_whitespace().any(|left| left == short(&to.name)) {
        return None;
    }
    Some(Violation {
        place: manifest(package),
        expected: match allowed {
            "" => format!("`{}` to use no other crate of ours", package.name),
            _ => format!("`{}` to use only {allowed}", package.name),
        },
        got: format!("`{}`", to.name),
        hint: "a crate uses only crates to its left: move the shared part left, or the wiring \
               into model",
    })
}

fn check_outside(package: &Package, to: &Dependency) -> Option<Violation> {
    let framework = to.name == "burn" || to.name.starts_with("burn-");
    if framework && package.name != FRAMEWORK_OWNER {
        return Some(Violation {
            place: manifest(package),
            expected: format!("only `{FRAMEWORK_OWNER}` to name the tensor framework"),
            got: format!("`{}` in `{}`", to.name, package.name),
            hint: "use sensorium_nn::prelude::*",
        });
    }
    let owns = |(owner, names): &(&str, &[&str])| {
        package.name == *owner && names.contains(&to.name.as_str())
    };
    if NETWORK.contains(&to.name.as_str()) && !NETWORK_OWNERS.iter().any(owns) {
        let owners = NETWORK_OWNERS.map(|(owner, names)| format!("{owner} ({})", names.join(", ")));
        return Some(Violation {
            place: manifest(package),
            expected: format!("the network only in {}", owners.join(" and ")),
            got: format!("`{}` in `{}`", to.name, package.name),
            hint: "take bytes or a path as an argument instead",
        });
    }
    None
}

fn short(name: &str) -> &str {
    name.strip_prefix("sensorium-").unwrap_or(name)
}

fn manifest(package: &Package) -> String {
    format!("{}/Cargo.toml", package.folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace of `from`, which has one dependency, and `to`, if that is ours.
    fn found(from: &str, to: &str, dev: bool) -> Vec<Violation> {
        let package = |name: &str, dependencies| Package {
            name: name.to_owned(),
            folder: format!("crates/{name}"),
            dependencies,
        };
        let (name, identifier) = (to.to_owned(), to.replace('-', "_"));
        let dependency = Dependency { name, identifier, dev };
        let mut packages = vec![package(from, vec![dependency])];
        if to.starts_with("sensorium") {
            packages.push(package(to, vec![]));
        }
        check_package(&packages[0], &packages)
    }

    #[test]
    fn components_never_use_each_other() {
        let [broken] = &found("sensorium-backbone", "sensorium-encoder", false)[..] else {
            panic!("one violation")
        };
        assert_eq!(broken.place, "crates/sensorium-backbone/Cargo.toml");
        assert!(broken.expected.contains("only nn flow"), "{broken}");
        assert_eq!(found("sensorium-backbone", "sensorium-encoder", true).len(), 1);
        assert_eq!(found("sensorium-backbone", "sensorium-flow", false), []);
    }

    #[test]
    fn arrows_point_from_left_to_right_only() {
        for (from, to) in [
            ("sensorium-kernels", "sensorium-nn"),
            ("sensorium-media", "sensorium-nn"),
            ("sensorium-nn", "sensorium-flow"),
            ("sensorium-data", "sensorium-model"),
            ("sensorium-checkpoint", "sensorium-nn"),
            ("sensorium-model", "sensorium-pretrained"),
            ("sensorium-pretrained", "sensorium-inference"),
            ("sensorium-inference", "sensorium-train"),
            ("sensorium-eval", "sensorium-model"),
            ("sensorium-model", "sensorium-train"),
            ("sensorium-eval", "sensorium-train"),
        ] {
            assert_eq!(found(from, to, false).len(), 1, "{from} -> {to}");
        }
    }

    #[test]
    fn the_testkit_is_for_tests() {
        assert_eq!(found("sensorium-model", "sensorium-testkit", false).len(), 1);
        assert_eq!(found("sensorium-model", "sensorium-testkit", true), []);
        assert_eq!(found("xtask", "sensorium-testkit", false).len(), 1);
    }

    #[test]
    fn only_nn_lists_the_framework() {
        assert_eq!(found("sensorium-nn", "burn", false), []);
        assert_eq!(found("sensorium-kernels", "burn", false).len(), 1);
        assert_eq!(found("sensorium-media", "burn-flex", false).len(), 1);
        assert_eq!(found("sensorium-model", "burn", true).len(), 1);
    }

    #[test]
    fn the_network_has_two_owners() {
        assert_eq!(found("sensorium-hub", "ureq", false), []);
        assert_eq!(found("sensorium-data", "ureq", false).len(), 1);
        assert_eq!(found("sensorium", "axum", false).len(), 1);
        assert_eq!(found("sensorium-serve", "axum", false), []);
        assert_eq!(found("sensorium-serve", "ureq", false).len(), 1, "it opens none");
        assert_eq!(found("sensorium-hub", "axum", false).len(), 1);
    }

    #[test]
    fn who_runs_models_does_not_know_them() {
        let broken = found("sensorium-eval", "sensorium-model", false);
        assert!(broken[0].expected.contains("sensorium-inference"), "{}", broken[0]);
        assert_eq!(found("sensorium-inference", "sensorium-model", false), []);
    }

    #[test]
    fn a_row_or_arrow_that_nothing_uses_is_told() {
        let gone = check_row("dreams", "", &[]);
        assert!(gone[0].got.contains("no crate"), "{}", gone[0]);
        let media = Package {
            name: "sensorium-media".to_owned(),
            folder: String::new(),
            dependencies: vec![],
        };
        let unused = check_row("media", "nn", &[media]);
        assert!(unused[0].got.contains("`media` -> `nn`"), "{}", unused[0]);
    }

    #[test]
    fn a_crate_without_a_row_is_told_where_to_add_it() {
        let broken = found("sensorium-dreams", "serde", false);
        assert!(broken[0].hint.contains("dependencies.rs"), "{}", broken[0]);
    }

    #[test]
    fn every_row_uses_only_rows_above_it() {
        for (row, (name, allowed)) in ARROWS.iter().enumerate() {
            for to in allowed.split_whitespace() {
                let above = ARROWS[..row].iter().any(|(left, _)| *left == to);
                assert!(above, "{name} uses {to}");
            }
        }
    }
}
