//! The vector of a voice, from a file.

use std::path::Path;

use anyhow::{Context, Result, anyhow};

/// The longest file: a vector has some hundreds of numbers.
const LONGEST: usize = 1 << 20;

/// Before numpy's arrays; then two bytes of a version and two of the header's length.
const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";

/// The numbers of an `.npy` file of one row of float32, or of a list in JSON.
///
/// # Errors
/// The file cannot be read, or is neither.
pub fn read(path: &Path) -> Result<Vec<f32>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let numbers = match bytes.strip_prefix(MAGIC) {
        _ if bytes.len() > LONGEST => None,
        Some(rest) => array(rest),
        None => serde_json::from_slice(&bytes).ok(),
    };
    numbers.ok_or_else(|| {
        anyhow!(
            "{}: expected the numbers of a voice, one row of float32 in .npy or a list in .json, got something else\nhint: in Python: numpy.save(FILE, vector.astype(\"float32\").reshape(-1))",
            path.display()
        )
    })
}

/// What follows the version: the header's length, the header, the numbers.
fn array(bytes: &[u8]) -> Option<Vec<f32>> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (header, numbers) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    let header = std::str::from_utf8(header).ok()?;
    let shape = header.split_once("'shape': (")?.1.split_once(')')?.0;
    let rows = shape.split(',').filter_map(|n| n.trim().parse::<usize>().ok());
    let is_row = rows.clone().filter(|&n| n != 1).count() <= 1;
    let whole = rows.product::<usize>() * 4 == numbers.len();
    if !header.contains("'descr': '<f4'") || !is_row || !whole {
        return None;
    }
    Some(numbers.chunks_exact(4).map(|x| f32::from_le_bytes([x[0], x[1], x[2], x[3]])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Result<Vec<f32>> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("voice");
        std::fs::write(&path, bytes).expect("a file");
        read(&path)
    }

    fn npy(header: &str, numbers: &[f32]) -> Vec<u8> {
        let length = (header.len() as u16).to_le_bytes();
        let numbers = numbers.iter().flat_map(|x| x.to_le_bytes());
        MAGIC.iter().copied().chain(length).chain(header.bytes()).chain(numbers).collect()
    }

    #[test]
    fn rows_of_numbers_are_read_and_all_else_is_told() {
        let row = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }\n";
        assert_eq!(of(&npy(row, &[1.0, -2.0, 0.5])).expect("a row"), [1.0, -2.0, 0.5]);
        assert_eq!(of(b"[1, 2.5]").expect("a list"), [1.0, 2.5]);
        for bad in [
            b"{}".to_vec(),
            npy(row, &[1.0]),
            npy(&row.replace("f4", "f8"), &[1.0, 2.0, 3.0]),
            npy(&row.replace("(1, 3)", "(2, 2)"), &[1.0, 2.0, 3.0, 4.0]),
            MAGIC.to_vec(),
        ] {
            let error = of(&bad).expect_err("no row").to_string();
            assert!(error.contains("hint: "), "{error}");
        }
    }
}
