//! SIP and SIPS URIs (RFC 3261 §19.1), tel URIs (RFC 3966), and any other scheme as opaque text.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use smol_str::SmolStr;

use crate::error::UriError;
use crate::net::Transport;
use crate::params::Params;
use crate::scan;

mod compare;
mod tel;

pub use tel::TelUri;

/// The most parameters of a URI, and the most headers behind its `?`: comparing two URIs looks for each part of
/// one among the parts of the other.
pub const PARTS_MAX: usize = 64;

/// A URI of any scheme, borrowed from the text that it was read from.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Uri<'a> {
    /// `sip:` or `sips:`.
    Sip(SipUri<'a>),
    /// `tel:`.
    Tel(TelUri<'a>),
    /// Another scheme, kept as it came.
    Other {
        /// The scheme as written.
        scheme: &'a str,
        /// All of the URI.
        text: &'a str,
    },
}

/// A `sip:` or `sips:` URI.
#[derive(Clone, Copy, Debug)]
pub struct SipUri<'a> {
    /// Whether the scheme is `sips`.
    pub secure: bool,
    /// The user part, still escaped.
    pub user: Option<&'a str>,
    /// The password behind the user part, still escaped.
    pub password: Option<&'a str>,
    /// The host.
    pub host: Host<'a>,
    /// The port, where one stands.
    pub port: Option<u16>,
    /// The parameters, still escaped.
    pub params: Params<'a>,
    /// What follows `?`, still escaped; empty when nothing does.
    pub headers: &'a str,
}

/// A host: a domain name or an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// A domain name as written.
    Name(&'a str),
    /// An IP address; IPv6 stands in brackets in URIs and Via.
    Ip(IpAddr),
}

impl<'a> Uri<'a> {
    /// Reads a URI.
    ///
    /// # Errors
    /// [`UriError`] names the first part that is malformed.
    pub fn parse(text: &'a str) -> Result<Uri<'a>, UriError> {
        // Each part of a SIP or tel URI refuses these characters too, in its own words.
        let forbidden = |byte: u8| byte <= b' ' || matches!(byte, b'<' | b'>' | b'"' | 0x7f);
        match Self::parse_scheme(text) {
            Ok(uri @ (Uri::Sip(_) | Uri::Tel(_))) => Ok(uri),
            _ if text.bytes().any(forbidden) => Err(UriError::Character),
            other => other,
        }
    }

    fn parse_scheme(text: &'a str) -> Result<Uri<'a>, UriError> {
        let (scheme, rest) = scan::cut(text, b':').ok_or(UriError::Scheme)?;
        if scheme.eq_ignore_ascii_case("sip") {
            return SipUri::parse_rest(false, rest).map(Uri::Sip);
        }
        if scheme.eq_ignore_ascii_case("sips") {
            return SipUri::parse_rest(true, rest).map(Uri::Sip);
        }
        if scheme.eq_ignore_ascii_case("tel") {
            return TelUri::parse_rest(rest).map(Uri::Tel);
        }
        let mut letters = scheme.bytes();
        let legal = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
            && letters.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        if legal { Ok(Uri::Other { scheme, text }) } else { Err(UriError::Scheme) }
    }

    /// The SIP or SIPS URI, if it is one.
    pub const fn as_sip(&self) -> Option<&SipUri<'a>> {
        match self {
            Uri::Sip(sip) => Some(sip),
            Uri::Tel(_) | Uri::Other { .. } => None,
        }
    }

    /// Whether two URIs are equal by the rules of their scheme (RFC 3261 §19.1.4, RFC 3966 §4); URIs of
    /// unknown schemes by their text with the scheme in any case.
    pub fn equivalent(&self, other: &Uri<'_>) -> bool {
        match (self, other) {
            (Uri::Sip(one), Uri::Sip(two)) => one.equivalent(two),
            (Uri::Tel(one), Uri::Tel(two)) => one.equivalent(two),
            (Uri::Other { scheme, text }, Uri::Other { scheme: other_scheme, text: other_text }) => {
                scheme.eq_ignore_ascii_case(other_scheme)
                    && text[scheme.len()..] == other_text[other_scheme.len()..]
            }
            _ => false,
        }
    }
}

impl<'a> SipUri<'a> {
    fn parse_rest(secure: bool, rest: &'a str) -> Result<SipUri<'a>, UriError> {
        // The user part ends at the last `@` before anything that only the host part has; since `@` may not
        // stand unescaped in a password, parameter or header, the first `@` ends it (RFC 3261 §25.1).
        let (userinfo, hostpart) = match scan::position(rest, b'@') {
            Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
            None => (None, rest),
        };
        let (user, password) = match userinfo {
            None => (None, None),
            Some(info) => match scan::cut(info, b':') {
                Some((user, password)) => (Some(user), Some(password)),
                None => (Some(info), None),
            },
        };
        if let Some(user) = user {
            check_escaped(user, USER).map_err(|error| error.unwrap_or(UriError::User))?;
            if user.is_empty() {
                return Err(UriError::User);
            }
        }
        if let Some(password) = password {
            check_escaped(password, PASSWORD).map_err(|error| error.unwrap_or(UriError::User))?;
        }
        let (host, port, end) = leading_hostport(hostpart)?;
        let (params, headers) = match hostpart.as_bytes().get(end) {
            None => ("", ""),
            Some(b';') => scan::cut(&hostpart[end..], b'?').unwrap_or((&hostpart[end..], "")),
            Some(b'?') => ("", &hostpart[end + 1..]),
            Some(_) => return Err(if port.is_some() { UriError::Port } else { UriError::Host }),
        };
        check_params(params)?;
        check_headers(headers)?;
        Ok(SipUri { secure, user, password, host, port, params: Params::of_uri(params), headers })
    }

    /// `sip` or `sips`.
    pub const fn scheme(&self) -> &'static str {
        if self.secure { "sips" } else { "sip" }
    }

