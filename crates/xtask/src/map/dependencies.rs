//! Which crate may depend on which: the arrows of ARCHITECTURE.md.

use super::violation::Violation;
use super::workspace::{Dependency, Package};

/// Each crate with the workspace's crates it may use, from left to right in the map.
///
/// No component appears in another component's row: they meet in `flow` and in `model`.
const ARROWS: &[(&str, &[&str])] = &[
    ("sensorium-kernels", &[]),
    ("sensorium-media", &[]),
    ("sensorium-nn", &["sensorium-kernels"]),
    ("sensorium-flow", &["sensorium-media", "sensorium-nn"]),
    ("sensorium-encoder", COMPONENT),
    ("sensorium-input-projector", COMPONENT),
    ("sensorium-backbone", COMPONENT),
    ("sensorium-checkpoint", &["sensorium-kernels"]),
    ("sensorium-model", MODEL),
    ("sensorium-pretrained", PRETRAINED),
    ("sensorium-inference", INFERENCE),
    ("sensorium-hub", &[]),
    ("sensorium-data", &["sensorium-media"]),
    ("sensorium-train", TRAIN),
    ("sensorium-eval", &["sensorium-media", "sensorium-inference", "sensorium-data"]),
    ("sensorium-testkit", &["sensorium-checkpoint"]),
    ("sensorium", COMMAND),
    ("xtask", &[TESTKIT]),
];

const COMPONENT: &[&str] = &["sensorium-flow", "sensorium-nn"];

const MODEL: &[&str] = &[
    "sensorium-nn",
    "sensorium-media",
    "sensorium-flow",
    "sensorium-encoder",
    "sensorium-input-projector",
    "sensorium-backbone",
    "sensorium-checkpoint",
];

const PRETRAINED: &[&str] = &[
    "sensorium-nn",
    "sensorium-media",
    "sensorium-flow",
    "sensorium-encoder",
    "sensorium-input-projector",
    "sensorium-backbone",
    "sensorium-checkpoint",
    "sensorium-model",
];

const INFERENCE: &[&str] = &[
    "sensorium-kernels",
    "sensorium-nn",
    "sensorium-media",
    "sensorium-flow",
    "sensorium-encoder",
    "sensorium-input-projector",
    "sensorium-backbone",
    "sensorium-checkpoint",
    "sensorium-model",
    "sensorium-pretrained",
];

const TRAIN: &[&str] = &[
    "sensorium-kernels",
    "sensorium-nn",
    "sensorium-media",
    "sensorium-flow",
    "sensorium-encoder",
    "sensorium-input-projector",
    "sensorium-backbone",
    "sensorium-checkpoint",
    "sensorium-model",
    "sensorium-pretrained",
    "sensorium-data",
];

const COMMAND: &[&str] = &[
    "sensorium-nn",
    "sensorium-media",
    "sensorium-flow",
    "sensorium-encoder",
    "sensorium-checkpoint",
    "sensorium-model",
    "sensorium-pretrained",
    "sensorium-inference",
    "sensorium-hub",
    "sensorium-data",
    "sensorium-train",
    "sensorium-eval",
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

/// The only crates that may know HTTP (`serve`) or open outgoing connections (`hub`).
const NETWORK_OWNERS: &[&str] = &["sensorium-serve", "sensorium-hub"];

/// Every dependency that the map does not allow.
pub fn check(packages: &[Package]) -> Vec<Violation> {
    packages.iter().flat_map(|package| check_package(package, packages)).collect()
}

fn check_package(package: &Package, packages: &[Package]) -> Vec<Violation> {
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name) else {
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

fn check_arrow(package: &Package, to: &Dependency, allowed: &[&str]) -> Option<Violation> {
    let for_tests = to.dev && to.name == TESTKIT;
    if for_tests || allowed.contains(&to.name.as_str()) {
        return None;
    }
    Some(Violation {
        place: manifest(package),
        expected: match allowed {
            [] => format!("`{}` to use no other crate of ours", package.name),
            _ => format!("`{}` to use only {}", package.name, allowed.join(", ")),
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
    if NETWORK.contains(&to.name.as_str()) && !NETWORK_OWNERS.contains(&package.name.as_str()) {
        return Some(Violation {
            place: manifest(package),
            expected: format!("the network only in {}", NETWORK_OWNERS.join(" and ")),
            got: format!("`{}` in `{}`", to.name, package.name),
            hint: "take bytes or a path as an argument instead",
        });
    }
    None
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
        let dependency = Dependency { name: to.to_owned(), dev };
        let mut packages = vec![package(from, vec![dependency])];
        if to.starts_with("sensorium") {
            packages.push(package(to, vec![]));
        }
        check(&packages)
    }

    #[test]
    fn components_never_use_each_other() {
        let [broken] = &found("sensorium-backbone", "sensorium-encoder", false)[..] else {
            panic!("one violation")
        };
        assert_eq!(broken.place, "crates/sensorium-backbone/Cargo.toml");
        assert!(broken.expected.contains("sensorium-flow, sensorium-nn"), "{broken}");
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
            ("sensorium-train", "sensorium-inference"),
            ("sensorium-eval", "sensorium-model"),
            ("sensorium-model", "sensorium-train"),
            ("sensorium-eval", "sensorium-train"),
            ("sensorium", "sensorium-kernels"),
        ] {
            assert_eq!(found(from, to, false).len(), 1, "{from} -> {to}");
        }
    }

    #[test]
    fn the_testkit_is_for_tests() {
        assert_eq!(found("sensorium-model", "sensorium-testkit", false).len(), 1);
        assert_eq!(found("sensorium-model", "sensorium-testkit", true), []);
        assert_eq!(found("xtask", "sensorium-testkit", false), []);
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
        assert_eq!(found("sensorium-data", "ureq", false).len(), 1);
        assert_eq!(found("sensorium", "axum", false).len(), 1);
    }

    #[test]
    fn a_crate_without_a_row_is_told_where_to_add_it() {
        let broken = found("sensorium-dreams", "serde", false);
        assert!(broken[0].hint.contains("dependencies.rs"), "{}", broken[0]);
    }

    #[test]
    fn every_row_uses_only_rows_above_it() {
        for (row, (name, allowed)) in ARROWS.iter().enumerate() {
            for to in *allowed {
                let above = ARROWS[..row].iter().any(|(left, _)| left == to);
                assert!(above, "{name} uses {to}");
            }
        }
    }
}
