//! Contact sheets: pictures in rows with their texts below, to look at what a model is shown; sounds as they swing
//! and as a model hears them, tables as they are written.

use sensorium_media::mel::{Mel, RATE};
use sensorium_media::table::Cell;
use sensorium_media::{Picture, Sound, Table};

use crate::font;

const GAP: u32 = 6;
const LINE: u32 = font::HEIGHT + 3;
const STEP: u32 = font::WIDTH + 1;

/// The pictures in rows of `columns`, each with its text below, wrapped to its cell and as high as
/// the longest text of the sheet needs. Black on white; no items make an empty cell.
pub fn sheet(items: &[(Picture, String)], columns: usize) -> Picture {
    let columns = columns.clamp(1, items.len().max(1)) as u32;
    let rows = (items.len() as u32).div_ceil(columns).max(1);
    let wide = items.iter().map(|item| item.0.width).max().unwrap_or(1);
    let high = items.iter().map(|item| item.0.height).max().unwrap_or(1);
    let texts: Vec<_> = items.iter().map(|item| wrap(&item.1, (wide / STEP) as usize)).collect();
    let lines = texts.iter().map(Vec::len).max().unwrap_or(0) as u32;
    let (cell_wide, cell_high) = (wide + GAP, high + GAP + lines * LINE);
    let mut canvas = Canvas::new(columns * cell_wide + GAP, rows * cell_high + GAP);
    for (n, ((picture, _), lines)) in items.iter().zip(&texts).enumerate() {
        let left = GAP + n as u32 % columns * cell_wide;
        let top = GAP + n as u32 / columns * cell_high;
        canvas.paste(picture, left, top);
        for (row, line) in lines.iter().enumerate() {
            canvas.write(line, left, top + high + 3 + row as u32 * LINE);
        }
    }
    canvas.finish()
}

/// Pictures side by side; nothing of none.
pub fn strip(pictures: &[Picture]) -> Option<Picture> {
    let wide = pictures.iter().map(|picture| picture.width + 2).sum::<u32>().checked_sub(2)?;
    let high = pictures.iter().map(|picture| picture.height).max()?;
    let (mut canvas, mut left) = (Canvas::new(wide, high), 0);
    for picture in pictures {
        canvas.paste(picture, left, 0);
        left += picture.width + 2;
    }
    Some(canvas.finish())
}

/// Bands of a sound's picture, and rows of its wave.
const BANDS: u32 = 80;
const SWING: u32 = 32;

/// A sound from left to right: its wave above, below it its log-mel spectrogram, low tones at the bottom.
pub fn sound(sound: &Sound, width: u32) -> Picture {
    let width = width.max(1);
    let mut canvas = Canvas::new(width, SWING + BANDS);
    let samples = sound.clone().at_rate(RATE).samples;
    let part = |x: u32, of: usize| of * x as usize / width as usize;
    for x in 0..width {
        let (from, to) = (part(x, samples.len()), part(x + 1, samples.len()));
        let loudest = samples[from..to].iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let half = (loudest.min(1.0) * (SWING / 2) as f32) as u32;
        for y in SWING / 2 - half..(SWING / 2 + half + 1).min(SWING) {
            canvas.set(x, y, &[60, 60, 60]);
        }
    }
    let frames = samples.len().div_ceil(RATE as usize / 100).max(1);
    let mel = Mel::new(&samples, BANDS as usize).window(0, frames);
    for (x, band) in (0..width).flat_map(|x| (0..BANDS).map(move |band| (x, band))) {
        // -1 to about 1.5, as models read it.
        let energy = mel[band as usize * frames + part(x, frames)];
        let ink = 255 - (((energy + 1.0) / 2.5).clamp(0.0, 1.0) * 255.0) as u8;
        canvas.set(x, SWING + BANDS - 1 - band, &[ink; 3]);
    }
    canvas.finish()
}

/// The most rows of a table that are drawn.
const ROWS: usize = 12;

/// A table's columns and its first rows; what is missing is empty, what does not fit into `width` is cut.
pub fn table(table: &Table, width: u32) -> Picture {
    let names = table.schema.iter().map(|column| column.name.clone()).collect();
    let rows = table.rows.iter().take(ROWS).map(|row| row.iter().map(written).collect());
    let lines: Vec<Vec<String>> = std::iter::once(names).chain(rows).collect();
    let mut canvas = Canvas::new(width, lines.len() as u32 * LINE);
    let mut left = 0;
    for column in 0..table.schema.len() {
        let cells = || lines.iter().filter_map(|line| line.get(column));
        for (row, cell) in (0..).zip(cells()) {
            canvas.write(cell, left, row * LINE);
        }
        let wide = cells().map(|cell| cell.chars().count()).max().unwrap_or_default() as u32;
        left += (wide + 1) * STEP;
    }
    canvas.finish()
}

