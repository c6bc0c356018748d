//! JPEG to RGB, equal to libjpeg-turbo's (so to Pillow's) bit for bit: CLIP and LLaVA were trained on
//! what it makes of photographs, and its rounding of half-sized colour is part of that.
//!
//! ```text
//! segments ──tables──▶ scans ──Huffman──▶ coefficients ──IDCT──▶ planes ──upsample, RGB──▶ pixels
//! ```
//! ITU-T T.81 (1992): sequential and progressive, 8 bits, any sampling that whole numbers describe, scans
//! in any order. Arithmetic coding, lossless and hierarchical files are refused.

mod huffman;
mod samples;

use crate::header::{self, Fault};
use huffman::{Bits, NO_CODE, Table};

/// Coefficients of a block, in the file's zigzag order.
type Block = [i16; 64];

/// Most blocks that all scans together may visit: a few bytes can ask for a thousand scans of a large
/// picture. The largest one takes half, in as many scans as programs write.
const MAX_VISITS: u64 = 32_000_000;
/// That a scan has told nothing of a coefficient yet.
const UNKNOWN: u8 = u8::MAX;

/// One colour's plane.
struct Component {
    id: u8,
    /// Samples across and down in a unit of the picture.
    sampling: [usize; 2],
    /// Width and height in samples.
    size: [usize; 2],
    /// Blocks across and down, up to whole units.
    grid: [usize; 2],
    table: usize,
    /// The table's values when the component's first scan came.
    quantization: Option<[u16; 64]>,
    blocks: Vec<Block>,
    /// Bits that are still unknown of each coefficient.
    missing: [u8; 64],
}

struct Frame {
    width: usize,
    height: usize,
    progressive: bool,
    /// Largest samplings across and down.
    most: [usize; 2],
    components: Vec<Component>,
}

/// How the file says what its components are.
#[derive(Default)]
struct Marks {
    jfif: bool,
    adobe: Option<u8>,
}

struct Scan {
    /// Places of the components, with their tables for DC and AC.
    parts: Vec<(usize, usize, usize)>,
    /// First and last coefficient.
    band: [usize; 2],
    /// Bits of each coefficient that are unknown before and after; 0 before means all.
    high: u8,
    low: u8,
}

/// RGB8 of a file whose size was checked by its header.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut tables = [Table::standard_dc(), Table::standard_ac()];
    let mut quantization: [Option<[u16; 64]>; 4] = [None; 4];
    let mut frame: Option<Frame> = None;
    let mut marks = Marks::default();
    let (mut restart, mut visits, mut at) = (0, 0, 0);
    loop {
        let (marker, body) = header::segment(bytes, &mut at)?;
        match (marker, &mut frame) {
            (0xC4, _) => huffman_tables(body, &mut tables)?,
            (0xDB, _) => quantization_tables(body, &mut quantization)?,
            (0xDD, _) => restart = usize::from(header::u16_be(body, 0).ok_or(SHORT)?),
            (0xE0, _) => marks.jfif |= body.starts_with(b"JFIF\0"),
            (0xEE, _) if body.starts_with(b"Adobe") => marks.adobe = body.get(11).copied(),
            (0xC0..=0xC2, None) => {
                frame = Some(Frame::read(body, marker == 0xC2, bytes.len())?);
            }
            (0xC0..=0xC2, Some(_)) => return Err(Fault::Damaged("there are two frame headers")),
            (0xC3 | 0xC7 | 0xCB | 0xCF, _) => return Err(Fault::Unsupported("a lossless JPEG")),
            (0xC5 | 0xC6 | 0xCD | 0xCE, _) => {
                return Err(Fault::Unsupported("a hierarchical JPEG"));
            }
            (0xC9 | 0xCA, _) => return Err(Fault::Unsupported("a JPEG with arithmetic coding")),
            (0xDA, Some(frame)) => {
                let scan = frame.scan(body)?;
                visits += frame.latch(&scan, &quantization)?;
                if visits > MAX_VISITS {
                    return Err(Fault::Unsupported("a JPEG of this size in as many scans"));
                }
                at += frame.read_scan(&scan, &tables, restart, &bytes[at..])?;
                // What lies behind is not asked for: there may be no end marker, or a film.
                if frame.components.iter().all(|c| c.missing == [0; 64]) {
                    return frame.pixels(&marks);
                }
            }
            (0xDA, None) => return Err(Fault::Damaged("pixels come before the frame header")),
            (0xD9, Some(frame)) => return frame.pixels(&marks),
            (0xD9, None) => return Err(Fault::Damaged("there is no frame header")),
            _ => {}
        }
    }
}

