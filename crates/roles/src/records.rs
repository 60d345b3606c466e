//! Call records: who called whom, when, how long, how it ended and why.
//!
//! A proxy holds no calls: it forwards requests and forgets them. For the records alone a table keeps, of each call
//! that was answered, when that was and the tags of its two sides, until a BYE of either is seen. Nothing that is
//! done to a call depends on it. It is bounded: of a call that is in it for too long, or that gives way to a newer
//! one, nobody knows how it ended.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use dialtone_wire::time::Instant;
use dialtone_wire::{HeaderName, Message, Status};
use foldhash::fast::FixedState;
use smol_str::{SmolStr, format_smolstr};

use crate::io::{CallEnd, CallRecord};

/// Calls of one shard that are followed at most.
const CALLS_MAX: usize = 100_000;
/// How long a call is followed at most.
const AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Bytes of a text of a record at most.
const TEXT_MAX: usize = 256;

/// A call that was answered.
#[derive(Debug)]
struct Talking {
    number: u64,
    /// The tag of the caller: tells who hung up.
    caller_tag: SmolStr,
    call_id: SmolStr,
    caller: SmolStr,
    callee: SmolStr,
    started: Instant,
    answered: Instant,
}

/// The calls of one shard that somebody talks in.
#[derive(Debug)]
pub(crate) struct Records {
    calls: HashMap<SmolStr, Talking, FixedState>,
    /// Their keys, oldest first.
    order: BTreeMap<u64, SmolStr>,
    next: u64,
}

impl Records {
    pub(crate) fn new(seed: u64) -> Records {
        let calls = HashMap::with_hasher(FixedState::with_seed(seed));
        Records { calls, order: BTreeMap::new(), next: 0 }
    }

    /// The final response to an INVITE that began at `started`; gives the record of a call that it ends, or of one
    /// that gives way to it. Neither challenges nor requests within a dialog make records.
    pub(crate) fn answered(
        &mut self,
        now: Instant,
        started: Instant,
        invite: &Message,
        status: Status,
        to_tag: Option<&str>,
    ) -> Option<CallRecord> {
        if !matches!(invite.to_tag(), Ok(None)) || matches!(status.code(), 401 | 407) {
            return None;
        }
        let (Ok(from), Ok(to), Ok(call_id)) = (invite.from(), invite.to(), invite.call_id()) else {
            return None;
        };
        let (caller, callee) = (cut(from.uri_text), cut(to.uri_text));
        let (call_id, caller_tag) = (SmolStr::new(call_id), SmolStr::new(from.tag().unwrap_or_default()));
        if !status.is_success() {
            let end = if status.code() == 487 { CallEnd::Cancelled } else { CallEnd::Refused(status) };
            let call_id = cut(&call_id);
            let reason = None;
            return Some(CallRecord {
                call_id,
                caller,
                callee,
                started,
                answered: None,
                ended: now,
                end,
                reason,
            });
        }
        let key = key(&call_id, &caller_tag, to_tag.unwrap_or_default());
        if self.calls.contains_key(&key) {
            return None;
        }
        let gone = self.make_room(now);
        self.next += 1;
        let number = self.next;
        self.order.insert(number, key.clone());
        let talking = Talking { number, caller_tag, call_id, caller, callee, started, answered: now };
        self.calls.insert(key, talking);
        gone
    }

    /// A BYE; gives the record of the call that it ends.
    pub(crate) fn bye(&mut self, now: Instant, bye: &Message) -> Option<CallRecord> {
        let (call_id, Some(from), Some(to)) = (bye.call_id().ok()?, bye.from_tag().ok()?, bye.to_tag().ok()?)
        else {
            return None;
        };
        let call = self.calls.remove(&key(call_id, from, to))?;
        self.order.remove(&call.number);
        let end = if call.caller_tag == from { CallEnd::Caller } else { CallEnd::Callee };
        let reason = bye.value(HeaderName::Reason).and_then(|value| std::str::from_utf8(value).ok());
        Some(CallRecord { reason: reason.map(cut), ..call.record(now, end) })
    }

    /// The record of the oldest call, which goes on without us; call until `None` when the server ends.
    pub(crate) fn stopped(&mut self, now: Instant) -> Option<CallRecord> {
        let (_, key) = self.order.pop_first()?;
        self.calls.remove(&key).map(|call| call.record(now, CallEnd::Stopped))
    }

    fn make_room(&mut self, now: Instant) -> Option<CallRecord> {
        let (_, key) = self.order.first_key_value()?;
        let is_old = now.since(self.calls.get(key)?.answered) >= AGE_MAX;
        if !is_old && self.calls.len() < CALLS_MAX {
            return None;
        }
        let (_, key) = self.order.pop_first()?;
        self.calls.remove(&key).map(|call| call.record(now, CallEnd::Unknown))
    }
}

