//! Bodies of several parts (RFC 2046 §5.1, RFC 5621 §4), read where they lie.
//!
//! ```text
//!   preamble                         nobody's
//!   --boundary CRLF                  begins a part
//!   Content-Type: … CRLF             its header, which may be empty
//!   CRLF
//!   content                          any bytes in which no line begins with --boundary
//!   CRLF --boundary-- [CRLF]         ends the last one
//!   epilogue                         nobody's
//! ```
//!
//! Two readers that cut a body differently could be made to see different parts. So what begins like a delimiter and is
//! none is a fault, and so are one behind LF or CR alone, and either of them in the header of a part.

use memchr::memmem;
use smallvec::SmallVec;
use smol_str::{SmolStr, format_smolstr};
use thiserror::Error;

use crate::headers::{ContentType, TypedHeader};
use crate::scan;

/// Parts of one body at most.
pub const PARTS_MAX: usize = 16;
/// Header lines of one part at most.
const LINES_MAX: usize = 32;
/// RFC 2046 §5.1.1.
const BOUNDARY_MAX: usize = 70;
/// How a boundary of ours begins, and the digits behind it: more than a message has room for such boundaries.
const BOUNDARY: &[u8] = b"part";
const DIGITS_MIN: usize = 4;
const DIGITS_MAX: usize = 9;

/// Why a body is not one of several parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MultipartFault {
    /// Content-Type names no boundary, two, or one that is none.
    #[error("expected one boundary of 1 to 70 legal characters in Content-Type")]
    Boundary,
    /// No line begins a part.
    #[error("expected a line with the boundary before the first part")]
    NoPart,
    /// No line ends the last part.
    #[error("expected a line with the boundary and two hyphens after the last part")]
    NotClosed,
    /// A line begins with the boundary and goes on, or does not begin behind CRLF.
    #[error("expected a line of its own for each boundary, between CRLFs")]
    Delimiter,
    /// The header of a part is none; the parts are counted from 1.
    #[error("expected lines of a name, a colon and a value, each name once, in the header of part {0}")]
    Header(usize),
    /// There are more than [`PARTS_MAX`].
    #[error("expected at most 16 parts")]
    TooMany,
}

/// One part of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Its header lines, each with its CRLF.
    header: &'a [u8],
    /// What it holds.
    pub content: &'a [u8],
}

/// The boundary that a Content-Type names.
///
/// # Errors
/// [`MultipartFault::Boundary`]
pub fn boundary<'a>(kind: &ContentType<'a>) -> Result<&'a str, MultipartFault> {
    let mut named = kind.params.iter().filter(|(name, _)| name.eq_ignore_ascii_case("boundary"));
    let (Some((_, Some(boundary))), None) = (named.next(), named.next()) else {
        return Err(MultipartFault::Boundary);
    };
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    let is_boundary = (1..=BOUNDARY_MAX).contains(&boundary.len())
        && boundary.bytes().all(is_legal)
        && !boundary.ends_with(' ');
    if is_boundary { Ok(boundary) } else { Err(MultipartFault::Boundary) }
}

/// The parts of a body in their order.
///
/// # Errors
/// [`MultipartFault`] says what was expected.
pub fn parts<'a>(body: &'a [u8], boundary: &str) -> Result<SmallVec<[Part<'a>; 4]>, MultipartFault> {
    let mut parts = SmallVec::new();
    // Where the part begins that the next delimiter ends.
    let mut begun: Option<usize> = None;
    let dashed = [b"--", boundary.as_bytes()].concat();
    for at in memmem::find_iter(body, &dashed) {
        let before = match &body[..at] {
            [] => 0,
            [.., b'\r', b'\n'] => at - 2,
            [.., b'\n' | b'\r'] => return Err(MultipartFault::Delimiter),
            // Within a line.
            _ => continue,
        };
        let rest = &body[at + dashed.len()..];
        let (is_last, rest) = rest.strip_prefix(b"--").map_or((false, rest), |rest| (true, rest));
        let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let line_ends = rest[padding..].starts_with(b"\r\n") || is_last && padding == rest.len();
        if !line_ends {
            return Err(MultipartFault::Delimiter);
        }
        if let Some(start) = begun {
            // The CRLF before a delimiter is its own: one that ends the delimiter before it can't be that too.
            let part = body.get(start..before).ok_or(MultipartFault::Delimiter)?;
            if parts.len() == PARTS_MAX {
                return Err(MultipartFault::TooMany);
            }
            parts.push(Part::read(part, parts.len() + 1)?);
        } else if is_last {
            return Err(MultipartFault::NoPart);
        }
        if is_last {
            return Ok(parts);
        }
        begun = Some(body.len() - rest.len() + padding + 2);
    }
    Err(if begun.is_some() { MultipartFault::NotClosed } else { MultipartFault::NoPart })
}

