//! Reliable provisional responses (RFC 3262): a 101 to 199 with RSeq is sent again until its PRACK comes.
//!
//! ```text
//!   UAS                                                UAC
//!    |-- 183 Require: 100rel, RSeq: 7 -----------------> |  Next: PRACK
//!    |-- the same, after T1, 2·T1, 4·T1 … -------------> |  Repeated: nothing
//!    | <----------------- PRACK, RAck: 7 1 INVITE ------ |
//!    |-- 200 (PRACK) ----------------------------------> |
//!    64·T1 without PRACK: the INVITE is refused with 504
//! ```

use std::time::Duration;

use bytes::Bytes;
use dialtone_wire::headers::{RAck, RSeq};
use dialtone_wire::time::Instant;
use dialtone_wire::{HeaderName, Message, Method};

/// The option tag (RFC 3262 §3).
pub const OPTION_TAG: &str = "100rel";

/// The first RSeq is below this, so that it never wraps (RFC 3262 §3: "between 1 and 2**31 - 1").
const FIRST_MAX: u32 = (1 << 31) - 1;

/// What is due at a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Send this response again.
    Resend(Bytes),
    /// Nobody acknowledges it: the INVITE is to be refused with a 5xx (RFC 3262 §3).
    GiveUp,
}

/// The reliable provisional responses of one INVITE, at its server. One of them at a time waits for its PRACK: "the
/// UAS MUST NOT send a second reliable provisional response until the first is acknowledged" (§3), and waiting with
/// each further one costs a round trip and spares a window.
#[derive(Clone, Debug)]
pub struct ReliableSender {
    invite_cseq: u32,
    next_rseq: u32,
    waiting: Option<Waiting>,
}

#[derive(Clone, Debug)]
struct Waiting {
    rseq: u32,
    bytes: Bytes,
    /// How long until the next sending but this one.
    interval: Duration,
    resend_at: Instant,
    give_up_at: Instant,
    is_stopped: bool,
}

impl ReliableSender {
    /// For the INVITE with this CSeq number; `random` chooses the first RSeq.
    pub const fn new(invite_cseq: u32, random: u32) -> ReliableSender {
        ReliableSender { invite_cseq, next_rseq: 1 + random % FIRST_MAX, waiting: None }
    }

    /// The RSeq of the next response; `None` while one waits for its PRACK.
    pub fn next_rseq(&self) -> Option<RSeq> {
        self.waiting.is_none().then_some(RSeq(self.next_rseq))
    }

    /// The response with [`ReliableSender::next_rseq`] went out.
    pub fn sent(&mut self, now: Instant, t1: Duration, bytes: Bytes) {
        let rseq = self.next_rseq;
        self.next_rseq = rseq.wrapping_add(1).max(1);
        let (resend_at, give_up_at) = (now + t1, now + t1 * 64);
        self.waiting = Some(Waiting { rseq, bytes, interval: t1, resend_at, give_up_at, is_stopped: false });
    }

    /// Whether a PRACK is for the response that waits. It gets 2xx then and otherwise 481 (§3).
    pub fn awaits(&self, prack: &Message) -> bool {
        let Some(Ok(rack)) = prack.header::<RAck>() else { return false };
        let is_for = |waiting: &Waiting| {
            rack.rseq == waiting.rseq && rack.cseq == self.invite_cseq && rack.method == Method::Invite
        };
        self.waiting.as_ref().is_some_and(is_for)
    }

    /// A PRACK came: whether it is for the response that waits, which then waits no more.
    pub fn acknowledged(&mut self, prack: &Message) -> bool {
        let matches = self.awaits(prack);
        if matches {
            self.waiting = None;
        }
        matches
    }

    /// The INVITE has its final response: nothing is sent again, but the PRACK of what went out may still come
    /// (§3: "MUST be prepared to process PRACK requests for those outstanding responses").
    pub fn stop(&mut self) {
        if let Some(waiting) = &mut self.waiting {
            waiting.is_stopped = true;
        }
    }

    /// Whether a response waits for its PRACK; a 2xx waits with it if the response had an offer or answer (§5).
    pub const fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// When to call [`ReliableSender::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let waiting = self.waiting.as_ref().filter(|waiting| !waiting.is_stopped)?;
        Some((waiting.resend_at.min(waiting.give_up_at), "reliable_response"))
    }

    /// What is due; each is said once.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Due> {
        let waiting = self.waiting.as_mut().filter(|waiting| !waiting.is_stopped)?;
        if now >= waiting.give_up_at {
            self.waiting = None;
            return Some(Due::GiveUp);
        }
        if now < waiting.resend_at {
            return None;
        }
        // §3: doubling, without the cap of T2.
        waiting.interval *= 2;
        waiting.resend_at = now + waiting.interval;
        Some(Due::Resend(waiting.bytes.clone()))
    }
}

/// What a reliable provisional response is to its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// The next one: it counts, and gets this RAck in a PRACK.
    Next(RSeq),
    /// One that was acknowledged before; its PRACK has a transaction of its own that repeats it.
    Repeated,
    /// A response before it is missing: it is passed over, its server will send it again (§4).
    OutOfOrder,
}

/// The reliable provisional responses of one early dialog, at its client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReliableReceiver {
    last: Option<u32>,
}

