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
    /// Whether the owner of the address in To handles the message: REGISTER and PUBLISH, and the responses to them,
    /// which a proxy forwards.
    pub by_to: bool,
}

/// Finds the Call-ID, and To where it is needed. Looks at each header line once and stops when it has what it needs.
pub fn routing_key(bytes: &[u8]) -> RoutingKey<'_> {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    let mut rest = &bytes[start..];
    let mut key = RoutingKey { by_to: is_by_to(rest, b' '), ..RoutingKey::default() };
    // Of a response only CSeq says which method it is for; To may have stood before it.
    let mut is_response = rest.starts_with(b"SIP/");
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
            Some(b'C' | b'c' | b'I' | b'i') => {
                if key.call_id.is_none() {
                    key.call_id = value_of(line, HeaderName::CallId);
                }
                if is_response && let Some(cseq) = value_of(line, HeaderName::CSeq) {
                    let method = cseq.trim_ascii_start();
                    let digits = method.iter().take_while(|byte| byte.is_ascii_digit()).count();
                    key.by_to = is_by_to(method[digits..].trim_ascii_start(), b'\0');
                    is_response = false;
                }
            }
            Some(b'T' | b't') if (key.by_to || is_response) && key.to.is_none() => {
                key.to = value_of(line, HeaderName::To);
            }
            _ => {}
        }
        if key.call_id.is_some() && !is_response && (!key.by_to || key.to.is_some()) {
            break;
        }
    }
    if !key.by_to {
        key.to = None;
    }
    key
}

/// Whether a text begins with one of the methods and `end` behind it; zero stands for the end of the text.
fn is_by_to(text: &[u8], end: u8) -> bool {
    let is_followed = |rest: &[u8]| rest.first().copied().unwrap_or(0) == end;
    [&b"REGISTER"[..], b"PUBLISH"].iter().any(|method| text.strip_prefix(*method).is_some_and(is_followed))
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
    }

    #[test]
    fn the_response_to_a_register_is_steered_as_its_request_and_others_by_their_call_id() {
        for order in ["To: <sip:a@b>\r\nCSeq: 1 REGISTER", "CSEQ : 12\tPUBLISH\r\nt: <sip:a@b>"] {
            let text = format!("SIP/2.0 401 x\r\nVia: y\r\n{order}\r\nCall-ID: c\r\n\r\n");
            let key = routing_key(text.as_bytes());
            assert_eq!(
                (key.by_to, key.to, key.call_id),
                (true, Some(&b"<sip:a@b>"[..]), Some(&b"c"[..])),
                "{order}"
            );
        }
        for cseq in ["1 INVITE", "1 REGISTERS", "REGISTER", "", "1"] {
            let text = format!("SIP/2.0 200 OK\r\nTo: <sip:a@b>\r\nCSeq: {cseq}\r\nCall-ID: c\r\n\r\n");
            let key = routing_key(text.as_bytes());
            let by_to = cseq == "REGISTER";
            assert_eq!((key.by_to, key.to.is_some(), key.call_id), (by_to, by_to, Some(&b"c"[..])), "{cseq}");
        }
    }

    #[test]
    fn stops_at_the_end_of_the_header_and_survives_garbage() {
        assert_eq!(routing_key(b"INVITE x SIP/2.0\r\n\r\nCall-ID: no\r\n").call_id, None);
        for garbage in [&b""[..], b"\r\n\r\n", b"x", b"\n\n\n", b"a\r\n b", b"a\nCall-ID", b"a\nTo:"] {
            assert_eq!(routing_key(garbage).call_id, None);
        }
    }
}
