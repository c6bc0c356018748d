//! Packets of a container to samples, by `symphonia`.

use std::io::{ErrorKind, Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};

use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::packet::Packet;
use symphonia::core::units::Duration;

use super::container::{self, Found, Kind};
use super::opus::{self, Opus};
use super::{Result, SoundError, Source, mix};

/// Most samples of a channel in a packet: FLAC's and ALAC's limit.
const MAX_PACKET: u64 = 1 << 16;

/// Most changes of the rate: each costs another filter.
const MAX_CHANGES: usize = 16;

/// Samples of one channel, and their rate.
pub(super) struct Block {
    pub(super) rate: u32,
    pub(super) samples: Vec<f32>,
}

/// The sound of a container, packet by packet.
pub(super) struct Packets<'a> {
    pub(super) source: Source,
    kind: Kind,
    format: Box<dyn FormatReader + 'a>,
    stream: Stream,
    /// Samples of a channel that the container announces, where it does not guess.
    claimed: Option<u64>,
    /// Bytes of samples that are there, and that are announced, if they are counted.
    bytes: Option<[u64; 2]>,
    /// Whether the container tells where it ends.
    closed: bool,
    /// Samples of a channel that were given.
    given: u64,
    /// Packets that were decoded, and that were not.
    packets: [u64; 2],
    /// The last block's rate, and how often it changed.
    rate: u32,
    changes: usize,
    /// Whether the container ends before its end.
    cut: bool,
    ended: bool,
}

/// One track and its decoder.
struct Stream {
    track: u32,
    params: AudioCodecParameters,
    decoder: Decoder,
    /// Where the silence ends that fills the last packets, if that is known.
    filled: Option<i64>,
    /// Whether durations count samples of a channel.
    counts: bool,
    /// Version, rate and channels of the last packet of MPEG audio.
    shape: Option<[u8; 3]>,
    block: Vec<f32>,
}

enum Decoder {
    Opus(Opus),
    Other(Box<dyn AudioDecoder>),
}

