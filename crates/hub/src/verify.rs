//! Whether a file is what its tag says: the tag of a large file is its SHA-256, that of a small one
//! git's SHA-1 of it. Mirrors may have tags of their own, which say nothing.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// What `tag` should have been, if the file is something else.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn differs(path: &Path, tag: &str) -> io::Result<Option<String>> {
    let length = fs::metadata(path)?.len();
    let found = match tag.len() {
        64 if is_hex(tag) => hash(path, Sha256::new())?,
        40 if is_hex(tag) => {
            let mut sha = Sha1::new();
            sha.update(format!("blob {length}\0"));
            hash(path, sha)?
        }
        _ => return Ok(None),
    };
    Ok((found != tag.to_ascii_lowercase()).then_some(found))
}

fn is_hex(tag: &str) -> bool {
    tag.chars().all(|c| c.is_ascii_hexdigit())
}

fn hash(path: &Path, mut hash: impl Digest) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hash.update(&buffer[..n]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_tags_are_checked() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x");
        fs::write(&path, "hello\n").expect("written");
        // `git hash-object` and `sha256sum` of that file.
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        let sha = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        for tag in [git, sha, "a-mirror's"] {
            assert_eq!(differs(&path, tag).expect("read"), None);
        }
        for tag in ["0".repeat(40), "0".repeat(64)] {
            assert!(differs(&path, &tag).expect("read").is_some());
        }
    }
}
