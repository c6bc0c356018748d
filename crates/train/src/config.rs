//! Configuration: a typed struct spelled as TOML, with overrides from the command line.
//!
//! The struct is the documentation: give it `#[serde(deny_unknown_fields)]` and defaults, and this
//! module turns what serde objects to into a file, a line, a key and a hint.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use serde::Serialize;
use serde::de::{DeserializeOwned, Error as _};
use serde_path_to_error::Segment;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use crate::error::{Result, TrainError};

/// Longest configuration file, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting. Deeper text is refused before any recursive function sees it.
const MAX_DEPTH: usize = 64;

/// Reads a TOML file into `T` and applies overrides such as `align.steps=50`, the later ones last.
///
/// The value of an override is TOML; a bare word is a string. Unknown keys are refused if `T` says
/// `#[serde(deny_unknown_fields)]`.
///
/// # Errors
/// [`TrainError::Config`] names the file and line or the override, the key, and the closest known
/// key; [`TrainError::Io`] if the file cannot be read.
pub fn load<T: DeserializeOwned>(path: &Path, sets: &[String]) -> Result<T> {
    parse(&read(path)?, &path.display().to_string(), sets)
}

/// The text of a configuration file, as far as one may be long.
///
/// # Errors
/// [`TrainError::Io`] if the file cannot be read.
pub fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES as u64 + 1).read_to_string(&mut text))
        .map_err(TrainError::io("read", path))?;
    Ok(text)
}

/// As [`load`], from text that is already in memory; `name` stands for the file in messages.
pub fn parse<T: DeserializeOwned>(text: &str, name: &str, sets: &[String]) -> Result<T> {
    parse_without(text, name, sets, &[])
}

/// As [`parse`], without the dotted keys `gone`, whose meaning `sets` have taken over.
pub fn parse_without<T: DeserializeOwned>(
    text: &str,
    name: &str,
    sets: &[String],
    gone: &[String],
) -> Result<T> {
    let sources = Sources::new(text, name, sets)?;
    let mut table = sources.file()?;
    for set in &sources.sets {
        sources.apply(set, &mut table)?;
    }
    gone.iter().for_each(|key| remove(&mut table, key));
    let span = 0..text.len();
    serde_path_to_error::deserialize(Deserializer::from(Spanned::new(span, table.clone())))
        .map_err(|error| sources.refuse(&error, &table))
}

/// The configuration as TOML, with every default written out.
///
/// # Errors
/// [`TrainError::Encode`] for what TOML cannot say: integers beyond 63 bits, missing array items.
pub fn resolved<T: Serialize>(config: &T) -> Result<String> {
    toml::to_string_pretty(config).map_err(|error| TrainError::encode("the configuration", error))
}

/// What differs between two resolved configurations, one `key: old -> new` each. A run can only be
/// resumed exactly if this is empty.
pub fn differences(old: &str, new: &str) -> Result<Vec<String>> {
    let (old, new) = (leaves(old, "old configuration")?, leaves(new, "new configuration")?);
    let absent = "nothing".to_owned();
    let keys = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key)));
    let mut changes: Vec<String> = keys
        .map(|key| (key, old.get(key).unwrap_or(&absent), new.get(key).unwrap_or(&absent)))
        .filter(|(_, old, new)| old != new)
        .map(|(key, old, new)| format!("{key}: {old} -> {new}"))
        .collect();
    changes.sort();
    Ok(changes)
}

/// Leaves a key that is not set out of a resolved configuration: runs that began before there was such a key go
/// on.
pub(crate) fn is_false(value: &bool) -> bool {
    !value
}

/// Every value that is not a table, as text under its dotted key of today.
pub fn leaves(text: &str, name: &str) -> Result<BTreeMap<String, String>> {
    let mut leaves = BTreeMap::new();
    let mut tables = vec![(String::new(), parse::<toml::Table>(text, name, &[])?)];
    while let Some((prefix, table)) = tables.pop() {
        for (key, value) in table {
            let key = format!("{prefix}{}", crate::older::renamed(&key));
            match value {
                toml::Value::Table(table) => tables.push((format!("{key}."), table)),
                value => drop(leaves.insert(key, value.to_string())),
            }
        }
    }
    Ok(leaves)
}

