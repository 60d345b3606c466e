//! The Via header (RFC 3261 §20.42, RFC 3581).

use std::net::{IpAddr, SocketAddr};

use super::{TypedHeader, params, utf8};
use crate::error::Fault;
use crate::header_name::HeaderName;
use crate::net::Transport;
use crate::params::Params;
use crate::scan;
use crate::uri::{Host, leading_hostport};

/// The beginning of each branch that follows RFC 3261 §8.1.1.7.
pub const MAGIC_COOKIE: &str = "z9hG4bK";

/// One Via value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// The transport; `None` for one that Dialtone does not know.
    pub transport: Option<Transport>,
    /// The host of sent-by.
    pub host: Host<'a>,
    /// The port of sent-by, where one stands.
    pub port: Option<u16>,
    /// All parameters.
    pub params: Params<'a>,
    /// The text of sent-by, as it came.
    pub sent_by: &'a str,
}

impl<'a> TypedHeader<'a> for Via<'a> {
    const NAME: HeaderName = HeaderName::Via;

    fn parse(value: &'a [u8]) -> Result<Via<'a>, Fault> {
        let text = utf8(value)?;
        let (transport, rest) = protocol(text).ok_or(EXPECTED)?;
        // What stands before the first semicolon can have no quotes or brackets.
        let (host, port, end) = match leading_hostport(rest) {
            Ok(parts) if matches!(rest.as_bytes().get(parts.2), None | Some(b';')) => parts,
            _ => spaced_hostport(rest).ok_or(EXPECTED)?,
        };
        let params = params(&rest[end..])?;
        let sent_by = rest[..end].trim_ascii_end();
        Ok(Via { transport: Transport::from_token(transport), host, port, params, sent_by })
    }
}

const EXPECTED: Fault = Fault::Expected("SIP/2.0/TRANSPORT host[:port][;parameters]");

/// Cuts the transport off, and gives what follows it without white space in between.
fn protocol(text: &str) -> Option<(&[u8], &str)> {
    let rest = match text.strip_prefix("SIP/2.0/") {
        Some(rest) => rest,
        None => {
            let (name, rest) = scan::cut(text, b'/')?;
            let (version, rest) = scan::cut(rest, b'/')?;
            if !name.trim_ascii().eq_ignore_ascii_case("SIP") || version.trim_ascii() != "2.0" {
                return None;
            }
            rest
        }
    };
    let rest = rest.trim_ascii_start();
    let end = rest.bytes().position(scan::is_space)?;
    let transport = &rest.as_bytes()[..end];
    scan::is_token_text(transport).then(|| (transport, rest[end..].trim_ascii_start()))
}

/// Reads `host [ ":" port ]` up to the first semicolon, with white space allowed around the colon and at the end. IPv6
/// without brackets, which RFC 5118 §4.5 asks to accept in `received` only, is refused here.
fn spaced_hostport(rest: &str) -> Option<(Host<'_>, Option<u16>, usize)> {
    let end = scan::position(rest, b';').unwrap_or(rest.len());
    let text = rest[..end].trim_ascii();
    if !text.bytes().any(scan::is_space) {
        let (host, port, length) = leading_hostport(text).ok()?;
        return (length == text.len()).then_some((host, port, end));
    }
    let colon = text.rfind(':').filter(|colon| !text[*colon..].contains(']'))?;
    let host = Host::parse(text[..colon].trim()).ok()?;
    let port = scan::decimal(text[colon + 1..].trim().as_bytes())?;
    Some((host, Some(u16::try_from(port).ok().filter(|port| *port != 0)?), end))
}

