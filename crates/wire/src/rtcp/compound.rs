//! Compound packets: the only form in which RTCP travels (RFC 3550 §6.1).

use super::{
    COUNT_MAX, ReportBlock, RtcpError, RtcpPacket, SdesItem, SenderInfo, TYPE_APP, TYPE_BYE, TYPE_RR,
    TYPE_SDES, TYPE_SR, split,
};
use crate::rtp::VERSION;

/// A compound packet whose every part passed the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compound<'a> {
    bytes: &'a [u8],
    padding: u8,
}

/// The packets of a compound packet.
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

struct RawPacket<'a> {
    count: u8,
    packet_type: u8,
    body: &'a [u8],
    padding: u8,
    rest: &'a [u8],
}

impl<'a> Compound<'a> {
    /// Reads a datagram with the checks of RFC 3550 A.2: version, a report first, padding only at the end, lengths
    /// that add up; and the lengths inside each packet of a known type.
    pub fn parse(datagram: &'a [u8]) -> Result<Compound<'a>, RtcpError> {
        let first = RawPacket::read(datagram)?;
        if !matches!(first.packet_type, TYPE_SR | TYPE_RR) {
            return Err(RtcpError::FirstPacket(first.packet_type));
        }
        let mut raw = first;
        loop {
            RtcpPacket::parse_body(raw.count, raw.packet_type, raw.body)?;
            if raw.rest.is_empty() {
                return Ok(Compound { bytes: datagram, padding: raw.padding });
            }
            if raw.padding > 0 {
                return Err(RtcpError::EarlyPadding);
            }
            raw = RawPacket::read(raw.rest)?;
        }
    }

    /// The packets in their order.
    pub fn iter(&self) -> Packets<'a> {
        Packets { rest: self.bytes }
    }

    /// Octets of padding at the end; 0 without.
    pub fn padding(&self) -> u8 {
        self.padding
    }

    /// The source that sent the compound packet: that of the report in front.
    pub fn sender(&self) -> u32 {
        match self.iter().next() {
            Some(RtcpPacket::SenderReport { ssrc, .. } | RtcpPacket::ReceiverReport { ssrc, .. }) => ssrc,
            _ => 0,
        }
    }
}

impl<'a> IntoIterator for &Compound<'a> {
    type Item = RtcpPacket<'a>;
    type IntoIter = Packets<'a>;

    fn into_iter(self) -> Packets<'a> {
        self.iter()
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = RtcpPacket<'a>;

    fn next(&mut self) -> Option<RtcpPacket<'a>> {
        let raw = RawPacket::read(self.rest).ok()?;
        self.rest = raw.rest;
        RtcpPacket::parse_body(raw.count, raw.packet_type, raw.body).ok()
    }
}

impl<'a> RawPacket<'a> {
    fn read(bytes: &'a [u8]) -> Result<RawPacket<'a>, RtcpError> {
        let (head, _) = split(bytes, 4)?;
        if head[0] >> 6 != VERSION {
            return Err(RtcpError::Version(head[0] >> 6));
        }
        let words = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let (packet, rest) = split(bytes, 4 + words * 4)?;
        let mut body = &packet[4..];
        let mut padding = 0;
        if head[0] & 0x20 != 0 {
            padding = body.last().copied().unwrap_or(0);
            let error = RtcpError::Padding(padding);
            if padding == 0 || padding % 4 != 0 {
                return Err(error);
            }
            body = &body[..body.len().checked_sub(usize::from(padding)).ok_or(error)?];
        }
        Ok(RawPacket { count: head[0] & 0x1f, packet_type: head[1], body, padding, rest })
    }
}

/// Writes one compound packet into the caller's buffer.
///
/// [`CompoundWriter::finish`] checks the rules of §6.1 (a report first, a CNAME) and takes everything back on error.
#[derive(Debug)]
pub struct CompoundWriter<'b> {
    out: &'b mut Vec<u8>,
    start: usize,
    first_type: Option<u8>,
    last_start: usize,
    has_cname: bool,
    error: Option<RtcpError>,
}

