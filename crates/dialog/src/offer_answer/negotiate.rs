//! Reading the other side's lines: where it receives, which formats both know, which way media flows.

use std::net::{IpAddr, SocketAddr};

use dialtone_wire::sdp::{Direction, Media, RtpMap, Session, Text, Word};

use super::capabilities::{Codec, LocalStream, StreamKind};

/// What was agreed for one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// What flows in it.
    pub kind: StreamKind,
    /// Where we receive RTP.
    pub local: SocketAddr,
    /// Where to send RTP; `None` while the other side has no address (`c=0.0.0.0`, RFC 3264 §8.4).
    pub remote_rtp: Option<SocketAddr>,
    /// Where to send RTCP; `None` while there is no address.
    pub remote_rtcp: Option<SocketAddr>,
    /// Formats that both sides know, in the order to prefer when sending; at least one.
    pub codecs: Vec<NegotiatedCodec>,
    /// The format for telephone events.
    pub telephone_event: Option<NegotiatedCodec>,
    /// Which way media flows, seen from us.
    pub direction: Direction,
    /// How much audio the other side would like in one packet, in milliseconds.
    pub ptime_ms: Option<u32>,
}

/// A format with the payload type of each direction (RFC 3264 §5.1: they may differ).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NegotiatedCodec {
    /// Name of the encoding, as we write it.
    pub encoding: Word,
    /// Clock rate in hertz.
    pub clock_hz: u32,
    /// Number of channels.
    pub channels: u8,
    /// Payload type to send with.
    pub send_payload_type: u8,
    /// Payload type to expect.
    pub receive_payload_type: u8,
    /// The other side's parameters for the format.
    pub remote_fmtp: Option<Text>,
}

/// What is wrong with a line of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerFault {
    /// The line takes up what was not offered: another kind of media or protocol, or a line that we disabled.
    NotOffered,
    /// None of the formats was offered.
    NoCommonFormat,
    /// The address cannot be used: missing, a name, multicast, or a family that ours cannot send to.
    Address,
}

/// Where a line receives: `None` inside for `0.0.0.0` and `::`.
type Remote = (Option<SocketAddr>, Option<SocketAddr>);

/// The usable part of a line of the other side. `is_known` finds our format of the same meaning, with the payload type
/// that we receive it with.
pub(super) fn negotiate(
    session: &Session,
    media: &Media,
    local: &LocalStream,
    is_known: &mut dyn FnMut(&RtpMap) -> Option<Codec>,
) -> Result<Negotiated, AnswerFault> {
    let (remote_rtp, remote_rtcp) = remote(session, media, local.address).ok_or(AnswerFault::Address)?;
    let mut codecs: Vec<NegotiatedCodec> = Vec::new();
    let mut events: Vec<NegotiatedCodec> = Vec::new();
    for payload_type in media.payload_types() {
        let Some(theirs) = media.rtpmap(payload_type) else { continue };
        let Some(ours) = is_known(&theirs) else { continue };
        let codec = NegotiatedCodec {
            encoding: ours.map.encoding.clone(),
            clock_hz: ours.map.clock_hz,
            channels: ours.map.channels.unwrap_or(1),
            send_payload_type: payload_type,
            receive_payload_type: ours.map.payload_type,
            remote_fmtp: media.fmtp(&payload_type.to_string()).and_then(Text::new),
        };
        let list = if is_event(&ours.map) { &mut events } else { &mut codecs };
        let is_twice = |known: &NegotiatedCodec| known.receive_payload_type == codec.receive_payload_type;
        if !list.iter().any(is_twice) {
            list.push(codec);
        }
    }
    if codecs.is_empty() {
        return Err(AnswerFault::NoCommonFormat);
    }
    Ok(Negotiated {
        kind: local.kind,
        local: local.address,
        remote_rtp,
        remote_rtcp,
        codecs,
        telephone_event: events.into_iter().next(),
        direction: meet(local.direction, remote_direction(session, media)),
        ptime_ms: media.ptime_ms(),
    })
}

/// Whether this is the format of telephone events rather than a codec.
pub(super) fn is_event(map: &RtpMap) -> bool {
    map.encoding.as_str().eq_ignore_ascii_case("telephone-event")
}

/// The direction of our answer: we send only if they receive, and receive only if they send (RFC 3264 §6.1).
pub(super) const fn meet(ours: Direction, theirs: Direction) -> Direction {
    Direction::new(ours.sends() && theirs.receives(), ours.receives() && theirs.sends())
}

/// What flows in a line that we can carry, were there a format in common; `None` where we can't, or it is disabled.
pub(super) fn kind_of(media: &Media) -> Option<StreamKind> {
    StreamKind::of(&media.kind).filter(|_| media.port != 0 && media.protocol == "RTP/AVP")
}

/// The direction from the other side's view. The old form of hold, an address of zeros, stops media to it
/// (RFC 3264 §8.4).
pub(super) fn remote_direction(session: &Session, media: &Media) -> Direction {
    let direction = session.direction_of(media);
    let address = session.connection_of(media).and_then(|connection| connection.address.ip());
    let receives = direction.receives() && !address.is_some_and(|address| address.is_unspecified());
    Direction::new(direction.sends(), receives)
}

/// Where the other side receives; `None` when that cannot be used from our address.
fn remote(session: &Session, media: &Media, local: SocketAddr) -> Option<Remote> {
    let address = session.connection_of(media)?.address.ip()?;
    if address.is_multicast() {
        return None;
    }
    // The zeros of hold are IPv4 also in an IPv6 session of an old phone.
    if address.is_unspecified() {
        return Some((None, None));
    }
    if address.is_ipv4() != local.is_ipv4() {
        return None;
    }
    let rtcp = match media.rtcp() {
        Some(rtcp) => {
            let is_usable = |other: &IpAddr| {
                !other.is_multicast() && !other.is_unspecified() && other.is_ipv4() == local.is_ipv4()
            };
            // RFC 3605 §2.1: the address is that of the media where it is not written.
            let address = rtcp.address.filter(is_usable).unwrap_or(address);
            Some(SocketAddr::new(address, rtcp.port))
        }
        None => media.port.checked_add(1).map(|port| SocketAddr::new(address, port)),
    };
    Some((Some(SocketAddr::new(address, media.port)), rtcp))
}
