//! The answer to a request that cannot be used: as much of it is read, leniently, as a response needs.

use std::fmt::Display;
use std::io::Write as _;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::edits::write_via_with_source;
use crate::error::ParseError;
use crate::header_name::HeaderName;
use crate::headers::{NameAddr, TypedHeader, Via};
use crate::message::Message;
use crate::method::Status;
use crate::scan::{ListValues, is_token_text, trim};
use crate::screen::Screened;

/// A response to a request that was refused before any role saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The whole response.
    pub bytes: Bytes,
    /// Where it goes when the request came by UDP.
    pub destination: SocketAddr,
}

/// The most bytes of the header of a malformed message that are looked at, and that an answer copies: never more than came in.
const BYTES_MAX: usize = 8 * 1024;

/// Writes the response to a malformed request: 505 for an unknown version, 513 for one that is too large, 414 for one
/// with too long a Request-URI, 483 for too many Vias, 400 with the fault as its reason phrase for all else.
///
/// `None` when it is no request, an ACK, or has no Via and CSeq by which its sender would know the answer.
/// From, To and Call-ID are copied where they stand (RFC 4475 §3.3.1: a request without them is answered too).
pub fn refuse(bytes: &[u8], error: ParseError, source: SocketAddr, to_tag: &str) -> Option<Refusal> {
    let status = match error {
        ParseError::Version => Status::of(505),
        ParseError::TooLong { .. } | ParseError::TooManyHeaders { .. } => Status::of(513),
        ParseError::TooManyVias { .. } => Status::of(483),
        ParseError::UriTooLong { .. } => Status::of(414),
        _ => Status::of(400),
    };
    write(bytes, status, &error, source, to_tag)
}

/// Writes the response to a request that [`Message::screen`](crate::Message::screen) refused. `None` as for
/// [`refuse`].
pub fn refuse_screened(
    message: &Message,
    screened: &Screened,
    source: SocketAddr,
    to_tag: &str,
) -> Option<Refusal> {
    write(message.bytes(), screened.status, &screened.fault, source, to_tag)
}

fn write(
    bytes: &[u8],
    status: Status,
    fault: &dyn Display,
    source: SocketAddr,
    to_tag: &str,
) -> Option<Refusal> {
    // The start line counts apart: it may be long, and nothing of it is copied.
    let start_line = memchr::memchr(b'\n', bytes).unwrap_or(0);
    let bytes = &bytes[..bytes.len().min(start_line + BYTES_MAX)];
    let mut lines = unfolded_lines(bytes);
    let start = trim(lines.by_ref().find(|line| !trim(line).is_empty())?);
    let method_end = start.iter().position(|byte| *byte == b' ')?;
    let method = &start[..method_end];
    if !is_token_text(method) || method == b"ACK" || start.starts_with(b"SIP/") {
        return None;
    }
    let mut out = Vec::with_capacity(512);
    let _ = write!(out, "SIP/2.0 {status} {}", status.reason());
    if status.code() == 400 {
        out.extend_from_slice(b": ");
        push_reason(&mut out, &fault.to_string());
    }
    out.extend_from_slice(b"\r\n");
    let destination = copy_headers(lines, source, to_tag, &mut out)?;
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    Some(Refusal { bytes: Bytes::from(out.into_boxed_slice()), destination })
}

