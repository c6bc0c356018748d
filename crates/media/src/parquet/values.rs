//! What a page holds, by its encoding: <https://parquet.apache.org/docs/file-format/data-pages/encodings/>.

use super::thrift::{varint, zigzag};

/// How a column's values are kept, as a Parquet file numbers it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Physical {
    Boolean,
    Int32,
    Int64,
    /// Of twelve bytes: times, which nothing here reads.
    Int96,
    Float,
    Double,
    Bytes,
    /// Of so many bytes each.
    Fixed(usize),
}

/// Values of one type.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    Booleans(Vec<bool>),
    Ints(Vec<i64>),
    Floats(Vec<f64>),
    Bytes(Vec<Vec<u8>>),
}

/// The most values of a page.
const MAX_VALUES: usize = 1 << 24;

/// The most bytes of a page's values, those that repeat counted each time.
const MAX_BYTES: usize = 1 << 30;

const CUT: &str = "a page cut short";

/// The `n` values of a page's `data`; `dictionary` is that of its column.
///
/// # Errors
/// Too few, or another encoding.
pub fn decode(
    encoding: i64,
    physical: Physical,
    data: &[u8],
    n: usize,
    dictionary: Option<&Values>,
) -> Result<Values, String> {
    if n > MAX_VALUES {
        return Err(format!("a page of {n} values"));
    }
    match (encoding, physical) {
        (0, _) => plain(physical, data, n),
        (2 | 8, _) => {
            let dictionary = dictionary.ok_or("a page before its dictionary")?;
            let (&bits, indices) = data.split_first().ok_or(CUT)?;
            pick(dictionary, &runs(indices, u32::from(bits), n)?)
        }
        (3, Physical::Boolean) => {
            let bits = runs(data.get(4..).ok_or(CUT)?, 1, n)?;
            Ok(Values::Booleans(bits.into_iter().map(|bit| bit == 1).collect()))
        }
        (5, Physical::Int32 | Physical::Int64) => Ok(Values::Ints(deltas(&mut &data[..], n)?)),
        (6, Physical::Bytes) => {
            let rest = &mut &data[..];
            let lengths = deltas(rest, n)?;
            lengths
                .into_iter()
                .map(|len| take(rest, len))
                .collect::<Result<_, _>>()
                .map(Values::Bytes)
        }
        (7, Physical::Bytes) => prefixed(data, n),
        (other, _) => Err(format!("the encoding {other} of {physical:?}")),
    }
}

fn plain(physical: Physical, data: &[u8], n: usize) -> Result<Values, String> {
    let width = match physical {
        Physical::Boolean => {
            let bit = |i: usize| data.get(i / 8).map(|byte| byte >> (i % 8) & 1 == 1);
            return (0..n).map(bit).collect::<Option<_>>().map(Values::Booleans).ok_or(CUT.into());
        }
        Physical::Bytes => {
            let rest = &mut &data[..];
            let one = |_| {
                let len = take(rest, 4)?;
                take(rest, i64::from(u32::from_le_bytes([len[0], len[1], len[2], len[3]])))
            };
            return (0..n).map(one).collect::<Result<_, _>>().map(Values::Bytes);
        }
        Physical::Int32 | Physical::Float => 4,
        Physical::Int64 | Physical::Double => 8,
        Physical::Int96 => 12,
        Physical::Fixed(width) => width.max(1),
    };
    let items = data.get(..n.saturating_mul(width)).ok_or(CUT)?.chunks_exact(width);
    let wide = |item: &[u8]| {
        let mut bytes = [0; 8];
        bytes[..width.min(8)].copy_from_slice(&item[..width.min(8)]);
        bytes
    };
    Ok(match physical {
        Physical::Int32 => {
            Values::Ints(items.map(|i| i64::from(i64::from_le_bytes(wide(i)) as i32)).collect())
        }
        Physical::Float => Values::Floats(
            items.map(|i| f64::from(f32::from_bits(u64::from_le_bytes(wide(i)) as u32))).collect(),
        ),
        Physical::Double => Values::Floats(items.map(|i| f64::from_le_bytes(wide(i))).collect()),
        Physical::Fixed(_) | Physical::Bytes => Values::Bytes(items.map(<[u8]>::to_vec).collect()),
        _ => Values::Ints(items.map(|i| i64::from_le_bytes(wide(i))).collect()),
    })
}

fn take(rest: &mut &[u8], len: i64) -> Result<Vec<u8>, String> {
    let len = usize::try_from(len).map_err(|_| CUT)?;
    let (taken, behind) = rest.split_at_checked(len).ok_or(CUT)?;
    *rest = behind;
    Ok(taken.to_vec())
}

