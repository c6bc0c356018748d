//! What open_clip does to a text before it is read: ftfy's repairs, entities of HTML, single spaces.
//!
//! <https://github.com/mlfoundations/open_clip>, `tokenizer.py`. Of ftfy, what captions from the web need:
//! text that was decoded as Windows-1252 and is UTF-8, curly quotes, ligatures, full-width letters,
//! control characters.

/// The text as open_clip's tokenizer takes it, before it is put into lower case.
pub fn cleaned(text: &str) -> String {
    let mut text = text.to_owned();
    // Some texts were decoded wrongly more than once.
    for _ in 0..4 {
        match redecoded(&text) {
            Some(better) => text = better,
            None => break,
        }
    }
    let text: String = text.chars().filter(|c| !is_control(*c)).fold(String::new(), push_plain);
    let text = html_escape::decode_html_entities(&text).into_owned();
    let text = html_escape::decode_html_entities(&text);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text with every run of characters that spells UTF-8 in Windows-1252 decoded again, if there is
/// one.
fn redecoded(text: &str) -> Option<String> {
    let chars: Vec<char> = text.chars().collect();
    let (mut out, mut at, mut any) = (String::new(), 0, false);
    while at < chars.len() {
        let len = match byte(chars[at]) {
            Some(0xC2..=0xC3) => 2,
            // `MARQUÉ…` was meant so.
            Some(0xC4..=0xDF) if !chars.get(at + 1).is_some_and(|c| is_punctuation(*c)) => 2,
            Some(0xE0..=0xEF) => 3,
            Some(0xF0..=0xF4) => 4,
            _ => 1,
        };
        let bytes: Option<Vec<u8>> =
            chars.get(at..at + len).and_then(|run| run.iter().map(|c| byte(*c)).collect());
        match bytes.filter(|_| len > 1).and_then(|bytes| String::from_utf8(bytes).ok()) {
            Some(decoded) => {
                out.push_str(&decoded);
                (at, any) = (at + len, true);
            }
            None => {
                out.push(chars[at]);
                at += 1;
            }
        }
    }
    any.then_some(out)
}

/// The byte of a character in Windows-1252, whose holes stand for themselves.
fn byte(c: char) -> Option<u8> {
    const HIGH: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž',
        '\u{8f}', '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}',
        'ž', 'Ÿ',
    ];
    match c {
        '\u{a0}'..='\u{ff}' => Some(c as u8),
        _ => HIGH.iter().position(|high| *high == c).map(|at| 0x80 + at as u8),
    }
}

fn is_punctuation(c: char) -> bool {
    "‚„…‹‘’“”•–—›†‡‰™€".contains(c)
}

fn is_control(c: char) -> bool {
    c.is_control() && !c.is_whitespace() || c == '\u{feff}'
}

/// A character as one would type it, behind what is there.
fn push_plain(mut text: String, c: char) -> String {
    match c {
        '\u{2018}'..='\u{201b}' => text.push('\''),
        '\u{201c}'..='\u{201f}' => text.push('"'),
        '\u{3000}' => text.push(' '),
        '\u{ff01}'..='\u{ff5e}' => text.push(char::from((c as u32 - 0xfee0) as u8)),
        'ﬀ' => text.push_str("ff"),
        'ﬁ' => text.push_str("fi"),
        'ﬂ' => text.push_str("fl"),
        'ﬃ' => text.push_str("ffi"),
        'ﬄ' => text.push_str("ffl"),
        'ﬅ' | 'ﬆ' => text.push_str("st"),
        other => text.push(other),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ftfy 6.3, Python's `html.unescape` and open_clip's `whitespace_clean` make of them.
    #[test]
    fn texts_are_cleaned_as_open_clip_does() {
        for (text, want) in [
            ("rock &amp; roll", "rock & roll"),
            ("“curly” ‘quotes’", "\"curly\" 'quotes'"),
            ("schÃ¶n", "schön"),
            ("âœ” No problems", "✔ No problems"),
            ("ﬁne ﬀ", "fine ff"),
            ("a  b\n c", "a b c"),
            (" ＡＢＣ\u{3000}ｘ！", "ABC x!"),
            ("it&#39;s &eacute;&hearts;", "it's é♥"),
            ("&amp;lt;3", "<3"),
            ("…", "…"),
            ("x\0y\u{200b}", "xy\u{200b}"),
            ("Broken text… it’s ﬂubberiﬁc!", "Broken text… it's flubberific!"),
            ("Ãber", "Ãber"),
            ("â€œquotedâ€\u{9d}", "\"quoted\""),
            ("l’humanitÃ©", "l'humanité"),
            ("naïve café", "naïve café"),
            ("ÃƒÂ©", "é"),
            ("5 < 3 & 2", "5 < 3 & 2"),
            ("&nosuch; &#x41;", "&nosuch; A"),
            ("\u{feff}bom", "bom"),
            ("tab\there", "tab here"),
            ("æ—¥æœ¬", "日本"),
            ("IL Y MARQUÉ…", "IL Y MARQUÉ…"),
            ("", ""),
        ] {
            assert_eq!(cleaned(text), want, "{text:?}");
        }
    }
}
