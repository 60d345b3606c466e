//! RTP data packets (RFC 3550 §5.1) with the raw header extension of RFC 8285.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! |V=2|P|X|  CC   |M|     PT      |       sequence number         |
//! |                           timestamp                           |
//! |           synchronization source (SSRC) identifier            |
//! |            contributing source (CSRC) identifiers, 0..15      |
//! |      extension profile        |  length in 32-bit words       |
//! ```

use std::fmt;

/// The RTP version of RFC 3550.
pub const VERSION: u8 = 2;

/// Octets of the fixed part of the header.
pub const FIXED_HEADER_LEN: usize = 12;

/// The most contributing sources that one packet can name: the CC field has four bits.
pub const CSRC_MAX: usize = 15;

/// The reason why octets are no RTP packet, or why a header cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RtpError {
    /// The packet ends before a part that its header announces.
    #[error("expected at least {expected} octets, got {got}")]
    TooShort {
        /// Octets that the header asks for.
        expected: usize,
        /// Octets there are.
        got: usize,
    },
    /// The version field isn't 2.
    #[error("expected RTP version 2, got {0}")]
    Version(u8),
    /// The payload type is above 127, or one of 72 to 76, which are RTCP's (RFC 3551 §6).
    #[error("payload type {0} cannot be that of an RTP packet")]
    PayloadType(u8),
    /// The padding count is zero or more than what follows the header.
    #[error("padding of {padding} octets where {available} follow the header")]
    Padding {
        /// The count in the last octet.
        padding: u8,
        /// Octets behind the header.
        available: usize,
    },
    /// More than 15 contributing sources.
    #[error("at most 15 contributing sources fit a packet, got {0}")]
    TooManyCsrc(usize),
    /// The header extension isn't a whole number of 32-bit words, or has more than 65,535 of them.
    #[error(
        "a header extension of {0} octets is not a whole number of 32-bit words that fits its length field"
    )]
    ExtensionLength(usize),
}

/// The contributing sources of a packet, at most 15, kept in place.
#[derive(Clone, Copy, Default)]
pub struct CsrcList {
    len: u8,
    items: [u32; CSRC_MAX],
}

impl CsrcList {
    /// A list without sources.
    pub const EMPTY: CsrcList = CsrcList { len: 0, items: [0; CSRC_MAX] };

    /// Copies a list; more than [`CSRC_MAX`] sources are an error.
    pub fn new(sources: &[u32]) -> Result<CsrcList, RtpError> {
        let mut items = [0; CSRC_MAX];
        let target = items.get_mut(..sources.len()).ok_or(RtpError::TooManyCsrc(sources.len()))?;
        target.copy_from_slice(sources);
        Ok(CsrcList { len: sources.len() as u8, items })
    }

    /// The sources in the order of the packet.
    pub fn as_slice(&self) -> &[u32] {
        &self.items[..usize::from(self.len)]
    }
}

impl PartialEq for CsrcList {
    fn eq(&self, other: &CsrcList) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for CsrcList {}

impl fmt::Debug for CsrcList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

/// The header extension (RFC 3550 §5.3.1): the elements of RFC 8285 stay as raw octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderExtension<'a> {
    /// The first 16 bits: 0xBEDE for one-byte elements, 0x100X for two-byte ones (RFC 8285 §4).
    pub profile: u16,
    /// What follows the length field; a whole number of 32-bit words.
    pub data: &'a [u8],
}

/// The header of an RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader<'a> {
    /// The marker bit; with audio it starts a talkspurt (RFC 3551 §4.1).
    pub marker: bool,
    /// The payload type, 0 to 127.
    pub payload_type: u8,
    /// Grows by one a packet and wraps.
    pub sequence_number: u16,
    /// Sampling instant of the first octet, in units of the payload's clock; wraps.
    pub timestamp: u32,
    /// The synchronization source.
    pub ssrc: u32,
    /// The contributing sources.
    pub csrc: CsrcList,
    /// The header extension, when the X bit is set.
    pub extension: Option<HeaderExtension<'a>>,
}