fn pick(dictionary: &Values, indices: &[u32]) -> Result<Values, String> {
    fn all<T: Clone>(from: &[T], indices: &[u32]) -> Result<Vec<T>, String> {
        let one = |&index: &u32| from.get(index as usize).cloned();
        indices.iter().map(one).collect::<Option<_>>().ok_or("a value beyond the dictionary".into())
    }
    Ok(match dictionary {
        Values::Booleans(from) => Values::Booleans(all(from, indices)?),
        Values::Ints(from) => Values::Ints(all(from, indices)?),
        Values::Floats(from) => Values::Floats(all(from, indices)?),
        Values::Bytes(from) => {
            let len = |&index: &u32| from.get(index as usize).map_or(0, Vec::len);
            fits(indices.iter().map(len).sum())?;
            Values::Bytes(all(from, indices)?)
        }
    })
}

/// A small page may stand for much.
fn fits(bytes: usize) -> Result<(), String> {
    if bytes > MAX_BYTES { Err(format!("a page of {bytes} bytes")) } else { Ok(()) }
}

/// `n` numbers of `bits` bits, as runs of one number and as packed groups of eight.
///
/// # Errors
/// Too few.
pub fn runs(mut data: &[u8], bits: u32, n: usize) -> Result<Vec<u32>, String> {
    if bits > 32 || n > MAX_VALUES {
        return Err(format!("{n} numbers of {bits} bits"));
    }
    let mut all = Vec::new();
    while all.len() < n {
        let head = varint(&mut data)?;
        let left = n - all.len();
        let count = usize::try_from(head >> 1).unwrap_or(usize::MAX);
        if head & 1 == 0 {
            let value = take(&mut data, i64::from(bits.div_ceil(8)))?;
            let value = value.iter().rev().fold(0, |all, byte| all << 8 | u32::from(*byte));
            all.resize(all.len() + count.min(left), value);
        } else {
            // The last group may be cut where no number of it is needed.
            let bytes = count.saturating_mul(bits as usize).min(data.len());
            let (group, rest) = data.split_at(bytes);
            let numbers = packed(group, bits, count.saturating_mul(8).min(left));
            if numbers.len() < count.saturating_mul(8).min(left) {
                return Err(CUT.into());
            }
            all.extend(numbers.into_iter().map(|number| number as u32));
            data = rest;
        }
    }
    Ok(all)
}

/// Up to `n` numbers of `bits` bits each, the lowest bits first.
fn packed(data: &[u8], bits: u32, n: usize) -> Vec<u64> {
    let bits = bits as usize;
    let whole = (data.len() * 8).checked_div(bits).unwrap_or(n);
    let number = |i: usize| {
        let bit = |b: usize| u64::from(data[(i * bits + b) / 8] >> ((i * bits + b) % 8) & 1) << b;
        (0..bits).map(bit).sum()
    };
    (0..n.min(whole)).map(number).collect()
}

/// `DELTA_BINARY_PACKED`: a first number and differences, in blocks of packed groups.
fn deltas(data: &mut &[u8], n: usize) -> Result<Vec<i64>, String> {
    let [block, groups, total] = [varint(data)?, varint(data)?, varint(data)?];
    let mut value = zigzag(varint(data)?);
    let group = block.checked_div(groups).unwrap_or_default() as usize;
    if group == 0 || !group.is_multiple_of(8) || total as usize != n || groups > 1 << 16 {
        return Err(format!("blocks of {block} in {groups} groups for {total} of {n} numbers"));
    }
    let mut all = Vec::new();
    if n > 0 {
        all.push(value);
    }
    while all.len() < n {
        let least = zigzag(varint(data)?);
        let widths = take(data, groups as i64)?;
        for width in widths {
            if all.len() == n {
                break;
            }
            if width > 64 {
                return Err(CUT.into());
            }
            let bytes = take(data, (group / 8 * usize::from(width)) as i64)?;
            let left = n - all.len();
            for delta in packed(&bytes, u32::from(width), group.min(left)) {
                value = value.wrapping_add(least).wrapping_add(delta as i64);
                all.push(value);
            }
        }
    }
    Ok(all)
}

/// `DELTA_BYTE_ARRAY`: how much of the one before is kept, and what follows.
fn prefixed(data: &[u8], n: usize) -> Result<Values, String> {
    let rest = &mut &data[..];
    let (kept, lengths) = (deltas(rest, n)?, deltas(rest, n)?);
    let (mut all, mut last, mut bytes) = (Vec::new(), Vec::new(), 0);
    for (kept, len) in kept.into_iter().zip(lengths) {
        let kept = usize::try_from(kept).ok().filter(|kept| *kept <= last.len()).ok_or(CUT)?;
        last.truncate(kept);
        last.extend(take(rest, len)?);
        bytes += last.len();
        fits(bytes)?;
        all.push(last.clone());
    }
    Ok(Values::Bytes(all))
}
