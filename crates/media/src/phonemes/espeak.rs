//! Texts in any language to the International Phonetic Alphabet, by the program `espeak-ng` where it is on the path.
//!
//! It is never linked: it runs as a child that is given a text by a pipe. It says nothing of punctuation, so that it is
//! given what stands between marks, and the marks stay where they were.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::child::{ended, head, on_path};
use crate::error::{Error, Result};

/// How long it may take: its work is a matter of milliseconds.
const CLOCK: Duration = Duration::from_secs(20);

/// Bytes that are read of what it says.
const SAID: u64 = 1 << 20;

/// Marks that are kept, as `phonemizer` keeps them.
const MARKS: &str = ";:,.!?\u{a1}\u{bf}\u{2014}\u{2026}\"\u{ab}\u{bb}\u{201c}\u{201d}()";

/// The program, with one of its voices.
#[derive(Clone, Debug)]
pub struct Espeak {
    program: PathBuf,
    voice: String,
}

impl Espeak {
    /// The program on the path, with a voice such as `en-us`.
    ///
    /// # Errors
    /// It is not there.
    pub fn open(voice: &str) -> Result<Self> {
        let program = on_path("espeak-ng").ok_or(Error::NoEspeak)?;
        Ok(Self { program, voice: voice.to_owned() })
    }

    /// Another program that is asked as `espeak-ng` is.
    pub fn at(program: &Path, voice: &str) -> Self {
        Self { program: program.to_owned(), voice: voice.to_owned() }
    }

    /// A text in phonemes, with those of its marks that are `known`.
    ///
    /// # Errors
    /// The program fails, or takes too long.
    pub fn phonemes(&self, text: &str, known: impl Fn(char) -> bool) -> Result<String> {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut written = String::new();
        for part in parts(&text) {
            if part.contains(char::is_alphanumeric) {
                let [before, after] = [str::trim_start, str::trim_end].map(|trim| trim(part));
                written.push_str(&part[..part.len() - before.len()]);
                written.push_str(&self.say(part)?);
                written.push_str(&part[after.len()..]);
            } else {
                written.extend(part.chars().filter(|&c| c == ' ' || known(c)));
            }
        }
        Ok(written.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// What the program makes of some words, in one line.
    fn say(&self, words: &str) -> Result<String> {
        let said = self.asked(words).map_err(|reason| {
            let text = format!("{:?}", words.chars().take(40).collect::<String>());
            Error::Espeak { text, reason }
        })?;
        Ok(without_switches(&said).split_whitespace().collect::<Vec<_>>().join(" "))
    }

    fn asked(&self, words: &str) -> std::result::Result<String, String> {
        let mut child = Command::new(&self.program)
            .args(["-q", "--ipa", "-b", "1", "--stdin", "-v", &self.voice])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let words = words.to_owned();
        let (input, said, wrong) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        // It may end before it has read all.
        thread::spawn(move || input.map(|mut input| input.write_all(words.as_bytes())));
        let said = thread::spawn(move || said.map(|said| head(said, SAID)).unwrap_or_default());
        let wrong = thread::spawn(move || wrong.map(|said| head(said, SAID)).unwrap_or_default());
        let Some(status) = ended(&mut child, CLOCK) else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("more than {} s", CLOCK.as_secs()));
        };
        let [said, wrong] = [said, wrong].map(|said| said.join().unwrap_or_default());
        match status.success() {
            true => Ok(said),
            false => Err(wrong.trim().lines().last().unwrap_or("nothing").to_owned()),
        }
    }
}

/// Runs of marks, and what stands between them.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut was) = (Vec::new(), 0, None);
    for (at, c) in text.char_indices() {
        // A sign within a number or a word is no mark.
        let within = |c: char| c.is_alphanumeric();
        let next = text[at + c.len_utf8()..].chars().next();
        let inner = was.is_some_and(|(c, _)| within(c)) && next.is_some_and(within);
        let is_mark = MARKS.contains(c) && !inner;
        if was.is_some_and(|(_, was)| was != is_mark) {
            parts.push(&text[begin..at]);
            begin = at;
        }
        was = Some((c, is_mark));
    }
    parts.push(&text[begin..]);
    parts
}

/// Without the names of languages in which it says a word, as `(en)`.
fn without_switches(said: &str) -> String {
    let mut kept = String::new();
    for (i, part) in said.split('(').enumerate() {
        kept.push_str(if i == 0 {
            part
        } else {
            part.split_once(')').map_or("", |(_, rest)| rest)
        });
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_between_words_and_not_in_numbers() {
        assert_eq!(
            parts("Hello, world! It's 3.5."),
            ["Hello", ",", " world", "!", " It's 3.5", "."]
        );
        assert_eq!(parts("(a) \u{201c}b\u{201d}")[..3], ["(", "a", ")"]);
        assert_eq!(parts(""), [""]);
        assert_eq!(without_switches("a(en)b(fr)c"), "abc");
    }

    #[test]
    fn a_program_that_is_not_there_is_told() {
        let espeak = Espeak::at(Path::new("/nonexistent/espeak-ng"), "en-us");
        let error = espeak.phonemes("hello", |_| true).expect_err("it is not there").to_string();
        assert!(error.contains("hello") && error.contains("hint: "), "{error}");
        // What has no words needs no program.
        assert_eq!(espeak.phonemes("... !", |c| c == '!').expect("no words"), "!");
    }

    /// By a program that says what it is asked.
    #[cfg(unix)]
    #[test]
    fn phonemes_stand_between_the_marks_of_the_text() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let program = dir.path().join("espeak");
        std::fs::write(&program, "#!/bin/sh\ntr a-z A-Z | sed 's/^/(en)/'\n").expect("a file");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&program, mode).expect("a mode");
        let said = Espeak::at(&program, "en-us")
            .phonemes(" one,  two - three? \u{ab}x\u{bb}", |c| c != '\u{ab}');
        assert_eq!(said.expect("it runs"), "ONE, TWO - THREE? X\u{bb}");
    }
}
