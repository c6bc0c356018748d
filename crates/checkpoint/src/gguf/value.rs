//! GGUF metadata: the thirteen types, kept as found, and read through getters that check the type.

use super::super::error::{Error, Result, short};

/// One metadata value.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // The variants are the format's types; each holds what its name says.
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// A metadata array: all elements are of one type.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // As for `Value`.
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(Vec<String>),
    Array(Vec<Array>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

/// Names of the types, by their number in the file.
pub(super) const TYPES: [&str; 13] =
    ["u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"];

impl Value {
    /// The type's number in the file.
    pub(super) fn code(&self) -> u32 {
        match self {
            Self::U8(_) => 0,
            Self::I8(_) => 1,
            Self::U16(_) => 2,
            Self::I16(_) => 3,
            Self::U32(_) => 4,
            Self::I32(_) => 5,
            Self::F32(_) => 6,
            Self::Bool(_) => 7,
            Self::String(_) => 8,
            Self::Array(_) => 9,
            Self::U64(_) => 10,
            Self::I64(_) => 11,
            Self::F64(_) => 12,
        }
    }

    /// The type's name, for errors.
    fn kind(&self) -> String {
        match self {
            Self::Array(array) => format!("array of {} {}", array.len(), type_name(array.code())),
            other => type_name(other.code()).to_owned(),
        }
    }
}

impl Array {
    /// The number of the elements' type in the file.
    pub(super) fn code(&self) -> u32 {
        match self {
            Self::U8(_) => 0,
            Self::I8(_) => 1,
            Self::U16(_) => 2,
            Self::I16(_) => 3,
            Self::U32(_) => 4,
            Self::I32(_) => 5,
            Self::F32(_) => 6,
            Self::Bool(_) => 7,
            Self::String(_) => 8,
            Self::Array(_) => 9,
            Self::U64(_) => 10,
            Self::I64(_) => 11,
            Self::F64(_) => 12,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(items) => items.len(),
            Self::I8(items) => items.len(),
            Self::U16(items) => items.len(),
            Self::I16(items) => items.len(),
            Self::U32(items) => items.len(),
            Self::I32(items) => items.len(),
            Self::F32(items) => items.len(),
            Self::Bool(items) => items.len(),
            Self::String(items) => items.len(),
            Self::Array(items) => items.len(),
            Self::U64(items) => items.len(),
            Self::I64(items) => items.len(),
            Self::F64(items) => items.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn type_name(code: u32) -> &'static str {
    usize::try_from(code).ok().and_then(|code| TYPES.get(code)).unwrap_or(&"unknown")
}

/// Metadata by key, in the order of the keys.
///
/// A sorted vector, not a tree: a file of 65,536 one-byte entries must stay small in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    entries: Vec<(String, Value)>,
}

impl Metadata {
    /// No entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Entries as found in a file: sorts them, or gives back a key that occurs twice.
    pub(super) fn from_entries(
        mut entries: Vec<(String, Value)>,
    ) -> std::result::Result<Self, String> {
        entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let twice = entries
            .array_windows()
            .find(|[(a, _), (b, _)]| a == b)
            .map(|[(key, _), _]| key.clone());
        twice.map_or(Ok(Self { entries }), Err)
    }

    /// Sets `key`, in place of an older value.
    pub fn set(&mut self, key: impl Into<String>, value: Value) {
        let key = key.into();
        match self.find(&key) {
            Ok(at) => {
                if let Some((_, old)) = self.entries.get_mut(at) {
                    *old = value;
                }
            }
            Err(at) => self.entries.insert(at, (key, value)),
        }
    }

    /// The value of `key`, of whatever type.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.find(key).ok().and_then(|at| self.entries.get(at)).map(|(_, value)| value)
    }

    /// Keys and values in the order of the keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// A count or size: any integer type, not negative.
    pub fn count(&self, key: &str) -> Result<usize> {
        self.typed(key, "an integer of at least 0", count)
    }

    /// As [`count`](Self::count); also an array of equal ones, as files write what could differ from
    /// layer to layer.
    pub fn uniform_count(&self, key: &str) -> Result<usize> {
        self.typed(key, "an integer of at least 0, or equal ones", |value| match value {
            Value::Array(array) => uniform(array),
            value => count(value),
        })
    }

    /// A number that fits into a `u32`, of any integer type.
    pub fn u32(&self, key: &str) -> Result<u32> {
        self.typed(key, "u32", |value| count(value)?.try_into().ok())
    }

    /// An `f32`, or an `f64` to be rounded.
    pub fn f32(&self, key: &str) -> Result<f32> {
        self.typed(key, "f32", |value| match value {
            Value::F32(x) => Some(*x),
            Value::F64(x) => Some(*x as f32),
            _ => None,
        })
    }

    /// A `bool`.
    pub fn bool(&self, key: &str) -> Result<bool> {
        self.typed(key, "bool", |value| if let Value::Bool(x) = value { Some(*x) } else { None })
    }

    /// A string.
    pub fn string(&self, key: &str) -> Result<&str> {
        self.typed(key, "string", |value| {
            if let Value::String(text) = value { Some(text.as_str()) } else { None }
        })
    }

    /// An array of strings, of `len` elements if that is given.
    pub fn strings(&self, key: &str, len: Option<usize>) -> Result<&[String]> {
        self.array(key, "string", len, |array| {
            if let Array::String(items) = array { Some(items.as_slice()) } else { None }
        })
    }

    /// An array of `f32`, of `len` elements if that is given.
    pub fn f32s(&self, key: &str, len: Option<usize>) -> Result<&[f32]> {
        self.array(key, "f32", len, |array| {
            if let Array::F32(items) = array { Some(items.as_slice()) } else { None }
        })
    }

    /// An array of `i32`, of `len` elements if that is given.
    pub fn i32s(&self, key: &str, len: Option<usize>) -> Result<&[i32]> {
        self.array(key, "i32", len, |array| {
            if let Array::I32(items) = array { Some(items.as_slice()) } else { None }
        })
    }

    fn find(&self, key: &str) -> std::result::Result<usize, usize> {
        self.entries.binary_search_by(|(other, _)| other.as_str().cmp(key))
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        want: &str,
        pick: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<T> {
        let found = self.get(key);
        found.and_then(pick).ok_or_else(|| Error::Metadata {
            key: short(key),
            expected: want.to_owned(),
            got: found.map_or("nothing".to_owned(), Value::kind),
        })
    }

    fn array<'a, T>(
        &'a self,
        key: &str,
        want: &str,
        len: Option<usize>,
        pick: impl Fn(&'a Array) -> Option<&'a [T]>,
    ) -> Result<&'a [T]> {
        let want = match len {
            Some(len) => format!("array of {len} {want}"),
            None => format!("array of {want}"),
        };
        self.typed(key, &want, |value| match value {
            Value::Array(array) => {
                pick(array).filter(|items| len.is_none_or(|len| len == items.len()))
            }
            _ => None,
        })
    }
}

/// An integer that is not negative.
fn count(value: &Value) -> Option<usize> {
    match *value {
        Value::U8(n) => Some(n.into()),
        Value::U16(n) => Some(n.into()),
        Value::U32(n) => n.try_into().ok(),
        Value::U64(n) => n.try_into().ok(),
        Value::I8(n) => n.try_into().ok(),
        Value::I16(n) => n.try_into().ok(),
        Value::I32(n) => n.try_into().ok(),
        Value::I64(n) => n.try_into().ok(),
        _ => None,
    }
}

/// The integer that all elements are.
fn uniform(array: &Array) -> Option<usize> {
    fn same<T: Copy + PartialEq + TryInto<usize>>(items: &[T]) -> Option<usize> {
        let first = *items.first()?;
        if items.iter().any(|item| *item != first) { None } else { first.try_into().ok() }
    }
    match array {
        Array::U32(items) => same(items),
        Array::I32(items) => same(items),
        Array::U64(items) => same(items),
        Array::I64(items) => same(items),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn getters_give_the_value_only_of_the_right_type_and_length() {
        let mut metadata = Metadata::new();
        metadata.set("n", Value::U32(3));
        metadata.set("minus", Value::I32(-3));
        metadata.set("f", Value::F32(0.5));
        metadata.set("b", Value::Bool(true));
        metadata.set("s", Value::String("text".into()));
        metadata.set("bytes", Value::Array(Array::U8(vec![1, 2, 3, 4])));
        metadata.set("floats", Value::Array(Array::F32(vec![1.0, 2.0])));
        metadata.set("names", Value::Array(Array::String(vec!["a".into()])));
        metadata.set("ids", Value::Array(Array::I32(vec![7])));
        metadata.set("layers", Value::Array(Array::U32(vec![3, 3, 3])));
        assert_eq!(metadata.u32("n").unwrap(), 3);
        assert_eq!(metadata.count("n").unwrap(), 3);
        assert_eq!(metadata.f32("f").unwrap(), 0.5);
        assert!(metadata.bool("b").unwrap());
        assert_eq!(metadata.string("s").unwrap(), "text");
        assert_eq!(metadata.f32s("floats", Some(2)).unwrap(), [1.0, 2.0]);
        assert_eq!(metadata.strings("names", None).unwrap(), ["a"]);
        assert_eq!(metadata.i32s("ids", None).unwrap(), [7]);
        assert_eq!(metadata.uniform_count("layers").unwrap(), 3);
        assert_eq!(metadata.uniform_count("n").unwrap(), 3);
        assert!(metadata.uniform_count("floats").is_err() && metadata.count("layers").is_err());
        assert!(metadata.count("minus").is_err() && metadata.u32("minus").is_err());
        assert!(metadata.f32s("floats", Some(3)).is_err());
        assert!(metadata.u32("f").is_err());
        let text = metadata.f32s("bytes", Some(1)).unwrap_err().to_string();
        assert!(
            text.starts_with(
                "GGUF metadata \"bytes\": expected array of 1 f32, got array of 4 u8\nhint:"
            ),
            "{text}"
        );
        let text = metadata.string("absent").unwrap_err().to_string();
        assert!(text.contains("expected string, got nothing"), "{text}");
    }

    #[test]
    fn setting_a_key_again_replaces_it() {
        let mut metadata = Metadata::new();
        for i in [5, 1, 3, 1] {
            metadata.set(format!("k{i}"), Value::U8(i));
        }
        metadata.set("k3", Value::U8(9));
        let keys: Vec<&str> = metadata.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["k1", "k3", "k5"]);
        assert_eq!(metadata.get("k3"), Some(&Value::U8(9)));
    }
}
