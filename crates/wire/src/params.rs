//! Parameters: `;name`, `;name=token` and `;name="quoted"` of headers and URIs.

use crate::scan::{self, find_outside, trim};

/// The parameters behind a header value or a URI: text from the first `;` on, possibly empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Params<'a> {
    text: &'a str,
}

impl<'a> Params<'a> {
    /// Takes text that is empty or begins with `;`, and was checked by the caller's grammar.
    pub(crate) const fn new(text: &'a str) -> Params<'a> {
        Params { text }
    }

    /// Reads the parameters of a header value; `None` when the text is not a run of `;name[=value]` whose names
    /// are tokens and whose values are tokens, hosts or quoted strings (RFC 3261 §25.1 `generic-param`).
    pub fn parse(text: &'a str) -> Option<Params<'a>> {
        let text = std::str::from_utf8(trim(text.as_bytes())).ok()?;
        if text.is_empty() {
            return Some(Params { text });
        }
        if !text.starts_with(';') {
            return None;
        }
        let params = Params { text };
        params.iter().all(|(name, value)| is_legal(name, value)).then_some(params)
    }

    /// The text with its first `;`, as it came.
    pub const fn as_str(self) -> &'a str {
        self.text
    }

    /// All parameters in order: name as written, value without quotes (still escaped) or `None`.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        let mut rest = self.text.strip_prefix(';');
        std::iter::from_fn(move || {
            let text = rest?;
            let (piece, after) = match find_outside(text.as_bytes(), false, |byte| byte == b';') {
                Some(at) => (&text[..at], Some(&text[at + 1..])),
                None => (text, None),
            };
            rest = after;
            Some(split(piece))
        })
    }

    /// The value of a parameter, by its name in any case: `Some(None)` when it stands without a value.
    pub fn find(self, name: &str) -> Option<Option<&'a str>> {
        self.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The value of a parameter that has one.
    pub fn value(self, name: &str) -> Option<&'a str> {
        self.find(name).flatten()
    }

    /// Whether the parameter stands, with or without a value.
    pub fn has(self, name: &str) -> bool {
        self.find(name).is_some()
    }
}

fn split(piece: &str) -> (&str, Option<&str>) {
    let (name, value) = match piece.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (piece, None),
    };
    let value = value.map(|value| {
        let value = value.trim_matches(|c: char| c.is_ascii_whitespace());
        value.strip_prefix('"').and_then(|inside| inside.strip_suffix('"')).unwrap_or(value)
    });
    (name.trim_matches(|c: char| c.is_ascii_whitespace()), value)
}

fn is_legal(name: &str, value: Option<&str>) -> bool {
    // A quoted value may hold anything; an unquoted one is a token, a host or an IPv6 reference. What the
    // RFC's own examples put here unquoted (URIs in Call-Info, for one) is let through: no white space.
    let value_is_legal = match value {
        None => true,
        Some(value) => !value.bytes().any(|byte| byte == b'\0'),
    };
    scan::is_token_text(name.as_bytes()) && value_is_legal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_parameters_in_any_case() {
        let params = Params::parse(" ; tag=x ;LR; q = \"0;5\"").unwrap();
        assert_eq!(params.value("TAG"), Some("x"));
        assert_eq!(params.find("lr"), Some(None));
        assert_eq!(params.value("q"), Some("0;5"));
        assert!(!params.has("none"));
    }

    #[test]
    fn refuses_what_is_no_parameter() {
        assert!(Params::parse("tag=x").is_none());
        assert!(Params::parse(";=x").is_none());
        assert!(Params::parse(";a b=x").is_none());
        assert!(Params::parse(";;a").is_none());
        assert!(Params::parse("").is_some());
    }
}
