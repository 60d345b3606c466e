//! Pairs of ports: RTP on an even one, RTCP on the next (RFC 3550 §11).

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use dialtone_transport::sys::{UdpOptions, UdpSocket};

/// Pairs that are tried before giving up.
const TRIES_MAX: u32 = 256;
/// A call needs little: 50 packets of 200 bytes a second.
const BUFFER_BYTES: usize = 128 * 1024;

/// Finds free pairs, going round through the range from a random start, so that a pair just given back rests longest.
#[derive(Debug)]
pub(super) struct Ports {
    first: u16,
    pairs: u32,
    next: BTreeMap<IpAddr, u32>,
    start: u32,
}

impl Ports {
    pub(super) fn new((first, last): (u16, u16), random: u64) -> Ports {
        let first = first.saturating_add(first % 2);
        let pairs = (u32::from(last) + 1).saturating_sub(u32::from(first)) / 2;
        Ports { first, pairs, next: BTreeMap::new(), start: (random % u64::from(pairs.max(1))) as u32 }
    }

    /// Binds a pair on an address.
    ///
    /// # Errors
    /// The last error, when none of the pairs that were tried is free; at once when the address is not ours.
    pub(super) fn bind(&mut self, ip: IpAddr) -> io::Result<(UdpSocket, UdpSocket)> {
        let options = UdpOptions { reuse_port: false, receive_bytes: BUFFER_BYTES, send_bytes: BUFFER_BYTES };
        let next = self.next.entry(ip).or_insert(self.start);
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..TRIES_MAX.min(self.pairs) {
            let rtp_port = self.first + u16::try_from(*next * 2).unwrap_or(0);
            *next = (*next + 1) % self.pairs.max(1);
            let bind = |port| UdpSocket::bind(SocketAddr::new(ip, port), options);
            match bind(rtp_port).and_then(|rtp| Ok((rtp, bind(rtp_port + 1)?))) {
                Ok(pair) => return Ok(pair),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn pairs_are_even_and_next_to_each_other_and_differ() {
        let mut ports = Ports::new((16_384, 32_766), 77);
        let pairs: Vec<_> = (0..10).map(|_| ports.bind(LOOPBACK).expect("a pair")).collect();
        for (rtp, rtcp) in &pairs {
            assert_eq!(rtp.local().port() % 2, 0);
            assert_eq!(rtcp.local().port(), rtp.local().port() + 1);
            assert!((16_384..32_766).contains(&rtp.local().port()));
        }
    }

    #[test]
    fn when_all_are_taken_it_says_so_and_a_freed_pair_is_found_again() {
        let (rtp, rtcp) = Ports::new((16_384, 32_766), random::number()).bind(LOOPBACK).expect("a pair");
        let port = rtp.local().port();
        drop((rtp, rtcp));
        // Room for this pair only: the odd port before it and the even one after it are no pair.
        let mut ports = Ports::new((port - 1, port + 2), 0);
        let pair = ports.bind(LOOPBACK).expect("it is free");
        assert_eq!(pair.0.local().port(), port);
        assert_eq!(ports.bind(LOOPBACK).expect_err("it is taken").kind(), io::ErrorKind::AddrInUse);
        drop(pair);
        assert_eq!(ports.bind(LOOPBACK).expect("it is free again").0.local().port(), port);
    }

    #[test]
    fn an_address_that_is_not_ours_is_refused_at_once() {
        let mut ports = Ports::new((16_384, 32_766), 0);
        let error =
            ports.bind("192.0.2.1".parse().expect("an address")).expect_err("a documentation address");
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    }
}
