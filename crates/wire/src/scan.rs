//! Character classes and cutting of header values (RFC 3261 §25.1).
//!
//! Inside a header value CR and LF only occur as part of a fold (the message parser has checked that), so they
//! count as white space here.

/// Whether the byte may stand in a `token`.
pub(crate) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~')
}

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

/// Finds the first byte for which `stop` holds outside quoted strings; angle brackets are opaque too where
/// `brackets` is set. An unclosed quote or bracket runs to the end.
pub(crate) fn find_outside(text: &[u8], brackets: bool, stop: impl Fn(u8) -> bool) -> Option<usize> {
    let mut quoted = false;
    let mut bracketed = false;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        if quoted {
            match byte {
                b'\\' => at += 1,
                b'"' => quoted = false,
                _ => {}
            }
        } else if bracketed {
            bracketed = byte != b'>';
        } else if stop(byte) {
            return Some(at);
        } else if byte == b'"' {
            quoted = true;
        } else if byte == b'<' && brackets {
            bracketed = true;
        }
        at += 1;
    }
    None
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
            let piece = match find_outside(rest, true, |byte| byte == b',') {
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
    while let Some(at) = memchr::memchr3(b'\r', b'\n', 0, rest) {
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
