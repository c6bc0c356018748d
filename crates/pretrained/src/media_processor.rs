//! What makes an encoder's input of sounds, videos and tables.
//!
//! ```text
//! medium ──pieces──▶ plain numbers for each place in a prompt ──input──▶ Input of a batch
//! ```
//! A sound has a piece for each stretch that its encoder hears at once, a table one for each row, a video one.

use sensorium_encoder::EncoderConfig;
use sensorium_encoder::audio::{pooled_positions, positions};
use sensorium_encoder::text::TextTower;
use sensorium_flow::{Cell, Input, Modality, Rows, Sounds};
use sensorium_media::table::{self, Table};
use sensorium_media::{ImageProcessor, Media, Mel, Sound, Video, mel};
use sensorium_model::clip::unit;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;

use crate::error::{Error, Result};
use crate::towers::TextInput;

/// What makes the input of an encoder of one kind of media.
#[derive(Clone, Debug)]
pub enum MediaProcessor {
    /// Of sounds.
    Audio {
        /// Bands of the spectrogram.
        bands: usize,
        /// Most frames of a piece.
        frames: usize,
        /// Every piece has that many: silence is put behind a sound (Whisper).
        padded: bool,
    },
    /// Of sounds whose encoder is told where they end (Qwen2-Audio, Qwen2.5-Omni).
    Ended {
        /// Bands of the spectrogram.
        bands: usize,
        /// Most frames of a piece.
        frames: usize,
        /// Every piece has that many, silence behind the sound among them (Qwen2-Audio).
        padded: bool,
    },
    /// Of sounds with silence behind them, which their encoder hears too (Voxtral).
    Filled {
        /// Bands of the spectrogram.
        bands: usize,
        /// Frames of every piece.
        frames: usize,
    },
    /// Of videos.
    Video {
        /// Frames to pixels.
        processor: ImageProcessor,
        /// Frames of every video.
        frames: usize,
        /// Positions that they become.
        latents: usize,
    },
    /// Of tables.
    Table {
        /// Most columns.
        columns: usize,
        /// What makes vectors of names and categories.
        texts: Box<Words>,
    },
}

/// What makes vectors of words: a text tower that does not learn.
#[derive(Clone, Debug)]
pub struct Words {
    /// Ids to vectors.
    pub tower: TextTower,
    /// Texts to ids.
    pub input: TextInput,
}

/// What stands at one place of a prompt, in plain numbers: made without a tensor, on any thread.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// A stretch of a sound.
    Audio {
        /// `[bands, frames]`, and more frames where silence lies behind the sound.
        mel: Vec<f32>,
        /// Frames of sound, one each 10 ms.
        frames: usize,
    },
    /// Pixels of frames, `[F, 3, h, w]`.
    Video(Vec<f32>),
    /// A row's names and cells.
    Table(Vec<(String, table::Cell)>),
}

impl Piece {
    /// What it is of.
    pub fn modality(&self) -> Modality {
        match self {
            Self::Audio { .. } => Modality::Audio,
            Self::Video(_) => Modality::Video,
            Self::Table(_) => Modality::Table,
        }
    }
}

impl MediaProcessor {
    /// Of an encoder of that shape. `image` makes pixels of a video's frames, `words` vectors of a table's
    /// words.
    ///
    /// # Errors
    /// An encoder of tables without `words`, or of frames of another size than `image` makes; an encoder of
    /// pictures, which [`ImageProcessor`] serves.
    pub fn new(
        encoder: &EncoderConfig,
        image: &ImageProcessor,
        words: Option<&Words>,
    ) -> Result<Self> {
        Ok(match encoder {
            EncoderConfig::Conformer(config) => {
                Self::Audio { bands: config.bands, frames: 4 * config.positions, padded: false }
            }
            EncoderConfig::Whisper(config) => {
                Self::Audio { bands: config.bands, frames: 2 * config.positions, padded: true }
            }
            EncoderConfig::Qwen2Audio(config) => {
                Self::Ended { bands: config.bands, frames: 2 * config.positions, padded: true }
            }
            EncoderConfig::Omni(config) => {
                Self::Ended { bands: config.whisper.bands, frames: config.frames, padded: false }
            }
            EncoderConfig::Video(config) => {
                let got = image.size().map_or(0, |[_, width]| width as usize);
                if got != config.image.image {
                    return Err(other_size(config.image.image, got));
                }
                let (frames, latents) = (config.frames, config.latents);
                Self::Video { processor: image.clone(), frames, latents }
            }
            EncoderConfig::Table(config) => {
                let words = words.ok_or_else(|| no_words(config.embed))?;
                Self::Table { columns: config.columns, texts: Box::new(words.clone()) }
            }
            EncoderConfig::Vit { .. } | EncoderConfig::Resnet(_) => {
                return Err(no_words(0));
            }
        })
    }

