//! Requests and their answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use dialtone_wire::Method;
use dialtone_wire::time::Instant;
use smol_str::SmolStr;

use super::Verdict;
use super::traffic::{Traffic, Unit};
use crate::history::History;
use crate::world::HostId;

/// 64·T1 of the default timers.
pub(super) const TIMEOUT: Duration = Duration::from_secs(32);
/// T2 of the default timers.
const T2: Duration = Duration::from_secs(4);
/// Timers of two engines never fire in the same nanosecond.
const SLACK: Duration = Duration::from_millis(10);

/// One INVITE, as the host that it came to sees it: the life of the host, sender, branch and, for those without
/// branch, the Call-ID.
type ServerKey<'a> = (HostId, u32, SocketAddr, &'a SmolStr, &'a SmolStr);

/// B11 of the users' wishes and RFC 3261 §17.2.1: one non-2xx, or 2xx (several only by forking), never both, and
/// never none.
pub(super) fn one_final_answer(history: &History, traffic: &Traffic, verdict: &mut Verdict) {
    let mut arrived: BTreeMap<ServerKey<'_>, &Unit> = BTreeMap::new();
    for invite in traffic.requests(&Method::Invite) {
        // Who keeps nothing passes on what others answer, and has no answer of its own.
        let host = invite.receiver.filter(|host| !invite.tampered && !history.hosts[host.0].is_stateless);
        let Some(host) = host else { continue };
        for arrival in &invite.arrivals {
            let life = history.life_at(host, *arrival);
            arrived.entry((host, life, invite.from, &invite.branch, &invite.call_id)).or_insert(invite);
        }
    }
    type Given<'a> = BTreeMap<(u16, &'a SmolStr), (Instant, bool)>;
    let mut answers: BTreeMap<ServerKey<'_>, Given<'_>> = BTreeMap::new();
    for answer in traffic.units.iter().filter(|unit| unit.is_final() && unit.method == Method::Invite) {
        let (Some((host, life)), Some(status)) = (answer.sender, answer.status) else { continue };
        let key = (host, life, answer.to, &answer.branch, &answer.call_id);
        answers.entry(key).or_default().entry((status, &answer.to_tag)).or_insert((answer.sent, answer.own));
    }
    for (key, invite) in arrived {
        let (host, life, ..) = key;
        let none = BTreeMap::new();
        let given = answers.get(&key).unwrap_or(&none);
        let first = given.values().map(|(at, _)| *at).min().unwrap_or_default();
        // A copy of the INVITE that comes when Timer L or H is over begins another transaction.
        let given: Vec<(u16, &SmolStr, bool)> = given
            .iter()
            .filter(|(_, (at, _))| at.since(first) < TIMEOUT)
            .map(|((status, tag), (_, own))| (*status, *tag, *own))
            .collect();
        let count = |which: &dyn Fn(u16) -> bool| given.iter().filter(|(status, ..)| which(*status)).count();
        let is_server = !history.hosts[host.0].is_phone;
        // A server challenges without state (RFC 3261 §26.3.2.4), with the same tag each time.
        let is_challenge = |status: u16| is_server && matches!(status, 401 | 407);
        let successes = count(&|status| status < 300);
        let challenges = count(&is_challenge);
        let refusals = count(&|status| status >= 300 && !is_challenge(status));
        // Who goes down answers nothing more.
        let went_down = history.downs(host).count() as u32 > life;
        let enough = !given.is_empty() || went_down;
        let at_most_one = challenges <= 1
            && refusals <= 1
            && (refusals + challenges == 0 || successes == 0)
            // Several 2xx come of forking, and from others.
            && (successes <= 1 || given.iter().filter(|(status, _, own)| *status < 300 && *own).count() == 0);
        verdict.judge(enough && at_most_one, || {
            format!("{} got {given:?} from {}", invite.brief(), history.hosts[host.0].name)
        });
    }
}

/// B11: "502 sent in answer to an ACK".
pub(super) fn no_answer_to_an_ack(_: &History, traffic: &Traffic, verdict: &mut Verdict) {
    for answer in traffic.units.iter().filter(|unit| !unit.is_request() && unit.sender.is_some()) {
        verdict.judge(answer.method != Method::Ack, || answer.brief());
    }
}

/// B11: "200 sent once and never resent". RFC 3261 §13.3.1.4: the UAS repeats its 2xx, at intervals that grow from
/// T1 to T2, until the ACK comes or 64·T1 have passed.
pub(super) fn success_is_repeated(history: &History, traffic: &Traffic, verdict: &mut Verdict) {
    type Key<'a> = (HostId, u32, &'a SmolStr, &'a SmolStr, u32);
    let mut answers: BTreeMap<Key<'_>, Vec<&Unit>> = BTreeMap::new();
    for unit in traffic.units.iter().filter(|unit| unit.is_success() && unit.method == Method::Invite) {
        let Some((host, life)) = unit.sender.filter(|_| unit.own) else { continue };
        answers.entry((host, life, &unit.call_id, &unit.to_tag, unit.cseq)).or_default().push(unit);
    }
    for ((host, life, call_id, to_tag, cseq), sent) in answers {
        if sent.iter().any(|unit| unit.refused || unit.tampered) {
            continue;
        }
        let first = sent[0];
        let acks = traffic.requests(&Method::Ack).filter(|ack| {
            ack.receiver == Some(host) && ack.call_id == *call_id && ack.to_tag == *to_tag && ack.cseq == cseq
        });
        // RFC 5407 §3.1.4: a later INVITE of the caller says as well that the 2xx has come.
        let later = traffic.requests(&Method::Invite).filter(|invite| {
            invite.receiver == Some(host)
                && invite.call_id == *call_id
                && invite.to_tag == *to_tag
                && invite.cseq > cseq
        });
        let acked = acks.chain(later).flat_map(|ack| ack.arrivals.iter().copied()).min();
        let down = history.downs(host).nth(life as usize);
        // A BYE does not end the repeating: RFC 5407 §3.1.3, appendix D.
        let end = [acked, down, Some(first.sent + TIMEOUT)];
        let end = end.into_iter().flatten().min().unwrap_or(first.sent);
        let times = sent.iter().map(|unit| unit.sent).chain([end]);
        let gaps: Vec<(Instant, Instant)> = times.clone().zip(times.skip(1)).collect();
        let too_long = gaps.iter().find(|(from, to)| to.since(*from) > T2 + SLACK);
        verdict.judge(too_long.is_none(), || format!("{} was not repeated: {too_long:?}", first.brief()));
    }
}
