//! Join (RFC 3911).

use super::{TypedHeader, params, utf8};
use crate::error::Fault;
use crate::header_name::HeaderName;
use crate::scan::is_token_text;

/// Join (RFC 3911 §7.1): the dialog that a call is added to, named as the one sees it who gets the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Join<'a> {
    /// Its Call-ID.
    pub call_id: &'a str,
    /// The tag of the end that gets this request; "0" also stands for none (RFC 2543 peers).
    pub to_tag: &'a str,
    /// The tag of the other end; "0" likewise.
    pub from_tag: &'a str,
}

impl<'a> TypedHeader<'a> for Join<'a> {
    const NAME: HeaderName = HeaderName::Join;

    fn parse(value: &'a [u8]) -> Result<Join<'a>, Fault> {
        let text = utf8(value)?;
        // A Call-ID may have quotes and angle brackets that open nothing, and no semicolon.
        let at = text.find(';').ok_or(Fault::Expected("one to-tag and one from-tag"))?;
        let (call_id, params) = (text[..at].trim_ascii(), params(&text[at..])?);
        if !is_call_id(call_id) {
            return Err(Fault::Expected("a Call-ID"));
        }
        let tag = |name| {
            // §7.1: "MUST contain exactly one to-tag and exactly one from-tag", each a token.
            let mut found = params.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
            match (found.next(), found.next()) {
                (Some((_, Some(value))), None) if is_token_text(value.as_bytes()) => Ok(value),
                _ => Err(Fault::Expected("one to-tag and one from-tag")),
            }
        };
        Ok(Join { call_id, to_tag: tag("to-tag")?, from_tag: tag("from-tag")? })
    }
}

/// RFC 3261 §25.1: `callid = word [ "@" word ]`.
fn is_call_id(text: &str) -> bool {
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(is_word_byte);
    match text.split_once('@') {
        Some((local, host)) => is_word(local) && is_word(host),
        None => is_word(text),
    }
}

const fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-'..=b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'')
        || matches!(
            byte,
            b'~' | b'(' | b')' | b'<' | b'>' | b':' | b'\\' | b'"' | b'/' | b'[' | b']' | b'?' | b'{' | b'}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, Message};

    #[test]
    fn reads_the_examples_of_the_rfc() {
        // RFC 3911 §7.1.
        for (value, call_id, to_tag, from_tag) in [
            (
                "98732@sip.example.com\r\n ;from-tag=r33th4x0r\r\n ;to-tag=ff87ff",
                "98732@sip.example.com",
                "ff87ff",
                "r33th4x0r",
            ),
            ("12adf2f34456gs5;to-tag=12345;from-tag=54321", "12adf2f34456gs5", "12345", "54321"),
            ("87134@192.0.2.23;to-tag=24796;from-tag=0", "87134@192.0.2.23", "24796", "0"),
            ("a ; TO-TAG = 1 ; from-tag=2 ; later=\"x;y\"", "a", "1", "2"),
            (
                "(w)<o>:\\\"/[r]?{d}~'`%!*_+.-@h;to-tag=1;from-tag=2",
                "(w)<o>:\\\"/[r]?{d}~'`%!*_+.-@h",
                "1",
                "2",
            ),
        ] {
            assert_eq!(Join::parse(value.as_bytes()), Ok(Join { call_id, to_tag, from_tag }), "{value}");
        }
    }

    #[test]
    fn refuses_what_its_grammar_does_not_have() {
        for bad in [
            "",
            ";to-tag=1;from-tag=2",
            "a b;to-tag=1;from-tag=2",
            "a@;to-tag=1;from-tag=2",
            "@a;to-tag=1;from-tag=2",
            "a@b@c;to-tag=1;from-tag=2",
            "a=b;to-tag=1;from-tag=2",
            "a,b;to-tag=1;from-tag=2",
            "a",
            "a;to-tag=1",
            "a;from-tag=1",
            "a;to-tag;from-tag=2",
            "a;to-tag=;from-tag=2",
            "a;to-tag=1;from-tag=a b",
            "a;to-tag=1;to-tag=1;from-tag=3",
            "a;to-tag=1;from-tag=3;FROM-TAG=3",
            "a;to-tag=1;;from-tag=3=4",
            "\u{e4};to-tag=1;from-tag=2",
            "a;to-tag=\u{e4};from-tag=2",
        ] {
            assert!(Join::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Join::parse(b"a\xff;to-tag=1;from-tag=2").is_err());
        assert!(Join::parse(b"a\0;to-tag=1;from-tag=2").is_err());
    }

    #[test]
    fn no_piece_of_a_value_makes_the_reader_panic() {
        let value = b"12345600@atlanta.example.com;from-tag=1234567;to-tag=23431";
        for from in 0..value.len() {
            for to in from..=value.len() {
                let read = Join::parse(&value[from..to]);
                assert!(read.is_err() || from < 28, "{from} {to}");
            }
        }
    }

    #[test]
    fn it_is_found_in_a_request_whatever_the_case_of_its_name() {
        let text = "INVITE sip:b@h SIP/2.0\r\njOIN: 1@c;from-tag=2;to-tag=3\r\n\r\n";
        let message = Message::parse(text.into(), &Limits::default()).expect("a message");
        let read = message.header::<Join<'_>>().expect("the header").expect("a right value");
        assert_eq!(read, Join { call_id: "1@c", to_tag: "3", from_tag: "2" });
    }
}
