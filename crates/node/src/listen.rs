//! Where a server listens: what may be asked for, and which addresses come of it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use dialtone_roles::settings::Listener;
use dialtone_wire::net::Transport;
use thiserror::Error;

/// The port of SIP over UDP and TCP (RFC 3261 §19.1.2).
pub const DEFAULT_PORT: u16 = 5060;

/// One `--listen`: a transport and an address, `udp:192.168.1.2:5060` or `tcp:[::1]:5060`. The addresses `0.0.0.0`
/// and `::` stand for all addresses of their family; port 0 for any free port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListenAddress {
    /// The transport.
    pub transport: Transport,
    /// The address, or the wildcard of a family.
    pub address: SocketAddr,
}

/// Why a text is no [`ListenAddress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ListenSyntax {
    /// It does not start with a transport that we listen on.
    #[error(
        "expected udp:ADDRESS:PORT or tcp:ADDRESS:PORT, for example udp:192.168.1.2:5060 or tcp:[::1]:5060"
    )]
    Transport,
    /// What follows is no address with port.
    #[error(
        "expected an IP address and a port after the transport, for example udp:192.168.1.2:5060 or tcp:[::1]:5060"
    )]
    Address,
}

impl FromStr for ListenAddress {
    type Err = ListenSyntax;

    fn from_str(text: &str) -> Result<ListenAddress, ListenSyntax> {
        let (scheme, address) = text.split_once(':').ok_or(ListenSyntax::Transport)?;
        let transport = Transport::from_token(scheme.as_bytes())
            .filter(|transport| matches!(transport, Transport::Udp | Transport::Tcp))
            .ok_or(ListenSyntax::Transport)?;
        let address = address.parse().map_err(|_| ListenSyntax::Address)?;
        Ok(ListenAddress { transport, address })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.token().to_ascii_lowercase(), self.address)
    }
}

/// Why there is nothing to listen on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListenError {
    /// An address that others can reach was asked for.
    #[error("{0} can be reached from outside: add --public if that is what you want")]
    Public(IpAddr),
    /// All addresses were asked for, public ones among them or not.
    #[error("{0} stands for all addresses, public ones too: add --public if that is what you want")]
    Wildcard(IpAddr),
    /// The machine has no address of the kind.
    #[error("this machine has no address to listen on: is the network up? Name one with --listen")]
    NoAddress,
    /// The addresses of the machine can't be read.
    #[error("the addresses of this machine can't be read: {0}")]
    Interfaces(#[source] io::Error),
}

/// An address of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnAddress {
    /// The address.
    pub ip: IpAddr,
    /// Bits of its network.
    pub prefix_length: u8,
}

/// The addresses of this machine that are up, IPv4 first, loopback first; without link-local ones, which mean nothing
/// without their interface.
///
/// # Errors
/// When the system does not tell.
pub fn own_addresses() -> Result<Vec<OwnAddress>, ListenError> {
    let interfaces = if_addrs::get_if_addrs().map_err(ListenError::Interfaces)?;
    let mut found: Vec<OwnAddress> = interfaces
        .into_iter()
        .filter(|interface| interface.is_oper_up() || interface.is_loopback())
        .map(|interface| match interface.addr {
            if_addrs::IfAddr::V4(v4) => OwnAddress { ip: v4.ip.into(), prefix_length: v4.prefixlen },
            if_addrs::IfAddr::V6(v6) => OwnAddress { ip: v6.ip.into(), prefix_length: v6.prefixlen },
        })
        .filter(|own| !is_link_local(own.ip))
        .collect();
    found.sort_by_key(|own| (own.ip.is_ipv6(), !own.ip.is_loopback(), own.ip));
    found.dedup_by_key(|own| own.ip);
    Ok(found)
}

/// Finds the listeners that come of what was asked for. Without anything asked: port 5060 of UDP and TCP
/// (RFC 3261 §18: every element implements both) on the loopback and on each private address, and with `public` on
/// all addresses.
///
/// # Errors
/// When an address needs `public`, or there is none.
pub fn listeners(
    asked: &[ListenAddress],
    public: bool,
    own: &[OwnAddress],
) -> Result<Vec<Listener>, ListenError> {
    let mut found: Vec<Listener> = Vec::new();
    let mut add = |transport, address: SocketAddr| {
        let listener = Listener { transport, address, prefix_length: prefix_length(address.ip(), own) };
        if address.port() == 0 || !found.contains(&listener) {
            found.push(listener);
        }
    };
    if asked.is_empty() {
        for address in own.iter().filter(|address| public || !is_public(address.ip)) {
            for transport in [Transport::Udp, Transport::Tcp] {
                add(transport, SocketAddr::new(address.ip, DEFAULT_PORT));
            }
        }
    }
    for one in asked {
        let ip = one.address.ip();
        if ip.is_unspecified() {
            if !public {
                return Err(ListenError::Wildcard(ip));
            }
            // Each address has its own socket, so that each datagram is known to have come to one of them.
            for address in own.iter().filter(|address| address.ip.is_ipv4() == ip.is_ipv4()) {
                add(one.transport, SocketAddr::new(address.ip, one.address.port()));
            }
        } else if is_public(ip) && !public {
            return Err(ListenError::Public(ip));
        } else {
            add(one.transport, one.address);
        }
    }
    if found.is_empty() { Err(ListenError::NoAddress) } else { Ok(found) }
}

