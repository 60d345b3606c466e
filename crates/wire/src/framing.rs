//! Cutting a byte stream into SIP messages (RFC 3261 §18.3) and the keep-alives between them (RFC 5626 §4.4.1).
//!
//! ```text
//!   CRLF CRLF  | INVITE … CRLF  Content-Length: 4 CRLF  CRLF  v=0… | CRLF | SIP/2.0 200 …
//!   '- ping -'   '------------------- message -------------------'   '-- line end
//! ```
//!
//! The caller keeps the bytes and gives all that it has and has not dropped yet; a [`Framer`] remembers how far it
//! has looked, so that a sender of single bytes costs no more than one of large segments.

use memchr::{memchr, memchr2};

use crate::error::ParseError;
use crate::header_name::HeaderName;
use crate::message::Limits;
use crate::scan::{decimal, trim};

/// How much of a stream one message may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// Bytes of the start line and the header lines.
    pub header_bytes: usize,
    /// Bytes of a whole message.
    pub message_bytes: usize,
}

impl Default for StreamLimits {
    fn default() -> StreamLimits {
        StreamLimits { header_bytes: 32 * 1024, message_bytes: Limits::default().message_bytes }
    }
}

/// What stands at the beginning of the bytes of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The beginning of something: more bytes are needed.
    NeedMore,
    /// The last half of a CR LF CR LF between messages, two bytes: the server answers it with CR LF, the "pong" of
    /// RFC 5626 §4.4.1.
    Ping,
    /// A CR LF between messages, two bytes: a pong, the first half of a ping, or one that a sender appended
    /// (RFC 3261 §7.5).
    LineEnd,
    /// A message of this many bytes.
    Message(usize),
}

impl Frame {
    /// How many bytes the caller drops before it asks again.
    pub const fn length(self) -> usize {
        match self {
            Frame::NeedMore => 0,
            Frame::Ping | Frame::LineEnd => 2,
            Frame::Message(length) => length,
        }
    }
}

/// Finds the messages of one stream. After an error the stream can't be read on: where the next message begins is
/// not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framer {
    /// Bytes that hold no end of the header.
    scanned: usize,
    /// Where the line that is being looked at begins.
    line_start: usize,
    /// The number of that line, counted from 1.
    line: usize,
    /// The length of the message, once its header is complete.
    length: Option<usize>,
    /// One CR LF came, and perhaps the other half of a ping follows.
    half_ping: bool,
}

impl Default for Framer {
    fn default() -> Framer {
        Framer::new()
    }
}

impl Framer {
    /// A framer at the beginning of a stream.
    pub const fn new() -> Framer {
        Framer { scanned: 0, line_start: 0, line: 1, length: None, half_ping: false }
    }

    /// The length of the message that is being received, once its header has come.
    pub const fn expected(&self) -> Option<usize> {
        self.length
    }

    /// Says what stands at the beginning of `bytes`: all that came and was not dropped. Whoever gets another frame
    /// than [`Frame::NeedMore`] drops its [`length`](Frame::length) and calls again.
    ///
    /// # Errors
    /// [`ParseError::ContentLengthMissing`], [`ParseError::ContentLength`], [`ParseError::TooLong`] (announced or
    /// received), [`ParseError::LineEnd`] for a CR or LF by itself: read otherwise by somebody else, it would hide a
    /// message in a message. [`crate::refusal::refuse`] answers them; then the connection has to be closed.
    pub fn next(&mut self, bytes: &[u8], limits: &StreamLimits) -> Result<Frame, ParseError> {
        let length = match self.length {
            Some(length) => length,
            None => {
                if self.scanned == 0
                    && let Some(frame) = self.between(bytes)
                {
                    return Ok(frame);
                }
                let Some(header) = self.header_end(bytes, limits)? else { return Ok(Frame::NeedMore) };
                let body = content_length(&bytes[..header])?.ok_or(ParseError::ContentLengthMissing)?;
                let too_long = ParseError::TooLong { limit: limits.message_bytes };
                let length = header.checked_add(body).ok_or(too_long)?;
                if length > limits.message_bytes {
                    return Err(too_long);
                }
                *self.length.insert(length)
            }
        };
        if bytes.len() < length {
            return Ok(Frame::NeedMore);
        }
        *self = Framer::new();
        Ok(Frame::Message(length))
    }

