//! Unguessable words from one seed: tags, branches, Call-IDs, nonces.

use rand::rngs::ChaCha12Rng;
use rand::{Rng as _, SeedableRng as _};
use smol_str::{SmolStr, format_smolstr};

/// The random source of one shard. The same seed gives the same words.
#[derive(Debug)]
pub(crate) struct Random(ChaCha12Rng);

impl Random {
    pub(crate) fn new(seed: [u8; 32]) -> Random {
        Random(ChaCha12Rng::from_seed(seed))
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// 64 random bits as a word (RFC 3261 §19.3 asks for at least 32 in a tag).
    pub(crate) fn token(&mut self) -> SmolStr {
        format_smolstr!("{:016x}", self.next_u64())
    }
}
