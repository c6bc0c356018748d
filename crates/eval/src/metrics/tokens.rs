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
#[rustfmt::skip]
const ABBREVIATIONS: [&str; 86] = [
    "mr", "ms", "mrs", "dr", "prof", "st", "jr", "sr", "vs", "etc", "inc", "ltd", "co", "corp",
    "ave", "blvd", "rd", "mt", "ft", "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep",
    "sept", "oct", "nov", "dec", "gov", "gen", "sgt", "capt", "col", "lt", "maj", "rep", "sen",
    "hon", "rev", "dept", "est", "sq", "tel", "univ", "al", "esq", "bros", "assn", "calif", "penn",
    "minn", "ind", "ariz", "ala", "colo", "conn", "fla", "ga", "kan", "ky", "md", "mich", "mo",
    "mont", "neb", "nev", "okla", "tenn", "va", "vt", "wis", "wyo", "mon", "tue", "wed", "thu",
    "fri", "alex", "wm", "adm", "cmdr", "pvt", "ph.d",
];

/// Endings that are words of their own.
const CLITICS: [&str; 7] = ["n't", "'s", "'m", "'d", "'re", "'ve", "'ll"];

/// Words that begin with their apostrophe, beside years such as `'80s`.
const SHORTENED: [&str; 5] = ["'em", "'n", "'til", "'till", "'cause"];

/// Two words written as one, and where the second begins.
const JOINED: [(&str, usize); 9] = [
    ("cannot", 3),
    ("gonna", 3),
    ("gotta", 3),
    ("wanna", 3),
    ("gimme", 3),
    ("lemme", 3),
    ("'tis", 2),
    ("'twas", 2),
    ("y'all", 2),
];

/// The words of a caption.
pub fn words(caption: &str) -> Vec<String> {
    let text = caption.replace(['\u{2018}', '\u{2019}'], "'");
    let chunks: Vec<&str> = text.split_whitespace().collect();
    let mut words = Vec::new();
    for (i, chunk) in chunks.iter().enumerate() {
        let next = chunks.get(i + 1).and_then(|next| next.chars().next());
        match chunk.eq_ignore_ascii_case("no.") && next.is_some_and(|c| c.is_ascii_digit()) {
            true => words.push(chunk.to_lowercase()),
            false => split(chunk, &mut words),
        }
    }
    words.retain(|word| !PUNCTUATION.contains(&word.as_str()));
    words
}

/// A chunk without spaces as words and punctuation.
fn split(chunk: &str, words: &mut Vec<String>) {
    let chars: Vec<char> = chunk.chars().collect();
    let mut at = 0;
    while at < chars.len() {
        let ends =
            |is: &dyn Fn(usize) -> bool| (at..chars.len()).find(|&i| !is(i)).unwrap_or(chars.len());
        let end = ends(&|i| is_inside(&chars, i));
        if end > at {
            word(&chars[at..end].iter().collect::<String>().to_lowercase(), words);
            at = end;
            continue;
        }
        // Several of these are a mark of their own, which stays.
        let end = ends(&|i| "?!".contains(chars[i])).max(at + 1);
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
            _ => chars[at..end].iter().collect(),
        });
        at = end;
    }
}

/// Whether the character at `i` belongs to a word: letters and digits do, and what joins two of them.
fn is_inside(chars: &[char], i: usize) -> bool {
    let at = |i: Option<usize>| i.and_then(|i| chars.get(i)).copied().unwrap_or(' ');
    let (before, after) = (at(i.checked_sub(1)), at(Some(i + 1)));
    let between = |is: fn(char) -> bool| is(before) && is(after);
    match chars[i] {
        c if c.is_alphanumeric() => true,
        '\'' => after.is_alphanumeric() && !between(|c| c.is_ascii_digit()),
        '-' if i == 0 => after.is_ascii_digit(),
        '+' => !before.is_alphanumeric() && after.is_ascii_digit(),
        '@' => after.is_alphanumeric(),
        '-' | '/' | '_' | '?' | '!' => between(char::is_alphanumeric),
        '&' => between(char::is_uppercase),
        ',' | ':' => between(|c| c.is_ascii_digit()),
        '.' => between(char::is_alphanumeric) || is_own_stop(chars, i),
        _ => false,
    }
}

/// Whether the full stop at `i` ends an abbreviation: one of the list, or single letters (`u.s.`).
fn is_own_stop(chars: &[char], i: usize) -> bool {
    let start = chars[..i].iter().rposition(|c| !c.is_alphanumeric() && *c != '.');
    let word: String =
        chars[start.map_or(0, |at| at + 1)..i].iter().collect::<String>().to_lowercase();
    let is_letter = |part: &str| part.chars().count() == 1 && part.chars().all(char::is_alphabetic);
    word.split('.').all(is_letter) || ABBREVIATIONS.contains(&word.as_str())
}

fn word(word: &str, words: &mut Vec<String>) {
    if let Some((joined, at)) = JOINED.iter().find(|(joined, _)| *joined == word) {
        return words.extend([joined[..*at].to_owned(), joined[*at..].to_owned()]);
    }
    let clitic = CLITICS.iter().find_map(|end| Some((word.strip_suffix(end)?, *end)));
    if let Some((stem, clitic)) = clitic.filter(|(stem, _)| !stem.is_empty()) {
        self::word(stem, words);
        return words.push(clitic.to_owned());
    }
    let is_year = |word: &str| word[1..].starts_with(|c: char| c.is_ascii_digit());
    let is_whole = CLITICS.contains(&word) || SHORTENED.contains(&word);
    words.push(match word.starts_with('\'') && !is_whole && !is_year(word) {
        true => word.trim_start_matches('\'').to_owned(),
        false => word.to_owned(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_become_words() {
        for (caption, wanted) in [
            ("A man's dog doesn't sit, it runs .", "a man 's dog does n't sit it runs"),
            ("Two \"big\" T-shirts; one's (red)...", "two big t-shirts one 's -lrb- red -rrb-"),
            ("He'd can't've", "he 'd ca n't 've"),
            ("  ", ""),
            ("...'", ""),
        ] {
            assert_eq!(words(caption).join(" "), wanted, "{caption}");
        }
    }
}
