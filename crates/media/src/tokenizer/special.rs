//! Tokens that are not text: chat roles, modality markers, signal tokens,
//! coordinates. They occupy the last ids of every vocabulary, in this order.

/// A special token. Numbered ones clamp to their largest number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Special {
    /// Fills the batch; never attended to.
    Pad,
    /// Opens every prompt.
    Bos,
    /// Closes every message.
    End,
    /// Opens a system message.
    System,
    /// Opens a user message.
    User,
    /// Opens an assistant message.
    Assistant,
    /// Before a picture's features.
    Image,
    /// After a picture's features.
    ImageEnd,
    /// Stands where one picture feature is spliced in.
    ImageToken,
    /// Before a sound's features.
    Audio,
    /// After a sound's features.
    AudioEnd,
    /// Stands where one sound feature is spliced in.
    AudioToken,
    /// Before speech features.
    Speech,
    /// After speech features.
    SpeechEnd,
    /// Stands where one speech feature is spliced in.
    SpeechToken,
    /// Before a video's features.
    Video,
    /// After a video's features.
    VideoEnd,
    /// Stands where one video feature is spliced in.
    VideoToken,
    /// Before a table's features.
    Table,
    /// After a table's features.
    TableEnd,
    /// Stands where one table feature is spliced in.
    TableToken,
    /// `[IMG0]` to `[IMG7]`: asks the image generator to draw (GILL).
    Img(u8),
    /// `[AUD0]` to `[AUD7]`: asks the sound generator to play.
    Aud(u8),
    /// `[SPK0]` to `[SPK3]`: wraps text to be spoken, by voice.
    Spk(u8),
    /// `[VID0]` to `[VID3]`: kept for a video generator.
    Vid(u8),
    /// `[RET]`: asks for a retrieved picture.
    Ret,
    /// `<loc00>` to `<loc63>`: a coordinate in 64ths of an edge.
    Loc(u8),
    /// Before the four coordinates of a box.
    Box,
    /// Before the two coordinates of a point.
    Point,
    /// `<|reserved_000|>` to `<|reserved_127|>`: unused, so that a trained
    /// embedding table need not grow.
    Reserved(u8),
}

use Special::*;

/// Unnumbered markers, in the order of their ids.
const MARKERS: [(Special, &str); 21] = [
    (Pad, "<|pad|>"),
    (Bos, "<|bos|>"),
    (End, "<|end|>"),
    (System, "<|system|>"),
    (User, "<|user|>"),
    (Assistant, "<|assistant|>"),
    (Image, "<|image|>"),
    (ImageEnd, "<|image_end|>"),
    (ImageToken, "<|image_token|>"),
    (Audio, "<|audio|>"),
    (AudioEnd, "<|audio_end|>"),
    (AudioToken, "<|audio_token|>"),
    (Speech, "<|speech|>"),
    (SpeechEnd, "<|speech_end|>"),
    (SpeechToken, "<|speech_token|>"),
    (Video, "<|video|>"),
    (VideoEnd, "<|video_end|>"),
    (VideoToken, "<|video_token|>"),
    (Table, "<|table|>"),
    (TableEnd, "<|table_end|>"),
    (TableToken, "<|table_token|>"),
];

impl Special {
    /// Number of special tokens.
    pub const COUNT: usize = 240;

    /// All special tokens in the order of their ids.
    pub fn all() -> impl Iterator<Item = Special> {
        MARKERS
            .into_iter()
            .map(|(special, _)| special)
            .chain((0..8).map(Img))
            .chain((0..8).map(Aud))
            .chain((0..4).map(Spk))
            .chain((0..4).map(Vid))
            .chain([Ret])
            .chain((0..64).map(Loc))
            .chain([Box, Point])
            .chain((0..128).map(Reserved))
    }

    /// Position among the special tokens, below [`Special::COUNT`].
    pub fn index(self) -> usize {
        let numbered = |first: usize, n: u8, last: u8| first + usize::from(n.min(last));
        match self {
            Img(n) => numbered(21, n, 7),
            Aud(n) => numbered(29, n, 7),
            Spk(n) => numbered(37, n, 3),
            Vid(n) => numbered(41, n, 3),
            Ret => 45,
            Loc(n) => numbered(46, n, 63),
            Box => 110,
            Point => 111,
            Reserved(n) => numbered(112, n, 127),
            marker => MARKERS
                .iter()
                .position(|(special, _)| *special == marker)
                .expect("every unnumbered marker is in the table"),
        }
    }

    /// How it is written in `tokenizer.json`.
    pub fn name(self) -> String {
        match self {
            Img(n) => format!("[IMG{}]", n.min(7)),
            Aud(n) => format!("[AUD{}]", n.min(7)),
            Spk(n) => format!("[SPK{}]", n.min(3)),
            Vid(n) => format!("[VID{}]", n.min(3)),
            Ret => "[RET]".into(),
            Loc(n) => format!("<loc{:02}>", n.min(63)),
            Box => "<box>".into(),
            Point => "<pt>".into(),
            Reserved(n) => format!("<|reserved_{:03}|>", n.min(127)),
            marker => MARKERS[marker.index()].1.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn order_index_and_name_agree() {
        let all: Vec<Special> = Special::all().collect();
        assert_eq!(all.len(), Special::COUNT);
        for (i, special) in all.iter().enumerate() {
            assert_eq!(special.index(), i, "{special:?}");
        }
        let names: HashSet<String> = all.iter().map(|s| s.name()).collect();
        assert_eq!(names.len(), Special::COUNT);
    }

    #[test]
    fn numbers_clamp() {
        assert_eq!(Loc(200).index(), Loc(63).index());
        assert_eq!(Img(255).name(), "[IMG7]");
        assert!(Reserved(255).index() < Special::COUNT);
    }
}
