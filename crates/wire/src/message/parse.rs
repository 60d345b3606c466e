//! From bytes to an index: one pass over the header.
//!
//! ```text
//!  INVITE sip:bob@biloxi.com SIP/2.0 CRLF      start line
//!  Via: SIP/2.0/UDP pc33.atlanta.com CRLF      header lines; a line that begins with
//!     ;branch=z9hG4bK776asdhds CRLF            white space continues the one before
//!  Content-Length: 4 CRLF
//!  CRLF
//!  v=0…                                        body, as long as Content-Length says
//! ```

use bytes::Bytes;
use memchr::memchr;
use smallvec::SmallVec;

use super::via_index::ViaIndex;
use super::{HeaderLine, Limits, Message, Span, StartLine};
use crate::error::ParseError;
use crate::header_name::HeaderName;
use crate::method::{Method, Status};
use crate::scan::{self, ListValues, trim, trim_end};

impl Message {
    /// Reads one datagram, or one message of a stream that [`crate::framing`] has cut out. Line ends before the
    /// message are passed over (RFC 3261 §7.5), bytes after the body are cut off (§18.3).
    ///
    /// # Errors
    /// [`ParseError`] names the first fault; [`crate::refusal`] can still answer a request that fails here.
    pub fn parse(mut bytes: Bytes, limits: &Limits) -> Result<Message, ParseError> {
        if bytes.len() > limits.message_bytes {
            return Err(ParseError::TooLong { limit: limits.message_bytes });
        }
        let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if blank > 0 {
            bytes = bytes.slice(blank..);
        }
        let end = line_end(&bytes, 0, 1)?.ok_or(ParseError::Truncated)?;
        let start = start_line(&bytes[..end])?;
        if let StartLine::Request { uri, .. } = &start
            && (uri.end - uri.start) as usize > limits.uri_bytes
        {
            return Err(ParseError::UriTooLong { limit: limits.uri_bytes });
        }
        let body = Span { start: 0, end: 0 };
        let mut message = Message { bytes, start, headers: SmallVec::new(), body, via: None };
        let body_start = header_lines(&message.bytes, end + 2, limits, &mut message.headers)?;
        message.cut_body(body_start)?;
        message.via = message.read_via().ok().map(|via| ViaIndex::of(&message.bytes, &via));
        Ok(message)
    }

    /// What Content-Length says: `None` when it is absent.
    ///
    /// # Errors
    /// When it is no number, or stands twice with different values.
    fn content_length(&self) -> Result<Option<usize>, ParseError> {
        let mut length = None;
        for line in self.headers.iter().filter(|line| line.name == HeaderName::ContentLength) {
            let value = scan::decimal(trim(line.value.of(&self.bytes))).ok_or(ParseError::ContentLength)?;
            if length.replace(value).is_some_and(|before| before != value) {
                return Err(ParseError::ContentLength);
            }
        }
        Ok(length.map(|length| length as usize))
    }

    /// RFC 3261 §18.3: a datagram's body is as long as Content-Length says, or runs to its end.
    fn cut_body(&mut self, body_start: usize) -> Result<(), ParseError> {
        let came = self.bytes.len() - body_start;
        let said = self.content_length()?.unwrap_or(came);
        if said > came {
            return Err(ParseError::BodyTooShort { said, came });
        }
        let end = body_start + said;
        self.bytes.truncate(end);
        self.body = Span { start: body_start as u32, end: end as u32 };
        Ok(())
    }
}

/// Finds the CRLF that ends the line at `from`. `None` when there is no line end at all.
#[inline]
fn line_end(bytes: &[u8], from: usize, line: usize) -> Result<Option<usize>, ParseError> {
    let mut from_here = from;
    while let Some(at) = scan::find_line_byte(bytes, from_here) {
        match (bytes[at], bytes.get(at + 1)) {
            (b'\r', Some(b'\n')) => return Ok(Some(at)),
            (b'\r', None) => return Ok(None),
            // RFC 3261 §25.1 `quoted-pair`: behind a backslash NUL is legal (RFC 4475 §3.1.1.2).
            (0, _) if line > 1 && at > from && bytes[at - 1] == b'\\' => from_here = at + 1,
            _ => return Err(ParseError::LineEnd { line }),
        }
    }
    Ok(None)
}