/// One `--set key=value`.
struct Set {
    argument: String,
    keys: Vec<String>,
    /// `v = value` after so many newlines that every place in it lies behind the file and behind
    /// the overrides before it: a place in the merged table then tells where it came from.
    padded: String,
    start: usize,
}

/// The file and the overrides, laid one behind the other on a single axis of byte offsets.
struct Sources<'a> {
    text: &'a str,
    name: &'a str,
    sets: Vec<Set>,
}

impl<'a> Sources<'a> {
    fn new(text: &'a str, name: &'a str, sets: &[String]) -> Result<Self> {
        let mut sources = Self { text, name, sets: Vec::new() };
        let bytes = text.len() + sets.iter().map(String::len).sum::<usize>();
        if bytes > MAX_BYTES {
            let message = format!("expected at most {MAX_BYTES} bytes, got more");
            return Err(config(name, "(file)", &message, "is this a configuration file?"));
        }
        let mut start = text.len() + 1;
        for argument in sets {
            let set = Set::new(argument, start)?;
            start = set.padded.len() + 1;
            sources.sets.push(set);
        }
        Ok(sources)
    }

    fn file(&self) -> Result<DeTable<'a>> {
        table(self.text).map_err(|error| {
            let place = self.place(error.span());
            config(&place, "(syntax)", error.message(), "this line is not valid TOML")
        })
    }

    /// Puts the value of an override into the table, making the tables on its way; items of lists are there already.
    fn apply<'s>(&'s self, set: &'s Set, table: &mut DeTable<'s>) -> Result<()> {
        let span = set.start..set.padded.len();
        let value = set.value()?;
        let Some((last, path)) = set.keys.split_last() else {
            return Ok(());
        };
        let refuse = |depth: usize, message: &str| {
            Err(set.refuse(&path[..depth].join("."), message, "set this key itself"))
        };
        let (mut table, mut depth) = (table, 0);
        while let Some(key) = path.get(depth) {
            depth += 1;
            let key = Spanned::new(span.clone(), Cow::Borrowed(key.as_str()));
            let empty = Spanned::new(span.clone(), DeValue::Table(DeTable::new()));
            let mut value = table.entry(key).or_insert(empty).get_mut();
            while let DeValue::Array(items) = value {
                let n = items.len();
                let item = path.get(depth).and_then(|key| key.parse::<usize>().ok());
                match item.and_then(|item| items.get_mut(item)) {
                    Some(item) => value = item.get_mut(),
                    None => {
                        let message =
                            format!("expected the number of one of its {n} items, from 0");
                        return refuse(depth, &message);
                    }
                }
                depth += 1;
            }
            table = match value {
                DeValue::Table(inner) => inner,
                other => {
                    let got = article(other.type_str());
                    return refuse(depth, &format!("expected a table, got {got}"));
                }
            };
        }
        if let Some(name) = crate::older::other_name(last) {
            table.remove(name);
        }
        table.insert(Spanned::new(span, Cow::Borrowed(last)), value);
        Ok(())
    }

    /// Turns what serde objects to into a place, a key and a hint.
    fn refuse(
        &self,
        error: &serde_path_to_error::Error<toml::de::Error>,
        table: &DeTable,
    ) -> TrainError {
        let mut keys = keys(error.path());
        let error = error.inner();
        let message = error.message();
        let words = quoted(message);
        let unknown = message.starts_with("unknown field").then(|| words.first()).flatten();
        // The path ends before a field of a tagged enum.
        if let Some(word) = unknown.filter(|word| keys.last().is_none_or(|key| key != *word)) {
            keys.push((*word).to_owned());
        }
        let span = unknown.and_then(|_| find(table, &keys)).or(error.span());
        let key = if keys.is_empty() { "(top level)".to_owned() } else { keys.join(".") };
        config(&self.place(span), &key, message, &hint(message, &words))
    }

    /// `file:line`, or the override that holds the byte.
    fn place(&self, span: Option<Range<usize>>) -> String {
        let at = span.map_or(0, |span| span.start);
        match self.sets.iter().rev().find(|set| set.start <= at) {
            Some(set) => format!("--set {}", set.argument),
            None => {
                let before = &self.text.as_bytes()[..at.min(self.text.len())];
                let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
                format!("{}:{line}", self.name)
            }
        }
    }
}

