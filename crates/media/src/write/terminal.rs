//! Pictures in a terminal: by one of three protocols for pictures, or as text of coloured half blocks.

use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::Picture;

/// How a terminal takes pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Kitty's graphics protocol, which Ghostty and Konsole know too.
    Kitty,
    /// iTerm2's inline images, which WezTerm, mintty and VS Code know too.
    Iterm2,
    /// DEC's sixels: foot, mlterm, Windows Terminal.
    Sixel,
    /// Two pixels in each character, the upper half block, in 24-bit colours.
    HalfBlocks,
}

impl Protocol {
    /// What a terminal knows, by the environment variables that it sets; half blocks where none tells, and within
    /// tmux and screen, which pass pictures on to no terminal.
    pub fn detect(get_env: impl Fn(&str) -> Option<String>) -> Self {
        let value = |name| get_env(name).unwrap_or_default();
        let (term, program) = (value("TERM"), value("TERM_PROGRAM"));
        let is = |names: &[&str]| names.iter().any(|name| term.contains(name) || program == *name);
        if get_env("TMUX").is_some() || term.starts_with("screen") || term.starts_with("tmux") {
            Self::HalfBlocks
        } else if get_env("KITTY_WINDOW_ID").is_some()
            || get_env("KONSOLE_VERSION").is_some()
            || is(&["kitty", "ghostty"])
        {
            Self::Kitty
        } else if is(&["iTerm.app", "WezTerm", "mintty", "vscode"])
            || value("LC_TERMINAL") == "iTerm2"
        {
            Self::Iterm2
        } else if get_env("WT_SESSION").is_some() || is(&["sixel", "foot", "mlterm", "contour"]) {
            Self::Sixel
        } else {
            Self::HalfBlocks
        }
    }
}

/// Most bytes of a picture in one of Kitty's sequences.
const KITTY_CHUNK: usize = 4096;
/// Pixels of a character's width, about.
const CHARACTER: u32 = 10;

/// A picture as text that shows it, at most `columns` characters wide, and ends its line.
pub fn terminal(picture: &Picture, protocol: Protocol, columns: u32) -> String {
    let columns = columns.max(1);
    match protocol {
        Protocol::Kitty => kitty(&picture.to_png(), columns.min(shown(picture))),
        Protocol::Iterm2 => {
            let (png, columns) = (picture.to_png(), columns.min(shown(picture)));
            let head = format!("size={};width={columns};preserveAspectRatio=1", png.len());
            format!("\x1b]1337;File=inline=1;{head}:{}\x07\n", BASE64_STANDARD.encode(png))
        }
        Protocol::Sixel => sixel(&at_most(picture, columns.saturating_mul(CHARACTER))),
        Protocol::HalfBlocks => half_blocks(&at_most(picture, columns)),
    }
}

/// Columns in which no pixel of a picture is lost, but 32 of a small one.
fn shown(picture: &Picture) -> u32 {
    picture.width.div_ceil(CHARACTER).max(32)
}

fn kitty(png: &[u8], columns: u32) -> String {
    let data = BASE64_STANDARD.encode(png);
    let mut rest = data.as_str();
    let mut text = String::new();
    let mut control = format!("a=T,f=100,c={columns},");
    while !rest.is_empty() {
        let (chunk, next) = rest.split_at(rest.len().min(KITTY_CHUNK));
        let more = u8::from(!next.is_empty());
        let _ = write!(text, "\x1b_G{control}m={more};{chunk}\x1b\\");
        (rest, control) = (next, String::new());
    }
    text + "\n"
}

/// Up to 256 colours, then rows of six pixels: in each, for every colour that is in it, which of the six have it.
fn sixel(picture: &Picture) -> String {
    let (width, height) = (picture.width as u16, picture.height as u16);
    let indexed = gif::Frame::from_rgb_speed(width, height, &picture.pixels, 10);
    let mut text = format!("\x1bP0;1q\"1;1;{width};{height}");
    let palette = indexed.palette.as_deref().unwrap_or_default();
    for (n, rgb) in palette.chunks_exact(3).enumerate() {
        let [r, g, b] = [rgb[0], rgb[1], rgb[2]].map(|value| u16::from(value) * 100 / 255);
        let _ = write!(text, "#{n};2;{r};{g};{b}");
    }
    for band in indexed.buffer.chunks(usize::from(width) * 6) {
        let mut colors: Vec<u8> = band.to_vec();
        colors.sort_unstable();
        colors.dedup();
        for color in colors {
            let _ = write!(text, "#{color}");
            let rows: Vec<&[u8]> = band.chunks(usize::from(width)).collect();
            text.extend((0..usize::from(width)).map(|x| {
                let bits = rows.iter().enumerate().map(|(y, row)| u8::from(row[x] == color) << y);
                char::from(63 + bits.sum::<u8>())
            }));
            text.push('$');
        }
        text.push('-');
    }
    text + "\x1b\\\n"
}