impl<'a> Via<'a> {
    /// The branch; `None` when there is none (RFC 2543).
    pub fn branch(&self) -> Option<&'a str> {
        self.params.value("branch").filter(|branch| !branch.is_empty())
    }

    /// The branch, if it begins with the magic cookie (in any case, RFC 3261 §8.1.1.7) and more follows.
    pub fn rfc3261_branch(&self) -> Option<&'a str> {
        self.branch().filter(|branch| {
            branch.len() > MAGIC_COOKIE.len()
                && branch.as_bytes()[..MAGIC_COOKIE.len()].eq_ignore_ascii_case(MAGIC_COOKIE.as_bytes())
        })
    }

    /// The port of sent-by or the default of the transport.
    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or_else(|| self.transport.unwrap_or(Transport::Udp).default_port())
    }

    /// The `received` parameter; IPv6 with or without brackets (RFC 5118 §4.5).
    pub fn received(&self) -> Option<IpAddr> {
        let text = self.params.value("received")?;
        text.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// The `rport` parameter: `Some(None)` when it is asked for and not yet filled in (RFC 3581 §3).
    pub fn rport(&self) -> Option<Option<u16>> {
        let value = self.params.find("rport")?;
        Some(value.and_then(|text| scan::decimal(text.as_bytes())).and_then(|port| u16::try_from(port).ok()))
    }

    /// Whether the server that got the request from `source` must say so in `received` (RFC 3261 §18.2.1,
    /// RFC 3581 §4): sent-by is a name or another address, or `rport` was asked for.
    pub fn needs_received(&self, source: SocketAddr) -> bool {
        self.host.ip() != Some(source.ip()) || self.params.has("rport")
    }

    /// Where a response goes over an unreliable transport (RFC 3261 §18.2.2, RFC 3581 §4), when the request
    /// came from `source`: its address, and its port if `rport` asked for it, else the port of sent-by.
    /// (`maddr` is not obeyed: it would let a request aim our answers at anybody.)
    pub fn response_address(&self, source: SocketAddr) -> SocketAddr {
        let port = if self.params.has("rport") { source.port() } else { self.port_or_default() };
        SocketAddr::new(source.ip(), port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn via(text: &str) -> Via<'_> {
        Via::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn reads_all_parts_with_any_white_space() {
        let one = via("SIP / 2.0\r\n / UDP\r\n    192.0.2.2 : 5061 ;branch = z9hG4bK390skdjuw; rport");
        assert_eq!(one.transport, Some(Transport::Udp));
        assert_eq!(one.host.ip(), Some("192.0.2.2".parse().unwrap()));
        assert_eq!(one.port, Some(5061));
        assert_eq!(one.rfc3261_branch(), Some("z9hG4bK390skdjuw"));
        assert_eq!(one.rport(), Some(None));
    }

    #[test]
    fn keeps_unknown_transports() {
        let one = via("SIP/2.0/UNKNOWN t1.example.com;branch=z9hG4bKx");
        assert_eq!(one.transport, None);
        assert_eq!(one.host, Host::Name("t1.example.com"));
    }

    #[test]
    fn knows_branches_of_old_elements() {
        assert_eq!(via("SIP/2.0/UDP a.b;branch=z9hG4bK").rfc3261_branch(), None);
        assert_eq!(via("SIP/2.0/UDP a.b;branch=1").rfc3261_branch(), None);
        assert_eq!(via("SIP/2.0/UDP a.b").branch(), None);
        assert_eq!(via("SIP/2.0/UDP a.b;branch=z9hg4bkX").rfc3261_branch(), Some("z9hg4bkX"));
    }

    #[test]
    fn sends_responses_where_the_rfcs_say() {
        let source = "192.0.2.9:7000".parse().unwrap();
        let address = |text: &str| via(text).response_address(source).to_string();
        assert_eq!(address("SIP/2.0/UDP 10.0.0.2:5070;branch=z9hG4bKx"), "192.0.2.9:5070");
        assert_eq!(address("SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKx"), "192.0.2.9:5060");
        assert_eq!(address("SIP/2.0/UDP 10.0.0.2:5070;rport;branch=z9hG4bKx"), "192.0.2.9:7000");
        assert!(via("SIP/2.0/UDP 10.0.0.2").needs_received(source));
        assert!(!via("SIP/2.0/UDP 192.0.2.9").needs_received(source));
        assert!(via("SIP/2.0/UDP 192.0.2.9;rport").needs_received(source));
    }

    #[test]
    fn reads_ipv6_in_received_with_and_without_brackets() {
        let expected = Some("2001:db8::9:255".parse().unwrap());
        assert_eq!(via("SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255]").received(), expected);
        assert_eq!(via("SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255").received(), expected);
    }

    #[test]
    fn refuses_what_is_no_via() {
        for bad in ["", "SIP/2.0/UDP", "SIP/1.0/UDP a", "HTTP/2.0/UDP a", "SIP/2.0/UDP a b", "SIP/2.0/U@P a"]
        {
            assert!(Via::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