/// Indexes the header lines from `at` on, and says where the body begins.
fn header_lines(
    bytes: &[u8],
    mut at: usize,
    limits: &Limits,
    headers: &mut SmallVec<[HeaderLine; 20]>,
) -> Result<usize, ParseError> {
    let mut line_number = 2;
    let mut vias = 0;
    loop {
        let start = at;
        if bytes[start..].starts_with(b"\r\n") {
            return Ok(start + 2);
        }
        let colon = scan::find_from(bytes, start, b':').unwrap_or(bytes.len());
        let name = HeaderName::recognise(&bytes[start..colon]);
        // A name that is known has no line end in it.
        let name_end = if name == HeaderName::Other { start } else { colon };
        let mut end = line_end(bytes, name_end, line_number)?.ok_or(ParseError::Truncated)?;
        // A fold: the next line begins with white space. A line of white space alone is a fold too.
        let first_line = line_number;
        while matches!(bytes.get(end + 2), Some(b' ' | b'\t')) {
            line_number += 1;
            end = line_end(bytes, end + 2, line_number)?.ok_or(ParseError::Truncated)?;
        }
        line_number += 1;
        at = end + 2;
        if headers.len() == limits.headers {
            return Err(ParseError::TooManyHeaders { limit: limits.headers });
        }
        let header =
            header_line(bytes, start, colon, end, name).ok_or(ParseError::HeaderLine { line: first_line })?;
        if header.name == HeaderName::Via {
            let value = header.value.of(bytes);
            // Nearly always one value.
            vias += match scan::find(value, b',') {
                None => usize::from(!value.is_empty()),
                Some(_) => ListValues::new(value).count(),
            };
            if vias > limits.vias {
                return Err(ParseError::TooManyVias { limit: limits.vias });
            }
        }
        headers.push(header);
    }
}

/// `name HCOLON value`: white space may stand before the colon. `name` is what all before the colon was recognised
/// as.
fn header_line(
    bytes: &[u8],
    start: usize,
    colon: usize,
    end: usize,
    mut name: HeaderName,
) -> Option<HeaderLine> {
    if colon > end {
        return None;
    }
    let mut name_length = colon - start;
    if name == HeaderName::Other {
        let text = trim_end(&bytes[start..colon]);
        if !scan::is_token_text(text) {
            return None;
        }
        name_length = text.len();
        name = HeaderName::recognise(text);
    }
    let value = trim(&bytes[colon + 1..end]);
    // An empty value is placed behind the colon.
    let value_start = match value {
        [] => colon + 1,
        _ => value.as_ptr() as usize - bytes.as_ptr() as usize,
    };
    Some(HeaderLine {
        name,
        line: Span { start: start as u32, end: end as u32 + 2 },
        name_length: u16::try_from(name_length).ok()?,
        value: Span { start: value_start as u32, end: (value_start + value.len()) as u32 },
    })
}

fn start_line(line: &[u8]) -> Result<StartLine, ParseError> {
    if line.len() >= 4 && line[..4].eq_ignore_ascii_case(b"SIP/") {
        return status_line(line);
    }
    // RFC 3261 §25.1: single spaces, no other white space. The URI's own grammar is checked when it is asked
    // for, so that a malformed one can be answered; here it is what stands between the first and last space.
    let first = memchr(b' ', line).ok_or(ParseError::StartLine)?;
    let method = Method::parse(&line[..first]).ok_or(ParseError::StartLine)?;
    let version_at = memchr::memrchr(b' ', line).filter(|last| *last > first).ok_or(ParseError::StartLine)?;
    let (uri, version) = (&line[first + 1..version_at], &line[version_at + 1..]);
    let has_space = scan::has_blank(uri) && uri.iter().any(|byte| scan::is_space(*byte));
    if uri.is_empty() || has_space || std::str::from_utf8(uri).is_err() {
        return Err(ParseError::StartLine);
    }
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        return Err(if version.len() > 4 && version[..4].eq_ignore_ascii_case(b"SIP/") {
            ParseError::Version
        } else {
            ParseError::StartLine
        });
    }
    Ok(StartLine::Request { method, uri: Span { start: first as u32 + 1, end: version_at as u32 } })
}

