//! Bits of a scan, and the codes that they spell.

use crate::header::Fault;

/// A scan's bytes as bits, without the zeros stuffed behind each 0xFF.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The next bits, from the top.
    buffer: u64,
    count: u32,
    /// A marker came too early: what is left up to the next restart is not there.
    short: bool,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, buffer: 0, count: 0, short: false }
    }

    pub(super) fn is_short(&self) -> bool {
        self.short
    }

    /// Bytes read so far; it never passes a marker.
    pub(super) fn taken(&self) -> usize {
        self.at
    }

    /// The marker that stands here, if one does.
    fn marker(&mut self) -> Option<u8> {
        while let [0xFF, 0xFF, ..] = self.bytes[self.at..] {
            self.at += 1;
        }
        match self.bytes[self.at..] {
            [0xFF, marker, ..] if marker != 0 => Some(marker),
            _ => None,
        }
    }

    /// Goes behind the restart marker of this number; `false` if the picture ends instead.
    ///
    /// # Errors
    /// [`Fault`] if another marker stands there, or none.
    pub(super) fn restart(&mut self, number: u8) -> Result<bool, Fault> {
        (self.buffer, self.count) = (0, 0);
        // Left-over bytes are passed.
        while self.marker().is_none() {
            self.at += 1;
            if self.at >= self.bytes.len() {
                return Err(Fault::Truncated);
            }
        }
        match self.marker() {
            Some(0xD9) => return Ok(false),
            Some(marker) if marker == 0xD0 + number => {}
            _ => return Err(Fault::Damaged("a restart marker is missing")),
        }
        self.at += 2;
        self.short = false;
        Ok(true)
    }

    fn refill(&mut self) {
        let ahead = self.bytes.get(self.at..self.at + 8);
        if let Some(ahead) = ahead.filter(|ahead| !ahead.contains(&0xFF)) {
            let ahead = ahead.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
            let bytes = (64 - self.count) / 8;
            self.buffer |= ahead >> (64 - 8 * bytes) << (64 - 8 * bytes) >> self.count;
            self.count += 8 * bytes;
            self.at += bytes as usize;
            return;
        }
        while self.count <= 56 {
            let byte = match self.bytes.get(self.at) {
                Some(0xFF) if self.bytes.get(self.at + 1) == Some(&0) => {
                    self.at += 1;
                    0xFF
                }
                None | Some(0xFF) => return,
                Some(byte) => *byte,
            };
            self.at += 1;
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// The next 16 bits, zeros behind the end.
    #[inline]
    fn peek(&mut self) -> usize {
        if self.count < 16 {
            self.refill();
        }
        (self.buffer >> 48) as usize
    }

    /// As libjpeg does, goes on with zeros where the file itself says that the picture ends here, or a
    /// restart repairs it.
    ///
    /// # Errors
    /// [`Fault::Truncated`] where the file just ends, or something else begins.
    fn skip(&mut self, n: u32) -> Result<(), Fault> {
        if n > self.count && !self.short {
            self.short = matches!(self.marker(), Some(0xD0..=0xD7 | 0xD9));
            if !self.short {
                return Err(Fault::Truncated);
            }
        }
        self.count = self.count.saturating_sub(n);
        self.buffer <<= n;
        Ok(())
    }

    /// `n` bits, at most 16.
    #[inline]
    pub(super) fn take(&mut self, n: u8) -> Result<u32, Fault> {
        let bits = (self.peek() >> (16 - n)) as u32;
        self.skip(n.into())?;
        Ok(bits)
    }

    /// A number of `n` bits whose lower half stands for the negative ones (T.81, figure F.12).
    pub(super) fn signed(&mut self, n: u8) -> Result<i32, Fault> {
        if n > 15 {
            return Err(NO_CODE);
        }
        let bits = self.take(n)? as i32;
        Ok(if bits < 1 << n >> 1 { bits + 1 - (1 << n) } else { bits })
    }
}

/// What the bits spell is in no table, or goes beyond its block.
pub(super) const NO_CODE: Fault = Fault::Damaged("its bits spell no picture");

const FAST: usize = 9;

/// Codes of up to 16 bits and the bytes that they stand for.
pub(super) struct Table {
    /// Length and value behind each start of `FAST` bits; length 0 for longer codes.
    fast: [(u8, u8); 1 << FAST],
    /// For each length, the first 16 bits that are of a longer code, and the place of its first code's
    /// value less that code.
    limits: [usize; 17],
    offsets: [isize; 17],
    values: Vec<u8>,
}

impl Table {
    /// Codes in order, so many of each length.
    pub(super) fn new(counts: &[u8; 16], values: &[u8]) -> Result<Self, Fault> {
        let (mut code, mut place) = (0_usize, 0_usize);
        let mut table = Self {
            fast: [(0, 0); 1 << FAST],
            limits: [0; 17],
            offsets: [0; 17],
            values: values.into(),
        };
        for length in 1..=16 {
            let count = usize::from(counts[length - 1]);
            table.offsets[length] = place as isize - code as isize;
            if code + count > 1 << length {
                return Err(Fault::Damaged("a Huffman table has more codes than there can be"));
            }
            for value in &values[place..place + count] {
                if length <= FAST {
                    let reach = 1 << (FAST - length);
                    table.fast[code * reach..][..reach].fill((length as u8, *value));
                }
                code += 1;
            }
            place += count;
            table.limits[length] = code << (16 - length);
            code <<= 1;
        }
        Ok(table)
    }

    #[inline]
    pub(super) fn read(&self, bits: &mut Bits<'_>) -> Result<u8, Fault> {
        let next = bits.peek();
        let (length, value) = self.fast[next >> (16 - FAST)];
        if length > 0 {
            bits.skip(length.into())?;
            return Ok(value);
        }
        // Codes that are not there may be bits that are not there.
        let length = (FAST + 1..=16).find(|length| next < self.limits[*length]).unwrap_or(16);
        bits.skip(length as u32)?;
        let place = self.offsets[length] + (next >> (16 - length)) as isize;
        usize::try_from(place).ok().and_then(|at| self.values.get(at)).copied().ok_or(NO_CODE)
    }

    /// Those for brightness and colour of T.81, annex K: a film's frames leave them out.
    pub(super) fn standard_dc() -> [Option<Self>; 4] {
        let values: Vec<u8> = (0..12).collect();
        [
            Self::new(&[0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], &values).ok(),
            Self::new(&[0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0], &values).ok(),
            None,
            None,
        ]
    }

    pub(super) fn standard_ac() -> [Option<Self>; 4] {
        [
            Self::new(&[0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125], &BRIGHTNESS_AC).ok(),
            Self::new(&[0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 119], &COLOUR_AC).ok(),
            None,
            None,
        ]
    }
}

#[rustfmt::skip]
const BRIGHTNESS_AC: [u8; 162] = [
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07, 0x22, 0x71,
    0x14, 0x32, 0x81, 0x91, 0xA1, 0x08, 0x23, 0x42, 0xB1, 0xC1, 0x15, 0x52, 0xD1, 0xF0, 0x24, 0x33, 0x62, 0x72,
    0x82, 0x09, 0x0A, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2A, 0x34, 0x35, 0x36, 0x37,
    0x38, 0x39, 0x3A, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59,
    0x5A, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A, 0x83,
    0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0xA2, 0xA3,
    0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xB9, 0xBA, 0xC2, 0xC3,
    0xC4, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA, 0xE1, 0xE2,
    0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA,
];

#[rustfmt::skip]
const COLOUR_AC: [u8; 162] = [
    0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71, 0x13, 0x22,
    0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xA1, 0xB1, 0xC1, 0x09, 0x23, 0x33, 0x52, 0xF0, 0x15, 0x62, 0x72, 0xD1,
    0x0A, 0x16, 0x24, 0x34, 0xE1, 0x25, 0xF1, 0x17, 0x18, 0x19, 0x1A, 0x26, 0x27, 0x28, 0x29, 0x2A, 0x35, 0x36,
    0x37, 0x38, 0x39, 0x3A, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58,
    0x59, 0x5A, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A,
    0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A,
    0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xB9, 0xBA,
    0xC2, 0xC3, 0xC4, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA,
    0xE2, 0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA,
];