    /// What it reads.
    pub fn modality(&self) -> Modality {
        match self {
            Self::Audio { .. } | Self::Ended { .. } | Self::Filled { .. } => Modality::Audio,
            Self::Video { .. } => Modality::Video,
            Self::Table { .. } => Modality::Table,
        }
    }

    /// The pieces of a medium, at least one; none of a medium of another kind.
    ///
    /// # Errors
    /// A table of more columns than the encoder reads; a sound too short for a position.
    pub fn pieces(&self, medium: &Media) -> Result<Vec<Piece>> {
        match (self, medium) {
            (Self::Audio { bands, frames, padded }, Media::Audio(sound)) => {
                Ok(heard(sound, *bands, *frames, *padded))
            }
            (Self::Ended { bands, frames, padded }, Media::Audio(sound)) => {
                ended(sound, *bands, *frames, *padded)
            }
            (Self::Filled { bands, frames }, Media::Audio(sound)) => {
                Ok(filled(sound, *bands, *frames))
            }
            (Self::Video { processor, frames, .. }, Media::Video(video)) => {
                Ok(vec![watched(video, processor, *frames)])
            }
            (Self::Table { columns, .. }, Media::Table(table)) => rows(table, *columns),
            _ => Ok(Vec::new()),
        }
    }

    /// Positions that the encoder makes of a piece.
    pub fn positions(&self, piece: &Piece) -> usize {
        match (self, piece) {
            (
                Self::Audio { padded: true, .. } | Self::Filled { .. },
                Piece::Audio { frames, .. },
            ) => frames / 2,
            (Self::Ended { .. }, Piece::Audio { frames, .. }) => pooled_positions(*frames),
            (_, Piece::Audio { frames, .. }) => positions(*frames),
            (Self::Video { latents, .. }, _) => *latents,
            (_, Piece::Table(cells)) => cells.len(),
            (_, Piece::Video(_)) => 0,
        }
    }

    /// Places of this kind as one batch; nothing without any.
    ///
    /// # Errors
    /// The tokenizer fails at a word of a table.
    pub fn input<'a>(
        &self,
        pieces: impl IntoIterator<Item = &'a Piece>,
        device: &Device,
    ) -> Result<Option<Input>> {
        let kind = self.modality();
        let pieces: Vec<&Piece> =
            pieces.into_iter().filter(|piece| piece.modality() == kind).collect();
        if pieces.is_empty() {
            return Ok(None);
        }
        Ok(Some(match self {
            Self::Audio { bands, .. } | Self::Ended { bands, .. } | Self::Filled { bands, .. } => {
                Input::Audio(sounds(&pieces, *bands, device))
            }
            Self::Video { processor, frames, .. } => {
                let [height, width] = processor.size().unwrap_or_default().map(|n| n as usize);
                let values: Vec<f32> =
                    pieces.iter().flat_map(|piece| pixels(piece)).copied().collect();
                let shape = [pieces.len(), *frames, 3, height, width];
                Input::Video(Tensor::from_data(TensorData::new(values, shape), device))
            }
            Self::Table { texts, .. } => Input::Table(texts.rows(&pieces, device)?),
        }))
    }
}

fn other_size(expected: usize, got: usize) -> Error {
    Error::Setting {
        file: "preprocessor_config.json".into(),
        key: "size".into(),
        expected: format!("{expected} pixels, those of the video's frames"),
        got: got.to_string(),
        hint: "pictures and frames are made ready alike",
    }
}

