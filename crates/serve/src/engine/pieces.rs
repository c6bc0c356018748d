//! A text that grows, in pieces that are never taken back.

/// How much of a text was told.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    told: usize,
}

impl Pieces {
    /// What is new in a text that has grown: not a letter whose last bytes are still to come (U+FFFD), nor white
    /// space at its end, which nothing may follow, nor what may be the beginning of a string at which it will be cut.
    pub fn grown<'t>(&mut self, text: &'t str, stop: &[String]) -> &'t str {
        let begun = |stop: &String| {
            let starts = stop.char_indices().skip(1).map(|(at, _)| at);
            starts.filter(|&at| text.ends_with(&stop[..at])).max().unwrap_or(0)
        };
        let held = stop.iter().map(begun).max().unwrap_or(0);
        let end = text[..text.len() - held].trim_end_matches('\u{FFFD}').trim_end().len();
        self.tell(text, end)
    }

    /// What is left to tell of a text that grows no further.
    pub fn rest<'t>(&mut self, text: &'t str) -> &'t str {
        self.tell(text, text.len())
    }

    fn tell<'t>(&mut self, text: &'t str, end: usize) -> &'t str {
        let new = text.get(self.told..end).unwrap_or_default();
        self.told = self.told.max(end);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_text_and_none_is_taken_back() {
        let stop = ["###".to_owned(), "end".to_owned()];
        let mut pieces = Pieces::default();
        let grown = ["a", "a ", "a b", "a b#", "a b##", "a b##c", "a b##c e", "a b##c en"];
        assert_eq!(Pieces::default().grown("é\u{FFFD}", &stop), "é");
        let told: Vec<&str> = grown.iter().map(|text| pieces.grown(text, &stop)).collect();
        assert_eq!(told, ["a", "", " b", "", "", "##c", "", ""]);
        // The text was cut before the string.
        assert_eq!(pieces.rest("a b##c "), " ");
        assert_eq!(pieces.rest("a b##c "), "");
    }
}
