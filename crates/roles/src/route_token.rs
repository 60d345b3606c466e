//! The token in our Record-Route: proves that a dialog was set up through us, so that requests within it pass
//! without a password, and nobody else's do. It is a keyed hash of the Call-ID and needs no memory.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use smol_str::SmolStr;
use subtle::ConstantTimeEq as _;

use crate::gruu::GruuKeys;
use crate::proxy::{Branches, FlowTokens};
use crate::settings::{Mode, Secret};
use crate::trunks::TrunkTokens;

/// How the token of a call begins: no hexadecimal digit, and nothing in mode `call`.
const fn beginning(mode: Mode) -> Option<char> {
    match mode {
        Mode::Stateless => Some('s'),
        Mode::Transaction | Mode::Redirect | Mode::B2bua => Some('t'),
        Mode::Call => None,
    }
}

/// The mode that a token names.
pub(crate) fn mode_of(token: &str) -> Mode {
    let begins = |mode: &Mode| beginning(*mode).is_some_and(|letter| token.starts_with(letter));
    [Mode::Stateless, Mode::Transaction].into_iter().find(begins).unwrap_or(Mode::Call)
}

/// Makes and checks tokens with one key.
#[derive(Clone)]
pub(crate) struct RouteTokens {
    /// The key, hashed in already.
    keyed: Hmac<Sha256>,
    /// Makes and reads GRUUs with the same key.
    pub(crate) gruus: GruuKeys,
    /// Those of single flows.
    pub(crate) flows: FlowTokens,
    /// The branches of the stateless proxy.
    pub(crate) branches: Branches,
    /// Those of trunks.
    pub(crate) trunks: TrunkTokens,
}

impl RouteTokens {
    /// `run` differs with each start of the server.
    pub(crate) fn new(secret: &Secret, run: u32) -> RouteTokens {
        let mut keyed = Hmac::<Sha256>::new_from_slice(&secret.0).expect("HMAC takes keys of any length");
        keyed.update(b"record-route\0");
        RouteTokens {
            keyed,
            gruus: GruuKeys::new(secret),
            flows: FlowTokens::new(secret, run),
            branches: Branches::new(secret),
            trunks: TrunkTokens::new(secret),
        }
    }

    /// The token for a call. It names the mode, so that the requests of its dialog are forwarded in the same one.
    pub(crate) fn make(&self, call_id: &str, mode: Mode) -> SmolStr {
        let mut mac = self.keyed.clone();
        mac.update(call_id.as_bytes());
        let beginning = beginning(mode);
        if let Some(letter) = beginning {
            // No Call-ID holds a zero byte.
            mac.update(&[0, u8::try_from(letter).unwrap_or(0)]);
        }
        let hash = mac.finalize().into_bytes();
        let digits = hash[..8].iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let digits = digits.map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]));
        beginning.into_iter().chain(digits).collect()
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
        let (one, two) = (RouteTokens::new(&Secret([1; 32]), 1), RouteTokens::new(&Secret([2; 32]), 1));
        let token = one.make("call", Mode::Call);
        assert_eq!(token.len(), 16);
        assert!(!is_right(&one.make("other", Mode::Call), &token));
        assert!(!is_right(&two.make("call", Mode::Call), &token));
        assert!(!is_right(&one.make("call", Mode::Call), ""));
        for mode in [Mode::Stateless, Mode::Transaction, Mode::Call] {
            assert_eq!(mode_of(&one.make("call", mode)), mode);
        }
        let other = one.make("call", Mode::Stateless);
        assert!(!is_right(&other[1..], &token), "another mode is not made of it by a letter");
    }
}
