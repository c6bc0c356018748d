//! Rules about names that may stand only in certain files.

use super::code::{lines_with, lines_with_part, without_comments, without_prose, without_tests};
use super::violation::Violation;
use super::workspace::Package;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// A file of Rust: where it stands and what of it is code.
#[derive(Debug)]
pub struct Source {
    /// Below the repository, with `/` between the parts.
    pub path: String,
    /// All code, tests included.
    pub code: String,
    /// The code that ships; empty in a file of tests.
    pub product: String,
    /// All code, with its strings.
    pub spelt: String,
}

/// Names that may stand only in certain places.
struct Rule {
    names: &'static [&'static str],
    /// Folders (ending with `/`) and files the rule looks at; empty for all.
    within: &'static [&'static str],
    /// Folders (ending with `/`) and files where the names may stand.
    except: &'static [&'static str],
    /// Whether tests are free of the rule.
    tests_free: bool,
    expected: &'static str,
    hint: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        names: &["burn::", "burn_flex::", "use burn", "extern crate burn"],
        within: &[],
        except: &["crates/nn/"],
        tests_free: false,
        expected: "only nn to name the tensor framework",
        hint: "use sensorium_nn::prelude::*",
    },
    Rule {
        names: &["TcpStream", "TcpListener", "UdpSocket"],
        within: &[],
        except: &["crates/hub/", "crates/serve/", "crates/sensorium/tests/serve/"],
        tests_free: false,
        expected: "connections only in hub and serve",
        hint: "take bytes or a path as an argument instead",
    },
    Rule {
        names: &["axum::serve", "TcpStream::connect", "fs::write"],
        within: &["crates/serve/"],
        except: &[],
        tests_free: true,
        expected: "a server whose connections have clocks, that opens none and writes no file",
        hint: "serve through http.rs; keep things in store.rs",
    },
    Rule {
        names: &["sensorium_train"],
        within: &[],
        except: &["crates/train/", "crates/sensorium/"],
        tests_free: false,
        expected: "nothing that runs or serves a model to use train",
        hint: "move what both need into model, data or media",
    },
    Rule {
        names: &["unsafe"],
        within: &[],
        // An allocator cannot be counted safely, nor a file mapped.
        except: &[
            "crates/kernels/",
            "crates/testkit/src/allocations.rs",
            "crates/checkpoint/src/gguf/map.rs",
        ],
        tests_free: false,
        expected: "unsafe only in kernels and in the files listed in this rule",
        hint: "write it safely, or move the loop into kernels",
    },
    Rule {
        names: &[
            "Picture::decode",
            "Picture::read",
            "Sound::decode",
            "Sound::read",
            "SoundReader",
            "Table::decode",
            "Table::read",
            "Video::decode",
        ],
        within: &[
            "crates/data/",
            "crates/eval/",
            "crates/inference/",
            "crates/sensorium/src/",
            "crates/train/",
        ],
        except: &[],
        tests_free: true,
        expected: "foreign media decoded by a MediaDecoder, which may do it in children",
        hint: "take a `&MediaDecoder` and ask it for the picture or the sound",
    },
    Rule {
        names: &[
            "fs::write",
            "fs::rename",
            "fs::copy",
            "File::create",
            "File::create_new",
            "OpenOptions",
        ],
        within: &[
            "crates/checkpoint/",
            "crates/model/",
            "crates/pretrained/",
            "crates/inference/",
            "crates/train/",
        ],
        except: &[
            "crates/checkpoint/src/file.rs",
            "crates/train/src/feature_cache.rs",
            "crates/train/src/log.rs",
            "crates/train/src/tensorboard.rs",
            "crates/train/src/plot.rs",
        ],
        tests_free: true,
        expected: "files written only by the checkpoint layer, the logs and the cache of features",
        hint: "write through sensorium_checkpoint, under which faults are tested",
    },
    Rule {
        names: &[
            "Attention::init",
            "Block::init",
            "Conv1d::init",
            "Conv2d::init",
            "Embedding::init",
            "LayerNorm::init",
            "Linear::init",
            "Mlp::init",
            "PostBlock::init",
            "RmsNorm::init",
        ],
        within: &["crates/model/src/"],
        except: &[],
        tests_free: true,
        expected: "no layers in model, which only wires components",
        hint: "move the layer into a component, or into train if it is thrown away after training",
    },
];

