//! MP4, MOV and Matroska with H.264: packets by `symphonia`, pictures by `openh264`.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};
use openh264::OpenH264API;
use openh264::decoder::{DecodedYUV, Decoder, DecoderConfig, Flush};
use openh264::formats::YUVSource;
use symphonia::core::codecs::video::well_known::CODEC_ID_H264;
use symphonia::core::codecs::video::well_known::extra_data::VIDEO_EXTRA_DATA_ID_AVC_DECODER_CONFIG;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;

use super::boxes::{self, Shown};
use super::{Frame, MAX_FRAMES, Sampling, Times, Video, chosen, not_a_video, within};
use crate::picture::{self, MAX_FILE_BYTES, Picture};
use crate::{Error, Result};

/// Whether it is a container that is read here.
pub(super) fn is_film(bytes: &[u8]) -> bool {
    let mp4 = bytes.get(4..8) == Some(b"ftyp") && crate::header::unsupported(bytes).is_none();
    mp4 || bytes.starts_with(&[0x1A, 0x45, 0xDF, 0xA3])
}

pub(super) fn decode(bytes: &[u8], source: &str, sampling: Sampling) -> Result<Video> {
    picture::within(bytes.len() as u64, MAX_FILE_BYTES, "bytes", source)?;
    // A foreign decoder's mistake must not become ours.
    let decoded = catch_unwind(AssertUnwindSafe(|| read(bytes, source, sampling)));
    decoded.unwrap_or_else(|_| Err(damaged(source, "its reader failed")))
}

fn read(bytes: &[u8], source: &str, sampling: Sampling) -> Result<Video> {
    let times = times(&mut Packets::open(bytes, source)?, source)?;
    let chosen = chosen(&times, sampling, source)?;
    let mut packets = Packets::open(bytes, source)?;
    let mut frames = Frames {
        source,
        shown: boxes::shown(bytes),
        chosen: &chosen,
        times: &times,
        next: 0,
        taken: Vec::new(),
    };
    let refused = |error: openh264::Error| damaged(source, &error.to_string());
    // Frames come in the order of time, those that wait for others once all are decoded.
    let config = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
    let decoder = Decoder::with_api_config(OpenH264API::from_source(), config);
    let mut decoder = decoder.map_err(refused)?;
    decoder.decode(&packets.head).map_err(refused)?;
    while frames.taken.len() < chosen.len() {
        let Some((_, nals)) = packets.next()? else { break };
        // One that cannot be decoded is concealed by those around it, as in players.
        if let Ok(Some(decoded)) = decoder.decode(&nals) {
            frames.take(&decoded)?;
        }
    }
    for decoded in decoder.flush_remaining().map_err(refused)? {
        frames.take(&decoded)?;
    }
    match frames.taken.len() == chosen.len() {
        true => Ok(Video { frames: frames.taken, duration: times.end }),
        false => Err(damaged(source, "some of its frames cannot be decoded")),
    }
}

fn damaged(source: &str, reason: &str) -> Error {
    let (origin, kind) = (source.to_owned(), "MP4 or Matroska".into());
    Error::Damaged { origin, kind, reason: reason.to_owned() }
}

/// When frames are shown. Containers keep packets in the order of decoding; frames are shown in that of
/// time, which begins at 0.
fn times(packets: &mut Packets<'_>, source: &str) -> Result<Times> {
    let mut shown = Vec::new();
    while let Some((span, _)) = packets.next()? {
        shown.push(span);
        if shown.len() > MAX_FRAMES {
            let (origin, got) = (source.to_owned(), shown.len());
            return Err(Error::TooManyFrames { origin, limit: MAX_FRAMES, got });
        }
    }
    shown.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let first = shown.first().map_or(0.0, |span| span[0]);
    let begin = shown.iter().map(|span| span[0] - first).collect();
    Ok(Times { begin, end: shown.last().map_or(0.0, |span| span[1] - first) })
}

/// A film's track of pictures, packet by packet.
struct Packets<'a> {
    source: &'a str,
    format: Box<dyn FormatReader + 'a>,
    track: u32,
    /// Seconds of a tick.
    tick: f64,
    /// What a decoder must know first.
    head: Vec<u8>,
    /// Bytes that tell how long a unit is.
    prefix: usize,
}

impl<'a> Packets<'a> {
    fn open(bytes: &'a [u8], source: &'a str) -> Result<Self> {
        let stream = MediaSourceStream::new(Box::new(Cursor::new(bytes)), Default::default());
        let format = symphonia::default::get_probe()
            .probe(&Hint::new(), stream, Default::default(), Default::default())
            .map_err(|error| damaged(source, &error.to_string()))?;
        let track = format.default_track(TrackType::Video);
        let track = track.ok_or_else(|| not_a_video(source, "a file without pictures".into()))?;
        let params = track.codec_params.as_ref().and_then(|params| params.video());
        let config = params.filter(|params| params.codec == CODEC_ID_H264).and_then(|params| {
            let id = VIDEO_EXTRA_DATA_ID_AVC_DECODER_CONFIG;
            params.extra_data.iter().find(|extra| extra.id == id)
        });
        let config = config.ok_or_else(|| Error::VideoCodec { origin: source.to_owned() })?;
        let head = head(&config.data).ok_or_else(|| damaged(source, "its avcC box is cut"))?;
        let base = track.time_base.ok_or_else(|| damaged(source, "it has no time base"))?;
        let tick = f64::from(base.numer.get()) / f64::from(base.denom.get());
        let (prefix, track) = (usize::from(config.data[4] & 3) + 1, track.id);
        Ok(Self { source, format, track, tick, head, prefix })
    }

