//! Session descriptions from one side of a bridge to the other: the one place that changes them.
//!
//! `o=` is ours on each leg, since it names who made the description (RFC 8866 §5.2); its version rises when the rest has
//! changed (RFC 3264 §8). Streams of kinds that nobody chose are refused with port 0. All else passes as it came, the
//! addresses of the media too: sound goes from phone to phone.

use std::net::IpAddr;

use bytes::Bytes;
use dialtone_wire::Method;

use super::align::inactive;
use crate::settings::BridgeSettings;
use crate::text::push_number;

/// What was described to a peer, and what it has described, in one dialog.
#[derive(Clone, Debug, Default)]
pub(super) struct Described {
    session: u64,
    version: u64,
    /// The version that counts last was refused: what is sent next is another one, whatever it says.
    was_refused: bool,
    /// What we sent last, as we sent it, but for what was refused.
    pub(super) sent: Bytes,
    /// An offer that met another request and is made again later; nothing else was described since.
    postponed: Option<Bytes>,
    /// What came last, as it came.
    pub(super) received: Bytes,
    /// That of the early session beside it (RFC 3959).
    early: Option<Box<Described>>,
    /// What passes next asks for nothing: the peer holds, and somebody else plays to whom it holds.
    pub(super) hushes: bool,
}

impl Described {
    /// `random` names the session.
    pub(super) const fn new(random: u64) -> Described {
        // Digits that fit into a signed number of 64 bits everywhere.
        Described {
            session: random >> 2,
            version: 0,
            was_refused: false,
            sent: Bytes::new(),
            postponed: None,
            received: Bytes::new(),
            early: None,
            hushes: false,
        }
    }

    /// The description that the peer gets for one that came from the other side.
    pub(super) fn pass(&mut self, settings: &BridgeSettings, body: &[u8], ours: IpAddr) -> Bytes {
        let hushed = std::mem::take(&mut self.hushes).then(|| inactive(body));
        let body = hushed.as_deref().unwrap_or(body);
        self.write(body, ours, |kind| settings.media.iter().any(|known| known.as_bytes() == kind))
    }

    /// Rewrites what comes with a method; what is described beside the session is no version of it.
    pub(super) fn carry<T>(&mut self, method: &Method, rewrite: impl FnOnce(&mut Described) -> T) -> T {
        if changes_session(method) { rewrite(self) } else { rewrite(&mut self.clone()) }
    }

    /// That of the early session, which has a name of its own.
    pub(super) fn early(&mut self) -> &mut Described {
        let random = self.session.wrapping_add(1) << 2;
        self.early.get_or_insert_with(|| Box::new(Described::new(random)))
    }

    /// The answer to an offer that nobody takes: all streams refused.
    pub(super) fn refuse(&mut self, offer: &[u8], ours: IpAddr) -> Bytes {
        self.write(offer, ours, |_| false)
    }

    /// What was sent at some time once more, as an offer.
    pub(super) fn again(&mut self, body: &[u8], ours: IpAddr) -> Bytes {
        self.write(body, ours, |_| true)
    }

    /// What was offered last was refused: what was sent before holds (RFC 3261 §14.1 "as if no re-INVITE had been issued").
    pub(super) fn was_refused(&mut self, before: Bytes) {
        self.was_refused = self.sent != before;
        self.sent = before;
    }

    /// The same for now: what was offered is offered again later (RFC 3261 §14.1, 491).
    pub(super) fn was_postponed(&mut self, before: Bytes) {
        let offered = Some(self.sent.clone()).filter(|offered| *offered != before);
        self.was_refused(before);
        self.postponed = offered;
    }

    /// What was sent at some time is to be offered again, as soon as that may be.
    pub(super) fn postpone(&mut self, body: Bytes) {
        self.postponed = Some(body);
    }

    /// What is to be offered again, once.
    pub(super) const fn take_postponed(&mut self) -> Option<Bytes> {
        self.postponed.take()
    }

    fn write(&mut self, body: &[u8], ours: IpAddr, takes: impl Fn(&[u8]) -> bool) -> Bytes {
        self.postponed = None;
        let mut rest = Vec::with_capacity(body.len() + 64);
        let mut at = None;
        for line in body.split_inclusive(|byte| *byte == b'\n') {
            match line {
                [b'o', b'=', ..] => at = at.or(Some(rest.len())),
                [b'm', b'=', stream @ ..] => push_stream(&mut rest, stream, &takes),
                _ => rest.extend_from_slice(line),
            }
        }
        let Some(at) = at else {
            // Without o= it is no description; whoever gets it says so.
            self.sent = rest.into();
            return self.sent.clone();
        };
        if self.version == 0 || std::mem::take(&mut self.was_refused) || self.rest() != rest {
            self.version += 1;
        }
        let mut origin = String::with_capacity(64);
        origin.push_str("o=- ");
        push_number(&mut origin, self.session);
        origin.push(' ');
        push_number(&mut origin, self.version);
        origin.push_str(if ours.is_ipv4() { " IN IP4 " } else { " IN IP6 " });
        origin.push_str(&ours.to_string());
        origin.push_str("\r\n");
        rest.splice(at..at, origin.into_bytes());
        self.sent = rest.into();
        self.sent.clone()
    }

