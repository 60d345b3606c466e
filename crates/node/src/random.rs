//! Randomness of the machine: seeds, secrets and passwords.

use smol_str::SmolStr;

/// Letters and digits that nobody mistakes for another: without 0 O o 1 l I.
const ALPHABET: &[u8] = b"23456789abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ";
/// Characters of a password that we make: 20 of 56 are 116 bits.
const PASSWORD_LEN: usize = 20;

/// Fills a buffer.
///
/// # Panics
/// When the system has no randomness to give: nothing safe can be done without.
fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the system gives random bytes");
}

/// A seed for an engine, or a secret of a server.
pub(crate) fn seed() -> [u8; 32] {
    let mut bytes = [0; 32];
    fill(&mut bytes);
    bytes
}

/// A random number.
pub(crate) fn number() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// A password of 20 characters that can be read out over a telephone.
pub fn password() -> SmolStr {
    let mut out = String::with_capacity(PASSWORD_LEN);
    while out.len() < PASSWORD_LEN {
        let mut bytes = [0; 32];
        fill(&mut bytes);
        // Bytes above the last whole multiple would make some characters likelier than others.
        let even = 256 - 256 % ALPHABET.len();
        let fitting = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < even);
        out.extend(
            fitting.take(PASSWORD_LEN - out.len()).map(|byte| char::from(ALPHABET[byte % ALPHABET.len()])),
        );
    }
    SmolStr::new(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_have_twenty_clear_characters_and_differ() {
        let passwords: Vec<SmolStr> = (0..50).map(|_| password()).collect();
        for password in &passwords {
            assert_eq!(password.chars().count(), 20);
            assert!(!password.contains(['0', 'O', 'o', '1', 'l', 'I']), "{password}");
            assert!(password.chars().all(|character| character.is_ascii_alphanumeric()), "{password}");
        }
        let different: std::collections::BTreeSet<_> = passwords.iter().collect();
        assert_eq!(different.len(), passwords.len());
        assert_ne!(seed(), seed());
        assert_ne!(number(), number());
    }
}
