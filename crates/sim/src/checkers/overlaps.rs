//! What may not be sent, or said, while something else is under way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use dialtone_wire::Method;
use dialtone_wire::time::Instant;
use smol_str::SmolStr;

use super::Verdict;
use super::answers::TIMEOUT;
use super::traffic::{Traffic, Unit};
use crate::history::History;
use crate::world::HostId;

/// A request other than INVITE and ACK, as the host that it came to sees it.
type Asked<'a> = (HostId, u32, SocketAddr, &'a SmolStr, &'a str, &'a SmolStr, u32);

/// RFC 3261 §17.2.2: a server transaction has one final response. Who answers an UPDATE twice, say, has both carried it
/// and answered it.
pub(super) fn one_answer(history: &History, traffic: &Traffic, verdict: &mut Verdict) {
    type Given<'a> = BTreeMap<(u16, &'a SmolStr), Instant>;
    let mut answers: BTreeMap<Asked<'_>, Given<'_>> = BTreeMap::new();
    // Who has shown no password gets a challenge, or is turned away, without state: each copy anew (RFC 3261 §26.3.2.4).
    let is_stateless = |unit: &Unit| {
        let is_server = unit.sender.is_some_and(|(host, _)| !history.hosts[host.0].is_phone);
        is_server && matches!(unit.status, Some(401 | 403 | 407))
    };
    let counted = |unit: &&Unit| {
        let is_counted = unit.is_final() && unit.own && !unit.tampered;
        is_counted && !matches!(unit.method, Method::Invite | Method::Ack) && !is_stateless(unit)
    };
    for unit in traffic.units.iter().filter(counted) {
        let (Some((host, life)), Some(status)) = (unit.sender, unit.status) else { continue };
        let key = (host, life, unit.to, &unit.branch, unit.method.as_str(), &unit.call_id, unit.cseq);
        answers.entry(key).or_default().entry((status, &unit.to_tag)).or_insert(unit.sent);
    }
    for ((host, _, to, branch, method, call_id, cseq), given) in answers {
        let times = given.values().min().zip(given.values().max());
        let (Some((first, last)), several) = (times, given.len() > 1) else { continue };
        // The next copy begins another transaction; so does one that comes when Timer J has ended the first one.
        let was_refused = several && traffic.was_refused(host, to, *first, *last);
        let is_forgotten = last.since(*first) >= TIMEOUT;
        verdict.judge(!several || was_refused || is_forgotten, || {
            let name = &history.hosts[host.0].name;
            format!("{name} answered {cseq} {method} of {call_id}, branch {branch}, with {given:?}")
        });
    }
}

/// RFC 3261 §14.1: "a UAC MUST NOT initiate a new INVITE transaction within a dialog while another INVITE transaction is
/// in progress in either direction."
pub(super) fn one_invite_at_a_time(_: &History, traffic: &Traffic, verdict: &mut Verdict) {
    let mut invites: BTreeMap<&SmolStr, Vec<&Unit>> = BTreeMap::new();
    for invite in traffic.requests(&Method::Invite) {
        invites.entry(&invite.call_id).or_default().push(invite);
    }
    let mut finals: BTreeMap<&SmolStr, Vec<&Unit>> = BTreeMap::new();
    for answer in traffic.units.iter().filter(|unit| unit.is_final() && unit.method == Method::Invite) {
        finals.entry(&answer.call_id).or_default().push(answer);
    }
    let none = Vec::new();
    let mut seen: BTreeSet<(HostId, &SmolStr)> = BTreeSet::new();
    for invite in traffic.requests(&Method::Invite).filter(|invite| invite.own && !invite.tampered) {
        let Some((host, life)) = invite.sender.filter(|_| !invite.to_tag.is_empty()) else { continue };
        if !seen.insert((host, &invite.branch)) {
            continue;
        }
        let finals = finals.get(&invite.call_id).unwrap_or(&none);
        // Who has heard nothing for so long has given up.
        let is_young = |other: &&&Unit| invite.sent.since(other.sent) < TIMEOUT;
        let before =
            invites[&invite.call_id].iter().filter(|other| other.index < invite.index).filter(is_young);
        let mut pending = before.filter(|other| {
            let is_given_up = other.own && traffic.was_refused(host, other.to, other.sent, invite.sent);
            // A call that was tried once more has its dialog from the last try.
            let is_tried_again = other.to_tag.is_empty()
                && invites[&invite.call_id].iter().any(|later| {
                    later.to_tag.is_empty()
                        && (later.sender, &later.from_tag) == (other.sender, &other.from_tag)
                        && later.cseq > other.cseq
                        && later.index < invite.index
                });
            if is_given_up || is_tried_again || other.branch == invite.branch {
                return false;
            }
            let ours = other.own
                && other.sender == Some((host, life))
                && other.from_tag == invite.from_tag
                && (other.to_tag == invite.to_tag || other.to_tag.is_empty());
            if ours {
                return !finals.iter().any(|answer| {
                    answer.receiver == Some(host)
                        && answer.cseq == other.cseq
                        && answer.from_tag == other.from_tag
                        && answer.arrivals.iter().any(|at| *at <= invite.sent)
                });
            }
            let theirs = other.receiver == Some(host)
                && other.from_tag == invite.to_tag
                && other.to_tag == invite.from_tag
                && other.arrivals.iter().any(|at| *at < invite.sent);
            theirs
                && !finals.iter().any(|answer| {
                    answer.sender == Some((host, life))
                        && answer.cseq == other.cseq
                        && answer.from_tag == other.from_tag
                        && answer.index < invite.index
                })
        });
        let pending = pending.next();
        verdict.judge(pending.is_none(), || {
            format!(
                "{} while {} has no answer",
                invite.brief(),
                pending.map(|other| other.brief()).unwrap_or_default()
            )
        });
    }
}

/// RFC 3261 §9.1: "If no provisional response has been received, the CANCEL request MUST NOT be sent", and if "the
/// original request has generated a final response, the CANCEL SHOULD NOT be sent".
pub(super) fn cancel_in_time(history: &History, traffic: &Traffic, verdict: &mut Verdict) {
    let mut seen: BTreeSet<(HostId, u32, &SmolStr)> = BTreeSet::new();
    for cancel in traffic.requests(&Method::Cancel).filter(|cancel| !cancel.tampered) {
        let Some((host, life)) = cancel.sender else { continue };
        if history.hosts[host.0].is_stateless || !seen.insert((host, life, &cancel.branch)) {
            continue;
        }
        let mut came = traffic.units.iter().filter(|answer| {
            answer.receiver == Some(host)
                && answer.status.is_some()
                && answer.method == Method::Invite
                && answer.branch == cancel.branch
                && answer.arrivals.iter().any(|at| *at <= cancel.sent)
        });
        let any = came.next();
        let is_final =
            |answer: &Unit| answer.is_final() && answer.arrivals.iter().any(|at| *at < cancel.sent);
        let is_late = any.into_iter().chain(came).any(is_final);
        verdict.judge(any.is_some() && !is_late, || {
            format!("{} {}", cancel.brief(), if is_late { "after the answer" } else { "before any response" })
        });
    }
}