    /// The user part with its escapes undone; bytes that are no UTF-8 stay escaped.
    pub fn user_unescaped(&self) -> Option<SmolStr> {
        self.user.map(unescape)
    }

    /// Whom the user part names: as [`SipUri::user_unescaped`], but with `user=phone` the digits of its number, without
    /// visual separators and parameters, so that all ways to write a number name the same user (RFC 3261 §19.1.6).
    pub fn called_user(&self) -> Option<SmolStr> {
        let user = self.user_unescaped()?;
        let is_phone = self.params.value("user").is_some_and(|value| value.eq_ignore_ascii_case("phone"));
        let number = is_phone.then(|| TelUri::parse_rest(&user).ok()).flatten();
        let digits: Option<SmolStr> = number.map(|number| number.digits().collect());
        // Some phones say so of every name: letters are none but in a tel URI.
        let is_number = |digits: &SmolStr| digits.bytes().all(|byte| !byte.is_ascii_alphabetic());
        Some(digits.filter(is_number).unwrap_or(user))
    }

    /// The `transport` parameter; `None` when it is absent or unknown.
    pub fn transport(&self) -> Option<Transport> {
        self.params.value("transport").and_then(|token| Transport::from_token(unescape(token).as_bytes()))
    }

    /// Whether it has the `lr` parameter of a loose router (RFC 3261 §19.1.1).
    pub fn is_loose_router(&self) -> bool {
        self.params.has("lr")
    }

    /// The port, or the default of its transport (RFC 3261 §19.1.2).
    pub fn port_or_default(&self) -> u16 {
        let transport = self.transport().unwrap_or(if self.secure { Transport::Tls } else { Transport::Udp });
        self.port.unwrap_or(if self.secure { 5061 } else { transport.default_port() })
    }
}

impl<'a> Host<'a> {
    /// Reads a host name, an IPv4 address or a bracketed IPv6 reference.
    ///
    /// # Errors
    /// [`UriError::Host`].
    pub fn parse(text: &'a str) -> Result<Host<'a>, UriError> {
        match leading_host(text) {
            (Some(host), end) if end == text.len() => Ok(host),
            _ => Err(UriError::Host),
        }
    }

    /// Whether both name the same host: addresses by value, names in any case and without a closing dot.
    pub fn equivalent(&self, other: &Host<'_>) -> bool {
        match (self, other) {
            (Host::Ip(one), Host::Ip(two)) => one == two,
            (Host::Name(one), Host::Name(two)) => {
                one.trim_end_matches('.').eq_ignore_ascii_case(two.trim_end_matches('.'))
            }
            _ => false,
        }
    }

    /// The address, if it is one.
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Host::Ip(ip) => Some(*ip),
            Host::Name(_) => None,
        }
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

impl fmt::Display for SipUri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme())?;
        if let Some(user) = self.user {
            f.write_str(user)?;
            if let Some(password) = self.password {
                write!(f, ":{password}")?;
            }
            f.write_str("@")?;
        }
        write!(f, "{}", self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(self.params.as_str())?;
        if self.headers.is_empty() { Ok(()) } else { write!(f, "?{}", self.headers) }
    }
}