fn no_words(embed: usize) -> Error {
    Error::Setting {
        file: "config.json".into(),
        key: "llava.towers".into(),
        expected: format!("a text tower (clip) of width {embed} beside an encoder of tables"),
        got: "none".into(),
        hint: "names and categories are read by the text tower of the same model",
    }
}

/// Stretches of a sound, each of at most `most` frames.
fn heard(sound: &Sound, bands: usize, most: usize, padded: bool) -> Vec<Piece> {
    let mel = match sound.rate == mel::RATE {
        true => Mel::new(&sound.samples, bands),
        false => Mel::new(&sound.clone().at_rate(mel::RATE).samples, bands),
    };
    let seconds = sound.samples.len() as f64 / f64::from(sound.rate.max(1));
    let all = ((seconds * f64::from(mel::RATE) / mel::HOP as f64).ceil() as usize).max(1);
    let stretch = |first: usize| {
        let frames = if padded { most } else { most.min(all - first) };
        Piece::Audio { mel: mel.window(first, frames), frames }
    };
    (0..all).step_by(most).map(stretch).collect()
}

/// Stretches of a sound, each of at most so many frames, or of that many where silence stands behind it; the last one
/// is left out where it is too short to be heard.
fn ended(sound: &Sound, bands: usize, most: usize, padded: bool) -> Result<Vec<Piece>> {
    const LEAST: usize = 2 * mel::HOP + 1;
    let mut samples = sound.clone().at_rate(mel::RATE).samples;
    let count = samples.len();
    if count < LEAST {
        return Err(Error::ShortSound { least: LEAST, got: count, rate: mel::RATE });
    }
    // The last frames hear silence behind the sound too, as far as a piece reaches.
    samples.resize((count + mel::WINDOW).min(most * mel::HOP).max(count), 0.0);
    let (all, whole) = (count.div_ceil(mel::HOP), Mel::new(&samples, bands));
    let stretch = |first: usize| {
        let frames = most.min(all - first);
        let mel = whole.window(first, if padded { most } else { frames });
        (pooled_positions(frames) > 0).then_some(Piece::Audio { mel, frames })
    };
    Ok((0..all).step_by(most).filter_map(stretch).collect())
}

/// Stretches of a sound with silence behind it, so many frames in each.
fn filled(sound: &Sound, bands: usize, most: usize) -> Vec<Piece> {
    let mut samples = sound.clone().at_rate(mel::RATE).samples;
    samples.resize(samples.len().max(1).next_multiple_of(most * mel::HOP), 0.0);
    let mel = Mel::new(&samples, bands);
    let stretch = |first| Piece::Audio { mel: mel.window(first, most), frames: most };
    (0..samples.len() / mel::HOP).step_by(most).map(stretch).collect()
}

/// So many frames of a video, evenly; of a shorter one, some of them more than once.
fn watched(video: &Video, processor: &ImageProcessor, frames: usize) -> Piece {
    let last = video.frames.len().saturating_sub(1);
    let chosen = (0..frames).map(|i| (i * last + (frames - 1) / 2) / (frames - 1).max(1));
    let pictures = chosen.filter_map(|i| video.frames.get(i));
    let fitted = pictures.flat_map(|frame| processor.fit_frame(&frame.picture).pictures);
    Piece::Video(fitted.flat_map(|picture| processor.planes(&picture)).collect())
}

/// The rows of a table.
fn rows(table: &Table, limit: usize) -> Result<Vec<Piece>> {
    if table.schema.len() > limit {
        return Err(Error::Columns { got: table.schema.len(), limit });
    }
    let row = |cells: &Vec<table::Cell>| {
        let named = table.schema.iter().zip(cells);
        Piece::Table(named.map(|(column, cell)| (column.name.clone(), cell.clone())).collect())
    };
    Ok(table.rows.iter().map(row).collect())
}

