//! Containers made of chunks, whose lengths programs that stream or die leave wrong: what is there
//! counts.

use std::io::{Read, Result, Seek};

use super::container::read_at;

/// Longest description of samples.
const MAX_DESCRIPTION: u64 = 1 << 10;
/// Longest table of packets: 50 hours of ALAC.
const MAX_TABLE: u64 = 4 << 20;
/// Most chunks of a file that are looked at.
const MAX_CHUNKS: usize = 4096;

/// Where samples are, and what is to be put in front of them.
pub(super) struct Samples {
    pub(super) header: Vec<u8>,
    pub(super) start: u64,
    pub(super) end: u64,
    /// Bytes of samples that are announced.
    pub(super) announced: u64,
}

/// A chunk's name, where its body begins, and how long it says it is.
type Chunk = ([u8; 4], u64, u64);

/// The chunk at `at`: 32-bit lengths, or 64-bit ones where `wide`.
fn chunk(source: &mut (impl Read + Seek), at: u64, order: Order) -> Result<Option<Chunk>> {
    let head = read_at(source, at, 12)?;
    let number = |range: std::ops::Range<usize>| {
        let bytes = head.get(range)?.iter();
        let fold = |n: u64, &byte: &u8| n << 8 | u64::from(byte);
        Some(if order == Order::Little { bytes.rev().fold(0, fold) } else { bytes.fold(0, fold) })
    };
    let wide = order == Order::Wide;
    let size = number(if wide { 4..12 } else { 4..8 });
    let name = head.get(..4).and_then(|name| name.try_into().ok());
    Ok(name.zip(size).map(|(name, size)| (name, at + if wide { 12 } else { 8 }, size)))
}

/// How lengths are written.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    /// 32 bits, the lowest byte first.
    Little,
    /// 32 bits, the highest byte first.
    Big,
    /// 64 bits, the highest byte first; bodies are not filled up to even lengths.
    Wide,
}

/// All chunks from `at` on.
fn chunks(source: &mut (impl Read + Seek), mut at: u64, order: Order) -> Result<Vec<Chunk>> {
    let mut all = Vec::new();
    while all.len() < MAX_CHUNKS
        && let Some(found) = chunk(source, at, order)?
    {
        all.push(found);
        let (_, body, size) = found;
        let size = if order == Order::Wide { size } else { size.next_multiple_of(2) };
        at = body.saturating_add(size);
    }
    Ok(all)
}

/// Bytes of a chunk's body that hold samples, and those it announces: all there are if it says
/// nothing.
fn extent(
    source: &mut (impl Read + Seek),
    (_, body, size): Chunk,
    length: u64,
    order: Order,
) -> Result<[u64; 2]> {
    let there = length.saturating_sub(body);
    let unknown = match size {
        0 => !is_last(source, body, length, order)?,
        size => size > there && is_placeholder(size),
    };
    let size = if unknown { there } else { size };
    Ok([size.min(there), size])
}

/// Whether programs write this for a length that they do not know yet.
fn is_placeholder(size: u64) -> bool {
    matches!(size, 0x7FFF_0000..=0x8000_FFFF | 0xFFFF_0000..=0xFFFF_FFFF | u64::MAX)
}

/// Whether a chunk that fills the rest of the file begins at `at`.
fn is_last(source: &mut (impl Read + Seek), at: u64, length: u64, order: Order) -> Result<bool> {
    Ok(chunk(source, at, order)?.is_some_and(|(name, body, size)| {
        let named = name.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
        let end = body.saturating_add(size);
        named && (end == length || end.checked_next_multiple_of(2) == Some(length))
    }))
}

fn body(source: &mut (impl Read + Seek), (_, body, size): Chunk, most: u64) -> Result<Vec<u8>> {
    read_at(source, body, size.min(most) as usize)
}

/// A WAV's samples; none without their description.
pub(super) fn wav(
    source: &mut (impl Read + Seek),
    start: u64,
    length: u64,
) -> Result<Option<Samples>> {
    let all = chunks(source, start + 12, Order::Little)?;
    let find = |name| all.iter().copied().find(|chunk| &chunk.0 == name);
    let (Some(format), Some(mut data)) = (find(b"fmt "), find(b"data")) else { return Ok(None) };
    // RF64: the lengths that need more than 32 bits; that of the data is the second.
    if let Some(sizes) = find(b"ds64").filter(|_| data.2 == u64::from(u32::MAX)) {
        let sizes = body(source, sizes, 16)?;
        let size = sizes.get(8..16).and_then(|bytes| bytes.try_into().ok());
        data.2 = size.map_or(data.2, u64::from_le_bytes);
    }
    let mut format = body(source, format, MAX_DESCRIPTION)?;
    let [there, announced] = extent(source, data, length, Order::Little)?;
    match format.get(..2) {
        // PCM and floats need no more, whatever follows.
        Some([1 | 3, 0]) => format.truncate(16),
        // A-law and mu-law say that nothing follows.
        Some([6 | 7, 0]) => {
            format.truncate(16);
            format.resize(18, 0);
        }
        Some([0xFE, 0xFF]) => format.truncate(40),
        _ => {}
    }
    // The decoder of ADPCM wants whole packets; that of others reads to the end.
    let packed = matches!(format.get(..2), Some([2 | 0x11, 0]));
    let size = u32::try_from(there).ok().filter(|_| packed).unwrap_or(u32::MAX).to_le_bytes();
    let described = (format.len() as u32).to_le_bytes();
    let header = [b"RIFF\xff\xff\xff\xffWAVEfmt ".as_slice(), &described, &format, b"data", &size];
    Ok(Some(Samples { header: header.concat(), start: data.1, end: data.1 + there, announced }))
}