/// Every place where a name stands that may not stand there, and every exception without use.
pub fn check(sources: &[Source]) -> Vec<Violation> {
    let mut broken = check_names(sources);
    broken.extend(RULES.iter().flat_map(|rule| check_exceptions(rule, sources)));
    broken
}

fn check_names(sources: &[Source]) -> Vec<Violation> {
    let pairs = RULES.iter().flat_map(|rule| sources.iter().map(move |source| (rule, source)));
    let named = pairs.flat_map(|(rule, source)| check_source(rule, source));
    named.chain(sources.iter().flat_map(check_nano)).collect()
}

/// A rule's exceptions are places where its names do stand.
fn check_exceptions(rule: &Rule, sources: &[Source]) -> Vec<Violation> {
    let needed = |place: &&&str| {
        let mut inside = sources.iter().filter(|source| is_in(&source.path, &[**place]));
        inside
            .any(|source| rule.names.iter().any(|name| !lines_with(&source.code, name).is_empty()))
    };
    let unneeded = rule.except.iter().filter(|place| !needed(place));
    unneeded
        .map(|place| Violation {
            place: "crates/xtask/src/map/sources.rs".to_owned(),
            expected: format!("exceptions that are needed: {}", rule.expected),
            got: format!("`{place}`"),
            hint: "remove the exception",
        })
        .collect()
}

/// The embedded model is no special case: only the command names it, and this rule.
fn check_nano(source: &Source) -> Vec<Violation> {
    let is_test = source.product.is_empty();
    if is_test || is_in(&source.path, &["crates/sensorium/", "crates/xtask/"]) {
        return Vec::new();
    }
    // What older recipes spell stays readable.
    // Of others' models, one has the word in its tokenizer's name.
    let spelt = source.spelt.replace("alias = \"nano\"", "").replace("jina-v5-nano", "");
    let lines = lines_with_part(&without_tests(&spelt, &source.code), "nano");
    let violation = |line| Violation {
        place: format!("{}:{line}", source.path),
        expected: "only the command to name the model that it embeds".to_owned(),
        got: "`nano`".to_owned(),
        hint: "write it for any model: the directory's config says what nano is",
    };
    lines.into_iter().map(violation).collect()
}

fn check_source(rule: &Rule, source: &Source) -> Vec<Violation> {
    let looks = rule.within.is_empty() || is_in(&source.path, rule.within);
    if !looks || is_in(&source.path, rule.except) {
        return Vec::new();
    }
    let code = if rule.tests_free { &source.product } else { &source.code };
    let violation = |name: &str, line| Violation {
        place: format!("{}:{line}", source.path),
        expected: rule.expected.to_owned(),
        got: format!("`{name}`"),
        hint: rule.hint,
    };
    rule.names
        .iter()
        .flat_map(|name| lines_with(code, name).into_iter().map(|line| violation(name, line)))
        .collect()
}

fn is_in(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| path == *place || (place.ends_with('/') && path.starts_with(place)))
}

/// Reads every file of Rust in the packages' folders.
///
/// # Errors
/// A folder or file does not read.
pub fn read(root: &Path, packages: &[Package]) -> Result<Vec<Source>> {
    let mut paths = Vec::new();
    for package in packages {
        list(root, &package.folder, &mut paths)?;
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(root.join(&path))
                .with_context(|| format!("cannot read {path}"))?;
            Ok(parse(path, &text))
        })
        .collect()
}

fn list(root: &Path, folder: &str, paths: &mut Vec<String>) -> Result<()> {
    let entries =
        fs::read_dir(root.join(folder)).with_context(|| format!("cannot list {folder}"))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {folder}"))?;
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.file_type().with_context(|| format!("cannot stat {path}"))?.is_dir() {
            list(root, &path, paths)?;
        } else if path.ends_with(".rs") {
            paths.push(path);
        }
    }
    Ok(())
}