    /// What we sent last without its `o=` line.
    fn rest(&self) -> Vec<u8> {
        let lines = self.sent.split_inclusive(|byte| *byte == b'\n');
        lines.filter(|line| !line.starts_with(b"o=")).flatten().copied().collect()
    }
}

/// Whether a description in it is an offer or an answer (RFC 3264, RFC 6337 §2.2).
pub(super) const fn changes_session(method: &Method) -> bool {
    matches!(method, Method::Invite | Method::Ack | Method::Prack | Method::Update)
}

/// Whether two descriptions say the same, whoever made them.
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    let lines = |body: &[u8]| -> Vec<Vec<u8>> {
        let lines = body.split(|byte| *byte == b'\n').map(|line| line.trim_ascii_end());
        lines.filter(|line| !line.starts_with(b"o=") && !line.is_empty()).map(<[u8]>::to_vec).collect()
    };
    lines(one) == lines(other)
}

/// An `m=` line, with port 0 if its kind is not taken.
fn push_stream(out: &mut Vec<u8>, stream: &[u8], takes: impl Fn(&[u8]) -> bool) {
    out.extend_from_slice(b"m=");
    let mut words = stream.splitn(3, |byte| *byte == b' ');
    match (words.next(), words.next(), words.next()) {
        (Some(kind), Some(_), Some(rest)) if !takes(kind) => {
            out.extend_from_slice(kind);
            out.extend_from_slice(b" 0 ");
            out.extend_from_slice(rest);
        }
        _ => out.extend_from_slice(stream),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=alice 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
                         m=audio 4000 RTP/AVP 0\r\na=sendrecv\r\nm=smell 4002/2 RTP/AVP 99\r\n";

    fn ours() -> IpAddr {
        "192.0.2.1".parse().expect("an address")
    }

    #[test]
    fn the_origin_is_ours_and_what_nobody_knows_has_port_0() {
        let mut described = Described::new(40);
        let passed = described.pass(&BridgeSettings::default(), OFFER.as_bytes(), ours());
        let expected = OFFER
            .replace("o=alice 1 1 IN IP4 192.0.2.9", "o=- 10 1 IN IP4 192.0.2.1")
            .replace("m=smell 4002/2 ", "m=smell 0 ");
        assert_eq!(std::str::from_utf8(&passed), Ok(expected.as_str()));
        let refused = described.refuse(OFFER.as_bytes(), ours());
        assert!(refused.windows(14).any(|part| part == b"m=audio 0 RTP/"), "{refused:?}");
    }

    #[test]
    fn the_version_rises_by_one_and_only_when_the_rest_has_changed() {
        let mut described = Described::new(40);
        let settings = BridgeSettings::default();
        let mut version = |body: &str| {
            let passed = described.pass(&settings, body.as_bytes(), ours());
            let text = String::from_utf8(passed.to_vec()).expect("text");
            text.lines().nth(1).and_then(|line| line.split(' ').nth(2)?.parse::<u64>().ok())
        };
        assert_eq!(version(OFFER), Some(1));
        assert_eq!(version(&OFFER.replace("alice 1 1", "alice 1 7")), Some(1));
        assert_eq!(version(&OFFER.replace("sendrecv", "sendonly")), Some(2));
        assert_eq!(version(OFFER), Some(3));
    }

    #[test]
    fn a_refused_offer_leaves_what_was_sent_before_and_its_version_is_not_used_again() {
        let mut described = Described::new(40);
        let settings = BridgeSettings::default();
        let before = described.pass(&settings, OFFER.as_bytes(), ours());
        described.pass(&settings, OFFER.replace("sendrecv", "sendonly").as_bytes(), ours());
        described.was_refused(before.clone());
        assert_eq!(described.sent, before);
        let again = described.again(&before, ours());
        assert!(again.windows(7).any(|part| part == b"o=- 10 "), "{again:?}");
        assert!(again.windows(9).any(|part| part == b"o=- 10 3 "), "{again:?}");
        // One that is offered and refused unchanged uses up nothing.
        described.was_refused(again.clone());
        assert_eq!(described.again(&again, ours()), again);
    }

    #[test]
    fn what_is_no_description_passes_as_it_came() {
        let mut described = Described::new(40);
        for body in ["", "nonsense", "m=\nm=audio\n", "m=smell 1"] {
            let passed = described.pass(&BridgeSettings::default(), body.as_bytes(), ours());
            assert_eq!(passed, body.as_bytes());
        }
    }
}
