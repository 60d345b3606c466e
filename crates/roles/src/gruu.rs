//! Globally routable user agent URIs (RFC 5627): addresses that lead to one device of a user.
//!
//! ```text
//!   public      sip:alice@example.com;gr=urn:uuid:f81d4fae-…       the address-of-record and the instance: nothing is kept
//!   temporary   sip:tgruu.D·C·M@example.com;gr                     D: 8 bytes that differ with each REGISTER
//!                                                                  C: the number of the series, enciphered by D
//!                                                                  M: proof that we made it
//! ```
//!
//! All temporary GRUUs that a device has been given since it began to register form a series; the binding keeps its
//! number, so that they end with the registration. Without our key nobody can tell whether two of them belong together
//! (RFC 5627 §5.1), or make one.

use dialtone_wire::HeaderName;
use dialtone_wire::uri::{SipUri, Uri, unescape};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use smol_str::{SmolStr, SmolStrBuilder};
use subtle::ConstantTimeEq as _;

use crate::binding::{Binding, is_same_instance};
use crate::registrar::Registration;
use crate::settings::Secret;
use crate::steer::half_hash;

/// What the user part of a temporary GRUU begins with.
pub(crate) const TEMPORARY: &str = "tgruu.";
/// Bytes of the proof (RFC 5627 appendix A.2 takes 80 bits too).
const PROOF_BYTES: usize = 10;
/// What a key of the location service begins with that is the number of a series.
const SERIES: &str = "tgruu:";

/// Makes and reads GRUUs with one key.
#[derive(Clone)]
pub(crate) struct GruuKeys {
    /// The key, hashed in already.
    keyed: Hmac<Sha256>,
    secret: Secret,
}

/// What a Request-URI with `gr` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Gruu {
    /// A device of an address-of-record.
    Public {
        /// The instance, without its brackets.
        instance: SmolStr,
    },
    /// A device by the number of its series.
    Temporary(u64),
}

impl GruuKeys {
    pub(crate) fn new(secret: &Secret) -> GruuKeys {
        let mut keyed = Hmac::<Sha256>::new_from_slice(&secret.0).expect("HMAC takes keys of any length");
        keyed.update(b"gruu\0");
        GruuKeys { keyed, secret: secret.clone() }
    }

    fn bytes<const N: usize>(&self, what: &[u8], parts: &[&[u8]]) -> [u8; N] {
        let mut mac = self.keyed.clone();
        mac.update(what);
        for part in parts {
            mac.update(part);
        }
        let mut bytes = [0; N];
        bytes.copy_from_slice(&mac.finalize().into_bytes()[..N]);
        bytes
    }

    /// The number of a new series: its upper half leads to the shard that owns the address-of-record. Zero bits make
    /// none.
    pub(crate) fn series(&self, aor: &str, random: u64) -> u64 {
        match random {
            0 => 0,
            random => u64::from(half_hash(&self.secret, aor.as_bytes())) << 32 | (random >> 32) | 1,
        }
    }

    /// Appends the parameters with the GRUUs of a binding (RFC 5627 §5.2).
    pub(crate) fn push(
        &self,
        value: &mut String,
        binding: &Binding,
        instance: &str,
        registration: &Registration<'_>,
    ) {
        let aor = registration.aor;
        for part in [";pub-gruu=\"", aor, ";gr=", &escaped(instance.trim_matches(['<', '>'])), "\""] {
            value.push_str(part);
        }
        let domain = aor.rsplit_once('@').map_or("", |(_, domain)| domain);
        if binding.gruu() != 0 {
            let request = registration.request;
            let call_id = request.call_id().unwrap_or("").as_bytes();
            let cseq = request.value(HeaderName::CSeq).unwrap_or(b"");
            let user = self.temporary(binding.gruu(), call_id, cseq);
            for part in [";temp-gruu=\"sip:", &user, "@", domain, ";gr\""] {
                value.push_str(part);
            }
        }
    }

    /// The user part of the temporary GRUU that a REGISTER is given.
    fn temporary(&self, series: u64, call_id: &[u8], cseq: &[u8]) -> SmolStr {
        let series = series.to_be_bytes();
        let distinct: [u8; 8] = self.bytes(b"distinct\0", &[&series, call_id, b"\0", cseq]);
        let hidden = self.hidden(series, distinct);
        let proof: [u8; PROOF_BYTES] = self.bytes(b"proof\0", &[&distinct, &hidden]);
        let mut user = SmolStrBuilder::new();
        user.push_str(TEMPORARY);
        for byte in distinct.iter().chain(&hidden).chain(&proof) {
            for digit in [byte >> 4, byte & 15] {
                user.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
            }
        }
        user.finish()
    }

