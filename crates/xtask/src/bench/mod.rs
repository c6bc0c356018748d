//! `cargo xtask bench`: the same work here and in peers, in turn; `cargo xtask profile`: where ours
//! spends its time.

mod machine;
mod page;
mod table;
mod work;
mod worker;

use crate::cargo;
use anyhow::{Context, Result, bail, ensure};
use machine::Limits;
use page::Run;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use table::{HEAD, Measured, Side, Spread, ratios, table};
use work::{THREADS, Work};
use worker::Worker;

const PYTHON: &str = "runs/peers/bin/python";
/// The newest figures of each class of processor.
const RESULTS: &str = "bench/RESULTS.md";
/// Every run.
const ARCHIVE: &str = "bench/ARCHIVE.md";
const PAIRS: usize = 10;
/// By then a side's idle threads have stopped spinning; onnxruntime's do so for 40 ms.
const PAUSE: Duration = Duration::from_millis(100);

/// Measures the works named by `words` (`--pairs N` first), prints the table, appends it to
/// `bench/ARCHIVE.md` and puts its rows on the page `bench/RESULTS.md`.
///
/// # Errors
/// No work has such a word, something does not build, a side fails, or a file cannot be written.
pub fn run(root: &Path, words: &[&str]) -> Result<()> {
    let (pairs, words) = match words {
        ["--pairs", n, rest @ ..] => (pairs(n)?, rest),
        words => (PAIRS, words),
    };
    let works = select(words)?;
    let examples = build(root)?;
    let before = Limits::measure(&examples.join("probe"))?;
    println!("limits: {}", before.spell());
    let mut rows = Vec::new();
    for work in works {
        rows.extend(measure(root, &examples, work, pairs)?);
    }
    ensure!(!rows.is_empty(), "nothing was measured");
    let limits = before.best(&Limits::measure(&examples.join("probe"))?);
    let when = format!("{} {}", machine::today()?, machine::commit(root)?);
    let machine = circumstances(&limits, pairs);
    let table = table(&rows, &limits);
    let report = format!("## {when}\n\n{machine}\n\n{table}");
    println!("\n{report}");
    append(&root.join(ARCHIVE), &report)?;
    let class = machine::class();
    let rows = table.lines().skip(HEAD.len()).collect();
    renew(&root.join(RESULTS), &Run { class, when: &when, machine: &machine, rows })
}

/// Prints where the time of our side of the works named by `words` goes.
///
/// # Errors
/// No work has such a word, something does not build, or our side fails.
pub fn profile(root: &Path, words: &[&str]) -> Result<()> {
    let works = select(words)?;
    let examples = build(root)?;
    for work in works.iter().filter(|work| has_file(root, work)) {
        println!("\n{}, {THREADS} threads, one of ten repetitions:\n", work.name);
        let status = ours(root, &examples, &format!("profile {}", work.ours)).status();
        ensure!(status.context("cannot start the example bench")?.success(), "bench failed");
    }
    Ok(())
}

fn pairs(text: &str) -> Result<usize> {
    match text.parse() {
        Ok(pairs) if pairs > 0 => Ok(pairs),
        _ => bail!("expected a number of pairs above 0, got `{text}`"),
    }
}

fn select(words: &[&str]) -> Result<Vec<Work>> {
    let works = work::select(words);
    if works.is_empty() {
        let names: Vec<String> = work::all().into_iter().map(|work| work.name).collect();
        let (got, names) = (words.join(" "), names.join(", "));
        bail!("expected words of the works' names, got `{got}`\nhint: the works are {names}");
    }
    Ok(works)
}

/// Builds our side and the probe; the folder they are in, which is beside this program.
fn build(root: &Path) -> Result<PathBuf> {
    // All packages at once: with some alone, the tensor framework would be built anew.
    let words = "build --release --workspace --bins --example bench --example probe";
    let words: Vec<&str> = words.split(' ').collect();
    let mut command = Command::new(cargo());
    let status = command.args(&words).current_dir(root).status().context("cannot start cargo")?;
    ensure!(status.success(), "cargo {} failed", words.join(" "));
    let program = std::env::current_exe().context("this program has no path")?;
    Ok(program.with_file_name("examples"))
}

fn ours(root: &Path, examples: &Path, arguments: &str) -> Command {
    let mut command = Command::new(examples.join("bench"));
    command.args(["--threads", &THREADS.to_string()]);
    command.args(arguments.split(' ')).current_dir(root);
    command
}