impl Talking {
    fn record(self, ended: Instant, end: CallEnd) -> CallRecord {
        let Talking { call_id, caller, callee, started, answered, .. } = self;
        let call_id = cut(&call_id);
        CallRecord { call_id, caller, callee, started, answered: Some(answered), ended, end, reason: None }
    }
}

/// The same for both directions of a dialog. No Call-ID and no tag holds a blank.
fn key(call_id: &str, one: &str, other: &str) -> SmolStr {
    let (first, second) = if one <= other { (one, other) } else { (other, one) };
    format_smolstr!("{call_id} {first} {second}")
}

fn cut(text: &str) -> SmolStr {
    SmolStr::new(&text[..text.floor_char_boundary(TEXT_MAX)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use dialtone_wire::Limits;

    fn message(method: &str, call_id: &str, from: &str, to: &str, more: &str) -> Message {
        let text = format!(
            "{method} sip:bob@b.test SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.4;branch=z9hG4bK1\r\nFrom: <sip:alice@a.test>;tag={from}\r\n\
             To: <sip:bob@b.test>{to}\r\nCall-ID: {call_id}\r\nCSeq: 1 {method}\r\n{more}\r\n"
        );
        Message::parse(Bytes::from(text), &Limits::default()).expect("a request")
    }

    fn invite(call_id: &str) -> Message {
        message("INVITE", call_id, "a", "", "")
    }

    const fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn answer(records: &mut Records, now: u64, call_id: &str, code: u16) -> Option<CallRecord> {
        records.answered(at(now), at(now.saturating_sub(3)), &invite(call_id), Status::of(code), Some("b"))
    }

    #[test]
    fn a_call_is_recorded_when_either_side_hangs_up() {
        for (from, to, end) in [("a", ";tag=b", CallEnd::Caller), ("b", ";tag=a", CallEnd::Callee)] {
            let mut records = Records::new(1);
            assert_eq!(answer(&mut records, 10, "c", 200), None);
            assert_eq!(answer(&mut records, 11, "c", 200), None, "a repeated answer is no second call");
            let stranger = message("BYE", "c", "a", ";tag=x", "");
            assert_eq!(records.bye(at(20), &stranger), None);
            let bye = message("BYE", "c", from, to, "Reason: Q.850;cause=16\r\n");
            let record = records.bye(at(70), &bye).expect("it ends");
            assert_eq!((record.started, record.answered, record.ended), (at(7), Some(at(10)), at(70)));
            assert_eq!(
                (record.caller.as_str(), record.callee.as_str()),
                ("sip:alice@a.test", "sip:bob@b.test")
            );
            assert_eq!((record.end, record.reason.as_deref()), (end, Some("Q.850;cause=16")));
            assert_eq!(records.bye(at(71), &bye), None, "it ends once");
        }
    }

    #[test]
    fn calls_that_are_not_answered_are_recorded_and_challenges_are_not() {
        let mut records = Records::new(1);
        assert_eq!(answer(&mut records, 10, "c", 407), None);
        assert_eq!(
            answer(&mut records, 10, "c", 486).map(|r| r.end),
            Some(CallEnd::Refused(Status::of(486)))
        );
        let cancelled = answer(&mut records, 10, "c", 487).expect("a record");
        assert_eq!((cancelled.end, cancelled.answered), (CallEnd::Cancelled, None));
        let again = message("INVITE", "c", "a", ";tag=b", "");
        assert_eq!(records.answered(at(1), at(1), &again, Status::of(488), Some("b")), None);
    }

    #[test]
    fn a_call_whose_end_nobody_sees_is_let_go_after_a_day() {
        let mut records = Records::new(1);
        answer(&mut records, 10, "old", 200);
        assert_eq!(answer(&mut records, 86_409, "young", 200), None);
        let gone = answer(&mut records, 86_410, "younger", 200).expect("the old one goes");
        assert_eq!((gone.call_id.as_str(), gone.end), ("old", CallEnd::Unknown));
        assert_eq!(records.calls.len(), 2);
        let stopped: Vec<CallRecord> = std::iter::from_fn(|| records.stopped(at(86_500))).collect();
        assert_eq!(stopped.iter().map(|r| r.call_id.as_str()).collect::<Vec<_>>(), ["young", "younger"]);
        assert!(stopped.iter().all(|record| record.end == CallEnd::Stopped));
        assert!(records.calls.is_empty() && records.order.is_empty());
    }
}
