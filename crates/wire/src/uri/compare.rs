//! Comparison of SIP and SIPS URIs (RFC 3261 §19.1.4).

use super::SipUri;
use crate::params::Params;

/// Parameters that make two URIs differ when only one of them has it (RFC 3261 §19.1.4).
const DECISIVE: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];

impl SipUri<'_> {
    /// Whether two SIP URIs are equal by the rules of RFC 3261 §19.1.4. (The rules are not transitive.)
    pub fn equivalent(&self, other: &SipUri<'_>) -> bool {
        self.secure == other.secure
            && self.same_user(other)
            && self.host.equivalent(&other.host)
            && self.port == other.port
            && self.same_params(other)
            && self.same_headers(other)
    }

    /// User parts (and passwords) are case-sensitive.
    fn same_user(&self, other: &SipUri<'_>) -> bool {
        let same = |one: Option<&str>, two: Option<&str>| match (one, two) {
            (None, None) => true,
            (Some(one), Some(two)) => characters(one).eq(characters(two)),
            _ => false,
        };
        same(self.user, other.user) && same(self.password, other.password)
    }

    fn same_params(&self, other: &SipUri<'_>) -> bool {
        agrees(self.params, other.params) && agrees(other.params, self.params)
    }

    /// Header components are never ignored; their order does not count.
    fn same_headers(&self, other: &SipUri<'_>) -> bool {
        pairs(self.headers).count() == pairs(other.headers).count()
            && has_all(self.headers, other.headers)
            && has_all(other.headers, self.headers)
    }
}

/// Whether each parameter of `one` has the same value in `two`, or may be absent there. A name that stands
/// twice, which RFC 3261 §19.1.1 forbids, counts by its first value.
fn agrees(one: Params<'_>, two: Params<'_>) -> bool {
    one.iter().all(|(name, _)| match (one.find(name), two.find(name)) {
        (Some(value), Some(other)) => same_folded(value.unwrap_or(""), other.unwrap_or("")),
        _ => !is_decisive(name),
    })
}

/// Whether each pair of `one` is among those of `two`.
fn has_all(one: &str, two: &str) -> bool {
    pairs(one).all(|(name, value)| {
        pairs(two).any(|(other_name, other_value)| {
            same_folded(name, other_name) && characters(value).eq(characters(other_value))
        })
    })
}

fn is_decisive(name: &str) -> bool {
    DECISIVE.iter().any(|decisive| same_folded(decisive, name))
}

fn pairs(headers: &str) -> impl Iterator<Item = (&str, &str)> {
    headers
        .split('&')
        .filter(|piece| !piece.is_empty())
        .map(|piece| piece.split_once('=').unwrap_or((piece, "")))
}

/// Equal in any case.
fn same_folded(one: &str, two: &str) -> bool {
    let fold = |character: Character| character.folded();
    characters(one).map(fold).eq(characters(two).map(fold))
}

/// A character of a URI for comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Character {
    /// As it stands, or as its escape stands for it.
    Plain(u8),
    /// An escaped one of RFC 2396's reserved set, which is another than the same without escape.
    EscapedReserved(u8),
}

impl Character {
    const fn folded(self) -> Character {
        match self {
            Character::Plain(byte) => Character::Plain(byte.to_ascii_lowercase()),
            reserved @ Character::EscapedReserved(_) => reserved,
        }
    }
}

/// The characters of a text. RFC 3261 §19.1.4: "Characters other than those in the "reserved" set (see RFC 2396)
/// are equivalent to their "%" HEX HEX encoding."
fn characters(text: &str) -> impl Iterator<Item = Character> + '_ {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (byte, after) = rest.split_first()?;
        rest = after;
        match super::escaped_byte(*byte, after) {
            Some(escaped) => {
                rest = &after[2..];
                Some(if is_reserved(escaped) {
                    Character::EscapedReserved(escaped)
                } else {
                    Character::Plain(escaped)
                })
            }
            None => Some(Character::Plain(*byte)),
        }
    })
}

/// RFC 2396 §2.2.
const fn is_reserved(byte: u8) -> bool {
    matches!(byte, b';' | b'/' | b'?' | b':' | b'@' | b'&' | b'=' | b'+' | b'$' | b',')
}

#[cfg(test)]
mod tests {
    use crate::uri::Uri;

    fn check(one: &str, two: &str, equal: bool) {
        let (left, right) = (Uri::parse(one).unwrap(), Uri::parse(two).unwrap());
        assert_eq!(left.equivalent(&right), equal, "{one} and {two}");
        assert_eq!(right.equivalent(&left), equal, "{two} and {one}");
    }

    /// The lists of RFC 3261 §19.1.4.
    #[test]
    fn compares_as_the_examples_of_the_rfc_say() {
        check("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp", true);
        check("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5", true);
        check("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on", true);
        check(
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            true,
        );
        check(
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            true,
        );
        check("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP", false);
        check("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060", false);
        check("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp", false);
        check("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp", false);
        check("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting", false);
        check("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4", false);
        check("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off", false);
    }

    #[test]
    fn escapes_equal_their_characters_unless_reserved() {
        check("sip:%61@b.c;%6Cr", "sip:a@b.c;LR", true);
        check("sip:a@b.c;n%61me=v%61l", "sip:a@b.c;name=VAL", true);
        check("sip:a@b.c;name=v%2541", "sip:a@b.c;name=vA", false);
        check("sip:a%3Bb@c.d", "sip:a;b@c.d", false);
        check("sip:a%3Bb@c.d", "sip:a%3bb@c.d", true);
        check("sip:%00@c.d", "sip:%00%00@c.d", false);
        check("sip:a@b.c;%74ransport=udp", "sip:a@b.c", false);
    }

    #[test]
    fn repeated_parts_compare_the_same_both_ways() {
        check("sip:a@b.c;x=1;x=2", "sip:a@b.c;x=1;x=2", true);
        check("sip:a@b.c;x=1;x=2", "sip:a@b.c;x=1", true);
        check("sip:a@b.c;x=1;x=2", "sip:a@b.c;x=2", false);
        check("sip:b.c?a=1&a=1", "sip:b.c?a=1&b=2", false);
    }

    #[test]
    fn the_parts_of_a_uri_are_limited() {
        let uri = |parts: usize| format!("sip:a@b.c{}", ";x".repeat(parts));
        assert!(Uri::parse(&uri(super::super::PARTS_MAX)).is_ok());
        assert_eq!(Uri::parse(&uri(65)).err(), Some(crate::UriError::TooMany));
        let uri = format!("sip:a@b.c?{}x=1", "x=1&".repeat(64));
        assert_eq!(Uri::parse(&uri).err(), Some(crate::UriError::TooMany));
    }

    #[test]
    fn schemes_and_addresses_count() {
        check("sip:a@b.c", "sips:a@b.c", false);
        check("sip:a@[2001:db8::1]", "sip:a@[2001:0DB8:0::0001]", true);
        check("sip:a@b.c;lr", "sip:a@b.c;LR", true);
        check("sip:a@b.c", "tel:+1", false);
        check("mailto:x@y", "MAILTO:x@y", true);
    }
}
