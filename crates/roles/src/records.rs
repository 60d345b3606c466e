//! Call records: who called whom, when, how long, how it ended and why.
//!
//! A table keeps, of each call in mode `call` that was answered, when that was and the tags of its two sides, until a BYE
//! of either is seen, or until its session has run out without a refresh (RFC 4028 §8.3): one side has died, and no BYE
//! will come. We send none ourselves. Nothing that is done to a call depends on the table. It is bounded: of a call that
//! is in it for too long, or that gives way to a newer one, nobody knows how it ended.
//!
//! A BYE may overtake the first 2xx that we see of its call. It is kept for a while ([`early`]), and the call is over as
//! soon as it begins.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::time::Duration;

use dialtone_wire::headers::NameAddr;
use dialtone_wire::time::Instant;
use dialtone_wire::{HeaderName, Message, Status};
use foldhash::fast::FixedState;
use smol_str::{SmolStr, format_smolstr};

use crate::io::{CallEnd, CallRecord};
use crate::listing::{self, CallState, ListedCall, Page};

mod early;

use early::{EarlyBye, EarlyByes};

/// Calls of one shard that are followed at most.
const CALLS_MAX: usize = 100_000;
/// How long a call is followed at most.
const AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Bytes of a text of a record at most.
const TEXT_MAX: usize = 256;

/// A call that was answered.
#[derive(Debug)]
pub(crate) struct Talking {
    number: u64,
    /// The tag of the caller: tells who hung up.
    caller_tag: SmolStr,
    call_id: SmolStr,
    caller: SmolStr,
    callee: SmolStr,
    /// Their display names.
    names: [Option<SmolStr>; 2],
    started: Instant,
    answered: Instant,
    /// Our user agent has it too, and lists it.
    is_own: bool,
    /// When its session is over unless it is refreshed.
    session_end: Option<Instant>,
}

/// Two sides of calls of ours that are joined.
#[derive(Debug)]
pub(crate) struct Pair<'a> {
    /// Of the one who counts as the caller.
    pub(crate) call_id: &'a str,
    /// His tag and ours.
    pub(crate) tags: [&'a str; 2],
    /// The dialog of the other one.
    pub(crate) other: (&'a str, [&'a str; 2]),
    /// Their addresses.
    pub(crate) caller: &'a str,
    pub(crate) callee: &'a str,
}

/// The calls of one shard that somebody talks in.
#[derive(Debug)]
pub(crate) struct Records {
    calls: HashMap<SmolStr, Talking, FixedState>,
    /// Their keys, oldest first.
    order: BTreeMap<u64, SmolStr>,
    /// When sessions are over.
    sessions: BTreeSet<(Instant, u64)>,
    /// How many of them our user agent has too.
    own: usize,
    next: u64,
    /// BYEs that came before the 2xx of their call.
    early: EarlyByes,
}