/// A URI that owns its text. The text is always a legal URI.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UriBuf {
    text: SmolStr,
}

impl UriBuf {
    /// Reads a URI and keeps its text.
    ///
    /// # Errors
    /// As [`Uri::parse`].
    pub fn parse(text: &str) -> Result<UriBuf, UriError> {
        Uri::parse(text)?;
        Ok(UriBuf { text: SmolStr::new(text) })
    }

    /// A SIP URI for a socket address: `sip:[user@]host:port`.
    pub fn for_address(user: Option<&str>, address: SocketAddr) -> UriBuf {
        let at = if user.is_some() { "@" } else { "" };
        let text =
            smol_str::format_smolstr!("sip:{}{at}{address}", user.map(escape_user).unwrap_or_default());
        UriBuf { text }
    }

    /// The parts of the URI.
    pub fn uri(&self) -> Uri<'_> {
        Uri::parse(&self.text).expect("a UriBuf holds only text that Uri::parse took")
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for UriBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for UriBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Escapes what may not stand in a user part.
pub fn escape_user(user: &str) -> SmolStr {
    if user.bytes().all(is_user) {
        return SmolStr::new(user);
    }
    let mut out = String::with_capacity(user.len() + 8);
    for byte in user.bytes() {
        if is_user(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    SmolStr::from(out)
}

/// Escapes what may not stand in the value of a header of a URI (RFC 3261 §19.1.1, `hvalue`).
pub fn escape_header(value: &str) -> SmolStr {
    let mut out = String::with_capacity(value.len() + 16);
    for byte in value.bytes() {
        if CLASSES[usize::from(byte)] & HEADER != 0 {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    SmolStr::from(out)
}

/// Undoes `%` escapes. Text whose escapes do not give UTF-8 comes back as it was.
pub fn unescape(text: &str) -> SmolStr {
    if !text.contains('%') {
        return SmolStr::new(text);
    }
    let unescaped = unescaped_bytes(text).collect::<Vec<u8>>();
    match String::from_utf8(unescaped) {
        Ok(text) => SmolStr::from(text),
        Err(_) => SmolStr::new(text),
    }
}

/// Reads an IPv6 address. RFC 5118 §4.10: the grammar of RFC 3261 allowed one colon too many before an IPv4 part
/// (`2001:db8:::192.0.2.1`), which is passed over.
fn parse_ipv6(text: &str) -> Option<Ipv6Addr> {
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    let (before, after) = text.split_once(":::")?;
    after.parse::<Ipv4Addr>().ok()?;
    smol_str::format_smolstr!("{before}::{after}").parse().ok()
}

/// Reads `host[:port]` at the beginning of the text, and says where it ends.
pub(crate) fn leading_hostport(text: &str) -> Result<(Host<'_>, Option<u16>, usize), UriError> {
    let (host, end) = leading_host(text);
    let bytes = text.as_bytes();
    if bytes.get(end) != Some(&b':') {
        return host.map(|host| (host, None, end)).ok_or(UriError::Host);
    }
    let digits = bytes[end + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let after = end + 1 + digits;
    let port = scan::decimal(&bytes[end + 1..after])
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
        .ok_or(UriError::Port)?;
    host.map(|host| (host, Some(port), after)).ok_or(UriError::Host)
}

/// Reads a host at the beginning of the text, and says where it ends, even when it is none. A name is labels of letters, digits, `-` and
/// `_` with single dots between them and perhaps one at the end; not digits alone, which are an address.
fn leading_host(text: &str) -> (Option<Host<'_>>, usize) {
    let bytes = text.as_bytes();
    if bytes.first() == Some(&b'[') {
        let Some(end) = scan::find(bytes, b']') else { return (None, text.len()) };
        return (parse_ipv6(&text[1..end]).map(|ip| Host::Ip(ip.into())), end + 1);
    }
    if let Some((ip, end)) = leading_ipv4(bytes) {
        return (Some(Host::Ip(ip.into())), end);
    }
    let (mut before, mut seen, mut empty_labels) = (DOT, 0, 0);
    let mut end = 0;
    for byte in bytes {
        let class = CLASSES[usize::from(*byte)] & HOST;
        if class == 0 {
            break;
        }
        empty_labels |= class & before & DOT;
        before = class;
        seen |= class;
        end += 1;
    }
    let is_name = seen & LETTER != 0 && empty_labels == 0;
    (is_name.then(|| Host::Name(&text[..end])), end)
}

/// Reads an IPv4 address at the beginning of the text: four decimal numbers without leading zeros, behind which no
/// character of a name stands.
fn leading_ipv4(text: &[u8]) -> Option<(Ipv4Addr, usize)> {
    let mut octets = [0u8; 4];
    let mut at = 0;
    for (index, octet) in octets.iter_mut().enumerate() {
        if index > 0 {
            at += usize::from(text.get(at) == Some(&b'.'));
        }
        let start = at;
        while let Some(digit @ b'0'..=b'9') = text.get(at) {
            if at > start && *octet == 0 {
                return None;
            }
            *octet = octet.checked_mul(10)?.checked_add(digit - b'0')?;
            at += 1;
        }
        if at == start {
            return None;
        }
    }
    let ends = text.get(at).is_none_or(|byte| CLASSES[usize::from(*byte)] & HOST == 0);
    ends.then(|| (octets.into(), at))
}

/// The bytes that a text with `%` escapes stands for.
pub(crate) fn unescaped_bytes(text: &str) -> impl Iterator<Item = u8> + '_ {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (byte, after) = rest.split_first()?;
        let escaped = escaped_byte(*byte, after);
        rest = if escaped.is_some() { &after[2..] } else { after };
        Some(escaped.unwrap_or(*byte))
    })
}

/// The byte that an escape stands for: `first` is `%` and two hexadecimal digits follow.
fn escaped_byte(first: u8, after: &[u8]) -> Option<u8> {
    match after {
        [high, low, ..] if first == b'%' => Some(hex(high)? << 4 | hex(low)?),
        _ => None,
    }
}

fn hex(digit: &u8) -> Option<u8> {
    char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')')
}

const fn is_user(byte: u8) -> bool {
    is_password(byte) || matches!(byte, b';' | b'?' | b'/')
}

const fn is_password(byte: u8) -> bool {
    is_unreserved(byte) || matches!(byte, b'&' | b'=' | b'+' | b'$' | b',')
}

const fn is_param(byte: u8) -> bool {
    is_unreserved(byte) || matches!(byte, b'[' | b']' | b'/' | b':' | b'&' | b'+' | b'$')
}

const fn is_header(byte: u8) -> bool {
    is_unreserved(byte) || matches!(byte, b'[' | b']' | b'/' | b'?' | b':' | b'+' | b'$')
}

const USER: u8 = 1;
const PASSWORD: u8 = 2;
const PARAM: u8 = 4;
const HEADER: u8 = 8;
const DOT: u8 = 16;
const DIGIT: u8 = 32;
const LETTER: u8 = 64;
const HOST: u8 = DOT | DIGIT | LETTER;

/// What parts of a URI each byte may stand in.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        let in_host = match byte {
            b'.' => DOT,
            b'0'..=b'9' => DIGIT,
            b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' => LETTER,
            _ => 0,
        };
        classes[at] = in_host
            | if is_user(byte) { USER } else { 0 }
            | if is_password(byte) { PASSWORD } else { 0 }
            | if is_param(byte) { PARAM } else { 0 }
            | if is_header(byte) { HEADER } else { 0 };
        at += 1;
    }
    classes
};