/// Whether somebody outside of this machine and its private networks may reach the address: all but the loopback, the
/// networks of RFC 1918, unique local addresses (RFC 4193) and link-local ones. Shared address space (RFC 6598)
/// belongs to a carrier and counts as public.
pub fn is_public(ip: IpAddr) -> bool {
    let private = match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    !private
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Bits of the network of an address; for one that is not known to be ours, the loopback's or only itself.
pub(crate) fn prefix_length(ip: IpAddr, own: &[OwnAddress]) -> u8 {
    let known = own.iter().find(|address| address.ip == ip).map(|address| address.prefix_length);
    known.unwrap_or(match ip {
        IpAddr::V4(ip) if ip.is_loopback() => 8,
        IpAddr::V4(_) => u8::try_from(Ipv4Addr::BITS).unwrap_or(u8::MAX),
        IpAddr::V6(_) => u8::try_from(Ipv6Addr::BITS).unwrap_or(u8::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Vec<OwnAddress> {
        let all = [("127.0.0.1", 8), ("192.168.1.20", 24), ("5.6.7.8", 24), ("::1", 128), ("fd00::20", 64)];
        all.map(|(ip, prefix_length)| OwnAddress { ip: ip.parse().expect("an address"), prefix_length })
            .to_vec()
    }

    /// What comes of a list of `--listen`, as text; `!` before the words of an error.
    fn check(asked: &[&str], public: bool, expected: &[&str]) {
        let asked: Vec<ListenAddress> = asked.iter().map(|text| text.parse().expect("it parses")).collect();
        let got = match listeners(&asked, public, &own()) {
            Ok(found) => found
                .iter()
                .map(|one| {
                    let scheme = if one.transport == Transport::Tcp { "tcp:" } else { "" };
                    format!("{scheme}{}/{}", one.address, one.prefix_length)
                })
                .collect(),
            Err(error) => vec![format!("!{error}")],
        };
        let same = got.len() == expected.len()
            && got.iter().zip(expected).all(|(got, expected)| match expected.strip_prefix('!') {
                Some(words) => got.starts_with('!') && got.contains(words),
                None => got == expected,
            });
        assert!(same, "{got:?} instead of {expected:?}");
    }

    #[test]
    fn without_a_word_it_listens_on_loopback_and_private_addresses() {
        check(
            &[],
            false,
            &[
                "127.0.0.1:5060/8",
                "tcp:127.0.0.1:5060/8",
                "192.168.1.20:5060/24",
                "tcp:192.168.1.20:5060/24",
                "[::1]:5060/128",
                "tcp:[::1]:5060/128",
                "[fd00::20]:5060/64",
                "tcp:[fd00::20]:5060/64",
            ],
        );
    }

    #[test]
    fn with_public_it_listens_on_all() {
        let all = [
            "127.0.0.1:5060/8",
            "tcp:127.0.0.1:5060/8",
            "192.168.1.20:5060/24",
            "tcp:192.168.1.20:5060/24",
            "5.6.7.8:5060/24",
            "tcp:5.6.7.8:5060/24",
            "[::1]:5060/128",
            "tcp:[::1]:5060/128",
            "[fd00::20]:5060/64",
            "tcp:[fd00::20]:5060/64",
        ];
        check(&[], true, &all);
    }

    #[test]
    fn a_public_address_or_all_addresses_need_public() {
        check(&["udp:5.6.7.8:5060"], false, &["!--public"]);
        check(&["udp:0.0.0.0:5060"], false, &["!--public"]);
        check(&["tcp:5.6.7.8:5060"], false, &["!--public"]);
        check(&["udp:[::]:5060"], false, &["!--public"]);
        check(&["udp:[::ffff:5.6.7.8]:5060"], false, &["!--public"]);
        check(&["udp:5.6.7.8:5070"], true, &["5.6.7.8:5070/24"]);
    }

    #[test]
    fn a_wildcard_becomes_the_addresses_of_its_family() {
        check(&["udp:0.0.0.0:5070"], true, &["127.0.0.1:5070/8", "192.168.1.20:5070/24", "5.6.7.8:5070/24"]);
        check(&["udp:[::]:0"], true, &["[::1]:0/128", "[fd00::20]:0/64"]);
    }

    #[test]
    fn an_address_named_twice_is_bound_once() {
        check(&["udp:127.0.0.2:5060", "UDP:127.0.0.2:5060"], false, &["127.0.0.2:5060/8"]);
        check(
            &["udp:127.0.0.2:5060", "tcp:127.0.0.2:5060"],
            false,
            &["127.0.0.2:5060/8", "tcp:127.0.0.2:5060/8"],
        );
    }

    #[test]
    fn what_is_no_address_is_refused_with_an_example() {
        for text in
            ["", "udp", "udp:", "udp:host:5060", "udp:127.0.0.1", "udp:::1:5060", "sctp:127.0.0.1:5060"]
        {
            let error = text.parse::<ListenAddress>().expect_err(text);
            assert!(error.to_string().contains("tcp:[::1]:5060"), "{text}: {error}");
        }
        for text in ["udp:[::1]:5060", "tcp:127.0.0.1:0"] {
            assert_eq!(text.parse::<ListenAddress>().expect("an address").to_string(), text);
        }
    }
}
