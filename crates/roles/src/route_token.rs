//! The token in our Record-Route: proves that a dialog was set up through us, so that requests within it pass
//! without a password, and nobody else's do. It is a keyed hash of the Call-ID and needs no memory.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use smol_str::SmolStr;
use subtle::ConstantTimeEq as _;

use crate::settings::Secret;

/// The token for a call.
pub(crate) fn make(secret: &Secret, call_id: &str) -> SmolStr {
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret.0).expect("HMAC takes keys of any length");
    mac.update(b"record-route\0");
    mac.update(call_id.as_bytes());
    let hash = mac.finalize().into_bytes();
    hash[..8]
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
        .collect()
}

/// Whether a token belongs to a call.
pub(crate) fn is_right(secret: &Secret, call_id: &str, token: &str) -> bool {
    make(secret, call_id).as_bytes().ct_eq(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_fits_its_call_and_its_server_only() {
        let (one, two) = (Secret([1; 32]), Secret([2; 32]));
        let token = make(&one, "call");
        assert_eq!(token.len(), 16);
        assert!(is_right(&one, "call", &token));
        assert!(!is_right(&one, "other", &token));
        assert!(!is_right(&two, "call", &token));
        assert!(!is_right(&one, "call", ""));
    }
}
