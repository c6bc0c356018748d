//! VQAv2's accuracy (Antol et al. 2015, <https://arxiv.org/abs/1505.00468>): an answer is as right as three
//! people of ten say it, after both were brought into the form of the official evaluation.

/// Characters that are left out, or become a space where they join two words.
const PUNCTUATION: [char; 21] = [
    ';', '/', '[', ']', '"', '{', '}', '(', ')', '=', '+', '\\', '_', '-', '>', '<', '@', '`', ',',
    '?', '!',
];

const NUMBERS: [(&str, &str); 12] = [
    ("none", "0"),
    ("zero", "0"),
    ("one", "1"),
    ("two", "2"),
    ("three", "3"),
    ("four", "4"),
    ("five", "5"),
    ("six", "6"),
    ("seven", "7"),
    ("eight", "8"),
    ("nine", "9"),
    ("ten", "10"),
];

/// Contractions of the official list; each is also known without its apostrophes, and without either of
/// two.
#[rustfmt::skip]
const CONTRACTIONS: [&str; 94] = [
    "ain't", "aren't", "can't", "could've", "couldn't", "couldn't've", "didn't", "doesn't",
    "don't", "hadn't", "hadn't've", "hasn't", "haven't", "he'd", "he'd've", "he's", "how'd",
    "how'll", "how's", "isn't", "it'd", "it'd've", "it'll", "let's", "ma'am", "mightn't",
    "mightn't've", "might've", "mustn't", "must've", "needn't", "not've", "o'clock", "oughtn't",
    "'ow's'at", "shan't", "she'd've", "she's", "should've", "shouldn't", "shouldn't've",
    "somebody'd've", "somebody'll", "somebody's", "someone'd", "someone'd've", "someone'll",
    "someone's", "something'd", "something'd've", "something'll", "that's", "there'd",
    "there'd've", "there're", "there's", "they'd", "they'd've", "they'll", "they're", "they've",
    "'twas", "wasn't", "we'd've", "we've", "weren't", "what'll", "what're", "what's", "what've",
    "when's", "where'd", "where's", "where've", "who'd", "who'd've", "who'll", "who's", "who've",
    "why'll", "why're", "why's", "won't", "would've", "wouldn't", "wouldn't've", "y'all",
    "y'all'll", "y'all'd've", "you'd", "you'd've", "you'll", "you're", "you've",
];

/// The form in which answers are compared.
pub fn normal(answer: &str) -> String {
    let text = without_punctuation(answer.trim()).to_lowercase();
    let words = text.split_whitespace().filter(|word| !["a", "an", "the"].contains(word));
    let words = words.map(|word| {
        let number = NUMBERS.iter().find(|(name, _)| *name == word);
        contraction(number.map_or(word, |(_, digits)| digits))
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A mark that has a space beside it anywhere, and every one of a text with a comma in a number, goes; others
/// become a space. Full stops go but in numbers.
fn without_punctuation(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let in_number =
        chars.windows(3).any(|w| w[1] == ',' && w[0].is_ascii_digit() && w[2].is_ascii_digit());
    let mut out = text.to_owned();
    for mark in PUNCTUATION {
        let beside_space = text.contains(&format!("{mark} ")) || text.contains(&format!(" {mark}"));
        out = out.replace(mark, if beside_space || in_number { "" } else { " " });
    }
    let mut kept = String::new();
    let mut rest = out.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '.' || rest.peek().is_some_and(char::is_ascii_digit) {
            kept.push(c);
        }
    }
    kept
}

fn contraction(word: &str) -> &str {
    let without = |full: &str| full.replace('\'', "");
    let spelt = |full: &&&str| {
        let at = full.rfind('\'').unwrap_or(0);
        let (head, tail) = full.split_at(at);
        let half = [head.replace('\'', "") + tail, format!("{head}{}", without(tail))];
        !CONTRACTIONS.contains(&word) && (without(full) == word || half.iter().any(|x| x == word))
    };
    CONTRACTIONS.iter().find(spelt).map_or(word, |full| full)
}

/// How right an answer is, 0 to 1, both in [`normal`] form: of ten people's answers, the mean over which one
/// of them is left out of `min(1, matches / 3)`; of one answer, whether it is the same.
pub fn accuracy(answer: &str, people: &[String]) -> f64 {
    if let [only] = people {
        return f64::from(u8::from(only == answer));
    }
    let matches = people.iter().filter(|other| *other == answer).count();
    let without = |one: &String| (matches - usize::from(one == answer)) as f64;
    people.iter().map(|one| (without(one) / 3.0).min(1.0)).sum::<f64>() / people.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_get_the_official_form() {
        for (answer, wanted) in [
            ("Yes.", "yes"),
            ("The two  dogs!", "2 dogs"),
            ("dont know", "don't know"),
            ("shouldntve", "shouldn't've"),
            ("shouldn'tve", "shouldn't've"),
            ("black/white", "black white"),
            ("black / white", "black white"),
            ("1,000", "1000"),
            ("3.5", "3.5"),
            ("a man's t-shirt", "man's t shirt"),
            ("none", "0"),
            ("red, blue", "red blue"),
            ("\"stop\"", "stop"),
            ("its", "its"),
            ("", ""),
        ] {
            assert_eq!(normal(answer), wanted, "{answer}");
        }
    }

    #[test]
    fn three_of_ten_are_enough() {
        let people = |n: usize| -> Vec<String> {
            (0..10).map(|i| if i < n { "yes" } else { "no" }.to_owned()).collect()
        };
        // One who agrees is left out once: 9 times 1/3; with three, three times 2/3 and seven times 1.
        for (n, wanted) in [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)] {
            assert!((accuracy("yes", &people(n)) - wanted).abs() < 1e-12, "{n}");
        }
        assert_eq!((accuracy("a", &["a".into()]), accuracy("b", &["a".into()])), (1.0, 0.0));
        assert_eq!(accuracy("a", &[]), 0.0);
    }
}
