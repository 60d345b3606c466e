//! What user agents do within dialogs.

use std::collections::{BTreeMap, BTreeSet};

use dialtone_wire::Method;
use smol_str::SmolStr;

use super::Verdict;
use super::answers::TIMEOUT;
use super::traffic::{Traffic, Unit};
use crate::history::History;
use crate::world::HostId;

/// One side of one dialog: the user agent, be it a phone or a leg of a server, its life, Call-ID, its tag and the other tag.
type Side<'a> = (HostId, u32, &'a SmolStr, &'a SmolStr, &'a SmolStr);

/// B11: "BYE ahead of ACK". RFC 3261 §15: "the callee's UA MUST NOT send a BYE on a confirmed dialog until it has
/// received an ACK for its 2xx response or until the server transaction times out".
pub(super) fn no_bye_before_ack(_: &History, traffic: &Traffic, verdict: &mut Verdict) {
    // When each callee answered first, and when it got its first ACK.
    let mut answered: BTreeMap<(HostId, &SmolStr, &SmolStr), &Unit> = BTreeMap::new();
    let initial = |unit: &&Unit| unit.is_success() && unit.method == Method::Invite;
    for answer in traffic.units.iter().filter(initial) {
        if let Some((host, _)) = answer.sender.filter(|_| answer.own) {
            answered.entry((host, &answer.call_id, &answer.to_tag)).or_insert(answer);
        }
    }
    for bye in own_byes(traffic).filter(|bye| !bye.tampered) {
        let Some((host, _)) = bye.sender else { continue };
        let Some(answer) = answered.get(&(host, &bye.call_id, &bye.from_tag)) else { continue };
        // A 2xx of the same side to a re-INVITE came after the call was confirmed.
        if answer.sent > bye.sent {
            continue;
        }
        // RFC 5407 §3.1.4: a re-INVITE of the caller says as well that the 2xx has come.
        let acked = traffic.units.iter().filter(|unit| unit.is_request()).any(|ack| {
            (ack.method == Method::Ack || ack.method == Method::Invite)
                && ack.receiver == Some(host)
                && ack.call_id == bye.call_id
                && ack.to_tag == bye.from_tag
                && ack.arrivals.iter().any(|at| *at <= bye.sent)
        });
        let timed_out = bye.sent.since(answer.sent) >= TIMEOUT;
        verdict.judge(acked || timed_out, || format!("{} without ACK for {}", bye.brief(), answer.brief()));
    }
}

/// B12: "Duplicate BYE". Repetitions have the same branch; a challenged one is sent anew, with the next CSeq.
pub(super) fn one_bye(history: &History, traffic: &Traffic, verdict: &mut Verdict) {
    let mut byes: BTreeMap<Side<'_>, BTreeSet<&SmolStr>> = BTreeMap::new();
    for bye in own_byes(traffic) {
        byes.entry(side(bye)).or_default().insert(&bye.branch);
    }
    for (side, branches) in byes {
        let (host, _, call_id, from_tag, _) = side;
        let challenged: BTreeSet<&SmolStr> = traffic
            .units
            .iter()
            .filter(|unit| matches!(unit.status, Some(401 | 407)) && unit.method == Method::Bye)
            .filter(|unit| {
                unit.receiver == Some(host) && unit.call_id == *call_id && unit.from_tag == *from_tag
            })
            .filter(|unit| !unit.arrivals.is_empty())
            .map(|unit| &unit.branch)
            .collect();
        verdict.judge(branches.len() <= 1 + challenged.len(), || {
            format!("{} sent {} BYEs in {call_id}: {branches:?}", history.hosts[host.0].name, branches.len())
        });
    }
}

/// RFC 3261 §12.2.1.1: each new request of a side has a higher CSeq than the one before.
pub(super) fn cseq_rises(history: &History, traffic: &Traffic, verdict: &mut Verdict) {
    let mut last: BTreeMap<Side<'_>, (u32, &Unit)> = BTreeMap::new();
    let mut seen: BTreeSet<(HostId, u32, &SmolStr)> = BTreeSet::new();
    let counted =
        |unit: &&Unit| unit.is_request() && unit.own && !matches!(unit.method, Method::Ack | Method::Cancel);
    for unit in traffic.units.iter().filter(counted) {
        let Some((host, life)) = unit.sender else { continue };
        if !seen.insert((host, life, &unit.branch)) {
            continue;
        }
        if let Some((cseq, before)) = last.insert(side(unit), (unit.cseq, unit)) {
            // The proxy in front of a leg of ours forks what is outside of dialogs (RFC 3261 §16.6).
            let is_server = !history.hosts[host.0].is_phone;
            let is_fork = is_server && unit.to_tag.is_empty() && unit.cseq == cseq;
            verdict
                .judge(unit.cseq > cseq || is_fork, || format!("{} after {}", unit.brief(), before.brief()));
        }
    }
}

fn own_byes(traffic: &Traffic) -> impl Iterator<Item = &Unit> {
    traffic.requests(&Method::Bye).filter(|bye| bye.own && bye.sender.is_some())
}

fn side(unit: &Unit) -> Side<'_> {
    let (host, life) = unit.sender.unwrap_or((HostId(usize::MAX), 0));
    (host, life, &unit.call_id, &unit.from_tag, &unit.to_tag)
}