    /// The number of a series enciphered, or deciphered.
    fn hidden(&self, series: [u8; 8], distinct: [u8; 8]) -> [u8; 8] {
        let mask: [u8; 8] = self.bytes(b"mask\0", &[&distinct]);
        std::array::from_fn(|at| series[at] ^ mask[at])
    }

    /// The series of the user part of a temporary GRUU; `None` when we did not make it.
    fn series_of(&self, user: &str) -> Option<u64> {
        let digits = user.strip_prefix(TEMPORARY)?.as_bytes();
        let mut bytes = [0; 16 + PROOF_BYTES];
        let (pairs, rest) = digits.as_chunks::<2>();
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let digit = |at: usize| match pair[at] {
                digit @ b'0'..=b'9' => Some(digit - b'0'),
                digit @ b'a'..=b'f' => Some(digit - b'a' + 10),
                _ => None,
            };
            *byte = digit(0)? << 4 | digit(1)?;
        }
        let distinct: [u8; 8] = std::array::from_fn(|at| bytes[at]);
        let hidden: [u8; 8] = std::array::from_fn(|at| bytes[8 + at]);
        let proof: [u8; PROOF_BYTES] = self.bytes(b"proof\0", &[&distinct, &hidden]);
        let is_right = bool::from(proof.as_slice().ct_eq(&bytes[16..]));
        is_right.then(|| u64::from_be_bytes(self.hidden(hidden, distinct)))
    }

    /// What a URI of a domain of ours names by its `gr`; `None` when it has none. `Some(None)` when it is no GRUU that
    /// we gave (RFC 5627 §6.1: 404).
    pub(crate) fn read(&self, uri: &SipUri<'_>) -> Option<Option<Gruu>> {
        Some(match uri.params.find("gr")? {
            Some(instance) if !instance.is_empty() => Some(Gruu::Public { instance: unescape(instance) }),
            _ => self.series_of(uri.user?).map(Gruu::Temporary),
        })
    }

    /// Whether a URI with `gr` is a GRUU of this address-of-record.
    pub(crate) fn is_ours(&self, uri: &SipUri<'_>, aor: &str) -> bool {
        let Ok(Uri::Sip(own)) = Uri::parse(aor) else { return false };
        if !own.host.equivalent(&uri.host) {
            return false;
        }
        match self.read(uri) {
            Some(Some(Gruu::Public { .. })) => own.user_unescaped() == uri.user_unescaped(),
            Some(Some(Gruu::Temporary(series))) => {
                (series >> 32) as u32 == half_hash(&self.secret, aor.as_bytes())
            }
            Some(None) | None => false,
        }
    }
}

impl Gruu {
    /// What the location service finds the device by: for a device of an address-of-record that and its instance, else
    /// the number of its series and the domain that the address-of-record must be of.
    pub(crate) fn key(&self, aor: &str) -> SmolStr {
        let mut key = SmolStrBuilder::new();
        match self {
            Gruu::Public { instance } => {
                for part in [aor, ";gr=", instance] {
                    key.push_str(part);
                }
            }
            Gruu::Temporary(series) => {
                key.push_str(SERIES);
                key.push_str(&crate::random::word(*series));
                key.push_str(aor.find('@').map_or("", |at| &aor[at..]));
            }
        }
        key.finish()
    }
}