fn half_blocks(picture: &Picture) -> String {
    let mut text = String::new();
    let row = picture.width as usize * 3;
    for rows in picture.pixels.chunks(row * 2) {
        let (upper, lower) = rows.split_at(row);
        for (x, rgb) in upper.chunks_exact(3).enumerate() {
            let _ = write!(text, "\x1b[38;2;{};{};{}m", rgb[0], rgb[1], rgb[2]);
            // Below the last of an odd number of rows, the terminal's own colour stays.
            if let Some(rgb) = lower.get(x * 3..x * 3 + 3) {
                let _ = write!(text, "\x1b[48;2;{};{};{}m", rgb[0], rgb[1], rgb[2]);
            }
            text.push('▀');
        }
        text.push_str("\x1b[0m\n");
    }
    text
}

/// The picture, scaled down where it is wider, or higher than what sixels count.
fn at_most(picture: &Picture, width: u32) -> Picture {
    let most = f64::from(width.min(4096));
    let scale = most / f64::from(picture.width.max(picture.height / 4));
    let scaled = |edge: u32| (f64::from(edge) * scale).round() as u32;
    match scale < 1.0 {
        true => picture.resize(scaled(picture.width), scaled(picture.height)),
        false => picture.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_known_by_their_variables() {
        let cases: [(&[(&str, &str)], Protocol); 12] = [
            (&[], Protocol::HalfBlocks),
            (&[("TERM", "xterm-256color")], Protocol::HalfBlocks),
            (&[("TERM", "xterm-kitty")], Protocol::Kitty),
            (&[("TERM", "xterm"), ("KITTY_WINDOW_ID", "1")], Protocol::Kitty),
            (&[("TERM_PROGRAM", "ghostty")], Protocol::Kitty),
            (&[("TERM_PROGRAM", "WezTerm")], Protocol::Iterm2),
            (&[("TERM_PROGRAM", "iTerm.app"), ("TERM", "xterm-256color")], Protocol::Iterm2),
            (&[("LC_TERMINAL", "iTerm2")], Protocol::Iterm2),
            (&[("TERM", "foot")], Protocol::Sixel),
            (&[("WT_SESSION", "some")], Protocol::Sixel),
            (&[("TERM", "screen-256color"), ("KITTY_WINDOW_ID", "1")], Protocol::HalfBlocks),
            (&[("TERM", "xterm-kitty"), ("TMUX", "/tmp/1")], Protocol::HalfBlocks),
        ];
        for (environment, expected) in cases {
            let get = |name: &str| {
                environment.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(Protocol::detect(get), expected, "{environment:?}");
        }
    }

    fn flag() -> Picture {
        let rgb = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [0, 0, 0]];
        Picture::new(2, 3, rgb.concat()).unwrap()
    }

    #[test]
    fn half_blocks_hold_two_rows_each() {
        let expected = "\x1b[38;2;255;0;0m\x1b[48;2;0;0;255m▀\x1b[38;2;0;255;0m\x1b[48;2;255;255;255m▀\x1b[0m\n\
                        \x1b[38;2;0;0;0m▀\x1b[38;2;0;0;0m▀\x1b[0m\n";
        assert_eq!(terminal(&flag(), Protocol::HalfBlocks, 80), expected);
        let narrow = terminal(&Picture::filled(64, 64, [9, 8, 7]), Protocol::HalfBlocks, 16);
        assert_eq!((narrow.lines().count(), narrow.matches('▀').count()), (8, 128));
    }

    #[test]
    fn sixels_say_which_of_six_rows_have_a_colour() {
        // Of three rows of two, red is the upper left one: bit 0 of column 0.
        let text = terminal(&flag(), Protocol::Sixel, 80);
        assert!(text.starts_with("\x1bP0;1q\"1;1;2;3#0;2;") && text.ends_with("-\x1b\\\n"));
        let red = text.split(";2;100;0;0").next().unwrap().rsplit('#').next().unwrap();
        assert!(text.contains(&format!("#{red}@?$")), "{text:?}");
    }

    /// The PNG that a sequence carries, put together again.
    fn carried(text: &str, begin: &str, end: &str) -> Picture {
        let parts = text.split(begin).skip(1);
        let data: String = parts
            .map(|part| part.split(end).next().unwrap().split_once([';', ':']).unwrap().1)
            .collect();
        Picture::decode(&BASE64_STANDARD.decode(data).unwrap(), "terminal").unwrap()
    }

    #[test]
    fn protocols_carry_the_picture_as_it_is() {
        let noise = (0..64 * 64 * 3u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8);
        for picture in [flag(), Picture::new(64, 64, noise.collect()).unwrap()] {
            let kitty = terminal(&picture, Protocol::Kitty, 80);
            assert_eq!(carried(&kitty, "\x1b_G", "\x1b\\"), picture);
            assert!(kitty.starts_with("\x1b_Ga=T,f=100,c=32,m="));
            assert!(kitty.split("\x1b\\").all(|part| part.len() < KITTY_CHUNK + 40));
            let iterm = terminal(&picture, Protocol::Iterm2, 20);
            assert!(iterm.contains("width=20;preserveAspectRatio=1:"), "{iterm}");
            assert_eq!(carried(&iterm, "preserveAspectRatio=1", "\x07"), picture);
        }
    }
}
