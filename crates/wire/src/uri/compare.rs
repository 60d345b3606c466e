//! Comparison of SIP and SIPS URIs (RFC 3261 §19.1.4).

use super::{SipUri, unescaped_bytes};

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

    /// User parts (and passwords) are case-sensitive; an escape equals the character that it stands for.
    fn same_user(&self, other: &SipUri<'_>) -> bool {
        let same = |one: Option<&str>, two: Option<&str>| match (one, two) {
            (None, None) => true,
            (Some(one), Some(two)) => unescaped_bytes(one).eq(unescaped_bytes(two)),
            _ => false,
        };
        same(self.user, other.user) && same(self.password, other.password)
    }

    fn same_params(&self, other: &SipUri<'_>) -> bool {
        let common_match = self.params.iter().all(|(name, value)| match other.params.find(name) {
            Some(other_value) => same_folded(value.unwrap_or(""), other_value.unwrap_or("")),
            None => !is_decisive(name),
        });
        common_match && other.params.iter().all(|(name, _)| !is_decisive(name) || self.params.has(name))
    }

    /// Header components are never ignored; their order does not count.
    fn same_headers(&self, other: &SipUri<'_>) -> bool {
        let count = |text: &str| text.split('&').filter(|piece| !piece.is_empty()).count();
        count(self.headers) == count(other.headers)
            && pairs(self.headers).all(|(name, value)| {
                pairs(other.headers).any(|(other_name, other_value)| {
                    same_folded(name, other_name) && unescaped_bytes(value).eq(unescaped_bytes(other_value))
                })
            })
    }
}

fn is_decisive(name: &str) -> bool {
    DECISIVE.iter().any(|decisive| decisive.eq_ignore_ascii_case(name))
}

fn pairs(headers: &str) -> impl Iterator<Item = (&str, &str)> {
    headers
        .split('&')
        .filter(|piece| !piece.is_empty())
        .map(|piece| piece.split_once('=').unwrap_or((piece, "")))
}

/// Equal in any case, with escapes undone.
fn same_folded(one: &str, two: &str) -> bool {
    let fold = |text| unescaped_bytes(text).map(|byte: u8| byte.to_ascii_lowercase()).collect::<Vec<_>>();
    fold(one) == fold(two)
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
    fn schemes_and_addresses_count() {
        check("sip:a@b.c", "sips:a@b.c", false);
        check("sip:a@[2001:db8::1]", "sip:a@[2001:0DB8:0::0001]", true);
        check("sip:a@b.c;lr", "sip:a@b.c;LR", true);
        check("sip:a@b.c", "tel:+1", false);
        check("mailto:x@y", "MAILTO:x@y", true);
    }
}