/// What of a file is code.
pub fn parse(path: String, text: &str) -> Source {
    let code = without_prose(text);
    let is_test =
        path.contains("/tests/") || path.contains("/benches/") || path.ends_with("/tests.rs");
    let product = if is_test { String::new() } else { without_tests(&code, &code) };
    Source { path, code, product, spelt: without_comments(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let places = check_names(&[parse(path.to_owned(), text)]);
        places.into_iter().map(|violation| violation.to_string()).collect()
    }

    #[test]
    fn only_nn_names_the_framework() {
        let broken = found("crates/model/src/clip.rs", "\nuse burn::tensor::Tensor;");
        assert!(
            broken[0].starts_with("crates/model/src/clip.rs:2: expected only nn"),
            "{broken:?}"
        );
        assert!(found("crates/nn/src/lib.rs", "use burn::tensor::Tensor;").is_empty());
        assert!(found("crates/model/src/clip.rs", "//! like burn::Tensor").is_empty());
    }

    #[test]
    fn connections_have_one_owner() {
        let text = "let stream = std::net::TcpStream::connect(address);";
        assert_eq!(found("crates/data/src/lib.rs", text).len(), 1);
        assert!(found("crates/hub/src/lib.rs", text).is_empty());
    }

    #[test]
    fn nothing_that_serves_uses_train() {
        let text = "use sensorium_train::schedule;";
        for path in ["crates/model/src/a.rs", "crates/inference/src/a.rs", "crates/eval/src/a.rs"] {
            assert_eq!(found(path, text).len(), 1, "{path}");
        }
        assert_eq!(found("crates/components/encoder/src/a.rs", text).len(), 1);
        assert!(found("crates/sensorium/src/main.rs", text).is_empty());
    }

    #[test]
    fn unsafe_lives_in_kernels() {
        assert_eq!(found("crates/media/src/lib.rs", "unsafe { f() }").len(), 1);
        assert!(found("crates/kernels/src/gemm.rs", "unsafe { f() }").is_empty());
        assert!(found("crates/media/src/lib.rs", "#![deny(unsafe_code)]").is_empty());
    }

    #[test]
    fn files_are_written_in_one_layer() {
        let text = "std::fs::write(path, bytes)?;";
        assert_eq!(found("crates/model/src/clip.rs", text).len(), 1);
        assert_eq!(found("crates/train/src/run.rs", "File::create(path)").len(), 1);
        for path in ["crates/pretrained/src/a.rs", "crates/checkpoint/src/directory.rs"] {
            assert_eq!(found(path, text).len(), 1, "{path}");
        }
        assert!(found("crates/checkpoint/src/file.rs", text).is_empty());
        assert!(found("crates/train/src/log.rs", text).is_empty());
        assert!(found("crates/data/src/lib.rs", text).is_empty());
        assert!(found("crates/train/tests/resume.rs", text).is_empty());
        let test = format!("#[cfg(test)]\nmod tests {{ fn f() {{ {text} }} }}");
        assert!(found("crates/model/src/clip.rs", &test).is_empty());
    }

    #[test]
    fn model_has_no_layers() {
        let text = "let head = Linear::init(d, n, true, 0.02, init);";
        assert_eq!(found("crates/model/src/clip.rs", text).len(), 1);
        assert!(found("crates/components/backbone/src/llama.rs", text).is_empty());
        assert!(found("crates/model/src/clip.rs", "LinearProjector::init(init)").is_empty());
    }

    #[test]
    fn the_embedded_model_is_no_special_case() {
        for text in ["fn nano() {}", "VitConfig::nano()", "struct NanoError;", "f(\"nano\")"] {
            assert_eq!(found("crates/train/src/size.rs", text).len(), 1, "{text}");
            assert!(found("crates/sensorium/src/main.rs", text).is_empty());
        }
        for text in ["t.subsec_nanos()", "// nano", "#[cfg(test)]\nmod t { fn nano() {} }"] {
            assert!(found("crates/train/src/size.rs", text).is_empty(), "{text}");
        }
    }

    #[test]
    fn an_exception_without_use_is_told() {
        let [rule] = &RULES[..1] else { panic!("the first rule") };
        let nn = |text| [parse("crates/nn/src/lib.rs".to_owned(), text)];
        assert_eq!(check_exceptions(rule, &nn("")).len(), 1);
        assert_eq!(check_exceptions(rule, &nn("use burn::tensor;")).len(), 0);
    }
}
