//! Typed headers: read from a message when they are asked for.

use smol_str::SmolStr;

use crate::error::{Fault, HeaderError};
use crate::header_name::HeaderName;
use crate::method::Method;
use crate::scan::{self, find_outside, trim};
use crate::uri::Uri;

mod events;
mod join;
mod name_addr;
mod refer;
mod session;
mod via;

pub use crate::params::Params;
pub use events::{Event, SubscriptionState};
pub use join::Join;
pub use name_addr::{Contact, NameAddr};
pub use refer::{ReferSub, ReferTo, ReferredBy, Replaces, TargetDialog};
pub use session::{MinSe, RAck, RSeq, Refresher, SessionExpires};
pub use via::{MAGIC_COOKIE, Via};

/// A header value that can be read from the bytes of one value (of a list, one piece).
pub trait TypedHeader<'a>: Sized {
    /// The header's name.
    const NAME: HeaderName;

    /// Reads one value.
    ///
    /// # Errors
    /// [`Fault`] says what was expected.
    fn parse(value: &'a [u8]) -> Result<Self, Fault>;
}

/// The CSeq header (RFC 3261 §20.16).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CSeq {
    /// Below 2^31 (RFC 3261 §8.1.1.5).
    pub number: u32,
    /// The method.
    pub method: Method,
}

impl TypedHeader<'_> for CSeq {
    const NAME: HeaderName = HeaderName::CSeq;

    fn parse(value: &[u8]) -> Result<CSeq, Fault> {
        const EXPECTED: Fault = Fault::Expected("a number below 2^31 and a method");
        let value = trim(value);
        let space = value.iter().position(|byte| scan::is_space(*byte)).ok_or(EXPECTED)?;
        let number = scan::decimal(&value[..space]).filter(|number| *number < 1 << 31).ok_or(EXPECTED)?;
        let method = Method::parse(trim(&value[space..])).ok_or(EXPECTED)?;
        Ok(CSeq { number, method })
    }
}

macro_rules! number_header {
    ($(#[$doc:meta])* $name:ident, $header:ident, $limit:expr, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(pub u32);

        impl TypedHeader<'_> for $name {
            const NAME: HeaderName = HeaderName::$header;

            fn parse(value: &[u8]) -> Result<$name, Fault> {
                scan::decimal(trim(value))
                    .filter(|number| *number <= $limit)
                    .map($name)
                    .ok_or(Fault::Expected($expected))
            }
        }
    };
}

number_header!(
    /// Max-Forwards (RFC 3261 §20.22): hops left.
    MaxForwards, MaxForwards, 255, "a number from 0 to 255"
);
number_header!(
    /// Expires (RFC 3261 §20.19), in seconds.
    Expires, Expires, u32::MAX, "a number of seconds below 2^32"
);
number_header!(
    /// Min-Expires (RFC 3261 §20.23), in seconds.
    MinExpires, MinExpires, u32::MAX, "a number of seconds below 2^32"
);
number_header!(
    /// Content-Length (RFC 3261 §20.14), in bytes.
    ContentLength, ContentLength, u32::MAX, "a number of bytes"
);

/// Content-Type (RFC 3261 §20.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentType<'a> {
    /// The type, as `application`.
    pub kind: &'a str,
    /// The subtype, as `sdp`.
    pub subtype: &'a str,
    /// The parameters.
    pub params: Params<'a>,
}

impl ContentType<'_> {
    /// Whether it is the named type, in any case.
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind) && self.subtype.eq_ignore_ascii_case(subtype)
    }
}

impl<'a> TypedHeader<'a> for ContentType<'a> {
    const NAME: HeaderName = HeaderName::ContentType;

    fn parse(value: &'a [u8]) -> Result<ContentType<'a>, Fault> {
        const EXPECTED: Fault = Fault::Expected("type/subtype");
        let text = utf8(value)?;
        let (media, params) = split_params(text)?;
        let (kind, subtype) = media.split_once('/').ok_or(EXPECTED)?;
        let (kind, subtype) = (kind.trim(), subtype.trim());
        if scan::is_token_text(kind.as_bytes()) && scan::is_token_text(subtype.as_bytes()) {
            Ok(ContentType { kind, subtype, params })
        } else {
            Err(EXPECTED)
        }
    }
}

/// A run of tokens, as in Require, Supported and Allow: each value is one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a>(pub &'a str);

impl<'a> Token<'a> {
    /// Reads one token.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(value: &'a [u8]) -> Result<Token<'a>, Fault> {
        let value = trim(value);
        if scan::is_token_text(value) { Ok(Token(utf8(value)?)) } else { Err(Fault::Expected("a token")) }
    }
}

/// Retry-After (RFC 3261 §20.33): the seconds, without comment and parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter(pub u32);

impl TypedHeader<'_> for RetryAfter {
    const NAME: HeaderName = HeaderName::RetryAfter;

    fn parse(value: &[u8]) -> Result<RetryAfter, Fault> {
        let value = trim(value);
        let end = value.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
        scan::decimal(&value[..end]).map(RetryAfter).ok_or(Fault::Expected("a number of seconds"))
    }
}

/// The tag of a From or To header, owned: it names one end of a dialog.
pub type Tag = SmolStr;

/// Reads the text as UTF-8 without white space at its ends.
pub(crate) fn utf8(value: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(trim(value)).map_err(|_| Fault::Utf8)
}

/// Cuts `value;params` at the first semicolon outside quotes and brackets.
pub(crate) fn split_params(text: &str) -> Result<(&str, Params<'_>), Fault> {
    let at = find_outside(text.as_bytes(), true, b';').unwrap_or(text.len());
    Ok((text[..at].trim_ascii(), params(&text[at..])?))
}

/// Reads the parameters of a header value.
pub(crate) fn params(text: &str) -> Result<Params<'_>, Fault> {
    Params::parse(text).ok_or(Fault::Expected("parameters as ;name or ;name=value"))
}

/// Reads a URI that is all of the text.
pub(crate) fn uri(text: &str) -> Result<Uri<'_>, Fault> {
    Uri::parse(text).map_err(Fault::Uri)
}

impl HeaderName {
    /// This header with a fault.
    pub const fn fault(self, fault: Fault) -> HeaderError {
        HeaderError { name: self, fault }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cseq_with_any_white_space() {
        let cseq = CSeq::parse(b" 0009\r\n  INVITE ").unwrap();
        assert_eq!(cseq, CSeq { number: 9, method: Method::Invite });
        for bad in [&b"36893488147419103232 REGISTER"[..], b"2147483648 ACK", b"1", b"INVITE 1", b"1 @", b""]
        {
            assert!(CSeq::parse(bad).is_err());
        }
    }

    #[test]
    fn reads_numbers_within_their_limits() {
        assert_eq!(MaxForwards::parse(b" 70 "), Ok(MaxForwards(70)));
        assert!(MaxForwards::parse(b"256").is_err());
        assert!(MaxForwards::parse(b"-1").is_err());
        assert!(Expires::parse(b"100000000000000000000000").is_err());
        assert_eq!(RetryAfter::parse(b"18000;duration=3600"), Ok(RetryAfter(18000)));
        assert_eq!(RetryAfter::parse(b"120 (busy)"), Ok(RetryAfter(120)));
    }

    #[test]
    fn reads_content_types() {
        assert!(ContentType::parse(b"application/SDP;charset=utf-8").unwrap().is("application", "sdp"));
        assert!(ContentType::parse(b"text").is_err());
        assert!(ContentType::parse(b"te xt/plain").is_err());
    }
}
