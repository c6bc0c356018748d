//! Rows of nested values from columns, by their levels of repetition and definition (Melnik et al. 2010,
//! "Dremel", <https://doi.org/10.14778/1920841.1920886>, section 4).

use std::collections::VecDeque;

use serde_json::{Map, Value};

use super::page::{Leaf, Page, Unit};
use super::thrift::Struct;
use super::values::{Physical, Values};

/// Deepest nesting of a schema.
const MAX_DEPTH: usize = 24;

/// A column, or what is within one.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub name: String,
    kind: Kind,
    optional: bool,
    repeated: bool,
    /// How many names so far may be missing or repeated, and how many of them are repeated.
    def: u32,
    rep: u32,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// A leaf by its number.
    Leaf(usize),
    Struct(Vec<Node>),
    /// A struct whose only field stands for it: the frames around a list and its elements.
    Only(Box<Node>),
}

impl Node {
    /// This column with those leaves alone that are `read`; nothing where none is.
    pub fn only(&self, read: &[bool]) -> Option<Self> {
        let kind = match &self.kind {
            Kind::Leaf(leaf) => read[*leaf].then_some(Kind::Leaf(*leaf))?,
            Kind::Only(node) => Kind::Only(Box::new(node.only(read)?)),
            Kind::Struct(fields) => {
                let fields: Vec<_> = fields.iter().filter_map(|field| field.only(read)).collect();
                if fields.is_empty() {
                    return None;
                }
                Kind::Struct(fields)
            }
        };
        Some(Self { kind, ..self.clone() })
    }

    /// What the next row has here.
    ///
    /// # Errors
    /// A leaf has too few values.
    pub fn value(&self, leaves: &mut [Column]) -> Result<Value, String> {
        let first = self.first_leaf();
        let (_, def) = leaves[first].next()?;
        if (self.repeated || self.optional) && def < self.def {
            self.skip(leaves)?;
            return Ok(if self.repeated { Value::Array(Vec::new()) } else { Value::Null });
        }
        if !self.repeated {
            return self.within(leaves);
        }
        let mut all = Vec::new();
        loop {
            all.push(self.within(leaves)?);
            if leaves[first].next().map_or(true, |(rep, _)| rep != self.rep) {
                return Ok(Value::Array(all));
            }
        }
    }

    fn within(&self, leaves: &mut [Column]) -> Result<Value, String> {
        match &self.kind {
            Kind::Leaf(leaf) => leaves[*leaf].take(),
            Kind::Only(node) => node.value(leaves),
            Kind::Struct(fields) => {
                let field = |field: &Node| Ok((field.name.clone(), field.value(leaves)?));
                fields.iter().map(field).collect::<Result<Map<_, _>, String>>().map(Value::Object)
            }
        }
    }

    /// Passes over an entry of what is not there.
    fn skip(&self, leaves: &mut [Column]) -> Result<(), String> {
        match &self.kind {
            Kind::Leaf(leaf) => leaves[*leaf].levels.pop_front().map(|_| ()).ok_or(ENDS.into()),
            Kind::Only(node) => node.skip(leaves),
            Kind::Struct(fields) => fields.iter().try_for_each(|field| field.skip(leaves)),
        }
    }

    fn first_leaf(&self) -> usize {
        match &self.kind {
            Kind::Leaf(leaf) => *leaf,
            Kind::Only(node) => node.first_leaf(),
            Kind::Struct(fields) => fields.first().map_or(0, Node::first_leaf),
        }
    }
}

const ENDS: &str = "a column that ends before its rows";

/// What no row has taken of a leaf.
#[derive(Default)]
pub struct Column {
    /// Of repetition and of definition.
    levels: VecDeque<(u32, u32)>,
    values: VecDeque<Value>,
}

impl Column {
    pub fn extend(&mut self, page: Page, leaf: &Leaf) {
        self.levels.extend(page.reps.into_iter().zip(page.defs));
        match page.values {
            Values::Booleans(all) => self.values.extend(all.into_iter().map(Value::from)),
            Values::Ints(all) => self.values.extend(all.into_iter().map(Value::from)),
            Values::Floats(all) => self.values.extend(all.into_iter().map(Value::from)),
            Values::Bytes(all) if leaf.is_text => {
                let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned().into();
                self.values.extend(all.into_iter().map(text));
            }
            Values::Bytes(all) => self.values.extend(all.into_iter().map(|_| Value::Null)),
        }
    }

    fn next(&self) -> Result<(u32, u32), String> {
        self.levels.front().copied().ok_or(ENDS.into())
    }

