//! Messages of our own, written once into an exact buffer.

use std::fmt::{Display, Write as _};
use std::net::SocketAddr;

use bytes::Bytes;

use crate::edits::write_via_with_source;
use crate::header_name::HeaderName;
use crate::headers::NameAddr;
use crate::message::Message;
use crate::method::{Method, Status};
use crate::scan::{LineText, ListValues, push_line_text};

/// Writes one message: start line, headers in the order given, and at last the body.
///
/// No value ends its line early: CR, LF and NUL in what is written become spaces, so that what a peer sent (a
/// user part with escapes, say) can't add a header.
#[derive(Debug)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// Begins a request.
    pub fn request(method: &Method, uri: impl Display) -> Writer {
        let mut out = Vec::with_capacity(768);
        let _ = write!(LineText(&mut out), "{method} {uri} SIP/2.0");
        out.extend_from_slice(b"\r\n");
        Writer { out }
    }

    /// Begins a response that stands by itself.
    pub fn response(status: Status, reason: &str) -> Writer {
        let mut out = Vec::with_capacity(768);
        let _ = write!(LineText(&mut out), "SIP/2.0 {status} {reason}");
        out.extend_from_slice(b"\r\n");
        Writer { out }
    }

    /// Begins the response to a request (RFC 3261 §8.2.6): all Via values, From, To, Call-ID and CSeq are those
    /// of the request. The topmost Via gets the request's `source` written in; To gets `to_tag` where it has no
    /// tag. Timestamp is copied into a 100.
    pub fn response_to(
        request: &Message,
        status: Status,
        source: SocketAddr,
        to_tag: Option<&str>,
    ) -> Writer {
        let mut writer = Writer::response(status, status.reason());
        writer.copy_for_response(request, Some(source), to_tag);
        if status.code() == 100 {
            writer.copy(request, HeaderName::Timestamp);
        }
        writer
    }

    fn copy_for_response(&mut self, request: &Message, source: Option<SocketAddr>, to_tag: Option<&str>) {
        let mut source = source;
        let has_value = |value| ListValues::new(value).next().is_some();
        for header in request.header_lines().filter(|header| header.name == HeaderName::Via) {
            if !has_value(header.value) {
                continue;
            }
            self.out.extend_from_slice(b"Via: ");
            for (index, value) in ListValues::new(header.value).enumerate() {
                if index > 0 {
                    self.out.extend_from_slice(b", ");
                }
                write_via_with_source(value, source.take(), &mut self.out);
            }
            self.out.extend_from_slice(b"\r\n");
        }
        self.copy(request, HeaderName::From);
        for header in request.header_lines().filter(|header| header.name == HeaderName::To) {
            let has_tag = || NameAddr::parse(header.value).is_ok_and(|to| to.tag().is_some());
            self.out.extend_from_slice(b"To: ");
            self.out.extend_from_slice(header.value);
            if let Some(tag) = to_tag.filter(|_| !has_tag()) {
                let _ = write!(LineText(&mut self.out), ";tag={tag}");
            }
            self.out.extend_from_slice(b"\r\n");
        }
        self.copy(request, HeaderName::CallId);
        self.copy(request, HeaderName::CSeq);
    }

    /// Adds a header line.
    pub fn header(&mut self, name: HeaderName, value: impl Display) -> &mut Writer {
        self.line(name.as_str(), value)
    }

    /// Adds a header line by the text of its name.
    pub fn line(&mut self, name: &str, value: impl Display) -> &mut Writer {
        let _ = write!(LineText(&mut self.out), "{name}: {value}");
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Adds a header line whose value is bytes that came in a message.
    pub fn raw(&mut self, name: HeaderName, value: &[u8]) -> &mut Writer {
        self.out.extend_from_slice(name.as_str().as_bytes());
        self.out.extend_from_slice(b": ");
        push_line_text(&mut self.out, value);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Copies all lines of a header from another message, names in their long form.
    pub fn copy(&mut self, from: &Message, name: HeaderName) -> &mut Writer {
        for header in from.header_lines().filter(|header| header.name == name) {
            self.raw(name, header.value);
        }
        self
    }

    /// Ends the message without a body.
    pub fn finish(mut self) -> Bytes {
        self.out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        exact(self.out)
    }

    /// Ends the message with a body.
    pub fn finish_with(mut self, content_type: &str, body: &[u8]) -> Bytes {
        self.line("Content-Type", content_type).line("Content-Length", body.len());
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(body);
        exact(self.out)
    }
}

/// What is kept has its exact size.
fn exact(out: Vec<u8>) -> Bytes {
    Bytes::from(out.into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Limits;

    #[test]
    fn a_response_copies_what_the_rfc_says_and_adds_the_tag_once() {
        let request = "OPTIONS sip:a@b SIP/2.0\r\nv: SIP/2.0/UDP x;branch=z9hG4bK1, SIP/2.0/UDP y\r\n\
            f: <sip:a@b>;tag=1\r\nt: <sip:b@b>\r\ni: c\r\nCSeq: 1 OPTIONS\r\n\r\n";
        let request = Message::parse(Bytes::from(request), &Limits::default()).unwrap();
        let source = "1.2.3.4:5".parse().unwrap();
        let bytes = Writer::response_to(&request, Status::of(200), source, Some("t")).finish();
        assert_eq!(
            std::str::from_utf8(&bytes).unwrap(),
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1;received=1.2.3.4, SIP/2.0/UDP y\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:b@b>;tag=t\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\
             Content-Length: 0\r\n\r\n"
        );
        let response = Message::parse(bytes, &Limits::default()).unwrap();
        assert_eq!(response.to().unwrap().tag(), Some("t"));
    }

    #[test]
    fn no_value_ends_its_line_early() {
        let mut writer = Writer::request(&Method::Message, "sip:x\r\nEvil: 1");
        writer.header(HeaderName::Subject, "a\r\nEvil: 2").raw(HeaderName::Organization, b"b\n\r\n");
        let bytes = writer.finish_with("text/plain\r\n", b"");
        assert_eq!(
            std::str::from_utf8(&bytes).unwrap(),
            "MESSAGE sip:x  Evil: 1 SIP/2.0\r\nSubject: a  Evil: 2\r\nOrganization: b   \r\n\
             Content-Type: text/plain  \r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn a_request_with_a_body_reads_back() {
        let mut writer = Writer::request(&Method::Message, "sip:bob@biloxi.com");
        writer.header(HeaderName::CallId, "x").line("X-Thing", 7);
        let bytes = writer.finish_with("text/plain", "héllo".as_bytes());
        let message = Message::parse(bytes, &Limits::default()).unwrap();
        assert_eq!(message.body(), "héllo".as_bytes());
        assert_eq!(message.value_by_text("x-thing"), Some(&b"7"[..]));
    }
}
