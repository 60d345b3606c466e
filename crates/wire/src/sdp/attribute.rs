//! Typed views of the attributes that audio needs; all other attributes stay text.

use std::net::IpAddr;

use super::error::{Expected, Fault};
use super::fields::{Judge, number};
use super::value::{Attribute, Connection, Media, Session, Text, Word};

/// What a payload type means: encoding name, clock rate and channels (RFC 8866 §6.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpMap {
    /// RTP payload type, 0 to 127.
    pub payload_type: u8,
    /// Name of the encoding; compared without regard to case.
    pub encoding: Word,
    /// Clock rate in hertz.
    pub clock_hz: u32,
    /// Number of audio channels, where written; 1 otherwise.
    pub channels: Option<u8>,
}

impl RtpMap {
    /// Reads the value of an `a=rtpmap` line. A clock rate that is missing for a static payload type is taken from
    /// RFC 3551 §6, blanks at the ends are passed over; any other departure gives `None`.
    pub fn parse(value: &Text) -> Option<RtpMap> {
        Self::parse_with_gap(value.as_str()?.trim_matches(' ')).map(|(map, _)| map)
    }

    /// Reads the value and says whether the clock rate was missing.
    fn parse_with_gap(value: &str) -> Option<(RtpMap, bool)> {
        let (payload_type, map) = value.split_once(' ')?;
        let payload_type: u8 = number(payload_type.as_bytes(), Expected::RtpMap).ok()?;
        if payload_type > 127 {
            return None;
        }
        let mut parts = map.split('/');
        let encoding = Word::new(parts.next()?)?;
        let Some(clock) = parts.next() else {
            let fixed = static_rtpmap(payload_type)?;
            let is_same = fixed.encoding.as_str().eq_ignore_ascii_case(encoding.as_str());
            return is_same.then_some((RtpMap { encoding, ..fixed }, true));
        };
        let clock_hz = number(clock.as_bytes(), Expected::RtpMap).ok().filter(|clock_hz| *clock_hz > 0)?;
        let channels = match parts.next() {
            Some(channels) => Some(number(channels.as_bytes(), Expected::RtpMap).ok()?),
            None => None,
        };
        let map = RtpMap { payload_type, encoding, clock_hz, channels };
        parts.next().is_none().then_some((map, false))
    }
}

pub(super) fn judge_rtpmap(attribute: &Attribute, judge: &mut Judge) -> Result<(), Expected> {
    let value = attribute.value().and_then(Text::as_str).unwrap_or_default();
    let trimmed = value.trim_matches(' ');
    if trimmed.len() < value.len() {
        judge.fault(Fault::ExtraBlanks, Expected::RtpMap)?;
    }
    match RtpMap::parse_with_gap(trimmed) {
        Some((_, false)) => Ok(()),
        Some((_, true)) => judge.fault(Fault::RtpMapWithoutClock, Expected::RtpMap),
        None => judge.fault(Fault::BadRtpMap, Expected::RtpMap),
    }
}

/// The meaning of a static payload type (RFC 3551 §6, tables 4 and 5).
pub fn static_rtpmap(payload_type: u8) -> Option<RtpMap> {
    let (encoding, clock_hz, channels) = match payload_type {
        0 => ("PCMU", 8_000, None),
        3 => ("GSM", 8_000, None),
        4 => ("G723", 8_000, None),
        5 => ("DVI4", 8_000, None),
        6 => ("DVI4", 16_000, None),
        7 => ("LPC", 8_000, None),
        8 => ("PCMA", 8_000, None),
        9 => ("G722", 8_000, None),
        10 => ("L16", 44_100, Some(2)),
        11 => ("L16", 44_100, None),
        12 => ("QCELP", 8_000, None),
        13 => ("CN", 8_000, None),
        14 => ("MPA", 90_000, None),
        15 => ("G728", 8_000, None),
        16 => ("DVI4", 11_025, None),
        17 => ("DVI4", 22_050, None),
        18 => ("G729", 8_000, None),
        25 => ("CelB", 90_000, None),
        26 => ("JPEG", 90_000, None),
        28 => ("nv", 90_000, None),
        31 => ("H261", 90_000, None),
        32 => ("MPV", 90_000, None),
        33 => ("MP2T", 90_000, None),
        34 => ("H263", 90_000, None),
        _ => return None,
    };
    Some(RtpMap { payload_type, encoding: Word::literal(encoding), clock_hz, channels })
}

/// Which way media flows, seen from the party whose description it is (RFC 8866 §6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Both ways; what holds when nothing is written.
    SendRecv,
    /// The party only sends.
    SendOnly,
    /// The party only receives.
    RecvOnly,
    /// No media; RTCP goes on.
    Inactive,
}

impl Direction {
    /// Name of the attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }

