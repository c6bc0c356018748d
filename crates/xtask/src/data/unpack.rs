//! Archives → folders. An entry can land only inside its folder, and only as a plain file.

use super::catalogue::{Client, Take};
use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Component, Path, PathBuf};

/// The largest single file, SmolLM2's weights, has 94 MiB; an entry that is larger is not ours.
const MAX_FILE_BYTES: u64 = 128 << 20;

/// Between an archive's name inside another archive and what is wanted of it.
const INSIDE: &str = "!/";

/// Unpacks what `take` names beside the old folder, then puts it in the old folder's place, so
/// that an interrupted run leaves the old folder as it was.
///
/// # Errors
/// The archive does not read, an entry is unsafe or too large, or the number of files differs.
pub fn replace(archive: &Path, client: Client, take: &Take, data: &Path) -> Result<()> {
    let place = data.join(take.into);
    let fresh = place.with_extension("tmp");
    remove(&fresh)?;
    fs::create_dir_all(&fresh).with_context(|| format!("cannot make {}", fresh.display()))?;

    let file = File::open(archive).with_context(|| format!("cannot open {}", archive.display()))?;
    let files = match client {
        Client::Pip => unzip(file, take, &fresh),
        Client::Npm => untar(file, take, &fresh),
    }
    .with_context(|| format!("cannot unpack {}", archive.display()))?;
    ensure!(
        files == take.files,
        "expected {} files below {}, got {files}, in {}",
        take.files,
        take.from,
        archive.display()
    );

    remove(&place)?;
    fs::rename(&fresh, &place).with_context(|| format!("cannot make {}", place.display()))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn untar(file: impl Read, take: &Take, folder: &Path) -> Result<usize> {
    let mut files = 0;
    for entry in tar::Archive::new(GzDecoder::new(file)).entries()? {
        let entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        let Some(inside) = wanted(&name, take)? else {
            continue;
        };
        ensure!(
            entry.header().entry_type().is_file(),
            "expected a plain file, got a link or device, at `{name}`"
        );
        write(entry, &folder.join(inside))?;
        files += 1;
    }
    Ok(files)
}

fn unzip(file: impl Read + Seek, take: &Take, folder: &Path) -> Result<usize> {
    let mut archive = zip::ZipArchive::new(file)?;
    if let Some((inner, _)) = take.from.split_once(INSIDE) {
        let mut bytes = Vec::new();
        archive.by_name(inner)?.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
        return unzip_entries(zip::ZipArchive::new(io::Cursor::new(bytes))?, take, folder);
    }
    unzip_entries(archive, take, folder)
}

fn unzip_entries(
    mut archive: zip::ZipArchive<impl Read + Seek>,
    take: &Take,
    folder: &Path,
) -> Result<usize> {
    let mut files = 0;
    for index in 0..archive.len() {
        let entry = archive.by_index(index)?;
        let name = entry.name()?.into_owned();
        let Some(inside) = wanted(&name, take)? else {
            continue;
        };
        ensure!(entry.is_file(), "expected a plain file, got a link or folder, at `{name}`");
        write(entry, &folder.join(inside))?;
        files += 1;
    }
    Ok(files)
}

/// Where an entry goes inside the take's folder; `None` if it is not wanted.
fn wanted(name: &str, take: &Take) -> Result<Option<PathBuf>> {
    let from = take.from.split_once(INSIDE).map_or(take.from, |(_, from)| from);
    let Some(inside) = name.strip_prefix(from) else {
        return Ok(None);
    };
    if inside.is_empty() || inside.ends_with('/') || !inside.ends_with(take.suffix) {
        return Ok(None);
    }
    let path = Path::new(inside);
    let stays = path.components().all(|part| matches!(part, Component::Normal(_)));
    if !stays || inside.contains('\\') {
        bail!("expected a path inside the archive's folder, got `{name}`");
    }
    Ok(Some(path.to_path_buf()))
}

fn write(entry: impl Read, path: &Path) -> Result<()> {
    let shown = path.display();
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    let mut file = File::create_new(path).with_context(|| format!("cannot make {shown}"))?;
    let bytes = io::copy(&mut entry.take(MAX_FILE_BYTES + 1), &mut file)
        .with_context(|| format!("cannot write {shown}"))?;
    ensure!(
        bytes <= MAX_FILE_BYTES,
        "expected at most {MAX_FILE_BYTES} bytes, got more, for {shown}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};

    const TAKE: Take = Take { from: "package/img/", suffix: ".png", into: "icons/x", files: 1 };

    #[test]
    fn only_wanted_names_are_taken_and_none_escapes() {
        let inside = |name| wanted(name, &TAKE);
        assert_eq!(inside("package/img/a/b.png").unwrap(), Some(PathBuf::from("a/b.png")));
        assert_eq!(inside("package/LICENSE").unwrap(), None);
        assert_eq!(inside("package/img/").unwrap(), None);
        assert_eq!(inside("package/img/a.svg").unwrap(), None);
        assert!(inside("package/img/../../x.png").is_err());
        assert!(inside("package/img//etc/x.png").is_err());
        assert!(inside("package/img/..\\x.png").is_err());
        let take = Take { from: "package/model.zip!/", suffix: "", into: "x", files: 1 };
        assert_eq!(wanted("a/b.json", &take).unwrap(), Some(PathBuf::from("a/b.json")));
    }

    /// A gzipped tar with one entry of this type and name.
    fn tgz(kind: tar::EntryType, name: &str) -> Vec<u8> {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(3);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, &b"abc"[..]).unwrap();
        archive.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn a_folder_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("a.tgz");
        fs::write(&archive, tgz(tar::EntryType::Regular, "package/img/new.png")).unwrap();
        let place = folder.path().join("icons/x");
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("old.png"), "old").unwrap();

        replace(&archive, Client::Npm, &TAKE, folder.path()).unwrap();
        assert_eq!(fs::read(place.join("new.png")).unwrap(), b"abc");
        assert!(!place.join("old.png").exists());
    }

    #[test]
    fn an_archive_with_too_few_files_leaves_the_old_folder() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("a.tgz");
        fs::write(&archive, tgz(tar::EntryType::Regular, "package/other.png")).unwrap();
        let place = folder.path().join("icons/x");
        fs::create_dir_all(&place).unwrap();
        assert!(replace(&archive, Client::Npm, &TAKE, folder.path()).is_err());
        assert!(place.is_dir());
    }

    #[test]
    fn a_link_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = tgz(tar::EntryType::Symlink, "package/img/a.png");
        assert!(untar(&bytes[..], &TAKE, folder.path()).is_err());
    }

    #[test]
    fn bytes_that_are_no_archive_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(untar(&b"nonsense"[..], &TAKE, folder.path()).is_err());
        assert!(unzip(io::Cursor::new(b"nonsense"), &TAKE, folder.path()).is_err());
    }
}
