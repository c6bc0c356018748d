//! `tojson` as transformers has it: Python's `json.dumps`, nothing escaped for HTML.

use std::fmt::Write;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// Lists within lists; Python's own limit is near 1000.
const DEPTH: usize = 200;

/// `value|tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)`
pub fn tojson(
    state: &State,
    value: &Value,
    ensure_ascii: Option<bool>,
    options: Kwargs,
) -> Result<String, Error> {
    let indent: Option<Value> = options.get("indent")?;
    let indent =
        indent.filter(|indent| !indent.is_none()).map(|indent| spaces(&indent)).transpose()?;
    let separators: Option<Value> = options.get("separators")?;
    let [item, key] = match separators.filter(|value| !value.is_none()) {
        Some(pair) => [separator(&pair, 0)?, separator(&pair, 1)?],
        None if indent.is_some() => [",".to_owned(), ": ".to_owned()],
        None => [", ".to_owned(), ": ".to_owned()],
    };
    let named: Option<bool> = options.get("ensure_ascii")?;
    let sorted: Option<bool> = options.get("sort_keys")?;
    options.assert_all_used()?;
    let mut writer = Writer {
        state,
        out: String::new(),
        ascii: ensure_ascii.or(named).unwrap_or(false),
        sorted: sorted.unwrap_or(false),
        indent,
        item,
        key,
    };
    writer.write(value, 0)?;
    Ok(writer.out)
}

struct Writer<'a> {
    /// Pays for what is written: a value can hold another many times over.
    state: &'a State<'a, 'a>,
    out: String,
    ascii: bool,
    sorted: bool,
    indent: Option<String>,
    item: String,
    key: String,
}

impl Writer<'_> {
    fn write(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.state.consume_fuel(1)?;
        if depth > DEPTH {
            return Err(wrong(format!("lists nested more than {DEPTH} deep")));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)?),
            ValueKind::String => self.text(value.as_str().unwrap_or_default())?,
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.group(['[', ']'], &items, depth, |writer, item| {
                    writer.write(item, depth + 1)
                })?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort();
                }
                self.group(['{', '}'], &keys, depth, |writer, key| {
                    writer.name(key)?;
                    let separator = writer.key.clone();
                    writer.out.push_str(&separator);
                    writer.write(&value.get_item(key)?, depth + 1)
                })?;
            }
            kind => return Err(wrong(format!("{kind}, which has no JSON"))),
        }
        Ok(())
    }

    fn group(
        &mut self,
        [open, close]: [char; 2],
        items: &[Value],
        depth: usize,
        mut write: impl FnMut(&mut Self, &Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                let separator = self.item.clone();
                self.out.push_str(&separator);
            }
            self.line(depth + 1)?;
            write(self, item)?;
        }
        if !items.is_empty() {
            self.line(depth)?;
        }
        self.out.push(close);
        Ok(())
    }

    /// A new line, where there is an indent.
    fn line(&mut self, depth: usize) -> Result<(), Error> {
        if let Some(indent) = &self.indent {
            self.state.consume_fuel((indent.len() * depth / 64) as u64)?;
            self.out.push('\n');
            self.out.push_str(&indent.repeat(depth));
        }
        Ok(())
    }

    /// A key: Python writes numbers, truths and nothing as texts.
    fn name(&mut self, key: &Value) -> Result<(), Error> {
        match key.kind() {
            ValueKind::String => self.text(key.as_str().unwrap_or_default()),
            ValueKind::Number | ValueKind::Bool | ValueKind::None => {
                self.out.push('"');
                self.write(key, 0)?;
                self.out.push('"');
                Ok(())
            }
            kind => Err(wrong(format!("{kind} for a key"))),
        }
    }

    fn text(&mut self, text: &str) -> Result<(), Error> {
        self.state.consume_fuel((text.len() / 64) as u64)?;
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || (self.ascii && c > '~') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        // Writing to a text cannot fail.
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
        Ok(())
    }
}

/// A number of spaces, or a text.
fn spaces(indent: &Value) -> Result<String, Error> {
    match indent.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => match indent.as_usize().filter(|n| *n <= 64) {
            Some(n) => Ok(" ".repeat(n)),
            None => Err(wrong(format!("an indent of {indent}"))),
        },
    }
}

fn separator(pair: &Value, at: usize) -> Result<String, Error> {
    let text = pair.get_item_by_index(at)?;
    text.as_str().map(str::to_owned).ok_or_else(|| wrong(format!("{text} for a separator")))
}

/// A number as Python writes it.
pub(super) fn number(value: &Value) -> Result<String, Error> {
    if value.is_integer() {
        return Ok(value.to_string());
    }
    let x = f64::try_from(value.clone())?;
    Ok(match x {
        x if x.is_nan() => "NaN".into(),
        x if x.is_infinite() => if x > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        x => {
            // Python has powers of ten from 1e16 and below 1e-4, with two digits at least.
            let (mantissa, power) = match format!("{x:e}").split_once('e') {
                Some((mantissa, power)) => (mantissa.to_owned(), power.parse::<i32>().unwrap_or(0)),
                None => (String::new(), 0),
            };
            if x == 0.0 || (-4..16).contains(&power) {
                format!("{x:?}")
            } else {
                let sign = if power < 0 { '-' } else { '+' };
                format!("{mantissa}e{sign}{:02}", power.abs())
            }
        }
    })
}

fn wrong(got: String) -> Error {
    Error::new(ErrorKind::BadSerialization, format!("tojson of {got}"))
}
