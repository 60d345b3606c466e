//! The values of a session description, in the words of RFC 8866 §5.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smallvec::SmallVec;
use smol_str::SmolStr;

/// Free text of one line: any bytes except NUL, CR and LF (RFC 8866 §9 `byte-string`, here also empty). UTF-8 unless
/// `a=charset` says otherwise.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Text(SmallVec<[u8; 24]>);

impl Text {
    /// Takes the bytes, or `None` when NUL, CR or LF is among them.
    pub fn new(bytes: impl AsRef<[u8]>) -> Option<Text> {
        let bytes = bytes.as_ref();
        let legal = !bytes.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'));
        legal.then(|| Text(SmallVec::from_slice(bytes)))
    }

    /// The bytes as they stand on the line.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, or `None` when it is not UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

/// One word of a line: at least one character, no blanks and no control characters (RFC 8866 §9 `non-ws-string`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(SmolStr);

impl Word {
    /// Takes the word, or `None` when it is empty or has a blank or a control character in it.
    pub fn new(text: &str) -> Option<Word> {
        let legal = !text.is_empty() && text.bytes().all(|byte| byte > b' ' && byte != 0x7f);
        legal.then(|| Word(SmolStr::new(text)))
    }

    /// A word of digits.
    pub fn from_number(number: u64) -> Word {
        let mut text = smol_str::SmolStrBuilder::new();
        // Digits are legal in a word, and the builder does not fail.
        let _ = fmt::write(&mut text, format_args!("{number}"));
        Word(text.finish())
    }

    /// A word written in the source code.
    ///
    /// # Panics
    /// When the literal is not a legal word.
    pub fn literal(text: &'static str) -> Word {
        Word::new(text).expect("the literal is a legal word")
    }

    /// The word's characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq<str> for Word {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Word {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

/// A whole session description (RFC 8866 §5). The version of the protocol is always 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// `o=`: who made the description, and its id and version.
    pub origin: Origin,
    /// `s=`: name of the session.
    pub name: Text,
    /// `i=`: a sentence about the session.
    pub information: Option<Text>,
    /// `u=`: where to read more.
    pub uri: Option<Text>,
    /// `e=`: addresses of the person responsible.
    pub emails: Vec<Text>,
    /// `p=`: telephone numbers of the person responsible.
    pub phones: Vec<Text>,
    /// `c=`: the address that holds for media without a `c=` of their own.
    pub connection: Option<Connection>,
    /// `b=`: bandwidth of the whole session.
    pub bandwidths: Vec<Bandwidth>,
    /// `t=` with `r=` and `z=`: when the session takes place.
    pub times: Vec<Time>,
    /// `k=`: key; obsolete (RFC 8866 §5.12), kept as text.
    pub key: Option<Text>,
    /// `a=` lines of the session, in order.
    pub attributes: Vec<Attribute>,
    /// `m=` and what belongs to it, in order.
    pub media: Vec<Media>,
    /// Lines of the session part whose type letter is not known, in order.
    pub unknown: Vec<UnknownLine>,
}

/// The `o=` line (RFC 8866 §5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Login of the user, or `-`.
    pub username: Word,
    /// Id of the session: digits, of any length.
    pub session_id: Word,
    /// Version of the description: digits, of any length.
    pub session_version: Word,
    /// Kind of network, `IN` for the Internet.
    pub net_type: Word,
    /// Address of the machine that made the description.
    pub address: Host,
}

impl Origin {
    /// The version as a number; `None` when it is none or larger than 64 bits hold.
    pub fn version_number(&self) -> Option<u64> {
        self.session_version.as_str().parse().ok()
    }
}

/// An address with its type (`<addrtype> <address>`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// `IP4` and an address.
    Ip4(Ipv4Addr),
    /// `IP6` and an address.
    Ip6(Ipv6Addr),
    /// `IP4` and a domain name.
    Name4(Word),
    /// `IP6` and a domain name.
    Name6(Word),
    /// Another address type, and its address as it stands.
    Other {
        /// The address type.
        kind: Word,
        /// The address.
        address: Word,
    },
}

impl Host {
    /// The address, when it is a literal one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Host::Ip4(address) => Some(IpAddr::V4(*address)),
            Host::Ip6(address) => Some(IpAddr::V6(*address)),
            Host::Name4(_) | Host::Name6(_) | Host::Other { .. } => None,
        }
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Host {
        match address {
            IpAddr::V4(address) => Host::Ip4(address),
            IpAddr::V6(address) => Host::Ip6(address),
        }
    }
}

/// A `c=` line (RFC 8866 §5.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Kind of network, `IN` for the Internet.
    pub net_type: Word,
    /// The address.
    pub address: Host,
    /// Time to live of an IPv4 multicast session.
    pub ttl: Option<u8>,
    /// Number of contiguous multicast addresses, where written.
    pub address_count: Option<u32>,
}

impl Connection {
    /// A unicast connection on the Internet.
    pub fn unicast(address: IpAddr) -> Connection {
        Connection { net_type: Word::literal("IN"), address: address.into(), ttl: None, address_count: None }
    }
}

