//! GIF: each frame has the 256 colours that are nearest to its own, notes are a comment.

use gif::{AnyExtension, DisposalMethod, Encoder, EncodingError, Extension, Frame, Repeat};

use super::{Kind, Notes, lines, refused, size};
use crate::{Picture, Result, Video};

/// How many of a frame's pixels its colours are learned from: 1, all, to 30.
const SPEED: i32 = 10;
/// Most bytes of a block.
const BLOCK: usize = 255;

pub fn encode(video: &Video, notes: Notes<'_>) -> Result<Vec<u8>> {
    let pictures: Vec<&Picture> = video.pictures().collect();
    let edges = size(Kind::Gif, &pictures)?.map(u16::try_from);
    let [Ok(width), Ok(height)] = edges else {
        return Err(refused(Kind::Gif, "frames of more than 65535 pixels along an edge"));
    };
    let encode = || -> std::result::Result<Vec<u8>, EncodingError> {
        let mut encoder = Encoder::new(Vec::new(), width, height, &[])?;
        encoder.set_repeat(Repeat::Infinite)?;
        let text = lines(notes.iter());
        if !text.is_empty() {
            let blocks: Vec<&[u8]> = text.as_bytes().chunks(BLOCK).collect();
            encoder.write_raw_extension(AnyExtension::from(Extension::Comment), &blocks)?;
        }
        for (picture, hundredths) in pictures.iter().zip(video.delays(100)) {
            let mut frame = Frame::from_rgb_speed(width, height, &picture.pixels, SPEED);
            (frame.delay, frame.dispose) = (hundredths, DisposalMethod::Keep);
            encoder.write_frame(&frame)?;
        }
        encoder.into_inner()
    };
    encode().map_err(|error| refused(Kind::Gif, error))
}
