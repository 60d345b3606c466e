//! A bounded store of payloads in the order of their timestamps, between arrival and playing.

/// The most packets that wait: 1.28 s of 20 ms packets.
pub(crate) const PACKETS_MAX: usize = u64::BITS as usize;
/// The longest payload that is kept, in octets; longer ones are refused.
pub(crate) const PAYLOAD_LEN_MAX: usize = 640;

/// What a waiting packet is, beside its payload.
#[derive(Clone, Copy, Default)]
struct Slot {
    timestamp: u32,
    payload_type: u8,
    len: u16,
}

/// What happened to a packet that was put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// It waits.
    Kept,
    /// One with the same timestamp waits already.
    Duplicate,
    /// All places are taken.
    Full,
    /// The payload is longer than [`PAYLOAD_LEN_MAX`].
    TooLong,
}

/// The store. Made once, then free of allocation. What is searched lies together; payloads are touched only when they
/// are written or read, so that hundreds of sessions share a processor's cache.
#[derive(Clone)]
pub(crate) struct JitterBuffer {
    /// Bit n: slot n holds a packet.
    used: u64,
    slots: [Slot; PACKETS_MAX],
    payloads: Box<[[u8; PAYLOAD_LEN_MAX]]>,
}

impl JitterBuffer {
    /// An empty store.
    pub(crate) fn new() -> JitterBuffer {
        JitterBuffer {
            used: 0,
            slots: [Slot::default(); PACKETS_MAX],
            payloads: vec![[0; PAYLOAD_LEN_MAX]; PACKETS_MAX].into_boxed_slice(),
        }
    }

    /// The indexes of the slots in use.
    fn waiting(&self) -> impl Iterator<Item = usize> + use<> {
        let mut left = self.used;
        std::iter::from_fn(move || {
            let index = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            (index < PACKETS_MAX).then_some(index)
        })
    }

    fn index_of(&self, timestamp: u32) -> Option<usize> {
        self.waiting().find(|index| self.slots[*index].timestamp == timestamp)
    }

    /// Puts a packet in.
    pub(crate) fn insert(&mut self, timestamp: u32, payload_type: u8, payload: &[u8]) -> Inserted {
        if payload.len() > PAYLOAD_LEN_MAX {
            return Inserted::TooLong;
        }
        if self.index_of(timestamp).is_some() {
            return Inserted::Duplicate;
        }
        let index = self.used.trailing_ones() as usize;
        if index >= PACKETS_MAX {
            return Inserted::Full;
        }
        self.used |= 1 << index;
        self.slots[index] = Slot { timestamp, payload_type, len: payload.len() as u16 };
        self.payloads[index][..payload.len()].copy_from_slice(payload);
        Inserted::Kept
    }

    /// The distance from `timestamp` to the earliest waiting packet; negative for packets whose time has passed.
    pub(crate) fn distance_to_first(&self, timestamp: u32) -> Option<i32> {
        self.waiting().map(|index| self.slots[index].timestamp.wrapping_sub(timestamp) as i32).min()
    }

    /// Takes the packet with `timestamp` out and hands payload type and payload to `read`.
    pub(crate) fn take<T>(&mut self, timestamp: u32, read: impl FnOnce(u8, &[u8]) -> T) -> Option<T> {
        let index = self.index_of(timestamp)?;
        self.used &= !(1 << index);
        let slot = self.slots[index];
        Some(read(slot.payload_type, &self.payloads[index][..usize::from(slot.len)]))
    }

    /// Throws away what is before `timestamp`; returns how many packets that were.
    pub(crate) fn discard_before(&mut self, timestamp: u32) -> usize {
        let before = self.used.count_ones();
        for index in self.waiting() {
            if (self.slots[index].timestamp.wrapping_sub(timestamp) as i32) < 0 {
                self.used &= !(1 << index);
            }
        }
        (before - self.used.count_ones()) as usize
    }

    /// Throws everything away.
    pub(crate) fn clear(&mut self) {
        self.used = 0;
    }
}

impl Default for JitterBuffer {
    fn default() -> JitterBuffer {
        JitterBuffer::new()
    }
}

impl std::fmt::Debug for JitterBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JitterBuffer").field("packets", &self.used.count_ones()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_out_by_timestamp_across_the_wrap() {
        let mut buffer = JitterBuffer::new();
        let first = u32::MAX - 200;
        for step in [2u32, 0, 1] {
            assert_eq!(buffer.insert(first.wrapping_add(step * 160), 0, &[step as u8]), Inserted::Kept);
        }
        assert_eq!(buffer.insert(first, 0, &[9]), Inserted::Duplicate);
        assert_eq!(buffer.distance_to_first(first.wrapping_sub(160)), Some(160));
        for step in 0..3u32 {
            let read = buffer.take(first.wrapping_add(step * 160), |_, payload| payload[0]);
            assert_eq!(read, Some(step as u8));
        }
        assert_eq!(buffer.distance_to_first(0), None);
    }

    #[test]
    fn it_is_bounded_in_packets_and_octets() {
        let mut buffer = JitterBuffer::new();
        assert_eq!(buffer.insert(0, 0, &[0; PAYLOAD_LEN_MAX + 1]), Inserted::TooLong);
        for packet in 0..PACKETS_MAX as u32 {
            assert_eq!(buffer.insert(packet, 0, &[]), Inserted::Kept);
        }
        assert_eq!(buffer.insert(1000, 0, &[]), Inserted::Full);
        assert_eq!((buffer.discard_before(10), buffer.waiting().count()), (10, PACKETS_MAX - 10));
        buffer.clear();
        assert_eq!(buffer.distance_to_first(0), None);
    }
}
