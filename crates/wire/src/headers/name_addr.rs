//! `name-addr` and `addr-spec` with parameters: From, To, Contact, Route and their kin (RFC 3261 §20.10).

use std::borrow::Cow;

use super::{Params, params, split_params, uri, utf8};
use crate::error::Fault;
use crate::scan::{self, find_outside, unquote};
use crate::uri::Uri;

/// One address with its display name and header parameters.
#[derive(Clone, Copy, Debug)]
pub struct NameAddr<'a> {
    /// The display name as written: tokens, or a quoted string with its quotes.
    pub display: Option<&'a str>,
    /// The text of the URI.
    pub uri_text: &'a str,
    /// The URI's parts.
    pub uri: Uri<'a>,
    /// The header's parameters.
    pub params: Params<'a>,
}

const DISPLAY_NAME: Fault = Fault::Expected("a display name of tokens or one closed quoted string");

const CLOSING_BRACKET: Fault = Fault::Expected("> after the URI");

/// A Contact value: `*` or an address.
#[derive(Clone, Copy, Debug)]
pub enum Contact<'a> {
    /// `*`, which is legal in REGISTER only.
    Star,
    /// An address.
    Address(NameAddr<'a>),
}

impl<'a> NameAddr<'a> {
    /// Reads one value.
    ///
    /// # Errors
    /// [`Fault`] says what was expected.
    pub fn parse(value: &'a [u8]) -> Result<NameAddr<'a>, Fault> {
        let text = utf8(value)?;
        match find_outside(text.as_bytes(), false, b'<') {
            Some(open) => Self::parse_bracketed(text, open),
            None if text.starts_with('"') => Err(DISPLAY_NAME),
            None => Self::parse_bare(text),
        }
    }

    fn parse_bracketed(text: &'a str, open: usize) -> Result<NameAddr<'a>, Fault> {
        let display = text[..open].trim_ascii();
        if !is_display_name(display) {
            return Err(DISPLAY_NAME);
        }
        let length = scan::position(&text[open..], b'>').ok_or(CLOSING_BRACKET)?;
        let uri_text = &text[open + 1..open + length];
        let params = params_behind(&text[open + length + 1..])?;
        let display = Some(display).filter(|display| !display.is_empty());
        Ok(NameAddr { display, uri_text, uri: uri(uri_text)?, params })
    }

    /// Without brackets all parameters are the header's, and the URI may have no comma, question mark or
    /// semicolon (RFC 3261 §20.10).
    fn parse_bare(text: &'a str) -> Result<NameAddr<'a>, Fault> {
        let (uri_text, params) = split_params(text)?;
        if uri_text.contains(['?', ',']) {
            return Err(Fault::Expected("< > around a URI with ? or ,"));
        }
        Ok(NameAddr { display: None, uri_text, uri: uri(uri_text)?, params })
    }

    /// Reads the `tag` parameter of a value without looking at its URI.
    pub(crate) fn tag_of(value: &'a [u8]) -> Result<Option<&'a str>, Fault> {
        let params = match find_outside(value, false, b'<') {
            Some(open) => {
                let length = scan::find(&value[open..], b'>').ok_or(CLOSING_BRACKET)?;
                params_behind(utf8(&value[open + length + 1..])?)?
            }
            None => split_params(utf8(value)?)?.1,
        };
        Ok(tag_in(params))
    }

    /// The `tag` parameter.
    pub fn tag(&self) -> Option<&'a str> {
        tag_in(self.params)
    }

    /// The display name without quotes and escapes.
    pub fn display_name(&self) -> Option<Cow<'a, str>> {
        let display = self.display?;
        match display.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(inside) if inside.contains(['\\', '\r']) => Some(Cow::Owned(unquote(inside))),
            Some(inside) => Some(Cow::Borrowed(inside)),
            None => Some(Cow::Borrowed(display)),
        }
    }
}

impl<'a> Contact<'a> {
    /// Reads one value.
    ///
    /// # Errors
    /// [`Fault`] says what was expected.
    pub fn parse(value: &'a [u8]) -> Result<Contact<'a>, Fault> {
        if scan::trim(value) == b"*" {
            Ok(Contact::Star)
        } else {
            NameAddr::parse(value).map(Contact::Address)
        }
    }

    /// The address, if it is one.
    pub const fn address(&self) -> Option<&NameAddr<'a>> {
        match self {
            Contact::Star => None,
            Contact::Address(address) => Some(address),
        }
    }
}

/// The parameters behind a closing bracket: nothing stands before the first semicolon.
fn params_behind(text: &str) -> Result<Params<'_>, Fault> {
    let text = text.trim_ascii_start();
    if text.is_empty() || text.starts_with(';') {
        params(text)
    } else {
        Err(Fault::Expected("parameters after >"))
    }
}

fn tag_in(params: Params<'_>) -> Option<&str> {
    params.value("tag").filter(|tag| !tag.is_empty())
}

/// Tokens with white space between them, or one closed quoted string. Characters beyond ASCII without quotes are
/// let through: RFC 4475 §3.1.1.1 has none, but phones send them and no meaning depends on it.
fn is_display_name(text: &str) -> bool {
    if text.starts_with('"') {
        return scan::is_quoted_string(text);
    }
    text.bytes().all(|byte| scan::is_token(byte) || scan::is_space(byte) || !byte.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_addr(text: &str) -> NameAddr<'_> {
        NameAddr::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn reads_all_three_forms() {
        let one =
            name_addr("\"J Rosenberg \\\\\\\"\"       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8");
        assert_eq!(one.display_name().unwrap(), "J Rosenberg \\\"");
        assert_eq!(one.tag(), Some("98asjd8"));
        let two = name_addr("caller<sip:caller@example.com>;tag=323");
        assert_eq!((two.display, two.tag()), (Some("caller"), Some("323")));
        let three = name_addr("sip:caller@example.net;tag=1");
        assert_eq!((three.uri_text, three.tag()), ("sip:caller@example.net", Some("1")));
    }

    #[test]
    fn a_bare_uri_leaves_its_parameters_to_the_header() {
        let one = name_addr("sip:user@example.com;unknownparam");
        assert!(one.params.has("unknownparam"));
        let two = name_addr("<sip:user@example.com;unknownparam>");
        assert!(!two.params.has("unknownparam"));
        assert!(two.uri.as_sip().unwrap().params.has("unknownparam"));
    }

    #[test]
    fn keeps_display_names_of_any_script() {
        assert_eq!(name_addr("\"Zoë 漢字\" <sip:z@example.com>").display_name().unwrap(), "Zoë 漢字");
        assert_eq!(name_addr("Zoë 漢字 <sip:z@example.com>").display_name().unwrap(), "Zoë 漢字");
    }

    #[test]
    fn refuses_malformed_addresses() {
        for bad in [
            "\"Mr. J. User <sip:j@example.com>",
            "Bell, Alexander <sip:a.g.bell@example.com>;tag=4",
            "\"Watson, Thomas\" < sip:t.watson@example.org >",
            "sip:user@example.com?Route=%3Csip:sip.example.com%3E",
            "<sip:user@example.com",
            "<sip:a@b> x;tag=1",
            "",
        ] {
            assert!(NameAddr::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn knows_the_star() {
        assert!(matches!(Contact::parse(b" * "), Ok(Contact::Star)));
        assert!(Contact::parse(b"<sip:a@b>").unwrap().address().is_some());
    }
}