impl<'a> Packets<'a> {
    /// The sound in `length` bytes.
    pub(super) fn open<R: Read + Seek + Send + Sync + 'a>(
        source: Source,
        bytes: R,
        length: u64,
    ) -> Result<Self> {
        let found = container::find(bytes, length).map_err(|error| source.unreadable(&error))?;
        let found = found.map_err(|container::Foreign(head)| source.foreign(&head, length))?;
        let Found { kind, excerpt, bytes, closed } = found;
        let format = guarded(&source, kind, || {
            let stream = MediaSourceStream::new(Box::new(excerpt), Default::default());
            symphonia::default::get_probe()
                .probe(&Hint::new(), stream, Default::default(), Default::default())
                .map_err(|error| source.explain(kind, error))
        })?;
        let (stream, claimed) = guarded(&source, kind, || Stream::open(&source, kind, &*format))?;
        let (given, packets, rate, changes) = (0, [0; 2], 0, 0);
        Ok(Self {
            source,
            kind,
            format,
            stream,
            claimed,
            bytes,
            closed,
            given,
            packets,
            rate,
            changes,
            cut: false,
            ended: false,
        })
    }

    /// The next samples: at least one, all of them finite.
    pub(super) fn next(&mut self) -> Result<Option<Block>> {
        while !self.ended {
            // A foreign decoder's mistake must not become ours.
            let step = catch_unwind(AssertUnwindSafe(|| self.step()));
            let block = step.unwrap_or_else(|_| Err(self.source.failed(self.kind)));
            let block = block.and_then(|block| self.check(block));
            self.ended |= block.is_err();
            if let Some(block) = block? {
                return Ok(Some(block));
            }
        }
        Ok(None)
    }

    fn check(&mut self, block: Option<Block>) -> Result<Option<Block>> {
        let Some(block) = block.filter(|block| !block.samples.is_empty()) else { return Ok(None) };
        if let Some(at) = block.samples.iter().position(|sample| !sample.is_finite()) {
            let (origin, at) = (self.source.origin.clone(), self.given + at as u64);
            return Err(SoundError::NotFinite { origin, at });
        }
        self.changes += usize::from(self.rate != block.rate);
        if self.changes > MAX_CHANGES {
            return Err(self.source.damaged(self.kind, "its rate changes again and again"));
        }
        self.rate = block.rate;
        self.given += block.samples.len() as u64;
        Ok(Some(block))
    }

    /// One packet further.
    fn step(&mut self) -> Result<Option<Block>> {
        match self.format.next_packet() {
            Ok(Some(packet)) if packet.track_id == self.stream.track => self.packet(packet),
            Ok(Some(_)) => Ok(None),
            Ok(None) => self.end(),
            // Another stream follows, as when files are put together.
            Err(Error::ResetRequired) => {
                (self.stream, _) = Stream::open(&self.source, self.kind, &*self.format)?;
                self.claimed = None;
                Ok(None)
            }
            Err(Error::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                self.cut = self.closed;
                self.end()
            }
            // What was decoded so far is there.
            Err(Error::DecodeError(_)) if self.given > 0 => {
                self.cut = true;
                self.end()
            }
            Err(error) => Err(self.source.explain(self.kind, error)),
        }
    }

    /// A packet that cannot be decoded is left out, as players do: the first of a cut MP3 refers to
    /// what was cut away.
    fn packet(&mut self, packet: Packet) -> Result<Option<Block>> {
        let decoded = self.stream.decode(&self.source, self.kind, packet);
        self.packets[usize::from(matches!(decoded, Ok(None)))] += 1;
        decoded
    }

    fn end(&mut self) -> Result<Option<Block>> {
        self.ended = true;
        let [good, bad] = self.packets;
        if bad > good {
            let reason = format!("{bad} of {} packets cannot be decoded", good + bad);
            return Err(self.source.damaged(self.kind, reason));
        }
        if self.given == 0 {
            return Err(self.source.empty("0 samples"));
        }
        Ok(None)
    }

    /// What is wrong with a sound that was read to its end.
    pub(super) fn warning(&self) -> Option<String> {
        let given = u128::from(self.given);
        let announced = self.bytes.map(|bytes| bytes.map(u128::from));
        let announced = announced.filter(|[there, announced]| there < announced);
        let announced = announced.map(|[there, announced]| given * announced / there.max(1));
        // Most headers may be a packet or two off.
        let slack = if self.kind == Kind::Flac { 0 } else { 4096 };
        let claimed = self.claimed.filter(|claimed| *claimed > self.given + slack);
        let announced = match claimed.map(u128::from).or(announced) {
            Some(announced) => format!(" of {announced} samples"),
            None if self.cut => String::new(),
            None => return None,
        };
        let (kind, origin) = (self.kind.name(), &self.source.origin);
        Some(format!(
            "expected a complete {kind} sound{announced} in {origin}, got {given}, which are read"
        ))
    }
}

/// As errors what foreign code panics at.
fn guarded<T>(source: &Source, kind: Kind, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(source.failed(kind)))
}

impl Stream {
    /// The container's sound, and how many samples of a channel it announces.
    fn open(source: &Source, kind: Kind, format: &dyn FormatReader) -> Result<(Self, Option<u64>)> {
        let lacks = |what: &str| source.damaged(kind, format!("it has no {what}"));
        let track = format.default_track(TrackType::Audio);
        let track = track
            .ok_or_else(|| source.unsupported(kind, "it has no track of sound that is read"))?;
        let params = track.codec_params.as_ref().and_then(|params| params.audio());
        let params = params.ok_or_else(|| lacks("description of its sound"))?;
        // Decoders take memory for as many.
        if let Some(samples) = params.max_frames_per_packet.filter(|samples| *samples > MAX_PACKET)
        {
            return Err(source.damaged(kind, format!("{samples} samples in a packet")));
        }
        let rate = match params.codec {
            CODEC_ID_OPUS => opus::RATE,
            _ => params.sample_rate.ok_or_else(|| lacks("sample rate"))?,
        };
        let channels = params.channels.as_ref().map_or(1, |channels| channels.count());
        source.check_spec(rate, channels)?;
        let decoder = decoder(source, kind, params)?;
        let counts =
            track.time_base.is_some_and(|base| base.numer.get() == 1 && base.denom.get() == rate);
        let filled =
            track.num_frames.zip(track.padding).map(|(n, fill)| n.saturating_add(fill.into()));
        let filled = filled.and_then(|end| i64::try_from(end).ok());
        // An MP3 without a count of its samples is guessed from its first packets.
        let guessed = !counts || kind == Kind::Mp3 && filled.is_none();
        let claimed = track.num_frames.filter(|_| !guessed);
        let (track, params) = (track.id, params.clone());
        let (shape, block) = (None, Vec::new());
        Ok((Self { track, params, decoder, filled, counts, shape, block }, claimed))
    }

