//! Telephone numbers as URIs (RFC 3966).

use std::fmt;

use super::{check_params, unescaped_bytes};
use crate::error::UriError;
use crate::params::Params;

/// A `tel:` URI.
#[derive(Clone, Copy, Debug)]
pub struct TelUri<'a> {
    /// The number as written, with its visual separators; a global one begins with `+`.
    pub number: &'a str,
    /// The parameters: `phone-context`, `ext`, `isub` and others.
    pub params: Params<'a>,
}

impl<'a> TelUri<'a> {
    pub(super) fn parse_rest(rest: &'a str) -> Result<TelUri<'a>, UriError> {
        let (number, params) = match rest.find(';') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        check_params(params)?;
        let uri = TelUri { number, params: Params::of_uri(params) };
        let digits = number.strip_prefix('+').unwrap_or(number);
        let legal = if uri.is_global() {
            digits.bytes().all(|byte| byte.is_ascii_digit() || is_separator(byte))
                && digits.bytes().any(|byte| byte.is_ascii_digit())
        } else {
            // RFC 3966 §5.1.5: a local number must have a phone-context. Its absence is not a fault of the
            // grammar of the message, so it is asked for by `is_complete` (a proxy answers 484).
            digits
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'*' | b'#') || is_separator(byte))
                && digits.bytes().any(|byte| !is_separator(byte))
        };
        if legal { Ok(uri) } else { Err(UriError::Number) }
    }

    /// Whether the number is global: begins with `+`.
    pub fn is_global(&self) -> bool {
        self.number.starts_with('+')
    }

    /// Whether it says all that is needed to dial it: global, or local with its `phone-context`.
    pub fn is_complete(&self) -> bool {
        self.is_global() || self.params.has("phone-context")
    }

    /// The number without visual separators.
    pub fn digits(&self) -> impl Iterator<Item = char> + 'a {
        self.number.chars().filter(|character| !character.is_ascii() || !is_separator(*character as u8))
    }

    /// Whether two numbers are equal (RFC 3966 §4): both global or both local, equal digits without
    /// separators, and the same parameters in any order, `ext` and `isub` and `phone-context` included.
    pub fn equivalent(&self, other: &TelUri<'_>) -> bool {
        let digits =
            |uri: &TelUri<'_>| uri.digits().map(|digit| digit.to_ascii_lowercase()).collect::<String>();
        self.is_global() == other.is_global()
            && digits(self) == digits(other)
            && same_params(self.params, other.params)
            && same_params(other.params, self.params)
    }
}

/// Whether each parameter of one is in two with the same value. A name that stands twice counts by its first
/// value.
fn same_params(one: Params<'_>, two: Params<'_>) -> bool {
    one.iter().all(|(name, _)| match (one.find(name), two.find(name)) {
        (Some(value), Some(other)) => same_value(name, value.unwrap_or(""), other.unwrap_or("")),
        _ => false,
    })
}

/// Values compare in any case; separators in numbers do not count.
fn same_value(name: &str, one: &str, two: &str) -> bool {
    let is_number = name.eq_ignore_ascii_case("ext")
        || (name.eq_ignore_ascii_case("phone-context") && one.starts_with('+') && two.starts_with('+'));
    let fold = |text: &str| {
        unescaped_bytes(text)
            .filter(|byte| !(is_number && is_separator(*byte)))
            .map(|byte| byte.to_ascii_lowercase())
            .collect::<Vec<_>>()
    };
    fold(one) == fold(two)
}

const fn is_separator(byte: u8) -> bool {
    matches!(byte, b'-' | b'.' | b'(' | b')')
}

impl fmt::Display for TelUri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tel:{}{}", self.number, self.params.as_str())
    }
}

#[cfg(test)]
mod tests {
    use crate::error::UriError;
    use crate::uri::Uri;

    fn check(one: &str, two: &str, equal: bool) {
        let (left, right) = (Uri::parse(one).unwrap(), Uri::parse(two).unwrap());
        assert_eq!(left.equivalent(&right), equal, "{one} and {two}");
        assert_eq!(right.equivalent(&left), equal, "{two} and {one}");
    }

    #[test]
    fn compares_numbers_by_their_digits() {
        check("tel:+33-296-053-017", "tel:+33296053017", true);
        check("tel:+33296053017", "tel:33296053017;phone-context=example.com", false);
        check("tel:7042;phone-context=example.com", "tel:70-42;phone-context=EXAMPLE.com", true);
        check("tel:7042;phone-context=+1-914", "tel:7042;phone-context=+1914", true);
        check("tel:+1212;ext=22", "tel:+1212;ext=2-2", true);
        check("tel:+1212;ext=22", "tel:+1212", false);
        check("tel:+1212;a=1;b=2", "tel:+1212;b=2;a=1", true);
    }

    #[test]
    fn refuses_what_is_no_number() {
        assert_eq!(Uri::parse("tel:+").err(), Some(UriError::Number));
        assert_eq!(Uri::parse("tel:+12x").err(), Some(UriError::Number));
        assert_eq!(Uri::parse("tel:").err(), Some(UriError::Number));
    }

    #[test]
    fn a_local_number_is_complete_only_with_its_context() {
        let complete = |text| match Uri::parse(text).unwrap() {
            Uri::Tel(tel) => tel.is_complete(),
            _ => unreachable!("the text begins with tel:"),
        };
        assert!(complete("tel:+1212"));
        assert!(!complete("tel:1212"));
        assert!(complete("tel:1212;phone-context=example.com"));
    }
}
