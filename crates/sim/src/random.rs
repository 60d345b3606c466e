//! The one source of chance of a simulation.

use std::time::Duration;

use dialtone_media::SplitMix64;

/// Chance from a seed. Each part of a simulation has a generator of its own, so that one more draw in one part
/// does not change the others.
#[derive(Clone, Debug)]
pub struct Random(SplitMix64);

impl Random {
    /// A generator for one part of the simulation with this seed; `part` names the part.
    pub fn new(seed: u64, part: u64) -> Random {
        let mut mixer = SplitMix64::new(seed ^ part.wrapping_mul(0xd6e8_feb8_6659_fd93));
        Random(SplitMix64::new(mixer.next_u64()))
    }

    /// 64 random bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `end`; 0 when `end` is 0.
    pub const fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.0.next_u64() % end }
    }

    /// Whether something happens that happens `permille` times in a thousand.
    pub const fn chance(&mut self, permille: u32) -> bool {
        self.below(1000) < permille as u64
    }

    /// A duration from `shortest` to `longest`.
    pub fn between(&mut self, shortest: Duration, longest: Duration) -> Duration {
        let span = u64::try_from(longest.saturating_sub(shortest).as_nanos()).unwrap_or(u64::MAX);
        shortest + Duration::from_nanos(self.below(span.saturating_add(1)))
    }

    /// One of several things.
    pub fn choose<'a, T>(&mut self, things: &'a [T]) -> Option<&'a T> {
        let index = usize::try_from(self.below(things.len() as u64)).unwrap_or(0);
        things.get(index)
    }

    /// 32 bytes for the seed of an engine.
    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for part in bytes.chunks_exact_mut(8) {
            part.copy_from_slice(&self.0.next_u64().to_le_bytes());
        }
        bytes
    }
}