    /// None if it cannot be decoded.
    fn decode(&mut self, source: &Source, kind: Kind, mut packet: Packet) -> Result<Option<Block>> {
        if kind == Kind::Mp3 {
            self.follow(source, kind, &packet)?;
            self.untrim(&mut packet);
        }
        let mut samples = Vec::new();
        let decoder = match &mut self.decoder {
            Decoder::Other(decoder) => decoder,
            Decoder::Opus(opus) => {
                let told = packet.dur.get() as usize;
                let most =
                    if kind == Kind::Mp4 && self.counts && told > 0 { told } else { usize::MAX };
                let channels = opus.channels;
                let decoded = opus.decode(&packet.data, most, packet.trim_end.get() as usize);
                let Ok(decoded) = decoded else { return Ok(None) };
                mix(decoded, channels, &mut samples);
                return Ok(Some(Block { rate: opus::RATE, samples }));
            }
        };
        let decoded = match decoder.decode(&packet) {
            Ok(decoded) => decoded,
            Err(Error::DecodeError(_) | Error::IoError(_)) => return Ok(None),
            Err(error) => return Err(source.explain(kind, error)),
        };
        // The decoder knows better than the container: AAC may double its rate.
        let (rate, channels) = (decoded.spec().rate(), decoded.spec().channels().count());
        source.check_spec(rate, channels)?;
        decoded.copy_to_vec_interleaved(&mut self.block);
        mix(&self.block, channels, &mut samples);
        Ok(Some(Block { rate, samples }))
    }

    /// A decoder of MPEG audio keeps to one rate and one number of channels: where they change, as in
    /// files that were put together, another one goes on.
    fn follow(&mut self, source: &Source, kind: Kind, packet: &Packet) -> Result<()> {
        let &[_, second, third, fourth, ..] = &*packet.data else { return Ok(()) };
        let mono = u8::from(fourth >> 6 == 3);
        let shape = Some([second & 0x18, third & 0x0C, mono]);
        if self.shape.is_some() && self.shape != shape {
            self.decoder = decoder(source, kind, &self.params)?;
        }
        self.shape = shape;
        Ok(())
    }

    /// Only the silence that fills the last packets is left out at the end: a number of samples that
    /// was guessed, or is that of the first of several files, ends nothing.
    fn untrim(&self, packet: &mut Packet) {
        let start = packet.pts.get();
        if self.filled.is_none_or(|end| start >= end) {
            packet.dur = packet.dur.saturating_add(packet.trim_end);
            packet.trim_end = Duration::ZERO;
        }
    }
}

fn decoder(source: &Source, kind: Kind, params: &AudioCodecParameters) -> Result<Decoder> {
    if params.codec == CODEC_ID_OPUS {
        let opus = params.extra_data.as_deref().and_then(Opus::new);
        return opus.map(Decoder::Opus).ok_or_else(|| source.unsupported(kind, "this Opus"));
    }
    symphonia::default::get_codecs()
        .make_audio_decoder(params, &AudioDecoderOptions::default())
        .map(Decoder::Other)
        .map_err(|error| source.explain(kind, error))
}
