//! Texts to sentences and words: numbers, signs and abbreviations as they are read out.

/// What is written in short, and how it is said.
const ABBREVIATIONS: [(&str, &str); 26] = [
    ("mr.", "mister"),
    ("mrs.", "missus"),
    ("ms.", "miz"),
    ("dr.", "doctor"),
    ("st.", "saint"),
    ("prof.", "professor"),
    ("etc.", "et cetera"),
    ("e.g.", "for example"),
    ("i.e.", "that is"),
    ("vs.", "versus"),
    ("mr", "mister"),
    ("mrs", "missus"),
    ("dr", "doctor"),
    ("fig.", "figure"),
    ("approx.", "approximately"),
    ("km", "kilometers"),
    ("cm", "centimeters"),
    ("mm", "millimeters"),
    ("kg", "kilograms"),
    ("mg", "milligrams"),
    ("ml", "milliliters"),
    ("hz", "hertz"),
    ("khz", "kilohertz"),
    ("mb", "megabytes"),
    ("gb", "gigabytes"),
    ("vs", "versus"),
];

/// What signs are called.
const SIGNS: [(char, &str); 9] = [
    ('%', "percent"),
    ('&', "and"),
    ('+', "plus"),
    ('=', "equals"),
    ('@', "at"),
    ('#', "number"),
    ('\u{b0}', "degrees"),
    ('\u{d7}', "times"),
    ('\u{f7}', "divided by"),
];

/// Coins and notes, which are said behind their number.
const CURRENCIES: [(char, &str); 3] =
    [('$', "dollars"), ('\u{20ac}', "euros"), ('\u{a3}', "pounds")];

/// Letters that are read as others.
const FOLDED: [(&str, &str); 16] = [
    ("\u{e0}\u{e1}\u{e2}\u{e3}\u{e5}\u{101}", "a"),
    ("\u{e4}\u{e6}", "ae"),
    ("\u{e7}\u{107}\u{10d}", "c"),
    ("\u{e8}\u{e9}\u{ea}\u{eb}\u{113}\u{119}", "e"),
    ("\u{ec}\u{ed}\u{ee}\u{ef}\u{12b}", "i"),
    ("\u{f1}\u{144}", "n"),
    ("\u{f2}\u{f3}\u{f4}\u{f5}\u{f8}\u{14d}", "o"),
    ("\u{f6}\u{153}", "oe"),
    ("\u{f9}\u{fa}\u{fb}\u{16b}", "u"),
    ("\u{fc}", "ue"),
    ("\u{fd}\u{ff}", "y"),
    ("\u{df}\u{15b}\u{161}", "s"),
    ("\u{17a}\u{17c}\u{17e}", "z"),
    ("\u{142}", "l"),
    ("\u{f0}", "th"),
    ("\u{2018}\u{2019}", "'"),
];

/// The letters, once each, that are read as no letters of English.
pub fn foreign(text: &str) -> String {
    let mut found = String::new();
    for c in text.chars().filter(|c| c.is_alphanumeric() && !c.is_ascii()) {
        let known = c.to_lowercase().all(|c| fold(c).is_some());
        if !known && !found.contains(c) {
            found.push(c);
        }
    }
    found
}

fn fold(c: char) -> Option<&'static str> {
    FOLDED.iter().find(|(from, _)| from.contains(c)).map(|(_, to)| *to)
}

/// The sentences of a text: each ends with a line, or with a stop behind which there is a space.
pub fn sentences(text: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    for line in text.lines() {
        let mut begin = 0;
        for (at, c) in line.char_indices() {
            if c.is_whitespace() && ends(line[begin..at].trim()) {
                sentences.push(line[begin..at].trim());
                begin = at;
            }
        }
        sentences.push(line[begin..].trim());
    }
    sentences.retain(|sentence| !sentence.is_empty());
    sentences
}

/// Whether what was read so far is a whole sentence.
fn ends(so_far: &str) -> bool {
    let bare = so_far.trim_end_matches(['"', '\'', ')', ']', '\u{201d}']);
    let last = so_far.rsplit(char::is_whitespace).next().unwrap_or_default().to_lowercase();
    bare.ends_with(['.', '!', '?', '\u{2026}']) && abbreviation(&last).is_none()
}