    /// What is not part of a message; `None` where one begins.
    fn between(&mut self, bytes: &[u8]) -> Option<Frame> {
        match bytes {
            [] | [b'\r'] => Some(Frame::NeedMore),
            [b'\r', b'\n', ..] => {
                self.half_ping = !self.half_ping;
                Some(if self.half_ping { Frame::LineEnd } else { Frame::Ping })
            }
            _ => None,
        }
    }

    /// Looks at the new bytes for the empty line, and says where the body begins.
    fn header_end(&mut self, bytes: &[u8], limits: &StreamLimits) -> Result<Option<usize>, ParseError> {
        // Bytes beyond the limit are not looked at: the body of a message in the same segment may be among them.
        let seen = &bytes[..bytes.len().min(limits.header_bytes)];
        while let Some(found) = memchr2(b'\r', b'\n', &seen[self.scanned..]) {
            let at = self.scanned + found;
            match (seen[at], seen.get(at + 1)) {
                (b'\r', Some(b'\n')) if at == self.line_start => return Ok(Some(at + 2)),
                (b'\r', Some(b'\n')) => {
                    self.scanned = at + 2;
                    self.line_start = at + 2;
                    self.line += 1;
                }
                (b'\r', None) => {
                    self.scanned = at;
                    return self.within(bytes, limits);
                }
                _ => return Err(ParseError::LineEnd { line: self.line }),
            }
        }
        self.scanned = seen.len();
        self.within(bytes, limits)
    }

    /// The header goes on: an error if there is no more room for it.
    fn within(&self, bytes: &[u8], limits: &StreamLimits) -> Result<Option<usize>, ParseError> {
        if bytes.len() >= limits.header_bytes {
            return Err(ParseError::TooLong { limit: limits.header_bytes });
        }
        Ok(None)
    }
}

/// What Content-Length says in a whole header, by the rules of [`Message::parse`](crate::Message::parse): `None` when
/// it is absent. All other lines may be malformed.
fn content_length(header: &[u8]) -> Result<Option<usize>, ParseError> {
    let mut length = None;
    let mut rest = header;
    while !rest.is_empty() {
        let mut end = line_length(rest);
        while matches!(rest.get(end), Some(b' ' | b'\t')) {
            end += line_length(&rest[end..]);
        }
        let line;
        (line, rest) = rest.split_at(end);
        if !matches!(line[0], b'c' | b'C' | b'l' | b'L') {
            continue;
        }
        let Some(colon) = memchr(b':', line) else { continue };
        if HeaderName::recognise(trim(&line[..colon])) != HeaderName::ContentLength {
            continue;
        }
        let value = decimal(trim(&line[colon + 1..])).ok_or(ParseError::ContentLength)?;
        if length.replace(value).is_some_and(|before| before != value) {
            return Err(ParseError::ContentLength);
        }
    }
    Ok(length.map(|length| length as usize))
}

