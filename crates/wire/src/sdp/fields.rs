//! The values of single lines (RFC 8866 §9): bytes after the equals sign to values.

use super::error::{Expected, Fault, Mode};
use super::value::{
    Attribute, Bandwidth, Connection, Host, Media, MediaKind, Origin, Repeat, Text, Time, TimeUnit,
    TypedTime, Word, ZoneAdjustment,
};

/// Takes faults on behalf of one line: an error in strict mode, noted in lenient mode.
pub(super) struct Judge {
    pub(super) mode: Mode,
    pub(super) faults: smallvec::SmallVec<[Fault; 2]>,
}

impl Judge {
    pub(super) fn new(mode: Mode) -> Judge {
        Judge { mode, faults: smallvec::SmallVec::new() }
    }

    pub(super) fn fault(&mut self, fault: Fault, expected: Expected) -> Result<(), Expected> {
        match self.mode {
            Mode::Strict => Err(expected),
            Mode::Lenient => {
                self.faults.push(fault);
                Ok(())
            }
        }
    }
}

pub(super) fn is_token(bytes: &[u8]) -> bool {
    // RFC 8866 §9 `token-char`.
    let is_token_char = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_token_char)
}

fn word(bytes: &[u8], expected: Expected) -> Result<Word, Expected> {
    std::str::from_utf8(bytes).ok().and_then(Word::new).ok_or(expected)
}

fn token(bytes: &[u8], expected: Expected) -> Result<Word, Expected> {
    if is_token(bytes) { word(bytes, expected) } else { Err(expected) }
}

/// A run of digits; overflow is an error.
pub(super) fn number<N: TryFrom<u64>>(bytes: &[u8], expected: Expected) -> Result<N, Expected> {
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_digit) {
        return Err(expected);
    }
    let number = bytes.iter().try_fold(0u64, |sum, digit| {
        sum.checked_mul(10).and_then(|sum| sum.checked_add(u64::from(digit - b'0')))
    });
    number.and_then(|number| N::try_from(number).ok()).ok_or(expected)
}

/// The fields of a line, which single blanks divide.
fn split(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b' ')
}

pub(super) fn text(bytes: &[u8], judge: &mut Judge) -> Result<Text, Expected> {
    if bytes.is_empty() {
        judge.fault(Fault::EmptyValue, Expected::Text)?;
    }
    Text::new(bytes).ok_or(Expected::Text)
}

pub(super) fn origin(bytes: &[u8], judge: &mut Judge) -> Result<Origin, Expected> {
    let mut fields: smallvec::SmallVec<[&[u8]; 6]> = split(bytes).take(7).collect();
    if fields.len() == 5 {
        judge.fault(Fault::NoOriginVersion, Expected::Origin)?;
        fields.insert(2, b"0");
    }
    let [username, id, version, net_type, kind, address] = fields[..] else {
        return Err(Expected::Origin);
    };
    let is_number = |field: &[u8]| !field.is_empty() && field.iter().all(u8::is_ascii_digit);
    if !is_number(id) || !is_number(version) {
        judge.fault(Fault::OriginNotNumeric, Expected::Origin)?;
    }
    Ok(Origin {
        username: word(username, Expected::Origin)?,
        session_id: word(id, Expected::Origin)?,
        session_version: word(version, Expected::Origin)?,
        net_type: token(net_type, Expected::Origin)?,
        address: host(kind, address)?,
    })
}

fn host(kind: &[u8], address: &[u8]) -> Result<Host, Expected> {
    let kind = token(kind, Expected::Address)?;
    let address = word(address, Expected::Address)?;
    let text = address.as_str();
    // RFC 8866 §9 `FQDN`; the rule's minimum of four characters would refuse names that resolve.
    let is_name = || text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    // Digits and dots alone are an address with an error in it, not a name (RFC 1123 §2.1).
    let is_numeric = || text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match kind.as_str() {
        "IP4" => match text.parse() {
            Ok(ip) => Ok(Host::Ip4(ip)),
            Err(_) if is_name() && !is_numeric() => Ok(Host::Name4(address)),
            Err(_) => Err(Expected::Address),
        },
        "IP6" => match text.parse() {
            Ok(ip) => Ok(Host::Ip6(ip)),
            Err(_) if is_name() && !is_numeric() => Ok(Host::Name6(address)),
            Err(_) => Err(Expected::Address),
        },
        _ => Ok(Host::Other { kind, address }),
    }
}

pub(super) fn connection(bytes: &[u8], judge: &mut Judge) -> Result<Connection, Expected> {
    let mut fields = split(bytes);
    let (Some(net_type), Some(kind), Some(address), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(Expected::Connection);
    };
    let net_type = token(net_type, Expected::Connection)?;
    // The suffixes are defined for multicast addresses of IP4 and IP6 only (RFC 8866 §5.7).
    if !matches!(kind, b"IP4" | b"IP6") {
        let address = host(kind, address)?;
        return Ok(Connection { net_type, address, ttl: None, address_count: None });
    }
    let mut parts = address.split(|byte| *byte == b'/');
    let address = host(kind, parts.next().unwrap_or_default())?;
    let (first, second, more) = (parts.next(), parts.next(), parts.next());
    let mut result = Connection { net_type, address, ttl: None, address_count: None };
    match (&result.address, first, second, more) {
        (Host::Ip4(ip), None, None, None) if ip.is_multicast() => {
            judge.fault(Fault::NoMulticastTtl, Expected::MulticastTtl)?;
        }
        (_, None, None, None) => {}
        (Host::Ip4(ip), Some(ttl), count, None) if ip.is_multicast() => {
            result.ttl = Some(number(ttl, Expected::MulticastTtl)?);
            result.address_count = count.map(positive).transpose()?;
        }
        (Host::Ip6(ip), Some(count), None, None) if ip.is_multicast() => {
            result.address_count = Some(positive(count)?);
        }
        _ => return Err(Expected::Connection),
    }
    Ok(result)
}