fn abbreviation(token: &str) -> Option<&'static str> {
    ABBREVIATIONS.iter().find(|(short, _)| *short == token).map(|(_, long)| *long)
}

/// Whether there is a pause behind a token.
pub fn pauses(token: &str) -> bool {
    let bare = token.trim_end_matches(['"', '\'', ')', ']', '\u{201d}']);
    let is_dash = ["-", "--", "\u{2013}", "\u{2014}"].contains(&token);
    let stops = bare.ends_with([',', ';', ':', '.', '!', '?', '\u{2026}', '\u{2014}']);
    is_dash || stops && (bare.ends_with(',') || abbreviation(&bare.to_lowercase()).is_none())
}

/// The words of a token, in lower case, letters and apostrophes alone.
pub fn words(token: &str) -> Vec<String> {
    let lower: String =
        token.chars().flat_map(char::to_lowercase).fold(String::new(), |all, c| match fold(c) {
            Some(letters) => all + letters,
            None => all + c.encode_utf8(&mut [0; 4]),
        });
    let bare = lower.trim_matches(|c: char| "()[]{}\"\u{201c}\u{201d},;:!?".contains(c));
    if let Some(long) = abbreviation(bare) {
        return long.split(' ').map(str::to_owned).collect();
    }
    let mut words = Vec::new();
    let currency = CURRENCIES.iter().find(|(sign, _)| bare.starts_with(*sign));
    let mut rest = currency.map_or(bare, |(sign, _)| bare.trim_start_matches(*sign));
    let is_negative = rest.starts_with(['-', '\u{2212}'])
        && rest.chars().nth(1).is_some_and(|c| c.is_ascii_digit());
    if is_negative {
        words.push("minus".to_owned());
    }
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '0'..='9' => number(rest, &mut words),
            'a'..='z' | '\'' => letters(rest, token, &mut words),
            sign => {
                let called = SIGNS.iter().chain(&CURRENCIES).find(|(known, _)| *known == sign);
                words
                    .extend(called.iter().flat_map(|(_, name)| name.split(' ')).map(str::to_owned));
                sign.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    words.extend(currency.map(|(_, name)| (*name).to_owned()));
    words
}

/// Adds the word that `rest` begins with; its length.
fn letters(rest: &str, token: &str, words: &mut Vec<String>) -> usize {
    let length = rest.find(|c: char| !c.is_ascii_lowercase() && c != '\'').unwrap_or(rest.len());
    let word = rest[..length].trim_matches('\'');
    let is_vowel = |c: char| "aeiouy'".contains(c);
    let capitals = token.chars().filter(char::is_ascii_uppercase).count();
    let is_initials = (2..5).contains(&word.len()) && capitals == word.len() && token.len() < 7;
    match abbreviation(word) {
        Some(long) => words.push(long.to_owned()),
        // Letter by letter, as nobody could say it otherwise, or as it is meant to be.
        None if !word.contains(is_vowel) || is_initials => {
            words.extend(word.chars().map(spelt));
        }
        None => words.push(word.to_owned()),
    }
    length
}

/// The name of a letter; that of the first one is told from the article.
fn spelt(letter: char) -> String {
    if letter == 'a' { "a.".to_owned() } else { letter.to_string() }
}

/// Adds the words of the number that `rest` begins with; its length.
fn number(rest: &str, words: &mut Vec<String>) -> usize {
    let digit = |c: char| c.is_ascii_digit();
    let follows = |at: usize| rest[at..].chars().nth(1).is_some_and(digit);
    let mut end = 0;
    for (at, c) in rest.char_indices() {
        if !(digit(c) || c == ',' && follows(at)) {
            break;
        }
        end = at + c.len_utf8();
    }
    let whole: String = rest[..end].chars().filter(|c| digit(*c)).collect();
    if let Some(ordinal) = ["st", "nd", "rd", "th"].iter().find(|s| rest[end..].starts_with(**s)) {
        words.extend(ordinal_words(&whole));
        return end + ordinal.len();
    }
    words.extend(cardinal(&whole));
    if rest[end..].starts_with('.') && follows(end) {
        let decimals: String = rest[end + 1..].chars().take_while(|c| digit(*c)).collect();
        words.push("point".to_owned());
        words.extend(decimals.chars().map(digit_word));
        end += 1 + decimals.len();
    }
    end
}

const ONES: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] =
    ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
