//! English that captions, questions and answers share.

/// Numbers as words, 0 to 6.
pub(crate) const NUMBERS: [&str; 7] = ["zero", "one", "two", "three", "four", "five", "six"];

/// "a" or "an" before a noun phrase.
pub(crate) fn with_article(phrase: &str) -> String {
    let vowel = phrase.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {phrase}", if vowel { "an" } else { "a" })
}

/// "x", "x and y", "x, y and z".
pub(crate) fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
