//! A bounded store of payloads in the order of their timestamps, between arrival and playing.

/// The most packets that wait: 1.28 s of 20 ms packets.
pub(crate) const PACKETS_MAX: usize = 64;
/// The longest payload that is kept, in octets; longer ones are refused.
pub(crate) const PAYLOAD_LEN_MAX: usize = 640;

/// One waiting packet.
#[derive(Clone)]
struct Slot {
    used: bool,
    timestamp: u32,
    payload_type: u8,
    len: u16,
    payload: [u8; PAYLOAD_LEN_MAX],
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

/// The store. Made once, then free of allocation.
#[derive(Clone)]
pub(crate) struct JitterBuffer {
    slots: Box<[Slot]>,
    len: usize,
}

impl JitterBuffer {
    /// An empty store.
    pub(crate) fn new() -> JitterBuffer {
        let empty =
            Slot { used: false, timestamp: 0, payload_type: 0, len: 0, payload: [0; PAYLOAD_LEN_MAX] };
        JitterBuffer { slots: vec![empty; PACKETS_MAX].into_boxed_slice(), len: 0 }
    }

    /// Puts a packet in.
    pub(crate) fn insert(&mut self, timestamp: u32, payload_type: u8, payload: &[u8]) -> Inserted {
        if payload.len() > PAYLOAD_LEN_MAX {
            return Inserted::TooLong;
        }
        if self.slots.iter().any(|slot| slot.used && slot.timestamp == timestamp) {
            return Inserted::Duplicate;
        }
        let Some(slot) = self.slots.iter_mut().find(|slot| !slot.used) else { return Inserted::Full };
        slot.used = true;
        slot.timestamp = timestamp;
        slot.payload_type = payload_type;
        slot.len = payload.len() as u16;
        slot.payload[..payload.len()].copy_from_slice(payload);
        self.len += 1;
        Inserted::Kept
    }

    /// The distance from `timestamp` to the earliest waiting packet; negative for packets whose time has passed.
    pub(crate) fn distance_to_first(&self, timestamp: u32) -> Option<i32> {
        self.slots
            .iter()
            .filter(|slot| slot.used)
            .map(|slot| slot.timestamp.wrapping_sub(timestamp) as i32)
            .min()
    }

    /// Takes the packet with `timestamp` out and hands payload type and payload to `read`.
    pub(crate) fn take<T>(&mut self, timestamp: u32, read: impl FnOnce(u8, &[u8]) -> T) -> Option<T> {
        let slot = self.slots.iter_mut().find(|slot| slot.used && slot.timestamp == timestamp)?;
        slot.used = false;
        self.len -= 1;
        Some(read(slot.payload_type, &slot.payload[..usize::from(slot.len)]))
    }

    /// Throws away what is before `timestamp`; returns how many packets that were.
    pub(crate) fn discard_before(&mut self, timestamp: u32) -> usize {
        let before = self.len;
        for slot in self.slots.iter_mut() {
            if slot.used && (slot.timestamp.wrapping_sub(timestamp) as i32) < 0 {
                slot.used = false;
                self.len -= 1;
            }
        }
        before - self.len
    }

    /// Throws everything away.
    pub(crate) fn clear(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.used = false);
        self.len = 0;
    }
}

impl Default for JitterBuffer {
    fn default() -> JitterBuffer {
        JitterBuffer::new()
    }
}

impl std::fmt::Debug for JitterBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JitterBuffer").field("len", &self.len).finish_non_exhaustive()
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
        assert_eq!((buffer.discard_before(10), buffer.len), (10, PACKETS_MAX - 10));
        buffer.clear();
        assert_eq!(buffer.distance_to_first(0), None);
    }
}