const SHORT: Fault = Fault::Damaged("a segment is too short for what it announces");

fn huffman_tables(mut body: &[u8], tables: &mut [[Option<Table>; 4]; 2]) -> Result<(), Fault> {
    while let Some((selector, rest)) = body.split_first() {
        let (counts, rest) = rest.split_first_chunk::<16>().ok_or(SHORT)?;
        let total = counts.iter().map(|n| usize::from(*n)).sum();
        let (values, rest) = rest.split_at_checked(total).ok_or(SHORT)?;
        let class = tables.get_mut(usize::from(selector >> 4));
        let slot = class.and_then(|class| class.get_mut(usize::from(selector & 15)));
        *slot.ok_or(Fault::Damaged("a Huffman table has no place"))? =
            Some(Table::new(counts, values)?);
        body = rest;
    }
    Ok(())
}

fn quantization_tables(mut body: &[u8], tables: &mut [Option<[u16; 64]>; 4]) -> Result<(), Fault> {
    while let Some((selector, rest)) = body.split_first() {
        let wide = usize::from(selector >> 4 != 0);
        let (values, rest) = rest.split_at_checked(64 << wide).ok_or(SHORT)?;
        let value = |k: usize| match wide {
            0 => u16::from(values[k]),
            _ => u16::from_be_bytes([values[2 * k], values[2 * k + 1]]),
        };
        *tables
            .get_mut(usize::from(selector & 15))
            .ok_or(Fault::Damaged("a quantization table has no place"))? =
            Some(std::array::from_fn(value));
        body = rest;
    }
    Ok(())
}