    /// The seconds at which the next packet's frame begins and ends, and its units.
    fn next(&mut self) -> Result<Option<([f64; 2], Vec<u8>)>> {
        loop {
            let packet = match self.format.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => return Ok(None),
                Err(error) => return Err(damaged(self.source, &error.to_string())),
            };
            if packet.track_id == self.track {
                let begin = packet.pts.get() as f64 * self.tick;
                let end = begin + packet.dur.get() as f64 * self.tick;
                return Ok(Some(([begin, end], units(&packet.data, self.prefix))));
            }
        }
    }
}

/// Parameter sets of an `avcC` box (ISO/IEC 14496-15, 5.3.3.1), each behind a start code.
fn head(config: &[u8]) -> Option<Vec<u8>> {
    let (mut at, mut sets) = (5, Vec::new());
    for mask in [0x1F, 0xFF] {
        let count = config.get(at)? & mask;
        at += 1;
        for _ in 0..count {
            let length = usize::from(crate::header::u16_be(config, at)?);
            sets.extend([0, 0, 0, 1]);
            sets.extend(config.get(at + 2..at + 2 + length)?);
            at += 2 + length;
        }
    }
    Some(sets)
}

/// A packet's units behind start codes in place of their lengths; what is cut is left out.
fn units(packet: &[u8], prefix: usize) -> Vec<u8> {
    let (mut rest, mut units) = (packet, Vec::with_capacity(packet.len() + 16));
    while let Some((length, behind)) = rest.split_at_checked(prefix) {
        let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let Some((unit, behind)) = behind.split_at_checked(length) else { break };
        units.extend([0, 0, 0, 1]);
        units.extend(unit);
        rest = behind;
    }
    units
}

/// Takes those that are asked for of the frames that a decoder gives.
struct Frames<'a> {
    source: &'a str,
    shown: Shown,
    chosen: &'a [usize],
    times: &'a Times,
    /// Number of the next frame.
    next: usize,
    taken: Vec<Frame>,
}

impl Frames<'_> {
    fn take(&mut self, decoded: &DecodedYUV<'_>) -> Result<()> {
        let number = self.next;
        self.next += 1;
        if self.chosen.get(self.taken.len()) != Some(&number) {
            return Ok(());
        }
        let (width, height) = decoded.dimensions();
        let size = [width as u32, height as u32];
        within(self.chosen.len(), size, self.source)?;
        let pixels = rgb(decoded, self.shown);
        let image = RgbImage::from_raw(size[0], size[1], pixels).unwrap_or_default();
        let picture = upright(image.into(), self.shown.orientation)?;
        self.taken.push(Frame { picture, seconds: self.times.begin[number] });
        Ok(())
    }
}

fn upright(mut image: DynamicImage, orientation: Orientation) -> Result<Picture> {
    image.apply_orientation(orientation);
    Picture::new(image.width(), image.height(), image.into_rgb8().into_raw())
}

/// The nearest colours (ITU-T H.273, 8.3), a square of four pixels sharing one, as swscale has it.
fn rgb(decoded: &DecodedYUV<'_>, shown: Shown) -> Vec<u8> {
    let (width, height) = decoded.dimensions();
    let [y_row, u_row, v_row] = decoded.strides().into();
    let [red, blue] = if shown.bt709 { [0.2126, 0.0722] } else { [0.299, 0.114] };
    let green = 1.0 - red - blue;
    let [black, light, colour] =
        if shown.full { [0.0, 1.0, 1.0] } else { [16.0, 255.0 / 219.0, 255.0 / 224.0] };
    let (v_red, u_blue) = (2.0 * (1.0 - red) * colour, 2.0 * (1.0 - blue) * colour);
    let (u_green, v_green) = (u_blue * blue / green, v_red * red / green);
    let mut pixels = Vec::with_capacity(width * height * 3);
    for row in 0..height {
        for column in 0..width {
            let y = (f32::from(decoded.y()[row * y_row + column]) - black) * light;
            let u = f32::from(decoded.u()[row / 2 * u_row + column / 2]) - 128.0;
            let v = f32::from(decoded.v()[row / 2 * v_row + column / 2]) - 128.0;
            let rgb = [y + v_red * v, y - u_green * u - v_green * v, y + u_blue * u];
            pixels.extend(rgb.map(|value| value.round() as u8));
        }
    }
    pixels
}
