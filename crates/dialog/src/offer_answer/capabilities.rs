//! What we can send and receive, and where.

use std::net::SocketAddr;

use dialtone_wire::sdp::{Direction, MediaKind, RtpMap, Text, Word, static_rtpmap};

/// A codec or an event format, with the payload type that we like for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codec {
    /// Name, clock rate, channels and the payload type to ask for.
    pub map: RtpMap,
    /// Parameters for `a=fmtp`, if any.
    pub fmtp: Option<Text>,
}

impl Codec {
    /// A codec of a static payload type (RFC 3551 §6) without parameters; `None` when the type is not assigned.
    pub fn of_static(payload_type: u8) -> Option<Codec> {
        static_rtpmap(payload_type).map(|map| Codec { map, fmtp: None })
    }

    /// DTMF and other telephone events 0 to 15 at 8000 Hz (RFC 4733) under a dynamic payload type.
    pub fn telephone_event(payload_type: u8) -> Codec {
        let encoding = Word::literal("telephone-event");
        let map = RtpMap { payload_type, encoding, clock_hz: 8_000, channels: None };
        Codec { map, fmtp: Text::new("0-15") }
    }

    /// Whether both are the same format, whatever their payload types (RFC 3264 §6.1; names compare without case).
    pub(super) fn is_same(left: &RtpMap, right: &RtpMap) -> bool {
        left.encoding.as_str().eq_ignore_ascii_case(right.encoding.as_str())
            && left.clock_hz == right.clock_hz
            && left.channels.unwrap_or(1) == right.channels.unwrap_or(1)
    }
}

/// What we offer and accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Audio codecs in order of preference.
    pub codecs: Vec<Codec>,
    /// Video formats in order of preference; without any no video is accepted.
    pub video: Vec<Codec>,
    /// The format for telephone events.
    pub telephone_event: Option<Codec>,
    /// How much audio we would like in one packet, in milliseconds.
    pub ptime_ms: Option<u32>,
}

impl Capabilities {
    /// What streams of this kind may carry, telephone events last.
    pub(super) fn formats(&self, kind: StreamKind) -> impl Iterator<Item = &Codec> {
        let (codecs, event) = match kind {
            StreamKind::Audio => (&self.codecs, self.telephone_event.as_ref()),
            StreamKind::Video => (&self.video, None),
        };
        codecs.iter().chain(event)
    }

    /// How much of it goes into one packet.
    pub(super) fn ptime_ms(&self, kind: StreamKind) -> Option<u32> {
        self.ptime_ms.filter(|_| kind == StreamKind::Audio)
    }
}

/// What flows in a stream that we take part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

impl StreamKind {
    /// The kind of an `m=` line; `None` for those that we have no part in.
    pub(super) fn of(kind: &MediaKind) -> Option<StreamKind> {
        match kind {
            MediaKind::Audio => Some(StreamKind::Audio),
            MediaKind::Video => Some(StreamKind::Video),
            _ => None,
        }
    }

    pub(super) const fn media(self) -> MediaKind {
        match self {
            StreamKind::Audio => MediaKind::Audio,
            StreamKind::Video => MediaKind::Video,
        }
    }
}

/// Our end of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalStream {
    /// What flows in it.
    pub kind: StreamKind,
    /// Where we receive RTP; RTCP at the port plus one.
    pub address: SocketAddr,
    /// Which way we would like media to flow.
    pub direction: Direction,
}

/// The direction that puts the other side on hold (RFC 3264 §8.4): `sendrecv` becomes `sendonly`, `recvonly` becomes
/// `inactive`.
pub const fn held(direction: Direction) -> Direction {
    Direction::new(direction.sends(), false)
}
