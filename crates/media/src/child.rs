//! Other programs that do what is not done here: where they are, how long they may take, what they say.

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// A program of this name, if there is one on the path.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(&path).map(|dir| dir.join(&name)).find(|file| file.is_file())
}

/// How it ended, if it does in time.
pub(crate) fn ended(child: &mut Child, clock: Duration) -> Option<ExitStatus> {
    let begin = Instant::now();
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if begin.elapsed() > clock {
            return None;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// The first bytes of all that comes, at most so many.
pub(crate) fn head(mut from: impl Read, most: u64) -> String {
    let mut bytes = Vec::new();
    // What came before an error counts.
    let _ = from.by_ref().take(most).read_to_end(&mut bytes);
    let _ = io::copy(&mut from, &mut io::sink());
    String::from_utf8_lossy(&bytes).into_owned()
}