impl<'a> RtpHeader<'a> {
    /// A header without marker, contributing sources and extension.
    pub const fn new(payload_type: u8, sequence_number: u16, timestamp: u32, ssrc: u32) -> RtpHeader<'a> {
        RtpHeader {
            marker: false,
            payload_type,
            sequence_number,
            timestamp,
            ssrc,
            csrc: CsrcList::EMPTY,
            extension: None,
        }
    }

    /// Appends the header to `out`; the payload follows it. Nothing is appended on error.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), RtpError> {
        self.write_with_padding_bit(false, out)
    }

    fn write_with_padding_bit(&self, padding: bool, out: &mut Vec<u8>) -> Result<(), RtpError> {
        check_payload_type(self.payload_type)?;
        let extension_words = match self.extension {
            Some(extension) => extension_words(extension.data)?,
            None => 0,
        };
        let csrc = self.csrc.as_slice();
        let flags = u8::from(padding) << 5 | u8::from(self.extension.is_some()) << 4;
        out.push(VERSION << 6 | flags | csrc.len() as u8);
        out.push(u8::from(self.marker) << 7 | self.payload_type);
        out.extend_from_slice(&self.sequence_number.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        for source in csrc {
            out.extend_from_slice(&source.to_be_bytes());
        }
        if let Some(extension) = self.extension {
            out.extend_from_slice(&extension.profile.to_be_bytes());
            out.extend_from_slice(&extension_words.to_be_bytes());
            out.extend_from_slice(extension.data);
        }
        Ok(())
    }
}

fn check_payload_type(payload_type: u8) -> Result<(), RtpError> {
    // RFC 3551 §6: 72 to 76 are reserved so that RTP and RTCP can be told apart; RFC 3550 A.1 asks for the check.
    match payload_type {
        72..=76 | 128.. => Err(RtpError::PayloadType(payload_type)),
        _ => Ok(()),
    }
}

fn extension_words(data: &[u8]) -> Result<u16, RtpError> {
    let error = RtpError::ExtensionLength(data.len());
    if !data.len().is_multiple_of(4) {
        return Err(error);
    }
    u16::try_from(data.len() / 4).map_err(|_| error)
}

/// A view of one RTP packet in the buffer that it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpPacket<'a> {
    /// The header.
    pub header: RtpHeader<'a>,
    /// The payload without padding.
    pub payload: &'a [u8],
    /// Octets of padding at the end, its own count included; 0 without the P bit.
    pub padding: u8,
}

impl<'a> RtpPacket<'a> {
    /// Reads a datagram as an RTP packet with the checks of RFC 3550 A.1 that need no state.
    pub fn parse(datagram: &'a [u8]) -> Result<RtpPacket<'a>, RtpError> {
        let (fixed, rest) = split(datagram, FIXED_HEADER_LEN, datagram.len())?;
        if fixed[0] >> 6 != VERSION {
            return Err(RtpError::Version(fixed[0] >> 6));
        }
        let payload_type = fixed[1] & 0x7f;
        check_payload_type(payload_type)?;
        let (csrc, rest) = read_csrc(rest, usize::from(fixed[0] & 0x0f), datagram.len())?;
        let (extension, rest) = match fixed[0] & 0x10 {
            0 => (None, rest),
            _ => read_extension(rest, datagram.len())?,
        };
        let (payload, padding) = match fixed[0] & 0x20 {
            0 => (rest, 0),
            _ => strip_padding(rest)?,
        };
        let header = RtpHeader {
            marker: fixed[1] & 0x80 != 0,
            payload_type,
            sequence_number: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            csrc,
            extension,
        };
        Ok(RtpPacket { header, payload, padding })
    }

    /// Appends the whole packet to `out`; padding octets other than the count are zero.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), RtpError> {
        self.header.write_with_padding_bit(self.padding > 0, out)?;
        out.extend_from_slice(self.payload);
        if self.padding > 0 {
            out.resize(out.len() + usize::from(self.padding) - 1, 0);
            out.push(self.padding);
        }
        Ok(())
    }
}

fn split(bytes: &[u8], at: usize, total: usize) -> Result<(&[u8], &[u8]), RtpError> {
    bytes.split_at_checked(at).ok_or(RtpError::TooShort { expected: total - bytes.len() + at, got: total })
}

fn read_csrc(bytes: &[u8], count: usize, total: usize) -> Result<(CsrcList, &[u8]), RtpError> {
    let (raw, rest) = split(bytes, count * 4, total)?;
    let mut list = CsrcList { len: count as u8, items: [0; CSRC_MAX] };
    for (item, chunk) in list.items.iter_mut().zip(raw.chunks_exact(4)) {
        *item = u32::from_be_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
    }
    Ok((list, rest))
}

type ExtensionAndRest<'a> = (Option<HeaderExtension<'a>>, &'a [u8]);

fn read_extension(bytes: &[u8], total: usize) -> Result<ExtensionAndRest<'_>, RtpError> {
    let (head, rest) = split(bytes, 4, total)?;
    let words = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let (data, rest) = split(rest, words * 4, total)?;
    Ok((Some(HeaderExtension { profile: u16::from_be_bytes([head[0], head[1]]), data }), rest))
}

fn strip_padding(bytes: &[u8]) -> Result<(&[u8], u8), RtpError> {
    let padding = bytes.last().copied().unwrap_or(0);
    let error = RtpError::Padding { padding, available: bytes.len() };
    if padding == 0 {
        return Err(error);
    }
    let payload_len = bytes.len().checked_sub(usize::from(padding)).ok_or(error)?;
    Ok((&bytes[..payload_len], padding))
}

