//! Requests of our own before they are sent.

use bytes::Bytes;
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Method, Writer};
use smol_str::SmolStr;

use crate::route_set::{RouteSet, Routing};
use crate::text::one_line;

/// What Max-Forwards begins with (RFC 3261 §8.1.1.6).
pub const MAX_FORWARDS: u8 = 70;

/// A request of ours without the two headers that hang on the transport: Via and Contact.
///
/// The sender asks [`Draft::next_hop`] where it goes, chooses the flow, and only then calls [`Draft::write`].
/// The draft is kept until the final response, so that it can be written again with another CSeq and branch:
/// with credentials after a challenge, or to the next server of the list.
#[derive(Clone, Debug)]
pub struct Draft {
    method: Method,
    target: UriBuf,
    routing: Routing,
    from: SmolStr,
    to: SmolStr,
    call_id: SmolStr,
    cseq: u32,
    max_forwards: u8,
    headers: Vec<(SmolStr, SmolStr)>,
    body: Option<(SmolStr, Bytes)>,
}

impl Draft {
    /// Begins a request outside a dialog (RFC 3261 §8.1.1). `from` and `to` are whole header values with their
    /// tags; `cseq` is below 2^31.
    pub fn new(method: Method, uri: UriBuf, from: &str, to: &str, call_id: &str, cseq: u32) -> Draft {
        Draft {
            method,
            routing: Routing::new(&uri, &RouteSet::default()),
            target: uri,
            from: one_line(from),
            to: one_line(to),
            call_id: one_line(call_id),
            cseq,
            max_forwards: MAX_FORWARDS,
            headers: Vec::new(),
            body: None,
        }
    }

    /// Sends the request along a route set: that of a dialog, or a pre-loaded one (RFC 3261 §8.1.1.1, §8.1.2).
    /// With a strict router in front the Request-URI changes (§12.2.1.1).
    #[must_use]
    pub fn with_routes(mut self, route_set: &RouteSet) -> Draft {
        self.routing = Routing::new(&self.target, route_set);
        self
    }

    /// Adds a header. Via, Max-Forwards, Route, From, To, Call-ID, CSeq, Contact, Content-Type and
    /// Content-Length are not added here: they have places of their own.
    #[must_use]
    pub fn header(self, name: HeaderName, value: &str) -> Draft {
        self.line(name.as_str(), value)
    }

    /// Adds a header by the text of its name.
    #[must_use]
    pub fn line(mut self, name: &str, value: &str) -> Draft {
        self.headers.push((one_line(name), one_line(value)));
        self
    }

    /// Gives the request a body.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Draft {
        self.body = Some((one_line(content_type), body.into()));
        self
    }

    /// Says how many hops the request may make: a back-to-back user agent takes them from the request that it
    /// continues.
    #[must_use]
    pub const fn max_forwards(mut self, hops: u8) -> Draft {
        self.max_forwards = hops;
        self
    }

    /// Changes the CSeq number, before the request is written again as a new transaction.
    pub const fn set_cseq(&mut self, cseq: u32) {
        self.cseq = cseq;
    }

    /// Replaces all values of a header with one.
    pub fn set_header(&mut self, name: HeaderName, value: &str) {
        self.remove_header(name);
        self.headers.push((SmolStr::new_static(name.as_str()), one_line(value)));
    }

    /// Takes a header away.
    pub fn remove_header(&mut self, name: HeaderName) {
        self.headers.retain(|(own, _)| !own.eq_ignore_ascii_case(name.as_str()));
    }

    /// The request that cancels this one (RFC 3261 §9.1): the same Request-URI, Route, From, To, Call-ID and
    /// CSeq number. It is written with the very Via of the request that it cancels, branch included.
    #[must_use]
    pub fn cancel(&self) -> Draft {
        Draft {
            method: Method::Cancel,
            max_forwards: MAX_FORWARDS,
            headers: Vec::new(),
            body: None,
            ..self.clone()
        }
    }

    /// The method.
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// The text of the Request-URI.
    pub fn uri(&self) -> &str {
        self.routing.uri.as_str()
    }

    /// The URI whose servers get the request (RFC 3261 §8.1.2): that of the first Route if it is a loose
    /// router, else the Request-URI; a SIPS URI where the Request-URI is one.
    pub const fn next_hop(&self) -> &UriBuf {
        &self.routing.next_hop
    }

    /// The Route values in order.
    pub fn routes(&self) -> &[SmolStr] {
        &self.routing.routes
    }

    /// The From value.
    pub fn from(&self) -> &str {
        &self.from
    }

    /// The To value.
    pub fn to(&self) -> &str {
        &self.to
    }

    /// The Call-ID.
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// The CSeq number.
    pub const fn cseq(&self) -> u32 {
        self.cseq
    }

    /// The body with its Content-Type.
    pub fn body_bytes(&self) -> Option<(&str, &Bytes)> {
        self.body.as_ref().map(|(content_type, body)| (content_type.as_str(), body))
    }

    /// The first value of a header that was added.
    pub fn value(&self, name: HeaderName) -> Option<&str> {
        self.headers
            .iter()
            .find(|(own, _)| own.eq_ignore_ascii_case(name.as_str()))
            .map(|(_, value)| value.as_str())
    }

    /// Writes the request, once the flow that it goes out on is known. `via` and `contact` are whole header
    /// values, on one line.
    pub fn write(&self, via: &str, contact: Option<&str>) -> Bytes {
        let mut writer = Writer::request(&self.method, &self.routing.uri);
        writer.header(HeaderName::Via, via).header(HeaderName::MaxForwards, self.max_forwards);
        for route in &self.routing.routes {
            writer.header(HeaderName::Route, route);
        }
        writer
            .header(HeaderName::From, &self.from)
            .header(HeaderName::To, &self.to)
            .header(HeaderName::CallId, &self.call_id)
            .header(HeaderName::CSeq, format_args!("{} {}", self.cseq, self.method));
        if let Some(contact) = contact {
            writer.header(HeaderName::Contact, contact);
        }
        for (name, value) in &self.headers {
            writer.line(name, value);
        }
        match &self.body {
            Some((content_type, body)) => writer.finish_with(content_type, body),
            None => writer.finish(),
        }
    }
}