/// Checks that each byte is of the class or a whole escape; `Err(Some(Escape))` for a broken escape.
fn check_escaped(text: &str, class: u8) -> Result<(), Option<UriError>> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if CLASSES[usize::from(byte)] & class != 0 {
            at += 1;
        } else if byte != b'%' {
            return Err(None);
        } else if bytes.get(at + 1).and_then(hex).is_none() || bytes.get(at + 2).and_then(hex).is_none() {
            return Err(Some(UriError::Escape));
        } else {
            at += 3;
        }
    }
    Ok(())
}

fn check_params(text: &str) -> Result<(), UriError> {
    if text.is_empty() {
        return Ok(());
    }
    for (index, piece) in text.split(';').skip(1).enumerate() {
        if index == PARTS_MAX {
            return Err(UriError::TooMany);
        }
        let (name, value) = scan::cut(piece, b'=').unwrap_or((piece, "-"));
        if name.is_empty() || value.is_empty() {
            return Err(UriError::Parameter);
        }
        for part in [name, value] {
            check_escaped(part, PARAM).map_err(|error| error.unwrap_or(UriError::Parameter))?;
        }
    }
    Ok(())
}

fn check_headers(text: &str) -> Result<(), UriError> {
    if text.is_empty() {
        return Ok(());
    }
    for (index, piece) in text.split('&').enumerate() {
        if index == PARTS_MAX {
            return Err(UriError::TooMany);
        }
        let (name, value) = piece.split_once('=').ok_or(UriError::Headers)?;
        if name.is_empty() {
            return Err(UriError::Headers);
        }
        for part in [name, value] {
            check_escaped(part, HEADER).map_err(|error| error.unwrap_or(UriError::Headers))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sip(text: &str) -> SipUri<'_> {
        *Uri::parse(text).unwrap().as_sip().unwrap()
    }

    #[test]
    fn reads_all_parts() {
        let uri = sip("sips:alice:pw@[2001:db8::1]:5071;transport=tcp;lr?subject=hi&a=b");
        assert!(uri.secure);
        assert_eq!((uri.user, uri.password), (Some("alice"), Some("pw")));
        assert_eq!(uri.host.ip(), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(uri.port, Some(5071));
        assert_eq!(uri.transport(), Some(Transport::Tcp));
        assert!(uri.is_loose_router());
        assert_eq!(uri.headers, "subject=hi&a=b");
        assert_eq!(uri.to_string(), "sips:alice:pw@[2001:db8::1]:5071;transport=tcp;lr?subject=hi&a=b");
    }

    #[test]
    fn reads_users_with_semicolons_and_escapes() {
        assert_eq!(sip("sip:user;par=u%40example.net@example.com").user, Some("user;par=u%40example.net"));
        assert_eq!(sip("sip:%61lice@example.com").user_unescaped().unwrap(), "alice");
        assert_eq!(sip("sip:null-%00-null@example.com").user_unescaped().unwrap(), "null-\0-null");
    }

    #[test]
    fn refuses_malformed_uris_by_the_part_that_is_wrong() {
        for (text, error) in [
            ("alice", UriError::Scheme),
            ("sip:alice@", UriError::Host),
            ("sip:@example.com", UriError::User),
            ("sip:a%zz@example.com", UriError::Escape),
            ("sip:alice@example.com:0", UriError::Port),
            ("sip:alice@example.com:99999", UriError::Port),
            ("sip:alice@example.com;", UriError::Parameter),
            ("sip:alice@[::g]", UriError::Host),
            ("sip:alice@[::1", UriError::Host),
            ("sip:alice@1.2.3.400", UriError::Host),
            ("sip:alice@example.com?x", UriError::Headers),
            ("<sip:alice@example.com>", UriError::Character),
            ("sip:a lice@example.com", UriError::Character),
            ("sip:al\u{e9}@example.com", UriError::User),
        ] {
            assert_eq!(Uri::parse(text).err(), Some(error), "{text}");
        }
    }

    #[test]
    fn default_ports_follow_scheme_and_transport() {
        assert_eq!(sip("sip:example.com").port_or_default(), 5060);
        assert_eq!(sip("sips:example.com").port_or_default(), 5061);
        assert_eq!(sip("sip:example.com;transport=tls").port_or_default(), 5061);
        assert_eq!(sip("sip:example.com:7000").port_or_default(), 7000);
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        for name in ["a", "a.b.", "x-1._y.example", "1.2.3.4.com", "3com"] {
            assert_eq!(Host::parse(name), Ok(Host::Name(name)));
        }
        for bad in ["", ".", "..", "a..b", ".a", "1.2.3", "1.2.3.4.5", "300.1.1.1", "a b", "é", "[::1", "::1"]
        {
            assert_eq!(Host::parse(bad), Err(UriError::Host), "{bad}");
        }
        for (text, ip) in [("1.2.3.4", "1.2.3.4"), ("[::1]", "::1"), ("[a:::1.2.3.4]", "a::1.2.3.4")] {
            assert_eq!(Host::parse(text).map(|host| host.ip()), Ok(Some(ip.parse().unwrap())));
        }
        for bad in ["[a:::b]", "[:::1.2.3.4:::1.2.3.4]", "[]", "[::1]x"] {
            assert!(Host::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keeps_unknown_schemes() {
        assert!(matches!(Uri::parse("nobodyKnowsThisScheme:x"), Ok(Uri::Other { .. })));
        assert!(Uri::parse("1x:y").is_err());
    }

    #[test]
    fn escapes_users_on_the_way_out() {
        assert_eq!(escape_user("a@b"), "a%40b");
        assert_eq!(unescape(&escape_user("Zoë 漢")), "Zoë 漢");
        let address = "127.0.0.1:5070".parse().unwrap();
        assert_eq!(UriBuf::for_address(Some("bob"), address).as_str(), "sip:bob@127.0.0.1:5070");
        assert_eq!(UriBuf::for_address(None, "[::1]:5070".parse().unwrap()).as_str(), "sip:[::1]:5070");
    }
}