/// A `b=` line (RFC 8866 §5.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bandwidth {
    /// What is counted: `CT`, `AS`, `TIAS` (RFC 3890), `RS`, `RR` (RFC 3556) …
    pub kind: Word,
    /// The figure: kilobits per second for `CT` and `AS`, bits per second for `TIAS`, `RS` and `RR`.
    pub value: u64,
}

/// A `t=` line with the `r=` and `z=` lines after it (RFC 8866 §5.9–5.11).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Time {
    /// Start in seconds since 1900, 0 for none.
    pub start: u64,
    /// Stop in seconds since 1900, 0 for none.
    pub stop: u64,
    /// `r=` lines.
    pub repeats: Vec<Repeat>,
    /// The `z=` line's adjustments.
    pub zone_adjustments: Vec<ZoneAdjustment>,
}

/// An `r=` line (RFC 8866 §5.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// Time from one occurrence to the next.
    pub interval: TypedTime,
    /// How long each lasts.
    pub duration: TypedTime,
    /// Offsets from the start time; at least one.
    pub offsets: Vec<TypedTime>,
}

/// One pair of a `z=` line (RFC 8866 §5.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneAdjustment {
    /// When the adjustment takes effect, in seconds since 1900.
    pub time: u64,
    /// Whether the offset is negative.
    pub negative: bool,
    /// The offset to the repetition's base time.
    pub offset: TypedTime,
}

/// A length of time with the unit that it was written in (RFC 8866 §9 `typed-time`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypedTime {
    /// The figure before the unit.
    pub value: u64,
    /// The unit; `None` means seconds.
    pub unit: Option<TimeUnit>,
}

impl TypedTime {
    /// The length in seconds; `None` when it does not fit 64 bits.
    pub fn seconds(self) -> Option<u64> {
        self.value.checked_mul(match self.unit {
            Some(TimeUnit::Days) => 86_400,
            Some(TimeUnit::Hours) => 3_600,
            Some(TimeUnit::Minutes) => 60,
            Some(TimeUnit::Seconds) | None => 1,
        })
    }
}

/// The units of [`TypedTime`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// `d`
    Days,
    /// `h`
    Hours,
    /// `m`
    Minutes,
    /// `s`
    Seconds,
}

/// An `a=` line (RFC 8866 §5.13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    name: Word,
    value: Option<Text>,
}

impl Attribute {
    /// An attribute, or `None` when the name is not a token or the value not text.
    pub fn new(name: &str, value: Option<&str>) -> Option<Attribute> {
        if !super::fields::is_token(name.as_bytes()) {
            return None;
        }
        let value = match value {
            Some(text) => Some(Text::new(text)?),
            None => None,
        };
        Some(Attribute { name: Word::new(name)?, value })
    }

    pub(super) fn from_parts(name: Word, value: Option<Text>) -> Attribute {
        Attribute { name, value }
    }

    /// The name, before the colon; its case counts.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The value after the colon, if there is a colon.
    pub fn value(&self) -> Option<&Text> {
        self.value.as_ref()
    }
}

/// Kind of a media stream, the first word of an `m=` line (RFC 8866 §5.14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// `audio`
    Audio,
    /// `video`
    Video,
    /// `text`
    Text,
    /// `application`
    Application,
    /// `message`
    Message,
    /// `image` (RFC 6466)
    Image,
    /// Another token.
    Other(Word),
}

impl MediaKind {
    pub(super) fn from_word(word: Word) -> MediaKind {
        match word.as_str() {
            "audio" => MediaKind::Audio,
            "video" => MediaKind::Video,
            "text" => MediaKind::Text,
            "application" => MediaKind::Application,
            "message" => MediaKind::Message,
            "image" => MediaKind::Image,
            _ => MediaKind::Other(word),
        }
    }

    /// The token as written.
    pub fn as_str(&self) -> &str {
        match self {
            MediaKind::Audio => "audio",
            MediaKind::Video => "video",
            MediaKind::Text => "text",
            MediaKind::Application => "application",
            MediaKind::Message => "message",
            MediaKind::Image => "image",
            MediaKind::Other(word) => word.as_str(),
        }
    }
}

/// An `m=` line and the lines that belong to it (RFC 8866 §5.14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Kind of media.
    pub kind: MediaKind,
    /// Transport port; 0 rejects or removes the stream (RFC 3264 §6, §8.2).
    pub port: u16,
    /// Number of ports, where `/n` is written; at least 1.
    pub port_count: Option<u32>,
    /// Transport protocol, such as `RTP/AVP`.
    pub protocol: Word,
    /// Formats in order of preference; payload types for RTP. At least one.
    pub formats: Vec<Word>,
    /// `i=`
    pub information: Option<Text>,
    /// `c=`: several for layered multicast.
    pub connections: Vec<Connection>,
    /// `b=`
    pub bandwidths: Vec<Bandwidth>,
    /// `k=`; obsolete, kept as text.
    pub key: Option<Text>,
    /// `a=` lines, in order.
    pub attributes: Vec<Attribute>,
    /// Lines whose type letter is not known, in order.
    pub unknown: Vec<UnknownLine>,
}

/// A line whose type letter RFC 8866 does not know, kept in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownLine {
    /// The type letter, an ASCII letter.
    pub letter: char,
    /// What follows the equals sign.
    pub value: Text,
    /// Number of known lines that stand before it in its section.
    pub lines_before: usize,
}
