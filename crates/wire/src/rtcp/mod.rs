//! RTCP packets (RFC 3550 §6): compound packets, their rules (§6.1) and validity checks (A.2).
//!
//! Reading gives views into the datagram; nothing is copied. Writing goes through [`CompoundWriter`], which keeps
//! the rules of a compound packet.

mod compound;
mod report;
mod sdes;
#[cfg(test)]
mod tests;

pub use compound::{Compound, CompoundWriter, Packets};
pub use report::{ReportBlock, ReportBlocks, SenderInfo};
pub use sdes::{Chunk, Chunks, SdesItem, SdesItems};

/// Packet type of a sender report (RFC 3550 §12.1).
pub const TYPE_SR: u8 = 200;
/// Packet type of a receiver report.
pub const TYPE_RR: u8 = 201;
/// Packet type of a source description.
pub const TYPE_SDES: u8 = 202;
/// Packet type of a BYE.
pub const TYPE_BYE: u8 = 203;
/// Packet type of an application-defined packet.
pub const TYPE_APP: u8 = 204;

/// The most report blocks, SDES chunks or BYE sources in one packet: the count field has five bits.
pub const COUNT_MAX: usize = 31;

/// The reason why octets are no RTCP packet, or why one cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RtcpError {
    /// The packet ends before a part that it announces.
    #[error("expected at least {expected} octets, got {got}")]
    TooShort {
        /// Octets that are announced.
        expected: usize,
        /// Octets there are.
        got: usize,
    },
    /// The version field isn't 2.
    #[error("expected RTCP version 2, got {0}")]
    Version(u8),
    /// A compound packet starts with something else than a sender or receiver report.
    #[error("expected a sender or receiver report first, got packet type {0}")]
    FirstPacket(u8),
    /// A packet other than the last one is padded.
    #[error("padding on a packet that is not the last one")]
    EarlyPadding,
    /// The padding count is zero, not a multiple of four or longer than the packet.
    #[error("padding of {0} octets is zero, not a multiple of 4 or longer than the packet")]
    Padding(u8),
    /// More report blocks, chunks or sources than the five-bit count can tell.
    #[error("at most 31 fit one packet, got {0}")]
    Count(usize),
    /// A text of more than 255 octets.
    #[error("at most 255 octets of text fit, got {0}")]
    TextLength(usize),
    /// The packet is not a whole number of 32-bit words that fits its length field.
    #[error("{0} octets are not a whole number of 32-bit words that fits the length field")]
    Length(usize),
    /// A compound packet without the mandatory CNAME (RFC 3550 §6.1).
    #[error("a compound packet needs a source description with CNAME")]
    NoCname,
}

/// One packet of a compound RTCP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtcpPacket<'a> {
    /// SR (§6.4.1).
    SenderReport {
        /// The sender of the report.
        ssrc: u32,
        /// What the sender says of its own stream.
        info: SenderInfo,
        /// What it received from others.
        reports: ReportBlocks<'a>,
        /// Profile-specific extension (§6.4.3).
        extension: &'a [u8],
    },
    /// RR (§6.4.2).
    ReceiverReport {
        /// The sender of the report.
        ssrc: u32,
        /// What it received from others.
        reports: ReportBlocks<'a>,
        /// Profile-specific extension (§6.4.3).
        extension: &'a [u8],
    },
    /// SDES (§6.5).
    SourceDescription(Chunks<'a>),
    /// BYE (§6.6).
    Bye {
        /// The sources that leave.
        sources: Sources<'a>,
        /// Why, in UTF-8.
        reason: Option<&'a [u8]>,
    },
    /// APP (§6.7).
    App {
        /// Five bits for the application's use.
        subtype: u8,
        /// The sender.
        ssrc: u32,
        /// Four octets of ASCII.
        name: [u8; 4],
        /// A whole number of 32-bit words.
        data: &'a [u8],
    },
    /// A packet type that is unknown here; to be ignored (A.2), kept as it came.
    Unknown {
        /// The count or format field of five bits.
        count: u8,
        /// The packet type.
        packet_type: u8,
        /// What follows the first word, without padding.
        body: &'a [u8],
    },
}

/// The sources named by a BYE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sources<'a>(pub(crate) &'a [u8]);

impl<'a> Sources<'a> {
    /// The sources in the order of the packet.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.0.chunks_exact(4).map(|chunk| u32::from_be_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]))
    }
}

impl<'a> RtcpPacket<'a> {
    /// Reads the body of one packet whose first word said `count` and `packet_type`; `body` is without padding.
    pub(crate) fn parse_body(
        count: u8,
        packet_type: u8,
        body: &'a [u8],
    ) -> Result<RtcpPacket<'a>, RtcpError> {
        match packet_type {
            TYPE_SR => {
                let (ssrc, rest) = read_u32(body)?;
                let (info, rest) = SenderInfo::read(rest)?;
                let (reports, extension) = ReportBlocks::read(count, rest)?;
                Ok(RtcpPacket::SenderReport { ssrc, info, reports, extension })
            }
            TYPE_RR => {
                let (ssrc, rest) = read_u32(body)?;
                let (reports, extension) = ReportBlocks::read(count, rest)?;
                Ok(RtcpPacket::ReceiverReport { ssrc, reports, extension })
            }
            TYPE_SDES => Ok(RtcpPacket::SourceDescription(Chunks::read(count, body)?)),
            TYPE_BYE => {
                let (sources, rest) = split(body, usize::from(count) * 4)?;
                let reason = match rest.split_first() {
                    None => None,
                    Some((len, text)) => Some(split(text, usize::from(*len))?.0),
                };
                Ok(RtcpPacket::Bye { sources: Sources(sources), reason })
            }
            TYPE_APP => {
                let (ssrc, rest) = read_u32(body)?;
                let (name, data) = read_u32(rest)?;
                Ok(RtcpPacket::App { subtype: count, ssrc, name: name.to_be_bytes(), data })
            }
            _ => Ok(RtcpPacket::Unknown { count, packet_type, body }),
        }
    }

    /// The packet type on the wire.
    pub fn packet_type(&self) -> u8 {
        match self {
            RtcpPacket::SenderReport { .. } => TYPE_SR,
            RtcpPacket::ReceiverReport { .. } => TYPE_RR,
            RtcpPacket::SourceDescription(_) => TYPE_SDES,
            RtcpPacket::Bye { .. } => TYPE_BYE,
            RtcpPacket::App { .. } => TYPE_APP,
            RtcpPacket::Unknown { packet_type, .. } => *packet_type,
        }
    }
}

pub(crate) fn split(bytes: &[u8], at: usize) -> Result<(&[u8], &[u8]), RtcpError> {
    bytes.split_at_checked(at).ok_or(RtcpError::TooShort { expected: at, got: bytes.len() })
}

pub(crate) fn read_u32(bytes: &[u8]) -> Result<(u32, &[u8]), RtcpError> {
    let (word, rest) =
        bytes.split_first_chunk::<4>().ok_or(RtcpError::TooShort { expected: 4, got: bytes.len() })?;
    Ok((u32::from_be_bytes(*word), rest))
}
