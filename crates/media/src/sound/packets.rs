//! Packets of a container to samples, by `symphonia`.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;

use super::{Kind, Result, Sound, SoundError, Source, mix};

pub(super) fn decode(source: &Source<'_>, kind: Kind) -> Result<Sound> {
    // A foreign decoder's mistake must not become ours.
    catch_unwind(AssertUnwindSafe(|| Packets::open(source, kind)?.decode(source)))
        .unwrap_or_else(|_| Err(source.damaged(kind, "the decoder failed on it")))
}

/// One track of a container.
struct Packets {
    kind: Kind,
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    /// Samples of a channel that the container announces.
    claimed: Option<u64>,
    sound: Sound,
    /// Packets that were decoded, and that were not.
    packets: [u64; 2],
}

impl Packets {
    fn open(source: &Source<'_>, kind: Kind) -> Result<Self> {
        let explain = |error| explain(source, kind, error);
        let bytes = readable(source.bytes, kind);
        let stream = MediaSourceStream::new(Box::new(Cursor::new(bytes)), Default::default());
        let format = symphonia::default::get_probe()
            .probe(&Hint::new(), stream, Default::default(), Default::default())
            .map_err(explain)?;
        let lacks = |what: &str| source.damaged(kind, format!("it has no {what}"));
        let track =
            format.default_track(TrackType::Audio).ok_or_else(|| lacks("track of sound"))?;
        let params = track.codec_params.as_ref().and_then(|params| params.audio());
        let params = params.ok_or_else(|| lacks("description of its sound"))?;
        let rate = params.sample_rate.ok_or_else(|| lacks("sample rate"))?;
        let channels = params.channels.as_ref().map_or(1, |channels| channels.count());
        source.check_spec(rate, channels)?;
        if let Some(claimed) = track.num_frames {
            source.check_samples(claimed, rate)?;
        }
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(params, &AudioDecoderOptions::default())
            .map_err(explain)?;
        let (track, claimed) = (track.id, track.num_frames);
        let sound = Sound { rate, samples: Vec::new() };
        Ok(Self { kind, format, decoder, track, claimed, sound, packets: [0; 2] })
    }

    fn decode(mut self, source: &Source<'_>) -> Result<Sound> {
        let mut block = Vec::new();
        loop {
            let packet = match self.format.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) | Err(Error::ResetRequired) => break,
                // What was decoded so far is judged by its length.
                Err(Error::IoError(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    break;
                }
                Err(error) => return Err(explain(source, self.kind, error)),
            };
            if packet.track_id != self.track {
                continue;
            }
            self.packet(source, &packet, &mut block)?;
        }
        self.finish(source)
    }

    /// A packet that cannot be decoded is left out, as players do: the first of a cut MP3 refers to
    /// what was cut away.
    fn packet(
        &mut self,
        source: &Source<'_>,
        packet: &symphonia::core::packet::Packet,
        block: &mut Vec<f32>,
    ) -> Result<()> {
        let decoded = match self.decoder.decode(packet) {
            Ok(decoded) => decoded,
            Err(Error::DecodeError(_) | Error::IoError(_)) => {
                self.packets[1] += 1;
                return Ok(());
            }
            Err(error) => return Err(explain(source, self.kind, error)),
        };
        let (rate, channels) = (decoded.spec().rate(), decoded.spec().channels().count());
        source.check_spec(rate, channels)?;
        if self.sound.samples.is_empty() {
            // The decoder knows better than the container: AAC may double its rate.
            self.sound.rate = rate;
        } else if rate != self.sound.rate {
            return Err(source.damaged(self.kind, "its sample rate changes on the way"));
        }
        let samples = self.sound.samples.len() + decoded.frames();
        source.check_samples(samples as u64, rate)?;
        decoded.copy_to_vec_interleaved(block);
        mix(block, channels, &mut self.sound.samples);
        self.packets[0] += 1;
        Ok(())
    }

    fn finish(self, source: &Source<'_>) -> Result<Sound> {
        let [good, bad] = self.packets;
        if bad > good {
            let reason = format!("{bad} of {} packets cannot be decoded", good + bad);
            return Err(source.damaged(self.kind, reason));
        }
        let got = self.sound.samples.len() as u64;
        // Other headers than WAV's may be a packet or two off.
        let slack = if self.kind == Kind::Wav { 0 } else { u64::from(self.sound.rate) };
        let missing = |claimed: &u64| *claimed > got + slack;
        if let Some(claimed) = self.claimed.filter(missing) {
            return Err(source.truncated(self.kind, claimed, got));
        }
        Ok(self.sound)
    }
}

/// The bytes as the decoder is to see them.
fn readable(bytes: &[u8], kind: Kind) -> Vec<u8> {
    let mut bytes = untagged(bytes).to_vec();
    if kind == Kind::Wav {
        // The length of the whole file adds nothing, and programs that stream leave it wrong: as if
        // it were unknown. The length of the data counts, unless it is this too.
        bytes[4..8].fill(0xFF);
    }
    bytes
}

/// Without ID3v2 tags, which may hold pictures of any size. Their length is seven bits a byte.
fn untagged(mut bytes: &[u8]) -> &[u8] {
    while let [b'I', b'D', b'3', _, _, flags, a, b, c, d, ..] = *bytes {
        let length = [a, b, c, d].iter().fold(0, |n, &byte| n << 7 | usize::from(byte & 0x7F));
        let footer = if flags & 0x10 == 0 { 0 } else { 10 };
        bytes = bytes.get(10 + length + footer..).unwrap_or_default();
    }
    bytes
}

fn explain(source: &Source<'_>, kind: Kind, error: Error) -> SoundError {
    match error {
        Error::Unsupported(found) => SoundError::Unsupported {
            origin: source.origin.into(),
            kind: kind.name(),
            found: format!("what is not supported: {found}"),
        },
        error => source.damaged(kind, error),
    }
}
