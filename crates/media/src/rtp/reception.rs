//! What a receiver knows of one source: sequence, jitter (RFC 3550 A.8), and the last SR for LSR and DLSR.

use dialtone_wire::rtcp::{ReportBlock, SenderInfo};
use dialtone_wire::time::Instant;

use super::sequence::SequenceState;

/// The interarrival jitter of RFC 3550 §6.4.1, computed with integers scaled by 16 as in A.8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Jitter {
    transit: Option<u32>,
    scaled: u32,
}

impl Jitter {
    /// Takes in a packet: its arrival in timestamp units, and its timestamp.
    pub fn update(&mut self, arrival: u32, timestamp: u32) {
        let transit = arrival.wrapping_sub(timestamp);
        let Some(before) = self.transit.replace(transit) else { return };
        let difference = (transit.wrapping_sub(before) as i32).unsigned_abs();
        // A.8: jitter += d - ((jitter + 8) >> 4), where jitter is 16 times the estimate.
        self.scaled = self.scaled.saturating_sub((self.scaled + 8) >> 4).saturating_add(difference);
        self.scaled = self.scaled.min(u32::MAX - 8);
    }

    /// Forgets the last transit time, so that a jump of the timestamps isn't taken for jitter.
    pub fn resynchronize(&mut self) {
        self.transit = None;
    }

    /// The estimate in timestamp units, as it stands in a report block.
    pub fn estimate(&self) -> u32 {
        self.scaled >> 4
    }

    /// The estimate in milliseconds, with the fraction.
    pub fn estimate_ms(&self, clock_rate: u32) -> f64 {
        f64::from(self.scaled) / 16.0 * 1000.0 / f64::from(clock_rate.max(1))
    }
}

/// Per-source state of a receiver.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reception {
    /// Sequence numbers.
    pub sequence: SequenceState,
    /// Interarrival jitter.
    pub jitter: Jitter,
    last_sr: Option<(u32, Instant)>,
    heard_since_report: bool,
}

impl Reception {
    /// Notes that a valid RTP packet came, so that the next report has a block for this source.
    pub fn note_heard(&mut self) {
        self.heard_since_report = true;
    }

    /// Notes an SR of this source that came `now`.
    pub fn note_sender_report(&mut self, now: Instant, info: &SenderInfo) {
        self.last_sr = Some((middle_of_ntp(info.ntp_timestamp), now));
    }

    /// Whether packets of this source came since the last report block.
    pub fn is_heard_since_report(&self) -> bool {
        self.heard_since_report && self.sequence.is_valid()
    }

    /// Makes the report block for this source and begins the next interval.
    pub fn take_report_block(&mut self, now: Instant, ssrc: u32) -> ReportBlock {
        self.heard_since_report = false;
        let (last_sr, delay_since_last_sr) = match self.last_sr {
            Some((middle, arrived)) => (middle, short_ntp(now.since(arrived).as_nanos())),
            None => (0, 0),
        };
        ReportBlock {
            ssrc,
            fraction_lost: self.sequence.take_fraction_lost(),
            cumulative_lost: self.sequence.cumulative_lost(),
            extended_highest_sequence: self.sequence.reported_highest(),
            jitter: self.jitter.estimate(),
            last_sr,
            delay_since_last_sr,
        }
    }
}

/// The middle 32 bits of an NTP timestamp: 16.16 fixed point seconds.
pub(super) fn middle_of_ntp(timestamp: u64) -> u32 {
    (timestamp >> 16) as u32
}

/// Nanoseconds in 1/65536 seconds, at most what 32 bits hold.
fn short_ntp(nanos: u128) -> u32 {
    u32::try_from(nanos * 65536 / 1_000_000_000).unwrap_or(u32::MAX)
}

/// The round trip of a report block about our stream that came at `now_ntp` (§6.4.1), in nanoseconds; `None` when the
/// other side had no SR of ours, or its arithmetic gives less than nothing.
pub(super) fn round_trip_nanos(now_ntp: u64, block: &ReportBlock) -> Option<u64> {
    if block.last_sr == 0 {
        return None;
    }
    let round_trip =
        middle_of_ntp(now_ntp).wrapping_sub(block.last_sr).wrapping_sub(block.delay_since_last_sr);
    // The fixed point of both sides is rounded down: a tick of 15 µs below zero is no error.
    match round_trip {
        0xffff_fff0.. => Some(0),
        0x8000_0000..0xffff_fff0 => None,
        _ => Some(u64::from(round_trip) * 1_000_000_000 / 65536),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_follows_the_arithmetic_of_appendix_a_8() {
        let mut jitter = Jitter::default();
        // Packets each 160 units; the second one is 16 late, the third back in time.
        jitter.update(1000, 0);
        assert_eq!(jitter.estimate(), 0);
        jitter.update(1176, 160);
        // 0 + 16 - ((0 + 8) >> 4) = 16; a sixteenth of the difference is 1.
        assert_eq!((jitter.scaled, jitter.estimate()), (16, 1));
        jitter.update(1320, 320);
        // 16 + 16 - ((16 + 8) >> 4) = 31.
        assert_eq!((jitter.scaled, jitter.estimate()), (31, 1));
        assert!((jitter.estimate_ms(8000) - 31.0 / 128.0).abs() < 1e-9);
    }

    #[test]
    fn jitter_of_constant_differences_converges_to_them() {
        let mut jitter = Jitter::default();
        for packet in 0..400u32 {
            jitter.update(packet * 160 + (packet % 2) * 80, packet.wrapping_mul(160));
        }
        assert!((79..=80).contains(&jitter.estimate()), "{}", jitter.estimate());
    }

    #[test]
    fn jitter_survives_wrapping_timestamps_and_wild_ones() {
        let mut jitter = Jitter::default();
        for packet in 0..100u32 {
            jitter.update(packet * 160, (u32::MAX - 800).wrapping_add(packet * 160));
        }
        assert_eq!(jitter.estimate(), 0);
        for packet in 0..1000u32 {
            jitter.update(0, packet.wrapping_mul(0x7fff_ffff));
        }
        jitter.resynchronize();
    }

    #[test]
    fn the_round_trip_follows_the_example_of_figure_2() {
        // RFC 3550 §6.4.1 figure 2: A = 46864.500, LSR = 46853.125, DLSR = 5.250, so the delay is 6.125 s.
        let block =
            ReportBlock { last_sr: 0xb705_2000, delay_since_last_sr: 0x0005_4000, ..ReportBlock::default() };
        let now_ntp = 0xb44d_b705_2000_0000u64 + (0x000b_6000 << 16);
        assert_eq!(middle_of_ntp(now_ntp), 0xb710_8000);
        assert_eq!(round_trip_nanos(now_ntp, &block), Some(6_125_000_000));
        assert_eq!(round_trip_nanos(now_ntp, &ReportBlock::default()), None);
        let impossible = ReportBlock { delay_since_last_sr: 0x0100_0000, ..block };
        assert_eq!(round_trip_nanos(now_ntp, &impossible), None);
    }

    #[test]
    fn delay_since_last_sr_is_in_65536ths_of_a_second() {
        let mut reception = Reception::default();
        let info = SenderInfo { ntp_timestamp: 0x1234_5678_9abc_def0, ..SenderInfo::default() };
        reception.note_sender_report(Instant::from_millis(1000), &info);
        let block = reception.take_report_block(Instant::from_millis(6250), 1);
        assert_eq!((block.last_sr, block.delay_since_last_sr), (0x5678_9abc, 0x0005_4000));
    }
}
