//! Files below one folder, by paths that strangers send.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fetch::FetchError;

/// A folder whose files may be read.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    opened: File,
}

impl Folder {
    /// # Errors
    /// It is not there.
    pub fn open(path: &Path) -> Result<Self> {
        let path = path.canonicalize().map_err(Error::io("open", path))?;
        let opened = File::open(&path).map_err(Error::io("open", &path))?;
        if !path.is_dir() {
            let source = std::io::ErrorKind::NotADirectory.into();
            return Err(Error::io("open the folder", &path)(source));
        }
        Ok(Self { path, opened })
    }

    /// The file at `path`, which is absolute and in percent-encoding, as in a URL.
    ///
    /// # Errors
    /// It does not lie below the folder, or is reached by a link, or is no plain file: all say the same, so that
    /// nothing is told of what lies elsewhere.
    pub fn read(&self, path: &str, limit: u64) -> std::result::Result<Vec<u8>, FetchError> {
        let path = decoded(path).ok_or(FetchError::Refused)?;
        let below = Path::new(&path).strip_prefix(&self.path).map_err(|_| FetchError::Refused)?;
        let file = beneath(&self.opened, below).ok_or(FetchError::Refused)?;
        let about = file.metadata().map_err(|_| FetchError::Refused)?;
        if !about.is_file() {
            return Err(FetchError::Refused);
        }
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).map_err(|_| FetchError::Failed)?;
        match bytes.len() as u64 > limit {
            true => Err(FetchError::TooLarge { limit }),
            false => Ok(bytes),
        }
    }
}

/// Opened by the kernel without a step out of the folder or along a link, whatever happens to it meanwhile.
#[cfg(target_os = "linux")]
fn beneath(folder: &File, path: &Path) -> Option<File> {
    use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
    // A pipe would be waited for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let stay = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(folder, path, flags, Mode::empty(), stay).ok().map(File::from)
}

/// Elsewhere no kernel promises that.
#[cfg(not(target_os = "linux"))]
fn beneath(_: &File, _: &Path) -> Option<File> {
    None
}

/// `%41` as `A`.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok().filter(|path| !path.contains('\0'))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_outside_is_read() {
        let whole = tempfile::tempdir().unwrap();
        let root = whole.path().canonicalize().unwrap();
        let inside = root.join("media");
        std::fs::create_dir_all(inside.join("a b")).unwrap();
        std::fs::write(root.join("secret"), "no").unwrap();
        std::fs::write(inside.join("a b/cat.png"), "cat").unwrap();
        symlink(root.join("secret"), inside.join("link")).unwrap();
        symlink(&root, inside.join("up")).unwrap();
        symlink("a b", inside.join("ab")).unwrap();
        let pipe = inside.join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        let folder = Folder::open(&inside).unwrap();
        let at = inside.display();
        assert_eq!(folder.read(&format!("{at}/a%20b/cat.png"), 3).unwrap(), b"cat");
        assert_eq!(
            folder.read(&format!("{at}/a b/cat.png"), 2),
            Err(FetchError::TooLarge { limit: 2 })
        );
        for path in [
            format!("{at}/link"),
            format!("{at}/up/secret"),
            format!("{at}/ab/cat.png"),
            format!("{at}/pipe"),
            format!("{at}"),
            format!("{at}/../secret"),
            format!("{at}/%2e%2e/secret"),
            format!("{at}/a b/../../secret"),
            format!("{at}/none"),
            format!("{at}/a b"),
            format!("{at}%00/x"),
            format!("{at}x/cat.png"),
            format!("{at}/%zz"),
            format!("{at}/%"),
            format!("{}/secret", root.display()),
            "/etc/passwd".into(),
            "/proc/self/environ".into(),
            "/dev/zero".into(),
            "etc/passwd".into(),
            "localhost/etc/passwd".into(),
            "//etc/passwd".into(),
            String::new(),
            "/".into(),
            "..".into(),
        ] {
            assert_eq!(folder.read(&path, 9), Err(FetchError::Refused), "{path}");
        }
        assert!(
            Folder::open(&root.join("secret")).is_err()
                && Folder::open(&root.join("none")).is_err()
        );
    }
}
