//! Sequence numbers of one source: validation (RFC 3550 A.1), expected and lost (A.3), and which ones came.

/// Packets in sequence until a source is valid (A.1).
pub const MIN_SEQUENTIAL: u8 = 2;
/// The largest step forward that isn't taken for a restart (A.1).
pub const MAX_DROPOUT: u16 = 3000;
/// The largest step back that is taken for reordering (A.1).
pub const MAX_MISORDER: u16 = 100;

/// Sequence numbers in one cycle.
const CYCLE: u32 = 1 << 16;

/// What a sequence number says of its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceVerdict {
    /// The source isn't valid yet; the packet may be kept and delivered with the one that validates it.
    Probation,
    /// The packet belongs to the stream.
    Valid {
        /// Cycles and sequence number; a packet before the first one of the stream has the number 65,536 or less.
        extended: u32,
        /// The packet came before.
        duplicate: bool,
    },
    /// The source starts anew with this packet: by leaving probation, or after a long jump.
    Started {
        /// Cycles and sequence number.
        extended: u32,
    },
    /// The number is out of the accepted range.
    Invalid,
}

/// The state of A.1 and A.3, with a window that tells duplicates from new packets.
///
/// Other than in the example of A.1 the stream begins with the first packet of the probation, not the last: that
/// packet may be kept and delivered, so it counts as expected and received.
#[derive(Clone, Copy, Debug)]
pub struct SequenceState {
    max_seq: u16,
    cycles: u32,
    base: u32,
    bad_seq: Option<u16>,
    probation: u8,
    received: u64,
    unique: u64,
    expected_prior: u64,
    received_prior: u64,
    /// Bit n: the packet n before the highest one came.
    window: u128,
}

impl SequenceState {
    /// The state before the first packet of a source.
    pub fn new() -> SequenceState {
        SequenceState {
            max_seq: 0,
            cycles: 0,
            base: 0,
            bad_seq: None,
            probation: MIN_SEQUENTIAL + 1,
            received: 0,
            unique: 0,
            expected_prior: 0,
            received_prior: 0,
            window: 0,
        }
    }

    /// Whether the source left probation.
    pub fn is_valid(&self) -> bool {
        self.probation == 0
    }

    /// Takes in the sequence number of an arrived packet.
    pub fn update(&mut self, seq: u16) -> SequenceVerdict {
        if self.probation > 0 {
            return self.update_in_probation(seq);
        }
        let ahead = seq.wrapping_sub(self.max_seq);
        if ahead < MAX_DROPOUT {
            if seq < self.max_seq {
                self.cycles = self.cycles.wrapping_add(CYCLE);
            }
            self.max_seq = seq;
            self.bad_seq = None;
            let duplicate = ahead == 0;
            self.window = self.window.checked_shl(u32::from(ahead)).unwrap_or(0) | 1;
            self.count(duplicate);
            SequenceVerdict::Valid { extended: self.extended_highest(), duplicate }
        } else if u32::from(ahead) <= CYCLE - u32::from(MAX_MISORDER) {
            // The sequence number made a very large jump: two packets in sequence make it a restart.
            if self.bad_seq == Some(seq) {
                self.start(seq.wrapping_sub(1), seq);
                return SequenceVerdict::Started { extended: self.extended_highest() };
            }
            self.bad_seq = Some(seq.wrapping_add(1));
            SequenceVerdict::Invalid
        } else {
            let behind = self.max_seq.wrapping_sub(seq);
            let bit = 1u128 << behind;
            let duplicate = self.window & bit != 0;
            self.window |= bit;
            self.count(duplicate);
            let extended = self.extended_highest().wrapping_sub(u32::from(behind));
            SequenceVerdict::Valid { extended, duplicate }
        }
    }

    fn update_in_probation(&mut self, seq: u16) -> SequenceVerdict {
        let in_sequence = self.probation <= MIN_SEQUENTIAL && seq == self.max_seq.wrapping_add(1);
        self.probation = if in_sequence { self.probation - 1 } else { MIN_SEQUENTIAL - 1 };
        let first = self.max_seq;
        self.max_seq = seq;
        if self.probation > 0 {
            return SequenceVerdict::Probation;
        }
        self.start(first, seq);
        SequenceVerdict::Started { extended: self.extended_highest() }
    }

    /// Starts the statistics with the two packets `first` and `seq`, both received.
    fn start(&mut self, first: u16, seq: u16) {
        // One cycle is counted in advance, so that a reordered packet before the first one has a number too.
        self.base = CYCLE + u32::from(first);
        self.cycles = if seq < first { 2 * CYCLE } else { CYCLE };
        self.max_seq = seq;
        self.bad_seq = None;
        self.received = 2;
        self.unique = 2;
        self.expected_prior = 0;
        self.received_prior = 0;
        self.window = 0b11;
    }

    fn count(&mut self, duplicate: bool) {
        self.received += 1;
        self.unique += u64::from(!duplicate);
    }

    /// Cycles and highest sequence number, as kept here: one cycle ahead of what a report tells.
    pub fn extended_highest(&self) -> u32 {
        self.cycles.wrapping_add(u32::from(self.max_seq))
    }

    /// The extended highest sequence number of a report block (§6.4.1).
    pub fn reported_highest(&self) -> u32 {
        self.extended_highest().wrapping_sub(CYCLE)
    }

