//! A received message: one shared buffer and an index into it.

use std::fmt;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::error::{Fault, HeaderError};
use crate::header_name::HeaderName;
use crate::headers::{CSeq, Contact, MaxForwards, NameAddr, TypedHeader, Via};
use crate::method::{Method, Status};
use crate::scan::{self, ListValues, trim};
use crate::uri::{Uri, UriBuf};
use via_index::ViaIndex;

mod parse;
mod via_index;
mod whole;

pub use whole::with_whole_body;

/// The largest message, and the most of each thing in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a whole message.
    pub message_bytes: usize,
    /// Header lines.
    pub headers: usize,
    /// Via values: the depth of the chain of proxies.
    pub vias: usize,
    /// Bytes of a Request-URI.
    pub uri_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { message_bytes: 65_535, headers: 256, vias: 70, uri_bytes: 2_048 }
    }
}

/// A SIP message as it came: its bytes never change. Typed headers are read when they are asked for.
#[derive(Clone)]
pub struct Message {
    bytes: Bytes,
    start: StartLine,
    headers: SmallVec<[HeaderLine; 20]>,
    body: Span,
    /// `None` when the topmost Via is missing or malformed.
    via: Option<ViaIndex>,
}

/// What the first line says.
#[derive(Clone, Debug)]
enum StartLine {
    Request { method: Method, uri: Span },
    Response { status: Status, reason: Span },
}

/// One header line: where its name, its value and the end of its last line are.
#[derive(Clone, Copy, Debug)]
struct HeaderLine {
    name: HeaderName,
    line: Span,
    name_length: u16,
    value: Span,
}

/// A piece of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.start as usize..self.end as usize]
    }

    /// Where `part`, which was cut out of `bytes`, stands in them. An empty part may stand anywhere.
    fn in_bytes(bytes: &[u8], part: &str) -> Span {
        if part.is_empty() {
            return Span { start: 0, end: 0 };
        }
        let start = part.as_ptr() as usize - bytes.as_ptr() as usize;
        Span { start: start as u32, end: (start + part.len()) as u32 }
    }
}

/// One header line of a message.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// The name, or [`HeaderName::Other`].
    pub name: HeaderName,
    /// The name as written.
    pub name_text: &'a [u8],
    /// The value without white space at its ends; folds are still in it.
    pub value: &'a [u8],
    /// The whole line with its line end.
    pub line: &'a [u8],
}

impl Message {
    /// The bytes of the message: what came after it in the datagram is cut off (RFC 3261 §18.3).
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether it is a request.
    pub const fn is_request(&self) -> bool {
        matches!(self.start, StartLine::Request { .. })
    }

    /// The method of a request; `None` for a response.
    pub const fn method(&self) -> Option<&Method> {
        match &self.start {
            StartLine::Request { method, .. } => Some(method),
            StartLine::Response { .. } => None,
        }
    }

    /// The status of a response; `None` for a request.
    pub const fn status(&self) -> Option<Status> {
        match &self.start {
            StartLine::Request { .. } => None,
            StartLine::Response { status, .. } => Some(*status),
        }
    }

    /// The reason phrase of a response, as it came; empty for a request.
    pub fn reason(&self) -> &[u8] {
        match &self.start {
            StartLine::Request { .. } => &[],
            StartLine::Response { reason, .. } => reason.of(&self.bytes),
        }
    }

    /// The text of the Request-URI; empty for a response.
    pub fn uri_text(&self) -> &str {
        match &self.start {
            StartLine::Request { uri, .. } => std::str::from_utf8(uri.of(&self.bytes)).unwrap_or(""),
            StartLine::Response { .. } => "",
        }
    }

