//! Rust text → what of it is code, for rules that look for names.
//!
//! A small scanner in place of a parser: comments, strings and characters become blanks, line
//! breaks stay, so that a position in the result is a line of the file.

use std::ops::Range;

/// The text with every comment and every literal of characters blanked.
pub fn without_prose(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = prose_end(&bytes, at);
        blank(&mut bytes, at..end);
        at = end.max(at + 1);
    }
    into_text(bytes)
}

/// Code without its `#[cfg(test)]` items; expects text without prose.
pub fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut bytes = code.as_bytes().to_vec();
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
            let _ = without_tests(&without_prose(text));
        }
    }

    #[test]
    fn test_items_are_left_out() {
        let code = "use a;\n#[cfg(test)]\nuse b;\n#[cfg(test)]\nmod t { fn f() { c } }\nfn d() {}";
        let product = without_tests(code);
        assert_eq!(product.lines().count(), code.lines().count());
        assert!(product.contains("use a;") && product.contains("fn d() {}"));
        assert!(!product.contains("use b") && !product.contains('c'));
    }

    #[test]
    fn names_are_found_as_whole_words() {
        let code = "use burn::x;\nlet sunburn::y = z;\nunsafe_code; unsafe {}";
        assert_eq!(lines_with(code, "burn::"), [1]);
        assert_eq!(lines_with(code, "unsafe"), [3]);
        assert_eq!(lines_with("fs::write_all; fs::write(p)", "fs::write"), [1]);
    }
}
