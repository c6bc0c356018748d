//! Rust text → what of it is code, for rules that look for names.
//!
//! A small scanner in place of a parser: comments, strings and characters become blanks, line
//! breaks stay, so that a position in the result is a line of the file.

use std::ops::Range;

/// The text with every comment and every literal of characters blanked.
pub fn without_prose(text: &str) -> String {
    blanked(text, |_| true)
}

/// The text with every comment blanked.
pub fn without_comments(text: &str) -> String {
    blanked(text, |first| first == b'/')
}

/// Blanks the prose that starts with a byte that is `meant`.
fn blanked(text: &str, meant: impl Fn(u8) -> bool) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = prose_end(&bytes, at);
        if meant(bytes[at]) {
            blank(&mut bytes, at..end);
        }
        at = end.max(at + 1);
    }
    into_text(bytes)
}

/// The text without its `#[cfg(test)]` items; `code` is the same text without prose.
pub fn without_tests(text: &str, code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut bytes = text.as_bytes().to_vec();
    let mut from = 0;
    while let Some(found) = code.get(from..).and_then(|rest| rest.find(MARK)) {
        let start = from + found;
        from = item_end(code.as_bytes(), start + MARK.len());
        blank(&mut bytes, start..from);
    }
    into_text(bytes)
}

/// The lines, counted from 1, where `name` stands as whole words.
pub fn lines_with(code: &str, name: &str) -> Vec<usize> {
    let is_word = |byte: Option<&u8>| byte.is_some_and(|byte| is_word_byte(*byte));
    let whole = |start: usize| {
        let bytes = code.as_bytes();
        let before = start.checked_sub(1).and_then(|at| bytes.get(at));
        let joined = is_word(name.as_bytes().last()) && is_word(bytes.get(start + name.len()));
        !is_word(before) && !joined
    };
    code.match_indices(name)
        .filter(|(start, _)| whole(*start))
        .map(|(start, _)| 1 + code[..start].matches('\n').count())
        .collect()
}

/// The lines, counted from 1, where a word has `part`, in small letters, as one of its parts:
/// `nano` in `nano`, `NanoError` and `is_nano`, but not in `nanos`.
pub fn lines_with_part(code: &str, part: &str) -> Vec<usize> {
    let small = code.to_ascii_lowercase();
    let is_part = |start: usize| {
        let goes_on = code[start + part.len()..].starts_with(|c: char| c.is_ascii_lowercase());
        let begins = code[start..].starts_with(|c: char| c.is_ascii_uppercase())
            || !code[..start].ends_with(|c: char| c.is_ascii_alphanumeric());
        begins && !goes_on
    };
    small
        .match_indices(part)
        .filter(|(start, _)| is_part(*start))
        .map(|(start, _)| 1 + code[..start].matches('\n').count())
        .collect()
}

/// The paths of the crate's own modules that code names, from the crate's root: `a::b` for
/// `crate::a::b`, `a::b` and `a::c` for `use super::{b, c}` in module `a::d`.
pub fn paths_from_root(code: &str, module: &str) -> Vec<String> {
    let outer = module.rsplit_once("::").map_or("", |(outer, _)| outer);
    let starts = [("crate::", ""), ("super::", outer), ("self::", module)];
    let mut paths = Vec::new();
    for (start, from) in starts {
        let begins = |at: &usize| !code[..*at].ends_with(|c: char| c == ':' || is_word_char(c));
        for at in code.match_indices(start).map(|(at, _)| at).filter(begins) {
            paths_below(from, &code[at + start.len()..], &mut paths);
        }
    }
    paths
}

/// Adds the paths below `from` that a `use` or a path spells, and returns what comes after them.
fn paths_below<'a>(from: &str, code: &'a str, paths: &mut Vec<String>) -> &'a str {
    let code = code.trim_start();
    if let Some(mut rest) = code.strip_prefix('{') {
        while !rest.is_empty() && !rest.starts_with('}') {
            rest = paths_below(from, rest, paths).trim_start();
            rest = rest.find([',', '}']).map_or("", |at| &rest[at..]);
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
        }
        return rest.get(1..).unwrap_or_default();
    }
    let end = code.find(|c| !is_word_char(c)).unwrap_or(code.len());
    let (word, rest) = code.split_at(end);
    let path = match (word, from) {
        ("super", _) => from.rsplit_once("::").map_or("", |(outer, _)| outer).to_owned(),
        ("" | "self", _) => from.to_owned(),
        (_, "") => word.to_owned(),
        _ => format!("{from}::{word}"),
    };
    match rest.strip_prefix("::") {
        Some(rest) => paths_below(&path, rest, paths),
        None => {
            paths.push(path);
            rest
        }
    }
}

