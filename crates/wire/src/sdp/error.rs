//! What may be wrong with a session description, and how much of it is let pass.

use std::fmt;

use thiserror::Error;

/// How closely a description must follow RFC 8866.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Any departure from the grammar is an error.
    Strict,
    /// The departures listed in [`Fault`] are taken and reported.
    Lenient,
}

/// Bounds on a description that comes from the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest description, in bytes.
    pub bytes_max: usize,
    /// Most lines.
    pub lines_max: usize,
    /// Most `m=` lines.
    pub media_max: usize,
    /// Most formats of one `m=` line.
    pub formats_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bytes_max: 65_535, lines_max: 2_000, media_max: 64, formats_max: 128 }
    }
}

/// Why a description was refused: the line, and what the grammar expects there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("line {line}{}: expected {expected}", if *.cut { " (cut short)" } else { "" })]
pub struct SdpError {
    /// Number of the line, counted from 1; the line after the last where something is missing at the end.
    pub line: usize,
    /// What should have stood there.
    pub expected: Expected,
    /// Whether the line is the last and has no line end: the description was probably cut off.
    pub cut: bool,
}

/// What the grammar expects at the place of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// The line `v=0`.
    Version,
    /// A line of this type letter, which RFC 8866 §5 requires before this place.
    Line(char),
    /// A line `letter=value`.
    TypeAndValue,
    /// A type letter that RFC 8866 knows in this section.
    KnownType,
    /// No second line of this type letter.
    Once(char),
    /// Lines in the order of RFC 8866 §5: this letter comes too late.
    Earlier(char),
    /// CR LF at the end of the line.
    LineEnd,
    /// At least one byte, none of them NUL or CR.
    Text,
    /// `o=<username> <sess-id> <sess-version> <nettype> <addrtype> <unicast-address>`.
    Origin,
    /// A number made of digits.
    Number,
    /// `c=<nettype> <addrtype> <connection-address>`.
    Connection,
    /// An address of the type named before it.
    Address,
    /// The `/ttl` of an IPv4 multicast address (RFC 8866 §5.7).
    MulticastTtl,
    /// A `c=` line in the session part or in this media description.
    ConnectionForMedia,
    /// `b=<bwtype>:<bandwidth>`.
    Bandwidth,
    /// `t=<start-time> <stop-time>`.
    Time,
    /// `r=<interval> <duration> <offsets>` after a `t=` line.
    Repeat,
    /// `z=<time> <offset> …` after an `r=` line.
    Zone,
    /// `a=<name>` or `a=<name>:<value>`.
    Attribute,
    /// `a=rtpmap:<payload type> <encoding>/<clock rate>`.
    RtpMap,
    /// `m=<media> <port>[/<count>] <proto> <fmt> …`.
    Media,
    /// A port from 0 to 65535.
    Port,
    /// No more bytes, lines, media descriptions or formats than [`Limits`] allows.
    WithinLimits,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Expected::Version => "v=0",
            Expected::Line(letter) => return write!(f, "a line {letter}="),
            Expected::TypeAndValue => "a line <letter>=<value>",
            Expected::KnownType => "a type letter of RFC 8866",
            Expected::Once(letter) => return write!(f, "only one line {letter}="),
            Expected::Earlier(letter) => return write!(f, "{letter}= before the lines above"),
            Expected::LineEnd => "CR LF at the end of the line",
            Expected::Text => "text of at least one byte without NUL or CR",
            Expected::Origin => {
                "o=<username> <sess-id> <sess-version> <nettype> <addrtype> <unicast-address>"
            }
            Expected::Number => "a number",
            Expected::Connection => "c=<nettype> <addrtype> <connection-address>",
            Expected::Address => "an address of the type named",
            Expected::MulticastTtl => "a /ttl after an IPv4 multicast address",
            Expected::ConnectionForMedia => "a c= line for the session or for this media",
            Expected::Bandwidth => "b=<bwtype>:<bandwidth>",
            Expected::Time => "t=<start-time> <stop-time>",
            Expected::Repeat => "r=<interval> <duration> <offset> … after t=",
            Expected::Zone => "z=<time> <offset> … after r=",
            Expected::Attribute => "a=<name> or a=<name>:<value>",
            Expected::RtpMap => "a=rtpmap:<payload type> <encoding>/<clock rate>",
            Expected::Media => "m=<media> <port> <proto> <fmt> …",
            Expected::Port => "a port from 0 to 65535",
            Expected::WithinLimits => "no more than the limits allow",
        };
        f.write_str(text)
    }
}

/// A fault that [`Mode::Lenient`] let pass, and its line (counted from 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// Number of the line; the line after the last where something is missing at the end.
    pub line: usize,
    /// What was wrong.
    pub fault: Fault,
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.fault)
    }
}

/// The departures from RFC 8866 that [`Mode::Lenient`] takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// No `s=` line; taken as `s=-`.
    NoSessionName,
    /// No `t=` line; taken as `t=0 0`.
    NoTime,
    /// Lines end with LF alone (RFC 8866 §5 asks parsers to take this); reported once, at the first.
    LineFeedOnly,
    /// The last line has no line end.
    NoLastLineEnd,
    /// An empty line; skipped.
    BlankLine,
    /// A line with nothing after its `=`.
    EmptyValue,
    /// Blanks at the start or end of a line, or two together where the grammar has one; taken away.
    ExtraBlanks,
    /// A line stands after lines that it should precede.
    OutOfOrder,
    /// A type letter that RFC 8866 does not know; the line is kept.
    UnknownType,
    /// The `o=` line has no session version; taken as 0.
    NoOriginVersion,
    /// Session id or version of the `o=` line is not a number.
    OriginNotNumeric,
    /// A time of the `t=` line has fewer than ten digits.
    ShortTime,
    /// A `z=` line without an `r=` line before it, as RFC 4566 allowed.
    ZoneWithoutRepeat,
    /// Neither the session nor the media has a `c=` line.
    NoConnection,
    /// An IPv4 multicast address without its time to live.
    NoMulticastTtl,
    /// `a=rtpmap` without clock rate for a static payload type, whose rate RFC 3551 §6 fixes.
    RtpMapWithoutClock,
    /// `a=rtpmap` that cannot be understood; kept as text and not used.
    BadRtpMap,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::NoSessionName => "s= is missing",
            Fault::NoTime => "t= is missing",
            Fault::LineFeedOnly => "lines end with LF in place of CR LF",
            Fault::NoLastLineEnd => "the last line has no line end",
            Fault::BlankLine => "empty line",
            Fault::EmptyValue => "the line is empty after =",
            Fault::ExtraBlanks => "more blanks than the grammar has",
            Fault::OutOfOrder => "the line comes too late",
            Fault::UnknownType => "unknown type letter",
            Fault::NoOriginVersion => "o= has no session version",
            Fault::OriginNotNumeric => "session id or version of o= is not a number",
            Fault::ShortTime => "a time of t= has fewer than ten digits",
            Fault::ZoneWithoutRepeat => "z= without r= before it",
            Fault::NoConnection => "no c= line holds for this media",
            Fault::NoMulticastTtl => "IPv4 multicast address without time to live",
            Fault::RtpMapWithoutClock => "rtpmap of a static payload type has no clock rate",
            Fault::BadRtpMap => "rtpmap cannot be understood",
        })
    }
}
