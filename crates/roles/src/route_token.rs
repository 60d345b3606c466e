//! The token in our Record-Route: proves that a dialog was set up through us, so that requests within it pass
//! without a password, and nobody else's do. It is a keyed hash of the Call-ID and needs no memory.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use smol_str::SmolStr;
use subtle::ConstantTimeEq as _;

use crate::gruu::GruuKeys;
use crate::settings::Secret;

/// Makes and checks tokens with one key.
#[derive(Clone)]
pub(crate) struct RouteTokens {
    /// The key, hashed in already.
    keyed: Hmac<Sha256>,
    /// Makes and reads GRUUs with the same key.
    pub(crate) gruus: GruuKeys,
}

impl RouteTokens {
    pub(crate) fn new(secret: &Secret) -> RouteTokens {
        let mut keyed = Hmac::<Sha256>::new_from_slice(&secret.0).expect("HMAC takes keys of any length");
        keyed.update(b"record-route\0");
        RouteTokens { keyed, gruus: GruuKeys::new(secret) }
    }

    /// The token for a call.
    pub(crate) fn make(&self, call_id: &str) -> SmolStr {
        let mut mac = self.keyed.clone();
        mac.update(call_id.as_bytes());
        let hash = mac.finalize().into_bytes();
        let digits = hash[..8].iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits.map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])).collect()
    }
}

/// Whether the token that came is the one that was made, compared in constant time.
pub(crate) fn is_right(made: &str, came: &str) -> bool {
    made.as_bytes().ct_eq(came.as_bytes()).into()
}

impl std::fmt::Debug for RouteTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RouteTokens(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_fits_its_call_and_its_server_only() {
        let (one, two) = (RouteTokens::new(&Secret([1; 32])), RouteTokens::new(&Secret([2; 32])));
        let token = one.make("call");
        assert_eq!(token.len(), 16);
        assert!(is_right(&one.make("call"), &token));
        assert!(!is_right(&one.make("other"), &token));
        assert!(!is_right(&two.make("call"), &token));
        assert!(!is_right(&one.make("call"), ""));
    }
}