/// Spectrograms padded with zeros to the longest.
fn sounds(pieces: &[&Piece], bands: usize, device: &Device) -> Sounds {
    let sounds = pieces.iter().filter_map(|piece| match piece {
        Piece::Audio { mel, frames } => Some((mel, *frames)),
        _ => None,
    });
    let frames: Vec<usize> = sounds.clone().map(|(_, frames)| frames).collect();
    let own = |mel: &Vec<f32>| mel.len() / bands.max(1);
    let longest = sounds.clone().map(|(mel, _)| own(mel)).max().unwrap_or_default();
    let mut values = vec![0.0; pieces.len() * bands * longest];
    for ((mel, _), to) in sounds.zip(values.chunks_exact_mut((bands * longest).max(1))) {
        let frames = own(mel).max(1);
        for (band, to) in mel.chunks_exact(frames).zip(to.chunks_exact_mut(longest)) {
            to[..frames].copy_from_slice(band);
        }
    }
    let shape = [pieces.len(), bands, longest];
    let mel = Tensor::from_data(TensorData::new(values, shape), device);
    Sounds { mel, frames: frames.into() }
}

fn pixels(piece: &Piece) -> &[f32] {
    match piece {
        Piece::Video(pixels) => pixels,
        Piece::Audio { .. } | Piece::Table(_) => &[],
    }
}

impl Words {
    /// Rows of tables, padded behind to the longest. A word's vector has a length of √W, so that each of its
    /// components is of about the size of a number.
    fn rows(&self, pieces: &[&Piece], device: &Device) -> Result<Rows> {
        let all: Vec<&[(String, table::Cell)]> = pieces.iter().map(|piece| cells(piece)).collect();
        let n = all.iter().map(|row| row.len()).max().unwrap_or_default();
        let (mut words, mut names, mut categories) = (vec![""], Vec::new(), Vec::new());
        let spelt: Vec<Vec<String>> =
            all.iter().map(|row| row.iter().map(|(_, cell)| spelling(cell)).collect()).collect();
        for (row, spelt) in all.iter().zip(&spelt) {
            for i in 0..n {
                let name = row.get(i).map_or("", |(name, _)| name.as_str());
                names.push(row_of(&mut words, name));
                categories.push(row_of(&mut words, spelt.get(i).map_or("", String::as_str)));
            }
        }
        let vectors = self.vectors(&words, device)?;
        let [_, w] = vectors.dims();
        let looked_up =
            |rows: Vec<i32>| fused::embedding(vectors.clone(), rows).reshape([all.len(), n, w]);
        let each =
            || all.iter().flat_map(|row| (0..n).map(move |i| row.get(i).map(|(_, cell)| cell)));
        let numbers: Vec<f32> = each().map(number).collect();
        Ok(Rows {
            names: looked_up(names),
            categories: looked_up(categories),
            numbers: Tensor::from_data(TensorData::new(numbers, [all.len(), n]), device),
            cells: each().map(kind).collect(),
            columns: all.iter().map(|row| row.len()).collect(),
        })
    }

    /// `[words, W]`, constants.
    fn vectors(&self, words: &[&str], device: &Device) -> Result<Tensor<2>> {
        let ids = words.iter().map(|word| self.input.ids(word)).collect::<Result<Vec<_>>>()?;
        let vectors = unit(self.tower.embed(&self.input.pad(&ids)));
        let [n, w] = vectors.dims();
        let values = read(vectors * (w as f32).sqrt());
        Ok(Tensor::from_data(TensorData::new(values, [n, w]), device))
    }
}

fn cells(piece: &Piece) -> &[(String, table::Cell)] {
    match piece {
        Piece::Table(cells) => cells,
        Piece::Audio { .. } | Piece::Video(_) => &[],
    }
}

/// Where a word stands among those that are known, at the end if it is new.
fn row_of<'a>(words: &mut Vec<&'a str>, word: &'a str) -> i32 {
    let row = words.iter().position(|known| *known == word);
    row.unwrap_or_else(|| {
        words.push(word);
        words.len() - 1
    }) as i32
}