/// The length of the first line, its line end included.
fn line_length(bytes: &[u8]) -> usize {
    memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::Message;

    const HEAD: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP a.b;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
        To: <sip:b@b>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n";

    /// All frames of a stream that comes in segments of `segment` bytes, as text.
    fn frames(stream: &str, segment: usize, limits: &StreamLimits) -> String {
        let (mut framer, mut held, mut out) = (Framer::new(), Vec::new(), Vec::new());
        for segment in stream.as_bytes().chunks(segment) {
            held.extend_from_slice(segment);
            loop {
                match framer.next(&held, limits) {
                    Ok(Frame::NeedMore) => break,
                    Ok(frame) => {
                        if let Frame::Message(length) = frame {
                            let bytes = Bytes::copy_from_slice(&held[..length]);
                            let body = Message::parse(bytes, &Limits::default())
                                .map(|message| String::from_utf8_lossy(message.body()).into_owned());
                            out.push(format!("message {body:?}"));
                        } else {
                            out.push(format!("{frame:?}"));
                        }
                        held.drain(..frame.length());
                    }
                    Err(error) => {
                        out.push(format!("! {error}"));
                        return out.join("\n");
                    }
                }
            }
        }
        if !held.is_empty() {
            out.push(format!("… {}", held.len()));
        }
        out.join("\n")
    }

    /// The frames are the same however the stream is cut.
    fn check_within(stream: &str, limits: &StreamLimits, expected: &[&str]) {
        for segment in [1, 2, 3, 7, 50, usize::MAX] {
            let segment = segment.min(stream.len());
            assert_eq!(
                frames(stream, segment, limits),
                expected.join("\n"),
                "{segment} bytes each: {stream:?}"
            );
        }
    }

    fn check(stream: &str, expected: &[&str]) {
        check_within(stream, &StreamLimits::default(), expected);
    }

    #[test]
    fn messages_follow_each_other_by_their_content_length() {
        check(
            &format!("{HEAD}l: 3\r\n\r\nabc{HEAD}CONTENT-length :\r\n 0\r\n\r\n{HEAD}l: 2\r\n\r\n\r\n{HEAD}"),
            &["message Ok(\"abc\")", "message Ok(\"\")", "message Ok(\"\\r\\n\")", "… 130"],
        );
    }

    #[test]
    fn each_second_line_end_between_messages_is_a_ping() {
        check(
            &format!("\r\n\r\n\r\n{HEAD}l: 0\r\n\r\n\r\n\r\n\r\n\r\n"),
            &["LineEnd", "Ping", "LineEnd", "message Ok(\"\")", "LineEnd", "Ping", "LineEnd", "Ping"],
        );
    }

    #[test]
    fn without_content_length_the_end_is_not_known() {
        check(&format!("{HEAD}\r\n"), &["! a message of a stream has no Content-Length"]);
        check(
            &format!("{HEAD}Subject: x\r\n l: 4\r\n\r\n"),
            &["! a message of a stream has no Content-Length"],
        );
    }

    #[test]
    fn content_length_is_one_number() {
        for wrong in ["l: x", "l:", "l: -1", "l: 1\r\nContent-Length: 2", "l: 99999999999"] {
            check(&format!("{HEAD}{wrong}\r\n\r\n"), &["! Content-Length is not one number"]);
        }
        check(&format!("{HEAD}l: 1\r\nContent-Length: 1\r\n\r\nx"), &["message Ok(\"x\")"]);
    }

    #[test]
    fn a_gibibyte_announced_is_refused_with_its_header() {
        check(&format!("{HEAD}l: 1073741824\r\n\r\n"), &["! the message is longer than 65535 bytes"]);
        check(&format!("{HEAD}l: 4294967295\r\n\r\n"), &["! the message is longer than 65535 bytes"]);
    }

    #[test]
    fn a_header_without_end_is_refused_at_its_limit() {
        let whole = format!("{HEAD}l: 5\r\n\r\nhello");
        let exact = StreamLimits { header_bytes: whole.len() - 5, message_bytes: whole.len() };
        check_within(&whole, &exact, &["message Ok(\"hello\")"]);
        let less = StreamLimits { header_bytes: whole.len() - 6, ..exact };
        check_within(&whole, &less, &[&format!("! the message is longer than {} bytes", less.header_bytes)]);
        let less = StreamLimits { message_bytes: whole.len() - 1, ..exact };
        check_within(&whole, &less, &[&format!("! the message is longer than {} bytes", less.message_bytes)]);
    }

    #[test]
    fn a_line_end_of_one_character_hides_nothing() {
        check(
            "OPTIONS sip:a@b SIP/2.0\nl: 0\n\n",
            &["! line 1 has a CR, LF or NUL that is not part of a line end"],
        );
        check(
            &format!("{HEAD}Subject: x\rl: 0\r\n\r\n"),
            &["! line 7 has a CR, LF or NUL that is not part of a line end"],
        );
        check("\n\n", &["! line 1 has a CR, LF or NUL that is not part of a line end"]);
    }

    #[test]
    fn a_message_that_is_malformed_otherwise_does_not_stop_the_stream() {
        check(
            &format!("{HEAD}no colon\r\nl: 1\r\n\r\nx{HEAD}l: 1\r\n\r\ny"),
            &["message Err(HeaderLine { line: 7 })", "message Ok(\"y\")"],
        );
    }
}