/// What a key of the location service names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key<'a> {
    /// All devices of an address-of-record.
    User(&'a str),
    /// One of them.
    Device { aor: &'a str, instance: &'a str },
    /// The device of a series of temporary GRUUs, with the @ and the domain of its address-of-record.
    Series { series: u64, domain: &'a str },
}

impl<'a> Key<'a> {
    pub(crate) fn read(key: &'a str) -> Key<'a> {
        if let Some(series) = key.strip_prefix(SERIES) {
            let (series, domain) = series.split_at(series.find('@').unwrap_or(series.len()));
            return Key::Series { series: u64::from_str_radix(series, 16).unwrap_or(0), domain };
        }
        // A user part may have any of these characters but the @.
        let host = key.find('@').unwrap_or(0);
        match key[host..].find(";gr=") {
            Some(at) => Key::Device { aor: &key[..host + at], instance: &key[host + at + 4..] },
            None => Key::User(key),
        }
    }

    /// Whether a binding of the address-of-record belongs to it.
    pub(crate) fn takes(self, binding: &Binding) -> bool {
        match self {
            Key::User(_) => true,
            Key::Device { instance, .. } => {
                binding.instance().is_some_and(|own| is_same_instance(own, instance))
            }
            Key::Series { series, .. } => series != 0 && binding.gruu() == series,
        }
    }
}

/// An instance as the value of a URI parameter (RFC 3261 §25.1 `pvalue`).
fn escaped(instance: &str) -> String {
    let mut text = String::with_capacity(instance.len());
    for byte in instance.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()[]/:&+$".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
    text
}

impl std::fmt::Debug for GruuKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GruuKeys(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sip(text: &str) -> SmolStr {
        text.into()
    }

    #[test]
    fn temporary_ones_are_read_by_their_maker_only_and_do_not_show_whose_they_are() {
        let (keys, others) = (GruuKeys::new(&Secret([1; 32])), GruuKeys::new(&Secret([2; 32])));
        let series = keys.series("sip:alice@a.test", 0x1234_5678_9abc_def0);
        assert_ne!(series, 0);
        assert_eq!(keys.series("sip:alice@a.test", 0), 0);
        let made: Vec<SmolStr> =
            (1..=20).map(|cseq: u32| keys.temporary(series, b"c", &cseq.to_be_bytes())).collect();
        for (at, user) in made.iter().enumerate() {
            assert_eq!(keys.series_of(user), Some(series));
            assert_eq!(others.series_of(user), None);
            for other in &made[..at] {
                let same =
                    user.bytes().zip(other.bytes()).skip(TEMPORARY.len()).filter(|(a, b)| a == b).count();
                assert!(same < 20, "{user} and {other}");
            }
        }
        // Nobody can make one, and none can be changed into another.
        let user = made[0].as_str();
        for at in TEMPORARY.len()..user.len() {
            let mut changed = user.to_owned().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(keys.series_of(std::str::from_utf8(&changed).unwrap()), None, "digit {at}");
        }
        for bad in
            ["", "tgruu.", "tgruu.00", &user[..user.len() - 1], &format!("{user}0"), &user.replace('.', "-")]
        {
            assert_eq!(keys.series_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_request_uri_is_read_as_the_key_that_finds_the_device() {
        let keys = GruuKeys::new(&Secret([1; 32]));
        let read = |text: &str| {
            let uri = Uri::parse(text).expect("a URI");
            let uri = *uri.as_sip().expect("a SIP URI");
            keys.read(&uri).map(|gruu| gruu.map(|gruu| gruu.key("sip:a@b")))
        };
        assert_eq!(read("sip:a@b"), None);
        assert_eq!(read("sip:a@b;gr"), Some(None));
        assert_eq!(read("sip:a@b;gr=urn:uuid:1"), Some(Some(sip("sip:a@b;gr=urn:uuid:1"))));
        assert_eq!(read("sip:a@b;gr=x%3By"), Some(Some(sip("sip:a@b;gr=x;y"))));
        let user = keys.temporary(7, b"c", b"1");
        let series = Gruu::Temporary(7).key("sip:a@b");
        assert_eq!(read(&format!("sip:{user}@b;gr")), Some(Some(series.clone())));
        assert_eq!(Key::read(&series), Key::Series { series: 7, domain: "@b" });
        assert_eq!(Key::read("sip:a@b"), Key::User("sip:a@b"));
        assert_eq!(Key::read("sip:a;gr=1@b"), Key::User("sip:a;gr=1@b"));
        let device = Key::Device { aor: "sip:a@b", instance: "urn:uuid:1" };
        assert_eq!(Key::read("sip:a@b;gr=urn:uuid:1"), device);
    }

    #[test]
    fn an_instance_of_any_characters_can_stand_in_a_uri() {
        assert_eq!(escaped("urn:uuid:f8-1"), "urn:uuid:f8-1");
        assert_eq!(escaped("a;b@c?d\"e"), "a%3Bb%40c%3Fd%22e");
    }
}