/// An AIFF's samples; none without their description.
pub(super) fn aiff(
    source: &mut (impl Read + Seek),
    start: u64,
    length: u64,
) -> Result<Option<Samples>> {
    let kind = read_at(source, start + 8, 4)?;
    let all = chunks(source, start + 12, Order::Big)?;
    let find = |name| all.iter().copied().find(|chunk| &chunk.0 == name);
    let (Some(common), Some(data)) = (find(b"COMM"), find(b"SSND")) else { return Ok(None) };
    let common = body(source, common, MAX_DESCRIPTION)?;
    let [there, announced] = extent(source, data, length, Order::Big)?;
    let header = aiff_header(&kind, &common, there);
    Ok(Some(Samples { header, start: data.1, end: data.1 + there, announced }))
}

/// What stands in front of an AIFF's samples, with so many bytes of them.
fn aiff_header(kind: &[u8], common: &[u8], there: u64) -> Vec<u8> {
    let size = |n: u64| u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes();
    let described = size(common.len() as u64);
    let chunks = [b"COMM".as_slice(), &described, common, b"SSND", &size(there)].concat();
    let whole = size(4 + chunks.len() as u64 + there);
    [b"FORM".as_slice(), &whole, kind, &chunks].concat()
}

/// An AU's samples (Sun's, NeXT's), under the header of an AIFF-C, which knows the same encodings.
pub(super) fn au(
    source: &mut (impl Read + Seek),
    start: u64,
    length: u64,
) -> Result<Option<Samples>> {
    let head = read_at(source, start, 24)?;
    let field = |i: usize| head.get(4 * i..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
    let fields = (field(1), field(2), field(3), field(4), field(5));
    let (Some(at), Some(size), Some(encoding), Some(rate), Some(channels)) = fields else {
        return Ok(None);
    };
    let (bits, name) = match encoding {
        1 => (8_u16, b"ulaw"),
        2..=5 => (8 * (encoding as u16 - 1), b"NONE"),
        6 => (32, b"fl32"),
        7 => (64, b"fl64"),
        27 => (8, b"alaw"),
        _ => return Ok(None),
    };
    let data = (*b".snd", start + u64::from(at), size.into());
    let [there, announced] = extent(source, data, length, Order::Big)?;
    let header = aifc_header(rate, channels, (bits, name), there);
    Ok(Some(Samples { header, start: data.1, end: data.1 + there, announced }))
}

/// What stands in front of an AIFF-C's samples of so many bits each in this encoding.
fn aifc_header(rate: u32, channels: u32, (bits, name): (u16, &[u8; 4]), there: u64) -> Vec<u8> {
    let frame = u64::from(bits / 8) * u64::from(channels);
    let frames = u32::try_from(there.checked_div(frame).unwrap_or_default()).unwrap_or(u32::MAX);
    let channels = (channels.min(u16::MAX.into()) as u16).to_be_bytes();
    // The rate as a float of 80 bits.
    let shift = rate.leading_zeros().min(31);
    let exponent = (16_383 + 31 - shift as u16).to_be_bytes();
    let mantissa = (u64::from(rate << shift) << 32).to_be_bytes();
    let shape = [&channels[..], &frames.to_be_bytes(), &bits.to_be_bytes()].concat();
    let common = [&shape[..], &exponent, &mantissa, name, &[0; 2]].concat();
    // Behind it: where in its block the first sample stands, and how long blocks are.
    [aiff_header(b"AIFC", &common, there + 8), vec![0; 8]].concat()
}

/// A CAF's samples; none without their description.
pub(super) fn caf(
    source: &mut (impl Read + Seek),
    start: u64,
    length: u64,
) -> Result<Option<Samples>> {
    let all = chunks(source, start + 8, Order::Wide)?;
    let Some(&data) = all.iter().find(|chunk| &chunk.0 == b"data") else { return Ok(None) };
    let mut header = read_at(source, start, 8)?;
    let [there, announced] = extent(source, data, length, Order::Wide)?;
    // In front of the samples: how often they were edited.
    let samples = there.saturating_sub(4);
    if let Some(desc) = all.iter().find(|chunk| &chunk.0 == b"desc")
        && let Some(header) = logarithmic(&body(source, *desc, MAX_DESCRIPTION)?, samples)
    {
        let end = data.1 + there;
        return Ok(Some(Samples {
            header,
            start: end - samples,
            end,
            announced: announced.saturating_sub(4),
        }));
    }
    let mut fields = 0;
    for chunk in all.iter().filter(|chunk| chunk.0 != *b"data" && chunk.0 != *b"free") {
        let mut body =
            body(source, *chunk, if &chunk.0 == b"pakt" { MAX_TABLE } else { MAX_DESCRIPTION })?;
        match &chunk.0 {
            // Numbers that a description leaves open are told for each packet.
            b"desc" => {
                let open = |at| usize::from(body.get(at..at + 4) == Some(&[0; 4]));
                fields = open(16) + open(20);
            }
            b"pakt" => body.truncate(table_length(&body, fields)),
            b"kuki" | b"chan" => {}
            _ => continue,
        }
        header.extend([chunk.0.as_slice(), &(body.len() as u64).to_be_bytes(), &body].concat());
    }
    header.extend([b"data".as_slice(), &there.to_be_bytes()].concat());
    Ok(Some(Samples { header, start: data.1, end: data.1 + there, announced }))
}

/// What stands in front of a CAF's samples in A-law or mu-law, under the header of an AIFF-C.
fn logarithmic(desc: &[u8], there: u64) -> Option<Vec<u8>> {
    let name = desc.get(8..12)?.first_chunk::<4>()?;
    let rate = f64::from_be_bytes(*desc.first_chunk()?);
    let channels = u32::from_be_bytes(*desc.get(24..28)?.first_chunk()?);
    let is_known = name == b"alaw" || name == b"ulaw";
    is_known.then(|| aifc_header(rate as u32, channels, (8, name), there))
}

/// Bytes of a table of packets, each of so many numbers of seven bits a byte: some programs fill it
/// up, which readers take for the next chunk.
fn table_length(table: &[u8], fields: usize) -> usize {
    let count =
        table.get(..8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
    let mut left = count.saturating_mul(fields as u64);
    let mut at = 24.min(table.len());
    while left > 0 && at < table.len() {
        left -= u64::from(table[at] & 0x80 == 0);
        at += 1;
    }
    at
}

/// Where an MP4's last box says it ends; none if it says that it ends with the file. Behind the index
/// some programs leave what is no box.
pub(super) fn mp4_end(
    source: &mut (impl Read + Seek),
    start: u64,
    length: u64,
) -> Result<Option<u64>> {
    let (mut at, mut indexed) = (start, false);
    for _ in 0..MAX_CHUNKS {
        let head = read_at(source, at, 16)?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |n: u64, &byte| n << 8 | u64::from(byte));
        let Some(name) = head.get(4..8).filter(|_| at < length) else { break };
        if indexed && !BOXES.contains(&name) {
            break;
        }
        indexed |= name == b"moov";
        let size = match number(&head[..4]) {
            0 => return Ok(None),
            1 => head.get(8..16).map_or(0, number),
            size => size,
        };
        at = at.saturating_add(size.max(8));
    }
    Ok(Some(at))
}

/// What may follow an MP4's index.
const BOXES: [&[u8]; 12] = [
    b"mdat", b"free", b"skip", b"wide", b"moof", b"mfra", b"sidx", b"styp", b"emsg", b"uuid",
    b"meta", b"udta",
];

/// Where a Matroska's segment says it ends; none if it does not say it, as where it is streamed.
pub(super) fn matroska_end(source: &mut (impl Read + Seek), start: u64) -> Result<Option<u64>> {
    const SEGMENT: &[u8] = b"\x18\x53\x80\x67";
    let mut head = read_at(source, start + 4, 8)?;
    let mut at = start + 4;
    if let Some((size, length)) = variable(&head) {
        at = at.saturating_add(length).saturating_add(size);
        head = read_at(source, at, 12)?;
    }
    let size = head.strip_prefix(SEGMENT).and_then(variable);
    Ok(size.map(|(size, length)| at.saturating_add(4 + length).saturating_add(size)))
}

/// A number whose first byte says how many bytes it has, and their number; none if all bits are ones:
/// unknown.
fn variable(bytes: &[u8]) -> Option<(u64, u64)> {
    let first = *bytes.first()?;
    let length = first.leading_zeros() as usize + 1;
    let bytes = bytes.get(..length)?;
    let all = bytes.iter().fold(0u64, |n, &byte| n << 8 | u64::from(byte));
    let most = (1u64 << (7 * length)) - 1;
    let size = all & most;
    (size < most).then_some((size, length as u64))
}
