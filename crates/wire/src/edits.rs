//! Changes to a message that passes through: a closed list, applied in one pass. Bytes that no edit names stay
//! as they came.

use std::io::Write as _;
use std::net::SocketAddr;

use smallvec::SmallVec;

use crate::header_name::HeaderName;
use crate::headers::{TypedHeader, Via};
use crate::message::{Header, Message};
use crate::scan::{self, ListValues, push_line_text};
use crate::writer::{push_content_length, push_ip, push_number};

/// What a proxy changes in a message (RFC 3261 §16.6 and §16.7).
#[derive(Clone, Debug, Default)]
pub struct Edits<'a> {
    request_uri: Option<&'a str>,
    push_via: Option<&'a str>,
    pop_via: bool,
    source: Option<SocketAddr>,
    pop_routes: usize,
    push_routes: SmallVec<[&'a str; 2]>,
    append_route: Option<&'a str>,
    push_record_routes: SmallVec<[&'a str; 2]>,
    push_path: Option<&'a str>,
    max_forwards: Option<u32>,
    removed: SmallVec<[HeaderName; 2]>,
    removed_lines: SmallVec<[usize; 2]>,
    appended: SmallVec<[(&'a str, &'a str); 2]>,
    body: Option<(&'a str, &'a [u8])>,
    content_length: bool,
}

impl<'a> Edits<'a> {
    /// No change.
    pub fn new() -> Edits<'a> {
        Edits::default()
    }

    /// Replaces the Request-URI.
    pub fn set_request_uri(&mut self, uri: &'a str) -> &mut Self {
        self.request_uri = Some(uri);
        self
    }

    /// Puts a Via value on top: all that follows `Via: `.
    pub fn push_via(&mut self, value: &'a str) -> &mut Self {
        self.push_via = Some(value);
        self
    }

    /// Takes the topmost Via value away.
    pub fn pop_via(&mut self) -> &mut Self {
        self.pop_via = true;
        self
    }

    /// Writes into the topmost Via that came where the message came from (`received`, `rport`), where
    /// RFC 3261 §18.2.1 and RFC 3581 §4 ask for it.
    pub fn set_source(&mut self, source: SocketAddr) -> &mut Self {
        self.source = Some(source);
        self
    }

    /// Takes the topmost `count` Route values away.
    pub fn pop_routes(&mut self, count: usize) -> &mut Self {
        self.pop_routes = count;
        self
    }

    /// Puts a Route value on top; the first one pushed ends up topmost.
    pub fn push_route(&mut self, value: &'a str) -> &mut Self {
        self.push_routes.push(value);
        self
    }

    /// Puts a Route value behind all others, as for a strict router (RFC 3261 §16.6 step 6).
    pub fn append_route(&mut self, value: &'a str) -> &mut Self {
        self.append_route = Some(value);
        self
    }

    /// Puts a Record-Route value on top; the first one pushed ends up topmost.
    pub fn push_record_route(&mut self, value: &'a str) -> &mut Self {
        self.push_record_routes.push(value);
        self
    }

    /// Puts a Path value on top (RFC 3327 §5.2).
    pub fn push_path(&mut self, value: &'a str) -> &mut Self {
        self.push_path = Some(value);
        self
    }

    /// Sets Max-Forwards, which is added when it is absent.
    pub fn set_max_forwards(&mut self, hops: u32) -> &mut Self {
        self.max_forwards = Some(hops);
        self
    }

    /// Takes all lines of a header away.
    pub fn remove(&mut self, name: HeaderName) -> &mut Self {
        self.removed.push(name);
        self
    }

    /// Takes one header line away, counted from 0 as [`Message::header_lines`] has them.
    pub fn remove_line(&mut self, index: usize) -> &mut Self {
        self.removed_lines.push(index);
        self
    }

    /// Adds a header line behind all others.
    pub fn append(&mut self, name: &'a str, value: &'a str) -> &mut Self {
        self.appended.push((name, value));
        self
    }

    /// Replaces the body, its type and its length. An empty body takes Content-Type away.
    pub fn set_body(&mut self, content_type: &'a str, body: &'a [u8]) -> &mut Self {
        self.body = Some((content_type, body));
        self
    }

    /// Makes sure that Content-Length stands, as a stream transport needs it.
    pub fn ensure_content_length(&mut self) -> &mut Self {
        self.content_length = true;
        self
    }

    /// Appends the changed message to `out`.
    pub fn write(&self, message: &Message, out: &mut Vec<u8>) {
        out.reserve(message.bytes().len() + 256);
        self.write_start(message, out);
        if let Some(via) = self.push_via {
            line(out, "Via", via);
        }
        for value in &self.push_record_routes {
            line(out, "Record-Route", value);
        }
        for value in &self.push_routes {
            line(out, "Route", value);
        }
        if let Some(value) = self.push_path {
            line(out, "Path", value);
        }
        self.write_headers(message, out);
        for (name, value) in &self.appended {
            line(out, name, value);
        }
        self.write_body(message, out);
    }

    fn write_start(&self, message: &Message, out: &mut Vec<u8>) {
        match (self.request_uri, message.method()) {
            (Some(uri), Some(method)) => {
                out.extend_from_slice(method.as_str().as_bytes());
                out.push(b' ');
                push_uri(out, uri);
                out.extend_from_slice(b" SIP/2.0\r\n");
            }
            _ => out.extend_from_slice(&message.bytes()[..message.start_line_length()]),
        }
    }

    fn write_headers(&self, message: &Message, out: &mut Vec<u8>) {
        let mut top_via = true;
        let mut routes_left = self.pop_routes;
        let mut max_forwards = self.max_forwards;
        let mut append_route = self.append_route;
        let last_route = append_route
            .and_then(|_| message.header_lines().rposition(|header| header.name == HeaderName::Route));
        for (index, header) in message.header_lines().enumerate() {
            match header.name {
                _ if self.is_removed(index, &header) => {}
                // Commas alone are no value: `Message::via` passes over such a line too.
                HeaderName::Via if top_via && scan::has_value(header.value) => {
                    top_via = false;
                    self.write_top_via(message, &header, out);
                }
                HeaderName::Route if routes_left > 0 => write_route_rest(&header, &mut routes_left, out),
                HeaderName::MaxForwards if self.max_forwards.is_some() => {
                    // A repeated Max-Forwards was refused when the message was checked.
                    if let Some(hops) = max_forwards.take() {
                        write_max_forwards(hops, out);
                    }
                }
                _ => out.extend_from_slice(header.line),
            }
            if last_route == Some(index)
                && let Some(value) = append_route.take()
            {
                line(out, "Route", value);
            }
        }
        if let Some(value) = append_route {
            line(out, "Route", value);
        }
        if let Some(hops) = max_forwards {
            write_max_forwards(hops, out);
        }
    }

    fn is_removed(&self, index: usize, header: &Header<'_>) -> bool {
        let by_body =
            self.body.is_some() && matches!(header.name, HeaderName::ContentType | HeaderName::ContentLength);
        by_body || self.removed.contains(&header.name) || self.removed_lines.contains(&index)
    }

    /// The line that holds the topmost Via: its first value goes or gets its source, the rest stays.
    fn write_top_via(&self, message: &Message, header: &Header<'_>, out: &mut Vec<u8>) {
        if !self.pop_via && self.source.is_none() {
            return out.extend_from_slice(header.line);
        }
        let (first, rest) = first_and_rest(header.value);
        match (self.pop_via, rest) {
            (true, Some(rest)) => raw_line(out, b"Via", rest),
            (true, None) => {}
            (false, rest) => {
                out.extend_from_slice(b"Via: ");
                // A line that is taken away may have had the topmost Via of the message.
                let via =
                    if self.removed_lines.is_empty() { message.via().ok() } else { Via::parse(first).ok() };
                write_via_with_source(first, self.source.zip(via), out);
                if let Some(rest) = rest {
                    out.extend_from_slice(b", ");
                    out.extend_from_slice(rest);
                }
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    fn write_body(&self, message: &Message, out: &mut Vec<u8>) {
        match self.body {
            Some((content_type, body)) => {
                if !body.is_empty() {
                    line(out, "Content-Type", content_type);
                }
                push_content_length(out, body);
                out.extend_from_slice(b"\r\n");
                out.extend_from_slice(body);
            }
            None => {
                if self.content_length && !message.has(HeaderName::ContentLength) {
                    push_content_length(out, message.body());
                }
                out.extend_from_slice(b"\r\n");
                out.extend_from_slice(message.body());
            }
        }
    }
}

/// Appends a Via value, with `received` and `rport` for the source where it needs them; values that were there
/// before (a forgery, or an element that should not have written them) are replaced. `came` is that source and the
/// value as it was read; `None` leaves the value as it is.
pub(crate) fn write_via_with_source(value: &[u8], came: Option<(SocketAddr, Via<'_>)>, out: &mut Vec<u8>) {
    let Some((source, via)) = came.filter(|(source, via)| via.needs_received(*source)) else {
        return out.extend_from_slice(value);
    };
    // A Via that could be read has no quotes and brackets before its parameters.
    let params_at = scan::find(value, b';').unwrap_or(value.len());
    out.extend_from_slice(value[..params_at].trim_ascii_end());
    let mut rport = true;
    for piece in via.params.pieces() {
        let name = scan::cut(piece, b'=').map_or(piece, |(name, _)| name).trim_ascii();
        if name.eq_ignore_ascii_case("received") {
            continue;
        }
        if !name.eq_ignore_ascii_case("rport") {
            out.push(b';');
            out.extend_from_slice(piece.as_bytes());
        } else if std::mem::take(&mut rport) {
            out.extend_from_slice(b";rport=");
            push_number(out, source.port().into());
        }
    }
    out.extend_from_slice(b";received=");
    push_ip(out, source.ip());
}

/// Appends a URI. Bytes that no URI has would end the start line or move its parts: they are escaped.
fn push_uri(out: &mut Vec<u8>, uri: &str) {
    if uri.bytes().all(|byte| byte > b' ' && byte != 0x7f) {
        return out.extend_from_slice(uri.as_bytes());
    }
    for byte in uri.bytes() {
        if byte > b' ' && byte != 0x7f {
            out.push(byte);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// The first value of a list and what follows its comma.
fn first_and_rest(value: &[u8]) -> (&[u8], Option<&[u8]>) {
    let first = ListValues::new(value).next().unwrap_or(value);
    let end = first.as_ptr() as usize - value.as_ptr() as usize + first.len();
    let rest =
        value[end..].iter().position(|byte| *byte == b',').map(|comma| value[end + comma + 1..].trim_ascii());
    (first, rest.filter(|rest| !rest.is_empty()))
}

/// Writes what is left of a Route line when up to `count` values are taken from its front.
fn write_route_rest(header: &Header<'_>, count: &mut usize, out: &mut Vec<u8>) {
    let mut value = Some(header.value);
    while let Some(text) = value
        && *count > 0
        // Commas alone are no value: `Message::values` does not count them either.
        && scan::has_value(text)
    {
        *count -= 1;
        value = first_and_rest(text).1;
    }
    if let Some(rest) = value {
        raw_line(out, b"Route", rest);
    }
}

fn write_max_forwards(hops: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Max-Forwards: ");
    push_number(out, hops);
    out.extend_from_slice(b"\r\n");
}

fn line(out: &mut Vec<u8>, name: &str, value: &str) {
    raw_line(out, name.as_bytes(), value.as_bytes());
}

fn raw_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    push_line_text(out, value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::message::Limits;

    const REQUEST: &str = "INVITE sip:bob@biloxi.com SIP/2.0\r\n\
        v: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKa;rport , SIP/2.0/UDP b\r\n\
        Via: SIP/2.0/UDP c\r\n\
        X-Odd  :  kept\r\n  as it came\r\n\
        Route: <sip:p1;lr>, <sip:p2;lr>\r\n\
        Route: <sip:p3;lr>\r\n\
        Max-Forwards: 70\r\n\
        c: text/plain\r\n\
        \r\nbody";

    fn check(edit: impl Fn(&mut Edits<'_>), expected: &[(&str, &str)]) {
        let message = Message::parse(Bytes::from(REQUEST), &Limits::default()).unwrap();
        let mut edits = Edits::new();
        edit(&mut edits);
        let mut out = Vec::new();
        edits.write(&message, &mut out);
        let mut text = REQUEST.to_owned();
        for (from, to) in expected {
            assert!(text.contains(from));
            text = text.replace(from, to);
        }
        assert_eq!(String::from_utf8(out.clone()).unwrap(), text);
        Message::parse(Bytes::from(out), &Limits::default()).unwrap();
    }

    #[test]
    fn without_edits_nothing_changes() {
        check(|_| (), &[]);
    }

    #[test]
    fn pushes_and_pops_vias() {
        check(
            |edits| {
                edits.push_via("SIP/2.0/UDP me;branch=z9hG4bKm");
            },
            &[("\r\nv:", "\r\nVia: SIP/2.0/UDP me;branch=z9hG4bKm\r\nv:")],
        );
        check(
            |edits| {
                edits.pop_via();
            },
            &[("v: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKa;rport , ", "Via: ")],
        );
    }

    #[test]
    fn writes_the_source_into_the_topmost_via() {
        check(
            |edits| {
                edits.set_source("80.0.0.1:7000".parse().unwrap());
            },
            &[(
                "v: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKa;rport , ",
                "Via: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKa;rport=7000;received=80.0.0.1, ",
            )],
        );
    }

    /// The value of a Via, come from a source.
    fn came(value: &[u8]) -> Option<(SocketAddr, Via<'_>)> {
        Some(("80.0.0.1:7000".parse().unwrap(), Via::parse(value).unwrap()))
    }

    #[test]
    fn replaces_forged_received_and_rport() {
        let mut out = Vec::new();
        let via = b"SIP/2.0/UDP h;received=9.9.9.9;rport=1;branch=z9hG4bKx;rport=2";
        write_via_with_source(via, came(via), &mut out);
        assert_eq!(out, b"SIP/2.0/UDP h;rport=7000;branch=z9hG4bKx;received=80.0.0.1");
    }

    #[test]
    fn quoted_semicolons_in_a_via_are_no_parameters() {
        let mut out = Vec::new();
        let via = b"SIP/2.0/UDP h;x=\"a;received=9.9.9.9\";branch=z9hG4bKx";
        write_via_with_source(via, came(via), &mut out);
        assert_eq!(out, b"SIP/2.0/UDP h;x=\"a;received=9.9.9.9\";branch=z9hG4bKx;received=80.0.0.1".to_vec());
    }

    #[test]
    fn what_an_edit_brings_adds_no_line() {
        check(
            |edits| {
                edits
                    .set_request_uri("sip:a b\r\nEvil: x")
                    .push_via("SIP/2.0/UDP v\r\n\r\n")
                    .append("X", "1\r\nEvil: 2")
                    .set_body("a/b\nEvil: 3", b"");
            },
            &[
                ("sip:bob@biloxi.com SIP/2.0", "sip:a%20b%0D%0AEvil:%20x SIP/2.0\r\nVia: SIP/2.0/UDP v    "),
                ("c: text/plain\r\n\r\nbody", "X: 1  Evil: 2\r\nContent-Length: 0\r\n\r\n"),
            ],
        );
    }

    #[test]
    fn a_via_line_without_value_does_not_count() {
        let text = "BYE sip:a SIP/2.0\r\nVia: ,\r\nVia: ,SIP/2.0/UDP a, SIP/2.0/UDP b\r\n\r\n";
        let message = Message::parse(Bytes::from(text), &Limits::default()).unwrap();
        let mut out = Vec::new();
        Edits::new().pop_via().write(&message, &mut out);
        let message = Message::parse(Bytes::from(out), &Limits::default()).unwrap();
        assert_eq!(message.values(HeaderName::Via).collect::<Vec<_>>(), [b"SIP/2.0/UDP b"]);
    }

    #[test]
    fn a_route_line_without_value_does_not_count() {
        let text = "BYE sip:a SIP/2.0\r\nRoute: ,\r\nRoute: ,<sip:p1>,, <sip:p2>\r\n\r\n";
        let message = Message::parse(Bytes::from(text), &Limits::default()).unwrap();
        let mut out = Vec::new();
        Edits::new().pop_routes(1).write(&message, &mut out);
        let message = Message::parse(Bytes::from(out), &Limits::default()).unwrap();
        assert_eq!(message.values(HeaderName::Route).collect::<Vec<_>>(), [b"<sip:p2>"]);
    }

    #[test]
    fn pops_routes_across_lines() {
        check(
            |edits| {
                edits.pop_routes(1);
            },
            &[("<sip:p1;lr>, ", "")],
        );
        check(
            |edits| {
                edits.pop_routes(2);
            },
            &[("Route: <sip:p1;lr>, <sip:p2;lr>\r\n", "")],
        );
        check(
            |edits| {
                edits.pop_routes(9).push_route("<sip:new;lr>");
            },
            &[
                ("Route: <sip:p1;lr>, <sip:p2;lr>\r\nRoute: <sip:p3;lr>\r\n", ""),
                ("SIP/2.0\r\nv:", "SIP/2.0\r\nRoute: <sip:new;lr>\r\nv:"),
            ],
        );
        check(
            |edits| {
                edits.append_route("<sip:strict>");
            },
            &[("<sip:p3;lr>\r\n", "<sip:p3;lr>\r\nRoute: <sip:strict>\r\n")],
        );
    }

    #[test]
    fn sets_uri_hops_and_record_route() {
        check(
            |edits| {
                edits
                    .set_request_uri("sip:bob@10.0.0.9")
                    .set_max_forwards(69)
                    .push_record_route("<sip:a;lr>")
                    .push_record_route("<sip:b;lr>");
            },
            &[
                ("sip:bob@biloxi.com", "sip:bob@10.0.0.9"),
                ("Max-Forwards: 70", "Max-Forwards: 69"),
                ("SIP/2.0\r\nv:", "SIP/2.0\r\nRecord-Route: <sip:a;lr>\r\nRecord-Route: <sip:b;lr>\r\nv:"),
            ],
        );
    }

    #[test]
    fn removes_appends_and_replaces_bodies() {
        check(
            |edits| {
                edits.remove(HeaderName::MaxForwards).remove_line(2).append("Date", "now");
            },
            &[
                ("Max-Forwards: 70\r\n", ""),
                ("X-Odd  :  kept\r\n  as it came\r\n", ""),
                ("\r\n\r\n", "\r\nDate: now\r\n\r\n"),
            ],
        );
        check(
            |edits| {
                edits.set_body("a/b", b"new");
            },
            &[("c: text/plain\r\n\r\nbody", "Content-Type: a/b\r\nContent-Length: 3\r\n\r\nnew")],
        );
        check(
            |edits| {
                edits.ensure_content_length();
            },
            &[("\r\n\r\n", "\r\nContent-Length: 4\r\n\r\n")],
        );
    }
}
