//! TensorBoard event files, written by hand: a few protobuf fields in TFRecord frames.
//!
//! ```text
//! frame: length u64 │ masked CRC of length │ event │ masked CRC of event     little endian
//! event: 1 wall_time double │ 2 step int64 │ 3 file_version │ 5 summary │ 7 session_log
//! summary: repeated 1 value { 1 tag, 2 simple_value float }
//! ```
//!
//! Formats: `event.proto` and `summary.proto` of tensorflow/tensorboard, and
//! <https://www.tensorflow.org/tutorials/load_data/tfrecord>.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::error::{Result, TrainError};

/// `SessionLog.status = START`: tells TensorBoard to forget this step and later ones of older files.
const SESSION_START: &[u8] = &[0x08, 1];

/// An event file that grows by one event per step.
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    file: File,
}

impl Events {
    /// Makes a new event file in `dir`. `wall_time` is in seconds since 1970. `restart` is the step
    /// a resumed run starts again from.
    pub fn create(dir: &Path, wall_time: f64, restart: Option<u64>) -> Result<Self> {
        let (path, file) = new_file(dir, wall_time)?;
        let mut events = Self { path, file };
        events.event(wall_time, 0, 3, b"brain.Event:2")?;
        if let Some(step) = restart {
            events.event(wall_time, step, 7, SESSION_START)?;
        }
        Ok(events)
    }

    /// Writes the named scalars of one step.
    pub fn scalars<'a>(
        &mut self,
        wall_time: f64,
        step: u64,
        scalars: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in scalars {
            let mut entry = Vec::new();
            bytes_field(&mut entry, 1, tag.as_bytes());
            entry.push(2 << 3 | 5);
            entry.extend((value as f32).to_le_bytes());
            bytes_field(&mut summary, 1, &entry);
        }
        self.event(wall_time, step, 5, &summary)
    }

    /// Writes one event whose content is the length-delimited field `field`, in a single write, so
    /// that a crash tears at most the last frame; readers stop there.
    fn event(&mut self, wall_time: f64, step: u64, field: u8, content: &[u8]) -> Result<()> {
        let mut event = vec![1 << 3 | 1];
        event.extend(wall_time.to_le_bytes());
        event.push(2 << 3);
        varint(&mut event, step);
        bytes_field(&mut event, field, content);
        self.file.write_all(&frame(&event)).map_err(TrainError::io("append to", &self.path))
    }
}

/// TensorBoard reads the files of a directory in the order of their names; two starts within the
/// same second must not share a file.
fn new_file(dir: &Path, wall_time: f64) -> Result<(PathBuf, File)> {
    let mut count = 0u64;
    loop {
        let name = format!("events.out.tfevents.{:010}.{count:04}.sensorium", wall_time as u64);
        let path = dir.join(name);
        match OpenOptions::new().append(true).create_new(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => count += 1,
            other => {
                return other
                    .map(|file| (path.clone(), file))
                    .map_err(TrainError::io("create", &path));
            }
        }
    }
}

/// A TFRecord frame around `payload`.
fn frame(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_le_bytes();
    let mut frame = Vec::with_capacity(payload.len() + 16);
    frame.extend(length);
    frame.extend(masked_crc(&length).to_le_bytes());
    frame.extend(payload);
    frame.extend(masked_crc(payload).to_le_bytes());
    frame
}

