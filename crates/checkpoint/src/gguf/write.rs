//! Writing GGUF version 3.

use super::super::error::{Error, Result, short};
use super::super::tensors::count;
use super::value::{Array, Metadata, Value};
use super::{
    ALIGNMENT_KEY, DEFAULT_ALIGNMENT, Kind, MAGIC, MAX_ALIGNMENT, MAX_ARRAY, MAX_DIMS,
    MAX_METADATA, MAX_NESTING, MAX_STRING, MAX_TENSORS, bytes, code,
};
use std::collections::BTreeSet;

/// One tensor to write.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its name, used once.
    pub name: &'a str,
    /// Sizes, outermost first, at most four.
    pub shape: &'a [usize],
    /// Values, row-major.
    pub data: &'a [f32],
    /// How to store them; becomes F16 if the rows are no whole blocks.
    pub kind: Kind,
}

impl<'a> Source<'a> {
    /// The same without its values.
    fn form(&self) -> Form<'a> {
        Form { name: self.name, shape: self.shape, kind: self.kind }
    }
}

/// One tensor to write, its values still to come.
#[derive(Clone, Copy, Debug)]
pub struct Form<'a> {
    /// Its name, used once.
    pub name: &'a str,
    /// Sizes, outermost first, at most four.
    pub shape: &'a [usize],
    /// How to store it; becomes F16 if the rows are no whole blocks.
    pub kind: Kind,
}

impl Form<'_> {
    /// The kind that its rows allow.
    pub fn stored(&self) -> Kind {
        if bytes(self.kind, self.shape).is_some() { self.kind } else { Kind::F16 }
    }
}