/// RFC 3261 §25.1 `Reason-Phrase`: what is neither reserved nor unreserved is escaped.
fn push_reason(out: &mut Vec<u8>, reason: &str) {
    for byte in reason.bytes() {
        if byte.is_ascii_alphanumeric() || !byte.is_ascii() || b" -_.!~*'();/?:@&=+$,".contains(&byte) {
            out.push(byte);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// Copies what a response needs; `None` when Via or CSeq is missing.
fn copy_headers<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
    source: SocketAddr,
    to_tag: &str,
    out: &mut Vec<u8>,
) -> Option<SocketAddr> {
    let mut destination = None;
    let mut seen = [false; 4];
    for line in lines.take_while(|line| !trim(line).is_empty()) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (HeaderName::recognise(trim(&line[..colon])), trim(&line[colon + 1..]));
        let index = match name {
            HeaderName::Via => {
                for value in ListValues::new(value) {
                    let is_top = destination.is_none();
                    let via = is_top.then(|| Via::parse(value).ok()).flatten();
                    if is_top {
                        // A Via that can't be read (of SIP/7.0, say): back to where the request came from.
                        destination = Some(via.map_or(source, |via| via.response_address(source)));
                    }
                    out.extend_from_slice(b"Via: ");
                    let at = out.len();
                    write_via_with_source(value, via.map(|via| (source, via)), out);
                    blank_controls(&mut out[at..]);
                    out.extend_from_slice(b"\r\n");
                }
                continue;
            }
            HeaderName::From => 0,
            HeaderName::To => 1,
            HeaderName::CallId => 2,
            HeaderName::CSeq => 3,
            _ => continue,
        };
        if std::mem::replace(&mut seen[index], true) {
            continue;
        }
        let _ = write!(out, "{name}: ");
        let at = out.len();
        out.extend_from_slice(value);
        blank_controls(&mut out[at..]);
        if name == HeaderName::To && !has_tag(value) {
            let _ = write!(out, ";tag={to_tag}");
        }
        out.extend_from_slice(b"\r\n");
    }
    destination.filter(|_| seen[3])
}

/// Whether To has a tag; where it can't be read, whether it looks as if it had one: there are never two.
fn has_tag(to: &[u8]) -> bool {
    match NameAddr::parse(to) {
        Ok(address) => address.tag().is_some(),
        Err(_) => to.windows(5).any(|window| window.eq_ignore_ascii_case(b";tag=")),
    }
}

/// What broke the request must not break the answer: folds, bare line ends and NULs become spaces.
fn blank_controls(value: &mut [u8]) {
    value.iter_mut().filter(|byte| **byte < b' ').for_each(|byte| *byte = b' ');
}

/// Lines that end with LF, with or without CR before it; a line that begins with white space is joined to the
/// one before.
fn unfolded_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = 0;
        loop {
            end += match memchr::memchr(b'\n', &rest[end..]) {
                Some(at) => at + 1,
                None => rest.len() - end,
            };
            if end == rest.len() || !matches!(rest[end], b' ' | b'\t') {
                break;
            }
        }
        let (line, after) = rest.split_at(end);
        rest = after;
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Limits;

    const HEADERS: &str = "Via: SIP/2.0/UDP a.b:5070;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
        To: <sip:b@b>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n";

    fn check(text: &str, expected: Option<u16>) {
        let source = "192.0.2.1:9".parse().unwrap();
        let error = Message::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).unwrap_err();
        let refusal = refuse(text.as_bytes(), error, source, "tt");
        let status = refusal.map(|refusal| {
            assert_eq!(refusal.destination, "192.0.2.1:5070".parse().unwrap());
            let response = Message::parse(refusal.bytes, &Limits::default()).unwrap();
            response.check().unwrap();
            assert_eq!(response.to().unwrap().tag(), Some("tt"));
            response.status().unwrap().code()
        });
        assert_eq!(status, expected, "{text}");
    }

    #[test]
    fn a_to_that_cannot_be_read_gets_no_second_tag() {
        assert!(has_tag(b"< sip:a@b >;Tag=1"));
        assert!(!has_tag(b"< sip:a@b >"));
        assert!(has_tag(b"<sip:a@b> ; tag = 1"));
        assert!(!has_tag(b"<sip:a@b;tag=1>"));
    }

    #[test]
    fn the_fault_is_a_legal_reason_phrase() {
        let text = format!("INVITE sip:a@b SIP/2.0\r\nContact: sip:a?b=c\r\n{HEADERS}\r\n");
        let message = Message::parse(Bytes::from(text), &Limits::default()).unwrap();
        let screened = message.screen().unwrap_err();
        let refusal = refuse_screened(&message, &screened, "192.0.2.1:9".parse().unwrap(), "t").unwrap();
        let response = Message::parse(refusal.bytes, &Limits::default()).unwrap();
        assert_eq!(
            std::str::from_utf8(response.reason()),
            Ok("Bad Request: Contact: expected %3C %3E around a URI with ? or ,")
        );
    }

    #[test]
    fn answers_what_can_be_answered() {
        check(&format!("INVITE  sip:a@b SIP/2.0\r\n{HEADERS}\r\n"), Some(400));
        check(&format!("INVITE sip:a@b SIP/7.0\r\n{HEADERS}\r\n"), Some(505));
        check(&format!("INVITE sip:a@b SIP/2.0\r\n{HEADERS}l: 99\r\n\r\n"), Some(400));
        check(&format!("INVITE sip:a@b SIP/2.0\r\n{HEADERS}nonsense\r\n\r\n"), Some(400));
        for length in [3_000, 30_000] {
            let user = "x".repeat(length);
            check(&format!("INVITE sip:{user}@b SIP/2.0\r\n{HEADERS}\r\n"), Some(414));
        }
        check(&format!("ACK  sip:a@b SIP/2.0\r\n{HEADERS}\r\n"), None);
        check("INVITE  sip:a@b SIP/2.0\r\n\r\n", None);
        check("garbage", None);
        check("\r\n\r\n", None);
        check(&format!("SIP/2.0 9999 x\r\n{HEADERS}\r\n"), None);
        check(&format!("INVITE sip:a@b SIP/2.0\n{}", HEADERS.replace("\r\n", "\n")), Some(400));
    }
}
