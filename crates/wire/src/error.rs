//! What can be wrong with a message or a header.

use thiserror::Error;

use crate::header_name::HeaderName;

/// Why bytes are not a SIP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseError {
    /// No line end before the end of the bytes.
    #[error("the message ends before its header does")]
    Truncated,
    /// Longer than [`Limits::message_bytes`](crate::Limits::message_bytes).
    #[error("the message is longer than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// More header lines than [`Limits::headers`](crate::Limits::headers).
    #[error("the message has more than {limit} header lines")]
    TooManyHeaders {
        /// The limit.
        limit: usize,
    },
    /// More Via values than [`Limits::vias`](crate::Limits::vias).
    #[error("the message has more than {limit} Via values")]
    TooManyVias {
        /// The limit.
        limit: usize,
    },
    /// The Request-URI is longer than [`Limits::uri_bytes`](crate::Limits::uri_bytes) (answered with 414).
    #[error("the Request-URI is longer than {limit} bytes")]
    UriTooLong {
        /// The limit.
        limit: usize,
    },
    /// The first line is neither `METHOD URI SIP/2.0` nor `SIP/2.0 code reason`.
    #[error("the start line is neither `METHOD URI SIP/2.0` nor `SIP/2.0 CODE REASON`")]
    StartLine,
    /// The version is not `SIP/2.0` (a request is answered with 505).
    #[error("the version is not SIP/2.0")]
    Version,
    /// The status code is not a number from 100 to 699.
    #[error("the status code is not a number from 100 to 699")]
    StatusCode,
    /// A header line without a name and a colon.
    #[error("header line {line} has no name and colon")]
    HeaderLine {
        /// Counted from 1 for the start line.
        line: usize,
    },
    /// A line ends with CR or LF alone, or has a NUL.
    #[error("line {line} has a CR, LF or NUL that is not part of a line end")]
    LineEnd {
        /// Counted from 1 for the start line.
        line: usize,
    },
    /// Content-Length is no number, or stands twice with different values.
    #[error("Content-Length is not one number")]
    ContentLength,
    /// A message of a stream has no Content-Length, without which its end is not known (RFC 3261 §18.3).
    #[error("a message of a stream has no Content-Length")]
    ContentLengthMissing,
    /// Content-Length is larger than the body that came.
    #[error("Content-Length says {said} and the body has {came} bytes")]
    BodyTooShort {
        /// What the header says.
        said: usize,
        /// What the datagram holds.
        came: usize,
    },
}

/// Why a header, or a part of one, can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{name}: {fault}")]
pub struct HeaderError {
    /// The header.
    pub name: HeaderName,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a header's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// A mandatory header is not there.
    #[error("missing")]
    Missing,
    /// A header that may stand once stands more than once.
    #[error("stands more than once")]
    Repeated,
    /// The text is not UTF-8.
    #[error("not UTF-8")]
    Utf8,
    /// The value does not follow the grammar of its header.
    #[error("expected {0}")]
    Expected(&'static str),
    /// A URI in it is not legal.
    #[error("{0}")]
    Uri(UriError),
}

/// Why a text is not a URI that Dialtone can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UriError {
    /// No scheme before a colon.
    #[error("the URI has no scheme")]
    Scheme,
    /// The user part has a character that must be escaped.
    #[error("the user part has a character that must be escaped")]
    User,
    /// The host is no name and no address.
    #[error("the host is no domain name and no IP address")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// A parameter without a name, or with a character that must be escaped.
    #[error("a URI parameter is malformed")]
    Parameter,
    /// The part after `?` is malformed.
    #[error("the URI's header part is malformed")]
    Headers,
    /// `%` is not followed by two hexadecimal digits.
    #[error("% is not followed by two hexadecimal digits")]
    Escape,
    /// A telephone number with other characters than digits and separators, or a local one without
    /// `phone-context` (RFC 3966 §5.1.5).
    #[error("the telephone number is malformed or lacks its phone-context")]
    Number,
    /// More parameters, or more pieces behind `?`, than [`uri::PARTS_MAX`](crate::uri::PARTS_MAX).
    #[error("the URI has too many parameters or headers")]
    TooMany,
    /// A character that no URI has: white space, `<`, `>`, `"`.
    #[error("the URI has a character that must be escaped")]
    Character,
}
