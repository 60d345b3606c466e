//! Unguessable words from one seed: tags, branches, Call-IDs, nonces.

use rand::rngs::ChaCha12Rng;
use rand::{Rng as _, SeedableRng as _};
use smol_str::SmolStr;

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
        word(self.next_u64())
    }
}

/// 64 bits as a word of 16 hexadecimal digits.
pub(crate) fn word(bits: u64) -> SmolStr {
    let mut digits = [0; 16];
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bits.to_be_bytes()) {
        *pair = [byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]);
    }
    SmolStr::new(std::str::from_utf8(&digits).expect("digits are ASCII"))
}

#[cfg(test)]
mod tests {
    use super::word;

    #[test]
    fn a_word_has_all_its_zeros() {
        assert_eq!(word(0), "0000000000000000");
        assert_eq!(word(0x0123_4567_89ab_cdef), "0123456789abcdef");
        assert_eq!(word(u64::MAX), "ffffffffffffffff");
    }
}
