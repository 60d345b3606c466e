//! Who opened a connection, as far as limits go.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// An IPv4 address, or the network of an IPv6 address: one subscriber has at least 2^64 of the latter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source(IpAddr);

impl Source {
    pub(super) fn of(remote: SocketAddr) -> Source {
        Source(match remote.ip().to_canonical() {
            IpAddr::V4(ip) => ip.into(),
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        })
    }
}
