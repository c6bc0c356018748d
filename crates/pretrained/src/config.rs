//! Typed reading of the JSON files of a checkpoint: every setting is checked where it is read.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::error::{Error, Result};
use super::ignored;

/// Sizes stay below this, so that products of two are far from overflowing.
const MAX_SIZE: u64 = 1 << 24;

/// What most wrong settings mean.
const FOREIGN: &str = "the file may be damaged, or of a model that is not supported";

/// The keys of a file that were asked for, each by its path.
pub(crate) type Asked = Arc<Mutex<BTreeSet<String>>>;

/// An object of a JSON file, and where it stands. It remembers which keys were asked for, so that one
/// can be told of those that nobody reads.
#[derive(Clone, Debug)]
pub struct Config<'a> {
    file: &'a str,
    path: String,
    value: &'a Value,
    /// What stands where the file leaves a key out.
    defaults: Option<&'a Value>,
    asked: Asked,
}

impl<'a> Config<'a> {
    /// The top of `file`, whose content is `value`.
    pub fn new(file: &'a str, value: &'a Value) -> Self {
        Self { file, path: String::new(), value, defaults: None, asked: Asked::default() }
    }

    /// The same, remembering in a place that others share.
    pub(crate) fn asked_in(self, asked: &Asked) -> Self {
        Self { asked: asked.clone(), ..self }
    }