    /// Packets expected since the start (A.3).
    pub fn expected(&self) -> u64 {
        match self.is_valid() {
            true => u64::from(self.extended_highest().wrapping_sub(self.base)) + 1,
            false => 0,
        }
    }

    /// Packets received since the start, late and duplicate ones included (A.3).
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Different packets received since the start.
    pub fn received_unique(&self) -> u64 {
        self.unique
    }

    /// Packets lost by the count of A.3: negative where duplicates outnumber losses, clamped to 24 bits.
    pub fn cumulative_lost(&self) -> i32 {
        let lost = i128::from(self.expected()) - i128::from(self.received);
        lost.clamp(-0x80_0000, 0x7f_ffff) as i32
    }

    /// The share lost since the last call, in 1/256 (A.3); begins the next interval.
    pub fn take_fraction_lost(&mut self) -> u8 {
        let expected = self.expected().saturating_sub(self.expected_prior);
        let received = self.received.saturating_sub(self.received_prior);
        self.expected_prior = self.expected();
        self.received_prior = self.received;
        let lost = expected.saturating_sub(received);
        match expected {
            0 => 0,
            // All of them lost would be 256/256, which eight bits cannot tell.
            _ => ((lost << 8) / expected).min(255) as u8,
        }
    }
}

impl Default for SequenceState {
    fn default() -> SequenceState {
        SequenceState::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(seqs: impl IntoIterator<Item = u16>) -> SequenceState {
        let mut state = SequenceState::new();
        for seq in seqs {
            state.update(seq);
        }
        state
    }

    #[test]
    fn a_source_is_valid_after_two_packets_in_sequence() {
        let mut state = SequenceState::new();
        assert_eq!(state.update(7), SequenceVerdict::Probation);
        assert_eq!(state.update(9), SequenceVerdict::Probation);
        assert_eq!(state.expected(), 0);
        assert_eq!(state.update(10), SequenceVerdict::Started { extended: 65546 });
        assert_eq!((state.expected(), state.received(), state.cumulative_lost()), (2, 2, 0));
    }

    #[test]
    fn a_lone_first_packet_numbered_one_stays_in_probation() {
        assert_eq!(SequenceState::new().update(1), SequenceVerdict::Probation);
        assert_eq!(SequenceState::new().update(0), SequenceVerdict::Probation);
    }

    #[test]
    fn the_sequence_number_wraps_into_the_next_cycle() {
        let mut state = fed(65533..=65535);
        assert_eq!(state.update(1), SequenceVerdict::Valid { extended: 2 * 65536 + 1, duplicate: false });
        assert_eq!(state.reported_highest(), 65537);
        // Packet 0 comes late, from before the highest one.
        assert_eq!(state.update(0), SequenceVerdict::Valid { extended: 2 * 65536, duplicate: false });
        assert_eq!(state.update(65535), SequenceVerdict::Valid { extended: 65536 + 65535, duplicate: true });
        assert_eq!((state.expected(), state.received(), state.received_unique()), (5, 6, 5));
        assert_eq!(state.cumulative_lost(), -1);
    }

    #[test]
    fn a_wrap_inside_probation_counts_right() {
        let state = fed([65535, 0]);
        assert_eq!((state.expected(), state.received()), (2, 2));
    }

    #[test]
    fn many_cycles_count_every_packet() {
        let state = fed((0..200_000u32).map(|n| n as u16));
        assert_eq!(
            (state.expected(), state.received_unique(), state.cumulative_lost()),
            (200_000, 200_000, 0)
        );
        assert_eq!(state.reported_highest(), 199_999);
    }

    #[test]
    fn a_large_jump_restarts_the_source_after_two_packets() {
        let mut state = fed(0..10);
        assert_eq!(state.update(30000), SequenceVerdict::Invalid);
        assert_eq!(state.update(10), SequenceVerdict::Valid { extended: 65546, duplicate: false });
        assert_eq!(state.update(40000), SequenceVerdict::Invalid);
        assert_eq!(state.update(40001), SequenceVerdict::Started { extended: 65536 + 40001 });
        assert_eq!((state.expected(), state.received()), (2, 2));
    }

    #[test]
    fn steps_at_the_edges_of_dropout_and_misorder_are_judged_as_in_appendix_a_1() {
        let after = |seq: u16| fed([999, 1000]).update(seq);
        assert!(matches!(after(1000 + 2999), SequenceVerdict::Valid { .. }));
        assert_eq!(after(1000 + 3000), SequenceVerdict::Invalid);
        assert!(matches!(after(1000 - 99), SequenceVerdict::Valid { .. }));
        assert_eq!(after(1000 - 100), SequenceVerdict::Invalid);
    }

    #[test]
    fn the_fraction_lost_follows_the_worked_example() {
        // 100 expected, 25 of them lost: (25 << 8) / 100 = 64, a quarter.
        let mut state = fed((0..100).filter(|seq| seq % 4 != 2));
        assert_eq!((state.expected(), state.received()), (100, 75));
        assert_eq!((state.take_fraction_lost(), state.cumulative_lost()), (64, 25));
        // Nothing came since: no packet expected, so no loss.
        assert_eq!(state.take_fraction_lost(), 0);
        // A duplicate in the next interval makes the lost count negative there: told as none.
        state.update(100);
        state.update(100);
        assert_eq!((state.take_fraction_lost(), state.cumulative_lost()), (0, 24));
    }
}
