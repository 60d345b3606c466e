//! Character classes and cutting of header values (RFC 3261 §25.1).
//!
//! Inside a header value CR and LF only occur as part of a fold (the message parser has checked that), so they
//! count as white space here.

use memchr::{memchr, memchr2, memchr3};

/// Whether the byte may stand in a `token`.
pub(crate) const fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        table[at] = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
        at += 1;
    }
    table
};

/// Whether the byte is linear white space.
pub(crate) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Whether all of the text is one token.
pub(crate) fn is_token_text(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| is_token(*byte))
}

/// The text without white space at either end.
pub(crate) fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_space(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_space(*last)
    {
        text = rest;
    }
    text
}

/// Finds the first `stop` outside quoted strings; angle brackets are opaque too where `brackets` is set. An
/// unclosed quote or bracket runs to the end.
pub(crate) fn find_outside(text: &[u8], brackets: bool, stop: u8) -> Option<usize> {
    let open = if brackets { b'<' } else { stop };
    let mut at = 0;
    loop {
        at += memchr3(stop, b'"', open, text.get(at..)?)?;
        let byte = text[at];
        if byte == stop {
            return Some(at);
        }
        at += 1;
        at += if byte == b'"' { quoted_length(&text[at..])? } else { memchr(b'>', &text[at..])? + 1 };
    }
}

/// How long the rest of a quoted string is, with its closing quote.
fn quoted_length(inside: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', inside.get(at..)?)?;
        if inside[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Cuts a text at the first `byte`, which goes.
pub(crate) fn cut(text: &str, byte: u8) -> Option<(&str, &str)> {
    debug_assert!(byte.is_ascii());
    let at = position(text, byte)?;
    Some((&text[..at], &text[at + 1..]))
}

/// Where a byte stands first. Texts are short here: a plain loop is faster than a searcher.
pub(crate) fn position(text: &str, byte: u8) -> Option<usize> {
    text.bytes().position(|own| own == byte)
}

/// Cuts a header value at the commas outside quotes and angle brackets. Each piece is trimmed; empty pieces are
/// passed over, as HTTP's list rule has it.
#[derive(Clone, Debug)]
pub struct ListValues<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> ListValues<'a> {
    /// Starts on the value of one header line.
    pub fn new(value: &'a [u8]) -> ListValues<'a> {
        ListValues { rest: Some(value) }
    }
}

impl<'a> Iterator for ListValues<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let rest = self.rest?;
            let piece = match find_outside(rest, true, b',') {
                Some(comma) => {
                    self.rest = Some(&rest[comma + 1..]);
                    &rest[..comma]
                }
                None => {
                    self.rest = None;
                    rest
                }
            };
            let piece = trim(piece);
            if !piece.is_empty() {
                return Some(piece);
            }
        }
    }
}

/// Undoes the escaping of a quoted string's inside, and turns folds into one space.
pub fn unquote(inside: &str) -> String {
    let mut out = String::with_capacity(inside.len());
    let mut characters = inside.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => out.extend(characters.next()),
            '\r' | '\n' => {
                while characters.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                out.push(' ');
            }
            other => out.push(other),
        }
    }
    out
}

/// Whether the text is one quoted string that ends where the text ends.
pub(crate) fn is_quoted_string(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('"') else {
        return false;
    };
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1 == rest.len(),
            _ => {}
        }
    }
    false
}

/// Appends what goes on one header line. CR, LF and NUL that would end the line become spaces, whoever brought
/// them; folds and NUL in a quoted pair stay as they came.
pub(crate) fn push_line_text(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some(at) = memchr3(b'\r', b'\n', 0, rest) {
        out.extend_from_slice(&rest[..at]);
        let is_quoted_nul = rest[at] == 0 && at > 0 && rest[at - 1] == b'\\';
        match rest[at..] {
            [b'\r', b'\n', b' ' | b'\t', ..] => {
                out.extend_from_slice(b"\r\n");
                rest = &rest[at + 2..];
            }
            [byte, ..] => {
                out.push(if is_quoted_nul { byte } else { b' ' });
                rest = &rest[at + 1..];
            }
            [] => unreachable!("memchr3 found a byte here"),
        }
    }
    out.extend_from_slice(rest);
}

/// Lets a `Display` value be written as part of one header line, as [`push_line_text`] does.
pub(crate) struct LineText<'a>(pub(crate) &'a mut Vec<u8>);

impl std::fmt::Write for LineText<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        push_line_text(self.0, text.as_bytes());
        Ok(())
    }
}

/// Reads a run of digits as a number that fits `u32`.
pub(crate) fn decimal(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 10 {
        return None;
    }
    text.iter().try_fold(0u32, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, expected: &[&str]) {
        let pieces: Vec<_> =
            ListValues::new(value.as_bytes()).map(|piece| std::str::from_utf8(piece).unwrap()).collect();
        assert_eq!(pieces, expected);
    }

    #[test]
    fn cuts_lists_outside_quotes_and_brackets() {
        check("a, b ,c", &["a", "b", "c"]);
        check("\"x, y\" <sip:a,b@c>, <sip:d>", &["\"x, y\" <sip:a,b@c>", "<sip:d>"]);
        check("\"a\\\",b\" <sip:x>", &["\"a\\\",b\" <sip:x>"]);
        check(",,a,,", &["a"]);
        check("\"open, quote", &["\"open, quote"]);
    }

    #[test]
    fn finds_outside_of_quotes_and_brackets_only() {
        let check = |text: &str, brackets, expected| {
            assert_eq!(find_outside(text.as_bytes(), brackets, b';'), expected, "{text}");
        };
        check("a;b", false, Some(1));
        check("\"a;\\\";\"b;", false, Some(8));
        check("<a;b>;", true, Some(5));
        check("<a;b>;", false, Some(2));
        check("\"<\";", true, Some(3));
        check("<\">;", true, Some(3));
        check("\"a;", true, None);
        check("\"a\\", true, None);
        check("<a;", true, None);
        check("", true, None);
        check("a>;", true, Some(2));
    }

    #[test]
    fn numbers_do_not_overflow() {
        assert_eq!(decimal(b"4294967295"), Some(u32::MAX));
        assert_eq!(decimal(b"4294967296"), None);
        assert_eq!(decimal(b""), None);
        assert_eq!(decimal(b"-1"), None);
    }

    #[test]
    fn nothing_that_is_written_ends_its_line_early() {
        let check = |text: &str, expected: &str| {
            let mut out = Vec::new();
            push_line_text(&mut out, text.as_bytes());
            assert_eq!(out, expected.as_bytes(), "{text:?}");
        };
        check("plain", "plain");
        check("a\r\nEvil: x", "a  Evil: x");
        check("a\r\n b\r\n\tc\r\n", "a\r\n b\r\n\tc  ");
        check("\n\r\0\\\0", "   \\\0");
    }

    #[test]
    fn knows_whole_quoted_strings() {
        assert!(is_quoted_string(r#""a\"b""#));
        for bad in [r#""a"#, r#""a" b"#, r#""a\""#, "a", "", "\""] {
            assert!(!is_quoted_string(bad), "{bad}");
        }
    }

    #[test]
    fn unquotes_escapes_and_folds() {
        assert_eq!(unquote("a\\\"b\\\\c"), "a\"b\\c");
        assert_eq!(unquote("a\r\n  b"), "a b");
    }
}