    /// The file that it is of.
    pub fn file(&self) -> &'a str {
        self.file
    }

    /// The object at `key`.
    ///
    /// # Errors
    /// There is none.
    pub fn child(&self, key: &str) -> Result<Self> {
        self.find(key)?.ok_or_else(|| self.wrong(key, "an object", FOREIGN))
    }

    /// The object at `key`, if there is one.
    ///
    /// # Errors
    /// Something else stands there.
    pub fn find(&self, key: &str) -> Result<Option<Self>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) if value.is_object() => Ok(Some(self.inner(key, value))),
            Some(_) => Err(self.wrong(key, "an object", FOREIGN)),
        }
    }

    /// The object at `key`, one without keys if there is none: everything is as by default.
    ///
    /// # Errors
    /// Something else stands there.
    pub fn find_or_empty(&self, key: &str) -> Result<Self> {
        Ok(self.find(key)?.unwrap_or_else(|| self.inner(key, &Value::Null)))
    }

    fn inner(&self, key: &str, value: &'a Value) -> Self {
        let (path, asked) = (self.place(key), self.asked.clone());
        Self { file: self.file, path, value, defaults: None, asked }
    }

    /// The same object, with these values where the file leaves a key out.
    pub fn or(self, defaults: &'a Value) -> Self {
        Self { defaults: Some(defaults), ..self }
    }

    /// All keys, in the order of the file.
    pub fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.value.as_object().into_iter().flatten().map(|(key, _)| key.as_str())
    }

    /// Says that these change nothing beside what else the file says.
    pub fn without_effect(&self, keys: &[&str]) {
        keys.iter().for_each(|key| self.ask(key));
    }

    fn ask(&self, key: &str) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.insert(self.place(key));
    }

    /// The paths of the file's keys that nobody has asked for and that may change the output.
    pub fn ignored(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        ignored::ignored(self.value, &asked)
    }

    /// What stands at `key`; nothing for `null`.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.ask(key);
        let default = || self.defaults.and_then(|defaults| defaults.get(key));
        self.value.get(key).filter(|value| !value.is_null()).or_else(default)
    }

    /// A size of 1 to 2²⁴.
    ///
    /// # Errors
    /// It is missing, of another type or out of range.
    pub fn size(&self, key: &str) -> Result<usize> {
        let n = self.get(key).and_then(Value::as_u64).filter(|n| (1..=MAX_SIZE).contains(n));
        n.map(|n| n as usize)
            .ok_or_else(|| self.wrong(key, &format!("a whole number of 1 to {MAX_SIZE}"), FOREIGN))
    }

    /// As [`size`](Self::size), `default` where nothing stands.
    ///
    /// # Errors
    /// It is of another type or out of range.
    pub fn size_or(&self, key: &str, default: usize) -> Result<usize> {
        if self.get(key).is_some() { self.size(key) } else { Ok(default) }
    }

    /// A token id; `default` where nothing stands.
    ///
    /// # Errors
    /// It is of another type or out of range.
    pub fn id_or(&self, key: &str, default: u32) -> Result<u32> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_u64()
                .and_then(|id| u32::try_from(id).ok())
                .ok_or_else(|| self.wrong(key, "a token id", FOREIGN)),
        }
    }

    /// Token ids, one or a list of them, if there are any; less than 0 is none.
    ///
    /// # Errors
    /// Something else stands there.
    pub fn ids(&self, key: &str) -> Result<Option<Vec<u32>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        let is_none = |id: &&Value| id.as_i64().is_some_and(|id| id < 0);
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids: Option<Vec<u32>> = list.iter().filter(|id| !is_none(id)).map(id).collect();
        ids.map(Some).ok_or_else(|| self.wrong(key, "a token id, or a list of them", FOREIGN))
    }

    /// A finite number above 0, `default` where nothing stands.
    ///
    /// # Errors
    /// It is of another type or out of range.
    pub fn positive_or(&self, key: &str, default: f64) -> Result<f64> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_f64()
                .filter(|x| x.is_finite() && *x > 0.0)
                .ok_or_else(|| self.wrong(key, "a finite number above 0", FOREIGN)),
        }
    }

    /// True or false, `default` where nothing stands.
    ///
    /// # Errors
    /// Something else stands there.
    pub fn flag_or(&self, key: &str, default: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(key, "true or false", FOREIGN)),
        }
    }

    /// A text, `default` where nothing stands.
    ///
    /// # Errors
    /// Something else stands there.
    pub fn text_or(&self, key: &str, default: &'a str) -> Result<&'a str> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_str().ok_or_else(|| self.wrong(key, "a text", FOREIGN)),
        }
    }

    /// That `key` is absent or `want`: what would change the computation in a way that is not
    /// supported is refused.
    ///
    /// # Errors
    /// It is something else.
    pub fn only(&self, key: &str, want: &Value) -> Result<()> {
        match self.get(key) {
            Some(value) if value != want => Err(self.wrong(key, &want.to_string(), FOREIGN)),
            _ => Ok(()),
        }
    }

    /// That nothing stands at `key`.
    ///
    /// # Errors
    /// Something does.
    pub fn only_null(&self, key: &str) -> Result<()> {
        match self.get(key) {
            Some(_) => Err(self.wrong(key, "nothing", FOREIGN)),
            None => Ok(()),
        }
    }

    /// The error for `key`.
    pub fn wrong(&self, key: &str, expected: &str, hint: &'static str) -> Error {
        let got = self.value.get(key).map_or("nothing".to_owned(), |value| {
            let text = value.to_string();
            match text.char_indices().nth(80) {
                Some((end, _)) => format!("{}...", &text[..end]),
                None => text,
            }
        });
        let (file, key, expected) = (self.file.to_owned(), self.place(key), expected.to_owned());
        Error::Setting { file, key, expected, got, hint }
    }

    fn place(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked_and_errors_name_them() {
        let value: Value = serde_json::from_str(
            r#"{"a": {"n": 0, "s": "x", "big": 1e30, "null": null, "neg": -1}, "list": [1]}"#,
        )
        .expect("JSON");
        let top = Config::new("config.json", &value);
        let a = top.child("a").expect("an object");
        assert_eq!(a.size_or("null", 7).expect("the default"), 7);
        assert_eq!(a.text_or("s", "").expect("a text"), "x");
        for (error, place) in [
            (a.size("n").unwrap_err(), "a.n"),
            (a.size("neg").unwrap_err(), "a.neg"),
            (a.size("big").unwrap_err(), "a.big"),
            (a.size("missing").unwrap_err(), "a.missing"),
            (a.positive_or("n", 1.0).unwrap_err(), "a.n"),
            (a.flag_or("s", true).unwrap_err(), "a.s"),
            (top.child("list").unwrap_err(), "list"),
        ] {
            let text = error.to_string();
            assert!(text.starts_with(&format!("config.json: {place}: expected ")), "{text}");
            assert!(text.contains("\nhint: "), "{text}");
        }
    }
}