/// CRC-32C, turned and shifted because a CRC over data that holds its own CRC is weak.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A length-delimited protobuf field (wire type 2) with a number below 16.
fn bytes_field(out: &mut Vec<u8>, field: u8, content: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, content.len() as u64);
    out.extend(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A decoded protobuf field.
    #[derive(Debug, PartialEq)]
    enum Field {
        Varint(u64),
        Double(f64),
        Float(f32),
        Bytes(Vec<u8>),
    }

    fn take_varint(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }

    fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
        let (head, tail) = bytes.split_at(count);
        *bytes = tail;
        head
    }

    fn decode(mut bytes: &[u8]) -> Vec<(u64, Field)> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = take_varint(&mut bytes);
            let field = match key & 7 {
                0 => Field::Varint(take_varint(&mut bytes)),
                1 => Field::Double(f64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
                5 => Field::Float(f32::from_le_bytes(take(&mut bytes, 4).try_into().unwrap())),
                2 => {
                    let length = take_varint(&mut bytes) as usize;
                    Field::Bytes(take(&mut bytes, length).to_vec())
                }
                other => panic!("wire type {other}"),
            };
            fields.push((key >> 3, field));
        }
        fields
    }

    /// Splits a file into events and checks both checksums of each with a bit-by-bit CRC.
    fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut events = Vec::new();
        while !bytes.is_empty() {
            let length = take(&mut bytes, 8);
            assert_eq!(take(&mut bytes, 4), slow_masked_crc(length).to_le_bytes());
            let payload = take(&mut bytes, u64::from_le_bytes(length.try_into().unwrap()) as usize);
            assert_eq!(take(&mut bytes, 4), slow_masked_crc(payload).to_le_bytes());
            events.push(payload.to_vec());
        }
        events
    }

    fn slow_masked_crc(bytes: &[u8]) -> u32 {
        let mut crc = !0u32;
        for byte in bytes {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            }
        }
        let crc = !crc;
        crc.rotate_right(15).wrapping_add(0xa282_ead8)
    }

    /// Vectors of RFC 3720, appendix B.4.
    #[test]
    fn crc_agrees_with_the_published_vectors() {
        let rising: Vec<u8> = (0..32).collect();
        let falling: Vec<u8> = (0..32).rev().collect();
        let vectors: [(&[u8], u32); 5] = [
            (&[0; 32], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&rising, 0x46dd_794e),
            (&falling, 0x113f_db5c),
            (b"123456789", 0xe306_9283),
        ];
        for (bytes, crc) in vectors {
            assert_eq!(crc32c::crc32c(bytes), crc);
            assert_eq!(masked_crc(bytes), slow_masked_crc(bytes));
        }
    }

    #[test]
    fn a_file_parses_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = Events::create(dir.path(), 1.7e9 + 0.5, Some(300)).unwrap();
        events.scalars(1.7e9 + 1.0, 300, [("loss", 0.25), ("accuracy", f64::NAN)]).unwrap();
        let events = frames(&std::fs::read(&events.path).unwrap());
        let text = |text: &str| Field::Bytes(text.as_bytes().to_vec());

        assert_eq!(
            decode(&events[0]),
            [(1, Field::Double(1.7e9 + 0.5)), (2, Field::Varint(0)), (3, text("brain.Event:2"))]
        );
        assert_eq!(
            decode(&events[1])[1..],
            [(2, Field::Varint(300)), (7, Field::Bytes(vec![8, 1]))]
        );

        let last = decode(&events[2]);
        assert_eq!(last[..2], [(1, Field::Double(1.7e9 + 1.0)), (2, Field::Varint(300))]);
        let (5, Field::Bytes(summary)) = &last[2] else { panic!("{last:?}") };
        let values: Vec<_> = decode(summary)
            .into_iter()
            .map(|(field, value)| match (field, value) {
                (1, Field::Bytes(value)) => decode(&value),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(values[0], [(1, text("loss")), (2, Field::Float(0.25))]);
        assert_eq!(values[1][0], (1, text("accuracy")));
        assert!(matches!(values[1][1], (2, Field::Float(value)) if value.is_nan()));
        assert_eq!((events.len(), values.len()), (3, 2));
    }

    #[test]
    fn two_files_of_one_second_are_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<_> =
            (0..3).map(|_| Events::create(dir.path(), 5.0, None).unwrap().path).collect();
        assert!(names.is_sorted() && names[0] != names[1]);
    }

    #[test]
    fn varints_of_every_length_come_back() {
        for value in (0..64).map(|bit| (1u64 << bit) - 1).chain([u64::MAX]) {
            let mut out = Vec::new();
            varint(&mut out, value);
            assert_eq!(take_varint(&mut out.as_slice()), value);
        }
    }
}
