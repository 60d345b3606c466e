//! Character classes and cutting of header values (RFC 3261 §25.1).
//!
//! Inside a header value CR and LF only occur as part of a fold (the message parser has checked that), so they
//! count as white space here.

use memchr::{memchr, memchr2};

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
    trim_end(text)
}

/// The text without white space at its end.
pub(crate) fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., last] = text
        && is_space(*last)
    {
        text = rest;
    }
    text
}

/// The text without white space at either end.
pub(crate) fn trim_text(text: &str) -> &str {
    let inside = trim(text.as_bytes());
    let start = inside.as_ptr() as usize - text.as_ptr() as usize;
    // `trim` cuts at ASCII characters only.
    if inside.is_empty() { "" } else { &text[start..start + inside.len()] }
}

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH_BITS: u64 = ONES << 7;

/// Sets the high bit of the first byte of the word that is `byte`, and perhaps bits behind it.
const fn hits(word: u64, byte: u8) -> u64 {
    let zeros = word ^ (ONES * byte as u64);
    zeros.wrapping_sub(ONES) & !zeros & HIGH_BITS
}

/// Finds the first byte, a few words at a time: texts are short here, and a searcher for long ones takes longer to
/// start than to search. `hits` gets eight bytes, the first of them lowest, and sets the high bit of the first byte
/// that is looked for; it never hits 0xff.
#[inline]
fn find_word(bytes: &[u8], from: usize, hits: impl Fn(u64) -> u64) -> Option<usize> {
    let text = bytes.get(from..)?;
    let word = |bytes: &[u8; 8]| hits(u64::from_le_bytes(*bytes));
    let place = |hits: u64| hits.trailing_zeros() as usize / 8;
    let (blocks, rest) = text.as_chunks::<16>();
    let mut at = from;
    for block in blocks {
        let [one, two] = block.as_chunks::<8>().0 else { break };
        let (one, two) = (word(one), word(two));
        if one | two != 0 {
            return Some(if one != 0 { at + place(one) } else { at + 8 + place(two) });
        }
        at += 16;
    }
    if let Some(first) = rest.first_chunk::<8>() {
        let hits = word(first);
        if hits != 0 {
            return Some(at + place(hits));
        }
    }
    let (hits, at) = match text.last_chunk::<8>() {
        // Of the last eight bytes those before the rest have been looked at: nothing is there.
        Some(last) => (word(last), bytes.len() - 8),
        None => (hits(rest.iter().rev().fold(u64::MAX, |word, byte| word << 8 | u64::from(*byte))), at),
    };
    (hits != 0).then(|| at + place(hits))
}

/// How many bytes at the beginning are of the class, by a table of classes.
pub(crate) fn run(bytes: &[u8], classes: &[u8; 256], class: u8) -> usize {
    bytes.iter().position(|byte| classes[usize::from(*byte)] & class == 0).unwrap_or(bytes.len())
}

/// Where an ASCII byte stands first.
pub(crate) fn find(bytes: &[u8], byte: u8) -> Option<usize> {
    find_from(bytes, 0, byte)
}

/// Where an ASCII byte stands first, at `from` or behind it.
pub(crate) fn find_from(bytes: &[u8], from: usize, byte: u8) -> Option<usize> {
    find_word(bytes, from, |word| hits(word, byte))
}

/// Where CR, LF or NUL stands first, at `from` or behind it.
#[inline]
pub(crate) fn find_line_byte(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at = find_word(bytes, at, |word| word.wrapping_sub(ONES * 14) & !word & HIGH_BITS)?;
        if matches!(bytes[at], b'\r' | b'\n' | 0) {
            return Some(at);
        }
        at += 1;
    }
}

/// Whether a space or a control character stands anywhere.
pub(crate) fn has_blank(bytes: &[u8]) -> bool {
    find_word(bytes, 0, |word| word.wrapping_sub(ONES * 0x21) & !word & HIGH_BITS).is_some()
}

/// Finds the first `stop` outside quoted strings; angle brackets are opaque too where `brackets` is set. An
/// unclosed quote or bracket runs to the end.
pub(crate) fn find_outside(text: &[u8], brackets: bool, stop: u8) -> Option<usize> {
    let mut at = 0;
    loop {
        at = match brackets {
            true => find_word(text, at, |word| hits(word, stop) | hits(word, b'"') | hits(word, b'<'))?,
            false => find_word(text, at, |word| hits(word, stop) | hits(word, b'"'))?,
        };
        let byte = text[at];
        if byte == stop {
            return Some(at);
        }
        at += 1;
        at += if byte == b'"' { quoted_length(&text[at..])? } else { memchr(b'>', &text[at..])? + 1 };
    }
}

/// How long the rest of a quoted string is, with its closing quote.
pub(crate) fn quoted_length(inside: &[u8]) -> Option<usize> {
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

/// Where an ASCII byte stands first.
pub(crate) fn position(text: &str, byte: u8) -> Option<usize> {
    find(text.as_bytes(), byte)
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
        ListValues { rest: Some(value).filter(|value| !value.is_empty()) }
    }
}

impl<'a> Iterator for ListValues<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let rest = self.rest?;
            let comma = find(rest, b',').and_then(|_| find_outside(rest, true, b','));
            let piece = match comma {
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

/// Whether a list has any value: something beside commas and white space.
pub(crate) fn has_value(list: &[u8]) -> bool {
    list.iter().any(|byte| *byte != b',' && !is_space(*byte))
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
    while let Some(at) = find_line_byte(rest, 0) {
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
            [] => unreachable!("a byte was found here"),
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
    let mut sum = 0;
    for byte in text {
        if !byte.is_ascii_digit() {
            return None;
        }
        sum = sum * 10 + u64::from(byte - b'0');
    }
    u32::try_from(sum).ok()
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
