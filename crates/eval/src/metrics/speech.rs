//! Word and character error rates: the fewest words (characters) to insert, leave out or change, beside how
//! many there are.
//!
//! Before, texts are made alike: lower case, no punctuation but apostrophes, a space for a dash, one space
//! between words. Numbers and spellings stay as they are, which Whisper's own normaliser changes.

/// A text in the form that is compared.
pub fn normal(text: &str) -> String {
    let apostrophes = text.to_lowercase().replace('\u{2019}', "'");
    let kept: String = apostrophes
        .chars()
        .filter_map(|c| match c {
            '-' | '\u{2013}' | '\u{2014}' => Some(' '),
            '\'' => Some('\''),
            c if c.is_alphanumeric() || c.is_whitespace() => Some(c),
            // Marks over the letters of some scripts.
            c if !c.is_ascii_punctuation() && !"¿¡…“”„«»。，！？、".contains(c) => {
                Some(c)
            }
            _ => None,
        })
        .collect();
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Errors and words of the reference.
pub fn word_errors(got: &str, wanted: &str) -> [f64; 2] {
    let [got, wanted] = [got, wanted].map(normal);
    let [got, wanted] = [&got, &wanted].map(|text| text.split_whitespace().collect::<Vec<_>>());
    [distance(&got, &wanted) as f64, wanted.len() as f64]
}

/// Errors and characters of the reference, spaces among them.
pub fn character_errors(got: &str, wanted: &str) -> [f64; 2] {
    let [got, wanted] = [got, wanted].map(|text| normal(text).chars().collect::<Vec<_>>());
    [distance(&got, &wanted) as f64, wanted.len() as f64]
}

/// Levenshtein's distance.
fn distance<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_on_normal_texts() {
        for (got, wanted, words, characters) in [
            ("Hello, World!", "hello world", [0.0, 2.0], [0.0, 11.0]),
            ("the cat sat", "the cat sat down", [1.0, 4.0], [5.0, 16.0]),
            ("a well-known kid's", "a well known kid\u{2019}s", [0.0, 4.0], [0.0, 18.0]),
            ("kitten", "sitting", [1.0, 1.0], [3.0, 7.0]),
            ("", "one two", [2.0, 2.0], [7.0, 7.0]),
            ("more words", "", [2.0, 0.0], [10.0, 0.0]),
        ] {
            assert_eq!(word_errors(got, wanted), words, "{got}");
            assert_eq!(character_errors(got, wanted), characters, "{got}");
        }
    }
}