fn written(cell: &Cell) -> String {
    match cell {
        Cell::Missing => String::new(),
        Cell::Number(number) => number.to_string(),
        Cell::Category(text) => text.clone(),
        Cell::Boolean(truth) => truth.to_string(),
        Cell::Date(days) => format!("day {days}"),
    }
}

/// Words in lines of at most `width` characters; longer words are cut.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        for part in word.chars().collect::<Vec<_>>().chunks(width) {
            let used = lines.last().map_or(0, |line| line.chars().count());
            if used > 0 && used + 1 + part.len() > width {
                lines.push(String::new());
            }
            if let Some(line) = lines.last_mut() {
                if !line.is_empty() {
                    line.push(' ');
                }
                line.extend(part);
            }
        }
    }
    lines
}

/// White paper to paste and write on; what falls outside is left out.
struct Canvas {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl Canvas {
    fn new(width: u32, height: u32) -> Self {
        Self { width, height, pixels: vec![255; width as usize * height as usize * 3] }
    }

    fn set(&mut self, x: u32, y: u32, rgb: &[u8]) {
        if x < self.width && y < self.height {
            let at = (y as usize * self.width as usize + x as usize) * 3;
            self.pixels[at..at + 3].copy_from_slice(rgb);
        }
    }

    fn paste(&mut self, picture: &Picture, left: u32, top: u32) {
        let width = picture.width.max(1);
        for (n, rgb) in picture.pixels.chunks_exact(3).enumerate() {
            self.set(left + n as u32 % width, top + n as u32 / width, rgb);
        }
    }

    fn write(&mut self, line: &str, left: u32, top: u32) {
        for (n, character) in line.chars().enumerate() {
            for y in 0..font::HEIGHT {
                for x in 0..font::WIDTH {
                    if font::pixel(character, x, y) {
                        self.set(left + n as u32 * STEP + x, top + y, &[20, 20, 20]);
                    }
                }
            }
        }
    }

    fn finish(self) -> Picture {
        Picture::new(self.width, self.height, self.pixels)
            .expect("the canvas holds exactly width x height pixels")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_wrap() {
        assert_eq!(wrap("a red circle", 5), ["a red", "circl", "e"]);
        assert_eq!(wrap("", 5), [""]);
    }

    /// A high tone is dark above, a low one below, and a loud one swings wider.
    #[test]
    fn sounds_are_drawn_by_pitch_and_loudness() {
        let tone = |hertz: f32, loud: f32| {
            let wave = |i: u32| (i as f32 * hertz * std::f32::consts::TAU / 16e3).sin() * loud;
            let samples = (0..16_000).map(wave).collect();
            sound(&Sound { rate: RATE, samples, warning: None }, 50)
        };
        let ink = |picture: &Picture, rows: std::ops::Range<u32>| {
            let bytes = |y: u32| (y * 150) as usize..((y + 1) * 150) as usize;
            rows.flat_map(|y| picture.pixels[bytes(y)].to_vec())
                .map(|p| 255 - u64::from(p))
                .sum::<u64>()
        };
        let (low, high) = (tone(200.0, 0.9), tone(6000.0, 0.2));
        let (above, below) = (SWING..SWING + 40, SWING + 40..SWING + 80);
        assert!(ink(&low, below.clone()) > ink(&low, above.clone()));
        assert!(ink(&high, above) > ink(&high, below));
        assert!(ink(&low, 0..SWING) > 2 * ink(&high, 0..SWING));
        let both = strip(&[low, high]).expect("two");
        assert_eq!((both.width, both.height), (102, SWING + BANDS));
        assert_eq!(strip(&[]), None);
    }

    /// A cell more is more ink; a missing one leaves its place white.
    #[test]
    fn tables_are_drawn_cell_by_cell() {
        let drawn = |text: &str| {
            let bytes = format!("name,size\ncircle,4\nstar,{text}\n");
            let decoded = Table::decode(bytes.as_bytes(), "test").expect("a table");
            let picture = table(&decoded, 120);
            assert_eq!((picture.width, picture.height), (120, 3 * LINE));
            let ink = |row: u32| {
                let bytes = (row * LINE * 360) as usize..((row + 1) * LINE * 360) as usize;
                picture.pixels[bytes].iter().filter(|p| **p < 128).count()
            };
            [ink(0), ink(1), ink(2)]
        };
        let ([names, first, full], [.., empty]) = (drawn("17"), drawn(""));
        assert!(names > 0 && first > 0 && empty > 0 && full > empty);
    }

    #[test]
    fn sheets_have_room_for_all() {
        let picture = Picture::new(60, 40, vec![9; 60 * 40 * 3]).expect("sizes agree");
        let items = vec![(picture, "two short words".to_owned()); 5];
        let sheet = sheet(&items, 2);
        assert_eq!((sheet.width, sheet.height), (2 * 66 + 6, 3 * (46 + 2 * LINE) + 6));
        assert_eq!(sheet.pixels.chunks(3).filter(|p| *p == [9, 9, 9]).count(), 5 * 60 * 40);
        assert!(super::sheet(&[], 4).width > 0);
    }
}
