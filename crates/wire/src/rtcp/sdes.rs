//! Source descriptions (RFC 3550 §6.5).

use super::{RtcpError, read_u32, split};

/// One item of a source description; texts are UTF-8 of at most 255 octets, without a terminator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SdesItem<'a> {
    /// The canonical end-point identifier, the mandatory item.
    Cname(&'a [u8]),
    /// The name of the user.
    Name(&'a [u8]),
    /// The electronic mail address.
    Email(&'a [u8]),
    /// The phone number.
    Phone(&'a [u8]),
    /// The geographic location.
    Loc(&'a [u8]),
    /// The application and its version.
    Tool(&'a [u8]),
    /// A notice of the present state.
    Note(&'a [u8]),
    /// A private extension.
    Priv {
        /// Who defined the item.
        prefix: &'a [u8],
        /// Its value; with the prefix at most 254 octets.
        value: &'a [u8],
    },
    /// An item type that is unknown here.
    Other {
        /// The item type, not 0.
        kind: u8,
        /// The text.
        value: &'a [u8],
    },
}

impl<'a> SdesItem<'a> {
    fn parse(kind: u8, text: &'a [u8]) -> Result<SdesItem<'a>, RtcpError> {
        Ok(match kind {
            1 => SdesItem::Cname(text),
            2 => SdesItem::Name(text),
            3 => SdesItem::Email(text),
            4 => SdesItem::Phone(text),
            5 => SdesItem::Loc(text),
            6 => SdesItem::Tool(text),
            7 => SdesItem::Note(text),
            8 => {
                let (len, rest) = text.split_first().ok_or(RtcpError::TooShort { expected: 1, got: 0 })?;
                let (prefix, value) = split(rest, usize::from(*len))?;
                SdesItem::Priv { prefix, value }
            }
            _ => SdesItem::Other { kind, value: text },
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), RtcpError> {
        let (kind, prefix, value) = match *self {
            SdesItem::Cname(text) => (1, None, text),
            SdesItem::Name(text) => (2, None, text),
            SdesItem::Email(text) => (3, None, text),
            SdesItem::Phone(text) => (4, None, text),
            SdesItem::Loc(text) => (5, None, text),
            SdesItem::Tool(text) => (6, None, text),
            SdesItem::Note(text) => (7, None, text),
            SdesItem::Priv { prefix, value } => (8, Some(prefix), value),
            SdesItem::Other { kind, value } => (kind, None, value),
        };
        let len = value.len().saturating_add(prefix.map_or(0, |prefix| prefix.len().saturating_add(1)));
        out.extend([kind, u8::try_from(len).map_err(|_| RtcpError::TextLength(len))?]);
        if let Some(prefix) = prefix {
            out.push(prefix.len() as u8);
            out.extend_from_slice(prefix);
        }
        out.extend_from_slice(value);
        Ok(())
    }
}

/// The chunks of an SDES packet, checked when the packet was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks<'a> {
    count: u8,
    bytes: &'a [u8],
}

impl<'a> Chunks<'a> {
    pub(super) fn read(count: u8, bytes: &'a [u8]) -> Result<Chunks<'a>, RtcpError> {
        let mut rest = bytes;
        for _ in 0..count {
            rest = Chunk::read(rest)?.1;
        }
        Ok(Chunks { count, bytes: &bytes[..bytes.len() - rest.len()] })
    }

    /// The number of chunks, 0 to 31.
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The chunks in the order of the packet.
    pub fn iter(&self) -> impl Iterator<Item = Chunk<'a>> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            let (chunk, after) = Chunk::read(rest).ok()?;
            rest = after;
            Some(chunk)
        })
    }

    pub(super) fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// What an SDES packet says of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The source (or contributing source).
    pub ssrc: u32,
    /// Its items.
    pub items: SdesItems<'a>,
}

impl<'a> Chunk<'a> {
    /// Reads one chunk: items, a null octet, and null octets up to the next 32-bit boundary.
    fn read(bytes: &'a [u8]) -> Result<(Chunk<'a>, &'a [u8]), RtcpError> {
        let (ssrc, list) = read_u32(bytes)?;
        let mut rest = list;
        loop {
            match rest.split_first() {
                None => return Err(RtcpError::TooShort { expected: bytes.len() + 1, got: bytes.len() }),
                Some((0, _)) => break,
                Some(_) => rest = read_item(rest)?.1,
            }
        }
        let items_len = list.len() - rest.len();
        let (_, after) = split(list, (items_len + 1).next_multiple_of(4))?;
        Ok((Chunk { ssrc, items: SdesItems(&list[..items_len]) }, after))
    }

    /// The CNAME, if the chunk has one.
    pub fn cname(&self) -> Option<&'a [u8]> {
        self.items.iter().find_map(|item| match item {
            SdesItem::Cname(text) => Some(text),
            _ => None,
        })
    }
}

fn read_item(bytes: &[u8]) -> Result<(SdesItem<'_>, &[u8]), RtcpError> {
    let (head, rest) = split(bytes, 2)?;
    let (text, rest) = split(rest, usize::from(head[1]))?;
    Ok((SdesItem::parse(head[0], text)?, rest))
}

/// The items of one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SdesItems<'a>(&'a [u8]);

impl<'a> SdesItems<'a> {
    /// The items in the order of the chunk.
    pub fn iter(&self) -> impl Iterator<Item = SdesItem<'a>> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (item, after) = read_item(rest).ok()?;
            rest = after;
            Some(item)
        })
    }
}
