//! Writing our descriptions. [`describe`] is the one function that writes the addresses in our SDP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use dialtone_wire::sdp::{
    Attribute, Connection, Direction, Media, MediaKind, Origin, Session, Text, Time, Word,
};

use super::capabilities::{Codec, LocalStream};

/// What never changes in our `o=` line (RFC 3264 §8: all but the version stays).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalOrigin {
    /// Id of the session: unique for this address, below 2^63 (RFC 3264 §5).
    pub session_id: u64,
    /// First version, below 2^62 - 1 (RFC 3264 §5).
    pub first_version: u64,
    /// Address of this machine, one that the other side can reach.
    pub address: IpAddr,
}

/// One `m=` line of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A stream that we take part in.
    Stream { stream: LocalStream, formats: Vec<Codec>, ptime_ms: Option<u32> },
    /// A line that is rejected or removed: port 0 and one format (RFC 3264 §6, §8.2).
    Disabled { kind: MediaKind, protocol: Word, format: Word },
}

impl Line {
    /// A disabled line in the place of any other.
    pub(super) fn disabled(media: &Media) -> Line {
        let format = media.formats.first().cloned().unwrap_or_else(|| Word::literal("0"));
        Line::Disabled { kind: media.kind.clone(), protocol: media.protocol.clone(), format }
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Line::Stream { stream, .. } => Some(stream.address),
            Line::Disabled { .. } => None,
        }
    }
}

/// Makes a description of ours. `times` are those of the offer in an answer (RFC 3264 §6), else `t=0 0`. With
/// `zero_address` nobody can send to us (RFC 2543 §B.5).
pub(super) fn describe(
    origin: &LocalOrigin,
    version: u64,
    lines: &[Line],
    times: Option<&[Time]>,
    zero_address: bool,
) -> Session {
    let written = |address: IpAddr| match address {
        address if !zero_address => address,
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let session_address = lines.iter().find_map(Line::address).map_or(origin.address, |address| address.ip());
    Session {
        origin: Origin {
            username: Word::literal("-"),
            session_id: Word::from_number(origin.session_id),
            session_version: Word::from_number(version),
            net_type: Word::literal("IN"),
            address: origin.address.into(),
        },
        // RFC 3264 §5: a dash, for want of a subject.
        name: Text::new("-").unwrap_or_default(),
        information: None,
        uri: None,
        emails: Vec::new(),
        phones: Vec::new(),
        connection: Some(Connection::unicast(written(session_address))),
        bandwidths: Vec::new(),
        times: times.map_or_else(|| vec![Time::default()], <[Time]>::to_vec),
        key: None,
        attributes: Vec::new(),
        media: lines.iter().map(|line| media(line, session_address, written)).collect(),
        unknown: Vec::new(),
    }
}

fn media(line: &Line, session_address: IpAddr, written: impl Fn(IpAddr) -> IpAddr) -> Media {
    let (kind, port, protocol, formats) = match line {
        Line::Stream { stream, formats, .. } => {
            let payload_types = formats.iter().map(|codec| Word::from_number(codec.map.payload_type.into()));
            (stream.kind.media(), stream.address.port(), Word::literal("RTP/AVP"), payload_types.collect())
        }
        Line::Disabled { kind, protocol, format } => {
            (kind.clone(), 0, protocol.clone(), vec![format.clone()])
        }
    };
    let mut media = Media {
        kind,
        port,
        port_count: None,
        protocol,
        formats,
        information: None,
        connections: Vec::new(),
        bandwidths: Vec::new(),
        key: None,
        attributes: Vec::new(),
        unknown: Vec::new(),
    };
    if let Line::Stream { stream, formats, ptime_ms } = line {
        if stream.address.ip() != session_address {
            media.connections.push(Connection::unicast(written(stream.address.ip())));
        }
        media.attributes = attributes(formats, *ptime_ms, stream.direction);
    }
    media
}

fn attributes(formats: &[Codec], ptime_ms: Option<u32>, direction: Direction) -> Vec<Attribute> {
    let mut attributes = Vec::new();
    let mut add = |name: &str, value: Option<&str>| attributes.extend(Attribute::new(name, value));
    for Codec { map, fmtp } in formats {
        // RFC 3264 §5.1: rtpmap for all formats, static ones too.
        let channels = map.channels.map(|channels| format!("/{channels}")).unwrap_or_default();
        let value = format!("{} {}/{}{channels}", map.payload_type, map.encoding, map.clock_hz);
        add("rtpmap", Some(&value));
        if let Some(fmtp) = fmtp.as_ref().and_then(Text::as_str) {
            add("fmtp", Some(&format!("{} {fmtp}", map.payload_type)));
        }
    }
    if let Some(ptime_ms) = ptime_ms {
        add("ptime", Some(&ptime_ms.to_string()));
    }
    add(direction.as_str(), None);
    attributes
}
