//! Texts, in parts that are spoken at once.

/// The sentences of a text; of one of more than `longest` letters, parts of it, between words where there are any.
pub(crate) fn sentences(text: &str, longest: usize) -> Vec<&str> {
    let (mut sentences, mut begin) = (Vec::new(), 0);
    for (at, c) in text.char_indices() {
        let end = at + c.len_utf8();
        // A point in a number or a name ends nothing.
        let inner = c == '.' && text[end..].starts_with(char::is_alphanumeric);
        if matches!(c, '.' | '!' | '?' | '\u{2026}' | '\u{3002}' | '\n') && !inner {
            sentences.push(&text[begin..end]);
            begin = end;
        }
    }
    sentences.push(&text[begin..]);
    let sentences = sentences.into_iter().map(str::trim).filter(|text| !text.is_empty());
    sentences.flat_map(|text| parted(text, longest)).collect()
}

fn parted(mut text: &str, longest: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    while let Some((end, _)) = text.char_indices().nth(longest) {
        let end = text[..end].rfind(char::is_whitespace).filter(|&at| at > 0).unwrap_or(end);
        parts.push(text[..end].trim());
        text = text[end..].trim();
    }
    parts.push(text);
    parts
}

/// The beginning of a text, for an error.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: usize = 400;

    #[test]
    fn texts_are_spoken_sentence_by_sentence_and_nothing_is_lost() {
        assert_eq!(sentences("One. Two?  \n three", LONGEST), ["One.", "Two?", "three"]);
        assert_eq!(sentences("It is 3.5. No?", LONGEST), ["It is 3.5.", "No?"]);
        assert_eq!(sentences(" \n ", LONGEST), [""; 0]);
        let long = "a word ".repeat(300);
        let parts = sentences(&long, LONGEST);
        assert!(parts.len() > 4 && parts.iter().all(|part| part.chars().count() <= LONGEST));
        assert_eq!(parts.join(" "), long.trim());
        let unbroken = "x".repeat(1000);
        assert_eq!(sentences(&unbroken, LONGEST).concat(), unbroken);
    }
}
