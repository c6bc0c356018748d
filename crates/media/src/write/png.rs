//! PNG and APNG, with notes as text chunks: Latin-1 where that has the letters, UTF-8 where not.

use png::{BitDepth, ColorType, Compression, Encoder, EncodingError, Filter, Writer};

use super::{Kind, Notes, refused, size};
use crate::{Picture, Result, Video};

/// A picture.
pub fn still(picture: &Picture, notes: Notes<'_>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encode = || {
        let encoder = encoder(&mut bytes, [picture.width, picture.height], notes)?;
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&picture.pixels)?;
        writer.finish()
    };
    encode().map_err(|error| refused(Kind::Png, error))?;
    Ok(bytes)
}

/// A video that begins again for ever. A frame stays at most 65 s.
pub fn animation(video: &Video, notes: Notes<'_>) -> Result<Vec<u8>> {
    let pictures: Vec<&Picture> = video.pictures().collect();
    let size = size(Kind::Apng, &pictures)?;
    let mut bytes = Vec::new();
    let mut encode = || {
        let mut encoder = encoder(&mut bytes, size, notes)?;
        encoder.set_animated(pictures.len() as u32, 0)?;
        let mut writer = encoder.write_header()?;
        for (picture, thousandths) in pictures.iter().zip(video.delays(1000)) {
            add(&mut writer, picture, thousandths)?;
        }
        writer.finish()
    };
    encode().map_err(|error| refused(Kind::Apng, error))?;
    Ok(bytes)
}

fn add(writer: &mut Writer<&mut Vec<u8>>, picture: &Picture, thousandths: u16) -> Encoded<()> {
    writer.set_frame_delay(thousandths, 1000)?;
    writer.write_image_data(&picture.pixels)
}

type Encoded<T> = std::result::Result<T, EncodingError>;

fn encoder<'a>(
    bytes: &'a mut Vec<u8>,
    [width, height]: [u32; 2],
    notes: Notes<'_>,
) -> Encoded<Encoder<'a, &'a mut Vec<u8>>> {
    let mut encoder = Encoder::new(bytes, width, height);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Fast);
    encoder.set_filter(Filter::Adaptive);
    for (name, text) in notes {
        let (name, text) = ((*name).to_owned(), text.clone());
        match text.chars().all(|c| u32::from(c) < 256) {
            true => encoder.add_text_chunk(name, text)?,
            false => encoder.add_itxt_chunk(name, text)?,
        }
    }
    Ok(encoder)
}