impl Set {
    fn new(argument: &str, start: usize) -> Result<Self> {
        let mut set =
            Self { argument: argument.to_owned(), keys: Vec::new(), padded: String::new(), start };
        let Some((key, value)) = argument.split_once('=') else {
            return Err(set.refuse(
                argument,
                "expected key=value, got no `=`",
                "write it as align.steps=50",
            ));
        };
        // Items of lists as errors call them: `data.train[0].path`.
        let key = key.replace('[', ".").replace(']', "");
        set.keys = key.split('.').map(|part| part.trim().to_owned()).collect();
        let bare = |part: &String| {
            let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            !part.is_empty() && part.chars().all(legal)
        };
        if !set.keys.iter().all(bare) || set.keys.len() > MAX_DEPTH {
            let message = "expected names of letters, digits, `_` and `-` joined by dots";
            return Err(set.refuse(key.trim(), message, "write it as align.steps=50"));
        }
        set.padded = format!("{}v = {}", "\n".repeat(start), value.trim());
        Ok(set)
    }

    fn value(&self) -> Result<Spanned<DeValue<'_>>> {
        let written = self.padded[self.start + "v = ".len()..].trim();
        let error = match table(&self.padded) {
            Ok(mut table) if table.len() == 1 => match table.remove("v") {
                Some(value) => return Ok(value),
                None => toml::de::Error::custom("expected one value"),
            },
            Ok(_) => toml::de::Error::custom("expected one value, got several lines"),
            Err(_) if is_bare_word(written) => {
                let span = self.start..self.padded.len();
                return Ok(Spanned::new(span, DeValue::String(Cow::Borrowed(written))));
            }
            Err(error) => error,
        };
        let hint = "write a TOML value: 3, 0.5, true, word, \"some text\", [1, 2]";
        Err(self.refuse(&self.keys.join("."), error.message(), hint))
    }

    fn refuse(&self, key: &str, message: &str, hint: &str) -> TrainError {
        config(&format!("--set {}", self.argument), key, message, hint)
    }
}

/// What opens with a bracket or a quote was meant as TOML, and is wrong.
fn is_bare_word(text: &str) -> bool {
    !text.starts_with(['[', '{', '"', '\'']) && !text.contains(char::is_control)
}

fn config(place: &str, key: &str, message: &str, hint: &str) -> TrainError {
    let text = |text: &str| text.to_owned();
    TrainError::Config {
        place: text(place),
        key: text(key),
        message: text(message),
        hint: text(hint),
    }
}

/// Parses a document. What is nested too deeply is taken apart level by level, because the drop of
/// a value recurses: a dotted key of a megabyte would overflow the stack.
fn table(text: &str) -> std::result::Result<DeTable<'_>, toml::de::Error> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut table = table.into_inner();
    if depth(&table) > MAX_DEPTH {
        dismantle(&mut table);
        let message = format!("expected at most {MAX_DEPTH} nested levels, got more");
        return Err(toml::de::Error::custom(message));
    }
    match errors.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(table),
    }
}

fn depth(table: &DeTable) -> usize {
    let mut deepest = 0;
    let mut left: Vec<(usize, &DeValue)> =
        table.values().map(|value| (1, value.get_ref())).collect();
    while let Some((depth, value)) = left.pop() {
        deepest = deepest.max(depth);
        match value {
            DeValue::Table(table) => left.extend(table.values().map(|v| (depth + 1, v.get_ref()))),
            DeValue::Array(array) => left.extend(array.iter().map(|v| (depth + 1, v.get_ref()))),
            _ => {}
        }
    }
    deepest
}

