//! Messages of our own, written once into an exact buffer.

use std::fmt::{Display, Write as _};
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use crate::edits::write_via_with_source;
use crate::header_name::HeaderName;
use crate::message::Message;
use crate::method::{Method, Status};
use crate::scan::{LineText, ListValues, has_value, push_line_text};

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
        push_line_text(&mut out, method.as_str().as_bytes());
        out.push(b' ');
        let _ = write!(LineText(&mut out), "{uri}");
        out.extend_from_slice(b" SIP/2.0\r\n");
        Writer { out }
    }

    /// Begins a response that stands by itself.
    pub fn response(status: Status, reason: &str) -> Writer {
        let mut out = Vec::with_capacity(768);
        out.extend_from_slice(b"SIP/2.0 ");
        push_number(&mut out, status.code().into());
        out.push(b' ');
        push_line_text(&mut out, reason.as_bytes());
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
        Writer::response_saying(request, status, status.reason(), source, to_tag)
    }

    /// The same with a reason phrase of the sender's own (RFC 3261 §7.2).
    pub fn response_saying(
        request: &Message,
        status: Status,
        reason: &str,
        source: SocketAddr,
        to_tag: Option<&str>,
    ) -> Writer {
        let mut writer = Writer::response(status, reason);
        writer.copy_for_response(request, Some(source), to_tag);
        if status.code() == 100 {
            writer.copy(request, HeaderName::Timestamp);
        }
        writer
    }

    fn copy_for_response(&mut self, request: &Message, source: Option<SocketAddr>, to_tag: Option<&str>) {
        let mut came = source.and_then(|source| Some((source, request.via().ok()?)));
        for line in request.line_values(HeaderName::Via).filter(|line| has_value(line)) {
            self.out.extend_from_slice(b"Via: ");
            for (index, value) in ListValues::new(line).enumerate() {
                if index > 0 {
                    self.out.extend_from_slice(b", ");
                }
                write_via_with_source(value, came.take(), &mut self.out);
            }
            self.out.extend_from_slice(b"\r\n");
        }
        self.copy(request, HeaderName::From);
        let to_tag = to_tag.filter(|_| !matches!(request.to_tag(), Ok(Some(_))));
        for value in request.line_values(HeaderName::To) {
            self.out.extend_from_slice(b"To: ");
            self.out.extend_from_slice(value);
            if let Some(tag) = to_tag {
                self.out.extend_from_slice(b";tag=");
                push_line_text(&mut self.out, tag.as_bytes());
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
        push_line_text(&mut self.out, name.as_bytes());
        self.out.extend_from_slice(b": ");
        let _ = write!(LineText(&mut self.out), "{value}");
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Adds header lines of our own as they stand: whole lines, each with its CRLF.
    pub fn lines(&mut self, lines: &'static str) -> &mut Writer {
        debug_assert!(lines.ends_with("\r\n"), "a whole line has its end");
        self.out.extend_from_slice(lines.as_bytes());
        self
    }

    /// Adds a header line whose value is text, without the cost of formatting.
    pub fn text(&mut self, name: HeaderName, value: &str) -> &mut Writer {
        self.raw(name, value.as_bytes())
    }

    /// Adds a header line whose value is a number, without the cost of formatting.
    pub fn number(&mut self, name: HeaderName, value: u32) -> &mut Writer {
        self.begin(name);
        push_number(&mut self.out, value);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Adds CSeq.
    pub fn cseq(&mut self, number: u32, method: &Method) -> &mut Writer {
        self.begin(HeaderName::CSeq);
        push_number(&mut self.out, number);
        self.out.push(b' ');
        self.out.extend_from_slice(method.as_str().as_bytes());
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Adds a header line whose value is bytes that came in a message.
    pub fn raw(&mut self, name: HeaderName, value: &[u8]) -> &mut Writer {
        self.begin(name);
        push_line_text(&mut self.out, value);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Copies all lines of a header from another message, names in their long form.
    pub fn copy(&mut self, from: &Message, name: HeaderName) -> &mut Writer {
        for value in from.line_values(name) {
            self.begin(name);
            // What came in a message ends no line.
            self.out.extend_from_slice(value);
            self.out.extend_from_slice(b"\r\n");
        }
        self
    }

    fn begin(&mut self, name: HeaderName) {
        self.out.extend_from_slice(name.as_str().as_bytes());
        self.out.extend_from_slice(b": ");
    }

    /// Ends the message without a body.
    pub fn finish(mut self) -> Bytes {
        self.out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        exact(self.out)
    }

    /// Ends the message with a body.
    pub fn finish_with(mut self, content_type: &str, body: &[u8]) -> Bytes {
        self.text(HeaderName::ContentType, content_type);
        push_content_length(&mut self.out, body);
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(body);
        exact(self.out)
    }
}

/// Appends a number in decimal digits.
pub(crate) fn push_number(out: &mut Vec<u8>, number: u32) {
    const DIGITS_MAX: usize = 10;
    let mut digits = [0; DIGITS_MAX];
    let mut at = DIGITS_MAX;
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

/// Appends an address, IPv6 without brackets.
pub(crate) fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            for (index, octet) in ip.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                push_number(out, octet.into());
            }
        }
        IpAddr::V6(ip) => {
            let _ = write!(LineText(out), "{ip}");
        }
    }
}

/// Appends the Content-Length of a body.
pub(crate) fn push_content_length(out: &mut Vec<u8>, body: &[u8]) {
    out.extend_from_slice(b"Content-Length: ");
    // A message has less than 2^32 bytes: its index counts in `u32`.
    push_number(out, u32::try_from(body.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(b"\r\n");
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
    fn text_and_numbers_are_written_as_if_formatted() {
        let check = |fast: &dyn Fn(&mut Writer), value: &dyn Display| {
            let mut writers =
                [Writer::response(Status::of(486), "x"), Writer::response(Status::of(486), "x")];
            fast(&mut writers[0]);
            writers[1].header(HeaderName::CSeq, value);
            let [one, two] = writers.map(Writer::finish);
            assert_eq!(one, two);
        };
        for number in [0, 1, 9, 10, 99, 100, 4_294_967_295] {
            check(&|writer| _ = writer.number(HeaderName::CSeq, number), &number);
            check(&|writer| _ = writer.cseq(number, &Method::Ack), &format_args!("{number} ACK"));
        }
        check(&|writer| _ = writer.text(HeaderName::CSeq, "a\r\nb"), &"a\r\nb");
        for ip in ["0.0.0.0", "192.0.2.1", "255.255.255.255", "2001:db8::9"] {
            let mut out = Vec::new();
            push_ip(&mut out, ip.parse().unwrap());
            assert_eq!(out, ip.as_bytes());
        }
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