impl<'a> Part<'a> {
    fn read(text: &'a [u8], number: usize) -> Result<Part<'a>, MultipartFault> {
        let part = if let Some(content) = text.strip_prefix(b"\r\n") {
            Part { header: b"", content }
        } else {
            match memmem::find(text, b"\r\n\r\n") {
                Some(end) => Part { header: &text[..end + 2], content: &text[end + 4..] },
                // RFC 2046: "body-part := MIME-part-headers [CRLF *OCTET]".
                None => Part { header: text, content: b"" },
            }
        };
        if has_stray_line_end(part.header) {
            return Err(MultipartFault::Header(number));
        }
        let mut names: SmallVec<[&[u8]; 8]> = SmallVec::new();
        for (name, _) in part.lines() {
            let is_known = names.iter().any(|known| known.eq_ignore_ascii_case(name));
            if !scan::is_token_text(name) || is_known || names.len() == LINES_MAX {
                return Err(MultipartFault::Header(number));
            }
            names.push(name);
        }
        Ok(part)
    }

    /// Its header lines: name and value. The value of a folded line has its line ends within.
    pub fn lines(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut rest = self.header;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let end = line_end(rest);
            let (line, after) = rest.split_at(end);
            rest = after;
            let colon = line.iter().position(|byte| *byte == b':');
            // Without a colon there is no name, which nobody takes for one.
            let (name, value) = colon.map_or((&b""[..], line), |colon| (&line[..colon], &line[colon + 1..]));
            Some((scan::trim_end(name), value.trim_ascii()))
        })
    }

    /// The value of a header.
    pub fn value(&self, name: &str) -> Option<&'a [u8]> {
        self.lines().find(|(own, _)| own.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// What it is; `text/plain` where it does not say (RFC 2046 §5.1).
    ///
    /// # Errors
    /// When its Content-Type is none.
    pub fn kind(&self) -> Result<ContentType<'a>, crate::Fault> {
        ContentType::parse(self.value("Content-Type").unwrap_or(b"text/plain"))
    }
}

/// Whether a header has a CR, LF or NUL that is not part of a line end: a reader that takes those for one would see other
/// lines, and another content.
fn has_stray_line_end(header: &[u8]) -> bool {
    let mut rest = header;
    while let Some(at) = memchr::memchr3(b'\r', b'\n', 0, rest) {
        match rest[at..].strip_prefix(b"\r\n") {
            Some(after) => rest = after,
            None => return true,
        }
    }
    false
}

/// Where the first line ends, with those that continue it.
fn line_end(text: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match memmem::find(&text[at..], b"\r\n") {
            None => return text.len(),
            Some(length) => at += length + 2,
        }
        if !matches!(text.get(at), Some(b' ' | b'\t')) {
            return at;
        }
    }
}

/// A boundary that none of these contents holds. Its cost is that of one pass over them.
pub fn free_boundary<'a>(contents: impl Iterator<Item = &'a [u8]>) -> SmolStr {
    let mut taken: Vec<u64> = Vec::new();
    for content in contents {
        for at in memmem::find_iter(content, BOUNDARY) {
            let digits = content[at + BOUNDARY.len()..].iter().take_while(|byte| byte.is_ascii_digit());
            let mut number = 0;
            for (count, digit) in (1..=DIGITS_MAX).zip(digits) {
                number = number * 10 + u64::from(digit - b'0');
                // Shorter ones are none of ours.
                taken.extend((count >= DIGITS_MIN).then_some(number));
            }
        }
    }
    taken.sort_unstable();
    taken.dedup();
    let free = (0..).zip(&taken).find(|(number, taken)| number != *taken).map(|(number, _)| number);
    // Without a gap they are as many as the next one says.
    let free = free.unwrap_or(taken.len() as u64);
    format_smolstr!("part{free:04}")
}

/// Writes a part with these header lines: name and value.
pub fn write_part<'a>(
    out: &mut Vec<u8>,
    boundary: &str,
    lines: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    content: &[u8],
) {
    for piece in [b"--", boundary.as_bytes(), b"\r\n"] {
        out.extend_from_slice(piece);
    }
    for (name, value) in lines {
        for piece in [name, b": ", value, b"\r\n"] {
            out.extend_from_slice(piece);
        }
    }
    for piece in [b"\r\n", content, b"\r\n"] {
        out.extend_from_slice(piece);
    }
}

/// Writes the line behind the last part.
pub fn write_end(out: &mut Vec<u8>, boundary: &str) {
    for piece in [b"--", boundary.as_bytes(), b"--\r\n"] {
        out.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests;