/// RFC 8866 §9 `integer`, which starts at 1.
fn positive(bytes: &[u8]) -> Result<u32, Expected> {
    match number(bytes, Expected::Number)? {
        0 => Err(Expected::Number),
        count => Ok(count),
    }
}

pub(super) fn bandwidth(bytes: &[u8]) -> Result<Bandwidth, Expected> {
    let colon = bytes.iter().position(|byte| *byte == b':').ok_or(Expected::Bandwidth)?;
    let kind = token(&bytes[..colon], Expected::Bandwidth)?;
    Ok(Bandwidth { kind, value: number(&bytes[colon + 1..], Expected::Bandwidth)? })
}

pub(super) fn time(bytes: &[u8], judge: &mut Judge) -> Result<Time, Expected> {
    let mut fields = split(bytes);
    let (Some(start), Some(stop), None) = (fields.next(), fields.next(), fields.next()) else {
        return Err(Expected::Time);
    };
    // RFC 8866 §9 `time`: a digit other than 0 and nine or more digits, or a single 0.
    let is_short = |field: &[u8]| field != b"0" && (field.len() < 10 || field[0] == b'0');
    if is_short(start) || is_short(stop) {
        judge.fault(Fault::ShortTime, Expected::Time)?;
    }
    let (start, stop) = (number(start, Expected::Time)?, number(stop, Expected::Time)?);
    Ok(Time { start, stop, repeats: Vec::new(), zone_adjustments: Vec::new() })
}

fn typed_time(bytes: &[u8], expected: Expected) -> Result<TypedTime, Expected> {
    let unit = match bytes.last() {
        Some(b'd') => Some(TimeUnit::Days),
        Some(b'h') => Some(TimeUnit::Hours),
        Some(b'm') => Some(TimeUnit::Minutes),
        Some(b's') => Some(TimeUnit::Seconds),
        _ => None,
    };
    let digits = if unit.is_some() { &bytes[..bytes.len() - 1] } else { bytes };
    Ok(TypedTime { value: number(digits, expected)?, unit })
}

pub(super) fn repeat(bytes: &[u8]) -> Result<Repeat, Expected> {
    let mut fields = split(bytes).map(|field| typed_time(field, Expected::Repeat));
    let (Some(interval), Some(duration)) = (fields.next().transpose()?, fields.next().transpose()?) else {
        return Err(Expected::Repeat);
    };
    let offsets = fields.collect::<Result<Vec<_>, _>>()?;
    // `repeat-interval` starts with a digit other than 0.
    if offsets.is_empty() || interval.value == 0 {
        return Err(Expected::Repeat);
    }
    Ok(Repeat { interval, duration, offsets })
}

pub(super) fn zone(bytes: &[u8]) -> Result<Vec<ZoneAdjustment>, Expected> {
    let mut fields = split(bytes);
    let mut adjustments = Vec::new();
    while let Some(time) = fields.next() {
        let time = number(time, Expected::Zone)?;
        let offset = fields.next().ok_or(Expected::Zone)?;
        let (negative, digits) = match offset.strip_prefix(b"-") {
            Some(digits) => (true, digits),
            None => (false, offset),
        };
        adjustments.push(ZoneAdjustment { time, negative, offset: typed_time(digits, Expected::Zone)? });
    }
    Ok(adjustments)
}

pub(super) fn attribute(bytes: &[u8], judge: &mut Judge) -> Result<Attribute, Expected> {
    let Some(colon) = bytes.iter().position(|byte| *byte == b':') else {
        let name = bytes.trim_ascii_end();
        if name.len() < bytes.len() {
            judge.fault(Fault::ExtraBlanks, Expected::Attribute)?;
        }
        return Ok(Attribute::from_parts(token(name, Expected::Attribute)?, None));
    };
    let name = token(&bytes[..colon], Expected::Attribute)?;
    let value = text(&bytes[colon + 1..], judge).map_err(|_| Expected::Attribute)?;
    let attribute = Attribute::from_parts(name, Some(value));
    if attribute.name() == "rtpmap" {
        super::attribute::judge_rtpmap(&attribute, judge)?;
    }
    Ok(attribute)
}

pub(super) fn media(bytes: &[u8], formats_max: usize) -> Result<Media, Expected> {
    let mut fields = split(bytes);
    let (Some(kind), Some(port), Some(protocol)) = (fields.next(), fields.next(), fields.next()) else {
        return Err(Expected::Media);
    };
    let mut port = port.splitn(2, |byte| *byte == b'/');
    let (port, count) = (port.next().unwrap_or_default(), port.next());
    if !protocol.split(|byte| *byte == b'/').all(is_token) {
        return Err(Expected::Media);
    }
    let media = Media {
        kind: MediaKind::from_word(token(kind, Expected::Media)?),
        port: number(port, Expected::Port)?,
        port_count: count.map(positive).transpose()?,
        protocol: word(protocol, Expected::Media)?,
        formats: formats(fields, formats_max)?,
        information: None,
        connections: Vec::new(),
        bandwidths: Vec::new(),
        key: None,
        attributes: Vec::new(),
        unknown: Vec::new(),
    };
    if media.formats.is_empty() { Err(Expected::Media) } else { Ok(media) }
}

fn formats<'a>(fields: impl Iterator<Item = &'a [u8]>, formats_max: usize) -> Result<Vec<Word>, Expected> {
    let mut formats = Vec::new();
    for field in fields {
        if formats.len() == formats_max {
            return Err(Expected::WithinLimits);
        }
        formats.push(token(field, Expected::Media)?);
    }
    Ok(formats)
}