impl Frame {
    fn read(body: &[u8], progressive: bool, file: usize) -> Result<Frame, Fault> {
        let (head, list) = body.split_first_chunk::<6>().ok_or(SHORT)?;
        let [precision, h1, h0, w1, w0, count] = *head;
        let (width, height) = (u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
        let (width, height) = (usize::from(width), usize::from(height));
        if precision != 8 {
            return Err(Fault::Unsupported("a JPEG of other than 8 bits"));
        }
        let list = list.get(..usize::from(count) * 3).ok_or(SHORT)?;
        if !matches!(count, 1 | 3 | 4) {
            return Err(Fault::Unsupported("a JPEG of other than 1, 3 or 4 components"));
        }
        let sampling = |c: &[u8]| [usize::from(c[1] >> 4), usize::from(c[1] & 15)];
        let samplings: Vec<[usize; 2]> = list.chunks_exact(3).map(sampling).collect();
        if samplings.iter().flatten().any(|n| !(1..=4).contains(n)) {
            return Err(Fault::Damaged("a sampling factor is none of 1 to 4"));
        }
        let most = [0, 1].map(|axis| samplings.iter().map(|s| s[axis]).max().unwrap_or(1));
        if samplings.iter().any(|s| most[0] % s[0] != 0 || most[1] % s[1] != 0) {
            return Err(Fault::Unsupported("a JPEG whose colours are sampled at broken ratios"));
        }
        let units = [width.div_ceil(8 * most[0]), height.div_ceil(8 * most[1])];
        let component = |(c, sampling): (&[u8], [usize; 2])| Component {
            id: c[0],
            sampling,
            size: [
                (width * sampling[0]).div_ceil(most[0]),
                (height * sampling[1]).div_ceil(most[1]),
            ],
            grid: [units[0] * sampling[0], units[1] * sampling[1]],
            table: usize::from(c[2]),
            quantization: None,
            blocks: Vec::new(),
            missing: [UNKNOWN; 64],
        };
        let mut components: Vec<Component> =
            list.chunks_exact(3).zip(samplings).map(component).collect();
        // No block takes less than a bit, so a short file cannot ask for much memory.
        let blocks: usize = components.iter().map(|c| c.own_grid().iter().product::<usize>()).sum();
        if blocks / 8 > file {
            return Err(Fault::Truncated);
        }
        for component in &mut components {
            component.blocks = vec![[0; 64]; component.grid[0] * component.grid[1]];
        }
        Ok(Frame { width, height, progressive, most, components })
    }

    fn scan(&self, body: &[u8]) -> Result<Scan, Fault> {
        let (count, body) = body.split_first().ok_or(SHORT)?;
        let (list, rest) = body.split_at_checked(usize::from(*count) * 2).ok_or(SHORT)?;
        let &[first, last, bits, ..] = rest else { return Err(SHORT) };
        let part = |pair: &[u8]| {
            let component = self.components.iter().position(|c| c.id == pair[0]);
            component.map(|c| (c, usize::from(pair[1] >> 4), usize::from(pair[1] & 15)))
        };
        let parts: Option<Vec<_>> = list.chunks_exact(2).map(part).collect();
        let parts = parts.ok_or(Fault::Damaged("a scan is of a component that is not there"))?;
        if parts.is_empty()
            || (1..parts.len()).any(|i| parts[..i].iter().any(|p| p.0 == parts[i].0))
        {
            return Err(Fault::Damaged("a scan has no component, or one twice"));
        }
        if !self.progressive {
            return Ok(Scan { parts, band: [0, 63], high: 0, low: 0 });
        }
        let (first, last) = (usize::from(first), usize::from(last));
        let (high, low) = (bits >> 4, bits & 15);
        let dc = first == 0 && last == 0;
        let ac = first > 0 && first <= last && last < 64 && parts.len() == 1;
        if !(dc || ac) || low > 13 || (high != 0 && high != low + 1) {
            return Err(Fault::Damaged("a scan is of coefficients that are not there"));
        }
        Ok(Scan { parts, band: [first, last], high, low })
    }

    /// Takes the tables that hold now, notes what the scan tells, and counts the blocks it visits.
    fn latch(&mut self, scan: &Scan, tables: &[Option<[u16; 64]>; 4]) -> Result<u64, Fault> {
        let mut visits = 0;
        for (place, ..) in &scan.parts {
            let component = &mut self.components[*place];
            if component.quantization.is_none() {
                component.quantization = tables.get(component.table).copied().flatten();
            }
            if component.quantization.is_none() {
                return Err(Fault::Damaged("a quantization table is missing"));
            }
            component.missing[scan.band[0]..=scan.band[1]].fill(scan.low);
            visits += component.blocks.len() as u64;
        }
        Ok(visits)
    }

    /// Reads a scan's coefficients; the bytes that it takes, which may be a few less than there are up
    /// to the next marker.
    fn read_scan(
        &mut self,
        scan: &Scan,
        tables: &[[Option<Table>; 4]; 2],
        restart: usize,
        bytes: &[u8],
    ) -> Result<usize, Fault> {
        let table = |class: usize, place: usize, used: bool| match tables[class].get(place) {
            Some(Some(table)) => Ok(Some(table)),
            _ if used => Err(Fault::Damaged("a Huffman table is missing")),
            _ => Ok(None),
        };
        let (has_dc, has_ac) = (scan.band[0] == 0 && scan.high == 0, scan.band[1] > 0);
        let mut coders = Vec::with_capacity(scan.parts.len());
        for (_, dc, ac) in &scan.parts {
            coders.push((table(0, *dc, has_dc)?, table(1, *ac, has_ac)?));
        }
        let first = &self.components[scan.parts[0].0];
        // A lone component leaves out the blocks that only fill up the last units.
        let [across, down] = match coders.len() {
            1 => first.own_grid(),
            _ => [0, 1].map(|axis| first.grid[axis] / first.sampling[axis]),
        };
        let mut bits = Bits::new(bytes);
        let mut state = State::default();
        let mut expected = 0;
        for unit in 0..across * down {
            if restart > 0 && unit > 0 && unit % restart == 0 {
                if !bits.restart(expected)? {
                    break;
                }
                expected = (expected + 1) % 8;
                state = State::default();
            }
            if bits.is_short() {
                continue;
            }
            let place = (unit % across, unit / across);
            self.read_unit(scan, place, &coders, &mut state, &mut bits)?;
        }
        Ok(bits.taken())
    }

    /// Reads the scan's blocks at one place: those that the samplings want, or a lone component's next one.
    fn read_unit(
        &mut self,
        scan: &Scan,
        (x, y): (usize, usize),
        coders: &[Coder<'_>],
        state: &mut State,
        bits: &mut Bits<'_>,
    ) -> Result<(), Fault> {
        for (part, ((place, ..), coder)) in scan.parts.iter().zip(coders).enumerate() {
            let component = &mut self.components[*place];
            let [h, v] = if coders.len() == 1 { [1, 1] } else { component.sampling };
            for block in 0..h * v {
                let at = (y * v + block / h) * component.grid[0] + x * h + block % h;
                state.block(&mut component.blocks[at], part, scan, *coder, bits)?;
            }
        }
        Ok(())
    }

    /// The picture, as far as the scans told it.
    fn pixels(&mut self, marks: &Marks) -> Result<Vec<u8>, Fault> {
        if self.components.iter().any(|c| c.missing[0] == UNKNOWN) {
            return Err(Fault::Damaged("a component has no scan"));
        }
        let to_rgb = self.colours(marks);
        Ok(samples::pixels(self, to_rgb))
    }

    /// How libjpeg finds what the components are.
    fn colours(&self, marks: &Marks) -> samples::ToRgb {
        let ids: Vec<u8> = self.components.iter().map(|c| c.id).collect();
        match (ids.as_slice(), marks.adobe) {
            ([_], _) => samples::grey,
            ([_, _, _], _) if marks.jfif => samples::ycc,
            ([_, _, _], Some(0)) | ([b'R', b'G', b'B'], None) => samples::rgb,
            ([_, _, _], _) => samples::ycc,
            (_, None | Some(0)) => samples::cmyk,
            _ => samples::ycck,
        }
    }
}

impl Component {
    /// Blocks across and down that hold samples of the picture.
    fn own_grid(&self) -> [usize; 2] {
        self.size.map(|samples| samples.div_ceil(8))
    }
}

/// A component's tables for DC and AC, where the scan needs them.
type Coder<'a> = (Option<&'a Table>, Option<&'a Table>);

/// What one block leaves for the next.
#[derive(Default)]
struct State {
    /// The last DC value of each of the scan's components.
    dc: [i32; 4],
    /// Blocks that end before their first coefficient of the band.
    run: u32,
}

impl State {
    fn block(
        &mut self,
        block: &mut Block,
        part: usize,
        scan: &Scan,
        (dc, ac): Coder<'_>,
        bits: &mut Bits<'_>,
    ) -> Result<(), Fault> {
        let [first, last] = scan.band;
        if first == 0 {
            match dc {
                Some(dc) if scan.high == 0 => {
                    let length = dc.read(bits)?;
                    self.dc[part] = self.dc[part].wrapping_add(bits.signed(length)?);
                    block[0] = (self.dc[part] << scan.low) as i16;
                }
                _ => block[0] |= (bits.take(1)? << scan.low) as i16,
            }
        }
        match ac {
            Some(ac) if last > 0 && scan.high == 0 => {
                self.first_bits(&mut block[first.max(1)..=last], ac, scan.low, bits)
            }
            Some(ac) if last > 0 => self.next_bit(&mut block[first..=last], ac, scan.low, bits),
            _ => Ok(()),
        }
    }

    /// T.81, figures F.13 and G.3.
    fn first_bits(
        &mut self,
        band: &mut [i16],
        ac: &Table,
        low: u8,
        bits: &mut Bits<'_>,
    ) -> Result<(), Fault> {
        if self.run > 0 {
            self.run -= 1;
            return Ok(());
        }
        let mut k = 0;
        while k < band.len() {
            let code = ac.read(bits)?;
            let (zeros, length) = (code >> 4, code & 15);
            match (zeros, length) {
                (15, 0) => k += 16,
                (_, 0) => {
                    self.run = (1 << zeros) - 1 + bits.take(zeros)?;
                    break;
                }
                _ => {
                    k += usize::from(zeros);
                    *band.get_mut(k).ok_or(NO_CODE)? = (bits.signed(length)? << low) as i16;
                    k += 1;
                }
            }
        }
        Ok(())
    }

    /// T.81, figure G.7: a bit for each coefficient that is not zero, and new ones among the others.
    fn next_bit(
        &mut self,
        band: &mut [i16],
        ac: &Table,
        low: u8,
        bits: &mut Bits<'_>,
    ) -> Result<(), Fault> {
        let bit = 1_i16 << low;
        let mut k = 0;
        while self.run == 0 && k < band.len() {
            let code = ac.read(bits)?;
            let (mut zeros, length) = (code >> 4, code & 15);
            let new = match (zeros, length) {
                (15, 0) => 0,
                (_, 0) => {
                    self.run = (1 << zeros) + bits.take(zeros)?;
                    break;
                }
                (_, 1) if bits.take(1)? == 1 => bit,
                (_, 1) => -bit,
                _ => return Err(NO_CODE),
            };
            loop {
                let coefficient = band.get_mut(k).ok_or(NO_CODE)?;
                k += 1;
                if *coefficient != 0 {
                    refine(coefficient, bit, bits)?;
                } else if zeros == 0 {
                    *coefficient = new;
                    break;
                } else {
                    zeros -= 1;
                }
            }
        }
        if self.run > 0 {
            for coefficient in band[k..].iter_mut().filter(|c| **c != 0) {
                refine(coefficient, bit, bits)?;
            }
            self.run -= 1;
        }
        Ok(())
    }
}

fn refine(coefficient: &mut i16, bit: i16, bits: &mut Bits<'_>) -> Result<(), Fault> {
    if bits.take(1)? == 1 && *coefficient & bit == 0 {
        *coefficient = coefficient.wrapping_add(bit * coefficient.signum());
    }
    Ok(())
}