fn dismantle(table: &mut DeTable) {
    let mut left: Vec<DeValue> = vec![DeValue::Table(std::mem::take(table))];
    while let Some(value) = left.pop() {
        match value {
            DeValue::Table(table) => left.extend(table.into_iter().map(|(_, v)| v.into_inner())),
            DeValue::Array(array) => left.extend(array.into_iter().map(Spanned::into_inner)),
            _ => {}
        }
    }
}

/// Removes the value of a dotted key, if it is there.
fn remove(table: &mut DeTable, key: &str) {
    match key.split_once('.') {
        None => drop(table.remove(key)),
        Some((first, rest)) => {
            if let Some(DeValue::Table(inner)) = table.get_mut(first).map(Spanned::get_mut) {
                remove(inner, rest);
            }
        }
    }
}

/// Where a key stands.
fn find(table: &DeTable, keys: &[String]) -> Option<Range<usize>> {
    let (last, path) = keys.split_last()?;
    let mut table = table;
    for key in path {
        table = table.get(key.as_str())?.get_ref().as_table()?;
    }
    table.get_key_value(last.as_str()).map(|(key, _)| key.span())
}

/// The names on the way to the error.
fn keys(path: &serde_path_to_error::Path) -> Vec<String> {
    let name = |segment: &Segment| match segment {
        Segment::Map { key } => Some(key.clone()),
        _ => None,
    };
    path.iter().filter_map(name).collect()
}

/// Words in backticks: first the offending one, then the known ones.
fn quoted(message: &str) -> Vec<&str> {
    message.split('`').skip(1).step_by(2).collect()
}

fn hint(message: &str, words: &[&str]) -> String {
    if message.starts_with("missing field") {
        return format!("add `{} = ...`", words.first().unwrap_or(&"key"));
    }
    let one_of = message.starts_with("unknown field") || message.starts_with("unknown variant");
    match words {
        [wrong, known @ ..] if one_of && !known.is_empty() => match closest(wrong, known) {
            Some(word) => format!("did you mean `{word}`?"),
            None => format!("choose one of {}", known.join(", ")),
        },
        _ if one_of => "remove it".to_owned(),
        _ => "change the value".to_owned(),
    }
}

/// The known word nearest in spelling, if it is near enough to be a slip: a third of its letters.
fn closest<'w>(wrong: &str, known: &[&'w str]) -> Option<&'w str> {
    let scored = known.iter().map(|word| (strsim::osa_distance(wrong, word), *word));
    let (distance, word) = scored.min()?;
    (distance <= 1 + word.len() / 3).then_some(word)
}

