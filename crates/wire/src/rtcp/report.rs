//! Sender information and reception report blocks (RFC 3550 §6.4.1).

use super::{RtcpError, read_u32, split};

/// Octets of one report block.
pub(super) const REPORT_BLOCK_LEN: usize = 24;

/// What a sender tells of its own stream in an SR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SenderInfo {
    /// Wallclock time of the report, 32.32 fixed point seconds since 1900 (RFC 3550 §4).
    pub ntp_timestamp: u64,
    /// The same point of time in the units of the RTP timestamps.
    pub rtp_timestamp: u32,
    /// RTP packets sent since the start; wraps.
    pub packet_count: u32,
    /// Payload octets sent since the start, without headers and padding; wraps.
    pub octet_count: u32,
}

impl SenderInfo {
    pub(super) fn read(bytes: &[u8]) -> Result<(SenderInfo, &[u8]), RtcpError> {
        let (high, rest) = read_u32(bytes)?;
        let (low, rest) = read_u32(rest)?;
        let (rtp_timestamp, rest) = read_u32(rest)?;
        let (packet_count, rest) = read_u32(rest)?;
        let (octet_count, rest) = read_u32(rest)?;
        let ntp_timestamp = u64::from(high) << 32 | u64::from(low);
        Ok((SenderInfo { ntp_timestamp, rtp_timestamp, packet_count, octet_count }, rest))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.ntp_timestamp.to_be_bytes());
        out.extend_from_slice(&self.rtp_timestamp.to_be_bytes());
        out.extend_from_slice(&self.packet_count.to_be_bytes());
        out.extend_from_slice(&self.octet_count.to_be_bytes());
    }
}

/// What a receiver tells of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// The source that the block is about.
    pub ssrc: u32,
    /// Share of packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the start; negative where duplicates came. 24 bits on the wire: clamped when written.
    pub cumulative_lost: i32,
    /// Cycles of the sequence number (high 16 bits) and the highest one received.
    pub extended_highest_sequence: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP timestamp of the last SR from the source; 0 when none came.
    pub last_sr: u32,
    /// Time since that SR came, in 1/65536 seconds; 0 when none came.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    /// Smallest loss that 24 bits can tell.
    pub const LOST_MIN: i32 = -0x80_0000;
    /// Largest loss that 24 bits can tell.
    pub const LOST_MAX: i32 = 0x7f_ffff;

    fn from_chunk(chunk: &[u8]) -> ReportBlock {
        let word = |index: usize| {
            let at = index * 4;
            u32::from_be_bytes([chunk[at], chunk[at + 1], chunk[at + 2], chunk[at + 3]])
        };
        ReportBlock {
            ssrc: word(0),
            fraction_lost: chunk[4],
            // The shift to the left and back extends the sign of the 24-bit number.
            cumulative_lost: (word(1) << 8) as i32 >> 8,
            extended_highest_sequence: word(2),
            jitter: word(3),
            last_sr: word(4),
            delay_since_last_sr: word(5),
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let lost = self.cumulative_lost.clamp(Self::LOST_MIN, Self::LOST_MAX) as u32 & 0xff_ffff;
        let words = [
            self.ssrc,
            u32::from(self.fraction_lost) << 24 | lost,
            self.extended_highest_sequence,
            self.jitter,
            self.last_sr,
            self.delay_since_last_sr,
        ];
        for word in words {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }
}

/// The report blocks of an SR or RR, read when asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlocks<'a>(&'a [u8]);

impl<'a> ReportBlocks<'a> {
    pub(super) fn read(count: u8, bytes: &'a [u8]) -> Result<(ReportBlocks<'a>, &'a [u8]), RtcpError> {
        let (blocks, rest) = split(bytes, usize::from(count) * REPORT_BLOCK_LEN)?;
        Ok((ReportBlocks(blocks), rest))
    }

    /// The number of blocks, 0 to 31.
    pub fn len(&self) -> usize {
        self.0.len() / REPORT_BLOCK_LEN
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The blocks in the order of the packet.
    pub fn iter(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        self.0.chunks_exact(REPORT_BLOCK_LEN).map(ReportBlock::from_chunk)
    }

    pub(super) fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}
