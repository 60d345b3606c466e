//! Parameters: `;name`, `;name=token` and `;name="quoted"` of headers and URIs.

use crate::scan::{self, find_outside, quoted_length, trim_text};
use crate::uri::unescaped_bytes;

/// The parameters behind a header value or a URI: text from the first `;` on, possibly empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Params<'a> {
    text: &'a str,
    /// In a URI `%` begins an escape, in a header it is a character like others (RFC 4475 §3.1.1.5).
    escaped: bool,
}

impl<'a> Params<'a> {
    /// Takes the parameters of a URI: text that is empty or begins with `;`, checked by the URI's grammar.
    pub(crate) const fn of_uri(text: &'a str) -> Params<'a> {
        Params { text, escaped: true }
    }

    /// Takes the parameters of a header value that [`Params::parse`] has read before.
    pub(crate) const fn of_header(text: &'a str) -> Params<'a> {
        Params { text, escaped: false }
    }

    /// Reads the parameters of a header value; `None` when the text is not a run of `;name[=value]` whose names
    /// are tokens and whose values are tokens, hosts or quoted strings (RFC 3261 §25.1 `generic-param`).
    pub fn parse(text: &'a str) -> Option<Params<'a>> {
        let text = trim_text(text);
        let mut at = 0;
        while at < text.len() {
            at = parameter_end(text.as_bytes(), at)?;
        }
        Some(Params { text, escaped: false })
    }

    /// The text with its first `;`, as it came.
    pub const fn as_str(self) -> &'a str {
        self.text
    }

    /// All parameters in order: name as written, value without quotes (still escaped) or `None`.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        self.pieces().map(|piece| {
            let (name, value) = split(piece);
            (name, value.map(without_quotes))
        })
    }

    /// What stands between the semicolons, as it came.
    pub fn pieces(self) -> impl Iterator<Item = &'a str> {
        let mut rest = self.text.strip_prefix(';');
        std::iter::from_fn(move || {
            let text = rest?;
            let (piece, after) = match find_outside(text.as_bytes(), false, b';') {
                Some(at) => (&text[..at], Some(&text[at + 1..])),
                None => (text, None),
            };
            rest = after;
            Some(piece)
        })
    }

    /// The value of a parameter, by its name in any case: `Some(None)` when it stands without a value.
    pub fn find(self, name: &str) -> Option<Option<&'a str>> {
        let piece = self.pieces().find(|piece| self.is_named(piece, name))?;
        Some(split(piece).1.map(without_quotes))
    }

    /// Whether the name of a piece is `name`; in a URI both may have escapes.
    fn is_named(self, piece: &str, name: &str) -> bool {
        if self.escaped && (piece.contains('%') || name.contains('%')) {
            let fold = |text| unescaped_bytes(text).map(|byte: u8| byte.to_ascii_lowercase());
            return fold(split(piece).0).eq(fold(name));
        }
        let piece = piece.trim_ascii_start().as_bytes();
        let ends = |byte: &u8| *byte == b'=' || byte.is_ascii_whitespace();
        piece.get(..name.len()).is_some_and(|own| own.eq_ignore_ascii_case(name.as_bytes()))
            && piece.get(name.len()).is_none_or(ends)
    }

    /// The value of a parameter that has one.
    pub fn value(self, name: &str) -> Option<&'a str> {
        self.find(name).flatten()
    }

    /// Whether the parameter stands, with or without a value.
    pub fn has(self, name: &str) -> bool {
        self.pieces().any(|piece| self.is_named(piece, name))
    }
}

/// Name and value of one piece, the value with its quotes.
fn split(piece: &str) -> (&str, Option<&str>) {
    match scan::cut(piece, b'=') {
        Some((name, value)) => (name.trim_ascii(), Some(value.trim_ascii())),
        None => (piece.trim_ascii(), None),
    }
}

fn without_quotes(value: &str) -> &str {
    value.strip_prefix('"').and_then(|inside| inside.strip_suffix('"')).unwrap_or(value)
}

/// Where the parameter ends that begins with the semicolon at `at`; `None` when it is malformed. A quoted value may
/// hold anything; an unquoted one is a token, a host or an IPv6 reference. What is sent unquoted in practice (URIs,
/// nothing at all) is let through, but no white space and no stray quote.
fn parameter_end(text: &[u8], at: usize) -> Option<usize> {
    let run =
        |from: usize, class: u8| from + scan::run(text.get(from..).unwrap_or_default(), &CLASSES, class);
    if text[at] != b';' {
        return None;
    }
    let name = run(at + 1, SPACE);
    let mut end = run(name, NAME);
    if end == name {
        return None;
    }
    end = run(end, SPACE);
    if text.get(end) == Some(&b'=') {
        let value = run(end + 1, SPACE);
        end = match text.get(value) {
            Some(b'"') => value + 1 + quoted_length(&text[value + 1..])?,
            _ => run(value, VALUE),
        };
        end = run(end, SPACE);
    }
    matches!(text.get(end), None | Some(b';')).then_some(end)
}

const SPACE: u8 = 1;
const NAME: u8 = 2;
const VALUE: u8 = 4;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        if byte.is_ascii_whitespace() {
            classes[at] |= SPACE;
        }
        if scan::is_token(byte) {
            classes[at] |= NAME;
        }
        if byte > b' ' && !matches!(byte, b'"' | b';' | 0x7f) {
            classes[at] |= VALUE;
        }
        at += 1;
    }
    classes
};

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
        for bad in ["tag=x", ";=x", ";a b=x", ";;a", ";a=b c", ";a=\"b\" c", ";a=\"b", ";a=b\"c", ";a=\0"] {
            assert!(Params::parse(bad).is_none(), "{bad:?}");
        }
        assert!(Params::parse("").is_some());
        assert!(Params::parse(";a=\"x\\\0\"").is_some());
    }

    #[test]
    fn escapes_count_in_uris_only() {
        assert!(Params::of_uri(";%6C%72").has("LR"));
        assert!(!Params::parse(";%6C%72").unwrap().has("lr"));
        assert_eq!(Params::of_uri(";n%61me=v").value("name"), Some("v"));
    }

    #[test]
    fn a_name_is_found_as_a_whole_only() {
        let params = Params::of_uri(";lr(x;lrx=1;l;lr-=2");
        assert_eq!((params.find("lr"), params.find("l")), (None, Some(None)));
        assert_eq!(Params::parse(";tagx=1;ta;x-tag; tag =2").unwrap().value("tag"), Some("2"));
    }
}