const POWERS: [(u64, &str); 5] = [
    (1_000_000_000_000, "trillion"),
    (1_000_000_000, "billion"),
    (1_000_000, "million"),
    (1_000, "thousand"),
    (100, "hundred"),
];

fn digit_word(digit: char) -> String {
    ONES[digit.to_digit(10).unwrap_or(0) as usize].to_owned()
}

/// A number in words; digit by digit where it begins with a zero or is beyond all names.
fn cardinal(digits: &str) -> Vec<String> {
    let is_code = digits.len() > 15 || digits.len() > 1 && digits.starts_with('0');
    match digits.parse::<u64>() {
        Ok(n) if !is_code => {
            let mut words = Vec::new();
            count(n, &mut words);
            words.into_iter().map(str::to_owned).collect()
        }
        _ => digits.chars().map(digit_word).collect(),
    }
}

fn count(n: u64, words: &mut Vec<&'static str>) {
    if let Some((power, name)) = POWERS.iter().find(|(power, _)| n >= *power) {
        count(n / power, words);
        words.push(name);
        if !n.is_multiple_of(*power) {
            count(n % power, words);
        }
    } else if n < 20 {
        words.push(ONES[n as usize]);
    } else {
        words.push(TENS[n as usize / 10]);
        if !n.is_multiple_of(10) {
            words.push(ONES[n as usize % 10]);
        }
    }
}

fn ordinal_words(digits: &str) -> Vec<String> {
    let mut words = cardinal(digits);
    if let Some(last) = words.last_mut() {
        *last = match last.as_str() {
            "one" => "first".to_owned(),
            "two" => "second".to_owned(),
            "three" => "third".to_owned(),
            "five" => "fifth".to_owned(),
            "eight" => "eighth".to_owned(),
            "nine" => "ninth".to_owned(),
            "twelve" => "twelfth".to_owned(),
            other => match other.strip_suffix('y') {
                Some(tens) => format!("{tens}ieth"),
                None => format!("{other}th"),
            },
        };
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_words() {
        for (token, want) in [
            ("Hello,", "hello"),
            ("12", "twelve"),
            ("0", "zero"),
            ("007", "zero zero seven"),
            ("1,234", "one thousand two hundred thirty four"),
            ("1000000", "one million"),
            ("3.14", "three point one four"),
            ("-5", "minus five"),
            ("50%", "fifty percent"),
            ("$20", "twenty dollars"),
            ("\u{20ac}5.", "five euros"),
            ("21st", "twenty first"),
            ("20th", "twentieth"),
            ("10:30", "ten thirty"),
            (
                "12345678901234567",
                "one two three four five six seven eight nine zero one two three four five six seven",
            ),
            ("don't", "don't"),
            ("'quoted'", "quoted"),
            ("red-blue", "red blue"),
            ("R&B", "r and b"),
            ("USA", "u s a."),
            ("mp3", "m p three"),
            ("5km", "five kilometers"),
            ("Dr.", "doctor"),
            ("no.", "no"),
            ("e.g.", "for example"),
            ("caf\u{e9}", "cafe"),
            ("\u{2014}", ""),
            ("\u{1f600}", ""),
        ] {
            assert_eq!(words(token).join(" "), want, "{token}");
        }
    }

    #[test]
    fn texts_are_parted_at_sentence_ends() {
        for (text, want) in [
            ("One. Two! \"Three?\" Four", vec!["One.", "Two!", "\"Three?\"", "Four"]),
            ("Dr. Who is 3.5 m tall.", vec!["Dr. Who is 3.5 m tall."]),
            ("a\n\nb", vec!["a", "b"]),
            ("", vec![]),
        ] {
            assert_eq!(sentences(text), want, "{text}");
        }
    }
}