impl ReliableReceiver {
    /// Looks at a provisional response; `None` when it is not a reliable one.
    pub fn receive(&mut self, response: &Message) -> Option<Came> {
        let is_reliable = response.has_token(HeaderName::Require, OPTION_TAG)
            && response.status().is_some_and(|status| status.is_provisional() && status.code() > 100);
        let Some(Ok(RSeq(rseq))) = response.header::<RSeq>().filter(|_| is_reliable) else { return None };
        Some(match self.last {
            Some(last) if rseq == last.wrapping_add(1) => self.take(rseq),
            Some(last) if rseq <= last => Came::Repeated,
            Some(_) => Came::OutOfOrder,
            None => self.take(rseq),
        })
    }

    const fn take(&mut self, rseq: u32) -> Came {
        self.last = Some(rseq);
        Came::Next(RSeq(rseq))
    }
}

#[cfg(test)]
mod tests {
    use dialtone_wire::Limits;

    use super::*;

    const T1: Duration = Duration::from_millis(500);

    fn message(first: &str, cseq: &str, lines: &str) -> Message {
        let text = format!(
            "{first}\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK1\r\nFrom: <sip:c@d>;tag=1\r\nTo: <sip:a@b>;tag=2\r\n\
             Call-ID: x\r\nCSeq: {cseq}\r\n{lines}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text), &Limits::default()).expect("a message")
    }

    fn prack(rack: &str) -> Message {
        message("PRACK sip:a@b SIP/2.0", "2 PRACK", &format!("RAck: {rack}\r\n"))
    }

    fn ringing(rseq: u32) -> Message {
        message("SIP/2.0 183 Session Progress", "1 INVITE", &format!("Require: 100rel\r\nRSeq: {rseq}\r\n"))
    }

    #[test]
    fn a_response_is_sent_again_until_its_prack_comes() {
        let mut sender = ReliableSender::new(1, 6);
        assert_eq!(sender.next_rseq(), Some(RSeq(7)));
        let bytes = Bytes::from_static(b"183");
        sender.sent(Instant::START, T1, bytes.clone());
        assert_eq!(sender.next_rseq(), None, "one at a time");
        let mut now = Instant::START;
        for wait in [1, 2, 4, 8] {
            assert_eq!(sender.handle_timeout(now + (T1 * wait - Duration::from_nanos(1))), None);
            now = now + T1 * wait;
            assert_eq!(sender.poll_timeout().map(|(at, _)| at), Some(now));
            assert_eq!(sender.handle_timeout(now), Some(Due::Resend(bytes.clone())));
        }
        for other in ["8 1 INVITE", "7 2 INVITE", "7 1 UPDATE", "nonsense"] {
            assert!(!sender.acknowledged(&prack(other)), "{other}");
        }
        assert!(sender.acknowledged(&prack("7 1 INVITE")));
        assert!(!sender.acknowledged(&prack("7 1 INVITE")), "once");
        assert_eq!((sender.poll_timeout(), sender.next_rseq()), (None, Some(RSeq(8))));
    }

    #[test]
    fn after_the_final_response_nothing_is_sent_again_and_the_prack_still_counts_once() {
        let mut sender = ReliableSender::new(1, 6);
        sender.sent(Instant::START, T1, Bytes::from_static(b"183"));
        sender.stop();
        assert_eq!((sender.poll_timeout(), sender.handle_timeout(Instant::START + T1 * 64)), (None, None));
        assert!(sender.awaits(&prack("7 1 INVITE")) && sender.is_waiting());
        assert!(sender.acknowledged(&prack("7 1 INVITE")) && !sender.acknowledged(&prack("7 1 INVITE")));
    }

    #[test]
    fn without_prack_it_is_given_up_after_64_t1() {
        let mut sender = ReliableSender::new(1, u32::MAX);
        assert_eq!(sender.next_rseq(), Some(RSeq(2)), "the first RSeq is below 2^31");
        sender.sent(Instant::START, T1, Bytes::from_static(b"183"));
        let mut resent = 0;
        loop {
            let (at, _) = sender.poll_timeout().expect("something is due until it is given up");
            match sender.handle_timeout(at) {
                Some(Due::Resend(_)) => resent += 1,
                Some(Due::GiveUp) => {
                    assert_eq!((at, resent), (Instant::START + T1 * 64, 6));
                    break;
                }
                None => panic!("nothing was due at {at:?}"),
            }
        }
        assert!(!sender.is_waiting());
    }

    #[test]
    fn the_client_takes_responses_in_their_order_and_each_once() {
        let mut receiver = ReliableReceiver::default();
        assert_eq!(receiver.receive(&ringing(900)), Some(Came::Next(RSeq(900))));
        assert_eq!(receiver.receive(&ringing(900)), Some(Came::Repeated));
        assert_eq!(receiver.receive(&ringing(902)), Some(Came::OutOfOrder));
        assert_eq!(receiver.receive(&ringing(901)), Some(Came::Next(RSeq(901))));
        assert_eq!(receiver.receive(&ringing(902)), Some(Came::Next(RSeq(902))));
        assert_eq!(receiver.receive(&ringing(900)), Some(Came::Repeated));
        let plain = message("SIP/2.0 180 Ringing", "1 INVITE", "");
        let wrong = message("SIP/2.0 100 Trying", "1 INVITE", "Require: 100rel\r\nRSeq: 903\r\n");
        let broken = message("SIP/2.0 183 x", "1 INVITE", "Require: 100rel\r\nRSeq: 0\r\n");
        for other in [plain, wrong, broken] {
            assert_eq!(receiver.receive(&other), None);
        }
    }
}
