//! Thrift's compact protocol, in which a Parquet file describes itself: structs whose fields have numbers.

use std::io::Read;

/// Deepest nesting of what is read.
const MAX_DEPTH: usize = 24;

/// Longest text or bytes within.
const MAX_BYTES: u64 = 1 << 26;

/// What a field holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Int(i64),
    Bool(bool),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Struct(Struct),
    /// A number with a point, or a map: nothing that Parquet's description needs.
    Other,
}

/// Fields by number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Struct(Vec<(i16, Value)>);

impl Struct {
    pub fn get(&self, id: i16) -> Option<&Value> {
        self.0.iter().find(|(field, _)| *field == id).map(|(_, value)| value)
    }

    pub fn int(&self, id: i16) -> Option<i64> {
        match self.get(id)? {
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// A number that counts something.
    pub fn count(&self, id: i16) -> Option<usize> {
        usize::try_from(self.int(id)?).ok()
    }

    pub fn bool(&self, id: i16) -> Option<bool> {
        match self.get(id)? {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    pub fn text(&self, id: i16) -> Option<String> {
        match self.get(id)? {
            Value::Bytes(bytes) => String::from_utf8(bytes.clone()).ok(),
            _ => None,
        }
    }

    pub fn inner(&self, id: i16) -> Option<&Struct> {
        match self.get(id)? {
            Value::Struct(inner) => Some(inner),
            _ => None,
        }
    }

    /// The structs of a list.
    pub fn structs(&self, id: i16) -> impl Iterator<Item = &Struct> {
        let list = match self.get(id) {
            Some(Value::List(list)) => &list[..],
            _ => &[],
        };
        list.iter().filter_map(|value| match value {
            Value::Struct(inner) => Some(inner),
            _ => None,
        })
    }
}

/// The struct that starts here.
///
/// # Errors
/// It ends early or is none.
pub fn read(from: &mut impl Read) -> Result<Struct, String> {
    read_struct(from, 0)
}

fn read_struct(from: &mut impl Read, depth: usize) -> Result<Struct, String> {
    if depth > MAX_DEPTH {
        return Err(format!("more than {MAX_DEPTH} levels of description"));
    }
    let (mut fields, mut id) = (Vec::new(), 0i16);
    loop {
        let head = byte(from)?;
        let kind = head & 15;
        if kind == 0 {
            return Ok(Struct(fields));
        }
        id = match head >> 4 {
            0 => zigzag(varint(from)?) as i16,
            more => id.wrapping_add(i16::from(more)),
        };
        let value = match kind {
            1 | 2 => Value::Bool(kind == 1),
            kind => value(from, kind, depth)?,
        };
        fields.push((id, value));
    }
}

fn value(from: &mut impl Read, kind: u8, depth: usize) -> Result<Value, String> {
    Ok(match kind {
        1 | 2 => Value::Bool(byte(from)? == 1),
        3 => Value::Int(i64::from(byte(from)? as i8)),
        4..=6 => Value::Int(zigzag(varint(from)?)),
        7 => skip(from, 8)?,
        8 => {
            let len = varint(from)?;
            if len > MAX_BYTES {
                return Err(format!("a text of {len} bytes in the description"));
            }
            let mut bytes = Vec::new();
            from.take(len).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
            Value::Bytes(bytes)
        }
        9 | 10 => {
            let head = byte(from)?;
            let len = if head >> 4 == 15 { varint(from)? } else { u64::from(head >> 4) };
            let mut list = Vec::new();
            for _ in 0..len {
                list.push(match head & 15 {
                    12 => Value::Struct(read_struct(from, depth + 1)?),
                    kind => value(from, kind, depth + 1)?,
                });
            }
            Value::List(list)
        }
        11 => read_map(from, depth)?,
        12 => Value::Struct(read_struct(from, depth + 1)?),
        13 => skip(from, 16)?,
        other => return Err(format!("the type {other} in the description")),
    })
}

fn read_map(from: &mut impl Read, depth: usize) -> Result<Value, String> {
    let len = varint(from)?;
    if len > 0 {
        let kinds = byte(from)?;
        for _ in 0..len {
            value(from, kinds >> 4, depth + 1)?;
            value(from, kinds & 15, depth + 1)?;
        }
    }
    Ok(Value::Other)
}

fn skip(from: &mut impl Read, bytes: usize) -> Result<Value, String> {
    (0..bytes).try_for_each(|_| byte(from).map(|_| ()))?;
    Ok(Value::Other)
}

fn byte(from: &mut impl Read) -> Result<u8, String> {
    let mut byte = [0];
    from.read_exact(&mut byte).map_err(|error| format!("a description cut short: {error}"))?;
    Ok(byte[0])
}

/// A number of seven bits a byte, the least first.
pub fn varint(from: &mut impl Read) -> Result<u64, String> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let next = byte(from)?;
        value |= u64::from(next & 127) << shift;
        if next < 128 {
            return Ok(value);
        }
    }
    Err("a number of more than 64 bits".into())
}

/// 0, -1, 1, -2, ... for 0, 1, 2, 3, ...
pub fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