    /// Whether the party sends.
    pub const fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether the party receives.
    pub const fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    /// The direction that sends and receives as said.
    pub const fn new(sends: bool, receives: bool) -> Direction {
        match (sends, receives) {
            (true, true) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            (false, true) => Direction::RecvOnly,
            (false, false) => Direction::Inactive,
        }
    }

    fn of(attributes: &[Attribute]) -> Option<Direction> {
        const ALL: [Direction; 4] =
            [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive];
        attributes.iter().find_map(|attribute| {
            ALL.into_iter()
                .find(|direction| attribute.value().is_none() && direction.as_str() == attribute.name())
        })
    }
}

/// An `a=rtcp` line (RFC 3605 §2.1): where RTCP is expected when not at the RTP port plus one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtcpAddress {
    /// The port.
    pub port: u16,
    /// The address, where written as a literal; otherwise that of the media.
    pub address: Option<IpAddr>,
}

impl Session {
    /// The first attribute of the session part with this name.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name() == name)
    }

    /// The direction of a stream of this session; what the media says beats what the session says (RFC 8866 §6.7).
    pub fn direction_of(&self, media: &Media) -> Direction {
        Direction::of(&media.attributes)
            .or_else(|| Direction::of(&self.attributes))
            .unwrap_or(Direction::SendRecv)
    }

    /// The connection of a stream of this session; that of the media beats that of the session (RFC 8866 §5.7).
    pub fn connection_of<'a>(&'a self, media: &'a Media) -> Option<&'a Connection> {
        media.connections.first().or(self.connection.as_ref())
    }
}

impl Media {
    /// The first attribute of this name.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name() == name)
    }

    /// All attributes of this name, in order.
    pub fn attributes_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Attribute> {
        self.attributes.iter().filter(move |attribute| attribute.name() == name)
    }

    /// Whether the stream is RTP, of whatever profile.
    pub fn is_rtp(&self) -> bool {
        self.protocol.as_str().split('/').any(|part| part == "RTP")
    }

    /// The payload types of the `m=` line, in order; formats that are no payload type are left out.
    pub fn payload_types(&self) -> impl Iterator<Item = u8> {
        let parse = |format: &Word| number::<u8>(format.as_str().as_bytes(), Expected::Media).ok();
        self.formats.iter().filter_map(parse).filter(|payload_type| *payload_type < 128)
    }

    /// What a payload type means here: its `a=rtpmap`, else the static assignment of RFC 3551.
    pub fn rtpmap(&self, payload_type: u8) -> Option<RtpMap> {
        self.attributes_named("rtpmap")
            .filter_map(|attribute| RtpMap::parse(attribute.value()?))
            .find(|map| map.payload_type == payload_type)
            .or_else(|| static_rtpmap(payload_type))
    }

    /// The parameters of a format: the text after it on its `a=fmtp` line (RFC 8866 §6.15).
    pub fn fmtp(&self, format: &str) -> Option<&str> {
        self.attributes_named("fmtp").find_map(|attribute| {
            let (of, parameters) = attribute.value()?.as_str()?.split_once(' ')?;
            (of == format).then_some(parameters)
        })
    }

    /// `a=ptime`: media in one packet, in whole milliseconds (RFC 8866 §6.4).
    pub fn ptime_ms(&self) -> Option<u32> {
        self.milliseconds("ptime")
    }

    /// `a=maxptime`: the most media in one packet, in whole milliseconds (RFC 8866 §6.5).
    pub fn maxptime_ms(&self) -> Option<u32> {
        self.milliseconds("maxptime")
    }

    fn milliseconds(&self, name: &str) -> Option<u32> {
        let value = self.attribute(name)?.value()?.as_str()?;
        // The grammar allows a fraction; whole milliseconds are enough for packets.
        let whole = value.split('.').next()?;
        number(whole.as_bytes(), Expected::Number).ok().filter(|ms| *ms > 0)
    }

    /// `a=rtcp` (RFC 3605 §2.1); `None` when it is absent or malformed.
    pub fn rtcp(&self) -> Option<RtcpAddress> {
        let mut fields = self.attribute("rtcp")?.value()?.as_str()?.split(' ');
        let port = number(fields.next()?.as_bytes(), Expected::Port).ok().filter(|port| *port > 0)?;
        let address = match (fields.next(), fields.next(), fields.next(), fields.next()) {
            (None, ..) => None,
            (Some("IN"), Some("IP4" | "IP6"), Some(address), None) => address.parse().ok(),
            _ => return None,
        };
        Some(RtcpAddress { port, address })
    }

    /// Values of the `a=candidate` lines (RFC 8839 §5.1), as they stand.
    pub fn candidates(&self) -> impl Iterator<Item = &Text> {
        self.attributes
            .iter()
            .filter(|attribute| attribute.name() == "candidate")
            .filter_map(Attribute::value)
    }
}