    /// The Request-URI.
    ///
    /// # Errors
    /// When it is malformed (400) or the message is a response.
    pub fn uri(&self) -> Result<Uri<'_>, crate::error::UriError> {
        Uri::parse(self.uri_text())
    }

    /// The Request-URI as a value of its own.
    ///
    /// # Errors
    /// As [`Message::uri`].
    pub fn uri_buf(&self) -> Result<UriBuf, crate::error::UriError> {
        UriBuf::parse(self.uri_text())
    }

    /// The body; empty when there is none.
    pub fn body(&self) -> &[u8] {
        self.body.of(&self.bytes)
    }

    /// All header lines in order.
    pub fn header_lines(&self) -> impl DoubleEndedIterator<Item = Header<'_>> + ExactSizeIterator {
        self.headers.iter().map(|line| Header {
            name: line.name,
            name_text: &line.line.of(&self.bytes)[..usize::from(line.name_length)],
            value: line.value.of(&self.bytes),
            line: line.line.of(&self.bytes),
        })
    }

    /// The whole values of the lines of one header, lists not cut.
    pub(crate) fn line_values(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.headers.iter().filter(move |line| line.name == name).map(|line| line.value.of(&self.bytes))
    }

    /// The values of one header in order; where it may hold a list, each piece by itself.
    pub fn values(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        let is_list = name.is_list();
        let mut lines = self.line_values(name);
        let mut list = ListValues::new(b"");
        std::iter::from_fn(move || {
            loop {
                if let Some(value) = list.next() {
                    return Some(value);
                }
                let line = lines.next()?;
                if !is_list {
                    return Some(trim(line));
                }
                list = ListValues::new(line);
            }
        })
    }

    /// The first value of a header, or its only one.
    pub fn value(&self, name: HeaderName) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// The first value of a header that Dialtone has no name for, by its text in any case.
    pub fn value_by_text(&self, name: &str) -> Option<&[u8]> {
        self.header_lines()
            .find(|header| header.name_text.eq_ignore_ascii_case(name.as_bytes()))
            .map(|header| header.value)
    }

    /// Whether the header stands at all.
    pub fn has(&self, name: HeaderName) -> bool {
        self.headers.iter().any(|line| line.name == name)
    }

    /// The first value of a typed header: `None` when it is absent.
    pub fn header<'a, H: TypedHeader<'a>>(&'a self) -> Option<Result<H, HeaderError>> {
        self.value(H::NAME).map(|value| H::parse(value).map_err(|fault| H::NAME.fault(fault)))
    }

    /// A typed header that must stand once.
    ///
    /// # Errors
    /// [`Fault::Missing`], [`Fault::Repeated`] (for headers that are no lists), or what is wrong with its value.
    pub fn required<'a, H: TypedHeader<'a>>(&'a self) -> Result<H, HeaderError> {
        let value = self.single(H::NAME)?;
        H::parse(value).map_err(|fault| H::NAME.fault(fault))
    }

    /// The topmost Via value.
    ///
    /// # Errors
    /// When it is missing or malformed.
    pub fn via(&self) -> Result<Via<'_>, HeaderError> {
        match self.via.and_then(|index| index.read(&self.bytes)) {
            Some(via) => Ok(via),
            None => self.read_via(),
        }
    }

    fn read_via(&self) -> Result<Via<'_>, HeaderError> {
        let value = self.value(HeaderName::Via).ok_or(HeaderName::Via.fault(Fault::Missing))?;
        Via::parse(value).map_err(|fault| HeaderName::Via.fault(fault))
    }

    /// The From header.
    ///
    /// # Errors
    /// When it is missing, repeated or malformed.
    pub fn from(&self) -> Result<NameAddr<'_>, HeaderError> {
        self.single_address(HeaderName::From)
    }

    /// The To header.
    ///
    /// # Errors
    /// When it is missing, repeated or malformed.
    pub fn to(&self) -> Result<NameAddr<'_>, HeaderError> {
        self.single_address(HeaderName::To)
    }

    /// The tag of the From header. Looks at its parameters only: its address may be malformed where the message was
    /// not [screened](Message::screen).
    ///
    /// # Errors
    /// When From is missing or repeated, or its parameters are malformed.
    pub fn from_tag(&self) -> Result<Option<&str>, HeaderError> {
        self.tag_of(HeaderName::From)
    }

    /// The tag of the To header, as [`Message::from_tag`].
    ///
    /// # Errors
    /// When To is missing or repeated, or its parameters are malformed.
    pub fn to_tag(&self) -> Result<Option<&str>, HeaderError> {
        self.tag_of(HeaderName::To)
    }

    /// The CSeq header.
    ///
    /// # Errors
    /// When it is missing, repeated or malformed.
    pub fn cseq(&self) -> Result<CSeq, HeaderError> {
        self.required::<CSeq>()
    }

    /// The Call-ID.
    ///
    /// # Errors
    /// When it is missing, repeated, empty or has white space.
    pub fn call_id(&self) -> Result<&str, HeaderError> {
        let fault = |fault| HeaderName::CallId.fault(fault);
        let value = self.single(HeaderName::CallId)?;
        let text = std::str::from_utf8(value).map_err(|_| fault(Fault::Utf8))?;
        if text.is_empty() || scan::has_blank(value) {
            return Err(fault(Fault::Expected("one word")));
        }
        Ok(text)
    }

    /// The Max-Forwards header: `None` when it is absent.
    ///
    /// # Errors
    /// When it is repeated or malformed.
    pub fn max_forwards(&self) -> Result<Option<u32>, HeaderError> {
        if !self.has(HeaderName::MaxForwards) {
            return Ok(None);
        }
        self.required::<MaxForwards>().map(|MaxForwards(hops)| Some(hops))
    }

    /// The values of a header that holds addresses (Route, Record-Route, Path …).
    pub fn addresses(&self, name: HeaderName) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.values(name).map(move |value| NameAddr::parse(value).map_err(|fault| name.fault(fault)))
    }

    /// The Contact values.
    pub fn contacts(&self) -> impl Iterator<Item = Result<Contact<'_>, HeaderError>> {
        self.values(HeaderName::Contact)
            .map(|value| Contact::parse(value).map_err(|fault| HeaderName::Contact.fault(fault)))
    }

    /// Whether one of the header's values is the token, in any case (Require, Supported, Allow …).
    pub fn has_token(&self, name: HeaderName, token: &str) -> bool {
        self.values(name).any(|value| value.eq_ignore_ascii_case(token.as_bytes()))
    }

    fn single_address(&self, name: HeaderName) -> Result<NameAddr<'_>, HeaderError> {
        NameAddr::parse(self.single(name)?).map_err(|fault| name.fault(fault))
    }

    fn tag_of(&self, name: HeaderName) -> Result<Option<&str>, HeaderError> {
        NameAddr::tag_of(self.single(name)?).map_err(|fault| name.fault(fault))
    }

    /// The value of a header that stands once.
    fn single(&self, name: HeaderName) -> Result<&[u8], HeaderError> {
        let mut lines = self.headers.iter().filter(|line| line.name == name);
        let first = lines.next().ok_or(name.fault(Fault::Missing))?;
        match lines.next() {
            Some(_) => Err(name.fault(Fault::Repeated)),
            None => Ok(trim(first.value.of(&self.bytes))),
        }
    }

    /// Checks what every element needs to handle the message: the mandatory headers of RFC 3261 §8.1.1, each
    /// there once and well-formed, and the CSeq method that of the request. A request that fails is answered
    /// with 400; a response is dropped.
    ///
    /// # Errors
    /// The first fault.
    pub fn check(&self) -> Result<(), HeaderError> {
        if self.via.is_none() {
            self.read_via()?;
        }
        self.from()?;
        self.to()?;
        self.call_id()?;
        let cseq = self.cseq()?;
        self.max_forwards()?;
        match self.method() {
            Some(method) if *method != cseq.method => {
                Err(HeaderName::CSeq.fault(Fault::Expected("the method of the request line")))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn start_line_length(&self) -> usize {
        self.headers.first().map_or(0, |line| line.line.start as usize)
    }
}

impl fmt::Debug for Message {
    /// Shows the start line only: headers and bodies hold personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.start {
            StartLine::Request { method, .. } => write!(f, "Message({method})"),
            StartLine::Response { status, .. } => write!(f, "Message({status:?})"),
        }
    }
}