impl Records {
    pub(crate) fn new(seed: u64) -> Records {
        let calls = HashMap::with_hasher(FixedState::with_seed(seed));
        Records {
            calls,
            order: BTreeMap::new(),
            sessions: BTreeSet::new(),
            own: 0,
            next: 0,
            early: EarlyByes::new(seed),
        }
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
        is_own: bool,
    ) -> Option<CallRecord> {
        if !matches!(invite.to_tag(), Ok(None)) || status.is_challenge() {
            return None;
        }
        let (Ok(from), Ok(to), Ok(call_id)) = (invite.from(), invite.to(), invite.call_id()) else {
            return None;
        };
        let (caller, callee) = (cut(from.uri_text), cut(to.uri_text));
        let names = [listing::name(&from), listing::name(&to)];
        let (call_id, caller_tag) = (SmolStr::new(call_id), SmolStr::new(from.tag().unwrap_or_default()));
        if !status.is_success() {
            let end = if status.code() == 487 { CallEnd::Cancelled } else { CallEnd::Refused(status) };
            let call_id = cut(&call_id);
            let reason = None;
            let [caller_name, callee_name] = names;
            return Some(CallRecord {
                call_id,
                caller,
                caller_name,
                callee,
                callee_name,
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
        if let Some(bye) = self.early.take(now, &key) {
            let end = if caller_tag == bye.from { CallEnd::Caller } else { CallEnd::Callee };
            let [caller_name, callee_name] = names;
            return Some(CallRecord {
                call_id: cut(&call_id),
                caller,
                caller_name,
                callee,
                callee_name,
                started,
                answered: Some(now),
                ended: now,
                end,
                reason: bye.reason,
            });
        }
        let gone = self.make_room(now);
        self.next += 1;
        let number = self.next;
        self.order.insert(number, key.clone());
        let (answered, session_end) = (now, None);
        let talking = Talking {
            number,
            caller_tag,
            call_id,
            caller,
            callee,
            names,
            started,
            answered,
            is_own,
            session_end,
        };
        self.own += usize::from(is_own);
        self.calls.insert(key, talking);
        gone
    }

    /// Two sides of calls of ours are one call from now on, with a record of its own; gives the records of those that it
    /// takes the place of, whose callee has given them away.
    pub(crate) fn joined(&mut self, now: Instant, pair: Pair<'_>) -> Vec<CallRecord> {
        let Pair { call_id, tags: [theirs, ours], other: (other_id, other_tags), caller, callee } = pair;
        let [one, two] = other_tags;
        let keys = [key(call_id, theirs, ours), key(other_id, one, two)];
        let gone =
            keys.iter().filter_map(|key| self.forget(key)).map(|call| call.record(now, CallEnd::Callee));
        let mut gone: Vec<CallRecord> = gone.collect();
        gone.extend(self.make_room(now));
        let [(caller, caller_name), (callee, callee_name)] = [caller, callee].map(party);
        self.next += 1;
        let [key, _] = keys;
        self.order.insert(self.next, key.clone());
        let talking = Talking {
            number: self.next,
            caller_tag: SmolStr::new(theirs),
            call_id: SmolStr::new(call_id),
            caller,
            callee,
            names: [caller_name, callee_name],
            started: now,
            answered: now,
            // The bridge lists it.
            is_own: true,
            session_end: None,
        };
        self.own += 1;
        self.calls.insert(key, talking);
        gone
    }

    /// The record of a call that we wanted to make for somebody, and nobody took.
    pub(crate) fn failed(
        now: Instant,
        started: Instant,
        call_id: &str,
        [caller, callee]: [&str; 2],
        status: Status,
    ) -> CallRecord {
        let [(caller, caller_name), (callee, callee_name)] = [caller, callee].map(party);
        let end = if status.code() == 487 { CallEnd::Cancelled } else { CallEnd::Refused(status) };
        let (call_id, answered, reason) = (cut(call_id), None, None);
        CallRecord {
            call_id,
            caller,
            caller_name,
            callee,
            callee_name,
            started,
            answered,
            ended: now,
            end,
            reason,
        }
    }

    /// How many calls somebody talks in, but for those of our user agent.
    pub(crate) fn len(&self) -> usize {
        self.calls.len() - self.own
    }

    /// The first `count` calls after this one, but for those of our user agent.
    pub(crate) fn page(&self, after: u64, count: usize) -> Page<ListedCall, u64> {
        let mut rest = self.order.range((Bound::Excluded(after), Bound::Unbounded));
        let seen: Vec<_> = rest.by_ref().take(count.max(1)).collect();
        let calls = seen.iter().filter_map(|(_, key)| self.calls.get(*key)).filter(|call| !call.is_own);
        let entries = calls
            .map(|call| {
                ListedCall::of_texts(
                    CallState::Talking,
                    &call.call_id,
                    &call.caller,
                    &call.callee,
                    &call.names,
                )
            })
            .collect();
        Page { entries, next: rest.next().and(seen.last()).map(|(number, _)| **number) }
    }

    /// A 2xx to an INVITE or UPDATE of a call went back: its session is over at this time (RFC 4028 §8.2), or does not
    /// run out any more.
    pub(crate) fn refreshed(
        &mut self,
        request: &Message,
        to_tag: Option<&str>,
        session_end: Option<Instant>,
    ) {
        let (Ok(call_id), Ok(Some(from)), Some(to)) = (request.call_id(), request.from_tag(), to_tag) else {
            return;
        };
        if session_end.is_none() && self.sessions.is_empty() {
            return;
        }
        let Some(call) = self.calls.get_mut(&key(call_id, from, to)) else { return };
        let number = call.number;
        let before = std::mem::replace(&mut call.session_end, session_end);
        before.map(|at| self.sessions.remove(&(at, number)));
        session_end.map(|at| self.sessions.insert((at, number)));
    }

    /// When the next session is over.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.sessions.first().map(|(at, _)| (*at, "session"))
    }

    /// The record of a call whose session is over; call until `None`.
    pub(crate) fn run_out(&mut self, now: Instant) -> Option<CallRecord> {
        let (_, number) = *self.sessions.first().filter(|(at, _)| *at <= now)?;
        let call = self.order.get(&number).cloned().and_then(|key| self.forget(&key))?;
        Some(call.record(now, CallEnd::RanOut))
    }

    /// Takes a call out that goes on at another shard.
    pub(crate) fn take(&mut self, call_id: &str, one: &str, other: &str) -> Option<Talking> {
        self.forget(&key(call_id, one, other))
    }

    /// Takes a call in that has begun at another shard; gives the record of one that gives way to it.
    pub(crate) fn put(
        &mut self,
        now: Instant,
        one: &str,
        other: &str,
        talking: Talking,
    ) -> Option<CallRecord> {
        let gone = self.make_room(now);
        self.next += 1;
        let number = self.next;
        let key = key(&talking.call_id, one, other);
        self.order.insert(number, key.clone());
        talking.session_end.map(|at| self.sessions.insert((at, number)));
        self.own += usize::from(talking.is_own);
        self.calls.insert(key, Talking { number, ..talking });
        gone
    }

    fn forget(&mut self, key: &SmolStr) -> Option<Talking> {
        let call = self.calls.remove(key)?;
        self.order.remove(&call.number);
        call.session_end.map(|at| self.sessions.remove(&(at, call.number)));
        self.own -= usize::from(call.is_own);
        Some(call)
    }

    /// A BYE; gives the record of the call that it ends.
    pub(crate) fn bye(&mut self, now: Instant, bye: &Message) -> Option<CallRecord> {
        let (call_id, Some(from), Some(to)) = (bye.call_id().ok()?, bye.from_tag().ok()?, bye.to_tag().ok()?)
        else {
            return None;
        };
        let reason = bye.value(HeaderName::Reason).and_then(|value| std::str::from_utf8(value).ok());
        let reason = reason.map(|reason| cut(&listing::printable(reason)));
        let key = key(call_id, from, to);
        let Some(call) = self.forget(&key) else {
            self.early.keep(key, EarlyBye { at: now, from: SmolStr::new(from), reason });
            return None;
        };
        let end = if call.caller_tag == from { CallEnd::Caller } else { CallEnd::Callee };
        Some(CallRecord { reason, ..call.record(now, end) })
    }

    /// The record of the oldest call, which goes on without us; call until `None` when the server ends.
    pub(crate) fn stopped(&mut self, now: Instant) -> Option<CallRecord> {
        let key = self.order.first_key_value()?.1.clone();
        self.forget(&key).map(|call| call.record(now, CallEnd::Stopped))
    }

    fn make_room(&mut self, now: Instant) -> Option<CallRecord> {
        let (_, key) = self.order.first_key_value()?;
        let is_old = now.since(self.calls.get(key)?.answered) >= AGE_MAX;
        if !is_old && self.calls.len() < CALLS_MAX {
            return None;
        }
        let key = key.clone();
        self.forget(&key).map(|call| call.record(now, CallEnd::Unknown))
    }
}

impl Talking {
    /// Whether it is the call of this Call-ID.
    pub(crate) fn is_of(&self, call_id: &str) -> bool {
        self.call_id == call_id
    }

    fn record(self, ended: Instant, end: CallEnd) -> CallRecord {
        let Talking { call_id, caller, callee, names: [caller_name, callee_name], started, answered, .. } =
            self;
        CallRecord {
            call_id: cut(&call_id),
            caller,
            caller_name,
            callee,
            callee_name,
            started,
            answered: Some(answered),
            ended,
            end,
            reason: None,
        }
    }
}

/// The URI and the name of an address.
fn party(address: &str) -> (SmolStr, Option<SmolStr>) {
    match NameAddr::parse(address.as_bytes()) {
        Ok(address) => (cut(address.uri_text), listing::name(&address)),
        Err(_) => (cut(address), None),
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
        records.answered(
            at(now),
            at(now.saturating_sub(3)),
            &invite(call_id),
            Status::of(code),
            Some("b"),
            false,
        )
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
    fn a_call_whose_bye_overtook_its_answer_is_over_as_soon_as_it_is_answered() {
        let mut records = Records::new(1);
        let bye = message("BYE", "c", "b", ";tag=a", "Reason: Q.850;cause=16\r\n");
        assert_eq!(records.bye(at(10), &bye), None);
        let record = answer(&mut records, 11, "c", 200).expect("it is over");
        assert_eq!((record.started, record.answered, record.ended), (at(8), Some(at(11)), at(11)));
        assert_eq!((record.end, record.reason.as_deref()), (CallEnd::Callee, Some("Q.850;cause=16")));
        assert_eq!((records.len(), records.poll_timeout()), (0, None));
        // The same identifiers once more: a new call.
        assert_eq!(answer(&mut records, 12, "c", 200), None);
        assert_eq!(records.len(), 1);
        // One that came too long ago says nothing of a call of today.
        assert_eq!(records.bye(at(20), &message("BYE", "d", "a", ";tag=b", "")), None);
        assert_eq!(answer(&mut records, 52, "d", 200), None);
        assert_eq!(records.len(), 2);
    }

    #[test]
    fn the_names_of_both_are_kept_without_quotes_and_the_list_has_them() {
        let call = |from: &str| {
            let text = format!(
                "INVITE sip:bob@b.test SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.4;branch=z9hG4bK1\r\n\
                 From: {from} <sip:zoe@a.test>;tag=a\r\nTo: Bob B <sip:bob@b.test>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n"
            );
            Message::parse(Bytes::from(text), &Limits::default()).expect("a request")
        };
        let long = format!("\"{}\"", "漢".repeat(90));
        let cut = "漢".repeat(listing::NAME_MAX / 3);
        for (from, name) in [
            ("\"Zoë 漢字\"", Some("Zoë 漢字")),
            ("Zoë 漢字", Some("Zoë 漢字")),
            ("\"Zoë \\\"Z\\\\\"", Some("Zoë \"Z\\")),
            ("\"\u{1b}[2J\u{9b}2J\u{202e}eoZ\"", Some("\u{fffd}[2J\u{fffd}2J\u{fffd}eoZ")),
            ("\" \"", None),
            ("", None),
            (long.as_str(), Some(cut.as_str())),
        ] {
            let mut records = Records::new(1);
            records.answered(at(10), at(7), &call(from), Status::of(200), Some("b"), false);
            let listed = records.page(0, 1).entries.pop().expect("a call");
            let names = (listed.from_name.as_deref(), listed.to_name.as_deref());
            assert_eq!(names, (name, Some("Bob B")), "{from}");
            let record = records.bye(at(20), &message("BYE", "c", "a", ";tag=b", "")).expect("it ends");
            let names = (record.caller_name.as_deref(), record.callee_name.as_deref());
            assert_eq!(names, (name, Some("Bob B")), "{from}");
            let busy = records.answered(at(30), at(29), &call(from), Status::of(486), Some("b"), false);
            assert_eq!(busy.and_then(|record| record.caller_name).as_deref(), name, "{from}");
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
        assert_eq!(records.answered(at(1), at(1), &again, Status::of(488), Some("b"), false), None);
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

    #[test]
    fn a_call_whose_session_runs_out_is_over_and_a_refresh_by_either_side_puts_that_off() {
        let mut records = Records::new(1);
        for call_id in ["c", "d", "e"] {
            answer(&mut records, 10, call_id, 200);
            records.refreshed(&invite(call_id), Some("b"), Some(at(100)));
        }
        // The callee refreshes one, the caller switches the timer of another off.
        let from_callee = message("UPDATE", "c", "b", ";tag=a", "");
        records.refreshed(&from_callee, Some("a"), Some(at(150)));
        records.refreshed(&message("INVITE", "d", "a", ";tag=b", ""), Some("b"), None);
        records.refreshed(&message("UPDATE", "nobody's", "a", ";tag=b", ""), Some("b"), Some(at(20)));
        assert_eq!((records.poll_timeout(), records.run_out(at(99))), (Some((at(100), "session")), None));
        let over = records.run_out(at(100)).expect("one is over");
        assert_eq!((over.call_id.as_str(), over.end, over.ended), ("e", CallEnd::RanOut, at(100)));
        assert_eq!(records.run_out(at(149)), None);
        assert_eq!(records.run_out(at(150)).map(|record| record.call_id), Some("c".into()));
        assert_eq!((records.poll_timeout(), records.len()), (None, 1));
        assert!(records.bye(at(200), &message("BYE", "d", "b", ";tag=a", "")).is_some());
        assert!(records.order.is_empty() && records.sessions.is_empty());
    }

    #[test]
    fn the_list_has_each_call_once_page_by_page() {
        let mut records = Records::new(1);
        for number in 0..5 {
            let (now, is_own) = (at(number), number == 2);
            let call = invite(&format!("call-{number}"));
            records.answered(now, now, &call, Status::of(200), Some("b"), is_own);
        }
        let (mut seen, mut after) = (Vec::new(), Some(0));
        while let Some(number) = after {
            let Page { entries, next } = records.page(number, 2);
            seen.extend(entries.into_iter().filter_map(|call| call.call_id));
            after = next;
        }
        assert_eq!(
            (seen, records.len()),
            (["call-0", "call-1", "call-3", "call-4"].map(SmolStr::new).to_vec(), 4)
        );
    }
}