    fn take(&mut self) -> Result<Value, String> {
        self.levels.pop_front().and_then(|_| self.values.pop_front()).ok_or(ENDS.into())
    }
}

/// The columns that a schema lists, a name before what is within it; and its leaves.
///
/// # Errors
/// It is cut, or nested too deeply.
pub fn schema<'a>(
    mut elements: impl Iterator<Item = &'a Struct>,
) -> Result<(Vec<Node>, Vec<Leaf>), String> {
    let root = elements.next().ok_or("no schema")?;
    let mut leaves = Vec::new();
    let columns = (0..root.count(5).unwrap_or_default())
        .map(|_| node(&mut elements, &[], [0, 0], &mut leaves))
        .collect::<Result<_, _>>()?;
    Ok((columns, leaves))
}

fn node<'a>(
    elements: &mut impl Iterator<Item = &'a Struct>,
    within: &[String],
    [def, rep]: [u32; 2],
    leaves: &mut Vec<Leaf>,
) -> Result<Node, String> {
    let element = elements.next().ok_or("a schema cut short")?;
    if within.len() > MAX_DEPTH {
        return Err(format!("a schema of more than {MAX_DEPTH} levels"));
    }
    let name = element.text(4).ok_or("a column without a name")?;
    let (optional, repeated) = (element.int(3) == Some(1), element.int(3) == Some(2));
    let (def, rep) = (def + u32::from(optional || repeated), rep + u32::from(repeated));
    let path = [within, std::slice::from_ref(&name)].concat();
    let kind = match element.count(5) {
        None | Some(0) => {
            leaves.push(leaf(element, path, [def, rep])?);
            Kind::Leaf(leaves.len() - 1)
        }
        Some(children) => {
            let fields = (0..children).map(|_| node(elements, &path, [def, rep], leaves));
            let mut fields = fields.collect::<Result<Vec<_>, _>>()?;
            // The repeated name within a list, and the one name within that.
            let is_frame = is_list(element) || (repeated && ["list", "bag"].contains(&&*name));
            match fields.pop() {
                Some(only) if is_frame && fields.is_empty() => Kind::Only(Box::new(only)),
                last => Kind::Struct(fields.into_iter().chain(last).collect()),
            }
        }
    };
    Ok(Node { name, kind, optional, repeated, def, rep })
}

fn is_list(element: &Struct) -> bool {
    element.int(6) == Some(3) || element.inner(10).is_some_and(|kind| kind.inner(3).is_some())
}

fn leaf(element: &Struct, path: Vec<String>, [max_def, max_rep]: [u32; 2]) -> Result<Leaf, String> {
    let physical = match element.int(1) {
        Some(0) => Physical::Boolean,
        Some(1) => Physical::Int32,
        Some(2) => Physical::Int64,
        Some(3) => Physical::Int96,
        Some(4) => Physical::Float,
        Some(5) => Physical::Double,
        Some(6) => Physical::Bytes,
        Some(7) => Physical::Fixed(element.count(2).ok_or("bytes of no known number")?),
        other => return Err(format!("the type {other:?} of {}", path.join("."))),
    };
    // UTF8, ENUM, JSON, as older files and as newer ones say it.
    let says = |kind: &Struct| [1, 4, 12].iter().any(|id| kind.get(*id).is_some());
    let is_text = element.int(6).is_some_and(|kind| [0, 4, 19].contains(&kind))
        || element.inner(10).is_some_and(says);
    Ok(Leaf { path, physical, is_text, unit: unit(element), max_def, max_rep })
}

/// Dates, times and decimal numbers, as older files and as newer ones say them.
fn unit(element: &Struct) -> Unit {
    const DAY: f64 = 86_400.0;
    let scale = || 10f64.powi(element.count(7).unwrap_or_default().min(300) as i32);
    match element.int(6) {
        Some(5) => return Unit::Part(scale()),
        Some(6) => return Unit::Day(1.0),
        Some(9) => return Unit::Day(DAY * 1e3),
        Some(10) => return Unit::Day(DAY * 1e6),
        _ => {}
    }
    let Some(kind) = element.inner(10) else { return Unit::One };
    let time = kind.inner(8).and_then(|time| time.inner(2));
    let counts = |id| time.is_some_and(|unit| unit.get(id).is_some());
    match () {
        () if kind.inner(5).is_some() => Unit::Part(scale()),
        () if kind.inner(6).is_some() => Unit::Day(1.0),
        () if counts(1) => Unit::Day(DAY * 1e3),
        () if counts(2) => Unit::Day(DAY * 1e6),
        () if counts(3) => Unit::Day(DAY * 1e9),
        () => Unit::One,
    }
}