/// The bytes of a file with this metadata and these tensors, in the order given.
///
/// Deterministic. Whatever the reader would refuse is an error here, as is a value that the tensor's kind
/// cannot hold. `general.alignment` is honoured if it is set.
pub fn write(metadata: &Metadata, tensors: &[Source<'_>]) -> Result<Vec<u8>> {
    let mut out = head(metadata, &tensors.iter().map(Source::form).collect::<Vec<_>>())?;
    for tensor in tensors {
        out.extend(body(metadata, &tensor.form(), tensor.data)?);
    }
    Ok(out)
}

/// What a file of these tensors begins with: the [`body`] of each follows, in the same order. So a
/// file larger than memory is written piece by piece.
///
/// # Errors
/// As [`write()`], but for the values.
pub fn head(metadata: &Metadata, tensors: &[Form<'_>]) -> Result<Vec<u8>> {
    check(metadata, tensors)?;
    let alignment = alignment(metadata)?;
    let mut out = Vec::new();
    out.extend(MAGIC);
    put_u32(&mut out, 3);
    put_u64(&mut out, tensors.len());
    put_u64(&mut out, metadata.iter().len());
    for (key, value) in metadata.iter() {
        put_string(&mut out, key);
        put_u32(&mut out, value.code());
        put_value(&mut out, value);
    }
    put_infos(&mut out, tensors, alignment);
    out.resize(out.len().next_multiple_of(alignment), 0);
    Ok(out)
}

/// The values of a tensor whose [`head`] was written with this metadata, and the gap behind them.
///
/// # Errors
/// There are more or fewer than its shape has, or one that its kind cannot hold.
pub fn body(metadata: &Metadata, tensor: &Form<'_>, data: &[f32]) -> Result<Vec<u8>> {
    if count(tensor.shape) != Some(data.len()) {
        let expected = format!("as many values as its shape {:?} has", tensor.shape);
        let what = format!("tensor {:?}", short(tensor.name));
        return Err(unwritable(what, expected, data.len().to_string()));
    }
    let mut packed = values(tensor, data)?;
    packed.resize(packed.len().next_multiple_of(alignment(metadata)?), 0);
    Ok(packed)
}

/// Limits of the format and of our own reader.
fn check(metadata: &Metadata, tensors: &[Form<'_>]) -> Result<()> {
    if tensors.len() as u64 > MAX_TENSORS || metadata.iter().len() as u64 > MAX_METADATA {
        let expected = format!("at most {MAX_TENSORS} tensors and {MAX_METADATA} metadata entries");
        return Err(unwritable(
            "GGUF".into(),
            expected,
            format!("{} and {}", tensors.len(), metadata.iter().len()),
        ));
    }
    for (key, value) in metadata.iter() {
        if key.len() as u64 > MAX_STRING || !writable(value) {
            let expected = format!(
                "strings of at most {MAX_STRING} bytes, arrays of at most {MAX_ARRAY} elements"
            );
            return Err(unwritable(format!("metadata {:?}", short(key)), expected, "more".into()));
        }
    }
    let mut names = BTreeSet::new();
    for tensor in tensors {
        let what = || format!("tensor {:?}", short(tensor.name));
        if !names.insert(tensor.name) || tensor.name.len() as u64 > MAX_STRING {
            return Err(unwritable(what(), "a name used once".into(), "a second one".into()));
        }
        if tensor.shape.len() > MAX_DIMS as usize {
            return Err(unwritable(
                what(),
                format!("at most {MAX_DIMS} dimensions"),
                tensor.shape.len().to_string(),
            ));
        }
    }
    Ok(())
}

fn writable(value: &Value) -> bool {
    match value {
        Value::String(text) => text.len() as u64 <= MAX_STRING,
        Value::Array(array) => writable_array(array, 0),
        _ => true,
    }
}

fn writable_array(array: &Array, depth: u32) -> bool {
    depth <= MAX_NESTING
        && array.len() as u64 <= MAX_ARRAY
        && match array {
            Array::String(items) => items.iter().all(|text| text.len() as u64 <= MAX_STRING),
            Array::Array(items) => {
                items.iter().all(|inner| writable_array(inner, depth.saturating_add(1)))
            }
            _ => true,
        }
}

fn unwritable(what: String, expected: String, got: String) -> Error {
    Error::Unwritable {
        what,
        expected,
        got,
        hint: "see the limits of the GGUF format in the documentation",
    }
}

fn alignment(metadata: &Metadata) -> Result<usize> {
    match metadata.get(ALIGNMENT_KEY) {
        None => Ok(DEFAULT_ALIGNMENT as usize),
        Some(&Value::U32(n)) if n.is_power_of_two() && n <= MAX_ALIGNMENT => Ok(n as usize),
        Some(_) => {
            let expected = format!("a u32 power of two of at most {MAX_ALIGNMENT}");
            Err(unwritable(format!("metadata {ALIGNMENT_KEY:?}"), expected, "another value".into()))
        }
    }
}

fn put_infos(out: &mut Vec<u8>, tensors: &[Form<'_>], alignment: usize) {
    let mut offset = 0u64;
    for tensor in tensors {
        let kind = tensor.stored();
        put_string(out, tensor.name);
        put_u32(out, tensor.shape.len() as u32);
        tensor.shape.iter().rev().for_each(|&size| put_u64(out, size));
        put_u32(out, code(kind));
        out.extend(offset.to_le_bytes());
        let size = bytes(kind, tensor.shape).unwrap_or_default();
        offset = offset.saturating_add(size).next_multiple_of(alignment as u64);
    }
}

fn values(tensor: &Form<'_>, data: &[f32]) -> Result<Vec<u8>> {
    let kind = tensor.stored();
    let packed = kind.quantize(data);
    // A NaN would hide among a block's integers, too large a value shows in its scale.
    let hidden = data.iter().position(|value| !value.is_finite());
    let block = hidden.and_then(|at| at.checked_div(kind.block())).or(kind.bad_block(&packed));
    match block {
        Some(block) => Err(out_of_range(tensor, data, block)),
        None => Ok(packed),
    }
}

fn out_of_range(tensor: &Form<'_>, data: &[f32], block: usize) -> Error {
    let kind = tensor.stored();
    let values = data.chunks(kind.block()).nth(block).unwrap_or_default();
    let further = |most: f32, value: &f32| {
        if value.is_nan() || value.abs() > most.abs() { *value } else { most }
    };
    Error::Unwritable {
        what: format!("tensor {:?}", short(tensor.name)),
        expected: format!("values in the range of {kind:?}"),
        got: values.iter().fold(0.0, further).to_string(),
        hint: "if it is finite, store this tensor as F32; if it is a weight, look for a run that diverged",
    }
}

fn put_u32(out: &mut Vec<u8>, n: u32) {
    out.extend(n.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, n: usize) {
    out.extend((n as u64).to_le_bytes());
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    put_u64(out, text.len());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(x) => out.extend(x.to_le_bytes()),
        Value::I8(x) => out.extend(x.to_le_bytes()),
        Value::U16(x) => out.extend(x.to_le_bytes()),
        Value::I16(x) => out.extend(x.to_le_bytes()),
        Value::U32(x) => out.extend(x.to_le_bytes()),
        Value::I32(x) => out.extend(x.to_le_bytes()),
        Value::F32(x) => out.extend(x.to_le_bytes()),
        Value::Bool(x) => out.push(u8::from(*x)),
        Value::String(text) => put_string(out, text),
        Value::Array(array) => put_array(out, array),
        Value::U64(x) => out.extend(x.to_le_bytes()),
        Value::I64(x) => out.extend(x.to_le_bytes()),
        Value::F64(x) => out.extend(x.to_le_bytes()),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    put_u32(out, array.code());
    put_u64(out, array.len());
    match array {
        Array::U8(items) => out.extend(items),
        Array::I8(items) => items.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::U16(items) => items.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::I16(items) => items.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::U32(items) => items.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::I32(items) => items.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::F32(items) => items.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::Bool(items) => out.extend(items.iter().map(|&x| u8::from(x))),
        Array::String(items) => items.iter().for_each(|text| put_string(out, text)),
        Array::Array(items) => items.iter().for_each(|inner| put_array(out, inner)),
        Array::U64(items) => items.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::I64(items) => items.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::F64(items) => items.iter().for_each(|x| out.extend(x.to_le_bytes())),
    }
}