fn peer(root: &Path, arguments: &str) -> Option<Command> {
    let mut command = Command::new(root.join(PYTHON));
    if arguments.is_empty() || !root.join(PYTHON).exists() {
        return None;
    }
    command.args(format!("bench/peers/{arguments}").split(' ')).current_dir(root);
    Some(command)
}

fn has_file(root: &Path, work: &Work) -> bool {
    let Some(file) = work.file.as_ref().filter(|file| !root.join(file).is_file()) else {
        return true;
    };
    println!("{}: left out, there is no {file}\nhint: bench/peers/setup.sh makes it", work.name);
    false
}

/// Both sides in turn; nothing if the model's file is missing.
fn measure(root: &Path, examples: &Path, work: Work, pairs: usize) -> Result<Option<Measured>> {
    if !has_file(root, &work) {
        return Ok(None);
    }
    let bytes =
        work.file.as_ref().map_or(Ok(0), |file| fs::metadata(root.join(file)).map(|m| m.len()));
    let bytes = bytes.context("cannot stat the model's file")?;
    let mut a = Worker::start(&mut ours(root, examples, &work.ours))?;
    let mut b = peer(root, &work.peer).map(|mut peer| Worker::start(&mut peer)).transpose()?;
    if b.is_none() && !work.peer.is_empty() {
        println!("{}: alone, its peer is not installed\nhint: bench/peers/setup.sh", work.name);
    }
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    for pair in 1..=pairs {
        std::thread::sleep(PAUSE);
        mine.push(a.run()?);
        let mut line = format!("{}: {pair} of {pairs}: {:.1} ms", work.name, mine[pair - 1]);
        if let Some(b) = &mut b {
            std::thread::sleep(PAUSE);
            theirs.push(b.run()?);
            let ratio = mine[pair - 1] / theirs[pair - 1];
            line += &format!(", {} {:.1} ms, {ratio:.2}", b.ready.name, theirs[pair - 1]);
        }
        println!("{line}");
    }
    if !theirs.is_empty() {
        println!("{}: {:.2}", work.name, Spread::of(&ratios(&mine, &theirs)).median);
    }
    let peer = b.map(|b| Side { ready: b.ready.clone(), times: theirs });
    let ours = Side { ready: a.ready.clone(), times: mine };
    Ok(Some(Measured { work, bytes, ours, peer }))
}

/// The machine, what was repeated, and what bounds it, in a line.
fn circumstances(limits: &Limits, pairs: usize) -> String {
    format!(
        "{}; {THREADS} threads, medians (least-most) of {pairs} pairs.{} Limits: {}.",
        machine::describe(),
        allocator(),
        limits.spell(),
    )
}

/// What the C library was told of memory: both sides hear it.
fn allocator() -> String {
    let told: Vec<String> = std::env::vars()
        .filter(|(name, _)| name.starts_with("MALLOC_") || name == "GLIBC_TUNABLES")
        .map(|(name, value)| format!(" {name}={value}"))
        .collect();
    told.concat()
}

fn append(path: &Path, report: &str) -> Result<()> {
    let shown = path.display();
    let file = fs::OpenOptions::new().create(true).append(true).open(path);
    let mut file = file.with_context(|| format!("cannot open {shown}"))?;
    write!(file, "\n{report}").with_context(|| format!("cannot write {shown}"))
}

fn renew(path: &Path, run: &Run<'_>) -> Result<()> {
    let shown = path.display();
    let page = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let names: Vec<String> = work::all().into_iter().map(|work| work.name).collect();
    fs::write(path, page::merged(&page, run, &names))
        .with_context(|| format!("cannot write {shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_works_are_named_with_the_known_ones() {
        let text = select(&["P99"]).unwrap_err().to_string();
        assert!(text.contains("`P99`") && text.contains("P7 step f32"), "{text}");
    }

    #[test]
    fn pairs_are_counted_from_one() {
        assert_eq!(pairs("3").unwrap(), 3);
        for text in ["0", "-1", "many"] {
            assert!(pairs(text).unwrap_err().to_string().contains(text));
        }
    }

    #[test]
    fn reports_are_appended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ARCHIVE.md");
        append(&path, "one\n").unwrap();
        append(&path, "two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "\none\n\ntwo\n");
    }

    #[test]
    fn every_peer_has_its_script() {
        let root = crate::root().unwrap();
        for work in work::all().iter().filter(|work| !work.peer.is_empty()) {
            let script = work.peer.split(' ').next().unwrap();
            assert!(root.join("bench/peers").join(script).is_file(), "{}", work.peer);
        }
    }
}
