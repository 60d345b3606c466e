//! A quick look at a packet, before it is parsed: what decides which shard it belongs to.

use memchr::memchr;

use crate::header_name::HeaderName;
use crate::scan::trim;

/// What steers a packet. All of it is unchecked: a packet that is malformed goes to some shard and is refused there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoutingKey<'a> {
    /// The Call-ID.
    pub call_id: Option<&'a [u8]>,
    /// The To header.
    pub to: Option<&'a [u8]>,
    /// Whether the owner of the address in To handles the message: REGISTER and PUBLISH requests.
    pub by_to: bool,
}

/// Finds the Call-ID, and To where it is needed. Looks at each header line once and stops when it has both.
pub fn routing_key(bytes: &[u8]) -> RoutingKey<'_> {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    let mut rest = &bytes[start..];
    let mut key = RoutingKey { by_to: is_by_to(rest), ..RoutingKey::default() };
    let Some(end) = memchr(b'\n', rest) else { return key };
    rest = &rest[end + 1..];
    while !matches!(rest, [] | [b'\r' | b'\n', ..]) {
        let mut end = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        while matches!(rest.get(end), Some(b' ' | b'\t')) {
            end += memchr(b'\n', &rest[end..]).map_or(rest.len() - end, |at| at + 1);
        }
        let line;
        (line, rest) = rest.split_at(end);
        match line.first() {
            Some(b'C' | b'c' | b'I' | b'i') if key.call_id.is_none() => {
                key.call_id = value_of(line, HeaderName::CallId);
            }
            Some(b'T' | b't') if key.by_to && key.to.is_none() => key.to = value_of(line, HeaderName::To),
            _ => {}
        }
        if key.call_id.is_some() && (!key.by_to || key.to.is_some()) {
            break;
        }
    }
    key
}

fn is_by_to(start: &[u8]) -> bool {
    start.starts_with(b"REGISTER ") || start.starts_with(b"PUBLISH ")
}

fn value_of(line: &[u8], name: HeaderName) -> Option<&[u8]> {
    let colon = memchr(b':', line)?;
    (HeaderName::recognise(trim(&line[..colon])) == name).then(|| trim(&line[colon + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_call_id_in_any_form() {
        for text in [
            "INVITE sip:a@b SIP/2.0\r\nContact: x\r\nCall-ID: abc\r\n\r\n",
            "SIP/2.0 200 OK\r\nVia: x\r\ni:abc\r\n\r\n",
            "BYE sip:a@b SIP/2.0\r\nCALL-id :\r\n  abc \r\nTo: y\r\n\r\n",
        ] {
            assert_eq!(routing_key(text.as_bytes()).call_id, Some(&b"abc"[..]), "{text}");
        }
    }

    #[test]
    fn a_register_is_steered_by_its_to() {
        let key = routing_key(b"\r\nREGISTER sip:b SIP/2.0\r\ni: c\r\nt: <sip:a@b>\r\n\r\n");
        assert_eq!((key.by_to, key.to), (true, Some(&b"<sip:a@b>"[..])));
        assert!(!routing_key(b"SIP/2.0 200 OK\r\ni: c\r\nCSeq: 1 REGISTER\r\n\r\n").by_to);
    }

    #[test]
    fn stops_at_the_end_of_the_header_and_survives_garbage() {
        assert_eq!(routing_key(b"INVITE x SIP/2.0\r\n\r\nCall-ID: no\r\n").call_id, None);
        for garbage in [&b""[..], b"\r\n\r\n", b"x", b"\n\n\n", b"a\r\n b", b"a\nCall-ID", b"a\nTo:"] {
            assert_eq!(routing_key(garbage).call_id, None);
        }
    }
}