impl<'b> CompoundWriter<'b> {
    /// Begins a compound packet behind what `out` already holds.
    pub fn new(out: &'b mut Vec<u8>) -> CompoundWriter<'b> {
        let start = out.len();
        CompoundWriter { out, start, first_type: None, last_start: start, has_cname: false, error: None }
    }

    /// Appends an SR with at most 31 report blocks.
    pub fn sender_report(&mut self, ssrc: u32, info: &SenderInfo, reports: &[ReportBlock]) -> &mut Self {
        self.packet(TYPE_SR, reports.len(), |out| {
            out.extend_from_slice(&ssrc.to_be_bytes());
            info.write(out);
            reports.iter().for_each(|report| report.write(out));
            Ok(())
        })
    }

    /// Appends an RR with at most 31 report blocks.
    pub fn receiver_report(&mut self, ssrc: u32, reports: &[ReportBlock]) -> &mut Self {
        self.packet(TYPE_RR, reports.len(), |out| {
            out.extend_from_slice(&ssrc.to_be_bytes());
            reports.iter().for_each(|report| report.write(out));
            Ok(())
        })
    }

    /// Appends an SDES with one chunk for each source.
    pub fn source_description(&mut self, chunks: &[(u32, &[SdesItem<'_>])]) -> &mut Self {
        let mut has_cname = self.has_cname;
        self.packet(TYPE_SDES, chunks.len(), |out| {
            for (ssrc, items) in chunks {
                let start = out.len();
                out.extend_from_slice(&ssrc.to_be_bytes());
                for item in *items {
                    has_cname |= matches!(item, SdesItem::Cname(_));
                    item.write(out)?;
                }
                // §6.5: the list ends with at least one null octet and is padded to the next 32-bit boundary.
                let len = (out.len() - start + 1).next_multiple_of(4);
                out.resize(start + len, 0);
            }
            Ok(())
        });
        self.has_cname = has_cname;
        self
    }

    /// Appends a BYE of at most 31 sources, with a reason of at most 255 octets.
    pub fn bye(&mut self, sources: &[u32], reason: Option<&[u8]>) -> &mut Self {
        self.packet(TYPE_BYE, sources.len(), |out| {
            sources.iter().for_each(|source| out.extend_from_slice(&source.to_be_bytes()));
            if let Some(reason) = reason {
                out.push(u8::try_from(reason.len()).map_err(|_| RtcpError::TextLength(reason.len()))?);
                out.extend_from_slice(reason);
                let fill = (reason.len() + 1).next_multiple_of(4) - (reason.len() + 1);
                out.resize(out.len() + fill, 0);
            }
            Ok(())
        })
    }

    /// Appends an APP; `data` is a whole number of 32-bit words.
    pub fn app(&mut self, subtype: u8, ssrc: u32, name: [u8; 4], data: &[u8]) -> &mut Self {
        self.packet(TYPE_APP, usize::from(subtype), |out| {
            out.extend_from_slice(&ssrc.to_be_bytes());
            out.extend_from_slice(&name);
            out.extend_from_slice(data);
            Ok(())
        })
    }

    /// Appends a packet that was parsed, octet for octet.
    pub fn copy(&mut self, packet: &RtcpPacket<'_>) -> &mut Self {
        match packet {
            RtcpPacket::SenderReport { ssrc, info, reports, extension } => {
                self.packet(TYPE_SR, reports.len(), |out| {
                    out.extend_from_slice(&ssrc.to_be_bytes());
                    info.write(out);
                    out.extend_from_slice(reports.as_bytes());
                    out.extend_from_slice(extension);
                    Ok(())
                })
            }
            RtcpPacket::ReceiverReport { ssrc, reports, extension } => {
                self.packet(TYPE_RR, reports.len(), |out| {
                    out.extend_from_slice(&ssrc.to_be_bytes());
                    out.extend_from_slice(reports.as_bytes());
                    out.extend_from_slice(extension);
                    Ok(())
                })
            }
            RtcpPacket::SourceDescription(chunks) => {
                self.has_cname |= chunks.iter().any(|chunk| chunk.cname().is_some());
                self.packet(TYPE_SDES, chunks.len(), |out| {
                    out.extend_from_slice(chunks.as_bytes());
                    Ok(())
                })
            }
            RtcpPacket::Bye { sources, reason } => self.packet(TYPE_BYE, sources.0.len() / 4, |out| {
                out.extend_from_slice(sources.0);
                if let Some(reason) = reason {
                    out.push(reason.len() as u8);
                    out.extend_from_slice(reason);
                    let fill = (reason.len() + 1).next_multiple_of(4) - (reason.len() + 1);
                    out.resize(out.len() + fill, 0);
                }
                Ok(())
            }),
            RtcpPacket::App { subtype, ssrc, name, data } => self.app(*subtype, *ssrc, *name, data),
            RtcpPacket::Unknown { count, packet_type, body } => {
                self.packet(*packet_type, usize::from(*count), |out| {
                    out.extend_from_slice(body);
                    Ok(())
                })
            }
        }
    }

    /// Ends the compound packet; returns its length in octets. On error `out` is as it was before.
    pub fn finish(&mut self) -> Result<usize, RtcpError> {
        self.finish_padded(0)
    }

    /// Ends the compound packet with `padding` octets, a multiple of four, on its last packet.
    pub fn finish_padded(&mut self, padding: u8) -> Result<usize, RtcpError> {
        let result = self.check(padding);
        if result.is_err() {
            self.out.truncate(self.start);
            return result;
        }
        if padding > 0 {
            self.out.resize(self.out.len() + usize::from(padding) - 1, 0);
            self.out.push(padding);
            self.out[self.last_start] |= 0x20;
            let (at, len) = (self.last_start, self.out.len() - self.last_start);
            self.out[at + 2..at + 4].copy_from_slice(&length_field(len)?.to_be_bytes());
        }
        Ok(self.out.len() - self.start)
    }

    fn check(&self, padding: u8) -> Result<usize, RtcpError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if !padding.is_multiple_of(4) {
            return Err(RtcpError::Padding(padding));
        }
        let first = self.first_type.unwrap_or(0);
        if !matches!(first, TYPE_SR | TYPE_RR) {
            return Err(RtcpError::FirstPacket(first));
        }
        if !self.has_cname {
            return Err(RtcpError::NoCname);
        }
        length_field(self.out.len() - self.last_start + usize::from(padding))?;
        Ok(self.out.len() - self.start)
    }

    fn packet(
        &mut self,
        packet_type: u8,
        count: usize,
        body: impl FnOnce(&mut Vec<u8>) -> Result<(), RtcpError>,
    ) -> &mut Self {
        if self.error.is_some() {
            return self;
        }
        if count > COUNT_MAX {
            self.error = Some(RtcpError::Count(count));
            return self;
        }
        let at = self.out.len();
        self.out.extend([VERSION << 6 | count as u8, packet_type, 0, 0]);
        let written = body(self.out).and_then(|()| length_field(self.out.len() - at));
        match written {
            Ok(words) => self.out[at + 2..at + 4].copy_from_slice(&words.to_be_bytes()),
            Err(error) => self.error = Some(error),
        }
        self.first_type.get_or_insert(packet_type);
        self.last_start = at;
        self
    }
}

/// The length of a packet in 32-bit words minus one (§6.4.1).
fn length_field(len: usize) -> Result<u16, RtcpError> {
    if !len.is_multiple_of(4) {
        return Err(RtcpError::Length(len));
    }
    u16::try_from(len / 4 - 1).map_err(|_| RtcpError::Length(len))
}