/// A cell's words, if it holds any.
fn spelling(cell: &table::Cell) -> String {
    match cell {
        table::Cell::Category(text) => text.clone(),
        table::Cell::Boolean(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        table::Cell::Missing | table::Cell::Number(_) | table::Cell::Date(_) => String::new(),
    }
}

/// Numbers by their inverse hyperbolic sine: as they are near 0, as logarithms where they are large, so that
/// columns nobody has seen need no scale of their own. Dates are years since 2000.
fn number(cell: Option<&table::Cell>) -> f32 {
    match cell {
        Some(table::Cell::Number(x)) => x.asinh() as f32,
        Some(table::Cell::Date(days)) => ((days / 365.25) - 30.0).asinh() as f32,
        _ => 0.0,
    }
}

fn kind(cell: Option<&table::Cell>) -> Cell {
    match cell {
        Some(table::Cell::Number(_) | table::Cell::Date(_)) => Cell::Number,
        Some(table::Cell::Category(_) | table::Cell::Boolean(_)) => Cell::Category,
        Some(table::Cell::Missing) | None => Cell::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audio(padded: bool) -> MediaProcessor {
        MediaProcessor::Audio { bands: 8, frames: 100, padded }
    }

    #[test]
    fn a_sound_has_a_place_for_each_stretch() {
        let sound = |samples: usize, rate| {
            Media::Audio(Sound { rate, samples: vec![0.1; samples], warning: None })
        };
        for (samples, rate, frames) in [
            (1, 16_000, vec![1]),
            (16_000, 16_000, vec![100]),
            (16_001, 16_000, vec![100, 1]),
            (20_000, 8_000, vec![100, 100, 50]),
        ] {
            let pieces = audio(false).pieces(&sound(samples, rate)).unwrap();
            let got: Vec<usize> = pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Audio { mel, frames } => {
                        assert_eq!(mel.len(), 8 * frames);
                        *frames
                    }
                    _ => 0,
                })
                .collect();
            assert_eq!(got, frames);
            let pieces = audio(true).pieces(&sound(samples, rate)).unwrap();
            assert!(pieces.iter().all(|piece| audio(true).positions(piece) == 50));
        }
    }

    #[test]
    fn shorter_sounds_are_padded() {
        let piece = |frames: usize, x| Piece::Audio { mel: vec![x; 2 * frames], frames };
        let processor = MediaProcessor::Audio { bands: 2, frames: 9, padded: false };
        let pieces = [piece(2, 1.0), Piece::Video(Vec::new()), piece(3, 2.0)];
        let input = processor.input(&pieces, &Device::flex()).unwrap();
        let Some(Input::Audio(sounds)) = input else { panic!("sounds") };
        assert_eq!(*sounds.frames, [2, 3]);
        let first = [1.0, 1.0, 0.0, 1.0, 1.0, 0.0];
        assert_eq!(read(sounds.mel), [first, [2.0; 6]].concat());
        assert!(processor.input(&pieces[1..2], &Device::flex()).unwrap().is_none());
    }

    #[test]
    fn every_video_has_as_many_frames() {
        let processor = ImageProcessor::padded(1);
        let video = |n: usize| {
            let picture = |i: usize| sensorium_media::Picture {
                width: 1,
                height: 1,
                pixels: vec![i as u8; 3],
            };
            let frames = (0..n)
                .map(|i| sensorium_media::video::Frame { picture: picture(i), seconds: i as f64 });
            Video { frames: frames.collect(), duration: n as f64 }
        };
        let shown = |n| {
            let Piece::Video(pixels) = watched(&video(n), &processor, 4) else { return vec![] };
            let one = |i: usize| processor.planes(&video(n).frames[i].picture)[0];
            let red: Vec<f32> = pixels.chunks(3).map(|pixel| pixel[0]).collect();
            red.iter().map(|x| (0..n).find(|&i| one(i) == *x).unwrap()).collect()
        };
        assert_eq!(shown(1), [0, 0, 0, 0]);
        assert_eq!(shown(2), [0, 0, 1, 1]);
        assert_eq!(shown(4), [0, 1, 2, 3]);
        assert_eq!(shown(7), [0, 2, 4, 6]);
    }

    #[test]
    fn a_row_has_a_cell_for_each_column_and_too_many_are_named() {
        let table = Table::decode(b"age,sex,ill\n54,f,\n,m,true\n", "t.csv").unwrap();
        let pieces = rows(&table, 3).unwrap();
        assert_eq!(pieces.len(), 2);
        let kinds: Vec<Cell> = cells(&pieces[0]).iter().map(|(_, cell)| kind(Some(cell))).collect();
        assert_eq!(kinds, [Cell::Number, Cell::Category, Cell::Missing]);
        let error = rows(&table, 2).unwrap_err().to_string();
        assert!(error.contains("at most 2 columns, got 3"), "{error}");
    }
}