fn article(noun: &str) -> String {
    let an = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {noun}", if an { "an" } else { "a" })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use serde::Deserialize;

    use super::*;
    use crate::guard::GuardConfig;
    use crate::schedule::Schedule;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Recipe {
        seed: u64,
        #[serde(default)]
        name: String,
        align: Stage,
        #[serde(default)]
        guard: GuardConfig,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Stage {
        steps: u64,
        batch: u32,
        schedule: Schedule,
        #[serde(default)]
        sizes: Vec<u8>,
    }

    const TEXT: &str = "\
seed = 1

[align]
steps = 100
batch = 32
sizes = [1, 2, 3]

[align.schedule]
kind = \"cosine\"
rate = 1e-3
warmup = 10
";

    fn with(sets: &[&str]) -> Result<Recipe> {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        parse(TEXT, "tiny.toml", &sets)
    }

    fn refused(text: &str, sets: &[&str]) -> String {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        parse::<Recipe>(text, "tiny.toml", &sets).unwrap_err().to_string()
    }

    #[test]
    fn a_file_is_read_and_written_out_with_its_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tiny.toml");
        std::fs::write(&path, TEXT).unwrap();
        let recipe: Recipe = load(&path, &[]).unwrap();
        assert_eq!((recipe.seed, recipe.align.steps), (1, 100));
        let written = resolved(&recipe).unwrap();
        assert!(written.contains("factor = 10.0"), "{written}");
        assert_eq!(parse::<Recipe>(&written, "resolved", &[]).unwrap(), recipe);
        let error = load::<Recipe>(&dir.path().join("none.toml"), &[]).unwrap_err().to_string();
        assert!(error.contains("none.toml") && error.contains("hint: "), "{error}");
    }

    #[test]
    fn overrides_win_in_order_and_make_tables() {
        let recipe = with(&[
            "align.steps=3",
            "align.steps = 5",
            "name=tiny run",
            "align.schedule={ kind = 'constant', rate = 0.5 }",
            "align.schedule.warmup=2",
            "align.sizes=[7]",
            "guard.factor=6",
        ])
        .unwrap();
        assert_eq!((recipe.align.steps, recipe.name.as_str()), (5, "tiny run"));
        assert_eq!(
            recipe.align.schedule,
            Schedule::Constant { learning_rate: 0.5, warmup_steps: 2 }
        );
        assert_eq!((recipe.align.sizes, recipe.guard.factor), (vec![7], 6.0));
        assert_eq!(with(&["name='3'"]).unwrap().name, "3");
        assert_eq!(with(&["name=a=b/c.d"]).unwrap().name, "a=b/c.d");
    }

    #[test]
    fn items_of_lists_are_set_by_their_numbers() {
        type Lists = std::collections::BTreeMap<String, Vec<Items>>;
        type Items = std::collections::BTreeMap<String, u64>;
        let text = "[[train]]\nsteps = 1\n[[train]]\nsteps = 2\n";
        let parse = |set: &str| parse::<Lists>(text, "a.toml", &[set.to_owned()]);
        for set in ["train[1].steps=5", "train.1.steps=5"] {
            let lists = parse(set).unwrap();
            let steps = |n: usize| lists["train"][n]["steps"];
            assert_eq!((steps(0), steps(1)), (1, 5));
        }
        for set in ["train[2].steps=5", "train.steps=5", "train.x.steps=5"] {
            let error = parse(set).unwrap_err().to_string();
            assert!(error.contains("train: expected the number of one of its 2 items"), "{error}");
        }
    }

    #[test]
    fn an_error_names_file_line_key_and_the_closest_key() {
        for (from, to, expected) in [
            ("steps", "stpes", "tiny.toml:4: align.stpes: unknown field `stpes`"),
            ("seed", "sed", "tiny.toml:1: sed: unknown field `sed`"),
            ("100", "'x'", "tiny.toml:4: align.steps: invalid type: string \"x\", expected u64"),
            ("warmup", "warmpu", "tiny.toml:11: align.schedule.warmpu: unknown field"),
            ("\"cosine\"", "\"cosin\"", "tiny.toml:9: align.schedule.kind: unknown variant"),
            (
                "1e-3",
                "-1.0",
                "tiny.toml:8: align.schedule: expected a learning rate above 0, got -1",
            ),
            ("batch = 32", "", "tiny.toml:3: align: missing field `batch`"),
            ("[align]", "[align", "tiny.toml:3: (syntax): unclosed table"),
            ("batch = 32", "steps = 1", "tiny.toml:5: (syntax): duplicate key"),
        ] {
            let error = refused(&TEXT.replacen(from, to, 1), &[]);
            assert!(error.starts_with(expected), "{error}");
            assert!(error.contains("\nhint: "), "{error}");
        }
        let hints = [
            ("steps", "stpes", "steps"),
            ("warmup", "warmpu", "warmup"),
            ("\"cosine\"", "'cosin'", "cosine"),
        ];
        for (from, to, hint) in hints {
            let error = refused(&TEXT.replacen(from, to, 1), &[]);
            assert!(error.ends_with(&format!("hint: did you mean `{hint}`?")), "{error}");
        }
        let error = refused(&TEXT.replacen("batch", "learning_speed", 1), &[]);
        assert!(error.ends_with("hint: choose one of steps, batch, schedule, sizes"), "{error}");
    }

    #[test]
    fn an_error_names_the_override_at_fault() {
        for (set, expected) in [
            ("align.stpes=3", "--set align.stpes=3: align.stpes: unknown field"),
            ("algin.steps=3", "--set algin.steps=3: algin: unknown field"),
            (
                "align.steps=many",
                "--set align.steps=many: align.steps: invalid type: string \"many\"",
            ),
            ("seed.x=3", "--set seed.x=3: seed: expected a table, got an integer"),
            ("align.sizes=[1,", "--set align.sizes=[1,: align.sizes: "),
            ("seed=1\nname=2", "--set seed=1\nname=2: seed: expected one value"),
            ("seed", "--set seed: seed: expected key=value"),
            ("a..b=1", "--set a..b=1: a..b: expected names"),
            ("=1", "--set =1: : expected names"),
        ] {
            for sets in [vec![set], vec!["align.batch=8", set], vec![set, "align.batch=8"]] {
                let error = refused(TEXT, &sets);
                assert!(error.starts_with(expected), "{error}");
            }
        }
    }

    #[test]
    fn very_deep_or_long_text_is_refused_on_a_small_stack() {
        let key = vec!["a"; 100_000].join(".");
        let texts = [
            format!("{key} = 1"),
            format!("[{key}]"),
            format!("{key} = ["),
            format!("a = {}", "[".repeat(100_000)),
            format!("a = {}", "{a=".repeat(100_000)),
            "#".repeat(MAX_BYTES + 1),
        ];
        let check = move || {
            for text in &texts {
                assert!(refused(text, &[]).contains("hint: "));
                assert!(refused("", &[text]).contains("hint: "));
                assert!(refused("", &[&format!("a={{{text}}}")]).contains("hint: "));
            }
        };
        std::thread::Builder::new().stack_size(1 << 20).spawn(check).unwrap().join().unwrap();
    }

    #[test]
    fn differences_are_listed_by_key() {
        let old = resolved(&with(&[]).unwrap()).unwrap();
        assert!(differences(&old, &old).unwrap().is_empty());
        let sets = ["align.steps=7", "align.schedule={kind='constant', rate=0.001, warmup=10}"];
        let new = resolved(&with(&sets).unwrap()).unwrap();
        assert_eq!(
            differences(&old, &new).unwrap(),
            [
                "align.schedule.kind: \"cosine\" -> \"constant\"",
                "align.schedule.min: 0.0 -> nothing",
                "align.steps: 100 -> 7"
            ]
        );
    }

    /// What a slip of the hand or a bad disk puts into a file.
    fn fragment() -> impl Strategy<Value = String> {
        prop_oneof![
            "[\\[\\]{}=.,\"'#\n 0-9a-z_-]{0,12}",
            "\\PC{0,6}",
            prop::sample::select(vec![
                "[align]",
                "[[align]]",
                "align.",
                "kind = ",
                "nan",
                "-inf",
                "18446744073709551616",
                "1e999",
                "\"\"\"",
                "'''",
                "\\u0000",
                "\r",
                "\0",
                "\u{feff}",
                "2024-01-01",
                "0x",
                "schedule = {",
                "seed = []",
                "é",
            ])
            .prop_map(str::to_owned),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 6000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn mutated_configurations_never_panic(
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, fragment()), 1..4),
            set in prop::option::of((prop::sample::select(vec!["align.steps", "seed", "align.schedule", "align", "x.y", ""]), fragment())),
        ) {
            let mut text: Vec<char> = TEXT.chars().collect();
            for (at, removed, added) in edits {
                let start = at.index(text.len() + 1);
                let end = (start + removed).min(text.len());
                text.splice(start..end, added.chars());
            }
            let text: String = text.into_iter().collect();
            let sets: Vec<String> = set.map(|(key, value)| format!("{key}={value}")).into_iter().collect();
            match parse::<Recipe>(&text, "tiny.toml", &sets) {
                Ok(recipe) => {
                    let written = resolved(&recipe);
                    prop_assert!(written.is_ok(), "{:?}", written);
                }
                Err(error) => {
                    let error = error.to_string();
                    prop_assert!(error.contains("tiny.toml:") || error.contains("--set "), "{}", error);
                    prop_assert!(error.contains("\nhint: "), "{}", error);
                }
            }
        }
    }
}
