//! Which challenges a phone understands.
//!
//! RFC 8760 §2.4 offers several algorithms, the strongest first, and a phone passes over those that it does not know.
//! Some don't: baresip 1.0 gives up when any challenge is not MD5, SIPp and sipsak read the first challenge only. Such
//! a phone gets MD5 alone if it is known by its product token, if it names none, or once it has come back several
//! times without credentials for what it was offered. MD5 is on offer to everybody, so nobody is weakened by this.

use std::hash::{BuildHasher as _, Hasher as _};
use std::net::SocketAddr;
use std::time::Duration;

use dialtone_wire::time::Instant;
use dialtone_wire::{HeaderName, Message};
use foldhash::fast::FixedState;

/// Beginnings of User-Agent values that are known to fail with several algorithms.
const KNOWN: [&str; 4] = ["baresip v0.", "baresip v1.", "sipsak", "SIPp"];
/// Challenges without an answer after which a phone is taken for an old one.
const PATIENCE: u8 = 2;
/// How long that is remembered.
const MEMORY: Duration = Duration::from_secs(24 * 3600);
/// Phones remembered at most: a table of fixed size, in which a newcomer takes the place of whoever is there.
const PLACES: usize = 4096;

/// What one shard remembers of phones that do not answer its challenges.
#[derive(Debug)]
pub(crate) struct OldPhones {
    hasher: FixedState,
    places: Vec<Place>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    source: u64,
    challenges: u8,
    last: Instant,
}

impl OldPhones {
    pub(crate) fn new(seed: u64) -> OldPhones {
        OldPhones { hasher: FixedState::with_seed(seed), places: vec![Place::default(); PLACES] }
    }

    /// Whether the challenge for a request is to be MD5 alone. Counts the challenge.
    pub(crate) fn wants_md5(&mut self, now: Instant, request: &Message, source: SocketAddr) -> bool {
        let product = request.value(HeaderName::UserAgent).unwrap_or(b"");
        if product.is_empty() || KNOWN.iter().any(|known| product.starts_with(known.as_bytes())) {
            return true;
        }
        let source = self.key(source);
        let place = &mut self.places[(source % PLACES as u64) as usize];
        if place.source != source || now - place.last > MEMORY {
            *place = Place { source, challenges: 0, last: now };
        }
        let wants_md5 = place.challenges >= PATIENCE;
        if !wants_md5 {
            place.challenges += 1;
        }
        place.last = now;
        wants_md5
    }

    /// A phone has answered a challenge: it copes with what it was offered.
    pub(crate) fn answered(&mut self, source: SocketAddr) {
        let source = self.key(source);
        let place = &mut self.places[(source % PLACES as u64) as usize];
        if place.source == source && place.challenges < PATIENCE {
            place.challenges = 0;
        }
    }

    fn key(&self, source: SocketAddr) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        match source.ip() {
            std::net::IpAddr::V4(ip) => hasher.write_u32(ip.into()),
            std::net::IpAddr::V6(ip) => hasher.write_u128(ip.into()),
        }
        hasher.write_u16(source.port());
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use dialtone_wire::Limits;

    use super::*;

    fn request(product: &str) -> Message {
        let text = format!("REGISTER sip:a SIP/2.0\r\nCall-ID: x\r\n{product}\r\n");
        Message::parse(Bytes::from(text), &Limits::default()).unwrap()
    }

    #[test]
    fn phones_that_are_known_to_fail_get_md5_at_once() {
        let mut phones = OldPhones::new(1);
        let source = "127.0.0.1:1".parse().unwrap();
        for product in ["", "User-Agent: baresip v1.0.0 (x86_64/linux)\r\n", "User-Agent: sipsak 0.9.8.1\r\n"]
        {
            assert!(phones.wants_md5(Instant::START, &request(product), source), "{product}");
        }
        assert!(!phones.wants_md5(Instant::START, &request("User-Agent: baresip v4.2.0\r\n"), source));
    }

    #[test]
    fn a_phone_that_never_answers_gets_md5_the_third_time_and_for_a_day() {
        let mut phones = OldPhones::new(1);
        let (one, other) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        let request = request("User-Agent: Desk 1\r\n");
        let now = Instant::from_millis(5);
        let asked: Vec<bool> = (0..4).map(|_| phones.wants_md5(now, &request, one)).collect();
        assert_eq!(asked, [false, false, true, true]);
        assert!(!phones.wants_md5(now, &request, other));
        phones.answered(one);
        assert!(phones.wants_md5(now, &request, one), "it answered MD5 alone, which says nothing of others");
        assert!(!phones.wants_md5(now + MEMORY + Duration::from_secs(1), &request, one));
    }

    #[test]
    fn a_phone_that_answers_is_offered_everything_each_time() {
        let mut phones = OldPhones::new(1);
        let source = "127.0.0.1:1".parse().unwrap();
        for _ in 0..10 {
            assert!(!phones.wants_md5(Instant::START, &request("User-Agent: Desk 2\r\n"), source));
            phones.answered(source);
        }
    }
}