/// The end of the comment or literal that starts at `at`, or `at` if none does.
fn prose_end(bytes: &[u8], at: usize) -> usize {
    match &bytes[at..] {
        [b'/', b'/', ..] => find(bytes, at, b"\n"),
        [b'/', b'*', ..] => block_comment_end(bytes, at),
        [b'"', ..] => string_end(bytes, at),
        [b'r', b'"' | b'#', ..] if starts_word(bytes, at) => raw_string_end(bytes, at),
        [b'\'', ..] => character_end(bytes, at),
        _ => at,
    }
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    at
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `r"…"`, `r#"…"#` and so on; `r#name` is a name and ends where it starts.
fn raw_string_end(bytes: &[u8], start: usize) -> usize {
    let hashes = bytes[start + 1..].iter().take_while(|byte| **byte == b'#').count();
    let quote = start + 1 + hashes;
    if bytes.get(quote) != Some(&b'"') {
        return start;
    }
    let close = [&b"\""[..], &vec![b'#'; hashes]].concat();
    let end = find(bytes, quote + 1, &close);
    (end + close.len()).min(bytes.len())
}

/// `'x'`, `'\n'`, `'é'`; a lifetime such as `'a` ends where it starts.
fn character_end(bytes: &[u8], start: usize) -> usize {
    let escaped = bytes.get(start + 1) == Some(&b'\\');
    // An escape is at most `\u{10FFFF}`, any other character at most 4 bytes.
    let (skip, longest) = if escaped { (3, 12) } else { (2, 6) };
    let window = bytes.get(start + skip..bytes.len().min(start + longest)).unwrap_or_default();
    let close = window.iter().position(|byte| *byte == b'\'');
    match close {
        // `<'a, 'b>`: the next quote of a lifetime comes after a character of more than one byte.
        Some(more) if more > 0 && !escaped && bytes[start + 1].is_ascii() => start,
        Some(more) => start + skip + more + 1,
        None => start,
    }
}

/// The end of the item after an attribute: its `;`, or the brace that closes its first one.
fn item_end(code: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.iter().enumerate().skip(start) {
        match byte {
            b';' if depth == 0 => return at + 1,
            b'{' => depth += 1,
            b'}' if depth <= 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

fn find(bytes: &[u8], from: usize, needle: &[u8]) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    let found = rest.windows(needle.len()).position(|window| window == needle);
    found.map_or(bytes.len(), |more| from + more)
}

/// Whether a word could start here: also after `b` or `c`, as in `br"…"`.
fn starts_word(bytes: &[u8], at: usize) -> bool {
    let word = |back: usize| at.checked_sub(back).is_some_and(|at| is_word_byte(bytes[at]));
    let prefix = at.checked_sub(1).is_some_and(|at| matches!(bytes[at], b'b' | b'c'));
    !word(1) || (prefix && !word(2))
}

pub fn is_word_char(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric()
}

fn is_word_byte(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

fn blank(bytes: &mut [u8], range: Range<usize>) {
    let end = range.end.min(bytes.len());
    for byte in bytes[range.start.min(end)..end].iter_mut().filter(|byte| **byte != b'\n') {
        *byte = b' ';
    }
}

/// Blanking never cuts a character in code that compiles; in any other text a wrong character is
/// better than a panic.
fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_blank_and_code_stays() {
        for (text, code) in [
            ("a // burn::x\nb", "a           \nb"),
            ("a /* x /* y */ z */ b", "a                   b"),
            ("f(\"un\\\"safe\") + g", "f(          ) + g"),
            ("f(r#\"a\"b\"#); r#type", "f(        ); r#type"),
            ("br\"x\" as u8", "b     as u8"),
            ("m('\"', '\\'', 'é') + 'x'", "m(   ,     ,     ) +    "),
            ("fn f<'a, 'b>(x: &'a str)", "fn f<'a, 'b>(x: &'a str)"),
            ("'a'..='z'", "   ..=   "),
        ] {
            assert_eq!(without_prose(text).trim_end(), code.trim_end(), "{text}");
        }
    }

    #[test]
    fn unfinished_text_is_no_panic() {
        for text in ["\"", "'", "r#\"", "/*", "'\\", "\"\\", "r", "b'", "é'", "#[cfg(test)] {"] {
            let code = without_prose(text);
            let _ = without_tests(&code, &code);
        }
    }

    #[test]
    fn test_items_are_left_out() {
        let code = "use a;\n#[cfg(test)]\nuse b;\n#[cfg(test)]\nmod t { fn f() { c } }\nfn d() {}";
        let product = without_tests(code, code);
        assert_eq!(product.lines().count(), code.lines().count());
        assert!(product.contains("use a;") && product.contains("fn d() {}"));
        assert!(!product.contains("use b") && !product.contains('c'));
    }

    #[test]
    fn paths_are_spelt_from_the_root() {
        for (code, paths) in [
            ("use crate::a::B; x::crate::y", &["a::B"][..]),
            ("use crate::{a, b::{C, self, d::*}, e as f};", &["a", "b::C", "b", "b::d", "e"]),
            ("use super::c; super::super::d::f()", &["a::c", "d::f"]),
            ("self::x(); pub(crate) fn f", &["a::b::x"]),
            ("use crate::{", &[]),
        ] {
            assert_eq!(paths_from_root(code, "a::b"), paths, "{code}");
        }
    }

    #[test]
    fn names_are_found_as_whole_words() {
        let code = "use burn::x;\nlet sunburn::y = z;\nunsafe_code; unsafe {}";
        assert_eq!(lines_with(code, "burn::"), [1]);
        assert_eq!(lines_with(code, "unsafe"), [3]);
        assert_eq!(lines_with("fs::write_all; fs::write(p)", "fs::write"), [1]);
    }
}