/// Tells whether a datagram on a shared port is RTCP rather than RTP, by its second octet (RFC 5761 §4).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [first, 192..=223, ..] if first >> 6 == VERSION)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: [u8; 16] = [0x80, 0x80, 0x12, 0x34, 0, 0, 0, 160, 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4];

    #[test]
    fn reads_each_field_of_a_packet() {
        let packet = RtpPacket::parse(&PLAIN).unwrap();
        let mut expected = RtpHeader::new(0, 0x1234, 160, 0xdeadbeef);
        expected.marker = true;
        assert_eq!(packet, RtpPacket { header: expected, payload: &[1, 2, 3, 4], padding: 0 });
    }

    #[test]
    fn refuses_what_the_validity_checks_of_appendix_a_1_refuse() {
        let with = |index: usize, octet: u8| {
            let mut bytes = PLAIN;
            bytes[index] = octet;
            RtpPacket::parse(&bytes).map(|_| ()).unwrap_err()
        };
        assert_eq!(with(0, 0x40), RtpError::Version(1));
        assert_eq!(with(1, 200), RtpError::PayloadType(72));
        assert_eq!(with(0, 0x82), RtpError::TooShort { expected: 20, got: 16 });
        assert_eq!(with(0, 0x90), RtpError::TooShort { expected: 16 + 0x304 * 4, got: 16 });
        let mut padded = PLAIN;
        padded[0] = 0xa0;
        padded[15] = 5;
        assert_eq!(RtpPacket::parse(&padded), Err(RtpError::Padding { padding: 5, available: 4 }));
        padded[15] = 0;
        assert_eq!(RtpPacket::parse(&padded), Err(RtpError::Padding { padding: 0, available: 4 }));
        assert_eq!(RtpPacket::parse(&PLAIN[..11]), Err(RtpError::TooShort { expected: 12, got: 11 }));
    }

    #[test]
    fn refuses_to_write_a_header_that_does_not_fit_its_fields() {
        let mut out = Vec::new();
        let mut header = RtpHeader::new(200, 0, 0, 0);
        assert_eq!(header.write(&mut out), Err(RtpError::PayloadType(200)));
        header.payload_type = 0;
        header.extension = Some(HeaderExtension { profile: 0xbede, data: &[1, 2, 3] });
        assert_eq!(header.write(&mut out), Err(RtpError::ExtensionLength(3)));
        assert!(out.is_empty());
        assert_eq!(CsrcList::new(&[0; 16]), Err(RtpError::TooManyCsrc(16)));
    }

    #[test]
    fn tells_rtcp_from_rtp_on_one_port() {
        assert!(is_rtcp(&[0x80, 200, 0, 6]));
        assert!(!is_rtcp(&PLAIN));
        assert!(!is_rtcp(&[0x00, 200]));
        assert!(!is_rtcp(&[0x80]));
    }

    proptest! {
        #[test]
        fn parse_returns_what_write_wrote(
            marker: bool,
            payload_type in 0u8..72,
            numbers: (u16, u32, u32),
            csrc in proptest::collection::vec(any::<u32>(), 0..=15),
            extension in proptest::option::of((any::<u16>(), 0usize..8)),
            payload in proptest::collection::vec(any::<u8>(), 0..40),
            padding: u8,
        ) {
            let data = [0x5a; 32];
            let mut header = RtpHeader::new(payload_type, numbers.0, numbers.1, numbers.2);
            header.marker = marker;
            header.csrc = CsrcList::new(&csrc).unwrap();
            header.extension =
                extension.map(|(profile, words)| HeaderExtension { profile, data: &data[..words * 4] });
            let packet = RtpPacket { header, payload: &payload, padding };
            let mut out = Vec::new();
            packet.write(&mut out).unwrap();
            prop_assert_eq!(RtpPacket::parse(&out), Ok(packet));
        }

        #[test]
        fn write_returns_the_octets_that_parse_read(
            first in 0x80u8..=0xff,
            rest in proptest::collection::vec(any::<u8>(), 0..120),
        ) {
            let mut bytes = vec![first];
            bytes.extend(rest);
            if let Ok(packet) = RtpPacket::parse(&bytes) {
                let mut out = Vec::new();
                packet.write(&mut out).unwrap();
                let kept = bytes.len() - usize::from(packet.padding);
                prop_assert_eq!(&out[..kept], &bytes[..kept]);
                prop_assert_eq!(out.len(), bytes.len());
            }
        }

        #[test]
        fn arbitrary_octets_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = RtpPacket::parse(&bytes);
            let _ = is_rtcp(&bytes);
        }
    }
}