/// `SIP/2.0 SP code SP reason`; the reason may be empty, and its space is then let go too.
fn status_line(line: &[u8]) -> Result<StartLine, ParseError> {
    let space = memchr(b' ', line).ok_or(ParseError::StartLine)?;
    if !line[..space].eq_ignore_ascii_case(b"SIP/2.0") {
        return Err(ParseError::Version);
    }
    let rest = &line[space + 1..];
    let (code, reason_at) = match memchr(b' ', rest) {
        Some(at) => (&rest[..at], space + 1 + at + 1),
        None => (rest, line.len()),
    };
    let status = (code.len() == 3)
        .then(|| scan::decimal(code))
        .flatten()
        .and_then(|code| u16::try_from(code).ok())
        .and_then(Status::new)
        .ok_or(ParseError::StatusCode)?;
    Ok(StartLine::Response { status, reason: Span { start: reason_at as u32, end: line.len() as u32 } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Message, ParseError> {
        Message::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default())
    }

    const HEAD: &str = "INVITE sip:bob@biloxi.com SIP/2.0\r\nVia: SIP/2.0/UDP a.b;branch=z9hG4bK1\r\n\
        f: <sip:a@b>;tag=1\r\nTo :\r\n sip:bob@biloxi.com\r\nCall-ID: x@y\r\nCSeq: 1 INVITE\r\nNew-Thing: 1\r\n";

    #[test]
    fn indexes_headers_folds_and_compact_forms() {
        let message = parse(&format!("{HEAD}l: 2\r\n\r\nhixx")).unwrap();
        assert_eq!(message.method(), Some(&Method::Invite));
        assert_eq!(message.uri_text(), "sip:bob@biloxi.com");
        assert_eq!(message.from().unwrap().tag(), Some("1"));
        assert_eq!(message.to().unwrap().uri_text, "sip:bob@biloxi.com");
        assert_eq!(message.value_by_text("new-thing"), Some(&b"1"[..]));
        assert_eq!(message.body(), b"hi");
        assert!(message.bytes().ends_with(b"\r\nhi"));
        message.check().unwrap();
    }

    #[test]
    fn without_content_length_a_datagram_runs_to_its_end() {
        assert_eq!(parse(&format!("{HEAD}\r\nhixx")).unwrap().body(), b"hixx");
    }

    #[test]
    fn a_quoted_pair_may_hold_nul() {
        let text = format!("{HEAD}Subject: \"a\\\0b\"\r\n\r\n");
        assert_eq!(parse(&text).unwrap().value(HeaderName::Subject), Some(&b"\"a\\\0b\""[..]));
    }

    #[test]
    fn passes_over_line_ends_before_the_message() {
        assert!(parse(&format!("\r\n\r\n{HEAD}\r\n")).is_ok());
    }

    #[test]
    fn reads_responses_with_and_without_reason() {
        let rest = &HEAD[HEAD.find('\n').unwrap() + 1..];
        let message = parse(&format!("SIP/2.0 404 Not Found\r\n{rest}\r\n")).unwrap();
        assert_eq!((message.status(), message.reason()), (Status::new(404), &b"Not Found"[..]));
        assert_eq!(parse(&format!("SIP/2.0 100 \r\n{rest}\r\n")).unwrap().reason(), b"");
        assert_eq!(parse(&format!("SIP/2.0 100\r\n{rest}\r\n")).unwrap().status(), Status::new(100));
    }

    #[test]
    fn names_the_fault() {
        let check = |text: &str, error| assert_eq!(parse(text).unwrap_err(), error, "{text:?}");
        check("", ParseError::Truncated);
        check("INVITE sip:a@b SIP/2.0\r\n", ParseError::Truncated);
        check("INVITE sip:a@b SIP/2.0\r\nVia: x", ParseError::Truncated);
        check("INVITE sip:a@b SIP/7.0\r\n\r\n", ParseError::Version);
        check("INVITE  sip:a@b SIP/2.0\r\n\r\n", ParseError::StartLine);
        check("INVITE sip:a@b SIP/2.0 \r\n\r\n", ParseError::StartLine);
        check("INVITE\r\n\r\n", ParseError::StartLine);
        check("INVITE SIP/2.0\r\n\r\n", ParseError::StartLine);
        check("SIP/2.0 4294967301 better not\r\n\r\n", ParseError::StatusCode);
        check("SIP/2.0 99 x\r\n\r\n", ParseError::StatusCode);
        check("INVITE sip:a@b SIP/2.0\r\nno colon\r\n\r\n", ParseError::HeaderLine { line: 2 });
        check("INVITE sip:a@b SIP/2.0\r\na: 1\r\n b\r\n: c\r\n\r\n", ParseError::HeaderLine { line: 4 });
        check("INVITE sip:a@b SIP/2.0\r\na: 1\n\r\n\r\n", ParseError::LineEnd { line: 2 });
        check("INVITE sip:a@b SIP/2.0\r\na: 1\0\r\n\r\n", ParseError::LineEnd { line: 2 });
        check("SIP/2.0 200 \\\0\r\n\r\n", ParseError::LineEnd { line: 1 });
        check(&format!("{HEAD}l: x\r\n\r\n"), ParseError::ContentLength);
        check(&format!("{HEAD}l: -999\r\n\r\n"), ParseError::ContentLength);
        check(&format!("{HEAD}l: 1\r\nContent-Length: 2\r\n\r\nab"), ParseError::ContentLength);
        check(&format!("{HEAD}l: 9\r\n\r\nab"), ParseError::BodyTooShort { said: 9, came: 2 });
    }

    #[test]
    fn limits_hold() {
        let limits = Limits { message_bytes: 1000, headers: 8, vias: 2, uri_bytes: 2_048 };
        let parse = |text: String| Message::parse(Bytes::from(text), &limits);
        assert!(parse(format!("{HEAD}\r\n")).is_ok());
        let many = "x: y\r\n".repeat(3);
        assert_eq!(parse(format!("{HEAD}{many}\r\n")).unwrap_err(), ParseError::TooManyHeaders { limit: 8 });
        let vias = "v: SIP/2.0/UDP c, SIP/2.0/UDP d\r\n";
        assert_eq!(parse(format!("{HEAD}{vias}\r\n")).unwrap_err(), ParseError::TooManyVias { limit: 2 });
        let long = "x".repeat(1000);
        assert_eq!(parse(format!("{HEAD}\r\n{long}")).unwrap_err(), ParseError::TooLong { limit: 1000 });
    }
}
