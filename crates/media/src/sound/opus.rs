//! Opus packets to samples, by `opus-pure`; the containers are `symphonia`'s.

use opus_pure::{ChannelLayout, MAX_PACKET_SAMPLES, OpusDecoder, OpusMSDecoder, Result};

/// Samples a second that every Opus stream decodes to.
pub(super) const RATE: u32 = 48_000;

/// A decoder of one stream.
pub(super) struct Opus {
    decoder: Decoder,
    pub(super) channels: usize,
    /// Samples of a channel that come before the sound and are still to be left out.
    skip: usize,
    samples: Vec<f32>,
}

enum Decoder {
    /// Mono or stereo.
    Plain(Box<OpusDecoder>),
    Surround(Box<OpusMSDecoder>),
}

impl Opus {
    /// By the stream's head (RFC 7845, section 5.1); none if it is of no kind that is known.
    pub(super) fn new(head: &[u8]) -> Option<Self> {
        let &[version, channels, a, b, _, _, _, _, c, d, family, ref rest @ ..] = head.get(8..)?
        else {
            return None;
        };
        // In an MP4 the version is 0, and the numbers are written the other way round.
        let number = |bytes| {
            if version == 0 { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
        };
        let gain = i32::from(number([c, d]) as i16);
        let count = usize::from(channels);
        let decoder = if family == 0 {
            let mut decoder = OpusDecoder::new(RATE as i32, count).ok()?;
            decoder.gain_q8 = gain;
            Decoder::Plain(Box::new(decoder))
        } else {
            let layout = ChannelLayout::surround(count, family).ok()?;
            // The mean of the channels is the same in whatever order they are.
            let &[streams, coupled, ..] = rest else { return None };
            let wanted = [layout.nb_streams, layout.nb_coupled_streams];
            if wanted != [streams, coupled].map(usize::from) {
                return None;
            }
            let mut decoder = OpusMSDecoder::new(RATE as i32, count, family).ok()?;
            decoder.streams_mut().iter_mut().for_each(|stream| stream.gain_q8 = gain);
            Decoder::Surround(Box::new(decoder))
        };
        let samples = vec![0.0; MAX_PACKET_SAMPLES * count];
        Some(Self { decoder, channels: count, skip: number([a, b]).into(), samples })
    }

    /// Interleaved samples of a packet whose last `beyond` are behind the sound's end.
    pub(super) fn decode(&mut self, packet: &[u8], most: usize, beyond: usize) -> Result<&[f32]> {
        let samples = match &mut self.decoder {
            Decoder::Plain(decoder) => {
                decoder.decode(packet, MAX_PACKET_SAMPLES, &mut self.samples)
            }
            Decoder::Surround(decoder) => {
                decoder.decode(packet, MAX_PACKET_SAMPLES, &mut self.samples)
            }
        }?;
        let end = samples.saturating_sub(beyond).min(most);
        let start = self.skip.min(end);
        self.skip -= self.skip.min(samples);
        Ok(&self.samples[start * self.channels..end * self.channels])
    }
}
