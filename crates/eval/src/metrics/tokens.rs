//! Captions as words, by the rules of the Penn Treebank (Marcus et al. 1993) as Stanford's tokenizer has
//! them and pycocoevalcap uses it: lower case, contractions split, punctuation left out.
//!
//! ```text
//! A man's dog doesn't sit, (it) runs.  ──▶  a man 's dog does n't sit -lrb- it -rrb- runs
//! ```
//!
//! Round brackets stay, as `-lrb-`: pycocoevalcap leaves out `-LRB-`, which lower case has changed before.

/// What is no word, as pycocoevalcap lists it.
const PUNCTUATION: [&str; 13] =
    ["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"];

/// Words whose full stop is their own.
const ABBREVIATIONS: [&str; 30] = [
    "mr.", "mrs.", "ms.", "dr.", "prof.", "st.", "jr.", "sr.", "vs.", "etc.", "inc.", "ltd.",
    "co.", "corp.", "ave.", "blvd.", "rd.", "mt.", "ft.", "lb.", "oz.", "jan.", "feb.", "aug.",
    "sept.", "oct.", "nov.", "dec.", "gov.", "gen.",
];

/// Endings that are words of their own.
const CLITICS: [&str; 7] = ["n't", "'s", "'m", "'d", "'re", "'ve", "'ll"];

/// Two words written as one.
const JOINED: [(&str, usize); 8] = [
    ("cannot", 3),
    ("gonna", 3),
    ("gotta", 3),
    ("wanna", 3),
    ("gimme", 3),
    ("lemme", 3),
    ("'tis", 2),
    ("'twas", 2),
];

/// The words of a caption.
pub fn words(caption: &str) -> Vec<String> {
    let text = caption.to_lowercase().replace(['\u{2018}', '\u{2019}'], "'");
    let mut words = Vec::new();
    for chunk in text.split_whitespace() {
        split(chunk, &mut words);
    }
    words.retain(|word| !PUNCTUATION.contains(&word.as_str()));
    words
}

/// A chunk without spaces as words and punctuation.
fn split(chunk: &str, words: &mut Vec<String>) {
    let chars: Vec<char> = chunk.chars().collect();
    let mut at = 0;
    while at < chars.len() {
        let end = (at..chars.len()).find(|&i| !is_inside(&chars, i)).unwrap_or(chars.len());
        if end > at {
            word(&chars[at..end].iter().collect::<String>(), words);
            at = end;
            continue;
        }
        words.push(match chars[at] {
            '(' => "-lrb-".into(),
            ')' => "-rrb-".into(),
            '{' => "-lcb-".into(),
            '}' => "-rcb-".into(),
            '[' => "-lsb-".into(),
            ']' => "-rsb-".into(),
            '\u{2026}' => "...".into(),
            '\u{2013}' | '\u{2014}' => "--".into(),
            '"' | '\u{201c}' | '\u{201d}' => "''".into(),
            other => other.to_string(),
        });
        at += 1;
    }
}

/// Whether the character at `i` belongs to a word: letters and digits do, and what joins two of them.
fn is_inside(chars: &[char], i: usize) -> bool {
    let at = |i: Option<usize>| i.and_then(|i| chars.get(i)).copied().unwrap_or(' ');
    let (before, after) = (at(i.checked_sub(1)), at(Some(i + 1)));
    let between = |is: fn(char) -> bool| is(before) && is(after);
    match chars[i] {
        c if c.is_alphanumeric() => true,
        '\'' => after.is_alphanumeric(),
        '-' | '/' | '_' | '@' => between(char::is_alphanumeric),
        ',' | ':' => between(|c| c.is_ascii_digit()),
        '.' => between(char::is_alphanumeric) || is_own_stop(chars, i),
        _ => false,
    }
}

/// Whether the full stop at `i` ends an abbreviation: one of the list, or single letters (`u.s.`).
fn is_own_stop(chars: &[char], i: usize) -> bool {
    let start = chars[..i].iter().rposition(|c| !c.is_alphanumeric() && *c != '.');
    let word: String = chars[start.map_or(0, |at| at + 1)..=i].iter().collect();
    let letters: Vec<&str> = word.split_terminator('.').collect();
    let initials = letters.len() > 1 && letters.iter().all(|part| part.chars().count() == 1);
    initials || ABBREVIATIONS.contains(&word.as_str())
}

fn word(word: &str, words: &mut Vec<String>) {
    if let Some((joined, at)) = JOINED.iter().find(|(joined, _)| *joined == word) {
        return words.extend([joined[..*at].to_owned(), joined[*at..].to_owned()]);
    }
    if let Some((stem, clitic)) =
        CLITICS.iter().find_map(|end| Some((word.strip_suffix(end)?, end)))
        && !stem.is_empty()
    {
        return words.extend([stem.to_owned(), (*clitic).to_owned()]);
    }
    // A quotation mark in front, but `'s` alone.
    let bare = match CLITICS.contains(&word) {
        true => word,
        false => word.trim_start_matches('\''),
    };
    words.push(bare.replace('/', "\\/"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_become_words() {
        for (caption, wanted) in [
            ("A man's dog doesn't sit, it runs .", "a man 's dog does n't sit it runs"),
            ("Two \"big\" T-shirts; one's (red)...", "two big t-shirts one 's -lrb- red -rrb-"),
            ("The dogs' 3.5 km at 1,000 m!", "the dogs 3.5 km at 1,000 m"),
            ("Mr. Smith of the U.S. can't", "mr. smith of the u.s. ca n't"),
            ("5 o'clock, cannot and/or 'quoted'", "5 o'clock can not and\\/or quoted"),
            ("A cat.A dog -- $5 & 10%", "a cat.a dog $ 5 & 10 %"),
            ("the man\u{2019}s caf\u{e9} \u{2013} x", "the man 's caf\u{e9} x"),
            ("  ", ""),
            ("...'", ""),
        ] {
            assert_eq!(words(caption).join(" "), wanted, "{caption}");
        }
    }
}
